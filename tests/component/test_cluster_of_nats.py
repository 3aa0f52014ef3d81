"""Three real NATS servers in one cluster."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import nats.errors
import nats.js.errors
import pytest

from doubles import own
from doubles.command import running
from doubles.local import hook, publish, receiver_of, sender, until, until_stored
from doubles.nats_cluster import leader_of, nats_cluster, until_ready
from hookline.delivery.process import SenderProcess
from hookline.local import book_folder
from hookline.local.receiver import ReceivedCall
from hookline.routing.routes import DispatcherRecord, Keys, Route, book_of
from hookline.stream import names
from hookline.stream.connection import Client, connect
from hookline.stream.owner import Installation

pytestmark = pytest.mark.timeout(240)

OURS = Installation("ours", "team-a/default")

STREAMS = 8
"""Five of messages, and three buckets."""


def write_copies(folder: Path, copies: int, *entries: tuple[Route, Keys]) -> None:
    book_folder.write(book_of(entries, DispatcherRecord(allow_cidrs=("127.0.0.0/8",), stream_replicas=copies)), folder)


async def copies_of_all(client: Client) -> dict[str | None, int | None]:
    """But of the attempts log, which stays as it was made (docs/queue-internals.md)."""
    infos = await client.jetstream().streams_info()
    return {info.config.name: info.config.num_replicas for info in infos if info.config.name != names.ATTEMPTS}


async def until_copies(client: Client, copies: int) -> None:
    found: dict[str | None, int | None] = {}
    for _ in range(300):
        with contextlib.suppress(nats.errors.Error, nats.js.errors.Error):
            found = await copies_of_all(client)
            if list(found.values()) == [copies] * STREAMS:
                return
        await asyncio.sleep(0.1)
    pytest.fail(f"not {copies} copies of each: {found}")


async def test_a_run_waits_for_servers_that_have_no_leader_yet_and_says_so(tmp_path: Path) -> None:
    async with nats_cluster(tmp_path / "nats", started=False) as cluster:
        first, *others = cluster.servers
        await first.start()
        (tmp_path / "empty.yaml").write_text("")
        words = ["run", str(tmp_path / "empty.yaml"), "--data", str(tmp_path / "data"), "--nats", first.url]
        with running(tmp_path / "log", *words) as command:
            await asyncio.to_thread(command.until_says, "waiting for the queue")
            for each in others:
                await each.start()
            await asyncio.to_thread(command.until_says, "the queue is there", seconds=90)
            assert command.output.count("waiting for the queue") <= 2


async def test_all_that_exists_is_brought_to_the_copies_that_are_asked_for(tmp_path: Path) -> None:
    calls: list[ReceivedCall] = []
    async with nats_cluster(tmp_path / "nats") as cluster, receiver_of(calls) as receiver:
        client = await connect(cluster.url, name="test", connect_seconds=30)
        await until_ready(client)
        one = hook("one", receiver)
        for copies in (1, 3, 1):
            write_copies(tmp_path / "book", copies, one)
            async with sender(tmp_path / "book", cluster.url, installation=OURS) as running_sender:
                # A stream whose copies are just being made may be missing in the list for a moment.
                await until_copies(client, copies)

                def advice(pod: SenderProcess = running_sender.pod) -> str:
                    return str(pod.report()["attempts_log"])

                if copies == 3:
                    await until(lambda: "delete the stream HOOKLINE_ATTEMPTS" in advice())
                else:
                    await until_stored(client, names.ATTEMPTS, 0)
                    assert advice() == ""
                assert (await client.jetstream().stream_info(names.ATTEMPTS)).config.num_replicas == 1
        await client.close()


async def test_a_leader_that_dies_loses_nothing_and_is_told_in_one_line(tmp_path: Path) -> None:
    calls: list[ReceivedCall] = []
    async with nats_cluster(tmp_path / "nats") as cluster, receiver_of(calls) as receiver:
        client = await connect(cluster.url, name="test", connect_seconds=30)
        await until_ready(client)
        write_copies(tmp_path / "book", 3, hook("one", receiver))
        words = ["sender", "--book", str(tmp_path / "book"), "--nats", cluster.url, "--listen", "127.0.0.1:0"]
        with running(tmp_path / "log", *words, "--installation=ours") as command:
            port = command.port
            assert port
            await _until_streams(client)
            published = await publish(client, 50)
            await _until_called(calls, published)
            victim = cluster.named(await leader_of(client, own.EVENTS))
            await victim.kill()
            published += await publish(client, 50)
            await _until_called(calls, published)
            await victim.start()
            published += await publish(client, 50)
            await _until_called(calls, published)
            assert command.output.count("does not know a consumer") <= 3
        await client.close()


async def _until_streams(client: Client) -> None:
    for _ in range(600):
        if len(await client.jetstream().streams_info()) == STREAMS:
            return
        await asyncio.sleep(0.1)


async def _until_called(calls: list[ReceivedCall], published: list[str]) -> None:
    await until(lambda: {call.webhook_id for call in calls}.issuperset(published), seconds=90)
