"""A gateway of the benchmarks in a process of its own, or an empty page on the same server.

Runs as `hookline gateway` does, but for its callers: two tokens, whose namespaces are ONE and OTHER.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, cast

import uvloop
from benchmarks.child import Child
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from hookline.events.context import NO_CONTEXT
from hookline.events.schemas import Catalogue
from hookline.gateway.app import Pages
from hookline.gateway.callers import Caller, digest_of
from hookline.gateway.intake import Intake
from hookline.gateway.limits import Limits
from hookline.gateway.problem import Kind, refuse, worded
from hookline.gateway.process import GatewayProcess
from hookline.gateway.repeats import Repeats
from hookline.runtime.logs import set_up_logs
from hookline.runtime.metrics import GatewayMetrics
from hookline.runtime.tuning import collect_seldom, tune_process
from hookline.serving.server import serving
from hookline.stream.admission import Admission, Admitted

ONE, OTHER = "one", "other"
TOKENS = {ONE: "bench-token-of-one", OTHER: "bench-token-of-another"}
READY_SECONDS = 30.0
EMPTY, PLAYED = "empty", "played"
"""What a server may be, besides the address of NATS for a gateway with the queue."""


class Server(Child):
    """The process, for those who use it. `port` is there once it is ready."""

    def __init__(self, kind: str, tls: tuple[str, str] | None = None) -> None:
        """`tls`: the files of a certificate and its key."""
        super().__init__("a gateway", _work, kind, tls)

    async def __aenter__(self) -> Server:
        with ExitStack() as stack:
            stack.enter_context(self)
            self.port = int(await self.heard(READY_SECONDS))
            stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.__exit__)


class _Tokens:
    """Known by their digests, as those of Secrets are."""

    def __init__(self) -> None:
        self._callers = {digest_of(token): Caller(f"{name}/bench", name) for name, token in TOKENS.items()}

    async def caller(self, token: str, source: str = "") -> Caller:  # noqa: ARG002
        found = self._callers.get(digest_of(token))
        if found is None:
            raise refuse(Kind.UNAUTHENTICATED, "this token is not known here")
        return found

    async def may_publish_for(self, caller: Caller, namespace: str) -> bool:
        return caller.namespace == namespace


class _Played(Admission):
    """Judges as a real one does, and stores nothing."""

    def __init__(self) -> None:
        self.catalogue = Catalogue()

    async def store(
        self,
        tenant: str,  # noqa: ARG002
        event_type: str,  # noqa: ARG002
        body: bytes,  # noqa: ARG002
        event_id: str = "",
        *,
        context: Mapping[str, str] = NO_CONTEXT,  # noqa: ARG002
        patience_seconds: float,  # noqa: ARG002
    ) -> Admitted:
        return Admitted(event_id)


def _work(pipe: Any, kind: str, tls: tuple[str, str] | None) -> None:
    tune_process()
    set_up_logs(json=True)
    context = None
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
    uvloop.run(_with_app(pipe, kind, context) if kind in (EMPTY, PLAYED) else _with_queue(pipe, kind, context))


async def _with_app(pipe: Any, kind: str, tls: ssl.SSLContext | None) -> None:
    app = cast(Any, _empty() if kind == EMPTY else _played())
    async with serving(app, host="127.0.0.1", port=0, wording=worded, tls=tls) as port:
        collect_seldom()
        pipe.send(port)
        await asyncio.Event().wait()


async def _with_queue(pipe: Any, nats_url: str, tls: ssl.SSLContext | None) -> None:
    gateway = GatewayProcess(nats_url, _Tokens(), host="127.0.0.1", port=0, tls=tls)

    async def ready(port: int) -> None:
        await gateway.ready.wait()
        collect_seldom()
        pipe.send(port)

    async with asyncio.TaskGroup() as group:
        await gateway.run(asyncio.Event(), on_listening=lambda port: _ignored(group.create_task(ready(port))))


def _ignored(_: object) -> None:
    pass


def _empty() -> Starlette:
    async def page(request: Request) -> Response:
        # Any handler of a POST reads what was sent, here in the way that costs least. Else the server throws it away.
        while (await request.receive()).get("more_body"):
            pass
        return Response(status_code=202)

    return Starlette(routes=[Route("/v1/events/{type}", page, methods=["POST"])])


def _played() -> ASGIApp:
    metrics = GatewayMetrics(verdicts=["stored"])
    intake = Intake(_Played(), Repeats(), on_stored=metrics.stored)
    return Pages(lambda: intake, lambda: intake.catalogue, _Tokens(), Limits(), metrics.told).app()
