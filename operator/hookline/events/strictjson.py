"""Reads the bytes of a body as strict JSON.

Decides what counts as JSON here: RFC 8259 in UTF-8, narrowed to what all receivers read alike. So there is no name
twice in one object (parsers differ in which of the two wins), no NaN or Infinity, no number beyond a 64-bit float or of
more than MAX_NUMBER_CHARACTERS, no half of a surrogate pair, no byte order mark, at most MAX_DEPTH levels and
MAX_BODY_BYTES bytes. It never changes a body (it travels exactly as published) and never raises for one.

Whatever the bytes, the time grows with their number and no faster. Once MAX_PROBLEMS are found, it looks no further.
"""

from __future__ import annotations

import json
import math
import re
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate, islice
from typing import Any, NoReturn

import orjson

from hookline.events.envelope import MAX_BODY_BYTES
from hookline.events.explain import HALF_A_PAIR, MAX_PROBLEMS, NOT_JSON, Finding, Path, quoted

MAX_DEPTH = 32
"""Levels of objects and arrays. Real events have three; validators need some stack for each level."""

TOO_DEEP = f"nests deeper than {MAX_DEPTH} levels; write a flatter document"

MAX_NUMBER_CHARACTERS = 308
"""Of one number. All integers of this length fit into a 64-bit float, whose largest has 309 digits, and no float needs
more than 24 characters. Parsers that count in decimals take time by the square of the digits."""

_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
# A string matches from its first quote to the end of the text if nowhere else, and `++` and `*+` give nothing back: so
# no character is looked at twice.
_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_STRING_OR_BRACKET = re.compile(rf"{_STRING.pattern}|[][{{}}]", re.DOTALL)
_LEVELS = {**dict.fromkeys(b"[{", 1), **dict.fromkeys(b"]}", -1)}
_NO_BRACKETS = bytes(set(range(256)) - _LEVELS.keys())
_CLOSING = {"[": "]", "{": "}"}
_LOOK_CLOSER = object()
_PLAIN = frozenset({int, float, bool, type(None)})
_TOO_LARGE_NUMBER = "is a number beyond a 64-bit float; write it as a string"
_TOO_LONG_NUMBER = f"is a number of more than {MAX_NUMBER_CHARACTERS} characters; write it as a string"


def read(body: bytes) -> tuple[Any, list[Finding]]:
    """The value of a body and what is wrong with it. The value means nothing when anything is."""
    value = _plain(body)
    return (value, []) if value is not _LOOK_CLOSER else _looked_at(body)


def _looked_at(body: bytes) -> tuple[Any, list[Finding]]:
    """As read, with whatever body."""
    if problem := _not_text(body):
        return None, [_of_all(problem)]
    try:
        text = body.decode()
        if _is_too_deep(text):  # asked before the text is parsed, which takes stack for each level
            return None, [Finding(_too_deep_path(text), NOT_JSON, TOO_DEEP)]
        value, look_closer = _parsed(text)
    except UnicodeDecodeError as error:
        problem = _other_encoding(body) or f"is not UTF-8 at byte {error.start + 1}; encode the body as UTF-8"
        return None, [_of_all(problem)]
    except json.JSONDecodeError as error:
        return None, [_of_all(_other_encoding(body) or no_syntax(error))]
    return value, list(islice(_refused(value), MAX_PROBLEMS)) if look_closer else []


def _plain(body: bytes) -> Any:
    """The value of a body that shows by itself that nothing is wrong, as that of most producers; else _LOOK_CLOSER.

    orjson reads it, at a quarter of the cost. It refuses all that is refused here, but for the size, which is looked at
    before, and three things that the value shows:

    - A name twice, of which it keeps one. Each name and each text stands between two quotes in the body, so that what
      was left out leaves quotes over, as an escaped quote does.
    - Numbers beyond 64 bits or of very many characters: they are floats now. So each float is looked at closer.
    - Levels: it takes 1,024.
    """
    if len(body) > MAX_BODY_BYTES:
        return _LOOK_CLOSER
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _LOOK_CLOSER
    return value if body.count(b'"') == 2 * _strings((value,), MAX_DEPTH) else _LOOK_CLOSER


def _strings(values: Iterable[Any], levels: int) -> float:
    """How many names and texts there are in these; more than any body has if there is a float, or something that goes
    deeper than so many levels."""
    if levels < 0:
        return math.inf
    found = 0.0
    for value in values:
        kind = type(value)
        if kind is str:
            found += 1
        elif kind is dict:
            found += len(value) + _strings(value.values(), levels - 1)
        elif kind is list:
            found += _strings(value, levels - 1)
        elif kind is float:
            return math.inf
    return found


def _parsed(text: str) -> tuple[Any, bool]:
    """The value, and whether something in it may have to be refused. Raises JSONDecodeError."""
    try:
        return _QUICK.decode(text), _ESCAPED_SURROGATE.search(text) is not None
    except _ToBeRefused:
        return _THOROUGH.decode(text), True


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
    if (half := HALF_A_PAIR.search(text)) is None:
        return None
    return f"has \\u{ord(half[0]):04x} alone, half of a surrogate pair, which receivers read differently; leave it out"


def no_syntax(error: json.JSONDecodeError) -> str:
    """What is wrong with a text that cannot be read as JSON. What the module json says of it tells no value."""
    if error.msg == "Extra data":
        return f"goes on after its end, at line {error.lineno}, column {error.colno}; write one JSON document"
    what = error.msg.rstrip(": ").removesuffix(" at")
    return f"is not JSON at line {error.lineno}, column {error.colno}: {what[:1].lower()}{what[1:]}"


