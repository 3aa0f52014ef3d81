"""What the gateway says of event types: the list, the schema to download, a sample. Pure."""

from __future__ import annotations

import json
from typing import Any

from hookline.events.builtin_events import sample_file_name, schema_file_name, to_text
from hookline.events.explain import quoted
from hookline.events.schemas import Catalogue, EventTypeSpec, UnknownEvent
from hookline.gateway.problem import Kind, refuse


def listed(catalogue: Catalogue) -> bytes:
    """All event types, by name."""
    types = [_entry(catalogue.get(name)) for name in catalogue.names()]
    return json.dumps({"eventTypes": types}, ensure_ascii=False).encode() + b"\n"


def schema_file(catalogue: Catalogue, name: str) -> tuple[str, bytes]:
    """Name and content of the file of a schema, as it is shipped. Raises Refused."""
    spec = _known(catalogue, name)
    return schema_file_name(spec.name), to_text(spec.schema).encode()


def sample_file(catalogue: Catalogue, name: str) -> tuple[str, bytes]:
    """Name and content of the file of a sample. Raises Refused: an EventType may have none."""
    spec = _known(catalogue, name)
    if spec.sample is None:
        raise refuse(Kind.NOT_FOUND, f"the event type {spec.name} has no sample; its schema says what a body holds")
    return sample_file_name(spec.name), to_text(spec.sample).encode()


def _known(catalogue: Catalogue, name: str) -> EventTypeSpec:
    """The event type of exactly this name. Raises Refused: UNKNOWN_TYPE."""
    try:
        return catalogue.get(name)
    except UnknownEvent as error:
        raise unknown(error) from None


def unknown(error: UnknownEvent) -> Exception:
    """What to raise when there is no such event type."""
    detail = f"there is no event type {quoted(error.name)}; GET /v1/event-types lists them"
    return refuse(Kind.UNKNOWN_TYPE, detail, nearest=error.nearest)


def _entry(spec: EventTypeSpec) -> dict[str, Any]:
    page = f"/v1/event-types/{spec.name}"
    entry: dict[str, Any] = {
        "name": spec.name,
        "description": spec.description,
        "validation": spec.validation,
        "builtin": spec.builtin,
        "schema": f"{page}/schema",
    }
    if spec.deprecated:
        entry["deprecated"] = spec.deprecated
    if spec.sample is not None:
        entry["sample"] = f"{page}/sample"
    return entry
