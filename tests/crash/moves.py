"""Streams that are moved there and back under load, by a sender that is killed at one step of it.

Before the move some deliveries are parked, one retry waits, and events come all the while. The sender that moves them
is the only one, and goes on when it is started again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from crash.parties import NatsProcess, SenderProcess
from crash.queues import Tally, publishing, receiver_for, settled
from crash.scenario import connected, until_true
from crash.wire import NatsProxy, Passages, When
from doubles.local import deliver, hook, until, write_book
from hookline.delivery.messages import Delivery
from hookline.events.envelope import Event, stamp
from hookline.routing.routes import RouteState
from hookline.stream import names
from hookline.stream.connection import Client
from hookline.stream.inspect import left_in_former
from hookline.stream.owner import Mark
from hookline.stream.publish import Publisher
from hookline.stream.streams import Retention, ensure, find

PARKED = 40
REPEATS_AT_MOST = 40
"""Calls under way, parked deliveries that were just stored anew, and those whose acks had not left the process."""

STEPS: Mapping[str, tuple[str, str]] = {
    "create stream *": ("made at the next start", "there at the next start"),
    "update stream *": (
        "the move goes on from what is there",
        "the same; between two of them nothing can be stored, and publishers try again",
    ),
    "store parked": ("it is still in the former stream", "in both: the repeat is recognized by its name"),
    "store later": ("it is still in the former stream", "in both: the same schedule replaces itself"),
    "delete message *": ("in both streams, as above", "it is in the new stream alone"),
    "delete stream *": ("it is empty, and removed later", "nothing is left to do"),
}
"""Steps of a move: what follows a crash right before, and right after it."""


@dataclass(frozen=True)
class MoveCell:
    """The sender killed right before or after the passage `number` of a step."""

    step: str
    when: When
    number: int

    async def run(self, folder: Path) -> Tally:
        """Raises AssertionError when something is lost or repeated too often, or when nobody was killed."""
        passages = Passages(self.step, self.when, self.number)
        tally = await moved(folder, passages)
        assert passages.killed, f"{self}: passed {passages.counts[self.step]} times only"
        assert not tally.lost, f"{self}: {len(tally.lost)} of {len(tally.confirmed)} are lost"
        assert tally.repeated <= REPEATS_AT_MOST, f"{self}: {tally.repeated}"
        return tally


async def moved(folder: Path, passages: Passages) -> Tally:
    """There, back, and there again; what became of everything."""
    tally = Tally()
    async with (
        receiver_for(tally) as receiver,
        NatsProcess(folder / "nats") as server,
        NatsProxy(server.port, passages) as wire,
        connected(server.url) as client,
    ):
        one, (held, keys) = (
            hook("one", receiver),
            hook("held", receiver, event="IdentityDeleted", state=RouteState.HELD),
        )
        book = folder / "book"
        await ensure(client, Retention(), prefix="", owner=Mark("crash", "crash", ""))
        await deliver(client, held.uid, PARKED, parked=True)
        later = await _scheduled(client, held.uid)
        sender = SenderProcess(folder, book, f"nats://127.0.0.1:{wire.port}")
        passages.kill = sender.kill
        write_book(book, one, (held, keys), prefix="")
        async with sender.running(), publishing(server.url, tally):
            for prefix in (names.OWN_PREFIX, "", names.OWN_PREFIX):
                write_book(book, one, (held, keys), prefix=prefix)
                await until_true(lambda prefix=prefix: _is_done(client, prefix), f"the move to {prefix!r}")  # type: ignore[misc]
            write_book(book, one, (held.model_copy(update={"state": RouteState.ACTIVE}), keys), prefix=names.OWN_PREFIX)
            there = len(tally.arrived)
            await until(lambda: len(tally.arrived) > there + PARKED, seconds=60)
        async with sender.running():
            await settled(tally)
        found = await client.jetstream().get_msg(
            f"{names.OWN_PREFIX}{names.DELIVERIES}", seq=1, subject=names.LATER_SUBJECTS, next=True
        )
        assert (found.headers or {})["Nats-Schedule"] == later
    return tally


async def _scheduled(client: Client, uid: str) -> str:
    """A retry that waits for an hour; when it is due."""
    at_s = time.time() + 3600
    event = Event("evt_later", "default", "IdentityDeleted", stamp(at_s), b"{}")
    await Publisher(client).store_later(uid, b"{}", Delivery(uid, event, 1, 2).headers(), at_s=at_s, once="later.1")
    return f"@at {stamp(at_s)}"


async def _is_done(client: Client, prefix: str) -> bool:
    layout = await find(client)
    former = set(layout.former_of(names.DELIVERIES) + layout.former_of(names.PARKED))
    return layout.is_at(prefix) and not former and not await left_in_former(client, layout, 1)


async def cells(folder: Path) -> list[MoveCell]:
    """For each step of a move its first two passages, as a run without a fault has them: there, and on."""
    passages = Passages()
    tally = await moved(folder, passages)
    assert not tally.lost, f"without a fault: {len(tally.lost)} are lost"
    return [
        MoveCell(step, when, number)
        for step, count in passages.counts.items()
        if what_follows(step) is not None and "KV_" not in step
        for number in range(1, min(count, 2) + 1)
        for when in When
    ]


def what_follows(step: str) -> tuple[str, str] | None:
    kind = step.rpartition(" ")[0]
    return STEPS.get(step) or STEPS.get(f"{kind} *")


def row(cell: MoveCell, tally: Tally) -> str:
    follows = what_follows(cell.step)
    assert follows is not None, "only steps with a line have cells"
    at = f"{cell.when.value} `{cell.step}`, passage {cell.number}"
    return (
        f"| {at} | {len(tally.confirmed)} | {len(tally.lost)} | {tally.repeated} | {follows[cell.when is When.AFTER]} |"
    )
