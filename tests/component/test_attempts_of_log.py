"""The attempts log as the API tells it, out of a real nats-server."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from doubles.logs import ALL, UID, headers, listed, log_of, make_log, record, running, until_listed, write
from doubles.waiting import eventually
from hookline.api import attempts as attempts_module
from hookline.api import looking
from hookline.api.index import IndexWriter
from hookline.api.log import Attempt, Expired, Unreadable, Wanted
from hookline.api.log_messages import entries_of
from hookline.api.object_names import MAX_LINES, attempt_name, place_in_log
from hookline.api.queue_log import QueueLog, Source
from hookline.events.envelope import Event, stamp
from hookline.local.nats_server import NatsServer
from hookline.runtime.tasks import cancel
from hookline.stream import log_reader, names
from hookline.stream.api import ask
from hookline.stream.attempt_record import FORMAT_HEADER, WEBHOOK_HEADER, encode
from hookline.stream.connection import Client, StreamUnavailable, connect
from hookline.stream.event_reader import EventReader, StoredEvent
from hookline.stream.log_reader import StreamState
from hookline.stream.publish import Publisher


@pytest.fixture(autouse=True)
def _quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts_module, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(looking, "WRONG_SECONDS", 0.1)
    monkeypatch.setattr(attempts_module, "PUSHED_OUT_SECONDS", 0.1)


async def first(attempts: AsyncIterator[Attempt], count: int) -> list[Attempt]:
    found: list[Attempt] = []
    async with asyncio.timeout(20):
        async for each in attempts:
            found.append(each)
            if len(found) == count:
                break
    return found


async def test_attempts_are_listed_newest_first_and_one_is_read_whole(client: Client, tmp_path: Path) -> None:
    await make_log(client)
    await write(client, [record("evt_1"), record("evt_1", 2)])
    await write(client, [record("evt_2", status=503, reason="HTTPStatus")], webhook="other", uid=UID[:-1] + "2")
    await write(client, [record("evt_3")], tenant="team-b")
    async with log_of(client, tmp_path) as log:
        found = await listed(log)
        assert [(each.record.event_id, each.record.attempt) for each in found] == [
            ("evt_2", 1),
            ("evt_1", 2),
            ("evt_1", 1),
        ]
        assert found[1].name == "evt-1-2.1-1"
        # What lists need, and no more.
        assert found[1].record.url == "https://receiver.example/hook"
        assert not found[1].record.answer
        whole = await log.attempt("team-a", found[1].name)
        assert whole is not None
        assert whole.record == record("evt_1", 2)
        assert (whole.webhook, whole.uid, whole.sender, whole.dispatcher) == ("hook", UID, "sender-1", "default")
        assert [each.webhook for each in await listed(log, wanted=Wanted(status="503"))] == ["other"]
        assert [each.namespace for each in await listed(log, "")] == ["team-b", "team-a", "team-a", "team-a"]


async def test_who_concludes_from_what_is_missing_is_told_of_which_dispatchers_lists_have_all(
    client: Client, tmp_path: Path
) -> None:
    await make_log(client)
    async with log_of(client, tmp_path) as log:
        log.check_attempts_of("default")
        with pytest.raises(Unreadable, match="edge"):
            log.check_attempts_of("edge")
        log._queues[0].attempts._looking.problem = "no answer"
        with pytest.raises(Unreadable, match="default"):
            log.check_attempts_of("default")
        assert await listed(log) == []
    with pytest.raises(Unreadable, match="default"):
        QueueLog([Source("default", client, tmp_path)]).check_attempts_of("default")


async def test_a_list_in_parts_stays_as_it_was_while_new_records_come(client: Client, tmp_path: Path) -> None:
    await make_log(client)
    for number in range(7):
        await write(client, [record(f"evt_{number}")])
    async with log_of(client, tmp_path) as log:
        page = await log.attempts("team-a", ALL, limit=3)
        version, found = page.version, list(page.items)
        await write(client, [record("evt_new")])
        await until_listed(log, 8)
        while page.more:
            page = await log.attempts("team-a", ALL, limit=3, begin=page.more)
            assert page.version == version
            found += page.items
        assert [each.record.event_id for each in found] == [f"evt_{number}" for number in range(6, -1, -1)]
        behind = await first(log.follow_attempts("team-a", ALL, version), 1)
        assert [each.record.event_id for each in behind] == ["evt_new"]


async def test_following_from_a_version_misses_nothing_and_repeats_nothing_also_in_another_replica(
    client: Client, tmp_path: Path
) -> None:
    await make_log(client)
    await write(client, [record("evt_0")])
    async with log_of(client, tmp_path / "a") as log, log_of(client, tmp_path / "b") as other:
        since = (await log.attempts("team-a", ALL, limit=1)).version
        for number in range(1, 6):
            await write(client, [record(f"evt_{number}", attempt) for attempt in (1, 2, 3)])
        await write(client, [record("evt_x")], tenant="team-b")
        # A version in the middle of a batch.
        some = await first(log.follow_attempts("team-a", ALL, since), 4)
        rest = await first(other.follow_attempts("team-a", ALL, some[-1].version), 11)
        told = [(each.record.event_id, each.record.attempt) for each in (*some, *rest)]
        assert told == [(f"evt_{number}", attempt) for number in range(1, 6) for attempt in (1, 2, 3)]
        only = await first(log.follow_attempts("team-a", Wanted(event_id="evt_5"), since), 3)
        assert {each.record.event_id for each in only} == {"evt_5"}


async def test_a_version_of_another_replica_that_is_ahead_is_waited_for_and_one_that_nobody_has_is_expired(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hookline.api.queue_log.AHEAD_SECONDS", 0.5)
    await make_log(client)
    await write(client, [record("evt_0")])
    async with log_of(client, tmp_path) as log:
        version = int((await log.attempts("team-a", ALL, limit=1)).version)
        ahead = log.follow_attempts("team-a", ALL, str(version + MAX_LINES))
        waiting = asyncio.create_task(first(ahead, 1))
        listing = asyncio.create_task(log.until_told(str(version + MAX_LINES)))
        await asyncio.sleep(0)
        assert not listing.done()
        await write(client, [record("evt_1")])
        await listing
        assert [each.record.event_id for each in await listed(log)][-2:] == ["evt_1", "evt_0"]
        await write(client, [record("evt_2")])
        assert [each.record.event_id for each in await waiting] == ["evt_2"]
        with pytest.raises(Expired):
            await first(log.follow_attempts("team-a", ALL, str(version + MAX_LINES * 1000)), 1)
        with pytest.raises(Expired):
            await log.until_told(str(version + MAX_LINES * 1000))
        for other in ("x", "7", f"{version}-{version}", str(version + 2**70)):
            await log.until_told(other)


async def test_a_restart_of_the_reader_goes_on_where_it_stopped(client: Client, tmp_path: Path) -> None:
    await make_log(client)
    await write(client, [record("evt_0")])
    async with log_of(client, tmp_path) as log:
        version = (await listed(log))[0].version
    await write(client, [record("evt_1")])
    async with log_of(client, tmp_path) as log:
        assert len(await listed(log)) == 2
        assert [each.record.event_id for each in await first(log.follow_attempts("team-a", ALL, version), 1)] == [
            "evt_1"
        ]


async def test_before_all_is_read_nobody_gets_half_a_list(client: Client, tmp_path: Path) -> None:
    log = QueueLog([Source("default", client, tmp_path)])
    with pytest.raises(Unreadable):
        await log.attempts("team-a", ALL, limit=1)
    with pytest.raises(Unreadable):
        await log.attempt("team-a", "evt-1-1.1-0")
    async with running(log):
        # No sender has made a stream yet.
        assert await listed(log) == []

        async def are_empty() -> bool:
            try:
                pages = await log.deliveries("team-a", ALL, limit=1), await log.dead_letters("team-a", ALL, limit=1)
            except Unreadable:
                return False
            return not any(page.items or page.more for page in pages)

        await eventually(are_empty, seconds=10)


async def test_the_name_of_another_namespaces_attempt_or_a_guessed_one_finds_nothing(
    client: Client, tmp_path: Path
) -> None:
    await make_log(client)
    seq = await write(client, [record("evt_1")])
    async with log_of(client, tmp_path) as log:
        name = (await listed(log))[0].name
        assert name == attempt_name("evt_1", 1, place_in_log(seq, 0))
        assert await log.attempt("team-a", name) is not None
        assert await log.attempt("team-b", name) is None
        assert await log.body_of_attempt("team-b", name) is None
        for guess in (
            name.replace("evt-1", "evt-2"),
            name.replace("-1.", "-2."),
            "evt-1-1.1-1",
            "evt-1-1.2-0",
            "x",
            "",
        ):
            assert await log.attempt("team-a", guess) is None
        more = (await log.attempts("team-a", ALL, limit=1)).more
        await write(client, [record("evt_2")])
        await until_listed(log, 2)
        more = (await log.attempts("team-a", ALL, limit=1)).more
        assert more
        with pytest.raises(Expired):
            await log.attempts("team-b", ALL, limit=1, begin=more)


async def test_messages_that_are_no_batches_are_passed_over(client: Client, tmp_path: Path) -> None:
    await make_log(client)
    jetstream = client.jetstream()
    right = headers("team-a/hook")
    subject = names.attempts_subject("team-a", UID)
    strange: list[tuple[str, bytes, dict[str, str]]] = [
        (subject, b"", right),
        (subject, b"{", right),
        (subject, b"\xff\xfe\n[]\nnull\n1", right),
        (subject, b"[" * 100_000, right),
        (subject, b"{}\n" * 300_000, right),
        (subject, b'{"event_id": 7, "attempt": 1e999}', right),
        (subject, encode([record("evt_forged")]), {}),
        (subject, encode([record("evt_forged")]), headers("team-b/hook")),
        (subject, encode([record("evt_forged")]), headers("team-a/../x")),
        (subject, encode([record("evt_forged")]), {**right, WEBHOOK_HEADER: "hook"}),
        (subject, encode([record("evt_forged")]), {**right, FORMAT_HEADER: "2"}),
        (names.attempts_subject("team-a", "_other"), encode([record("evt_forged")]), right),
        (names.attempts_subject("TEAM-A", UID), encode([record("evt_forged")]), headers("TEAM-A/hook")),
        (names.attempts_subject("team-a", "_purged"), b"[" * 2000, {}),
        (names.attempts_subject("team-a", "_purged"), b'{"event_id": 7}', {}),
        (names.attempts_subject("team-a", "_unheard"), b'{"type": "x", "count": 1, "at_s": 1}', {}),
    ]
    await write(client, [record("evt_1")])
    for each in strange:
        await jetstream.publish(each[0], each[1], headers=each[2] or None)
    await write(client, [record("evt_2")])
    async with log_of(client, tmp_path) as log:
        assert [each.record.event_id for each in await listed(log, "")] == ["evt_2", "evt_1"]


async def test_what_the_stream_has_no_more_is_not_shown(client: Client, tmp_path: Path) -> None:
    await make_log(client, max_msgs=3)
    for number in range(3):
        await write(client, [record(f"evt_{number}")])
    async with log_of(client, tmp_path) as log:
        version = (await listed(log))[-1].version
        for number in range(3, 6):
            await write(client, [record(f"evt_{number}")])

        async def only_the_last() -> bool:
            return [each.record.event_id for each in await listed(log)] == ["evt_5", "evt_4", "evt_3"]

        await eventually(only_the_last, seconds=10)
        with pytest.raises(Expired):
            await first(log.follow_attempts("team-a", ALL, version), 1)


async def test_what_a_noisy_webhook_lost_is_not_shown_and_its_neighbours_have_all(
    client: Client, tmp_path: Path
) -> None:
    await make_log(client, max_msgs_per_subject=2)
    await write(client, [record("evt_neighbour")], webhook="quiet", uid=UID[:-1] + "2")
    await write(client, [record("evt_0")])
    async with log_of(client, tmp_path) as log:
        version = (await listed(log))[0].version
        for number in range(1, 5):
            await write(client, [record(f"evt_{number}")])

        async def only_the_last() -> bool:
            return [each.record.event_id for each in await listed(log)] == ["evt_4", "evt_3", "evt_neighbour"]

        await eventually(only_the_last, seconds=10)
        with pytest.raises(Expired):
            await first(log.follow_attempts("team-a", ALL, version), 1)


async def test_what_was_purged_of_a_tenant_or_of_an_event_is_forgotten(client: Client, tmp_path: Path) -> None:
    await make_log(client)
    for event in ("evt_1", "evt_2"):
        await write(client, [record(event)])
        await write(client, [record(event)], tenant="team-b")
    await client.jetstream().publish(names.attempts_subject("team-a", "_purged"), b'{"event_id": "evt_1"}')
    await write(client, [record("evt_1", 2)])
    async with log_of(client, tmp_path) as log:
        assert [each.name for each in await listed(log)] == ["evt-1-2.6-0", "evt-2-1.3-0"]
        assert await log.attempt("team-a", "evt-1-1.1-0") is None
        await client.jetstream().publish(names.attempts_subject("team-a", "_purged"), b"")
        await until_listed(log, 0)
        await write(client, [record("evt_1", 3)])
        await until_listed(log, 1)
        assert len(await listed(log, "team-b")) == 2


async def test_a_stream_that_was_made_anew_begins_a_new_index(client: Client, tmp_path: Path) -> None:
    await make_log(client)
    for number in range(3):
        await write(client, [record(f"evt_{number}")])
    async with log_of(client, tmp_path) as log:
        page = await log.attempts("team-a", ALL, limit=1)
        follower = asyncio.create_task(first(log.follow_attempts("team-a", ALL, page.version), 1))
        await ask(client, f"STREAM.DELETE.{names.ATTEMPTS}")
        await make_log(client)
        await write(client, [record("evt_new")])

        async def is_new() -> bool:
            try:
                return [each.record.event_id for each in await listed(log)] == ["evt_new"]
            except Unreadable:
                return False

        await eventually(is_new, seconds=10)
        with pytest.raises((Expired, Unreadable)):
            await follower
        with pytest.raises(Expired):
            await first(log.follow_attempts("team-a", ALL, page.version), 1)
        assert len(list(tmp_path.glob("attempts-*.sqlite3"))) == 1


async def test_an_index_that_breaks_is_made_anew_out_of_the_stream(client: Client, tmp_path: Path) -> None:
    await make_log(client)
    for number in range(3):
        await write(client, [record(f"evt_{number}")])
    async with log_of(client, tmp_path) as log:
        await until_listed(log, 3)
        (file,) = tmp_path.glob("attempts-*.sqlite3")
        for each in (file, file.with_name(f"{file.name}-wal")):
            size = each.stat().st_size
            each.write_bytes(b"\xff" * size)

        async def are_there() -> bool:
            try:
                return len(await listed(log)) == 3
            except Unreadable:
                return False

        await eventually(are_there, seconds=20)


async def test_on_a_full_disk_what_is_known_is_told_and_the_rest_once_there_is_room(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_log(client)
    await write(client, [record("evt_0")])
    async with log_of(client, tmp_path) as log:
        await until_listed(log, 1)
        refused = asyncio.Event()
        with monkeypatch.context() as full:

            def add(*_: object) -> int:
                refused.set()
                raise sqlite3.OperationalError("database or disk is full")

            full.setattr(IndexWriter, "add", add)
            await write(client, [record("evt_1")])
            await refused.wait()
            assert len(await listed(log)) == 1
        await until_listed(log, 2)


async def test_an_index_that_finds_no_room_to_be_filled_says_so_and_is_filled_later(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_log(client)
    await write(client, [record("evt_0")])
    log = QueueLog([Source("default", client, tmp_path)])
    with monkeypatch.context() as full:
        full.setattr(IndexWriter, "make_indexes", lambda _: sqlite3.connect(tmp_path / "none" / "none"))
        task = asyncio.create_task(log.run())
        try:

            async def says_so() -> bool:
                with pytest.raises(Unreadable) as refused:
                    await listed(log)
                return "cannot be written" in str(refused.value)

            await eventually(says_so, seconds=10)
            full.undo()
            monkeypatch.setattr(looking, "WRONG_SECONDS", 0.1)
            await eventually(lambda: _is_ready(log), seconds=10)
            assert len(await listed(log)) == 1
        finally:
            await cancel([task])


async def _is_ready(log: QueueLog) -> bool:
    return log.is_ready


async def test_while_nothing_comes_nothing_is_written(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also no transaction begins that turns out to be empty: it waits for others, and for the disk, all the same."""
    looks, state_of = 0, log_reader.state_of

    async def counted(client: Client, stream: str) -> StreamState | None:
        nonlocal looks
        looks += 1
        return await state_of(client, stream)

    async def looked(more: int) -> None:
        until = looks + more

        async def has() -> bool:
            return looks >= until

        await eventually(has)

    monkeypatch.setattr(log_reader, "state_of", counted)
    await make_log(client)
    for number in range(3):
        await write(client, [record(f"evt_{number}")])
    async with log_of(client, tmp_path) as log:
        await until_listed(log, 3)
        await client.jetstream().purge_stream(names.ATTEMPTS, seq=3)
        await until_listed(log, 1)
        await looked(4)
        writer, said = log._queues[0].attempts._writer, list[str]()
        assert writer is not None
        writer._db.set_trace_callback(said.append)
        await looked(10)
        assert said == []
        await write(client, [record("evt_3")])
        await until_listed(log, 2)
        assert "BEGIN" in said


