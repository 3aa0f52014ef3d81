"""The bucket of endpoint states on a real server: read in few questions, without a trace of what was removed."""

from __future__ import annotations

import asyncio

import pytest

from doubles.local import until_stored
from hookline.stream import names
from hookline.stream.api import ask
from hookline.stream.connection import Client
from hookline.stream.endpoints import BATCH, BATCH_FROM, EndpointBucket, Entry
from hookline.stream.streams import Retention, ensure

STREAM = f"KV_{names.ENDPOINTS_BUCKET}"


async def fill(client: Client, count: int) -> dict[str, bytes]:
    bucket = EndpointBucket(client)
    states = {f"u{number}": b"%d" % number for number in range(count)}
    await asyncio.gather(*(bucket.write(key, value, revision=0) for key, value in states.items()))
    return states


@pytest.fixture
def single(monkeypatch: pytest.MonkeyPatch) -> list[Entry | None]:
    """What was asked for one by one."""
    asked: list[Entry | None] = []
    by_one = EndpointBucket._next

    async def next_(bucket: EndpointBucket) -> Entry | None:
        asked.append(await by_one(bucket))
        return asked[-1]

    monkeypatch.setattr(EndpointBucket, "_next", next_)
    return asked


async def test_many_states_are_read_in_batches_and_each_once(queue: Client, single: list[Entry | None]) -> None:
    states = await fill(queue, 2 * BATCH + 7)
    bucket = EndpointBucket(queue)
    anew, entries = await bucket.changes()
    assert (anew, {each.key: each.value for each in entries}, len(entries)) == (True, states, len(states))
    assert [each.revision for each in entries] == sorted({each.revision for each in entries})
    assert len(single) <= BATCH_FROM
    assert await bucket.changes() == (False, [])


async def test_what_was_written_over_or_removed_is_read_as_it_is_now(queue: Client) -> None:
    await fill(queue, 3 * BATCH_FROM)
    bucket = EndpointBucket(queue)
    revisions = {each.key: each.revision for each in (await bucket.changes())[1]}
    for key in list(revisions)[: 2 * BATCH_FROM]:
        assert await bucket.remove(key, revision=revisions[key])
    assert await bucket.write("u40", b"new", revision=revisions["u40"])
    for reader in (bucket, EndpointBucket(queue)):
        found = {each.key: each.value for each in (await reader.changes())[1]}
        assert found["u40"] == b"new"
        assert [found[key] for key in list(revisions)[: 2 * BATCH_FROM]] == [None] * 2 * BATCH_FROM


async def test_a_mark_of_what_was_removed_goes_and_the_same_endpoint_can_turn_failing_again(
    queue: Client, single: list[Entry | None]
) -> None:
    bucket = EndpointBucket(queue, mark_seconds=1)
    revision = await bucket.write("u1", b"failing", revision=0)
    assert revision is not None
    mark = await bucket.remove("u1", revision=revision)
    assert mark is not None
    await until_stored(queue, STREAM, 0)
    for _ in range(3):
        await bucket.changes()
    # What is not there any more is asked for once.
    assert single == [None]
    again = await bucket.write("u1", b"failing", revision=mark)
    assert again is not None
    # Whoever knows less than what is there still writes over nothing.
    assert await bucket.write("u1", b"old", revision=mark) is None
    assert await bucket.write("u1", b"old", revision=0) is None


async def test_a_bucket_of_a_version_without_times_of_marks_gets_them(client: Client) -> None:
    await ensure(client, Retention())
    config = (await ask(client, f"STREAM.INFO.{STREAM}"))["config"]
    await client.jetstream().delete_stream(STREAM)
    await ask(client, f"STREAM.CREATE.{STREAM}", **{**config, "allow_msg_ttl": False})
    bucket = EndpointBucket(client)
    revision = await bucket.write("u1", b"failing", revision=0)
    await ensure(client, Retention())
    assert revision is not None
    assert await bucket.remove("u1", revision=revision)
