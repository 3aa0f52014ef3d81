"""The context of an event: short texts that a producer sends beside the body, such as `traceparent`, and that travel
with the event in headers of its messages.

Decides which names and values may travel, how they are written into headers, and what of the headers that anybody may
have written counts. Which names there are, and what each means, is the producer's to say. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import quote, unquote

PREFIX = "Hookline-Context-"
"""Of the headers. Behind it is the name, exactly as it is: NATS tells capitals from small letters."""

MAX_NAMES = 32

CONTEXT_BYTES = 4 * 1024
"""Of all the header lines of one context, at most. Together with all else that a call carries it fits into the 8 KiB of
headers that many HTTP servers take. Part of envelope.HEADERS_BYTES, and of ROOM_BYTES: what a stranger wrote in a
shorter way than ours grows to no more than this."""

NO_CONTEXT: Mapping[str, str] = MappingProxyType({})

_NAME = re.compile(r"[a-z0-9]{1,64}")
"""As CloudEvents 1.0.2 has names of attributes ("Naming Conventions"); it recommends 20 characters at most. W3C Trace
Context has such names."""

_NONCHARACTERS = "".join(f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000))
_NO_TEXT = re.compile(f"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef{_NONCHARACTERS}]")
"""What a String of CloudEvents 1.0.2 may not hold ("Type System"): control characters, line breaks among them, halves
of surrogate pairs, and noncharacters."""

_AS_THEY_ARE = "".join(chr(each) for each in range(0x21, 0x7F) if chr(each) not in '"%')
"""All others are percent-encoded UTF-8, as in the HTTP binding of CloudEvents 1.0: in headers NATS has printable ASCII
only (its ADR-4), and spaces at an end would be lost."""

_NOT_UTF_8 = "\ufffd"
"""What a reader of headers puts in the place of bytes that are no UTF-8."""


class ContextProblem(NamedTuple):
    """One thing that is wrong with a context. Never tells a value."""

    name: str
    """As whoever made it up wrote it, so it may hold anything; empty where all of it is meant."""
    reason: str


def is_name(text: str) -> bool:
    """Whether something in a context may be called so."""
    return _NAME.fullmatch(text) is not None


def is_text(text: str) -> bool:
    """Whether something in a context may say so."""
    return text.isprintable() or _NO_TEXT.search(text) is None  # what is printable is one, at a 30th of the cost


def context_problems(context: Mapping[str, str]) -> list[ContextProblem]:
    """What is wrong with a context; nothing when it may travel."""
    if len(context) > MAX_NAMES:
        return [ContextProblem("", f"has {len(context)} names and may have {MAX_NAMES}; leave some out")]
    found = [ContextProblem(name, why) for name, text in context.items() if (why := _problem(name, text))]
    if found:
        return found
    # No text is shorter in a header, and to write a long one takes long.
    is_long = sum(map(len, context.values())) > CONTEXT_BYTES
    if is_long or sum(_line_bytes(name, _written(text)) for name, text in context.items()) > CONTEXT_BYTES:
        return [ContextProblem("", f"takes more than {CONTEXT_BYTES} bytes in headers; shorten it")]
    return []


def context_headers(context: Mapping[str, str]) -> dict[str, str]:
    """Of a message. `context` may travel, see `context_problems`: what may not would be left out by who reads it."""
    return {f"{PREFIX}{name}": _written(text) for name, text in context.items()}


def context_of(headers: Mapping[str, str]) -> Mapping[str, str]:
    """What the headers of a message say. What breaks the rules is left out, and of too much what comes last."""
    if PREFIX not in "".join(headers):  # 0.2 us, and a look at each name 0.7 us, for each call of an event without any
        return NO_CONTEXT
    found: dict[str, str] = {}
    left_bytes = CONTEXT_BYTES
    for header in [each for each in headers if each.startswith(PREFIX)][:MAX_NAMES]:
        name, text = header.removeprefix(PREFIX), _read(headers[header])
        if text is None or _problem(name, text):
            continue
        size = _line_bytes(name, _written(text))
        if size <= left_bytes:
            found[name] = text
            left_bytes -= size
    return found or NO_CONTEXT


def _problem(name: str, text: str) -> str:
    if not is_name(name):
        return "is no name for it; write 1 to 64 lower-case letters and digits"
    if not is_text(text):
        return "holds a line break or another character that no text has; leave it out"
    return ""


def _written(text: str) -> str:
    return quote(text, safe=_AS_THEY_ARE)


def _read(value: str) -> str | None:
    """None of what is too long or no UTF-8."""
    if len(value) > CONTEXT_BYTES or _NOT_UTF_8 in value:
        return None
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError:
        return None


def _line_bytes(name: str, written: str) -> int:
    return len(f"{PREFIX}{name}: {written}\r\n")
