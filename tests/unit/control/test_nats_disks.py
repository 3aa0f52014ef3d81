from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import cast

import pytest

from hookline.control.context import Context
from hookline.control.nats_disks import NatsDisks
from hookline.control.nats_users import Keys, keys_secret
from hookline.runtime.tasks import cancel
from hookline.stream.connection import StreamUnavailable
from hookline.stream.inspect import Disk
from hookline.stream.nkeys import seed_of
from hookline.stream.permissions import Role

SEED = seed_of(bytes(32))
FOUND = {"nats-0": Disk(5, 9), "nats-1": Disk(6, 0)}


class Servers:
    """Those of a NATS, who are asked by its address and a seed."""

    def __init__(self) -> None:
        self.problem: Exception | None = None
        self.asked: list[tuple[str, str]] = []

    async def __call__(self, url: str, seed: str) -> Mapping[str, Disk]:
        self.asked.append((url, seed))
        if self.problem is not None:
            raise self.problem
        return FOUND


def disks_of(servers: Servers, *, shipped: str = "nats://nats:4222", has_key: bool = True) -> NatsDisks:
    secret = (
        keys_secret("hookline-system", Role.OPERATOR, Keys(SEED, datetime(2026, 11, 30, tzinfo=UTC)))
        if has_key
        else None
    )
    context = SimpleNamespace(identity=SimpleNamespace(shipped_nats=shipped), own=lambda kind, name: secret)
    return NatsDisks(cast(Context, context), ask=servers)


async def test_what_the_servers_say_is_told_by_their_names() -> None:
    disks = disks_of(servers := Servers())
    await disks.look()
    assert servers.asked == [("nats://nats:4222", SEED)]
    assert disks.used_bytes() == {"nats-0": 5, "nats-1": 6}
    assert disks.limit_bytes() == {"nats-0": 9}


@pytest.mark.parametrize("problem", [StreamUnavailable("1 of 3 servers answer"), RuntimeError("a bug")])
async def test_what_cannot_be_seen_is_not_told_and_ends_nothing(problem: Exception) -> None:
    disks = disks_of(servers := Servers())
    await disks.look()
    servers.problem = problem
    await disks.look()
    assert disks.used_bytes() == disks.limit_bytes() == {}


async def test_nobody_is_asked_without_a_key_or_of_somebody_elses_nats() -> None:
    servers = Servers()
    await disks_of(servers, has_key=False).look()
    await disks_of(servers, shipped="").follow()
    assert servers.asked == []


async def test_an_operator_that_leads_no_more_tells_nothing() -> None:
    disks = disks_of(Servers())
    following = asyncio.create_task(disks.follow())
    await asyncio.sleep(0)
    assert disks.used_bytes()
    await cancel([following])
    assert disks.used_bytes() == {}
