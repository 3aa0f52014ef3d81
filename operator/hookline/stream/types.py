"""Event types that EventType resources define, kept in the queue so that every publisher can check its bodies.

A bucket with one entry for each type. Holds what the route book says, no more and no less.
"""

from __future__ import annotations

import contextlib
import json

import nats.js.errors
from nats.aio.client import Client
from nats.js.kv import KeyValue

from hookline.routes import TypeRecord
from hookline.stream import names
from hookline.stream.connection import jetstream_answers
from hookline.stream.streams import open_bucket


async def read_types(client: Client) -> list[TypeRecord]:
    """All types in the bucket. Raises StreamUnavailable."""
    with jetstream_answers():
        entries = await _entries(client, await open_bucket(client, names.TYPES_BUCKET))
    return [TypeRecord.model_validate_json(value) for _, value in sorted(entries.items())]


async def write_types(client: Client, types: tuple[TypeRecord, ...], *, replicas: int = 1) -> None:
    """Make the bucket hold exactly these; writes nothing that is there already. Raises StreamUnavailable.

    `replicas` counts when the bucket is made.
    """
    wanted = {record.name: json.dumps(record.model_dump(mode="json"), sort_keys=True).encode() for record in types}
    with jetstream_answers():
        bucket = await open_bucket(client, names.TYPES_BUCKET, replicas=replicas)
        there = await _entries(client, bucket)
        for name in there.keys() - wanted.keys():
            await bucket.delete(name)
        for name, value in wanted.items():
            if there.get(name) != value:
                await bucket.put(name, value)


async def _entries(client: Client, bucket: KeyValue) -> dict[str, bytes]:
    """What the bucket holds. The client's own `keys()` was seen to end early on a busy machine."""
    prefix = f"$KV.{names.TYPES_BUCKET}."
    info = await client.jetstream().stream_info(f"KV_{names.TYPES_BUCKET}", subjects_filter=f"{prefix}>")
    found: dict[str, bytes] = {}
    for subject in info.state.subjects or {}:
        key = subject.removeprefix(prefix)
        # A deleted entry leaves a mark.
        with contextlib.suppress(nats.js.errors.KeyDeletedError, nats.js.errors.KeyNotFoundError):
            found[key] = (await bucket.get(key)).value or b""
    return found
