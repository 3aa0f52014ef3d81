"""Event types that EventType resources define, kept in the queue so that every publisher can check its bodies.

A bucket with one entry for each type. Holds what the route book says, no more and no less.
"""

from __future__ import annotations

import base64
import json

import structlog
from nats.aio.client import Client
from pydantic import ValidationError

from hookline.events.schemas import is_event_name
from hookline.routing.routes import TypeRecord
from hookline.stream import names
from hookline.stream.api import api, place_of
from hookline.stream.connection import jetstream_answers

log = structlog.get_logger(__name__)


async def read_types(client: Client) -> list[TypeRecord]:
    """All types in the bucket, without those that cannot be read. Raises StreamUnavailable, QueueUnusable."""
    entries = await _entries(client)
    found = {key: _record(value) for key, value in sorted(entries.items())}
    for key in (key for key, record in found.items() if record is None):
        log.warning("an event type in NATS cannot be read and is left out", bucket=names.TYPES_BUCKET, key=key)
    return [record for record in found.values() if record is not None]


async def are_spoiled(client: Client) -> bool:
    """Whether the bucket holds something that is no type: publishers know none of that name. Raises StreamUnavailable,
    QueueUnusable."""
    return any(_record(value) is None for value in (await _entries(client)).values())


async def types_version(client: Client) -> tuple[str, int, int] | None:
    """Another one whenever a type was changed; None without a bucket. Raises StreamUnavailable, QueueUnusable."""
    info = await api(client, f"STREAM.INFO.KV_{names.TYPES_BUCKET}")
    return place_of(info) if "error" not in info else None


async def write_types(client: Client, types: tuple[TypeRecord, ...]) -> None:
    """Make the bucket, which is there, hold exactly these; writes nothing that is there already.

    What is default is absent, so that senders of two versions write the same. Raises StreamUnavailable, QueueUnusable.
    """
    contents = {record.name: record.model_dump(mode="json", exclude_defaults=True) for record in types}
    wanted = {name: json.dumps(content, sort_keys=True).encode() for name, content in contents.items()}
    there = await _entries(client)
    with jetstream_answers():
        bucket = await client.jetstream().key_value(names.TYPES_BUCKET)
        for name in there.keys() - wanted.keys():
            await bucket.delete(name, validate_keys=False)
        for name, value in wanted.items():
            if there.get(name) != value:
                await bucket.put(name, value)


def _record(value: bytes) -> TypeRecord | None:
    """Anybody on this NATS may have written it."""
    try:
        record = TypeRecord.model_validate_json(value)
    except (ValidationError, RecursionError):
        return None
    return record if is_event_name(record.name) else None


async def _entries(client: Client) -> dict[str, bytes]:
    """What the bucket holds; nothing when it is not there. The client's own `keys()` was seen to end early on a busy
    machine."""
    prefix, stream = f"$KV.{names.TYPES_BUCKET}.", f"KV_{names.TYPES_BUCKET}"
    found: dict[str, bytes] = {}
    asked = 0
    while True:
        info = await api(client, f"STREAM.INFO.{stream}", subjects_filter=f"{prefix}>", offset=asked)
        subjects = info.get("state", {}).get("subjects") or {}
        for subject in subjects:
            value = await _value(client, stream, subject)
            if value is not None:
                found[subject.removeprefix(prefix)] = value
        asked += len(subjects)
        if not subjects or asked >= info.get("total", 0):
            return found


async def _value(client: Client, stream: str, subject: str) -> bytes | None:
    """None for a key that was deleted: it leaves a mark."""
    message = (await api(client, f"STREAM.MSG.GET.{stream}", last_by_subj=subject)).get("message")
    if message is None:
        return None
    headers = base64.b64decode(message.get("hdrs") or "")
    return None if b"KV-Operation:" in headers else base64.b64decode(message.get("data") or "")
