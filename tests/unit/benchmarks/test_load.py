"""What load does on a queue that confirms, refuses or is called otherwise."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import cast

import pytest
from benchmarks.burst import body_of
from benchmarks.engines import PRESENT, Engine
from benchmarks.load import publish_at, publish_fast
from benchmarks.stage import TENANT, Producer

from hookline.stream.connection import Client, QueueUnusable, StreamRefused, StreamUnavailable
from hookline.stream.publish import Publisher
from hookline.stream.queue_problem import QueueProblem, QueueReason

FORMER = Engine("before", Path("somewhere"))


class Queue:
    """Stores, or raises what it is told to for every second event."""

    def __init__(self, problem: Exception | None = None) -> None:
        self.stored: list[tuple[str, bytes]] = []
        self._problem = problem
        self._asked = 0

    async def store(self, subject: str, body: bytes, headers: object, *, once: str) -> bool:
        self._asked += 1
        if self._problem is not None and self._asked % 2 == 0:
            raise self._problem
        self.stored.append((subject, body))
        return True


def to(queue: Queue, engine: Engine = PRESENT) -> Producer:
    return Producer(cast("Client", None), cast("Publisher", queue), engine)


async def test_as_fast_as_it_goes_ends_at_the_count_and_goes_round() -> None:
    queue = Queue()
    assert await publish_fast(to(queue), ["a", "other/b"], "r", 5, at_once=2, body=b"{}") == 5
    subjects = [subject for subject, _ in queue.stored]
    assert subjects.count(f"hookline.events.{TENANT}.a") == 3
    assert subjects.count("hookline.events.other.b") == 2
    assert {body for _, body in queue.stored} == {b"{}"}


async def test_as_fast_as_it_goes_ends_when_its_time_is_over() -> None:
    queue = Queue()
    assert await publish_fast(to(queue), ["a"], "r", 1000, seconds=0, at_once=3) == len(queue.stored) == 3


@pytest.mark.parametrize("problem", [StreamRefused("full"), StreamUnavailable("away")])
async def test_what_the_queue_did_not_confirm_is_not_counted(problem: Exception) -> None:
    assert await publish_fast(to(Queue(problem)), ["a"], "r", 10) == 5
    taken = await publish_at(to(Queue(problem)), ["a"], "r", [0.0] * 4, time.monotonic())
    assert [each is None for each in taken] == [False, True, False, True]


async def test_a_former_engine_may_call_its_stream_otherwise_and_this_one_may_not() -> None:
    problem = QueueUnusable(QueueProblem(QueueReason.STREAM_FOREIGN, "another stream took it"))
    assert await publish_fast(to(Queue(problem), FORMER), ["a"], "r", 10) == 10
    assert await publish_fast(to(Queue(problem)), ["a"], "r", 10) == 5


def test_a_body_is_json_of_its_size() -> None:
    for size_bytes in (1024, 250 * 1024):
        assert len(body_of(size_bytes)) == size_bytes
        json.loads(body_of(size_bytes))
