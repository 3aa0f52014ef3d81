"""Metrics of processes that run, over a real nats-server: what they tell is what docs/metrics.md says, and is so."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from doubles import own
from doubles.exposition import labels_told
from doubles.local import hook, publish, receiver_of, sender, until, until_stored, write_book
from doubles.shipped_nats import shipped
from hookline.gateway.callers import OneToken
from hookline.gateway.process import GatewayProcess
from hookline.local.nats_server import NatsServer
from hookline.local.receiver import Answer, ReceivedCall
from hookline.routing.routes import RouteState
from hookline.runtime.metrics import ORIGINS, Metrics
from hookline.stream import names, permissions
from hookline.stream.connection import Client
from hookline.stream.nkeys import public_of, seed_of
from hookline.stream.permissions import Role, users_file
from hookline.stream.server_users import disks

SEEDS = {role: seed_of(bytes([number]) * 32) for number, role in enumerate(Role, 1)}


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


async def test_processes_that_run_tell_the_metrics_that_are_described_with_their_labels(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    gateway = GatewayProcess(nats_server.url, OneToken("t", namespace="default", name="test"), host="127.0.0.1", port=0)
    stop = asyncio.Event()
    serving = asyncio.create_task(gateway.run(stop))
    async with receiver_of(calls, Answer(503, 1), Answer(200)) as receiver:
        held = hook("held", receiver, state=RouteState.HELD)
        write_book(tmp_path / "book", hook("one", receiver), held)
        async with sender(tmp_path / "book", nats_server.url) as running:
            told = running.pod.metrics
            await publish(client, 3)
            await until(lambda: len(calls) == 4)
            await until_stored(client, own.PARKED, 3)
            running.pod._session._look_now.set()  # type: ignore[union-attr]
            await until(lambda: value(told, "hookline_stream_messages", stream="parked") == 3)
            for each in (told, gateway.metrics):
                described = {metric.name: set(metric.labels) for metric in each.described}
                assert labels_told(each.text().decode()) == described
            assert value(told, "hookline_first_attempt_delay_seconds_count", origin="event") == 3
            assert value(told, "hookline_first_attempt_delay_seconds_count", origin="shard") == 0
            assert (value(told, "hookline_first_attempt_delay_seconds_sum", origin="event") or 9) < 5
            await until(lambda: (value(told, "hookline_stream_bytes", stream="events") or 0) > 0)
            await until(lambda: (value(told, "hookline_queue_disk_bytes") or 0) > 0)
            assert value(told, "hookline_queue_disk_limit_bytes") == 0
    stop.set()
    await serving


async def test_a_first_attempt_is_counted_by_where_its_delivery_waited(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls) as receiver:
        many = [hook(f"many-{number}", receiver, event="IdentityDeleted") for number in range(5)]
        route, keys = hook("held", receiver)
        write_book(tmp_path / "book", *many, (route.model_copy(update={"state": RouteState.HELD}), keys))
        async with sender(tmp_path / "book", nats_server.url) as running:
            await publish(client)
            await until_stored(client, own.PARKED, 1)
            await publish(client, event="IdentityDeleted")
            await until(lambda: len(calls) == 5)
            write_book(tmp_path / "book", *many, (route, keys))
            await until(lambda: len(calls) == 6)
            counted = {
                origin: value(running.pod.metrics, "hookline_first_attempt_delay_seconds_count", origin=origin)
                for origin in ORIGINS
            }
    assert counted == {"event": 0, "shard": 5, "parked": 1}


async def test_where_nats_does_not_permit_to_ask_for_the_disk_all_else_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = users_file({role: [public_of(seed)] for role, seed in SEEDS.items()})
    assert names.ACCOUNT_INFO in permissions.RIGHTS[Role.SENDER].publish
    monkeypatch.setattr("hookline.stream.api._ASK_SECONDS", 0.5)
    (tmp_path / "seed").write_text(SEEDS[Role.SENDER])
    async with (
        shipped(tmp_path, users.replace(f'"{names.ACCOUNT_INFO}"', '"none"')) as server,
        receiver_of([]) as receiver,
    ):
        write_book(tmp_path / "book", hook("one", receiver))
        async with sender(tmp_path / "book", server.url, credentials=tmp_path / "seed") as running:
            told, session = running.pod.metrics, running.pod._session
            assert session is not None
            await until(lambda: session._ask_disk_at_s > 0)
            session._look_now.set()
            await until(lambda: value(told, "hookline_stream_messages", stream="dead") == 0)
            assert running.pod.unready() is None
            assert value(told, "hookline_queue_disk_bytes") == 0


async def test_the_servers_of_the_shipped_nats_say_how_full_their_disks_are(tmp_path: Path) -> None:
    async with shipped(tmp_path, users_file({role: [public_of(seed)] for role, seed in SEEDS.items()})) as server:
        found = await disks(server.url, SEEDS[Role.OPERATOR])
    (disk,) = found.values()
    assert disk.limit_bytes == 200 * 1024 * 1024
    assert disk.used_bytes == 0
