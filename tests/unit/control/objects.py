"""Objects as the API server writes them, for the tests of the operator."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from hookline.control.kinds import (
    BOOK_LABEL,
    COMPONENT_LABEL,
    DISPATCHER_LABEL,
    DISPATCHERS,
    EVENT_TYPES,
    PODS,
    SECRETS,
    WEBHOOKS,
    Kind,
)
from hookline.control.observed import Observed
from hookline.control.seen import Seen
from hookline.resources.base import ALLOW_LABEL, PUBLISHER_LABEL
from hookline.resources.dispatcher import Dispatcher
from hookline.resources.eventtype import EventType
from hookline.resources.webhook import Webhook

OWN = "hookline-system"
"""The operator's namespace."""

Manifest = dict[str, Any]


def manifest(
    kind: Kind, name: str, *, namespace: str = "team", uid: str = "", version: int = 1, **metadata: Any
) -> Manifest:
    """An object with nothing but its metadata."""
    where = {"namespace": namespace} if kind.namespaced else {}
    identity = {"name": name, "uid": uid or f"uid-of-{name}", "resourceVersion": str(version)}
    return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": {**where, **identity, **metadata}}


def webhook(
    name: str = "hook",
    spec: Mapping[str, Any] | None = None,
    *,
    status: Mapping[str, Any] | None = None,
    **metadata: Any,
) -> Manifest:
    found = manifest(WEBHOOKS, name, **{"generation": 1, **metadata})
    found["spec"] = {"url": "https://example.com/", "event": "IdentityCreated", **(spec or {})}
    return found if status is None else {**found, "status": status}


def secret(name: str = "keys", data: Mapping[str, bytes] | None = None, **metadata: Any) -> Manifest:
    """A Secret that its owner allowed."""
    found = manifest(SECRETS, name, **{"labels": {ALLOW_LABEL: "true"}, **metadata})
    return {**found, "data": {key: base64.b64encode(value).decode() for key, value in (data or {}).items()}}


def publisher(name: str, token: str, **more: Any) -> Manifest:
    """A Secret that gives a token to publish with."""
    return secret(name, **{"data": {"token": token.encode()}, "labels": {PUBLISHER_LABEL: "true"}, **more})


def event_type(event: str, schema: Any = None, **metadata: Any) -> Manifest:
    found = manifest(EVENT_TYPES, event.lower(), **{"generation": 1, **metadata})
    return {**found, "spec": {"event": event, "schema": {} if schema is None else schema}}


def dispatcher(name: str = "default", spec: Mapping[str, Any] | None = None, **metadata: Any) -> Manifest:
    found = manifest(DISPATCHERS, name, **{"generation": 1, "namespace": OWN, **metadata})
    return {**found, "spec": dict(spec or {})}


def pod(
    name: str,
    dispatcher: str = "default",
    *,
    component: str = "sender",
    ready: bool = True,
    ip: str = "10.0.0.1",
    version: int = 1,
) -> Manifest:
    labels = {DISPATCHER_LABEL: dispatcher, COMPONENT_LABEL: component}
    found = manifest(PODS, name, namespace=OWN, version=version, labels=labels)
    condition = {"type": "Ready", "status": "True" if ready else "False"}
    return {**found, "status": {"podIP": ip, "conditions": [condition]}}


def book_object(kind: Kind, name: str, dispatcher: str = "default", **metadata: Any) -> Manifest:
    """A ConfigMap or Secret of a route book."""
    return manifest(kind, name, **{"namespace": OWN, "labels": {BOOK_LABEL: dispatcher}, **metadata})


def seen_webhook(spec: Mapping[str, Any] | None = None, **more: Any) -> Seen[Webhook]:
    observed = Observed(OWN)
    observed.put(WEBHOOKS, webhook("hook", spec, **more))
    return next(iter(observed.webhooks.values()))


def seen_event_type(event: str, schema: Any = None, **more: Any) -> Seen[EventType]:
    observed = Observed(OWN)
    observed.put(EVENT_TYPES, event_type(event, schema, **more))
    return next(iter(observed.event_types.values()))


def seen_dispatcher(name: str = "default", spec: Mapping[str, Any] | None = None, **more: Any) -> Seen[Dispatcher]:
    observed = Observed(OWN)
    observed.put(DISPATCHERS, dispatcher(name, spec, **more))
    return next(iter(observed.dispatchers.values()))


def a_dispatcher(name: str = "default", spec: Mapping[str, Any] | None = None) -> Dispatcher:
    value = seen_dispatcher(name, spec).value
    assert value is not None
    return value
