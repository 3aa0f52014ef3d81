"""What a gateway confirmed is kept and arrives, whatever is killed or full meanwhile, and clients try again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from controlplane.ports import free_port
from crash.parties import NatsProcess
from crash.scenario import connected
from crash.wire import Proxy, Way
from doubles import own
from doubles.command import running
from doubles.disk import full
from doubles.frozen import stand_still
from doubles.gateway import gateway_at
from doubles.local import SECRET, receiver_of, until
from hookline.events.builtin_events import event_named, sample_of, to_text
from hookline.gateway import intake
from hookline.local.receiver import ReceivedCall
from hookline.local.samples import allowed_secret, ca_secret, to_yaml, webhook
from hookline.runtime.tasks import within
from hookline.stream import writes
from hookline.stream.connection import Client
from hookline.stream.stored import read_from
from hookline.stream.streams import Retention, ensure

EVENT = "IdentityCreated"
BODY = to_text(sample_of(event_named(EVENT))).encode()
CLIENTS = 8
REPEATS_AT_MOST = 200
"""Of one kill: what the sender had under way. Seen were up to 6."""


class Producer:
    """Publishes one event after the other with a key each, and tries again as it is told."""

    def __init__(self, name: str, client: httpx.AsyncClient) -> None:
        self._name = name
        self._client = client
        self.confirmed: list[str] = []
        self.statuses: Counter[int | str] = Counter()
        self.problems: list[httpx.Response] = []

    async def run(self, stop: asyncio.Event) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            key = f"{self._name}-{number}"
            while not await self._confirmed(key) and not stop.is_set():
                await within(stop, 0.1)

    async def _confirmed(self, key: str) -> bool:
        headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
        try:
            answer = await self._client.post(f"/v1/events/{EVENT}", content=BODY, headers=headers)
        except httpx.TransportError as error:
            self.statuses[type(error).__name__] += 1
            return False
        self.statuses[answer.status_code] += 1
        if answer.status_code not in (200, 202):
            self.problems.append(answer)
            return False
        self.confirmed.append(answer.json()["id"])
        return True


class Producers:
    def __init__(self, client: httpx.AsyncClient) -> None:
        self.each = [Producer(f"p{number}", client) for number in range(CLIENTS)]

    @property
    def confirmed(self) -> list[str]:
        return [id_ for each in self.each for id_ in each.confirmed]

    @property
    def statuses(self) -> Counter[int | str]:
        return sum((each.statuses for each in self.each), Counter())

    async def more(self, events: int) -> None:
        wanted = len(self.confirmed) + events
        await until(lambda: len(self.confirmed) >= wanted, seconds=60)

    async def all_refused(self, times: int) -> None:
        """Until each was told no so often, from now on."""
        wanted = {each: each.statuses[503] + times for each in self.each}
        await until(lambda: all(each.statuses[503] >= so_often for each, so_often in wanted.items()))


@contextlib.asynccontextmanager
async def publishing(client: httpx.AsyncClient) -> AsyncIterator[Producers]:
    producers, stop = Producers(client), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for each in producers.each:
            group.create_task(each.run(stop))
        try:
            yield producers
        finally:
            stop.set()


async def ids_in_events(client: Client) -> list[str]:
    found: list[str] = []
    seq = 1
    while some := await read_from(client, own.EVENTS, "hookline.events.>", seq):
        found += [each.headers["Hookline-Event-Id"] for each in some]
        seq = some[-1].seq + 1
    return found


@pytest.mark.timeout(180)
async def test_what_was_confirmed_arrives_though_gateway_sender_and_queue_are_killed(tmp_path: Path) -> None:
    calls: list[ReceivedCall] = []
    files, data, port = tmp_path / "hooks.yaml", tmp_path / "data", free_port()
    async with receiver_of(calls) as receiver:
        hook = webhook(
            "one", url=f"{receiver.url}/one", event=EVENT, secret_name="signing", ca_secret_name="ca", enabled=True
        )
        documents = [ca_secret("ca", receiver.ca_pem), allowed_secret("signing", SECRET), hook]
        files.write_text(to_yaml(*(("", each) for each in documents)))
        words = ("run", files, "--data", data, "--allow-cidr", "127.0.0.0/8", "--gateway-port", str(port))
        with running(tmp_path / "log", *words) as command:
            command.until_says("the gateway listens")
            token = (data / "gateway-token").read_text().strip()
            headers, url = {"Authorization": f"Bearer {token}"}, f"http://127.0.0.1:{port}"
            async with (
                httpx.AsyncClient(base_url=url, headers=headers, timeout=20) as client,
                publishing(client) as producers,
            ):
                for round_ in range(2):
                    await producers.more(100)
                    os.kill(int((data / "nats.pid").read_text()), signal.SIGKILL)
                    await producers.more(100)
                    command.kill()
                    command.start()
                    command.until_says("the gateway listens", times=round_ + 2)
                await producers.more(100)
            await until(lambda: set(producers.confirmed) <= {each.webhook_id for each in calls}, seconds=60)
    statuses = producers.statuses
    assert set(statuses) <= {200, 202, 503, "ConnectError", "ReadError", "RemoteProtocolError"}, statuses
    times = Counter(each.webhook_id for each in calls)
    assert sum(times.values()) - len(times) <= 2 * REPEATS_AT_MOST


async def test_with_a_full_disk_nobody_is_confirmed_and_nothing_that_was_is_lost(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(intake, "STORE_SECONDS", 1)
    monkeypatch.setattr(writes, "SURE_SECONDS", 0.5)
    async with NatsProcess(small_disk / "nats", max_file_store=100_000_000) as server, connected(server.url) as queue:
        await ensure(queue, Retention())
        async with gateway_at(server.url) as client, publishing(client) as producers:
            await producers.more(100)
            with full(small_disk):
                await producers.all_refused(2)
            confirmed = len(producers.confirmed)
            await producers.all_refused(2)
            assert len(producers.confirmed) == confirmed, "room alone does not help: nats-server must be started again"
            await server.stop()
            await server.start()
            await producers.more(100)
        stored = await ids_in_events(queue)
    assert Counter(producers.confirmed) <= Counter(stored)
    assert set(producers.statuses) <= {200, 202, 503}
    for answer in (problem for each in producers.each for problem in each.problems):
        assert answer.headers["Retry-After"]
        assert "may be stored or not" in answer.json()["detail"]
    assert capfd.readouterr().out.count("the queue takes no writes") == 1


async def test_with_nats_frozen_or_cut_off_nobody_is_confirmed_in_vain_and_nothing_is_stored_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "STORE_SECONDS", 1)
    async with NatsProcess(tmp_path / "nats") as server, Proxy(server.port) as proxy, connected(server.url) as queue:
        await ensure(queue, Retention())
        url = f"nats://127.0.0.1:{proxy.port}"
        async with gateway_at(url) as client, publishing(client) as producers:
            await producers.more(50)
            stand_still(server.pid)
            await producers.all_refused(1)
            os.kill(server.pid, signal.SIGCONT)
            await producers.more(50)
            for _ in range(3):
                await proxy.cut()
                await producers.more(50)
            proxy.silence(Way.BACK)
            await producers.all_refused(1)
            proxy.mend()
            await producers.more(50)
        stored = Counter(await ids_in_events(queue))
    assert Counter(producers.confirmed) <= stored
    assert set(stored.values()) == {1}
    assert set(producers.statuses) <= {200, 202, 503}