async def test_memory_that_filling_took_is_given_back_once(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[str] = []
    monkeypatch.setattr(attempts_module, "give_memory_back", lambda: given.append(threading.current_thread().name))
    await make_log(client)
    await write(client, [record("evt_0")])
    async with log_of(client, tmp_path) as log:
        await until_listed(log, 1)
        await write(client, [record("evt_1")])
        await until_listed(log, 2)
        # In a thread: it takes a while.
        assert given == ["attempts-write_0"]


async def test_a_single_attempt_is_found_before_the_index_has_it_and_none_is_denied_that_may_be_there(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another replica may have told of it."""
    await make_log(client)
    await write(client, [record("evt_0")])
    async with log_of(client, tmp_path) as log:
        (known,) = await until_listed(log, 1)
        with monkeypatch.context() as behind:
            behind.setattr("hookline.stream.log_reader.state_of", _away)
            await eventually(lambda: _is_behind(log))
            seq = await write(client, [record("evt_1"), record("evt_1", 2)])
            new, no_line, no_message = (
                attempt_name("evt_1", attempt, place_in_log(at, line))
                for at, attempt, line in ((seq, 2, 1), (seq, 3, 2), (seq + 1, 1, 0))
            )
            found = await log.attempt("team-a", new)
            assert found is not None
            assert (found.record.event_id, found.record.attempt, found.name) == ("evt_1", 2, new)
            assert await log.attempt("team-b", new) is None
            assert [await log.attempt("team-a", each) for each in (no_line, no_message, "no-such")] == [None] * 3
            # Nobody answers at all: what was read before is known, and what came since is not.
            behind.setattr("hookline.stream.event_reader.EventReader.read", _away)
            assert await log.attempt("team-a", known.name.replace("evt-0", "evt-9")) is None
            assert await log.attempt("team-a", "no-such") is None
            for name in (new, no_line, no_message):
                with pytest.raises(Unreadable, match="it may be of Dispatcher default"):
                    await log.attempt("team-a", name)


async def test_who_follows_from_what_cannot_be_read_yet_is_told_so_and_not_that_it_is_gone(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hookline.api.queue_log.AHEAD_SECONDS", 0.2)
    await make_log(client)
    await write(client, [record("evt_0")])
    async with log_of(client, tmp_path) as log:
        version = int((await log.attempts("team-a", ALL, limit=1)).version)
        monkeypatch.setattr("hookline.stream.log_reader.state_of", _away)
        await eventually(lambda: _is_behind(log))
        with pytest.raises(Unreadable, match="default"):
            await first(log.follow_attempts("team-a", ALL, str(version + MAX_LINES)), 1)
        with pytest.raises(Unreadable, match="default"):
            await log.until_told(str(version + MAX_LINES))


async def test_a_queue_that_cannot_be_read_hides_no_single_attempt_of_another_one(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "other"
    data.mkdir()
    server = NatsServer(data)
    await server.start()
    second = await connect(server.url, name="test")
    try:
        for each in (client, second):
            await make_log(each)
        await write(second, [record("evt_0")])
        sources = [Source("a", client, tmp_path / "a"), Source("b", second, tmp_path / "b")]
        async with running(QueueLog(sources)) as log:
            (known,) = await until_listed(log, 1)
            read = EventReader.read

            async def one_is_away(reader: EventReader, stream: str, seq: int) -> StoredEvent | None:
                return await (_away() if reader._client is client else read(reader, stream, seq))

            monkeypatch.setattr(EventReader, "read", one_is_away)
            found = await log.attempt("team-a", known.name)
            assert found is not None
            assert found.dispatcher == "b"
            with pytest.raises(Unreadable, match="Dispatcher a"):
                await log.attempt("team-a", attempt_name("evt_1", 1, place_in_log(2, 0)))
    finally:
        await second.close()
        await server.stop()


async def _away(*_: object) -> Any:
    raise StreamUnavailable("JetStream does not answer")


async def _is_behind(log: QueueLog) -> bool:
    return list(log.behind) == ["default"]


async def test_a_killed_server_and_new_connections_lose_nothing(tmp_path: Path) -> None:
    data = tmp_path / "nats"
    data.mkdir()
    server = NatsServer(data)
    await server.start()
    connection = await connect(server.url, name="test")
    try:
        await make_log(connection)
        async with log_of(connection, tmp_path / "index") as log:
            for number in range(3):
                for line in range(5):
                    await write(connection, [record(f"evt_{number}_{line}")])
                await kill(server)
                await server.start()
                await eventually(lambda: _is_connected(connection))
            await until_listed(log, 15)
    finally:
        await connection.close()
        await server.stop()


async def kill(server: NatsServer) -> None:
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await server.stop()


async def _is_connected(client: Client) -> bool:
    try:
        await ask(client, f"STREAM.INFO.{names.ATTEMPTS}")
    except Exception:  # noqa: BLE001
        return False
    return True


async def test_a_log_whose_last_records_the_server_lost_is_read_anew_from_where_both_are_the_same(
    client: Client, tmp_path: Path
) -> None:
    """As after a kill of a server that keeps what is stored in memory for a while: other records get their places."""
    await make_log(client)
    for number in range(3):
        await write(client, [record(f"evt_{number}")])
    async with log_of(client, tmp_path) as log:
        assert len(await listed(log)) == 3
    writer = IndexWriter(next(tmp_path.glob("attempts-*.sqlite3")))
    lost = entries_of(4, names.attempts_subject("team-a", UID), headers("team-a/hook"), encode([record("evt_lost")]))
    writer.add(lost, 4, 12345)
    writer.close()
    await write(client, [record("evt_3")])
    await write(client, [record("evt_4")])
    async with log_of(client, tmp_path) as log:
        found = await until_listed(log, 5)
        assert [each.record.event_id for each in found] == [f"evt_{number}" for number in range(4, -1, -1)]


async def test_the_body_of_an_attempt_is_that_of_its_event_and_of_no_other(queue: Client, tmp_path: Path) -> None:
    publisher = Publisher(queue)
    await make_log(queue)
    event = Event("evt_1", "team-a", "IdentityCreated", stamp(1_700_000_000), b'{"a": 1}')
    await publisher.store_event(event)
    other = Event("evt_2", "team-b", "IdentityCreated", stamp(1_700_000_000), b'{"secret": 1}')
    await publisher.store_event(other)
    await write(queue, [record("evt_1", event_seq=1), record("evt_2", event_seq=2), record("evt_1", 2)])
    await write(queue, [record("evt_1", 3, event_seq=10**9), record("evt_1", 4, event_seq=2)])
    async with log_of(queue, tmp_path) as log:
        await until_listed(log, 5)
        bodies = {
            (each.record.event_id, each.record.attempt): await log.body_of_attempt("team-a", each.name)
            for each in await listed(log)
        }
        of_others = [await log.body_of_attempt("team-b", each.name) for each in await listed(log)]
        assert set(of_others) == {None}
        assert bodies.pop(("evt_1", 1)) == b'{"a": 1}'
        assert set(bodies.values()) == {None}


async def test_several_dispatchers_are_one_list(client: Client, tmp_path: Path) -> None:
    data = tmp_path / "other"
    data.mkdir()
    server = NatsServer(data)
    await server.start()
    second = await connect(server.url, name="test")
    try:
        for each in (client, second):
            await make_log(each)
        for number in range(6):
            await write((client, second)[number % 2], [record(f"evt_{number}", at_s=1000.0 + number)])
        sources = [Source("b", second, tmp_path / "b"), Source("a", client, tmp_path / "a")]
        async with running(QueueLog(sources)) as log:
            found = await listed(log, limit=2)
            assert [each.record.event_id for each in found] == [f"evt_{number}" for number in range(5, -1, -1)]
            assert [each.dispatcher for each in found] == ["b", "a"] * 3
            version = (await log.attempts("team-a", ALL, limit=1)).version
            await write(second, [record("evt_6")])
            told = await first(log.follow_attempts("team-a", ALL, version), 1)
            await write(client, [record("evt_7")])
            told += await first(log.follow_attempts("team-a", ALL, told[-1].version), 1)
            assert [each.record.event_id for each in told] == ["evt_6", "evt_7"]
            whole = await log.attempt("team-a", told[0].name)
            assert whole is not None
            assert whole.dispatcher == "b"
    finally:
        await second.close()
        await server.stop()


async def test_a_hundred_followers_hear_of_each_record_once(client: Client, tmp_path: Path) -> None:
    await make_log(client)
    async with log_of(client, tmp_path) as log:
        version = (await log.attempts("team-a", ALL, limit=1)).version
        followers = [asyncio.create_task(first(log.follow_attempts("team-a", ALL, version), 20)) for _ in range(100)]
        for number in range(20):
            await write(client, [record(f"evt_{number}")])
        told = [[each.record.event_id for each in found] for found in await asyncio.gather(*followers)]
        assert told == [[f"evt_{number}" for number in range(20)]] * 100
