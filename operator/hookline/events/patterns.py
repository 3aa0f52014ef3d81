"""Regular expressions of JSON Schema, which are those of ECMA-262 and not Python's.

Decides whether one can be used and whether a text has a match. A receiver's validator in another language decides the
same: `$` is the end of the text and nothing else, `\\d` and `\\w` are ASCII. Never cuts short what takes for ever; see
schemas.py.
"""

from __future__ import annotations

import re
from functools import lru_cache

from regress import Regex, RegressError

MAX_PATTERN_CHARACTERS = 8192
"""An address by RFC 822 takes 6,400. Alternatives are read one inside of the other: 100,000 overflow the stack of
native code, which ends the process, and 30,000 take seconds, as their time grows with the square."""

_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


def problem(pattern: str) -> str | None:
    """What keeps a regular expression from being used, as the end of a sentence; None if nothing does."""
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        return f"has more than {MAX_PATTERN_CHARACTERS} characters; write a shorter one, or a list of texts as enum"
    try:
        _compiled(pattern)
    except RegressError as error:
        return f"is not a regular expression of ECMA-262 with the flag u, as JSON Schema has them: {error}"
    except UnicodeEncodeError:
        return "has half of a surrogate pair, which is no character"
    return None


def matches(pattern: str, text: str) -> bool:
    """Whether the pattern matches anywhere in the text. Raises RegressError for a pattern that has a problem."""
    return _compiled(pattern).find(text) is not None


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> Regex:
    # With the flag u (JSON Schema asks for it), `.` is a character and not half of one, and `\p{L}` works.
    return Regex(_ESCAPE.sub(_plain_escape, pattern), "u")


def _plain_escape(escape: re.Match[str]) -> str:
    """An escaped punctuation mark by its code: `\\-` and `\\_`, which many write, are errors under the flag u."""
    escaped = escape[1]
    return escape[0] if escaped.isalnum() or not escaped.isascii() else f"\\x{ord(escaped):02x}"
