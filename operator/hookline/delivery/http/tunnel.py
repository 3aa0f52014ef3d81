"""A way through a forward proxy: CONNECT to an address that was checked before (RFC 9110, 9.3.6).

Decides how the proxy is asked, for which of several addresses first, and what its answer means. It never lets the proxy
look up a name: the proxy is told an address, so that what the policy allowed is what is called. TLS begins inside the
tunnel, so the proxy sees no more than addresses and sizes.
"""

from __future__ import annotations

import asyncio
import base64
import re
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from hookline.delivery.http.lookup import Lookup
from hookline.delivery.http.progress import Phase, current_call
from hookline.delivery.http.race import Worked, first_of
from hookline.resources.egress_policy import Proxy, literal_address

MAX_HEAD_BYTES = 32 * 1024
CONNECT_STAGGER_SECONDS = 0.25
"""Between two addresses of the proxy: the Connection Attempt Delay of RFC 8305, as in direct calls."""
TUNNEL_STAGGER_SECONDS = 1.0
"""Between two addresses of a receiver: the proxy looks for a way meanwhile."""

_READ_BYTES = 8 * 1024
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r\n]")
_INFORMATIONAL = re.compile(rb"\A(?:HTTP/1\.1 1(?!01)[0-9]{2}(?=[ \r\n])(?:[^\n]*\n)+?\r?\n)+")
"""Whole heads that come before the answer (RFC 9110, 15.2)."""
_HEAD_END = re.compile(rb"\n\r?\n")

_Place = tuple[str, int]
"""Address and port."""


class ProxyUnreachableError(Exception):
    """The proxy could not be reached. The message is safe to show."""


class ProxyRefusedError(Exception):
    """The proxy did not open a way. The message is safe to show."""


class ProxyCredentials:
    """user:password, from a file that may change at any time."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file

    def header(self) -> bytes:
        """The header line that shows them; empty without any. Raises ProxyRefusedError when they cannot be read."""
        if self._file is None:
            return b""
        try:
            user_and_password = self._file.read_bytes().strip()
        except OSError as error:
            raise ProxyRefusedError(
                f"the proxy's credentials cannot be read ({type(error).__name__}); look at the Secret that "
                "spec.egress.proxy.credentialsSecretRef names"
            ) from None
        return b"Proxy-Authorization: Basic " + base64.b64encode(user_and_password) + b"\r\n"


class Tunnels:
    """Ways through a proxy. Of its addresses and of the receiver's, those that worked are tried first."""

    def __init__(self, lookup: Lookup, credentials: ProxyCredentials) -> None:
        self._lookup = lookup
        self._credentials = credentials
        self._proxies: Worked[_Place] = Worked()
        self._receivers: Worked[_Place] = Worked()

    async def open(
        self, proxy: Proxy, places: Sequence[_Place], check: Callable[[str], None]
    ) -> tuple[_Place, socket.socket]:
        """One of the receiver's `places`, (address, port), and a connected socket to it, nothing sent in it yet.

        `check` is asked for each address before the proxy is told of it; what it raises ends all. Raises
        ProxyUnreachableError and ProxyRefusedError.
        """
        progress = current_call.get()
        progress.proxy = name_of(proxy)
        progress.reach(Phase.PROXY)

        async def attempt(place: _Place) -> socket.socket:
            check(place[0])
            return await self._through(proxy, place)

        return await first_of(
            places,
            attempt,
            stagger_seconds=TUNNEL_STAGGER_SECONDS,
            failures=(ProxyUnreachableError, ProxyRefusedError),
            discard=socket.socket.close,
            worked=self._receivers,
        )

    def doubt(self, place: _Place) -> None:
        """The proxy opened a way there, and then it did not work."""
        self._receivers.note(place, works=False)

    async def _through(self, proxy: Proxy, place: _Place) -> socket.socket:
        login = self._credentials.header()
        connection = await self._connect(proxy)
        # Several ways are tried at once: how far the best of them came counts.
        current_call.get().reach(Phase.TUNNEL)
        loop = asyncio.get_running_loop()
        target = _authority(*place)
        try:
            request = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n".encode("ascii")
            await loop.sock_sendall(connection, request + login + b"\r\n")
            await _opened(loop, connection, f"{name_of(proxy)}: the proxy", target)
        except OSError as error:
            connection.close()
            raise ProxyUnreachableError(
                f"{name_of(proxy)}: the connection to the proxy broke when it was asked for {target}"
            ) from error
        except BaseException:
            connection.close()
            raise
        return connection

    async def _connect(self, proxy: Proxy) -> socket.socket:
        places = await self._places(proxy)
        try:
            _, connection = await first_of(
                places,
                _connected,
                stagger_seconds=CONNECT_STAGGER_SECONDS,
                failures=(OSError,),
                discard=socket.socket.close,
                worked=self._proxies,
            )
        except OSError:
            raise ProxyUnreachableError(f"{name_of(proxy)}: the proxy cannot be reached") from None
        return connection

    async def _places(self, proxy: Proxy) -> list[_Place]:
        literal = literal_address(proxy.host)
        if literal is not None:
            return [(str(literal), proxy.port)]
        try:
            records = await self._lookup.resolve(proxy.host, proxy.port, socket.AF_UNSPEC)
        except OSError as error:
            problem = "could not be looked up" if error.errno == socket.EAI_AGAIN else "has no address"
            raise ProxyUnreachableError(f"{name_of(proxy)}: the name of the proxy {problem}") from None
        return [(record["host"], proxy.port) for record in records]


async def _connected(place: _Place) -> socket.socket:
    connection = socket.socket(socket.AF_INET6 if ":" in place[0] else socket.AF_INET, socket.SOCK_STREAM)
    connection.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(connection, place)
    except BaseException:
        connection.close()
        raise
    return connection


async def _opened(loop: asyncio.AbstractEventLoop, connection: socket.socket, proxy: str, target: str) -> None:
    """Read the head of the proxy's answer. In TLS the receiver speaks second, so nothing may follow it.

    Lines may end in a bare LF (RFC 9112, 2.2). Of a refusal the status is enough, whatever else the proxy says.
    """
    head, end = b"", None
    while end is None:
        piece = await loop.sock_recv(connection, _READ_BYTES)
        head = _INFORMATIONAL.sub(b"", head + piece)
        end = _HEAD_END.search(head)
        if b"\n" in head or not piece or len(head) > MAX_HEAD_BYTES:
            _check_status(head, proxy, target)
        if end is None and not piece:
            raise ProxyRefusedError(f"{proxy} hung up in the middle of its answer")
        if end is None and len(head) > MAX_HEAD_BYTES:
            raise ProxyRefusedError(f"{proxy} answered with a head of more than {MAX_HEAD_BYTES // 1024} KiB")
    if end.end() != len(head):
        raise ProxyRefusedError(f"{proxy} spoke before the receiver could")


def _check_status(head: bytes, proxy: str, target: str) -> None:
    match = _STATUS_LINE.match(head)
    if match is None:
        raise ProxyRefusedError(f"{proxy} did not answer in HTTP")
    status = int(match[1])
    if status == 407:
        raise ProxyRefusedError(
            f"{proxy} wants other credentials (407); mend the Secret that spec.egress.proxy.credentialsSecretRef names"
        )
    if status // 100 == 1 and status != 101:
        return  # its head is not whole yet
    if not 200 <= status < 300:
        raise ProxyRefusedError(f"{proxy} refused to connect to {target} ({status})")


def name_of(proxy: Proxy) -> str:
    """How people call it: host:port."""
    return _authority(proxy.host, proxy.port)


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
