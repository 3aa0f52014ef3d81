"""Who calls the gateway, by the token of a request.

Decides which answer a token gets; never keeps a token, only its digest.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from hookline.gateway.problem import Kind, refuse
from hookline.routing import publisher_tokens
from hookline.routing.publisher_tokens import BEARER_PATTERN

_BEARER = re.compile(rf"(?i:bearer) +({BEARER_PATTERN}) *")
"""RFC 6750, section 2.1. The case of its first word does not count (RFC 9110, section 11.1)."""

MAX_AUTHORIZATION_CHARACTERS = 8192
"""Of the header with its token. Tokens of ServiceAccounts have some 1,000, those of teams 4,096 at most
(publisher_tokens)."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who publishes: for the namespace that is its own, and those that it may publish for beside it.

    `types` are the event types that it may publish, all of them if None.
    """

    name: str
    namespace: str
    types: frozenset[str] | None = None


class Callers(Protocol):
    """Says who has a token, and what it may do beyond its own namespace."""

    async def caller(self, token: str, source: str = "") -> Caller:
        """`source` is where the request came from, an address: until it is known who has a token, all from there have
        one share. Raises Refused: UNAUTHENTICATED, or UNAVAILABLE while that cannot be found out."""

    async def may_publish_for(self, caller: Caller, namespace: str) -> bool:
        """Whether it may publish for a namespace that is not its own. Raises Refused: UNAVAILABLE."""


def token_of(headers: Mapping[str, str]) -> str:
    """The bearer token of a request. Raises Refused: UNAUTHENTICATED."""
    sent = headers.get("authorization", "")
    if not sent:
        raise refuse(Kind.UNAUTHENTICATED, "send a token: `Authorization: Bearer …`")
    found = _BEARER.fullmatch(sent) if len(sent) <= MAX_AUTHORIZATION_CHARACTERS else None
    if found is None:
        raise refuse(Kind.UNAUTHENTICATED, "the header Authorization must be `Bearer` and a token")
    return found[1]


class OneToken:
    """One token for all namespaces: of a gateway on loopback, where whoever may read its file owns the machine's queue
    as well."""

    def __init__(self, token: str, *, namespace: str, name: str) -> None:
        self._digest = digest_of(token)
        self._caller = Caller(name, namespace)

    async def caller(self, token: str, source: str = "") -> Caller:  # noqa: ARG002
        if not hmac.compare_digest(digest_of(token), self._digest):
            raise refuse(Kind.UNAUTHENTICATED, "this token is not known here")
        return self._caller

    async def may_publish_for(self, caller: Caller, namespace: str) -> bool:
        return caller is self._caller and bool(namespace)


def digest_of(token: str) -> bytes:
    """By which a token is known, in place of itself."""
    return publisher_tokens.digest_of(token.encode(errors="surrogatepass"))
