"""The small HTTP server of a pod: whether it lives, whether it is ready, its metrics, and pages for other programs.

Decides paths and status codes; what is said there decides the caller. Serves what may be read by anybody who reaches
the port: never put a secret or a URL into a page.
"""

from __future__ import annotations

import contextlib
import errno
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import structlog
from aiohttp import web

log = structlog.get_logger(__name__)

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_NO_SUCH_ADDRESS = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
_ALL_IPV4, _ALL_IPV6 = "0.0.0.0", "::"  # noqa: S104  # a kubelet asks at the pod's address
_END_SECONDS = 1.0
"""How long questions under way may hold up the end of the process."""

Handler = Callable[[web.Request], Awaitable[web.Response]]


class Probes:
    """The pages. `live` and `ready` give None when all is well, else one line that says what is not."""

    def __init__(
        self,
        *,
        live: Callable[[], str | None],
        ready: Callable[[], str | None],
        metrics: Callable[[], bytes],
        json_pages: Mapping[str, Callable[[], object]] | None = None,
    ) -> None:
        self._routes: dict[str, Handler] = {
            "/livez": _health(live),
            "/readyz": _health(ready),
            "/metrics": _page(metrics, METRICS_TYPE),
        }
        for path, page in (json_pages or {}).items():
            self._routes[path] = _page(_as_json(page), "application/json")

    @contextlib.asynccontextmanager
    async def serving(self, host: str, port: int) -> AsyncIterator[int]:
        """Answer at `host`, empty for every address; gives the port. Raises OSError when it cannot be had."""
        app = web.Application()
        for path, handler in self._routes.items():
            app.router.add_get(path, handler)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=_END_SECONDS)
        await runner.setup()
        try:
            bound = await _listen(runner, host, port)
            log.info("answering health and metrics", port=bound)
            yield bound
        finally:
            await runner.cleanup()


async def _listen(runner: web.AppRunner, host: str, port: int) -> int:
    if host:
        await web.TCPSite(runner, host, port).start()
        return _port(runner)
    await web.TCPSite(runner, _ALL_IPV4, port).start()
    try:
        await web.TCPSite(runner, _ALL_IPV6, _port(runner)).start()
    except OSError as error:
        # A machine may be without IPv6.
        if error.errno not in _NO_SUCH_ADDRESS:
            raise
    return _port(runner)


def _port(runner: web.AppRunner) -> int:
    port: int = runner.addresses[0][1]
    return port


def _health(state: Callable[[], str | None]) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        problem = state()
        if problem is None:
            return web.Response(text="ok\n")
        return web.Response(status=503, text=" ".join(problem.split()) + "\n")

    return answer


def _page(content: Callable[[], bytes], content_type: str) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=content(), headers={"Content-Type": content_type})

    return answer


def _as_json(page: Callable[[], object]) -> Callable[[], bytes]:
    return lambda: json.dumps(page()).encode() + b"\n"
