"""What stands in the token of a ServiceAccount, before anybody has said that it is true.

Decides only which tokens are not worth a question to the API server, and when to stop believing its answer. That a
token is right says the API server alone. The issuer is not compared: a cluster whose issuer changes has two.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from hookline.events import strictjson
from hookline.gateway.problem import Kind, refuse

AUDIENCE = "hookline"
"""For whom a token must be made: one that leaks from another service is nothing here, and ours is nothing there."""

_JWT = re.compile(r"[A-Za-z0-9_-]+\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+")
_ACCOUNT = re.compile(
    r"system:serviceaccount:([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?):([a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?)"
)
_LAST_SECONDS = 2.0**53


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says of itself: its namespace, and until when it is good, in seconds since 1970."""

    namespace: str
    expires_s: float


def namespace_of(user: str) -> str | None:
    """Of the name of a ServiceAccount; None for any other user."""
    found = _ACCOUNT.fullmatch(user)
    return found[1] if found else None


def claims_of(token: str, now_s: float) -> Claims:
    """Of a token that may be one. `now_s` is in seconds since 1970. Raises Refused: UNAUTHENTICATED.

    The API server takes a token for a minute beyond its end; here it ends when it says so, by this machine's clock.
    """
    found = _JWT.fullmatch(token)
    if found is None:
        raise refuse(
            Kind.UNAUTHENTICATED,
            "this token is not known here, and is no token of a ServiceAccount; if a Secret has it, see whether "
            "that still has its label",
        )
    said = _document(found[1])
    subject, audiences, expires = said.get("sub"), said.get("aud"), said.get("exp")
    namespace = namespace_of(subject) if isinstance(subject, str) else None
    if namespace is None:
        raise refuse(Kind.UNAUTHENTICATED, NO_ACCOUNT)
    if audiences != AUDIENCE and not (isinstance(audiences, list) and AUDIENCE in audiences):
        raise refuse(Kind.UNAUTHENTICATED, f"the token must be made for the audience {AUDIENCE}; {HOW_TO}")
    if isinstance(expires, bool) or not isinstance(expires, int | float) or not 0 < expires < _LAST_SECONDS:
        raise refuse(Kind.UNAUTHENTICATED, f"the token must have an end; {HOW_TO}")
    if expires <= now_s:
        raise refuse(Kind.UNAUTHENTICATED, "the token has expired; read its file anew for each request")
    return Claims(namespace, float(expires))


HOW_TO = f"mount a projected serviceAccountToken with the audience {AUDIENCE}"

NO_ACCOUNT = (
    "only ServiceAccounts publish with a token of the cluster, and this one is of another user; send the token of a "
    "ServiceAccount, whose namespace the events are then for"
)
"""Why a node, a person or a user of an identity provider is refused: they have no namespace."""


def _document(part: str) -> dict[str, object]:
    """The middle part of a token; empty if it is none."""
    try:
        value, wrong = strictjson.read(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (binascii.Error, ValueError):
        return {}
    return value if isinstance(value, dict) and not wrong else {}
