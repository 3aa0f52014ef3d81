"""What tests of Replays share: a queue over one connection, Webhooks and an attempts log that say what they are told,
and dead letters. Run as a program, it executes the Replays of a file until it is killed."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from doubles import own
from hookline.api.log import Attempt, Log, Page, Unreadable, Wanted
from hookline.api.replay import plan
from hookline.api.replay.executor import Executor
from hookline.api.replay.kept import KeptReplays
from hookline.api.replay.plan import WebhookSeen
from hookline.api.replay.replays import Runner
from hookline.delivery import messages
from hookline.delivery.messages import Delivery
from hookline.events.envelope import Event
from hookline.resources.reasons import ReplayReason
from hookline.resources.replay import Replay, ReplayStatus
from hookline.stream.attempt_record import AttemptRecord
from hookline.stream.connection import Client, connect
from hookline.stream.layout import Layout
from hookline.stream.publish import Publisher
from hookline.stream.stored import read_from
from hookline.stream.streams import find

TIME = "2026-11-24T00:00:00.000Z"


@dataclass
class OneQueue:
    """The queue of the Dispatcher `default`."""

    client: Client
    layout: Layout
    publisher: Publisher = field(init=False)

    def __post_init__(self) -> None:
        self.publisher = Publisher(self.client)

    @classmethod
    async def over(cls, client: Client) -> OneQueue:
        return cls(client, await find(client))


@dataclass
class SomeWebhooks:
    there: list[WebhookSeen]

    async def of(self, namespace: str, names: Collection[str] = ()) -> Sequence[WebhookSeen]:
        return list(self.there)


@dataclass
class SomeAttempts:
    """A log that knows successful attempts of these events."""

    delivered: set[str] = field(default_factory=set)
    uid: str = ""
    problems: int = 0
    """So many questions are not answered at first."""
    away_at: int = 0
    """The log of its Dispatcher is away when this is asked for so often, as lists do not say; 0: never."""
    back_with: set[str] = field(default_factory=set)
    """What is known to be delivered once it is back."""

    async def attempts(self, namespace: str, wanted: Wanted, *, limit: int, begin: str = "") -> Page[Attempt]:
        if self.problems:
            self.problems -= 1
            raise Unreadable("the log is being read")
        reason = "Delivered" if wanted.event_id in self.delivered else "HTTPStatus"
        record = AttemptRecord(wanted.event_id, "IdentityCreated", 1.0, 1, reason)
        return Page([Attempt("a", namespace, wanted.webhook, self.uid, "s", "default", "1", record)], "", "1")

    def check_attempts_of(self, dispatcher: str) -> None:
        self.away_at -= 1
        if self.away_at == 0:
            self.delivered |= self.back_with
            raise Unreadable(f"the log of {dispatcher} is away")

    @property
    def log(self) -> Log:
        return cast(Log, self)


def webhook_of(name: str, uid: str, *, event: str = "IdentityCreated", enabled: bool = True) -> WebhookSeen:
    return WebhookSeen(name, uid, event, "default", enabled)


def executor_of(queue: OneQueue, webhooks: Iterable[WebhookSeen], attempts: SomeAttempts | None = None) -> Executor:
    return Executor(lambda: {"default": queue.client}, SomeWebhooks(list(webhooks)), (attempts or SomeAttempts()).log)


def replay_of(**spec: Any) -> dict[str, Any]:
    asked = {"webhook": {"name": "one"}, "ratePerSecond": 1000, **spec}
    return {"apiVersion": "hookline.dev/v1alpha1", "kind": "Replay", "metadata": {"name": "outage"}, "spec": asked}


def read_replay(manifest: Mapping[str, Any]) -> Replay:
    return Replay.model_validate(manifest)


async def give_up(
    client: Client, uid: str, ids: Iterable[str], *, tenant: str = "default", body: bytes = b"{}"
) -> None:
    """Store dead letters of a Webhook as a sender does."""
    publisher = Publisher(client)

    async def one(number: int, event_id: str) -> None:
        delivery = Delivery(uid, Event(event_id, tenant, "IdentityCreated", TIME, body), number, 3, 1_700_000_000)
        letter = messages.dead_letter(delivery, "ScheduleSpent", route=None, keys=None, outcome=None, failed_at=TIME)
        await publisher.store(letter.subject, letter.body, letter.headers, once=letter.once)

    numbered = list(enumerate(ids, start=1))
    for start in range(0, len(numbered), 200):
        await asyncio.gather(*(one(*each) for each in numbered[start : start + 200]))


class Written:
    """What was written down of one Replay."""

    def __init__(self, replay: Replay) -> None:
        self.replay = replay
        self.said: list[tuple[ReplayReason, str]] = []

    @property
    def status(self) -> ReplayStatus:
        return self.replay.status

    @property
    def counts(self) -> tuple[int, int, int, int]:
        return self.status.found, self.status.replayed, self.status.skipped, self.status.failed

    async def write(self, status: ReplayStatus, reason: ReplayReason, message: str) -> None:
        self.replay = self.replay.model_copy(update={"status": status})
        self.said.append((reason, message))


async def replayed(executor: Executor, **spec: Any) -> Written:
    written = Written(read_replay(replay_of(**spec)))
    await executor.run(written.replay, written.write)
    return written


async def deliveries(client: Client) -> list[Delivery]:
    found: list[Delivery] = []
    seq = 1
    while batch := await read_from(client, own.DELIVERIES, "hookline.deliveries.*.*", seq):
        found += [messages.read(each.subject, each.headers, each.body) for each in batch]
        seq = batch[-1].seq + 1
    return found


def ids_of(found: list[Delivery]) -> list[str]:
    return [each.event.id for each in found]


async def execute(nats_url: str, file: Path, uid: str) -> None:
    """Execute the Replays of a file for the Webhook `one`, for ever. Nobody takes its deliveries."""
    plan.LEAST_WAITING = 100_000
    client = await connect(nats_url, name="replays")
    replays = KeptReplays(file, now_s=time.time)
    executor = executor_of(await OneQueue.over(client), [webhook_of("one", uid)])
    await Runner(replays, executor).run()


async def first(several: AsyncIterator[Any]) -> Any:
    async for each in several:
        return each
    raise AssertionError


if __name__ == "__main__":
    asyncio.run(execute(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
