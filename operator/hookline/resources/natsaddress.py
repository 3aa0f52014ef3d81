"""Where NATS is: what may be written as its address, and how that is shown.

Decides from the text alone. Never resolves a host and never connects. No message repeats anything of what was written:
it may hold a password.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from urllib.parse import unquote_to_bytes

from hookline.resources.url import IPV6_PATTERN, PORT_PATTERN

DEFAULT_PORT = 4222
"""Registered for NATS (IANA)."""

MAX_LENGTH = 2048

_NAME = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_PLACE = rf"({_NAME}(\.{_NAME})*\.?|\[({IPV6_PATTERN})\])(:{PORT_PATTERN})?"

PATTERN = "|".join(f"{scheme}://{_PLACE}(,{scheme}://{_PLACE})*" for scheme in ("nats", "tls"))
"""Addresses without a login, for the API server as well."""

_SCHEME = re.compile("(nats|tls)://")
_LOGIN = re.compile(r"([^\x00-\x20\x7f%/?#\[\]@,]|%[0-9A-Fa-f]{2})+")
_HOST_AND_PORT = re.compile(r"(?P<host>\[[^\]]*\]|[^:]*)(:(?P<port>.*))?", re.DOTALL)

_BAD_SCHEME = "must begin with nats:// or tls://; write nats://HOST:4222"
_BAD_HOST = (
    "must be nats:// or tls:// with a host, and a port from 1 to 65535 unless it is 4222, without blanks and without a "
    "path; write nats://HOST:4222, nats://[2001:db8::1]:4222, or several with commas between them"
)
_BAD_LOGIN = (
    "must have USER:PASSWORD or TOKEN before the @, with every blank and each of % / ? # [ ] @ , in them "
    "percent-encoded; write %40 for @ and %25 for %"
)
_TOO_LONG = f"must be at most {MAX_LENGTH} characters long; name fewer servers"
_MIXED = "must begin alike, all with nats:// or all with tls://; write tls:// for each if they encrypt"
_LOGINS = "must have one login for all servers; write it at the first and leave it out at the others"


class BadNatsAddress(ValueError):
    """No address of NATS. The message says what to write, and repeats nothing of what was written."""


@dataclass(frozen=True, slots=True)
class Login:
    """Who we say we are: a token alone, or a user with a password. Decoded."""

    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Server:
    """One server. `host` is in lower case, without brackets and without a full stop at its end."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class NatsAddress:
    """The servers of one NATS. `encrypted` says that nothing may be sent to a server that does not encrypt."""

    servers: tuple[Server, ...]
    urls: tuple[str, ...]
    """As they were written, so that a full stop at the end of a name has its effect, without the login."""
    encrypted: bool
    login: Login | None = field(default=None, repr=False)

    def shown(self) -> str:
        """For messages: without user, password and token."""
        scheme = "tls" if self.encrypted else "nats"
        return ",".join(f"{scheme}://{server}" for server in self.servers)


@dataclass(frozen=True, slots=True)
class _One:
    scheme: str
    place: str
    server: Server
    login: Login | None


def parse_nats(text: str) -> NatsAddress:
    """The address in `text`: one server, or several with commas between them. Raises BadNatsAddress."""
    if len(text) > MAX_LENGTH:
        raise BadNatsAddress(_TOO_LONG)
    pieces = text.split(",")
    found = [_one(piece, f"address {number} " if len(pieces) > 1 else "") for number, piece in enumerate(pieces, 1)]
    if len({each.scheme for each in found}) > 1:
        raise BadNatsAddress(_MIXED)
    logins = {each.login for each in found} - {None}
    if len(logins) > 1:
        raise BadNatsAddress(_LOGINS)
    return NatsAddress(
        tuple(each.server for each in found),
        tuple(f"{each.scheme}://{each.place}" for each in found),
        encrypted=found[0].scheme == "tls",
        login=next(iter(logins), None),
    )


def _one(text: str, which: str) -> _One:
    scheme = _SCHEME.match(text)
    if scheme is None:
        raise BadNatsAddress(which + _BAD_SCHEME)
    login, at, place = text[scheme.end() :].rpartition("@")
    if re.fullmatch(_PLACE, place) is None:
        raise BadNatsAddress(which + _BAD_HOST)
    return _One(scheme[1], place, _server(place), _login(login, which) if at else None)


def _server(place: str) -> Server:
    parts = _HOST_AND_PORT.fullmatch(place)
    assert parts is not None, "as its pattern has it"
    host = parts["host"].lower().removesuffix(".")
    if host.startswith("["):
        host = str(IPv6Address(host[1:-1]))
    return Server(host, int(parts["port"] or DEFAULT_PORT))


def _login(text: str, which: str) -> Login:
    user, colon, password = text.partition(":")
    if not user or not all(_LOGIN.fullmatch(part) for part in (user, password) if part):
        raise BadNatsAddress(which + _BAD_LOGIN)
    try:
        first, second = (unquote_to_bytes(part).decode() for part in (user, password))
    except UnicodeDecodeError:
        raise BadNatsAddress(which + _BAD_LOGIN) from None
    return Login(user=first, password=second) if colon else Login(token=first)
