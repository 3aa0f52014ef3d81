"""A Log in memory, with as much in it as a test puts there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from hookline.api.log import Attempt, Dead, Expired, Page, Unreadable, Waiting, Wanted
from hookline.api.shelves import is_wanted
from hookline.stream.attempt_record import AttemptRecord

T = TypeVar("T", Attempt, Waiting, Dead)


def attempt(number: int, namespace: str = "team-a", **changes: object) -> Attempt:
    """The attempt with that place in the log."""
    record = AttemptRecord(
        event_id=f"evt-{number}",
        event_type="IdentityCreated",
        at_s=time.time() - 12,
        attempt=1,
        reason="HTTPStatus",
        status=503,
        detail="the receiver answered 503",
        url="https://receiver.example.com/hooks",
        duration_s=0.041,
        phases_s={"lookup": 0.001, "first_byte": 0.03},
        request_headers={"Content-Type": "application/json"},
        request_bytes=120,
        answer_headers={"Content-Type": "text/plain"},
        answer_bytes=4,
        answer=b"busy",
        follows="Retry",
        next_at_s=time.time() + 292.5,
    )
    of_record = {name: changes.pop(name) for name in list(changes) if hasattr(record, name)}
    made = Attempt(
        name=f"evt-{number}-1.{number}",
        namespace=namespace,
        webhook="identity-created",
        uid="7d8f2d9e-0000-4000-8000-000000000001",
        sender="hookline-sender-0",
        dispatcher="default",
        version=str(number),
        record=replace(record, **of_record),  # type: ignore[arg-type]
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def waiting(number: int, namespace: str = "team-a") -> Waiting:
    now_s = time.time()
    return Waiting(
        name=f"evt-{number}.{number}",
        namespace=namespace,
        webhook="identity-created",
        uid="7d8f2d9e-0000-4000-8000-000000000001",
        dispatcher="default",
        event_id=f"evt-{number}",
        event_type="IdentityCreated",
        state="Scheduled",
        reason="Retry",
        attempt=2,
        stored_s=now_s - 60,
        since_s=now_s - 30,
        next_at_s=now_s + 10,
        body_bytes=120,
    )


def dead(number: int, namespace: str = "team-a") -> Dead:
    return Dead(
        name=f"evt-{number}.{number}",
        namespace=namespace,
        webhook="identity-created",
        uid="7d8f2d9e-0000-4000-8000-000000000001",
        dispatcher="default",
        event_id=f"evt-{number}",
        event_type="IdentityCreated",
        reason="ScheduleSpent",
        detail="the schedule is spent",
        failed_at_s=time.time() - 3600,
        attempt=8,
        outcome="HTTPStatus",
        status=503,
        answer=b"busy",
        body_bytes=120,
        headers={"traceparent": "00-1"},
    )


@dataclass
class PlayedLog:
    """`away` makes everything unreadable, `forgotten` is the last version that is not known any more."""

    tried: list[Attempt] = field(default_factory=list)
    """Oldest first."""
    waits: list[Waiting] = field(default_factory=list)
    letters: list[Dead] = field(default_factory=list)
    away: bool = False
    soon: bool = True
    fails_after: int | None = None
    """Lists fail after so many parts."""
    forgotten: int = 0
    asked: list[tuple[str, Wanted, int, str]] = field(default_factory=list)
    waited_for: list[str] = field(default_factory=list)
    """Versions that lists are not to be older than."""
    never: str = "never"
    """The one that never comes."""
    follows: int = 0
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def add(self, *attempts: Attempt) -> None:
        async with self._news:
            self.tried += attempts
            self._news.notify_all()

    async def attempts(self, namespace: str, wanted: Wanted, *, limit: int, begin: str = "") -> Page[Attempt]:
        return self._page(self.tried[::-1], namespace, wanted, limit, begin)

    async def until_told(self, version: str) -> None:
        self._check()
        self.waited_for.append(version)
        if version == self.never:
            raise Expired

    def check_attempts_of(self, dispatcher: str) -> None:
        self._check()

    async def attempt(self, namespace: str, name: str) -> Attempt | None:
        return self._one(self.tried, namespace, name)

    async def follow_attempts(self, namespace: str, wanted: Wanted, since: str) -> AsyncIterator[Attempt]:
        self._check()
        if not since.isdigit() or int(since) < self.forgotten:
            raise Expired
        self.follows += 1
        told = int(since)
        try:
            while True:
                async with self._news:
                    new = [each for each in self.tried if int(each.version) > told]
                    if not new:
                        await self._news.wait()
                        continue
                for each in new:
                    told = int(each.version)
                    self._check()
                    if namespace in ("", each.namespace) and is_wanted(each, wanted):
                        yield each
        finally:
            self.follows -= 1

    async def deliveries(self, namespace: str, wanted: Wanted, *, limit: int, begin: str = "") -> Page[Waiting]:
        return self._page(self.waits, namespace, wanted, limit, begin)

    async def delivery(self, namespace: str, name: str) -> Waiting | None:
        return self._one(self.waits, namespace, name)

    async def dead_letters(self, namespace: str, wanted: Wanted, *, limit: int, begin: str = "") -> Page[Dead]:
        return self._page(self.letters, namespace, wanted, limit, begin)

    async def dead_letter(self, namespace: str, name: str) -> Dead | None:
        return self._one(self.letters, namespace, name)

    async def drop_dead_letter(self, namespace: str, name: str) -> bool:
        found = self._one(self.letters, namespace, name)
        if found is not None:
            self.letters.remove(found)
        return found is not None

    async def body_of_attempt(self, namespace: str, name: str) -> bytes | None:
        return b'{"Name": "body-canary"}' if self._one(self.tried, namespace, name) else None

    async def body_of_delivery(self, namespace: str, name: str) -> bytes | None:
        return b'{"Name": "body-canary"}' if self._one(self.waits, namespace, name) else None

    async def body_of_dead_letter(self, namespace: str, name: str) -> bytes | None:
        return b'{"Name": "body-canary"}' if self._one(self.letters, namespace, name) else None

    def _check(self) -> None:
        if self.away:
            raise Unreadable("the queue cannot be read now", soon=self.soon)

    def _page(self, entries: Sequence[T], namespace: str, wanted: Wanted, limit: int, begin: str) -> Page[T]:
        self._check()
        self.asked.append((namespace, wanted, limit, begin))
        if self.fails_after is not None and len(self.asked) > self.fails_after:
            raise Unreadable("the queue cannot be read now")
        version = self.tried[-1].version if self.tried else "1"
        start = next((number for number, each in enumerate(entries) if each.name == begin), None) if begin else 0
        if start is None:
            raise Expired
        page: list[T] = []
        for each in entries[start:]:
            if namespace in ("", each.namespace) and is_wanted(each, wanted):
                if len(page) == limit:
                    return Page(page, each.name, version)
                page.append(each)
        return Page(page, "", version)

    def _one(self, entries: Sequence[T], namespace: str, name: str) -> T | None:
        self._check()
        return next((each for each in entries if (each.namespace, each.name) == (namespace, name)), None)
