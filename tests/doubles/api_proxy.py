"""A proxy before a real API server, for tests: sees every request of an operator, and can do to it what networks do.

Decides nothing by itself: a test sets what is refused, held or cut. Every write that was answered is noted, with
whether it changed anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

Object = dict[str, Any]

_PATH = re.compile(
    r"/(?:api/v1|apis/[^/]+/[^/]+)(?:/namespaces/(?P<namespace>[^/]+)(?=/))?/(?P<plural>[^/]+)"
    r"(?:/(?P<name>[^/]+))?(?:/(?P<part>[^/]+))?"
)
_HOP_BY_HOP = {"connection", "content-length", "transfer-encoding", "host", "content-encoding"}


@dataclass(frozen=True)
class Asked:
    """One request."""

    who: str
    """Whose server URL it came by."""
    method: str
    path: str
    query: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def plural(self) -> str:
        return self._part("plural")

    @property
    def namespace(self) -> str:
        return self._part("namespace")

    @property
    def name(self) -> str:
        return self._part("name")

    @property
    def part(self) -> str:
        """The subresource, such as `status`."""
        return self._part("part")

    @property
    def is_watch(self) -> bool:
        return self.query.get("watch") == "true"

    @property
    def is_list(self) -> bool:
        return self.method == "GET" and not self.name and not self.is_watch

    @property
    def is_write(self) -> bool:
        """Whether it is a write, of anything but the Lease: that is renewed all the time."""
        return self.method != "GET" and self.plural != "leases"

    @property
    def title(self) -> str:
        return "/".join(each for each in (self.plural, self.namespace, self.name, self.part) if each)

    def _part(self, name: str) -> str:
        match = _PATH.fullmatch(self.path)
        return (match[name] or "") if match else ""


@dataclass(frozen=True)
class Write:
    """A write that the API server answered."""

    asked: Asked
    status: int
    changed: bool
    """Whether the object has another version now."""


@dataclass
class Answer:
    """What the API server answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


Before = Callable[[Asked], Awaitable[Answer | None]]
"""Called with each request. What it gives is answered instead of the API server; it may take its time."""
After = Callable[[Asked, Answer], Awaitable[None]]
"""Called between the API server's answer and its way back."""


async def _let_pass(_: Asked) -> Answer | None:
    return None


async def _let_back(_: Asked, __: Answer) -> None:
    return None


