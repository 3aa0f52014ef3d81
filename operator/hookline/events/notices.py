"""The built-in event types that Hookline publishes itself: what became of an endpoint, and of deliveries to it.

The table NOTICES is the source of truth of their names, schemas and samples. A notice says which Webhook, which state,
since when and why; never a URL, a header, a body or what a receiver answered. When one is published is decided in
delivery/policy/notices. Pure.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hookline.events.builtin_events import schema_file_name, to_text

PREFIX = "hookline."
"""Of their names, in any case. Nobody else may publish or define such a type."""

ENDPOINT_FAILING = "hookline.EndpointFailing"
ENDPOINT_GONE = "hookline.EndpointGone"
ENDPOINT_RECOVERED = "hookline.EndpointRecovered"
DELIVERY_DEAD = "hookline.DeliveryDead"

CATEGORY = "Hookline"
_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def is_reserved(event_type: str) -> bool:
    """Whether only Hookline itself may publish and define events of this type."""
    return event_type.lower().startswith(PREFIX)


@dataclass(frozen=True)
class Notice:
    """One type. Of `properties`, which are in JSON Schema, all are required."""

    name: str
    display_name: str
    description: str
    properties: Mapping[str, Any] = field(repr=False)
    sample: Mapping[str, Any] = field(repr=False)


def _text(description: str) -> dict[str, Any]:
    return {"type": "string", "description": description}


def _moment(description: str) -> dict[str, Any]:
    return {"type": "string", "format": "date-time", "description": f"{description} In UTC."}


def _count(description: str, least: int = 0) -> dict[str, Any]:
    return {"type": "integer", "minimum": least, "description": description}


def _closed(description: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description,
        "additionalProperties": False,
        "required": list(properties),
        "properties": dict(properties),
    }


_STATUS = {"type": ["integer", "null"], "description": "HTTP status of the last answer; null when none came."}
_REASON = _text("How the last call ended, in a word of docs/outcomes.md.")
_TIME = {"time": _moment("When this was found out.")}
_WEBHOOK = {
    "webhook": _closed(
        "The Webhook that it is about.",
        {
            "namespace": _text("Its namespace."),
            "name": _text("Its name."),
            "uid": _text("Its uid."),
            "event": _text("The event that it hears."),
        },
    )
}
_SAMPLE: Mapping[str, Any] = {
    "time": "2026-05-04T10:12:37.118Z",
    "webhook": {
        "namespace": "team-a",
        "name": "identity-created",
        "uid": "b7a1f6d2-0c58-4e7b-9d3e-6a1c2e84f930",
        "event": "IdentityCreated",
    },
}

NOTICES: tuple[Notice, ...] = (
    Notice(
        ENDPOINT_FAILING,
        "Endpoint failing",
        "Five calls of a Webhook failed in a row. Its deliveries wait, and one is tried now and then.",
        {
            **_TIME,
            **_WEBHOOK,
            "state": {"const": "Failing", "description": "As in the condition Delivering."},
            "since": _moment("When the first of the calls failed."),
            "reason": _REASON,
            "status": _STATUS,
        },
        {**_SAMPLE, "state": "Failing", "since": "2026-05-04T10:11:02.000Z", "reason": "HTTPStatus", "status": 503},
    ),
    Notice(
        ENDPOINT_GONE,
        "Endpoint gone",
        "A receiver answered 410, which asks never to be called again. Its deliveries wait until the Webhook's spec "
        "changes.",
        {
            **_TIME,
            **_WEBHOOK,
            "state": {"const": "Gone", "description": "As in the condition Delivering."},
            "since": _moment("When the first of the calls failed."),
            "reason": _REASON,
            "status": _STATUS,
        },
        {**_SAMPLE, "state": "Gone", "since": "2026-05-04T10:12:37.000Z", "reason": "Gone", "status": 410},
    ),
    Notice(
        ENDPOINT_RECOVERED,
        "Endpoint recovered",
        "An endpoint that was failing or gone is called again, because a call succeeded or its Webhook was changed.",
        {
            **_TIME,
            **_WEBHOOK,
            "state": {"const": "Recovered", "description": "What waited is delivered now, in publish order."},
            "was": {"enum": ["Failing", "Gone"], "description": "What it was."},
            "since": _moment("Since when it was so."),
            "reason": {
                "enum": ["Delivered", "SpecChanged"],
                "description": "Delivered: a call succeeded. SpecChanged: the Webhook was changed and is tried anew; "
                "whether calls succeed is not known yet.",
            },
            "probes": _count("Calls that were tried meanwhile."),
        },
        {
            **_SAMPLE,
            "state": "Recovered",
            "was": "Failing",
            "since": "2026-05-04T10:11:02.000Z",
            "reason": "Delivered",
            "probes": 4,
        },
    ),
    Notice(
        DELIVERY_DEAD,
        "Deliveries dead",
        "Deliveries of a Webhook were given up and are dead letters now. One notice tells of all of about a minute.",
        {
            **_TIME,
            **_WEBHOOK,
            "count": _count("How many, as this sender knows: each sender tells of its own.", 1),
            "since": _moment("When the first of them was given up."),
            "reasons": {
                "type": "object",
                "additionalProperties": {"type": "integer", "minimum": 1},
                "description": "How many for which reason, such as ScheduleSpent.",
            },
            "last": _closed(
                "The last of them.",
                {
                    "eventId": _text("Id of its event."),
                    "attempts": _count("How often it was called."),
                    "reason": _text("How the last call ended, in a word of docs/outcomes.md; empty without one."),
                    "status": _STATUS,
                },
            ),
        },
        {
            **_SAMPLE,
            "count": 3,
            "since": "2026-05-04T10:11:44.000Z",
            "reasons": {"ScheduleSpent": 3},
            "last": {
                "eventId": "evt_9302483c256b4a18a5068ef1cb6e4b43",
                "attempts": 10,
                "reason": "HTTPStatus",
                "status": 503,
            },
        },
    ),
)


def schema_of(notice: Notice) -> dict[str, Any]:
    """The JSON Schema of its body, a fresh dict."""
    name = notice.name.removeprefix(PREFIX)
    return {"$schema": _DRAFT, "title": name, **_closed(notice.description, copy.deepcopy(dict(notice.properties)))}


def sample_of(notice: Notice) -> dict[str, Any]:
    """One realistic body."""
    return copy.deepcopy(dict(notice.sample))


def schema_files() -> dict[str, str]:
    """What `make generate` writes below schemas/: path to text, one file for each."""
    return {f"events/{schema_file_name(each.name)}": to_text(schema_of(each)) for each in NOTICES}


def body_of(facts: Mapping[str, Any]) -> bytes:
    """The body of one, by its properties."""
    return json.dumps(facts, separators=(",", ":")).encode()
