"""Passes received calls on to an application on this machine, byte for byte, and its answers back."""

from __future__ import annotations

import aiohttp
from aiohttp import web
from yarl import URL

FORWARD_SECONDS = 60.0

_NOT_PASSED_ON = frozenset({"connection", "keep-alive", "te", "transfer-encoding", "upgrade", "host", "content-length"})
"""Headers of one connection (RFC 9110, 7.6.1), and those that the client writes for itself."""

_PASSED_BACK = ("Content-Type", "Content-Encoding", "Retry-After")


class Forwarder:
    """Forwards to `target`: to its path if it has one, else to the path that was called. `aclose` ends it."""

    def __init__(self, target: str) -> None:
        """Raises ValueError that says what to write."""
        self._target = _checked(target)
        self._session: aiohttp.ClientSession | None = None

    async def answer(self, request: web.Request, body: bytes) -> web.Response:
        """What the application answered; 502 with the reason when it did not."""
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=FORWARD_SECONDS)
            # What one answer sets as a cookie must not go with the next call.
            cookies = aiohttp.DummyCookieJar()
            self._session = aiohttp.ClientSession(timeout=timeout, auto_decompress=False, cookie_jar=cookies)
        path, question_mark, query = request.raw_path.partition("?")
        own = self._target.raw_path.rstrip("/")
        url = URL(f"{self._target.origin()}{own or path}{question_mark}{query}", encoded=True)
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _NOT_PASSED_ON]
        try:
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as answered:
                back = {name: answered.headers.get(name, "") for name in _PASSED_BACK}
                # What is no header to whoever writes the answer would cut it off.
                back = {name: value for name, value in back.items() if value and value.isprintable()}
                return web.Response(status=answered.status, body=await answered.read(), headers=back)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:  # ValueError: the path makes no URL
            return web.Response(status=502, text=f"{self._target} did not answer ({type(error).__name__})\n")

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()


def _checked(target: str) -> URL:
    problem = "write an address such as http://localhost:3000"
    try:
        url = URL(target)
    except ValueError:
        raise ValueError(problem) from None
    if url.scheme not in ("http", "https") or not url.host or url.query_string or url.fragment or url.user:
        raise ValueError(problem)
    return url
