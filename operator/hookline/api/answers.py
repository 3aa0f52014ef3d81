"""How an answer is sent: JSON at once, or in parts while it is made. Knows nothing of what it says."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Coroutine, Mapping
from typing import Any

from starlette.types import Message, Receive, Send

from hookline.api.status import Refused, Status, bad_request, too_large, unsupported_media_type
from hookline.runtime.tasks import Deadline, cancel

JSON = "application/json"
BODY_SECONDS = 10.0
MAX_BODY_BYTES = 64 * 1024

Headers = list[tuple[bytes, bytes]]

_COMMON = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))


def encoded(said: object, *, pretty: bool = False) -> bytes:
    return json.dumps(said, indent=2 if pretty else None, separators=None if pretty else (",", ":")).encode() + b"\n"


async def send_json(send: Send, said: object, *, status: int = 200, pretty: bool = False) -> None:
    await send_bytes(send, encoded(said, pretty=pretty), status=status)


async def send_bytes(send: Send, body: bytes, *, status: int = 200, content_type: str = JSON) -> None:
    await send(_start(status, [(b"content-length", b"%d" % len(body)), (b"content-type", content_type.encode())]))
    await send({"type": "http.response.body", "body": body})


async def send_status(send: Send, status: Status, *, head: bool = False) -> None:
    body = status.body()
    headers = [(name.lower().encode(), value.encode()) for name, value in status.headers().items()]
    await send(
        {
            "type": "http.response.start",
            "status": status.code,
            "headers": [*headers, (b"content-length", b"%d" % len(body))],
        }
    )
    await send({"type": "http.response.body", "body": b"" if head else body})


async def send_document(send: Send, asked: Headers, body: bytes, *, content_type: str = JSON) -> None:
    """What is the same for everybody: whoever has it is told that it is still so."""
    tag = f'"{hashlib.sha256(body).hexdigest()}"'.encode()
    if any(name == b"if-none-match" and value == tag for name, value in asked):
        await send(_start(304, [(b"etag", tag)]))
        await send({"type": "http.response.body", "body": b""})
        return
    headers = [(b"content-length", b"%d" % len(body)), (b"content-type", content_type.encode()), (b"etag", tag)]
    await send(_start(200, [*headers, (b"vary", b"Accept")]))
    await send({"type": "http.response.body", "body": body})


class Stream:
    """An answer in parts. What is given waits until it is much, or until `flush`."""

    _PART_BYTES = 64 * 1024

    def __init__(self, send: Send) -> None:
        self._send = send
        self._waiting = bytearray()

    async def begin(self) -> None:
        await self._send(_start(200, [(b"content-type", JSON.encode())]))

    async def give(self, part: bytes) -> None:
        self._waiting += part
        if len(self._waiting) >= self._PART_BYTES:
            await self.flush()

    async def flush(self) -> None:
        if self._waiting:
            await self._send({"type": "http.response.body", "body": bytes(self._waiting), "more_body": True})
            self._waiting.clear()

    async def end(self) -> None:
        await self._send({"type": "http.response.body", "body": bytes(self._waiting)})


async def read_json(receive: Receive, headers: Headers) -> Mapping[str, Any]:
    """The body of a request; empty of one without. Raises Refused, ClientGone."""
    body = bytearray()
    try:
        with Deadline(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                body += message.get("body", b"")
                if len(body) > MAX_BODY_BYTES:
                    raise Refused(too_large(f"the body of the request has more than {MAX_BODY_BYTES} bytes"))
                if not message.get("more_body"):
                    break
    except TimeoutError:
        raise Refused(Status(408, "Timeout", f"the body did not come within {BODY_SECONDS:g} s")) from None
    if not body.strip():
        return {}
    sent = next((value for name, value in headers if name == b"content-type"), JSON.encode())
    if sent.split(b";")[0].strip().lower() != JSON.encode():
        raise Refused(unsupported_media_type())
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(bad_request("the body of the request is not JSON")) from None
    if not isinstance(said, dict):
        raise Refused(bad_request("the body of the request is no JSON object"))
    return said


async def while_heard(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Do what an answer needs, as long as its client is there: the server takes what is sent to one that is gone, and
    says nothing. Raises ClientGone, and what `work` raises."""
    gone, going = asyncio.create_task(until_gone(receive)), asyncio.create_task(work)
    try:
        await asyncio.wait([gone, going], return_when=asyncio.FIRST_COMPLETED)
        if not going.done():
            raise ClientGone
        going.result()
    finally:
        await cancel([gone, going])


async def until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class ClientGone(Exception):
    """Nobody hears the answer."""


def _start(status: int, headers: Headers) -> Message:
    return {"type": "http.response.start", "status": status, "headers": [*_COMMON, *headers]}
