"""The OpenAPI 3.1 document of the gateway. Pure: what is said here, tests hold against the running gateway."""

from __future__ import annotations

import functools
import json
from typing import Any

from hookline import __version__
from hookline.events.envelope import TENANT_PATTERN
from hookline.events.schemas import EVENT_NAME_MAX_LENGTH
from hookline.gateway.cloudevents import BATCH, STRUCTURED
from hookline.gateway.incoming import MAX_KEY_CHARACTERS
from hookline.gateway.media_types import NDJSON
from hookline.gateway.problem import MEDIA_TYPE, TYPES, Kind

_JSON = "application/json"

SCHEMA_TYPE = "application/schema+json"

Document = dict[str, Any]


@functools.cache
def text() -> bytes:
    """The document, as it is served."""
    return json.dumps(document(), indent=2).encode() + b"\n"


def document() -> Document:
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Hookline gateway",
            "version": __version__,
            "description": "Publish events, each stored before it is confirmed.",
        },
        "paths": {
            "/v1/events/{type}": {"parameters": [_TYPE], "post": _publish_bare()},
            "/v1/events": {"post": _publish_cloudevents()},
            "/v1/event-types": {"get": _get("listEventTypes", "All event types", _ref("EventTypes"))},
            "/v1/event-types/{type}/schema": {
                "parameters": [_TYPE],
                "get": _get(
                    "downloadSchema",
                    "The JSON Schema of an event type, as a file",
                    {},
                    SCHEMA_TYPE,
                    may_be_missing=True,
                ),
            },
            "/v1/event-types/{type}/sample": {
                "parameters": [_TYPE],
                "get": _get("downloadSample", "A right body of an event type, as a file", {}, may_be_missing=True),
            },
            "/v1/openapi.json": {"get": _get("openapi", "This document", {"type": "object"})},
        },
        "components": {
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "In a cluster a ServiceAccount's token of the audience `hookline`; of "
                    "`hookline run` what is in its file `gateway-token`.",
                }
            },
            "schemas": _SCHEMAS,
            "responses": {_name(status): _problem_answer(status) for status in _STATUSES},
        },
    }


_STATUSES = sorted({kind.status for kind in Kind})

_PUBLISHING = [400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 500, 503]
"""How publishing may be refused."""


def _name(status: int) -> str:
    return f"Problem{status}"


def _ref(schema: str) -> Document:
    return {"$ref": f"#/components/schemas/{schema}"}


def _problem_answer(status: int) -> Document:
    kinds = [kind for kind in Kind if kind.status == status]
    answer: Document = {
        "description": "; ".join(f"`{kind.slug}`: {kind.title}" for kind in kinds),
        "content": {MEDIA_TYPE: {"schema": _ref("Problem")}},
    }
    if status in (429, 503):
        answer["headers"] = {"Retry-After": {"schema": {"type": "integer", "minimum": 1}, "description": "Seconds."}}
    return answer


def _problems(statuses: list[int]) -> Document:
    return {str(status): {"$ref": f"#/components/responses/{_name(status)}"} for status in statuses}


def _verdicts_or_problem(statuses: list[int]) -> Document:
    """Of requests that may hold many events: the worst of their statuses, with a verdict for each."""
    answers: Document = {}
    for status in statuses:
        answer = _problem_answer(status)
        answer["content"][_JSON] = {"schema": _ref("Verdicts")}
        answers[str(status)] = answer
    return answers


def _taken(description: str) -> Document:
    schema = {"oneOf": [_ref("Taken"), _ref("Verdicts")]}
    return {"description": description, "content": {_JSON: {"schema": schema}}}


_TYPE: Document = {
    "name": "type",
    "in": "path",
    "required": True,
    "description": "Name of an event type, such as IdentityCreated.",
    "schema": {"type": "string", "minLength": 1, "maxLength": EVENT_NAME_MAX_LENGTH},
}

_HEADERS: list[Document] = [
    {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": schema,
    }
    for name, description, schema in (
        (
            "Idempotency-Key",
            "Becomes the id of the event: sent again, the event is stored once. Without one an id is made.",
            {"type": "string", "minLength": 1, "maxLength": MAX_KEY_CHARACTERS},
        ),
        (
            "Hookline-Namespace",
            "Publishes for another namespace than the caller's own, if it may.",
            {"type": "string", "pattern": TENANT_PATTERN},
        ),
        ("traceparent", "W3C Trace Context; travels with the event.", {"type": "string", "maxLength": 512}),
        ("tracestate", "W3C Trace Context; travels with the event.", {"type": "string", "maxLength": 512}),
    )
]


