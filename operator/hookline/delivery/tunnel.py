"""A way through a forward proxy: CONNECT to an address that was checked before (RFC 9110, 9.3.6).

Decides how the proxy is asked and what its answer means. It never lets the proxy look up a name: the proxy is told an
address, so that what the policy allowed is what is called. TLS begins inside the tunnel, so the proxy sees no more than
addresses and sizes.
"""

from __future__ import annotations

import asyncio
import base64
import re
import socket
from pathlib import Path

from hookline.egress import Proxy

MAX_HEAD_BYTES = 8 * 1024
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r]")


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


async def open_tunnel(proxy: Proxy, host: str, port: int, credentials: ProxyCredentials) -> socket.socket:
    """A connected socket through `proxy` to the address `host`, nothing sent in it yet.

    Raises ProxyUnreachableError and ProxyRefusedError.
    """
    loop = asyncio.get_running_loop()
    connection = await _connect(loop, proxy)
    try:
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        request = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n".encode("ascii")
        await loop.sock_sendall(connection, request + credentials.header() + b"\r\n")
        _check(await _head(loop, connection, proxy), proxy)
    except OSError as error:
        connection.close()
        raise ProxyUnreachableError(f"{_name(proxy)}: the connection to the proxy broke") from error
    except BaseException:
        connection.close()
        raise
    return connection


async def _connect(loop: asyncio.AbstractEventLoop, proxy: Proxy) -> socket.socket:
    try:
        records = await loop.getaddrinfo(proxy.host, proxy.port, type=socket.SOCK_STREAM)
    except OSError:
        raise ProxyUnreachableError(f"{_name(proxy)}: the name of the proxy has no address") from None
    for family, kind, protocol, _, address in records:
        connection = socket.socket(family, kind, protocol)
        connection.setblocking(False)
        try:
            await loop.sock_connect(connection, address)
        except OSError:
            connection.close()
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise ProxyUnreachableError(f"{_name(proxy)}: the proxy cannot be reached")


async def _head(loop: asyncio.AbstractEventLoop, connection: socket.socket, proxy: Proxy) -> bytes:
    """The head of the proxy's answer. The receiver speaks second in TLS, so nothing may follow it."""
    head = b""
    while b"\r\n\r\n" not in head:
        piece = await loop.sock_recv(connection, MAX_HEAD_BYTES)
        head += piece
        if not piece or len(head) > MAX_HEAD_BYTES:
            raise ProxyRefusedError(f"{_name(proxy)}: the proxy did not answer in HTTP")
    return head


def _check(head: bytes, proxy: Proxy) -> None:
    match = _STATUS_LINE.match(head)
    if match is None:
        raise ProxyRefusedError(f"{_name(proxy)}: the proxy did not answer in HTTP")
    status = int(match[1])
    if status == 407:
        raise ProxyRefusedError(
            f"{_name(proxy)}: the proxy wants other credentials (407); "
            "mend the Secret that spec.egress.proxy.credentialsSecretRef names"
        )
    if not 200 <= status < 300:
        raise ProxyRefusedError(f"{_name(proxy)}: the proxy refused to connect ({status})")
    if not head.endswith(b"\r\n\r\n") or head.count(b"\r\n\r\n") > 1:
        raise ProxyRefusedError(f"{_name(proxy)}: the proxy spoke before the receiver could")


def _name(proxy: Proxy) -> str:
    return f"[{proxy.host}]:{proxy.port}" if ":" in proxy.host else f"{proxy.host}:{proxy.port}"
