"""The wall clock of a sender is an hour off, or jumps while it works: nothing is lost, repeated, early or late."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from crash.parties import CrashReceiver, NatsProcess, SenderProcess
from crash.scenario import Books, Plan, connected, publish
from doubles import own
from doubles.local import SECRET, logged_calls, until, until_stored
from doubles.receiver import Call
from doubles.waiting import until_it_is
from hookline.routing.routes import RetiredKey, RouteState
from hookline.stream.attempt_record import AttemptRecord
from hookline.stream.connection import Client

HOUR = 3600.0
WAIT_SECONDS = 4
"""Before the only retry. Far below an hour, and above what a retry that is due at once takes."""


@dataclass
class _Stage:
    receiver: CrashReceiver
    client: Client
    books: Books
    sender: SenderProcess


@contextlib.asynccontextmanager
async def _stage(folder: Path, plan: Plan, *, first_status: int = 200) -> AsyncIterator[_Stage]:
    """A receiver that answers the first attempt of each event with `first_status`, and all later ones with 200."""

    def answer(call: Call) -> tuple[int, float]:
        return (first_status if call.headers["hookline-attempt"] == "1" else 200), 0.0

    async with (
        CrashReceiver(answer) as receiver,
        NatsProcess(folder / "nats") as server,
        connected(server.url) as client,
    ):
        books = Books(folder / "book", plan, receiver.port, receiver.ca_pem)
        books.first()
        yield _Stage(receiver, client, books, SenderProcess(folder, books.folder, server.url))


def _signed_s(record: AttemptRecord) -> int:
    return int(record.request_headers["webhook-timestamp"])


def _waited_seconds(calls: list[Call]) -> list[float]:
    """For each event, the time between its two calls."""
    at_s: dict[str, list[float]] = {}
    for call in calls:
        at_s.setdefault(call.event_id, []).append(call.at_s)
    return [second - first for first, second in at_s.values()]


@pytest.mark.parametrize("ahead_seconds", [HOUR, -HOUR])
async def test_a_clock_that_jumps_loses_and_repeats_nothing(tmp_path: Path, ahead_seconds: float) -> None:
    async with _stage(tmp_path, Plan()) as on, on.sender.running():
        calls = on.receiver.calls
        ids = set(await publish(on.client, 20))
        await until(lambda: len(calls) >= 20)
        on.sender.set_clock_ahead(ahead_seconds)
        late = set(await publish(on.client, 20))
        await until(lambda: len(calls) >= 40)
        on.sender.set_clock_ahead(0)
        ids |= late | set(await publish(on.client, 20))
        await until(lambda: len(calls) >= 60)
        logged = await until_it_is(lambda: logged_calls(on.client), lambda there: len(there) == 60)
        # By NATS's clock, whatever that of the sender says.
        assert all(abs(each.at_s - time.time()) < 120 for each in logged)
        assert {each.event_id for each in logged if abs(_signed_s(each) - each.at_s) > HOUR / 2} == late
    assert {call.event_id for call in calls} == ids
    assert len(calls) == 60
    for call in calls:
        # A signature carries the time of the sender's clock: a receiver refuses one that is an hour off.
        shift = int(call.headers["webhook-timestamp"]) - time.time()
        assert abs(shift - (ahead_seconds if call.event_id in late else 0)) < 120


@pytest.mark.parametrize("ahead_seconds", [HOUR, -HOUR])
async def test_a_retry_comes_at_its_time_although_the_senders_clock_is_an_hour_off(
    tmp_path: Path, ahead_seconds: float
) -> None:
    async with _stage(tmp_path, Plan(schedule_seconds=(WAIT_SECONDS,)), first_status=500) as on:
        on.sender.set_clock_ahead(ahead_seconds)
        async with on.sender.running():
            await publish(on.client, 3)
            await until(lambda: len(on.receiver.calls) == 6, what="the retries")
            await until_stored(on.client, own.DELIVERIES, 0)
    shifts = [int(call.headers["webhook-timestamp"]) - time.time() for call in on.receiver.calls]
    assert all(abs(shift - ahead_seconds) < 120 for shift in shifts), "the clock was moved"
    assert min(_waited_seconds(on.receiver.calls)) >= WAIT_SECONDS


async def test_retries_that_wait_come_at_their_time_whatever_the_senders_clock_does_meanwhile(tmp_path: Path) -> None:
    async with (
        _stage(tmp_path, Plan(schedule_seconds=(WAIT_SECONDS,)), first_status=500) as on,
        on.sender.running(),
    ):
        for waiting, ahead_seconds in enumerate((HOUR, -HOUR, 0.0), start=1):
            await publish(on.client, 1)
            await until(lambda waiting=waiting: len(on.receiver.calls) >= waiting)  # type: ignore[misc]
            on.sender.set_clock_ahead(ahead_seconds)
        await until(lambda: len(on.receiver.calls) == 6, what="the retries")
        await until_stored(on.client, own.DELIVERIES, 0)
    assert min(_waited_seconds(on.receiver.calls)) >= WAIT_SECONDS


async def test_a_clock_ahead_ends_the_overlap_of_a_replaced_key_and_one_put_right_brings_it_back(
    tmp_path: Path,
) -> None:
    signatures = []
    async with _stage(tmp_path, Plan()) as on:
        route, keys = on.books._hook("steady", RouteState.ACTIVE)
        retired = RetiredKey(key=f"whsec_{'A' * 43}=", until_s=int(time.time() + HOUR))
        on.books._write((route, keys.model_copy(update={"retired": (retired,)})))
        async with on.sender.running():
            for number, ahead_seconds in enumerate((0.0, 2 * HOUR, -2 * HOUR, 0.0)):
                on.sender.set_clock_ahead(ahead_seconds)
                await publish(on.client, 1)
                await until(lambda number=number: len(on.receiver.calls) > number)  # type: ignore[misc]
                signatures.append(len(on.receiver.calls[-1].headers["webhook-signature"].split()))
    assert signatures == [2, 1, 2, 2]
    assert on.receiver.calls[0].verified_by(SECRET)
    assert on.receiver.calls[-1].verified_by(SECRET)
