"""Who asks, and whether he may: the two questions before any other.

In a cluster kube-apiserver says who it is, by headers that count only with its own certificate, or by a TokenReview of
a bearer token; what he may do, RBAC says, by a SubjectAccessReview, each time. Nothing is decided here about rights.

A right to one object is asked for by its name, and not once for all names: a yes without a name means all of them in
RBAC, but kube-apiserver may have other authorizers before it, which deny single names, and who comes with a token is
judged nowhere else. Whoever asks for many names waits for that by himself (`serving.turns`).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import ssl
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol, Self
from urllib.parse import unquote

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import NameOID

from hookline.api.front_proxy import FrontProxy
from hookline.api.status import Refused, forbidden, impersonation, too_many, unauthorized, unavailable
from hookline.api.under_way import share_of
from hookline.serving.api_server import Right, User
from hookline.serving.remembered import Answer, Bounds, Crowded, Question, Remembered, Times, Unanswered

TIMES = Times(refresh_seconds=5.0, fresh_seconds=10.0, outage_seconds=10.0, refused_seconds=3.0)
"""As long as kube-apiserver itself keeps a yes (10 s). A yes is not used beyond that, whoever is away."""

MAX_TOKEN_CHARACTERS = 8192
_MAX_CERTIFICATES = 256
"""Whose reading is remembered: kube-apiserver has one."""

_BEARER = re.compile(r"(?i:bearer) +([A-Za-z0-9._~+/-]+=*) *")
"""RFC 6750, section 2.1."""

AUTHENTICATED = "system:authenticated"
_UNAUTHENTICATED = "system:unauthenticated"
_ANONYMOUS = "system:anonymous"

Headers = list[tuple[bytes, bytes]]


class Users(Protocol):
    """Says who asks and what he may do."""

    async def user(self, scope: Mapping[str, Any]) -> User:
        """Of a request (ASGI). Raises Refused: 401, 503 while that cannot be found out, 429 while too many ask."""

    async def check(self, user: User, right: Right) -> None:
        """Raises Refused: 403, 503 while that cannot be found out, 429 while too many ask."""


class Reviews(Protocol):
    """kube-apiserver (`serving.api_server.ApiServer`)."""

    async def user_of(self, token: str) -> User | None:
        """Who has a token of the API server; None if it is nobody's. Raises Unanswered."""

    async def may(self, user: User, right: Right) -> bool:
        """Whether a user has a right. Raises Unanswered."""


