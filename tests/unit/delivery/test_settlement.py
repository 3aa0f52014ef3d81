from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import pytest

from hookline.delivery.settlement import INTERNAL_ERROR, MALFORMED, PATIENT_DELIVERIES, Settlement
from hookline.runtime.metrics import SenderMetrics
from hookline.stream.clock import ServerClock
from hookline.stream.connection import StreamRefused, StreamUnavailable
from hookline.stream.publish import Publisher
from hookline.stream.pull import Origin, Taken


class Clock:
    def now_s(self) -> float:
        return 1_700_000_000.0


class Queue:
    """Stores and acks, in the order in which it is told to."""

    def __init__(self, problem: Exception | None = None) -> None:
        self.did: list[Any] = []
        self._problem = problem

    async def store(self, subject: str, body: bytes, headers: Mapping[str, str], *, once: str) -> bool:
        if self._problem is not None:
            raise self._problem
        self.did.append((subject, body, dict(headers), once))
        return True

    async def publish(self, subject: str, word: bytes) -> None:
        self.did.append(word)


def settlement_of(queue: Queue) -> Settlement:
    return Settlement(cast(Publisher, queue), SenderMetrics(), cast(ServerClock, Clock()))


def taken(queue: Queue, *, delivered: int = 1, headers: Mapping[str, str] | None = None) -> Taken:
    subject = "hookline.deliveries.03.uid-1"
    return Taken(
        Origin.SHARD, "shard-03", subject, headers or {}, b"body", 7, 11, delivered, cast(Any, queue), "$JS.ACK.x"
    )


async def test_a_message_is_acked_after_what_follows_is_stored() -> None:
    queue = Queue()
    settlement = settlement_of(queue)
    assert await settlement.settle(taken(queue), queue.store("next", b"", {}, once="1"))
    assert queue.did == [("next", b"", {}, "1"), b"+ACK"]
    assert settlement.knows(taken(queue))


@pytest.mark.parametrize("problem", [StreamUnavailable("away"), StreamRefused("full")])
async def test_a_message_whose_consequence_is_not_stored_stays_in_the_queue(problem: Exception) -> None:
    queue = Queue(problem)
    settlement = settlement_of(queue)
    assert not await settlement.settle(taken(queue), queue.store("next", b"", {}, once="1"))
    assert queue.did == []
    assert not settlement.knows(taken(queue))


async def test_a_message_that_cannot_be_read_is_kept_whole_before_it_is_acked() -> None:
    queue = Queue()
    headers = {"Hookline-Next": "9", "Nats-Schedule": "@at 2026-01-01T00:00:00Z", "Hookline-Tenant": "team-a"}
    assert await settlement_of(queue).set_apart(taken(queue, headers=headers), MALFORMED, "no attempt")
    (subject, body, kept, _), ack = queue.did
    assert (subject, body, ack) == ("hookline.dead.team-a.uid-1", b"body", b"+ACK")
    assert kept["Hookline-Reason"] == "Malformed: no attempt"
    assert kept["Hookline-Subject"] == "hookline.deliveries.03.uid-1"
    assert kept["Hookline-Next"] == "9"
    assert "Nats-Schedule" not in kept


@pytest.mark.parametrize("tenant", ["", "a.b", "*", ">", "Team A", "x" * 100])
async def test_what_names_no_tenant_is_kept_all_the_same(tenant: str) -> None:
    queue = Queue()
    assert await settlement_of(queue).set_apart(taken(queue, headers={"Hookline-Tenant": tenant}), MALFORMED, "odd")
    assert queue.did[0][0] == "hookline.dead.unread.uid-1"


async def test_a_failure_that_nobody_expected_leaves_the_message_in_the_queue() -> None:
    queue = Queue()
    await settlement_of(queue).failed(taken(queue), RuntimeError("a secret"))
    assert queue.did == []


async def test_a_message_that_fails_again_and_again_ends_in_dead() -> None:
    queue = Queue()
    await settlement_of(queue).failed(taken(queue, delivered=PATIENT_DELIVERIES), RuntimeError("a secret"))
    (_, _, kept, _), ack = queue.did
    assert kept["Hookline-Reason"] == f"{INTERNAL_ERROR}: RuntimeError"
    assert ack == b"+ACK"


async def test_a_message_is_not_acked_when_the_process_ends_while_it_is_stored() -> None:
    queue = Queue()

    async def never() -> None:
        await asyncio.Event().wait()

    settling = asyncio.create_task(settlement_of(queue).settle(taken(queue), never()))
    await asyncio.sleep(0)
    settling.cancel()
    await asyncio.wait([settling])
    assert queue.did == []


def head_of(queue: Queue, body: bytes) -> Taken:
    """A message that came without this body."""
    return replace(taken(queue), headers={"Nats-Msg-Size": str(len(body))}, body=b"", is_head=True)


async def test_what_came_without_its_body_is_kept_with_it_and_without_where_it_is_gone() -> None:
    for found, kept in ((b"all of it", b"all of it"), (None, b"")):
        queue = Queue()

        async def whole(head: Taken, body: bytes | None = found) -> Taken | None:
            return replace(head, body=body, is_head=False) if body is not None else None

        settlement = Settlement(cast(Publisher, queue), SenderMetrics(), cast(ServerClock, Clock()), whole=whole)
        assert await settlement.set_apart(head_of(queue, b"all of it"), MALFORMED, "why")
        assert queue.did[0][1] == kept
        assert queue.did[-1] == b"+ACK"


async def test_what_came_without_its_body_stays_in_the_queue_while_that_cannot_be_read() -> None:
    async def away(_: Taken) -> Taken | None:
        raise StreamUnavailable("away")

    queue = Queue()
    settlement = Settlement(cast(Publisher, queue), SenderMetrics(), cast(ServerClock, Clock()), whole=away)
    assert not await settlement.set_apart(head_of(queue, b"all of it"), MALFORMED, "why")
    assert queue.did == []
