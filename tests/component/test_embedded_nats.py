"""The embedded nats-server when its disk is full, its port is taken, or it cannot stay up."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controlplane.ports import free_port
from doubles.command import hookline, running
from doubles.disk import full
from doubles.local import SECRET, hook, publish, receiver_of, until, write_book
from doubles.local import sender as sender_of
from hookline.local import nats_server as module
from hookline.local.nats_server import NatsServer, NatsServerError, known_url
from hookline.local.receiver import ReceivedCall, Receiver
from hookline.local.samples import allowed_secret, ca_secret, to_yaml, webhook
from hookline.local.server_health import monitor_of
from hookline.resources.natsaddress import parse_nats
from hookline.runtime.tasks import cancel
from hookline.stream import names, writes
from hookline.stream import publish as publish_module
from hookline.stream.connection import StreamUnavailable, connect
from hookline.stream.names import event_subject
from hookline.stream.publish import Publisher
from hookline.stream.queue_problem import QueueReason
from hookline.stream.streams import Retention, ensure


def manifests(receiver: Receiver) -> str:
    one = webhook(
        "one", url=receiver.url, event="IdentityCreated", secret_name="signing", ca_secret_name="ca", enabled=True
    )
    return to_yaml(("", ca_secret("ca", receiver.ca_pem)), ("", allowed_secret("signing", SECRET)), ("", one))


@contextlib.asynccontextmanager
async def supervised(data: Path, moved: list[str]) -> AsyncIterator[NatsServer]:
    data.mkdir(exist_ok=True)
    server = NatsServer(data, on_moved=moved.append)
    await server.start()
    supervising = asyncio.create_task(server.supervise())
    try:
        yield server
    finally:
        await cancel([supervising])
        await server.stop()


@pytest.mark.timeout(180)
async def test_a_queue_whose_disk_was_full_takes_events_again_and_delivers_all_that_were_published(
    small_disk: Path, tmp_path: Path
) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls) as receiver:
        (tmp_path / "hooks.yaml").write_text(manifests(receiver))
        words = ("run", tmp_path / "hooks.yaml", "--data", small_disk / "data", "--allow-cidr", "127.0.0.0/8")
        with running(tmp_path / "log", *words) as command:
            command.until_says("configuration loaded")
            client = await connect(known_url(small_disk / "data") or "", name="test", connect_seconds=20)
            ids = await publish(client, 5)
            await until(lambda: len(calls) >= 5, seconds=20, what="the first five")
            with full(small_disk):
                with pytest.raises(StreamUnavailable):
                    await Publisher(client).store(event_subject("default", "IdentityCreated"), bytes(200_000))
                await asyncio.to_thread(command.until_says, "the queue takes no writes")
            await asyncio.to_thread(command.until_says, "until it is started anew")
            await until(lambda: client.is_connected, seconds=20, what="the server")
            ids += await publish(client, 5)
            await until(lambda: set(ids) <= {call.webhook_id for call in calls}, seconds=60, what="all events")
            await client.close()
            assert command.end() == 0


async def test_a_queue_that_holds_more_than_is_free_takes_events_after_a_restart(small_disk: Path) -> None:
    """Left to itself nats-server bounds its streams by what is free when it starts."""
    for _ in range(2):
        async with supervised(small_disk / "data", []) as server:
            client = await connect(server.url, name="test")
            await ensure(client, Retention())
            publisher = Publisher(client)
            for _ in range(75):
                await publisher.store(event_subject("default", "A"), bytes(200_000))
            await client.close()


async def test_a_server_that_began_on_a_nearly_full_disk_has_its_room_once_there_is_some(small_disk: Path) -> None:
    filler = small_disk / "filler"
    filler.write_bytes(bytes(36 * 1024 * 1024))
    async with supervised(small_disk / "data", []) as server:
        client = await connect(server.url, name="test")
        await ensure(client, Retention())
        filler.unlink()
        publisher = Publisher(client)
        await until(lambda: not client.is_connected, seconds=20, what="a restart")
        await until(lambda: client.is_connected, seconds=20, what="the server")
        for _ in range(100):
            await publisher.store(event_subject("default", "A"), bytes(200_000))
        await client.close()


async def test_the_port_of_a_server_that_is_away_is_taken_by_another_program(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    moved: list[str] = []
    async with supervised(tmp_path / "data", moved) as server:
        before = parse_nats(server.url)
        client = await connect(server.url, name="test")
        await ensure(client, Retention())
        await Publisher(client).store(event_subject("default", "A"), b"{}")
        await client.close()
        assert server.pid is not None
        taken = await asyncio.to_thread(_killed_and_taken, server.pid, before.servers[0].port)
        try:
            await until(lambda: moved != [], seconds=15, what="another port")
        finally:
            taken.close()
        after = parse_nats(moved[0])
        assert after.servers[0].port != before.servers[0].port
        assert after.login == before.login
        assert known_url(tmp_path / "data") == server.url == moved[0]
        client = await connect(moved[0], name="test")
        assert (await client.jetstream().stream_info("HOOKLINE_EVENTS")).state.messages == 1
        await client.close()
    said = capfd.readouterr().out
    assert said.count("cannot be started") == 1
    assert "address already in use" in said


async def test_deliveries_go_on_at_the_port_to_which_the_queue_moved(tmp_path: Path) -> None:
    calls: list[ReceivedCall] = []
    data = tmp_path / "data"
    async with receiver_of(calls) as receiver:
        (tmp_path / "hooks.yaml").write_text(manifests(receiver))
        words = ("run", tmp_path / "hooks.yaml", "--data", data, "--allow-cidr", "127.0.0.0/8")
        with running(tmp_path / "log", *words) as command:
            command.until_says("configuration loaded")
            url = known_url(data) or ""
            client = await connect(url, name="test", connect_seconds=20)
            ids = await publish(client, 1)
            await until(lambda: len(calls) == 1, what="a delivery")
            await client.close()
            pid, port = int((data / "nats.pid").read_text()), parse_nats(url).servers[0].port
            taken = await asyncio.to_thread(_killed_and_taken, pid, port)
            try:
                await until(lambda: known_url(data) != url, seconds=20, what="another port")
                client = await connect(known_url(data) or "", name="test", connect_seconds=20)
                ids += await publish(client, 3)
                await until(lambda: {call.webhook_id for call in calls} == set(ids), seconds=40, what="deliveries")
                await client.close()
            finally:
                taken.close()
            assert command.output.count("cannot be started") == 1
            assert command.end() == 0


async def test_of_two_that_start_at_the_same_moment_one_finds_another_port(tmp_path: Path) -> None:
    """Each of them finds the port free, and then one of them finds it taken."""
    port, servers = free_port(), list[NatsServer]()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "nats.url").write_text(f"nats://token@127.0.0.1:{port}\n")
        servers.append(NatsServer(tmp_path / name))
    try:
        urls = await asyncio.gather(*(each.start() for each in servers))
        assert [known_url(tmp_path / name) for name in ("one", "two")] == urls
        ports = {parse_nats(url).servers[0].port for url in urls}
        assert len(ports) == 2
        assert port in ports
    finally:
        for each in servers:
            await each.stop()


async def test_another_program_at_the_port_is_never_taken_for_the_own_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    server = NatsServer(tmp_path / "data")
    monkeypatch.setattr(module, "_free", lambda _: True)
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0) as other:
        port = other.sockets[0].getsockname()[1]
        (tmp_path / "data" / "nats.url").write_text(f"nats://token@127.0.0.1:{port}\n")
        with pytest.raises(NatsServerError, match="address already in use"):
            await server.start()


async def test_what_the_server_says_of_itself_is_for_its_owner_alone(tmp_path: Path) -> None:
    async with supervised(tmp_path / "data", []) as server:
        assert server.pid is not None
        monitor = monitor_of(tmp_path / "data", server.pid)
        assert monitor is not None
        for path in ("/varz", "/connz", "/subsz", "/jsz", "/healthz"):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(monitor.rpartition(":")[2]))
            writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            assert (await reader.readline()).split()[1] == b"404"
            writer.close()


async def test_a_data_folder_on_a_full_disk_is_one_line(small_disk: Path, tmp_path: Path) -> None:
    (tmp_path / "hooks.yaml").write_text("")
    with full(small_disk):
        done = await asyncio.to_thread(hookline, "run", tmp_path / "hooks.yaml", "--data", small_disk / "data")
    assert done.returncode == 1
    assert done.stderr.decode().splitlines()[-1].startswith("hookline: ")
    assert "Traceback" not in done.stderr.decode()


def _killed_and_taken(pid: int, port: int) -> socket.socket:
    """Kill the server and take its port before it comes again."""
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while True:
        try:
            taken = socket.socket()
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(("127.0.0.1", port))
            taken.listen()
        except OSError:
            taken.close()
            assert time.monotonic() < deadline
            time.sleep(0.001)
        else:
            return taken


async def test_a_sender_says_that_the_queue_takes_no_writes_and_that_it_does_again(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(writes, "SURE_SECONDS", 1.5)
    monkeypatch.setattr(publish_module, "ACK_SECONDS", 1)
    calls: list[ReceivedCall] = []
    (small_disk / "data").mkdir()
    server = NatsServer(small_disk / "data")
    await server.start()
    try:
        async with receiver_of(calls) as receiver:
            write_book(tmp_path / "book", hook("one", receiver))
            async with sender_of(tmp_path / "book", server.url) as sender:
                session = sender.pod._session
                assert session is not None
                dead = names.dead_subject("default", "00000000-0000-0000-0000-000000000000")
                with full(small_disk):
                    for _ in range(3):
                        with pytest.raises(StreamUnavailable):
                            await session._publisher.store(dead, bytes(200_000))
                    problem = sender.pod.queue_problem()
                    assert problem is not None
                    assert problem.reason is QueueReason.QUEUE_REFUSES_WRITES
                    assert "DEAD takes no writes" in problem.message
                    assert sender.pod.report()["queue"] == {"reason": "QueueRefusesWrites", "message": problem.message}
                    assert 'reason="QueueRefusesWrites"} 1.0' in sender.pod.metrics.text().decode()
                    await asyncio.sleep(2.5)
                assert sender.pod.queue_problem() is not None
                await server.stop()
                await server.start()
                await until(lambda: sender.pod.unready() is None, what="a queue that is well")
                assert (await session._publisher.store(dead, bytes(200_000))).new
                await until(lambda: not session._publisher._said_refused, what="a look")
    finally:
        await server.stop()
    said = capfd.readouterr().out
    assert said.count("the queue takes no writes") == 1
    assert said.count("the queue takes writes again") == 1
