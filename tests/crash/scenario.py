"""What happens in each cell of the kill matrix: everything that a delivery can go through, with one fault in it.

Three Webhooks hear each event, which are few enough to be called from it. `steady` is called: an eighth of its events
fails once, four until their schedule is spent, which makes the endpoint a failing one in the end. `held` waits for its
Secret at first and is called later. `deleted` waits, and is deleted before it is ever called. In the middle the sender
is asked to end, as in each rollout, and is started again; events come before and after that. A few events of another
type come first, with more Webhooks: their deliveries are stored before they are called.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import nats.errors
import nats.js.errors

from crash.parties import CrashReceiver, NatsProcess, SenderProcess, uid_of
from crash.wire import NatsProxy, Passages, Proxy
from doubles import own
from doubles.books import route as any_route
from doubles.local import SECRET, until
from doubles.receiver import Call
from hookline.delivery.policy.event_room import FEW
from hookline.events.envelope import ID_HEADER, Event
from hookline.local import book_folder
from hookline.routing.routes import DispatcherRecord, Keys, Route, RouteState, TypeRecord, book_of
from hookline.stream import names
from hookline.stream.connection import Client, connect
from hookline.stream.publish import Publisher, publish_event

MAX_CONCURRENCY = 4
CALLED = ("steady", "held")
MANY = tuple(f"many-{number}" for number in range(FEW + 1))
"""Webhooks of the other type of events, each with one call at once."""
FIRST_OF_MANY = 1000
"""The number of the first event of that type, which takes long."""
IN_HAND = MAX_CONCURRENCY * len(CALLED) + len(MANY)
"""Calls under way at once."""

REPEATS_AT_MOST = 2 * IN_HAND
"""What a crash of a sender repeats: calls under way, and as many again whose acks had not left the process yet."""


@dataclass(eq=False)
class Parties:
    """Who takes part. `wire` lies between the sender and NATS, `road` between the sender and the receiver."""

    receiver: CrashReceiver
    server: NatsProcess
    wire: NatsProxy
    road: Proxy
    client: Client
    sender: SenderProcess


async def nothing(_: Parties) -> None:
    """No fault but the one that the passages hold."""


@dataclass(frozen=True)
class Plan:
    """One cell. `fault` runs while the events are on their way, and ends by putting everything right again."""

    passages: Passages = field(default_factory=Passages)
    fault: Callable[[Parties], Coroutine[Any, Any, None]] = nothing
    events: int = 32
    of_many: int = 3
    """Events of the other type, besides."""
    schedule_seconds: tuple[int, ...] = (1,)
    timeout_seconds: int = 5
    rollout: bool = True
    senders: int = 1
    """The first of them is the one that the fault is about."""
    call_seconds: float = 0.01
    """How long the receiver takes to answer."""
    slow: int = MAX_CONCURRENCY
    """The first events, whose calls take longer. As many as there are places for keep all others waiting, so that these
    are stored."""


@dataclass(frozen=True)
class Result:
    """The end of one cell. `repeated` are calls that a receiver gets only because of the fault."""

    events: int
    lost: int
    repeated: int
    letters_repeated: int
    altered: int
    """Calls whose body or signature was wrong."""
    exits: Sequence[int]


def body_of(number: int) -> bytes:
    """Bytes that a parser would write otherwise."""
    return f'{{"n": {number},  "name":"Zo\\u00eb Åß", "x" : 1.0}}'.encode()


def status_of(call: Call) -> int:
    """What the receiver answers."""
    number = json.loads(call.body)["n"]
    fails = number in (5, 13, 21, 29) or (number % 8 == 3 and call.headers["hookline-attempt"] == "1")
    return 500 if fails and call.path == "/steady" else 200


def answer(call: Call, *, plan: Plan) -> tuple[int, float]:
    """Status, and how long it takes."""
    number = json.loads(call.body)["n"]
    is_slow = number < plan.slow or number == FIRST_OF_MANY
    return status_of(call), (1.5 if is_slow else plan.call_seconds)


async def run(folder: Path, plan: Plan) -> Result:
    """One cell, from an empty NATS until nothing is left to do."""
    async with (
        CrashReceiver(partial(answer, plan=plan), plan.passages) as receiver,
        Proxy(receiver.port) as road,
        NatsProcess(folder / "nats") as server,
        NatsProxy(server.port, plan.passages) as wire,
        connected(server.url) as client,
    ):
        books = Books(folder / "book", plan, road.port, receiver.ca_pem)
        books.first()
        sender = SenderProcess(folder, books.folder, f"nats://127.0.0.1:{wire.port}")
        plan.passages.kill = sender.kill
        async with sender.running(), _others(folder, books.folder, server.url, plan.senders - 1):
            disturbing = asyncio.create_task(plan.fault(Parties(receiver, server, wire, road, client, sender)))
            many = await publish(client, plan.of_many, first=FIRST_OF_MANY, event_type="order.created")
            events = await publish(client, plan.events // 2)
            if plan.rollout:
                await until(lambda: _steady(receiver.calls) >= MAX_CONCURRENCY, what="the first calls")
                await until_others_wait(client)
                sender.terminate()
            events |= await publish(client, plan.events - plan.events // 2, first=plan.events // 2)
            await until_fanned_out(client)
            books.second()
            await disturbing
            await until_empty(client)
        return _result(events, many, receiver.calls, await buried(client), sender.exits)


def _steady(calls: Sequence[Call]) -> int:
    return sum(call.path == "/steady" for call in calls)


@contextlib.asynccontextmanager
async def _others(folder: Path, book: Path, nats_url: str, count: int) -> AsyncIterator[None]:
    """Senders to which nothing happens, on the same book."""
    async with contextlib.AsyncExitStack() as stack:
        for number in range(count):
            place = folder / f"other-{number}"
            place.mkdir()
            await stack.enter_async_context(SenderProcess(place, book, nats_url).running())
        yield


def _result(
    events: Mapping[str, int],
    many: Mapping[str, int],
    calls: Sequence[Call],
    letters: Sequence[tuple[str, str]],
    exits: Sequence[int],
) -> Result:
    arrived, repeated = _walk(calls)
    ends = {(name, each) for each in events for name in (*CALLED, "deleted")}
    ends |= {(name, each) for each in many for name in MANY}
    numbers = {**events, **many}
    return Result(
        events=len(numbers),
        lost=len(ends - arrived - set(letters)),
        repeated=repeated,
        letters_repeated=len(letters) - len(set(letters)),
        altered=sum(call.body != body_of(numbers[call.event_id]) or not call.verified_by(SECRET) for call in calls),
        exits=tuple(exits),
    )


def _walk(calls: Sequence[Call]) -> tuple[set[tuple[str, str]], int]:
    """What arrived, and how many calls came again: of an attempt that was made, or of what had arrived by then."""
    arrived: set[tuple[str, str]] = set()
    attempts: set[tuple[str, str, str]] = set()
    repeated = 0
    for call in calls:
        delivery = (call.path.removeprefix("/"), call.event_id)
        attempt = (*delivery, call.headers["hookline-attempt"])
        repeated += delivery in arrived or attempt in attempts
        attempts.add(attempt)
        if status_of(call) == 200:
            arrived.add(delivery)
    return arrived, repeated


class Books:
    """The route books before and after the Secret was allowed and the third Webhook deleted."""

    def __init__(self, folder: Path, plan: Plan, port: int, ca_pem: str) -> None:
        self.folder = folder
        self._plan, self._port, self._ca_pem = plan, port, ca_pem

    def first(self) -> None:
        held = (self._hook(name, RouteState.HELD) for name in ("held", "deleted"))
        self._write(self._hook("steady", RouteState.ACTIVE), *held, *self._many())

    def second(self) -> None:
        self._write(*(self._hook(name, RouteState.ACTIVE) for name in CALLED), *self._many())

    def _many(self) -> Iterable[tuple[Route, Keys]]:
        return (self._hook(name, RouteState.ACTIVE, event="order.created", max_concurrency=1) for name in MANY)

    def _write(self, *entries: tuple[Route, Keys]) -> None:
        order = TypeRecord(name="order.created", description="", validation="Warn", schema_={"type": "object"})
        book_folder.write(book_of(entries, DispatcherRecord(allow_cidrs=("127.0.0.0/8",)), [order]), self.folder)

    def _hook(
        self, name: str, state: RouteState, *, event: str = "IdentityCreated", max_concurrency: int = MAX_CONCURRENCY
    ) -> tuple[Route, Keys]:
        uid = uid_of(name)
        route = any_route(
            uid,
            name=name,
            state=state,
            event=event,
            url=f"https://127.0.0.1:{self._port}/{name}",
            timeout_seconds=self._plan.timeout_seconds,
            schedule_seconds=self._plan.schedule_seconds,
            max_concurrency=max_concurrency,
        )
        return route, Keys(uid=uid, signing=SECRET, ca_pem=self._ca_pem)


async def buried(client: Client) -> list[tuple[str, str]]:
    """Webhook and event of each dead letter."""
    js = client.jetstream()
    state = (await js.stream_info(own.DEAD)).state
    sequences = range(state.first_seq, state.last_seq + 1) if state.messages else ()
    found = [await js.get_msg(own.DEAD, seq) for seq in sequences]
    webhooks = {uid_of(name): name for name in (*CALLED, *MANY, "deleted")}
    return [(webhooks[names.uid_of(each.subject or "")], (each.headers or {})[ID_HEADER]) for each in found]


async def publish(client: Client, count: int, *, first: int = 0, event_type: str = "IdentityCreated") -> dict[str, int]:
    """Publish events and wait until each is acknowledged; their numbers by their ids."""
    publisher = Publisher(client)
    now = datetime.now(UTC).isoformat()
    events = {f"evt_{uuid.uuid4().hex}": number for number in range(first, first + count)}

    async def one(event_id: str, number: int) -> None:
        event = Event(event_id, "default", event_type, now, body_of(number))
        await publish_event(publisher, event, patience_seconds=60)

    await asyncio.gather(*(one(*each) for each in events.items()))
    return events


async def until_others_wait(client: Client) -> None:
    """Slow calls are under way, and the sender has others in hand that wait for their place: it stores them."""

    async def done() -> bool:
        info = await client.jetstream().consumer_info(own.EVENTS, own.FANOUT_CONSUMER)
        in_hand = info.num_ack_pending or 0
        # On a machine that is slower than the slow calls all of them may be over.
        return not info.num_pending and (in_hand > MAX_CONCURRENCY or not in_hand)

    await until_true(done, "deliveries that wait for their place")


async def until_fanned_out(client: Client) -> None:
    """Each event has become its deliveries, those that were set aside too."""

    async def done() -> bool:
        info = await client.jetstream().consumer_info(own.EVENTS, own.FANOUT_CONSUMER)
        aside = await client.jetstream().stream_info(names.BACKLOG)
        return not info.num_pending and not info.num_ack_pending and not aside.state.messages

    await until_true(done, "the fan-out")


async def until_empty(client: Client, *, seconds: float = 60) -> None:
    """Nothing is left to be done."""

    async def done() -> bool:
        streams = [await client.jetstream().stream_info(each) for each in (own.DELIVERIES, own.PARKED)]
        return not any(each.state.messages for each in streams)

    await until_fanned_out(client)
    await until_true(done, "an empty queue", seconds=seconds)


async def until_true(done: Callable[[], Awaitable[bool]], what: str, *, seconds: float = 60) -> None:
    """Ask NATS, which may be away, until it is so."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(nats.errors.Error, nats.js.errors.Error):
            if await done():
                return
        assert time.monotonic() < deadline, f"{what} did not come within {seconds:g} s"
        await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[Client]:
    client = await connect(url, name="test")
    try:
        yield client
    finally:
        await client.close()
