"""A Replay whose executor ends between any two steps, over a queue in memory: nothing is left out, counted twice, or
delivered again that NATS would know."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubles.replays import SomeAttempts, SomeWebhooks, read_replay, replay_of, webhook_of
from hookline.api.replay import executor as executing
from hookline.api.replay.executor import Executor
from hookline.delivery import messages
from hookline.delivery.messages import Delivery
from hookline.events.envelope import Event, to_headers
from hookline.resources.reasons import ReplayReason
from hookline.resources.replay import Replay, ReplayStatus
from hookline.stream import names
from hookline.stream.history import Reach, Waiting
from hookline.stream.layout import plain
from hookline.stream.publish import TooLarge
from hookline.stream.stored import Stored

TIME = "2026-11-24T00:00:00Z"


class Killed(BaseException):
    """The process ended."""


@dataclass
class World:
    """One stream, the queue of deliveries, and what is written down. Each of their steps may be the last one."""

    stream: dict[int, Stored]
    end: int
    refused: frozenset[str]
    delivered: list[str] = field(default_factory=list)
    """Ids of the events of deliveries."""
    known: set[str] = field(default_factory=set)
    """Names of messages that NATS knows for two minutes."""
    status: ReplayStatus = field(default_factory=ReplayStatus)
    steps_left: float = float("inf")
    is_late: bool = False
    """Whether the last step has its effect."""
    busy: list[bool] = field(default_factory=list)
    """Whether much waits, at each look."""
    created: str = TIME
    """When the stream was made."""

    async def step(self, do: Any) -> Any:
        self.steps_left -= 1
        if self.steps_left >= 0:
            return do()
        if self.is_late and self.steps_left == -1:
            do()
        # All that is under way ends with the process.
        self.is_late = False
        raise Killed

    async def store(self, subject: str, body: bytes, headers: Mapping[str, str], *, once: str) -> None:
        def do() -> None:
            event_id = messages.read(subject, headers, body).event.id
            if event_id in self.refused:
                raise TooLarge("too large")
            if once not in self.known:
                self.known.add(once)
                self.delivered.append(event_id)

        await self.step(do)

    async def write(self, status: ReplayStatus, reason: ReplayReason, message: str) -> None:
        await self.step(lambda: setattr(self, "status", status))

    async def reach(self, client: object, stream: str) -> Reach:
        return Reach(stream, self.created, min(self.stream, default=self.end + 1), self.end, 1_700_000_000.0)

    async def next_messages(self, client: object, stream: str, pattern: str, seq: int, end: int) -> list[Stored]:
        return [self.stream[each] for each in sorted(self.stream) if seq <= each <= end][:4]

    async def remove(self, client: object, stream: str, created: str, seqs: Sequence[int]) -> None:
        for seq in seqs:
            await self.step(lambda seq=seq: self.stream.pop(seq, None) if created == self.created else None)

    async def waiting_of(self, client: object, layout: object, uid: str) -> Waiting:
        return Waiting(10**9 if self.busy and self.busy.pop() else 0, 0)


def letters(number: int, strange: set[int]) -> dict[int, Stored]:
    found = {}
    for seq in range(1, number + 1):
        event = Event(f"evt_{seq}", "default", "IdentityCreated", TIME, b"{}")
        headers = Delivery("u1", event, seq, 3).headers() if seq not in strange else {"Hookline-Event-Id": event.id}
        found[seq] = Stored(names.dead_subject("default", "u1"), headers, b"{}", seq, TIME)
    return found


def events(number: int) -> dict[int, Stored]:
    found = {}
    for seq in range(1, number + 1):
        event = Event(f"evt_{seq}", "default", "IdentityCreated", TIME, b"{}")
        subject = names.event_subject("default", "IdentityCreated")
        found[seq] = Stored(subject, to_headers(event), b"{}", seq, TIME)
    return found


async def _no_sleep(seconds: float) -> None:
    await asyncio.sleep(0)


async def _until_it_is_done(world: World, replay: Replay, kills: list[tuple[int, bool, bool]]) -> None:
    """`kills` are: after how many steps, whether the last one has its effect, whether NATS forgets names after it."""
    webhooks = SomeWebhooks([webhook_of("one", "u1")])
    executor = Executor(lambda: {"default": cast(Any, world)}, webhooks, SomeAttempts().log, sleep=_no_sleep)
    for steps, is_late, forgets in kills:
        world.steps_left, world.is_late = steps, is_late
        with contextlib.suppress(Killed):
            await executor.run(replay.model_copy(update={"status": world.status}), world.write)
        if forgets:
            world.known.clear()
    world.steps_left = float("inf")
    if world.status.phase not in ("Complete", "Failed"):
        await executor.run(replay.model_copy(update={"status": world.status}), world.write)


@pytest.fixture(scope="module", autouse=True)
def _small_steps() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(executing, "CHECKPOINT_ITEMS", 3)
        patch.setattr(executing, "LOOK_SECONDS", 0.0)
        yield


KILLS = st.lists(st.tuples(st.integers(0, 30), st.booleans(), st.booleans()), max_size=4)


def run(world: World, kills: list[tuple[int, bool, bool]], **spec: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(executing, "history", _History(world))
        patch.setattr(executing, "find", _layout)
        patch.setattr(executing, "Publisher", lambda _: world)
        asyncio.run(_until_it_is_done(world, read_replay(replay_of(**spec)), kills))


async def _layout(client: object) -> object:
    return plain()


class _History:
    def __init__(self, world: World) -> None:
        self.reach, self.next_messages = world.reach, world.next_messages
        self.remove, self.waiting_of = world.remove, world.waiting_of


@given(
    KILLS,
    st.sets(st.integers(1, 14), max_size=3),
    st.sets(st.integers(1, 14), max_size=2),
    st.lists(st.booleans(), max_size=8),
)
def test_each_dead_letter_is_stored_and_counted_once_wherever_the_executor_ends(
    kills: list[tuple[int, bool, bool]], strange: set[int], refused: set[int], busy: list[bool]
) -> None:
    world = World(letters(14, strange), 14, frozenset(f"evt_{each}" for each in refused), busy=busy)
    run(world, kills)
    status = world.status
    kept = strange | refused
    assert status.phase == "Complete"
    assert (status.found, status.skipped, status.failed) == (14, len(strange), len(refused - strange))
    assert status.replayed == 14 - len(kept)
    assert set(world.stream) == kept, "what was not stored stays, and nothing else does"
    times = Counter(world.delivered)
    assert set(times) == {f"evt_{each}" for each in range(1, 15) if each not in kept}
    if not any(forgets for _, _, forgets in kills):
        assert set(times.values()) <= {1}
    # A window, and what was read at once when the process ended.
    assert sum(times.values()) - len(times) <= len(kills) * 2 * (3 + 4)


@given(KILLS)
def test_each_event_is_stored_and_counted_once_wherever_the_executor_ends(kills: list[tuple[int, bool, bool]]) -> None:
    world = World(events(14), 14, frozenset())
    run(world, kills, source="Events")
    assert (world.status.phase, world.status.found, world.status.replayed) == ("Complete", 14, 14)
    times = Counter(world.delivered)
    assert set(times) == {f"evt_{each}" for each in range(1, 15)}
    if not any(forgets for _, _, forgets in kills):
        assert set(times.values()) <= {1}
    assert sum(times.values()) - len(times) <= len(kills) * (3 + 4)
    assert len(world.stream) == 14
