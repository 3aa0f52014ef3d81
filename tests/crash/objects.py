"""A double of kube-apiserver as far as an executor of Replays asks it: Replays, Webhooks and Leases, with versions.

Each request is a step: an executor, or whatever `passages` say, dies before it has its effect, or after that and before
the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import itertools
import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from crash.wire import HOST, Passages, When

Object = dict[str, Any]

_KINDS = {"replays": "Replay", "webhooks": "Webhook", "leases": "Lease"}
_VERBS = {"GET": "read", "POST": "write", "PUT": "write", "PATCH": "write"}


class Objects:
    """`held` by the path of each. Serves plain HTTP on loopback."""

    def __init__(self, passages: Passages) -> None:
        self.held: dict[str, Object] = {}
        self._passages = passages
        self._versions = itertools.count(1)
        self._changed = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._ended = False
        self.url = ""
        self.lease_seconds: int | None = None
        """How long Leases last, if not as long as their holders want."""
        self.refused = 0
        """Writes that named another version than there was."""

    async def __aenter__(self) -> Objects:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, 0).start()
        self.url = f"http://{HOST}:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        self._ended = True
        self._changed.set()
        await self._runner.cleanup()

    def put(self, path: str, manifest: Mapping[str, Any]) -> Object:
        """Hold an object with a new version; it."""
        metadata = {**manifest["metadata"], "resourceVersion": str(next(self._versions))}
        found = self.held[path] = {**manifest, "metadata": metadata}
        self._changed.set()
        self._changed = asyncio.Event()
        return found

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        step = _step(request)
        dies = self._passages.passed(step)
        if dies and self._passages.when is When.BEFORE:
            return self._die(request)
        if "watch" in request.query:
            return await self._watch(request, dies=dies)
        code, said = self._done(request.method, request.path, await request.read())
        return self._die(request) if dies else web.json_response(said, status=code)

    def _die(self, request: web.Request) -> web.Response:
        self._passages.die()
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    def _done(self, method: str, path: str, body: bytes) -> tuple[int, Object]:
        place = path.removesuffix("/status")
        if method == "GET":
            return self._got(place)
        asked = json.loads(body)
        if "/leases" in place:
            asked = self._lasting(asked)
        if method == "POST":
            place = f"{place}/{asked['metadata']['name']}"
            return (201, self.put(place, asked)) if place not in self.held else (409, {})
        there = self.held.get(place)
        if there is None:
            return 404, {}
        if asked["metadata"]["resourceVersion"] != there["metadata"]["resourceVersion"]:
            self.refused += 1
            return 409, {}
        changed = {**there, "status": asked["status"]} if method == "PATCH" else asked
        return 200, self.put(place, changed)

    def _lasting(self, lease: Object) -> Object:
        if self.lease_seconds is None:
            return lease
        return {**lease, "spec": {**lease["spec"], "leaseDurationSeconds": self.lease_seconds}}

    def _got(self, path: str) -> tuple[int, Object]:
        if path in self.held:
            return 200, self.held[path]
        kind = path.rpartition("/")[2]
        if kind not in _KINDS:
            return 404, {}
        found = [each for place, each in self.held.items() if place.split("/")[-2] == kind]
        return 200, {"items": copy.deepcopy(found), "metadata": {"resourceVersion": str(next(self._versions))}}

    async def _watch(self, request: web.Request, *, dies: bool) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        if dies:
            self._die(request)
            return response
        with contextlib.suppress(ConnectionError):
            while not self._ended:
                changed = self._changed
                for each in self._got(request.path)[1]["items"]:
                    await response.write(json.dumps({"type": "MODIFIED", "object": each}).encode() + b"\n")
                await changed.wait()
        return response


def _step(request: web.Request) -> str:
    """`GET /apis/…/replays/outage` is the step `read Replay`, `PATCH /apis/…/replays/outage/status` `write Replay`."""
    words = request.path.removesuffix("/status").split("/")
    if words[-1] in _KINDS and request.method == "GET":
        return f"{'watch' if 'watch' in request.query else 'list'} {_KINDS[words[-1]]}s"
    kind = words[-1] if request.method == "POST" else words[-2]
    return f"{_VERBS[request.method]} {_KINDS[kind]}"