def no_number(text: str) -> str:
    """What is wrong with NaN, Infinity or -Infinity."""
    return f"is {text}, which JSON does not have; write null or a number"


def twice(name: str) -> str:
    """What is wrong with an object that has a name more than once."""
    return f"has the name {quoted(name)} more than once; keep one of them"


def _of_all(problem: str) -> Finding:
    return Finding((), NOT_JSON, problem)


def _not_text(body: bytes) -> str | None:
    if len(body) > MAX_BODY_BYTES:
        return f"is larger than {MAX_BODY_BYTES} bytes; send a link to large content instead"
    if not body.strip():
        return "is empty; write one JSON document"
    if body.startswith(BOM_UTF8):
        return "starts with a byte order mark; save the body as UTF-8 without one"
    return None


def _other_encoding(body: bytes) -> str | None:
    """What is wrong with a body in UTF-16 or UTF-32, which shows by its NULs (RFC 4627, section 3); None for others."""
    encoding = json.detect_encoding(body)
    try:
        if encoding.startswith("utf-8") or "\0" in body.decode(encoding):
            return None
    except UnicodeDecodeError:
        return None
    return f"is encoded as {encoding[:6].upper()}; encode the body as UTF-8"


def _is_too_deep(text: str) -> bool:
    """Whether brackets outside of strings go deeper than MAX_DEPTH levels. Told without a step of Python for each."""
    if text.count("{") + text.count("[") <= MAX_DEPTH:
        return False
    brackets = _STRING.sub("", text).encode().translate(None, delete=_NO_BRACKETS)
    return MAX_DEPTH + 1 in accumulate(map(_LEVELS.__getitem__, brackets))


def _too_deep_path(text: str) -> Path:
    """The first place below MAX_DEPTH levels. Raises JSONDecodeError where the text before it is none of JSON's."""
    closing: list[str] = []
    for token in _STRING_OR_BRACKET.finditer(text):
        if token[0] in _CLOSING:
            if len(closing) == MAX_DEPTH:
                return _path_to_the_end(text[: token.start()], closing)
            closing.append(_CLOSING[token[0]])
        elif token[0] in "]}":
            del closing[-1:]
    return ()


def _path_to_the_end(beginning: str, closing: list[str]) -> Path:
    """The path of the value that comes next in a text, when all that is open there would be closed after it."""
    whole = f"{beginning}null{''.join(reversed(closing))}"
    # Objects as tuples of their members: a name may stand there twice, and the last member is the one that goes on.
    node = json.loads(whole, object_pairs_hook=tuple, parse_int=str, parse_float=str)
    path: list[str | int] = []
    for _ in closing:
        step, node = node[-1] if isinstance(node, tuple) else (len(node) - 1, node[-1])
        path.append(step)
    return tuple(path)


class _Refused:
    """Stands in the parsed document for a value that is not allowed, until its place is known."""

    def __init__(self, message: str) -> None:
        self.message = message


class _ToBeRefused(Exception):
    """Something in a document is not allowed. Read again, to find its place and whatever else there is."""


class _Hooks:
    """What the decoder calls while it reads a body. `refuse` makes what stands for a value, or raises."""

    def __init__(self, refuse: Callable[[str], _Refused]) -> None:
        self._refuse = refuse

    def members(self, pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Refused:
        members = dict(pairs)
        if len(members) == len(pairs):
            return members
        return self._refuse(twice(_first_repeated(pairs)))

    def integer(self, text: str) -> int | _Refused:
        return int(text) if len(text) <= MAX_NUMBER_CHARACTERS else self._refuse(_TOO_LONG_NUMBER)

    def fraction(self, text: str) -> float | _Refused:
        if len(text) > MAX_NUMBER_CHARACTERS:
            return self._refuse(_TOO_LONG_NUMBER)
        number = float(text)
        return number if math.isfinite(number) else self._refuse(_TOO_LARGE_NUMBER)

    def constant(self, text: str) -> _Refused:
        return self._refuse(no_number(text))


def _decoder(refuse: Callable[[str], _Refused]) -> json.JSONDecoder:
    hooks = _Hooks(refuse)
    return json.JSONDecoder(
        object_pairs_hook=hooks.members,
        parse_float=hooks.fraction,
        parse_int=hooks.integer,
        parse_constant=hooks.constant,
    )


def _stop(message: str) -> NoReturn:
    raise _ToBeRefused(message)


_QUICK = _decoder(_stop)
_THOROUGH = _decoder(_Refused)
"""Made once: to make one costs a fifth of reading 1 KiB."""


def _first_repeated(pairs: list[tuple[str, Any]]) -> str:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            break
        seen.add(name)
    return name


def _refused(node: Any, path: Path = ()) -> Iterator[Finding]:
    """What is wrong with the values in a document, in the order in which they stand there."""
    if isinstance(node, _Refused):
        yield Finding(path, NOT_JSON, node.message)
    elif isinstance(node, str):
        if message := half_a_pair(node):
            yield Finding(path, NOT_JSON, message)
    elif isinstance(node, dict):
        if message := next(filter(None, map(half_a_pair, node)), None):
            yield Finding(path, NOT_JSON, f"has a name that {message}")
        for name, member in node.items():
            if type(member) not in _PLAIN:
                yield from _refused(member, (*path, name))
    elif isinstance(node, list):
        for index, item in enumerate(node):
            if type(item) not in _PLAIN:
                yield from _refused(item, (*path, index))
