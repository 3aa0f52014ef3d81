"""A CPU profile as Go's pprof answers it, read as stacks. Pure.

The form is profile.proto of github.com/google/pprof, gzipped: samples name locations, locations name functions,
functions name strings. Only what a stack needs is read.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections import Counter
from collections.abc import Iterator

from benchmarks.flame_parts import Stack

_SAMPLE, _LOCATION, _FUNCTION, _STRING = 2, 4, 5, 6
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
_FIXED = {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}
_PATH_PARTS = 2
"""Of a file's path: its folder and itself. What is before them is of the machine that built the program."""

Fields = list[tuple[int, int | bytes]]


def read(answer: bytes) -> Counter[Stack]:
    """How often each stack was seen, outermost function first, as `name (folder/file)`. Raises ValueError."""
    try:
        profile = list(_fields(gzip.decompress(answer)))
        strings = [_bytes(value).decode() for number, value in profile if number == _STRING]
        if not strings:
            raise ValueError("not a profile of pprof: nothing is in it")
        functions = {}
        for of in (list(_fields(_bytes(value))) for number, value in profile if number == _FUNCTION):
            functions[_one(of, 1)] = _frame(strings[_one(of, 2)], strings[_one(of, 4)])
        locations = {}
        for of in (list(_fields(_bytes(value))) for number, value in profile if number == _LOCATION):
            # A location has a line for each function that was inlined there, the innermost first.
            lines = (list(_fields(_bytes(value))) for number, value in of if number == 4)
            locations[_one(of, 1)] = [functions[_one(line, 1)] for line in lines]
        stacks: Counter[Stack] = Counter()
        for of in (list(_fields(_bytes(value))) for number, value in profile if number == _SAMPLE):
            innermost_first = [frame for place in _numbers(of, 1) for frame in locations[place]]
            stacks[tuple(reversed(innermost_first))] += _numbers(of, 2)[0]
    except (OSError, EOFError, zlib.error, LookupError, UnicodeDecodeError) as error:
        raise ValueError(f"not a profile of pprof: {type(error).__name__}: {error}") from None
    return stacks


def _frame(name: str, path: str) -> str:
    """Without the types that a generic function was made for: they are long, and have paths of their own."""
    bare = re.sub(r"\[.*\]", "", name).rpartition("/")[2]
    return f"{bare} ({'/'.join(path.split('/')[-_PATH_PARTS:])})"


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            size, at = _varint(message, at)
        elif kind in _FIXED:
            size = _FIXED[kind]
        else:
            raise ValueError(f"not a profile of pprof: a field of kind {kind}")
        if at + size > len(message):
            raise ValueError("not a profile of pprof: it ends within a field")
        yield key >> 3, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """The number that begins there, seven bits to a byte and the lowest first; and where it ends."""
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("not a profile of pprof: a number where a message should be")
    return value


def _one(fields: Fields, number: int) -> int:
    """A single number; 0 is not written."""
    return next(iter(_numbers(fields, number)), 0)


def _numbers(fields: Fields, number: int) -> list[int]:
    """All of a repeated number, packed into one field or a field for each."""
    found: list[int] = []
    for value in (value for each, value in fields if each == number):
        if isinstance(value, int):
            found.append(value)
            continue
        at = 0
        while at < len(value):
            each, at = _varint(value, at)
            found.append(each)
    return found