def _publish_bare() -> Document:
    return {
        "operationId": "publish",
        "summary": "Publish an event whose body is the request's, or one for each line",
        "security": [{"token": []}],
        "parameters": _HEADERS,
        "requestBody": {
            "required": True,
            "content": {_JSON: {"schema": {}}, NDJSON: {"schema": {"type": "string"}}},
        },
        "responses": {
            "202": _taken("Stored."),
            "200": _taken("Stored before: a repeat of the same key and body."),
            **_verdicts_or_problem(_PUBLISHING),
        },
    }


def _publish_cloudevents() -> Document:
    return {
        "operationId": "publishCloudEvents",
        "summary": "Publish CloudEvents: binary, structured, a batch, or one for each line",
        "security": [{"token": []}],
        "parameters": [each for each in _HEADERS if each["name"] != "Idempotency-Key"],
        "requestBody": {
            "required": True,
            "content": {
                STRUCTURED: {"schema": _ref("CloudEvent")},
                BATCH: {"schema": {"type": "array", "items": _ref("CloudEvent")}},
                NDJSON: {"schema": {"type": "string"}},
                _JSON: {"schema": {}},
            },
        },
        "responses": {
            "202": _taken("Stored."),
            "200": _taken("Stored before: a repeat of the same `source`, `id` and data."),
            **_verdicts_or_problem(_PUBLISHING),
        },
    }


def _get(
    operation: str, summary: str, schema: Document, content_type: str = _JSON, *, may_be_missing: bool = False
) -> Document:
    content = {"description": summary, "content": {content_type: {"schema": schema}}}
    return {
        "operationId": operation,
        "summary": summary,
        "responses": {"200": content, **_problems([400, 404, 500] if may_be_missing else [400, 500])},
    }


_FAULT: Document = {
    "type": "object",
    "required": ["pointer", "rule", "detail"],
    "properties": {
        "pointer": {"type": "string", "description": "Place in the body (JSON Pointer, RFC 6901)."},
        "rule": {"type": "string", "description": "The broken rule: a keyword of the schema, or of JSON itself."},
        "detail": {"type": "string"},
    },
}

_SCHEMAS: Document = {
    "Taken": {
        "type": "object",
        "required": ["id", "type", "namespace", "repeat"],
        "properties": {
            "id": {"type": "string", "description": "Of the event; the receivers' `webhook-id`."},
            "type": {"type": "string"},
            "namespace": {"type": "string"},
            "repeat": {"type": "boolean", "description": "Whether it was stored before."},
            "warnings": {"type": "array", "items": _FAULT},
        },
    },
    "Verdicts": {
        "type": "object",
        "required": ["stored", "refused", "events"],
        "properties": {
            "stored": {"type": "integer"},
            "refused": {"type": "integer"},
            "events": {
                "type": "array",
                "description": "One for each event, in their order.",
                "items": {
                    "type": "object",
                    "required": ["status"],
                    "properties": {"status": {"type": "integer"}, "id": {"type": "string"}, "problem": _ref("Problem")},
                },
            },
        },
    },
    "Problem": {
        "type": "object",
        "description": "RFC 9457.",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": {"type": "string", "enum": [TYPES + kind.slug for kind in Kind]},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "errors": {"type": "array", "items": _FAULT},
            "nearest": {"type": "array", "items": {"type": "string"}, "description": "Event types of similar names."},
            "id": {"type": "string", "description": "Send the event again with this as its key."},
        },
    },
    "EventTypes": {
        "type": "object",
        "required": ["eventTypes"],
        "properties": {
            "eventTypes": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name", "description", "validation", "builtin", "schema"],
                    "properties": {
                        "name": {"type": "string"},
                        "description": {"type": "string"},
                        "validation": {"enum": ["Enforce", "Warn", "Ignore"]},
                        "builtin": {"type": "boolean"},
                        "schema": {"type": "string"},
                        "sample": {"type": "string"},
                        "deprecated": {"type": "string"},
                    },
                },
            }
        },
    },
    "CloudEvent": {
        "type": "object",
        "required": ["specversion", "id", "source", "type"],
        "properties": {
            "specversion": {"enum": ["1.0", "0.3"]},
            "id": {"type": "string", "minLength": 1},
            "source": {"type": "string", "minLength": 1},
            "type": {"type": "string", "minLength": 1},
            "subject": {"type": "string"},
            "time": {"type": "string", "format": "date-time"},
            "data": {},
            "data_base64": {"type": "string", "contentEncoding": "base64", "description": "In the place of `data`."},
        },
        "oneOf": [{"required": ["data"]}, {"required": ["data_base64"]}],
    },
}
