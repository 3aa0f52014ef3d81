"""Reads the bytes of a body as strict JSON.

Decides what counts as JSON here: RFC 8259 in UTF-8, narrowed to what all receivers read alike. So there is no name
twice in one object (parsers differ in which of the two wins), no NaN or Infinity, no number beyond a 64-bit float, no
half of a surrogate pair, no byte order mark, at most MAX_DEPTH levels and MAX_BODY_BYTES bytes. It never changes a body
(it travels exactly as published) and never raises for one.
"""

from __future__ import annotations

import json
import math
import re
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Iterator
from typing import Any

from hookline.events.envelope import MAX_BODY_BYTES
from hookline.events.explain import Finding, Path, quoted

MAX_DEPTH = 32
"""Levels of objects and arrays. Real events have three; validators need some stack for each level."""

_MAX_INTEGER_CHARACTERS = 308  # all of these fit into a 64-bit float, whose largest has 309 digits
_HALF_A_PAIR = re.compile("[\ud800-\udfff]")
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_TOO_DEEP = f"nests deeper than {MAX_DEPTH} levels; write a flatter document"
_TOO_LARGE_NUMBER = "is a number beyond a 64-bit float; write it as a string"


def read(body: bytes) -> tuple[Any, list[Finding]]:
    """The value of a body and what is wrong with it. The value means nothing when anything is."""
    if problem := _not_text(body):
        return None, [((), problem)]
    hooks = _Hooks()
    decoder = json.JSONDecoder(
        object_pairs_hook=hooks.members,
        parse_float=hooks.fraction,
        parse_int=hooks.integer,
        parse_constant=hooks.constant,
    )
    try:
        text = body.decode()
        value = decoder.decode(text)
    except UnicodeDecodeError as error:
        return None, [((), f"is not UTF-8 at byte {error.start + 1}; encode the body as UTF-8")]
    except json.JSONDecodeError as error:
        return None, [((), _syntax(error))]
    except RecursionError:
        return None, [((), _TOO_DEEP)]
    may_be_too_deep = text.count("{") + text.count("[") > MAX_DEPTH
    look_closer = hooks.refused or may_be_too_deep or _ESCAPED_SURROGATE.search(text) is not None
    return value, list(_refused(value)) if look_closer else []


def begins_only(text: bytes) -> bool:
    """Whether this is the beginning of a JSON document and not all of it, such as its first line of several."""
    decoded = text.decode(errors="replace").rstrip()
    try:
        json.loads(decoded)
    except json.JSONDecodeError as error:
        return error.pos >= len(decoded) > 0
    except (ValueError, RecursionError):
        pass
    return False


def half_a_pair(text: str) -> str | None:
    """What is wrong with a text that holds half of a surrogate pair; None if it holds none."""
    if (half := _HALF_A_PAIR.search(text)) is None:
        return None
    return f"has \\u{ord(half[0]):04x} alone, half of a surrogate pair, which receivers read differently; leave it out"


def _not_text(body: bytes) -> str | None:
    if len(body) > MAX_BODY_BYTES:
        return f"is larger than {MAX_BODY_BYTES} bytes; send a link to large content instead"
    if not body.strip():
        return "is empty; write one JSON document"
    if body.startswith(BOM_UTF8):
        return "starts with a byte order mark; save the body as UTF-8 without one"
    return None


def _syntax(error: json.JSONDecodeError) -> str:
    if error.msg == "Extra data":
        return f"goes on after its end, at line {error.lineno}, column {error.colno}; write one JSON document"
    what = error.msg.rstrip(": ").removesuffix(" at")
    return f"is not JSON at line {error.lineno}, column {error.colno}: {what[:1].lower()}{what[1:]}"


class _Refused:
    """Stands in the parsed document for a value that is not allowed, until its place is known."""

    def __init__(self, message: str) -> None:
        self.message = message


class _Hooks:
    """What the decoder calls while it reads one body."""

    def __init__(self) -> None:
        self.refused = False

    def _refuse(self, message: str) -> _Refused:
        self.refused = True
        return _Refused(message)

    def members(self, pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Refused:
        members = dict(pairs)
        if len(members) == len(pairs):
            return members
        name, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        return self._refuse(f"has the name {quoted(name)} more than once; keep one of them")

    def integer(self, text: str) -> int | _Refused:
        return int(text) if len(text) <= _MAX_INTEGER_CHARACTERS else self._refuse(_TOO_LARGE_NUMBER)

    def fraction(self, text: str) -> float | _Refused:
        number = float(text)
        return number if math.isfinite(number) else self._refuse(_TOO_LARGE_NUMBER)

    def constant(self, text: str) -> _Refused:
        return self._refuse(f"is {text}, which JSON does not have; write null or a number")


def _refused(value: Any) -> Iterator[Finding]:
    todo: list[tuple[Path, Any]] = [((), value)]
    while todo:
        path, node = todo.pop()
        if isinstance(node, _Refused):
            yield path, node.message
        elif isinstance(node, dict | list) and len(path) >= MAX_DEPTH:
            yield path, _TOO_DEEP
        elif isinstance(node, str):
            if message := half_a_pair(node):
                yield path, message
        elif isinstance(node, dict):
            yield from ((path, f"has a name that {message}") for message in map(half_a_pair, node) if message)
            todo.extend(((*path, name), member) for name, member in node.items())
        elif isinstance(node, list):
            todo.extend(((*path, index), item) for index, item in enumerate(node))