class ClusterUsers:
    """`Users` of a cluster; to be entered once, in the loop that asks.

    `front_proxy` is what the cluster says of kube-apiserver's headers, None until it is known, and of a cluster that
    has none. `is_current` tells whether a connection was let in by the TLS context that is in force.
    """

    def __init__(
        self,
        reviews: Reviews,
        front_proxy: Callable[[], FrontProxy | None],
        is_current: Callable[[ssl.SSLContext | None], bool],
        *,
        times: Times = TIMES,
        bounds: Bounds | None = None,
        wall_clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._reviews = reviews
        self._front_proxy = front_proxy
        self._is_current = is_current
        self._wall_clock = wall_clock
        self._known: Remembered[User | None] = Remembered(times, bounds)
        self._rights: Remembered[bool] = Remembered(times, bounds)
        self._proxies = _Certificates()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._known.close()
        await self._rights.close()

    async def user(self, scope: Mapping[str, Any]) -> User:
        headers: Headers = scope["headers"]
        if any(name.startswith(b"impersonate-") for name, _ in headers):
            raise Refused(impersonation())
        if (user := self._by_front_proxy(scope)) is not None:
            return user
        token = bearer_token(headers)
        if token is None:
            raise Refused(unauthorized())
        digest = hashlib.sha256(token.encode()).digest()
        try:
            known = await self._known.get(digest, lambda: self._whose(token, scope.get("client")))
        except Unanswered as error:
            raise _away(error) from None
        if known is None:
            raise Refused(unauthorized())
        return known

    async def check(self, user: User, right: Right) -> None:
        asked = json.dumps([astuple(user), astuple(right)]).encode(errors="surrogatepass")
        try:
            may = await self._rights.get(hashlib.sha256(asked).digest(), lambda: self._may(user, right))
        except Unanswered as error:
            raise _away(error) from None
        if not may:
            raise Refused(forbidden(user.name, right))

    def _by_front_proxy(self, scope: Mapping[str, Any]) -> User | None:
        """Whom kube-apiserver names; None if it is not kube-apiserver who asks."""
        proxy = self._front_proxy()
        tls = scope.get("extensions", {}).get("tls", {})
        chain = tls.get("client_cert_chain")
        if proxy is None or not chain:
            return None
        certificate = self._proxies.read(chain[0], proxy)
        if not certificate.is_good(self._wall_clock(), proxy):
            return None
        if not certificate.issued_directly and not self._is_current(tls.get("hookline.context")):
            # Let in while another CA was trusted. Its next connection is judged by what is trusted now.
            return None
        return user_named(scope["headers"], proxy)

    def _whose(self, token: str, client: tuple[str, int] | None) -> Question[User | None]:
        async def ask() -> Answer[User | None]:
            user = await self._reviews.user_of(token)
            return Answer(user, yes=user is not None)

        # Nothing is known yet of who it is but where he is.
        return Question((client[0] if client else "",), ask)

    def _may(self, user: User, right: Right) -> Question[bool]:
        async def ask() -> Answer[bool]:
            may = await self._reviews.may(user, right)
            return Answer(may, yes=may)

        return Question(share_of(user.name), ask)


class OneToken:
    """`Users` of `hookline run`: whoever may read the token's file owns the machine's queue as well."""

    def __init__(self, token: str) -> None:
        self._digest = hashlib.sha256(token.encode()).digest()

    async def user(self, scope: Mapping[str, Any]) -> User:
        token = bearer_token(scope["headers"])
        if token is None or not hmac.compare_digest(hashlib.sha256(token.encode()).digest(), self._digest):
            raise Refused(unauthorized())
        return User("hookline-run")

    async def check(self, user: User, right: Right) -> None:
        """He may do everything."""


def bearer_token(headers: Headers) -> str | None:
    """Of a request; None if it has none, or two."""
    sent = [value for name, value in headers if name == b"authorization"]
    if len(sent) != 1 or len(sent[0]) > MAX_TOKEN_CHARACTERS:
        return None
    found = _BEARER.fullmatch(sent[0].decode("latin-1"))
    return found[1] if found else None


def user_named(headers: Headers, proxy: FrontProxy) -> User | None:
    """Whom the headers of a request name, which came from kube-apiserver; None if they name nobody."""
    name = _first(headers, proxy.name_headers)
    if not name:
        return None
    groups = [value for value in _all(headers, proxy.group_headers) if value]
    extra: dict[str, list[str]] = {}
    for prefix in proxy.extra_prefixes:
        for header, value in headers:
            if header.startswith(prefix.encode()):
                extra.setdefault(unquote(header.decode("latin-1").removeprefix(prefix)), []).append(_text(value))
    return with_its_group(
        User(
            name,
            _first(headers, proxy.uid_headers),
            tuple(groups),
            tuple((key, tuple(extra[key])) for key in sorted(extra)),
        )
    )


def with_its_group(user: User) -> User:
    """Whoever is known belongs to the group of all who are, as in kube-apiserver."""
    if user.name == _ANONYMOUS or {AUTHENTICATED, _UNAUTHENTICATED} & set(user.groups):
        return user
    return replace(user, groups=(*user.groups, AUTHENTICATED))


@dataclass(frozen=True, slots=True)
class _Certificate:
    """What counts of a client's certificate, which TLS has verified."""

    name: str
    begins: datetime
    ends: datetime
    issued_directly: bool
    """By one of the CAs that are trusted now."""

    def is_good(self, now: datetime, proxy: FrontProxy) -> bool:
        return self.begins <= now <= self.ends and (not proxy.allowed_names or self.name in proxy.allowed_names)


_NONE = _Certificate("", datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC), issued_directly=False)


class _Certificates:
    """Each is read once for each set of CAs."""

    def __init__(self) -> None:
        self._read: OrderedDict[tuple[str, str], _Certificate] = OrderedDict()

    def read(self, pem: str, proxy: FrontProxy) -> _Certificate:
        key = pem, proxy.ca_pem
        found = self._read.get(key)
        if found is None:
            found = self._read[key] = _certificate(pem, proxy)
            if len(self._read) > _MAX_CERTIFICATES:
                self._read.popitem(last=False)
        return found


def _certificate(pem: str, proxy: FrontProxy) -> _Certificate:
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return _Certificate(
            str(names[-1].value) if names else "",
            certificate.not_valid_before_utc,
            certificate.not_valid_after_utc,
            any(_is_issued_by(certificate, ca) for ca in x509.load_pem_x509_certificates(proxy.ca_pem.encode())),
        )
    except ValueError:
        return _NONE


def _is_issued_by(certificate: x509.Certificate, ca: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _first(headers: Headers, names: tuple[str, ...]) -> str:
    return next((value for name in names for value in _all(headers, (name,)) if value), "")


def _all(headers: Headers, names: tuple[str, ...]) -> list[str]:
    return [_text(value) for each in names for name, value in headers if name == each.encode()]


def _text(value: bytes) -> str:
    """Go writes a header as the bytes of its text."""
    return value.decode(errors="replace")


def _away(error: Unanswered) -> Refused:
    if isinstance(error, Crowded):
        return Refused(too_many(str(error)))
    return Refused(unavailable(str(error), error.retry_after_seconds))
