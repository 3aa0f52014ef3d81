"""The body of a request, as it comes in: bounded in size, in time, and in what compression makes of it."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from hookline.gateway.problem import Kind, refuse
from hookline.runtime.tasks import Deadlines

BODY_SECONDS = 30.0
"""How long a body may take to arrive."""

MAX_MEMBERS = 64
"""Of one gzip. Each copies what is left, so that 200,000 empty ones would take minutes."""

_GZIP = zlib.MAX_WBITS | 16
_AS_IT_IS = frozenset({"", "identity"})
_ENCODINGS = _AS_IT_IS | {"gzip", "x-gzip"}


async def read_body(
    receive: Receive,
    headers: Mapping[str, str],
    *,
    at_most_bytes: int,
    hold: Callable[[int], None],
    deadlines: Deadlines,
) -> bytes:
    """The whole body, expanded if it is compressed with gzip, of `at_most_bytes` in either form.

    `hold` is told of each piece of memory before it is taken, and may refuse it. Raises Refused: TOO_LARGE, TOO_SLOW,
    UNSUPPORTED_MEDIA_TYPE, BAD_REQUEST for what is no gzip; ClientDisconnect.
    """
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding not in _ENCODINGS:
        raise refuse(Kind.UNSUPPORTED_MEDIA_TYPE, "Content-Encoding may be gzip, or left out")
    said = headers.get("content-length", "")
    if len(said) > 18 or (said.isdigit() and int(said) > at_most_bytes):
        raise _too_large(at_most_bytes)
    try:
        with deadlines.next():
            sent = await _all(receive, at_most_bytes, hold)
    except TimeoutError:
        raise refuse(Kind.TOO_SLOW, f"the body did not arrive within {deadlines.seconds:g} s") from None
    return sent if encoding in _AS_IT_IS else _expanded(sent, at_most_bytes, hold)


async def _all(receive: Receive, at_most_bytes: int, hold: Callable[[int], None]) -> bytes:
    pieces: list[bytes] = []
    size = 0
    more = True
    while more:
        # By itself, and not by Request.stream: the loop keeps account of each asynchronous generator.
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        more = message.get("more_body", False)
        if chunk := message.get("body", b""):
            size += len(chunk)
            if size > at_most_bytes:
                raise _too_large(at_most_bytes)
            hold(len(chunk))
            pieces.append(chunk)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _expanded(sent: bytes, at_most_bytes: int, hold: Callable[[int], None]) -> bytes:
    """What gzip made `sent` of, in one or more members (RFC 1952). Never more than `at_most_bytes` in memory."""
    found = bytearray()
    left = sent
    members = 0
    try:
        while left:
            members += 1
            if members > MAX_MEMBERS:
                raise refuse(Kind.BAD_REQUEST, f"a gzip has at most {MAX_MEMBERS} members here")
            member = zlib.decompressobj(_GZIP)
            piece = member.decompress(left, at_most_bytes - len(found) + 1)
            if len(found) + len(piece) > at_most_bytes:
                raise _too_large(at_most_bytes)
            hold(len(piece))
            found += piece
            if not member.eof:
                raise refuse(Kind.BAD_REQUEST, "the body ends before its gzip does")
            left = member.unused_data
    except zlib.error:
        raise refuse(Kind.BAD_REQUEST, "the body is not gzip, as Content-Encoding says") from None
    return bytes(found)


def _too_large(at_most_bytes: int) -> Exception:
    return refuse(Kind.TOO_LARGE, f"the body has more than {at_most_bytes} bytes")
