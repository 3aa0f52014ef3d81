"""How the API says no: `Status` objects, in the words of kube-apiserver, so that every client knows what to make of it.

Pure. Never a value out of a header or a body; of a URL the name, the namespace and the words of a selector, escaped.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hookline.api.kinds import GROUP
from hookline.serving.api_server import Right
from hookline.serving.refusal import Refusal, Why, Worded

AGAIN_SECONDS = 1.0
"""When to ask again what could not be answered, at the earliest."""


@dataclass(frozen=True, slots=True)
class Status:
    """A failure. `details` is what programs read of it."""

    code: int
    reason: str
    message: str
    details: Mapping[str, Any] = field(default_factory=dict)
    retry_after_seconds: float | None = None

    def document(self) -> dict[str, Any]:
        said: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
        }
        details = dict(self.details)
        if self.retry_after_seconds is not None:
            details["retryAfterSeconds"] = _whole(self.retry_after_seconds)
        return {**said, **({"details": details} if details else {}), "code": self.code}

    def headers(self) -> dict[str, str]:
        """Of an answer that is this."""
        headers = {"Content-Type": "application/json", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        if self.retry_after_seconds is not None:
            headers["Retry-After"] = str(_whole(self.retry_after_seconds))
        if self.code == 401:
            headers["WWW-Authenticate"] = 'Bearer realm="hookline"'
        return headers

    def body(self) -> bytes:
        return json.dumps(self.document()).encode() + b"\n"


class Refused(Exception):
    """A request that is not answered as it wishes."""

    def __init__(self, status: Status) -> None:
        super().__init__(f"{status.code} {status.reason}")
        self.status = status


def success(resource: str, name: str, uid: str) -> dict[str, Any]:
    """Something was done to an object."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {"name": name, "group": GROUP, "kind": resource, "uid": uid},
    }


def unauthorized() -> Status:
    return Status(401, "Unauthorized", "Unauthorized")


def forbidden(user: str, right: Right) -> Status:
    resource = f"{right.resource}/{right.subresource}" if right.subresource else right.resource
    where = f"in the namespace {_quoted(right.namespace)}" if right.namespace else "at the cluster scope"
    why = (
        f"User {_quoted(user)} cannot {right.verb} resource {_quoted(resource)} in API group {_quoted(right.group)} "
        f"{where}"
    )
    # What looks like HTML might be taken for it.
    why = why.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    what = f"{right.resource}.{right.group}" + (f" {_quoted(right.name)}" if right.name else "")
    return Status(403, "Forbidden", f"{what} is forbidden: {why}", _details(right.resource, right.name))


def impersonation() -> Status:
    """Whoever trusts these headers would have to ask who may use them; kube-apiserver does, before it asks us."""
    return Status(
        403, "Forbidden", "impersonation is forbidden here: ask through kube-apiserver, which knows who may do so"
    )


def not_found(resource: str, name: str, group: str = GROUP) -> Status:
    return Status(
        404, "NotFound", f"{resource}.{group} {_quoted(name)} not found", _details(resource, name, group=group)
    )


def no_such_page() -> Status:
    return Status(404, "NotFound", "the server could not find the requested resource")


def method_not_allowed(method: str) -> Status:
    """Of a page that is no object."""
    return Status(405, "MethodNotAllowed", f"the server does not allow the method {method} on this page")


def verb_not_supported(verb: str, resource: str) -> Status:
    return Status(
        405,
        "MethodNotAllowed",
        f"{verb} is not supported on resources of kind {_quoted(f'{resource}.{GROUP}')}",
        _details(resource, ""),
    )


def not_acceptable(offered: str) -> Status:
    return Status(406, "NotAcceptable", f"only the following media types are accepted: {offered}")


def conflict(resource: str, name: str, why: str) -> Status:
    return Status(
        409,
        "Conflict",
        f"Operation cannot be fulfilled on {resource}.{GROUP} {_quoted(name)}: {why}",
        _details(resource, name),
    )


def expired(why: str) -> Status:
    """Clients list anew when they are told so."""
    return Status(410, "Expired", why)


def too_large(why: str) -> Status:
    return Status(413, "RequestEntityTooLarge", why)


def unsupported_media_type() -> Status:
    return Status(415, "UnsupportedMediaType", "the body of the request must be application/json")


def bad_request(why: str) -> Status:
    return Status(400, "BadRequest", why)


def invalid(why: str, *, kind: str = "ListOptions", group: str = "meta.k8s.io") -> Status:
    """A request that can be read and makes no sense."""
    return Status(422, "Invalid", f'{kind}.{group} "" is invalid: {why}', {"group": group, "kind": kind})


def too_slow(seconds: float) -> Status:
    """Of a list."""
    return Status(
        504,
        "Timeout",
        f"the list takes longer than {seconds:g} s: ask for a part of it by limit, or for one webhook or event",
    )


def too_many(why: str) -> Status:
    return Status(429, "TooManyRequests", why, retry_after_seconds=AGAIN_SECONDS)


def internal() -> Status:
    return Status(500, "InternalError", "Internal error occurred: this is a bug of Hookline; try again")


def unavailable(why: str, retry_after_seconds: float | None = AGAIN_SECONDS) -> Status:
    """kubectl asks ten times before it tells anybody, where it hears when to come again."""
    return Status(503, "ServiceUnavailable", why, retry_after_seconds=retry_after_seconds)


def worded(refusal: Refusal) -> Worded:
    """What the server itself says no to."""
    reason = {
        Why.BAD_REQUEST: "BadRequest",
        Why.TOO_SLOW: "Timeout",
        Why.TOO_LARGE: "RequestEntityTooLarge",
        Why.INTERNAL: "InternalError",
        Why.UNAVAILABLE: "ServiceUnavailable",
    }[refusal.why]
    said = Status(int(refusal.why), reason, refusal.detail, retry_after_seconds=refusal.retry_after_seconds)
    return Worded(said.headers(), said.body())


def _details(resource: str, name: str, *, group: str = GROUP) -> dict[str, Any]:
    return {**({"name": name} if name else {}), "group": group, "kind": resource}


def _quoted(text: str) -> str:
    return json.dumps(text)


def _whole(seconds: float) -> int:
    return max(1, math.ceil(seconds))
