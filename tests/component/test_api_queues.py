"""The log of several Dispatchers, as a file names them, while queues come and go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog.testing

from doubles.logs import make_log, record, write
from doubles.waiting import eventually, until_it_is
from hookline.api import attempts as attempts_module
from hookline.api import queues as module
from hookline.api.log import Expired, Unreadable, Wanted
from hookline.api.queue_log import QueueLog
from hookline.api.queues import Queues
from hookline.local.nats_server import NatsServer
from hookline.routing.queues import Queue, queues_file
from hookline.runtime.tasks import cancel
from hookline.stream import log_reader
from hookline.stream.connection import StreamUnavailable, connect

ALL = Wanted()


@asynccontextmanager
async def queue_at(folder: Path, event_id: str) -> AsyncIterator[str]:
    """The address of a NATS with one attempt in its log."""
    folder.mkdir()
    server = NatsServer(folder)
    await server.start()
    client = await connect(server.url, name="test")
    try:
        await make_log(client)
        await write(client, [record(event_id)])
        yield server.url
    finally:
        await client.close()
        await server.stop()


async def found(log: Queues) -> set[str]:
    try:
        return {each.record.event_id for each in (await log.attempts("team-a", ALL, limit=10)).items}
    except Unreadable:
        return set()


async def test_the_queues_of_the_file_are_read_and_what_is_away_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr(module, "AGAIN_SECONDS", 0.1)
    file = tmp_path / "queues" / "queues.json"
    file.parent.mkdir()
    log, stop = Queues(tmp_path / "data"), asyncio.Event()
    with pytest.raises(Unreadable):
        await log.attempts("team-a", ALL, limit=1)
    work = [asyncio.create_task(log.run()), asyncio.create_task(log.follow_file(file, stop))]
    try:
        async with queue_at(tmp_path / "a", "evt_a") as a, queue_at(tmp_path / "b", "evt_b") as b:
            away = Queue("b", "nats://127.0.0.1:1")
            file.write_text(queues_file([Queue("a", a), away]))
            await until_it_is(lambda: found(log), lambda names: names == {"evt_a"})
            assert list(log.missing) == ["b"]
            # What is called as in a queue may be in the one that is away, and nothing else may.
            for name, of in (("evt-1-1.9-0", log.attempt), ("evt-1-1.9-0", log.body_of_attempt)):
                with pytest.raises(Unreadable, match="cannot be read now: b") as unreadable:
                    await of("team-a", name)
                assert not unreadable.value.soon
            for one in (log.dead_letter, log.drop_dead_letter, log.delivery, log.body_of_dead_letter):
                with pytest.raises(Unreadable):
                    await one("team-a", "evt-1-1.9-0000000")
                assert not await one("team-a", "no-such")
            (known,) = (await log.attempts("team-a", ALL, limit=1)).items
            assert await log.attempt("team-a", known.name) is not None
            looked, at_once = asyncio.Event(), QueueLog.attempt

            async def slowly(*asked: Any) -> Any:
                found = await at_once(*asked)
                await looked.wait()
                return found

            with monkeypatch.context() as slow:
                slow.setattr(QueueLog, "attempt", slowly)
                looking = asyncio.create_task(log.attempt("team-a", "evt-1-1.9-0"))
                await asyncio.sleep(0)
            following = asyncio.ensure_future(anext(log.follow_attempts("team-a", ALL, "").__aiter__()))
            file.write_text("{")
            file.write_text(queues_file([Queue("a", a), Queue("b", b)]))
            await until_it_is(lambda: found(log), lambda names: names == {"evt_a", "evt_b"})
            assert list(log.missing) == []
            # Who looked before the other one came did not look there.
            looked.set()
            with pytest.raises(Unreadable, match="cannot be read now: b"):
                await looking
            assert await log.attempt("team-a", "evt-1-1.9-0") is None
            # Versions of one queue say nothing of two.
            with pytest.raises(Expired):
                await following
            file.write_text(queues_file([Queue("b", b)]))
            await until_it_is(lambda: found(log), lambda names: names == {"evt_b"})
            file.unlink()

            async def is_read() -> bool:
                return await found(log) == {"evt_b"}

            await eventually(is_read)
    finally:
        stop.set()
        await cancel(work)


async def test_what_was_read_before_is_told_and_said_to_be_old_while_nothing_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts_module, "LOOK_SECONDS", 0.05)
    log = Queues(tmp_path / "data")
    work = asyncio.create_task(log.run())

    async def missing() -> list[str]:
        return list(log.missing)

    async def away(*_: object) -> None:
        raise StreamUnavailable("JetStream does not answer")

    try:
        async with queue_at(tmp_path / "a", "evt_a") as address:
            log.use([Queue("a", address)])
            await until_it_is(lambda: found(log), lambda names: names == {"evt_a"})
            await until_it_is(missing, lambda names: names == [])
            with monkeypatch.context() as broken, structlog.testing.capture_logs() as logs:
                broken.setattr(log_reader, "state_of", away)
                await until_it_is(missing, lambda names: names == ["a"])
                assert await found(log) == {"evt_a"}
                await until_it_is(missing, lambda _: len(logs) == 2)
            assert {(each["log_level"], each["dispatcher"]) for each in logs} == {("warning", "a")}
            await until_it_is(missing, lambda names: names == [])
    finally:
        await cancel([work])
