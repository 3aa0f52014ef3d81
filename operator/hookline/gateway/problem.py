"""How the gateway says no: problem documents (RFC 9457), each kind with its status and a type that never changes.

Never a value out of a body, a header or a token: places, rules and names of event types only.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from hookline.serving.refusal import Refusal, Why, Worded

MEDIA_TYPE = "application/problem+json"

TYPES = "https://hookline.dev/problems/"
"""What the `type` of a problem begins with. An identifier, not a page."""

AGAIN_SECONDS = 2.0
"""When to send again what could not be taken, at the earliest."""


class Kind(Enum):
    """Why a request, or one event of it, is refused: the end of its `type`, its status, its title."""

    BAD_REQUEST = "bad-request", 400, "The request cannot be read"
    BAD_BODY = "bad-body", 400, "The body is not strict JSON"
    BAD_KEY = "bad-key", 400, "The key of the event cannot be used"
    BAD_CLOUDEVENT = "bad-cloudevent", 400, "This is not a CloudEvent"
    TOKEN_IN_QUERY = "token-in-query", 400, "A token must not be in a URL"
    UNAUTHENTICATED = "unauthenticated", 401, "Nobody is known by this token"
    FORBIDDEN = "forbidden", 403, "The caller may not publish this"
    UNKNOWN_TYPE = "unknown-type", 404, "There is no such event type"
    NOT_FOUND = "not-found", 404, "There is no such page"
    METHOD_NOT_ALLOWED = "method-not-allowed", 405, "This page has no such method"
    TOO_SLOW = "too-slow", 408, "The request took too long to arrive"
    KEY_USED = "key-used", 409, "Another event has this key"
    TOO_LARGE = "too-large", 413, "The request is too large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type", 415, "The body is in a form that is not known here"
    SCHEMA = "schema", 422, "The body does not match the schema of its type"
    TOO_MANY_REQUESTS = "too-many-requests", 429, "The namespace has had its share"
    INTERNAL = "internal", 500, "The gateway made a mistake"
    UNAVAILABLE = "unavailable", 503, "The event could not be stored now"

    def __init__(self, slug: str, status: int, title: str) -> None:
        self.slug = slug
        self.status = status
        self.title = title


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong in a body: its place (JSON Pointer, RFC 6901), the broken rule, what to do."""

    pointer: str
    rule: str
    detail: str


@dataclass(frozen=True, slots=True)
class Problem:
    """Why something was refused. `detail` says what to do. `event_id` is the id that the event would have had."""

    kind: Kind
    detail: str
    faults: tuple[Fault, ...] = ()
    nearest: tuple[str, ...] = ()
    retry_after_seconds: float | None = None
    event_id: str = ""

    def document(self) -> dict[str, Any]:
        """As RFC 9457 has it, with our members `errors`, `nearest` and `id` where there are any."""
        said: dict[str, Any] = {
            "type": TYPES + self.kind.slug,
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
        }
        if self.faults:
            said["errors"] = [asdict(fault) for fault in self.faults]
        if self.nearest:
            said["nearest"] = list(self.nearest)
        if self.event_id:
            said["id"] = self.event_id
        return said

    def body(self) -> bytes:
        return json.dumps(self.document()).encode() + b"\n"

    def headers(self) -> dict[str, str]:
        """Of an answer that is this problem."""
        headers = {"Content-Type": MEDIA_TYPE}
        if self.retry_after_seconds is not None:
            headers["Retry-After"] = retry_after(self.retry_after_seconds)
        if self.kind is Kind.UNAUTHENTICATED:
            headers["WWW-Authenticate"] = 'Bearer realm="hookline"'
        return headers


_KINDS = {
    Why.BAD_REQUEST: Kind.BAD_REQUEST,
    Why.TOO_SLOW: Kind.TOO_SLOW,
    Why.TOO_LARGE: Kind.TOO_LARGE,
    Why.INTERNAL: Kind.INTERNAL,
    Why.UNAVAILABLE: Kind.UNAVAILABLE,
}


def worded(refusal: Refusal) -> Worded:
    """What the server itself says no to, as a problem."""
    problem = Problem(_KINDS[refusal.why], refusal.detail, retry_after_seconds=refusal.retry_after_seconds)
    return Worded(problem.headers(), problem.body())


def retry_after(seconds: float) -> str:
    """The header: whole seconds, never fewer than one."""
    return str(max(1, math.ceil(seconds)))


class Refused(Exception):
    """A request, or one event of it, that is not taken."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.kind.slug}: {problem.detail}")
        self.problem = problem


def refuse(kind: Kind, detail: str, **more: Any) -> Refused:
    """`raise refuse(Kind.BAD_BODY, "…")`."""
    return Refused(Problem(kind, detail, **more))
