"""What component tests share: a route book for local receivers, a sender over it, events to publish."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from nats.js.errors import NotFoundError

from doubles import own
from doubles.waiting import until_it_is
from hookline.delivery.messages import DeadLetter, Delivery, read_dead_letter
from hookline.delivery.process import SenderProcess
from hookline.delivery.sender import Attempt
from hookline.events.builtin_events import event_named, sample_of, to_text
from hookline.events.context import NO_CONTEXT
from hookline.events.envelope import Event
from hookline.local import book_folder
from hookline.local.receiver import Answer, ReceivedCall, Receiver
from hookline.routing.routes import DispatcherRecord, Keys, Route, RouteState, book_of
from hookline.runtime.tasks import cancel
from hookline.stream import names
from hookline.stream.attempt_record import AttemptRecord, decode
from hookline.stream.connection import Client
from hookline.stream.owner import NOBODY, Installation
from hookline.stream.publish import Publisher, publish_event

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="
SAMPLE = to_text(sample_of(event_named("IdentityCreated"))).encode()
"""What `hookline events sample IdentityCreated` prints."""

_event_seqs = itertools.count(1)


async def until(condition: Callable[[], bool], *, seconds: float = 30, what: str = "it") -> None:
    """Wait for a condition, bounded."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        await asyncio.sleep(0.02)


def receiver_of(calls: list[ReceivedCall], *answers: Answer, delay_seconds: float = 0) -> Receiver:
    """A receiver that notes its calls."""
    return Receiver(secret=SECRET, on_call=calls.append, answers=answers or (Answer(200),), delay_seconds=delay_seconds)


def hook(name: str, receiver: Receiver, *, event: str = "IdentityCreated", **changes: object) -> tuple[Route, Keys]:
    """A signed Webhook that calls `receiver`."""
    uid = str(uuid.uuid5(uuid.NAMESPACE_URL, name))
    fields = {
        "uid": uid,
        "namespace": "default",
        "name": name,
        "generation": 1,
        "state": RouteState.ACTIVE,
        "event": event,
        "url": f"{receiver.url}/{name}",
        "timeout_seconds": 5,
        "schedule_seconds": (1, 1),
        "max_concurrency": 10,
    }
    return Route.model_validate({**fields, **changes}), Keys(uid=uid, signing=SECRET, ca_pem=receiver.ca_pem)


def write_book(
    folder: Path, *entries: tuple[Route, Keys], parked_seconds: int = 604_800, prefix: str | None = None
) -> None:
    dispatcher = DispatcherRecord(allow_cidrs=("127.0.0.0/8",), parked_seconds=parked_seconds, stream_prefix=prefix)
    book_folder.write(book_of(entries, dispatcher), folder)


@dataclass
class Running:
    """A sender that runs. `attempts` grows with each call."""

    pod: SenderProcess
    attempts: list[Attempt]
    stop: asyncio.Event
    task: asyncio.Task[None]

    async def end(self) -> None:
        self.stop.set()
        await self.task


@contextlib.asynccontextmanager
async def sender(
    folder: Path,
    nats_url: str,
    *,
    grace_seconds: float = 5,
    gone_seconds: float = 60,
    probe_seconds: float = 0.5,
    patient: bool = False,
    installation: Installation = NOBODY,
    credentials: Path | None = None,
) -> AsyncIterator[Running]:
    attempts: list[Attempt] = []
    stop = asyncio.Event()
    pod = SenderProcess(
        folder,
        nats_url,
        credentials=credentials,
        on_attempt=attempts.append,
        grace_seconds=grace_seconds,
        gone_seconds=gone_seconds,
        probe_seconds=probe_seconds,
        patient=patient,
        installation=installation,
    )
    running = Running(pod, attempts, stop, asyncio.create_task(pod.run(stop)))
    await until(lambda: pod.ready.is_set() or running.task.done(), what="readiness")
    try:
        yield running
    finally:
        await running.end()


@dataclass
class OneWebhook:
    """A Webhook and what was called for it. `calls` grows."""

    route: Route
    calls: list[ReceivedCall]
    running: Running


