"""`hookline sender` as a pod runs it: a process, a volume as a kubelet writes it, a real nats-server and receiver."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from controlplane.ports import free_port
from doubles import own
from doubles.books import route as any_route
from doubles.command import RunningCommand, hookline, running
from doubles.kubelet import atomic_write
from doubles.local import SECRET, count, deliver, hook, publish, receiver_of, until, until_stored
from doubles.nats import Accounts, nats
from doubles.waiting import until_it_is
from hookline.local.nats_server import NatsServer
from hookline.local.receiver import Answer, ReceivedCall
from hookline.routing.book_files import digest_of, encode, keys_file
from hookline.routing.routes import (
    BOOK_SHARDS,
    DispatcherRecord,
    Keys,
    Route,
    RouteState,
    TypeRecord,
    book_of,
    shard_of,
)
from hookline.stream.connection import Client, connect
from hookline.stream.types import read_types

CANARY = "canary-77e0"
LISTEN = ("--listen", "127.0.0.1:0")


def files_of(*entries: tuple[Route, Keys], types: tuple[TypeRecord, ...] = ()) -> dict[str, bytes]:
    return encode(book_of(entries, DispatcherRecord(allow_cidrs=("127.0.0.0/8",)), types))


@contextlib.asynccontextmanager
async def sender(log: Path, volume: Path, url: str, *words: str | Path) -> AsyncIterator[RunningCommand]:
    with running(log, "sender", "--book", volume, "--nats", url, *LISTEN, *words) as command:
        yield command
        if command.process.poll() is None:
            # Not in this thread: the receiver must be able to answer meanwhile.
            await asyncio.to_thread(command.end)


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    folder = tmp_path / "volume"
    folder.mkdir()
    return folder


async def get(command: RunningCommand, path: str) -> tuple[int, str]:
    port = await asyncio.to_thread(lambda: command.port)
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
        return answer.status, await answer.text()


async def report(command: RunningCommand) -> dict[str, Any]:
    status, text = await get(command, "/report")
    assert status == 200
    content: dict[str, Any] = json.loads(text)
    return content


async def until_answer(command: RunningCommand, path: str, wanted: Callable[[int, str], bool]) -> None:
    await until_it_is(
        lambda: get(command, path), lambda answer: wanted(*answer), what=lambda: f"{command.output[-2000:]}\n{path}"
    )


async def until_ready(*commands: RunningCommand) -> None:
    for command in commands:
        await until_answer(command, "/readyz", lambda status, _: status == 200)


async def until_reported(command: RunningCommand, wanted: Callable[[dict[str, Any]], bool]) -> None:
    await until_answer(command, "/report", lambda _, text: wanted(json.loads(text)))


async def test_it_waits_for_a_book_and_for_nats_and_says_so_once(tmp_path: Path) -> None:
    calls: list[ReceivedCall] = []
    volume, port = tmp_path / "volume", free_port()
    async with receiver_of(calls) as receiver:
        route, keys = hook("one", receiver)
        good = files_of((route, keys))
        async with sender(tmp_path / "log", volume, f"nats://tok-en@127.0.0.1:{port}") as command:
            await until_answer(
                command, "/readyz", lambda status, text: (status, text[:17]) == (503, "no route book yet")
            )
            assert await get(command, "/livez") == (200, "ok\n")
            away = {"reason": "NATSUnreachable", "message": "not connected to NATS"}
            assert await report(command) == {
                "queue": away,
                "served": {},
                "webhooks": 0,
                "unread": {},
                "failing": [],
                "truncated": False,
                "attempts_log": "",
            }
            volume.mkdir()
            torn = keys_file(shard_of(route.uid, BOOK_SHARDS))
            for files in ({}, {**good, torn: b"["}, {**good, "book.json": b'{"format": 99, "shards": []}'}):
                atomic_write(volume, files)
                await asyncio.sleep(0.5)
            await until_answer(command, "/readyz", lambda _, text: "format 99" in text)
            atomic_write(volume, good)
            await until_answer(command, "/readyz", lambda _, text: text.startswith("NATSUnreachable: "))
            assert await get(command, "/livez") == (200, "ok\n")
            async with nats(tmp_path / "nats", port):
                await until_ready(command)
                client = await connect(f"nats://127.0.0.1:{port}", name="test")
                await publish(client)
                await until(lambda: len(calls) == 1)
                await client.close()
            assert await asyncio.to_thread(command.end) == 0
            lines = [json.loads(line) for line in command.output.splitlines()]
    said = [line["problem"] for line in lines if line["event"] == "route book not usable"]
    assert len(said) == len(set(said)) >= 3
    assert "tok-en" not in command.output


async def test_a_nats_that_comes_late_is_logged_while_it_is_away(tmp_path: Path, volume: Path) -> None:
    atomic_write(volume, files_of((any_route(), Keys(uid="u1"))))
    async with sender(tmp_path / "log", volume, f"nats://127.0.0.1:{free_port()}") as command:
        await asyncio.to_thread(command.until_says, "NATS does not answer", seconds=60)
        assert command.process.poll() is None
        started = time.monotonic()
        assert await asyncio.to_thread(command.end) == 0
        assert time.monotonic() - started < 10


async def test_a_jetstream_that_is_off_is_said_and_waited_for(tmp_path: Path, volume: Path) -> None:
    atomic_write(volume, files_of((any_route(), Keys(uid="u1"))))
    port = free_port()
    async with (
        nats(tmp_path / "nats", port, jetstream=False),
        sender(tmp_path / "log", volume, f"nats://127.0.0.1:{port}") as command,
    ):
        await asyncio.to_thread(command.until_says, "has no JetStream")
        assert (await get(command, "/readyz"))[0] == 503
        assert await get(command, "/livez") == (200, "ok\n")


async def test_readiness_and_the_report_tell_the_truth(
    tmp_path: Path, volume: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls, Answer(500, 5), Answer(200)) as receiver:
        route, keys = hook("one", receiver, schedule_seconds=(1,) * 9)
        order = TypeRecord(name="order.paid", description="", validation="Enforce", schema_={"type": "object"})
        first = files_of((route, keys))
        second = files_of((route, keys), hook("two", receiver, event="IdentityDeleted"), types=(order,))
        atomic_write(volume, first)
        async with sender(tmp_path / "log", volume, nats_server.url) as command:
            await until_ready(command)
            assert (await report(command))["webhooks"] == 1
            assert (await report(command))["served"] == digests(first)
            atomic_write(volume, second)
            await until_reported(command, lambda content: content["served"] == digests(second))
            assert (await report(command))["webhooks"] == 2
            await until_types(client, ["order.paid"])
            torn = keys_file(shard_of(route.uid, BOOK_SHARDS))
            atomic_write(volume, {**files_of((route.model_copy(update={"name": "x"}), keys)), torn: b"["})
            await asyncio.sleep(0.5)
            assert (await report(command))["served"].items() >= digests(first, "index-").items()
            await publish(client)
            await until_reported(command, lambda content: bool(content["failing"]))
            (failing,) = (await report(command))["failing"]
            assert (failing["uid"], failing["reason"], failing["status"]) == (route.uid, "HTTPStatus", 500)
            assert time.strptime(failing["since"], "%Y-%m-%dT%H:%M:%SZ")
            await until_reported(command, lambda content: not content["failing"])
            assert len(calls) == 6
            await nats_server.stop()
            await until_answer(command, "/readyz", lambda _, text: text.startswith("NATSUnreachable: "))
            assert await get(command, "/livez") == (200, "ok\n")
            await nats_server.start()
            await until_ready(command)


def digests(files: dict[str, bytes], prefix: str = "") -> dict[str, str]:
    """What a sender that serves these files reports."""
    names_ = [name for name in files if name == "book.json" or name.startswith("index-")]
    return {name: digest_of(files[name]) for name in names_ if name.startswith(prefix)}


async def until_types(client: Client, wanted: list[str]) -> None:
    await until_it_is(
        lambda: read_types(client),
        lambda there: [each.name for each in there] == wanted,
        what=lambda: "what the bucket of event types holds",
    )


async def test_two_senders_of_which_one_is_behind_lose_nothing_and_give_nothing_up(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls) as receiver:
        old, new = hook("old", receiver), hook("new", receiver, event="IdentityDeleted")
        for name in "ab":
            (tmp_path / name).mkdir()
            atomic_write(tmp_path / name, files_of(old))
        async with (
            sender(tmp_path / "log-a", tmp_path / "a", nats_server.url) as a,
            sender(tmp_path / "log-b", tmp_path / "b", nats_server.url) as b,
        ):
            await until_ready(a, b)
            atomic_write(tmp_path / "a", files_of(old, new))
            await until_reported(a, lambda content: content["webhooks"] == 2)
            ids = await publish(client, 200) + await deliver(client, new[0].uid, 200)
            await until(lambda: {call.webhook_id for call in calls} == set(ids))
            assert 'hookline_parked_total{reason="Unknown"} 0.0' not in (await get(b, "/metrics"))[1].splitlines()
            atomic_write(tmp_path / "b", files_of(old, new))
            await until_reported(b, lambda content: content["webhooks"] == 2)
            ids += await publish(client, 200) + await deliver(client, new[0].uid, 200)
            await until(lambda: {call.webhook_id for call in calls} == set(ids))
            atomic_write(tmp_path / "a", files_of(new))
            await until_reported(a, lambda content: content["webhooks"] == 1)
            more = await deliver(client, old[0].uid, 200)
            await until(lambda: {call.webhook_id for call in calls} >= set(more))
            await until_stored(client, own.DELIVERIES, 0)
            await until_stored(client, own.PARKED, 0)
    assert len(calls) == len(ids) + len(more)
    assert await count(client, own.DEAD) == 0


async def test_sigterm_lets_calls_end_and_gives_back_the_rest(
    tmp_path: Path, volume: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls, delay_seconds=1.5) as receiver:
        atomic_write(volume, files_of(hook("one", receiver)))
        async with sender(tmp_path / "log", volume, nats_server.url) as command:
            await until_ready(command)
            ids = await publish(client, 25)
            await until(lambda: len(calls) >= 10)
            command.process.terminate()
            await until_answer(command, "/readyz", lambda status, text: (status, text) == (503, "draining\n"))
            assert await get(command, "/livez") == (200, "ok\n")
            assert await asyncio.to_thread(command.process.wait, 20) == 0
            assert command.output.count('"delivered"') == len(calls) == 10
        async with sender(tmp_path / "log-2", volume, nats_server.url):
            await until(lambda: {call.webhook_id for call in calls} == set(ids), seconds=60)
    assert len(calls) == 25


async def test_what_outlasts_the_grace_is_called_again_by_another_sender(
    tmp_path: Path, volume: Path, nats_server: NatsServer, client: Client
) -> None:
    hanging: list[ReceivedCall] = []
    answering: list[ReceivedCall] = []
    async with receiver_of(hanging, delay_seconds=60) as slow, receiver_of(answering) as quick:
        atomic_write(volume, files_of(hook("one", slow, timeout_seconds=30)))
        async with sender(tmp_path / "log", volume, nats_server.url, "--grace-seconds", "1") as command:
            await until_ready(command)
            (event_id,) = await publish(client)
            await until(lambda: len(hanging) == 1)
            started = time.monotonic()
            assert await asyncio.to_thread(command.end) == 0
            assert time.monotonic() - started < 10
        atomic_write(volume, files_of(hook("one", quick)))
        async with sender(tmp_path / "log-2", volume, nats_server.url):
            await until(lambda: len(answering) == 1)
    assert answering[0].webhook_id == event_id


async def test_secrets_are_in_no_log_no_metric_and_no_report(
    tmp_path: Path, volume: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls, Answer(500, 5), Answer(200)) as receiver:
        route, keys = hook("one", receiver, schedule_seconds=(1,) * 9)
        secret = {"query": f"t={CANARY}", "headers": (("X-Api-Key", CANARY),)}
        dead, dead_keys = hook("dead", receiver, url="https://127.0.0.1:1/", schedule_seconds=())
        entries = [(route, keys.model_copy(update=secret)), (dead, dead_keys.model_copy(update=secret))]
        files = files_of(*entries)
        atomic_write(volume, files)
        async with sender(tmp_path / "log", volume, nats_server.url) as command:
            await until_ready(command)
            await publish(client)
            await until_reported(command, lambda content: bool(content["failing"]))
            broken = {name: content[:-9] if name.startswith("keys-") else content for name, content in files.items()}
            atomic_write(volume, broken)
            await until(lambda: len(calls) == 6)
            await until_stored(client, own.DEAD, 1)
            pages = [(await get(command, path))[1] for path in ("/report", "/metrics", "/readyz", "/livez")]
            shown = command.output + "".join(pages)
    assert calls[0].path_and_query == f"/one?t={CANARY}"
    assert calls[0].headers["x-api-key"] == CANARY
    for text in (CANARY, SECRET, SECRET.removeprefix("whsec_"), nats_server.url.split("//")[1].split("@")[0]):
        assert text not in shown
    assert receiver.url not in "".join(pages)


async def test_a_credentials_file_opens_the_door_and_its_end_is_survived_when_it_was_renewed(
    tmp_path: Path, volume: Path
) -> None:
    calls: list[ReceivedCall] = []
    accounts, port, file = Accounts(), free_port(), tmp_path / "user.creds"
    file.write_text(accounts.credentials(lasts_seconds=12))
    async with nats(tmp_path / "nats", port, **accounts.settings()), receiver_of(calls) as receiver:
        atomic_write(volume, files_of(hook("one", receiver)))
        async with sender(tmp_path / "log", volume, f"nats://127.0.0.1:{port}", "--nats-credentials", file) as command:
            await until_ready(command)
            file.write_text(accounts.credentials())
            await asyncio.to_thread(command.until_says, "ended the connection for good")
            await until_ready(command)
            client = await connect(f"nats://127.0.0.1:{port}", name="test", credentials=file)
            await publish(client)
            await until(lambda: len(calls) == 1)
            await client.close()
            assert "SEED" not in command.output


async def test_a_nats_user_needs_no_more_than_the_documented_subjects(tmp_path: Path, volume: Path) -> None:
    calls: list[ReceivedCall] = []
    accounts, port = Accounts(), free_port()
    text = (Path(__file__).parents[2] / "docs" / "nats-user.conf").read_text()
    documented = json.loads(text[text.index("{") : text.rindex("}") + 1])["users"][0]["permissions"]
    (tmp_path / "sender.creds").write_text(accounts.credentials(**documented))
    (tmp_path / "all.creds").write_text(accounts.credentials())
    url = f"nats://127.0.0.1:{port}"
    log, words = tmp_path / "log", ("--nats-credentials", tmp_path / "sender.creds")
    order = TypeRecord(name="order.paid", description="", validation="Enforce", schema_={"type": "object"})
    async with nats(tmp_path / "nats", port, **accounts.settings()), receiver_of(calls, Answer(500, 1)) as receiver:
        route, keys = hook("one", receiver, schedule_seconds=(1,))
        held, held_keys = hook("held", receiver, schedule_seconds=(), state=RouteState.HELD)
        atomic_write(volume, files_of((route, keys), (held, held_keys), types=(order,)))
        async with sender(log, volume, url, *words) as command:
            await until_ready(command)
            client = await connect(url, name="test", credentials=tmp_path / "all.creds")
            await until_types(client, ["order.paid"])
            await publish(client)
            await until_stored(client, own.PARKED, 1)
            await until_stored(client, own.DEAD, 1)
            assert len(calls) == 2
            active = held.model_copy(update={"state": RouteState.ACTIVE})
            atomic_write(volume, files_of((route, keys), (active, held_keys)))
            await until(lambda: len(calls) == 3)
            await until_stored(client, own.PARKED, 0)
            await until_types(client, [])
            await client.close()
        assert "permissions violation" not in (tmp_path / "nats" / "log").read_text().lower()


async def test_a_held_webhook_waits_and_a_rotated_one_signs_with_both_keys(
    tmp_path: Path, volume: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    fresh = "whsec_" + "B" * 43 + "="
    async with receiver_of(calls) as receiver:
        route, keys = hook("one", receiver)
        held = route.model_copy(update={"state": RouteState.HELD})
        atomic_write(volume, files_of((held, Keys(uid=route.uid))))
        async with sender(tmp_path / "log", volume, nats_server.url) as command:
            await until_ready(command)
            await publish(client, 3)
            await until_stored(client, own.PARKED, 3)
            retired = ({"key": SECRET, "until_s": int(time.time()) + 60},)
            rotated = Keys.model_validate({**keys.model_dump(), "signing": fresh, "retired": retired})
            atomic_write(volume, files_of((route, rotated)))
            await until(lambda: len(calls) == 3)
    # The receiver knows the old secret only.
    assert {call.verified for call in calls} == {"signature"}
    assert {call.headers["webhook-signature"].count("v1,") for call in calls} == {2}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--nats", "http://127.0.0.1"], "--nats: must begin with nats:// or tls://"),
        (["--nats", "nats://127.0.0.1", "--listen", "8080"], "--listen must be HOST:PORT"),
        (["--nats", "nats://127.0.0.1", "--listen", "127.0.0.1:99999"], "--listen must be HOST:PORT"),
    ],
)
def test_a_wrong_option_is_one_line(tmp_path: Path, words: list[str], says: str) -> None:
    done = hookline("sender", "--book", tmp_path, *words)
    assert done.returncode == 2
    assert done.stderr.decode().splitlines()[-1].startswith(f"hookline: {says}")


async def test_a_port_that_is_taken_is_one_line(tmp_path: Path, volume: Path) -> None:
    async with sender(tmp_path / "log", volume, "nats://127.0.0.1:1") as command:
        port = await asyncio.to_thread(lambda: command.port)
        done = await asyncio.to_thread(
            hookline, "sender", "--book", tmp_path, "--nats", "nats://127.0.0.1:1", "--listen", f"127.0.0.1:{port}"
        )
    assert done.returncode == 1
    assert f"hookline: cannot listen on 127.0.0.1:{port}" in done.stderr.decode().splitlines()[-1]


async def test_the_environment_says_what_options_say(tmp_path: Path, volume: Path) -> None:
    environment = {"HOOKLINE_BOOK": str(volume), "HOOKLINE_NATS_URL": "nats://127.0.0.1:1"}
    with running(tmp_path / "log", "sender", *LISTEN, environment=environment) as command:
        await until_answer(command, "/readyz", lambda status, text: "no route book yet" in text)
