"""The wall clock of a sender jumps by an hour while it works: nothing is lost, and nothing is called twice."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from crash.parties import CrashReceiver, NatsProcess, SenderProcess
from crash.scenario import Books, Plan, connected, publish
from doubles.local import until


@pytest.mark.parametrize("ahead_seconds", [3600.0, -3600.0])
async def test_a_clock_that_jumps_loses_and_repeats_nothing(tmp_path: Path, ahead_seconds: float) -> None:
    async with (
        CrashReceiver(lambda _: (200, 0.0)) as receiver,
        NatsProcess(tmp_path / "nats") as server,
        connected(server.url) as client,
    ):
        books = Books(tmp_path / "book", Plan(), receiver.port, receiver.ca_pem)
        books.first()
        sender = SenderProcess(tmp_path, books.folder, server.url)
        async with sender.running():
            ids = set(await publish(client, 20))
            await until(lambda: len(receiver.calls) >= 20)
            sender.set_clock_ahead(ahead_seconds)
            late = set(await publish(client, 20))
            await until(lambda: len(receiver.calls) >= 40)
            sender.set_clock_ahead(0)
            ids |= late | set(await publish(client, 20))
            await until(lambda: len(receiver.calls) >= 60)
    assert {call.event_id for call in receiver.calls} == ids
    assert len(receiver.calls) == 60
    for call in receiver.calls:
        # A signature carries the time of the sender's clock: a receiver refuses one that is an hour off.
        shift = int(call.headers["webhook-timestamp"]) - time.time()
        assert abs(shift - (ahead_seconds if call.event_id in late else 0)) < 120
