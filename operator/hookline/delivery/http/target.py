"""A URL taken apart once: what a call sends of it, and what the egress policy is asked.

Decides what a Webhook's URL means and how it is written into a request, byte by byte as it was typed. It opens no
connection and allows no address: pool and egress_guard do.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field
from urllib.parse import quote

import httpx

from hookline.delivery.http.progress import InvalidCallError
from hookline.resources.egress_policy import HTTPS_PORT, Address, literal_address

_TARGETS_KEPT = 4096
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")
_PRINTABLE_ASCII = "".join(chr(code) for code in range(0x21, 0x7F))


@dataclass(frozen=True, slots=True)
class Target:
    """A URL taken apart once: `origin` for the pool, `request_line` and `host`, a whole line, as they are sent."""

    origin: httpx.URL
    authority: str
    request_line: bytes = field(repr=False)
    host: str
    literal: Address | None
    literal_text: str | None
    port: int


@functools.lru_cache(maxsize=_TARGETS_KEPT)
def target_of(url: str) -> Target:
    """The target that `url` names. Raises InvalidCallError, whose message repeats nothing of the URL.

    Path and query stay as typed, byte by byte: a receiver may have signed or routed on a spelling. Only what may not
    stand in a request line (spaces, control characters, non-ASCII) is percent-encoded as UTF-8.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.lower() != "https":
        raise InvalidCallError("the URL must start with https://")
    end = min((index for index in map(rest.find, "/?#") if index >= 0), default=len(rest))
    authority, path = rest[:end], rest[end:].partition("#")[0]
    if "@" in authority or "\\" in authority:
        raise InvalidCallError("the URL must not hold a user name, a password or a backslash before the path")
    try:
        origin = httpx.URL(f"https://{authority}/")
        request_target = quote(path if path.startswith("/") else f"/{path}", safe=_PRINTABLE_ASCII)
    except (httpx.InvalidURL, UnicodeError):
        raise InvalidCallError("the URL is not valid") from None
    host = origin.raw_host.decode("ascii")
    literal = literal_address(host)
    port = HTTPS_PORT if origin.port is None else origin.port
    if _HOST.fullmatch(host) is None or not 0 < port < 65536:
        raise InvalidCallError("the host or the port of the URL is not valid")
    return Target(
        origin=origin,
        authority=f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        request_line=b"POST %b HTTP/1.1\r\n" % request_target.encode("ascii"),
        host=f"Host: {origin.netloc.decode('ascii')}\r\n",
        literal=literal,
        literal_text=None if literal is None else str(literal),
        port=port,
    )