@contextlib.asynccontextmanager
async def one_webhook(
    folder: Path,
    nats_url: str,
    *answers: Answer,
    parked_seconds: int = 604_800,
    installation: Installation = NOBODY,
) -> AsyncIterator[OneWebhook]:
    """A receiver, a Webhook that calls it, and a sender whose book holds no other."""
    calls: list[ReceivedCall] = []
    async with receiver_of(calls, *answers) as receiver:
        route, keys = hook("one", receiver)
        write_book(folder / "book", (route, keys), parked_seconds=parked_seconds)
        async with sender(folder / "book", nats_url, installation=installation) as running:
            yield OneWebhook(route, calls, running)


async def publish(
    client: Client,
    count: int = 1,
    *,
    event: str = "IdentityCreated",
    tenant: str = "default",
    body: bytes = b"{}",
    event_id: str = "",
    context: Mapping[str, str] = NO_CONTEXT,
) -> list[str]:
    """Publish events; their ids."""
    publisher = Publisher(client)
    now = datetime.now(UTC).isoformat()
    ids = [event_id or f"evt_{uuid.uuid4().hex}" for _ in range(count)]

    async def one(event_id: str) -> None:
        await publish_event(publisher, Event(event_id, tenant, event, now, body, context), patience_seconds=30)

    for start in range(0, count, 200):
        await asyncio.gather(*(one(each) for each in ids[start : start + 200]))
    return ids


@contextlib.asynccontextmanager
async def all_the_while(work: Callable[[], Awaitable[object]], *, every_seconds: float) -> AsyncIterator[None]:
    """Do something again and again."""

    async def for_ever() -> None:
        while True:
            await work()
            await asyncio.sleep(every_seconds)

    task = asyncio.create_task(for_ever())
    try:
        yield
    finally:
        await cancel([task])


async def deliver(client: Client, uid: str, count: int = 1, *, parked: bool = False) -> list[str]:
    """Store deliveries as a fan-out that knows the Webhook does; the ids of their events."""
    publisher = Publisher(client)
    now = datetime.now(UTC).isoformat()
    subject = names.parked_subject(uid) if parked else names.delivery_subject(uid)

    async def one() -> str:
        event = Event(f"evt_{uuid.uuid4().hex}", "default", "IdentityCreated", now, b"{}")
        delivery = Delivery(uid, event, next(_event_seqs))
        await publisher.store(subject, b"{}", delivery.headers(), once=event.id)
        return event.id

    return list(await asyncio.gather(*(one() for _ in range(count))))


async def count(client: Client, stream: str) -> int:
    info = await client.jetstream().stream_info(stream)
    return info.state.messages


async def until_stored(client: Client, stream: str, wanted: int, *, seconds: float = 20) -> None:
    """Wait until a stream holds this many messages."""
    await until_it_is(
        lambda: _count_if_there(client, stream),
        lambda there: there == wanted,
        seconds=seconds,
        what=lambda: f"the number of messages in {stream}",
    )


async def _count_if_there(client: Client, stream: str) -> int | None:
    try:
        return await count(client, stream)
    except NotFoundError:
        # A sender that only just started has not made it yet.
        return None


async def logged_messages(client: Client) -> list[tuple[str, dict[str, str], bytes]]:
    """What the attempts log holds: subjects, headers and bodies."""
    js = client.jetstream()
    try:
        state = (await js.stream_info(names.ATTEMPTS)).state
    except NotFoundError:
        return []
    places = range(max(1, state.first_seq), state.last_seq + 1)
    messages = [await js.get_msg(names.ATTEMPTS, seq) for seq in places]
    return [(each.subject or "", each.headers or {}, each.data or b"") for each in messages]


async def logged_calls(client: Client) -> list[AttemptRecord]:
    """The attempts that the log holds, oldest first."""
    messages = await logged_messages(client)
    return [record for subject, _, body in messages if "_unheard" not in subject for record in decode(body)]


async def dead_letters(client: Client) -> list[DeadLetter]:
    js = client.jetstream()
    info = await js.stream_info(own.DEAD)
    sequences: Sequence[int] = range(info.state.first_seq, info.state.last_seq + 1)
    messages = [await js.get_msg(own.DEAD, seq) for seq in sequences]
    return [read_dead_letter(each.subject or "", each.headers or {}, each.data or b"") for each in messages]
