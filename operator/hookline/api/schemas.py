"""What each field of an attempt, a delivery and a dead letter is, for `kubectl explain`. Pure.

`objects` writes these fields; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from hookline.api.kinds import API_VERSION, ATTEMPTS, DEAD_LETTERS, DELIVERIES, GROUP, VERSION, WEBHOOK_TESTS, Resource
from hookline.api.selectors import FIELDS

Schema = dict[str, Any]

META = "io.k8s.apimachinery.pkg.apis.meta.v1"


def _string(description: str, **more: Any) -> Schema:
    return {"type": "string", "description": description, **more}


def _integer(description: str) -> Schema:
    return {"type": "integer", "format": "int64", "description": description}


def _number(description: str) -> Schema:
    return {"type": "number", "format": "double", "description": description}


def _flag(description: str) -> Schema:
    return {"type": "boolean", "description": description}


def _time(description: str) -> Schema:
    return {"type": "string", "format": "date-time", "description": description}


def _map(description: str) -> Schema:
    return {"type": "object", "additionalProperties": {"type": "string"}, "description": description}


def _object(description: str, **properties: Schema) -> Schema:
    return {"type": "object", "description": description, "properties": properties}


_WEBHOOK = _object(
    "The Webhook that is called.",
    name=_string("Its name; not there once it is deleted and forgotten."),
    uid=_string("Its uid: another Webhook of the same name has another one."),
)
_DISPATCHER = _string("The Dispatcher whose senders call.")
_REPLAY = _string("The Replay that asked for it; not there without one.")
_BODY = _string("The first 16 KiB of its body, with what is secret taken out.")
_ENCODING = _string(
    "How the body is written here: utf-8 as it is, base64 of what is no text.", enum=["utf-8", "base64"]
)
_STATUS = _integer("Of the answer, such as 503; not there when none came.")


def _event(*, with_bytes: bool) -> Schema:
    size = {"bytes": _integer("The size of its body.")} if with_bytes else {}
    return _object(
        "What happened.",
        id=_string("The webhook-id of the call, the same in each attempt."),
        type=_string("Its type, such as IdentityCreated."),
        **size,
    )


_ATTEMPT_FIELDS: dict[str, Schema] = {
    "webhook": _WEBHOOK,
    "event": _event(with_bytes=False),
    "time": _time("When the call began, by the clock of the queue."),
    "attempt": _integer("Which attempt of this delivery it was; counts from 1."),
    "status": _STATUS,
    "reason": _string("How it ended, in a word; docs/outcomes.md has them all."),
    "detail": _string("How it ended, in a sentence."),
    "url": _string("What was called, without its query, which may hold a secret."),
    "durationMilliseconds": _number("How long the call took."),
    "phasesMilliseconds": _object(
        "How long the parts of the call took; a kept connection spares the first three.",
        lookup=_number("The lookup of the name."),
        connect=_number("The connection, through a proxy where there is one."),
        tls=_number("The handshake."),
        firstByte=_number("From the request to the first byte of the answer."),
    ),
    "request": _object(
        "What was sent.",
        headers=_map("Its headers; a value that may be secret is empty."),
        bytes=_integer("The size of its body."),
    ),
    "answer": _object(
        "What came back; not there when nothing did.",
        headers=_map("Its headers, with what is secret taken out."),
        bytes=_integer("How much of its body was read."),
        body=_BODY,
        bodyEncoding=_ENCODING,
    ),
    "next": _object(
        "What follows.",
        follows=_string("Done, Retry, Dead, or Parked of a probe whose delivery waits on."),
        time=_time("When the next attempt is due, if one is."),
    ),
    "sender": _string("The sender that called."),
    "dispatcher": _DISPATCHER,
    "probe": _flag("Whether it was the probe of an endpoint that was failing."),
    "test": _flag("Whether it was a test call, of no event."),
    "replay": _REPLAY,
}

_DELIVERY_FIELDS: dict[str, Schema] = {
    "webhook": _WEBHOOK,
    "event": _event(with_bytes=True),
    "state": _string("Where it is.", enum=["Queued", "Scheduled", "Parked"]),
    "reason": _string("Why it waits, in a word; not there of what is queued."),
    "attempt": _integer("The next one; counts from 1."),
    "storedTime": _time("When its event was stored."),
    "since": _time("When it began to wait here."),
    "next": _object("What follows.", time=_time("When it is due, if that is known.")),
    "dispatcher": _DISPATCHER,
    "replay": _REPLAY,
}

_DEAD_LETTER_FIELDS: dict[str, Schema] = {
    "webhook": _WEBHOOK,
    "event": _event(with_bytes=True),
    "time": _time("When it was given up."),
    "reason": _string("Why it was given up, in a word; docs/outcomes.md has them all."),
    "detail": _string("Why it was given up, in a sentence."),
    "attempts": _integer("How many were made; 0 of one that was given up without."),
    "outcome": _string("How the last attempt ended, in a word."),
    "status": _STATUS,
    "answer": _object("What the last attempt got.", body=_BODY, bodyEncoding=_ENCODING),
    "headers": _map("What travels beside the body of the event."),
    "dispatcher": _DISPATCHER,
}

_TEST_FIELDS: dict[str, Schema] = {
    "spec": _object(
        "What to send.",
        webhook=_string("The name of a Webhook of this namespace."),
        eventType=_string("Whose sample to send; the Webhook's own event if it is not there."),
    ),
    "status": _object(
        "What became of it.",
        attempt=_object("The one attempt, as an Attempt has it.", **_ATTEMPT_FIELDS),
    ),
}

_SELECT = (
    f"Lists are newest first. Field selectors: {', '.join(FIELDS)}, each by = only. Its body is the subresource body, "
    "which needs a right of its own."
)

DESCRIPTIONS: Mapping[str, str] = MappingProxyType(
    {
        ATTEMPTS.kind: f"Attempt is one HTTPS call of a delivery, and what came back. {_SELECT}",
        DELIVERIES.kind: f"Delivery is one event on its way to one Webhook that is not done yet. {_SELECT}",
        DEAD_LETTERS.kind: f"DeadLetter is a delivery that was given up. {_SELECT}",
        WEBHOOK_TESTS.kind: "WebhookTest sends a sample to a Webhook now, and is answered with what came back. It is "
        "not kept.",
    }
)

PROPERTIES: Mapping[str, Mapping[str, Schema]] = MappingProxyType(
    {
        ATTEMPTS.kind: _ATTEMPT_FIELDS,
        DELIVERIES.kind: _DELIVERY_FIELDS,
        DEAD_LETTERS.kind: _DEAD_LETTER_FIELDS,
        WEBHOOK_TESTS.kind: _TEST_FIELDS,
    }
)


def name_of(kind: str) -> str:
    """Of its schema: the group the other way round."""
    return f"dev.hookline.log.{VERSION}.{kind}"


def schemas(resource: Resource) -> dict[str, Schema]:
    """Of the objects and, where there are any, the lists of a resource."""
    kind = resource.kind
    meta = {"allOf": [{"$ref": f"#/components/schemas/{META}.ObjectMeta"}], "default": {}}
    made = {
        name_of(kind): _typed(
            kind,
            DESCRIPTIONS[kind],
            {"metadata": {**meta, "description": "Name, namespace and labels."}, **PROPERTIES[kind]},
        )
    }
    if "list" in resource.verbs:
        items = {
            "type": "array",
            "items": {"allOf": [{"$ref": f"#/components/schemas/{name_of(kind)}"}]},
            "description": "Newest first.",
        }
        list_meta = {"allOf": [{"$ref": f"#/components/schemas/{META}.ListMeta"}], "default": {}}
        whole = _typed(f"{kind}List", f"A part of all {resource.plural}.", {"metadata": list_meta, "items": items})
        made[name_of(f"{kind}List")] = {**whole, "required": ["items"]}
    return made


def meta_schemas() -> dict[str, Schema]:
    """Those parts of Kubernetes' own objects that ours have."""
    return {
        f"{META}.ObjectMeta": _object(
            "ObjectMeta is what all objects have.",
            name=_string("Unique in its namespace."),
            namespace=_string("Whose it is."),
            uid=_string("Unique in time and space."),
            resourceVersion=_string("Where to watch on from; of attempts only."),
            creationTimestamp=_time("When it came to be."),
            labels=_map("By which lists can be narrowed. None can be added."),
        ),
        f"{META}.ListMeta": _object(
            "ListMeta is what all lists have.",
            **{
                "resourceVersion": _string("Where to watch on from."),
                "continue": _string("Where the next part begins; not there in the last one."),
            },
        ),
        f"{META}.Status": _object(
            "Status is the answer to what gives no object, and to what fails.",
            status=_string("Success or Failure."),
            message=_string("For people."),
            reason=_string("For programs, in a word."),
            code=_integer("That of HTTP."),
        ),
        f"{META}.WatchEvent": _object(
            "WatchEvent is one line of a watch.",
            type=_string("ADDED, BOOKMARK or ERROR."),
            object={"type": "object", "description": "What it is about."},
        ),
    }


def _typed(kind: str, description: str, properties: Mapping[str, Schema]) -> Schema:
    return {
        "type": "object",
        "description": description,
        "properties": {
            "apiVersion": _string(f"{API_VERSION}."),
            "kind": _string(f"{kind}."),
            **properties,
        },
        "x-kubernetes-group-version-kind": [{"group": GROUP, "version": VERSION, "kind": kind}],
    }
