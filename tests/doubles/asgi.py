"""Asks an ASGI application, without a server between."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote


@dataclass
class Answered:
    """An answer as it comes: `lines` of a watch one by one."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    parts: int = 0
    whole: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """The client goes."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(each) for each in self.body.split(b"\n")[:-1]]

    async def until(self, lines: int) -> list[dict[str, Any]]:
        """The lines of a watch, once there are so many."""
        async with asyncio.timeout(10):
            while len(self.lines) < lines:
                self.changed.clear()
                await self.changed.wait()
        return self.lines

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.body += message["body"]
            self.parts += 1
            self.whole = not message.get("more_body")
        self.changed.set()


def scope_of(method: str, url: str, user: str | None = "root", **headers: str) -> dict[str, Any]:
    path, _, query = url.partition("?")
    sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    if user is not None:
        sent.append((b"authorization", f"Bearer {user}".encode()))
    return {
        "type": "http",
        "method": method,
        "path": unquote(path),
        "query_string": query.encode(),
        "headers": sent,
        "client": ("127.0.0.1", 1),
    }


async def ask(
    app: Any, method: str, url: str, *, user: str | None = "root", body: bytes = b"", **headers: str
) -> Answered:
    """The whole answer."""
    answer, sent = Answered(), False

    async def receive() -> Any:
        nonlocal sent
        if sent:
            await answer.gone.wait()
            return {"type": "http.disconnect"}
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    async with asyncio.timeout(10):
        await app(scope_of(method, url, user, **headers), receive, answer.send)
    return answer


@contextlib.asynccontextmanager
async def watching(app: Any, url: str, *, user: str = "root", **headers: str) -> AsyncIterator[Answered]:
    """An answer that goes on, until the client goes."""
    answer = Answered()

    async def receive() -> Any:
        await answer.gone.wait()
        return {"type": "http.disconnect"}

    going = asyncio.create_task(app(scope_of("GET", url, user, **headers), receive, answer.send))
    try:
        async with asyncio.timeout(10):
            while not answer.status and not going.done():
                await asyncio.wait([going, asyncio.create_task(answer.changed.wait())], return_when="FIRST_COMPLETED")
        yield answer
    finally:
        answer.gone.set()
        async with asyncio.timeout(10):
            await going