class ApiProxy:
    """Listens on loopback without TLS. `token` reads objects before they are written."""

    def __init__(self, url: str, ca_file: Path, token: str) -> None:
        self._url = url
        self._tls = ssl.create_default_context(cafile=str(ca_file))
        self._token = token
        self._watching: set[asyncio.Task[Any]] = set()
        self._watches_pass = asyncio.Event()
        self._watches_pass.set()
        self._forget_versions = False
        self._connection: aiohttp.ClientSession | None = None
        self._own_url = ""
        self.before: Before = _let_pass
        self.after: After = _let_back
        self.requests: list[Asked] = []
        self.writes: list[Write] = []

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[ApiProxy]:
        """Answer until the end of the block."""
        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.router.add_route("*", "/{who}/{path:.*}", self._pass_on)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        connector = aiohttp.TCPConnector(ssl=self._tls, limit=0)
        async with aiohttp.ClientSession(connector=connector, auto_decompress=True) as self._connection:
            await runner.setup()
            try:
                await web.TCPSite(runner, "127.0.0.1", 0).start()
                self._own_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
                yield self
            finally:
                self._watches_pass.set()
                self._drop_watches()
                await runner.cleanup()

    def url_of(self, who: str) -> str:
        """The API server's URL for one of several clients."""
        return f"{self._own_url}/{who}"

    def undo(self) -> None:
        """Let everything pass again."""
        self.before, self.after = _let_pass, _let_back

    def cut_watches(self) -> None:
        """Drop every watch, and let none begin."""
        self._watches_pass.clear()
        self._drop_watches()

    def join_watches(self, *, forgotten: bool = False) -> None:
        """Let watches begin again. `forgotten`: their version is no longer known, which they learn in the stream."""
        self._forget_versions = forgotten
        self._watches_pass.set()

    def _drop_watches(self) -> None:
        for task in self._watching:
            task.cancel()

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        who = request.match_info["who"]
        path = f"/{request.match_info['path']}"
        asked = Asked(who, request.method, path, dict(request.query), await request.read())
        self.requests.append(asked)
        instead = await self.before(asked)
        if instead is not None:
            return _response(instead)
        if asked.is_watch:
            return await self._watch(request, asked)
        version = await self._version(asked) if asked.is_write else None
        answer = await self._forward(request, asked)
        if asked.is_write:
            changed = answer.status < 300 and _version_in(answer.body) != version
            self.writes.append(Write(asked, answer.status, changed))
        await self.after(asked, answer)
        return _response(answer)

    async def _forward(self, request: web.Request, asked: Asked) -> Answer:
        assert self._connection is not None
        try:
            async with self._connection.request(
                asked.method,
                self._url + _without_who(request.raw_path),
                headers=_headers(request.headers),
                data=asked.body or None,
            ) as answer:
                return Answer(answer.status, _headers(answer.headers), await answer.read())
        except aiohttp.ClientError:
            # As a client sees an API server that is not there.
            if request.transport is not None:
                request.transport.abort()
            raise

    async def _watch(self, request: web.Request, asked: Asked) -> web.StreamResponse:
        task = asyncio.current_task()
        assert task is not None
        self._watching.add(task)
        try:
            return await self._stream(request)
        except asyncio.CancelledError:
            if request.transport is not None:
                request.transport.abort()
            raise
        finally:
            self._watching.discard(task)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        held = not self._watches_pass.is_set()
        await self._watches_pass.wait()
        if held and self._forget_versions:
            return _response(Answer(200, {"Content-Type": "application/json"}, _watch_error(410, "Expired")))
        assert self._connection is not None
        async with self._connection.get(
            self._url + _without_who(request.raw_path),
            headers=_headers(request.headers),
            timeout=aiohttp.ClientTimeout(total=None),
        ) as answer:
            response = web.StreamResponse(status=answer.status, headers=_headers(answer.headers))
            await response.prepare(request)
            with contextlib.suppress(aiohttp.ClientError, ConnectionError):
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
            return response

    async def _version(self, asked: Asked) -> str:
        """The version of the object that is about to be written; empty when there is none."""
        if asked.method == "POST":
            return ""
        assert self._connection is not None
        path = asked.path.removesuffix(f"/{asked.part}") if asked.part else asked.path
        async with self._connection.get(self._url + path, headers={"Authorization": f"Bearer {self._token}"}) as answer:
            return _version_in(await answer.read()) if answer.status == 200 else ""


def refusal(status: int, reason: str, **headers: str) -> Answer:
    """An answer as the API server words its refusals."""
    said = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": status}
    return Answer(status, {"Content-Type": "application/json", **headers}, json.dumps(said).encode())


def watch_refusal(status: int, reason: str) -> Answer:
    """A refusal as the API server puts it into a watch that has begun."""
    return Answer(200, {"Content-Type": "application/json"}, _watch_error(status, reason))


def _watch_error(status: int, reason: str) -> bytes:
    said = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": status}
    return json.dumps({"type": "ERROR", "object": said}).encode() + b"\n"


def _response(answer: Answer) -> web.Response:
    return web.Response(status=answer.status, headers=dict(answer.headers), body=answer.body)


def _without_who(raw_path: str) -> str:
    return "/" + raw_path.split("/", 2)[2]


def _headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _HOP_BY_HOP}


def _version_in(body: bytes) -> str:
    try:
        metadata: Object = json.loads(body).get("metadata") or {}
    except (ValueError, AttributeError):
        return ""
    return str(metadata.get("resourceVersion", ""))
