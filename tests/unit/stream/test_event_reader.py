"""Where events are looked for that are not where they were."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from nats.aio.client import Client

from hookline.stream import event_reader
from hookline.stream.connection import StreamUnavailable
from hookline.stream.event_reader import BODIES_AT_ONCE, EventReader, StoredEvent
from hookline.stream.layout import Layout, plain
from hookline.stream.pull import Origin, Taken

MOVED = Layout(dict.fromkeys(plain().present, "HOOKLINE_"))
EVENT = StoredEvent("hookline.events.a.B", {}, b"{}", 7)


class Looks:
    """Each is held up until it is let go on, and finds what was true when it began."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun = 0
        self.layout = plain()
        self.go_on = asyncio.Event()
        self.error: Exception | None = None
        monkeypatch.setattr(event_reader, "find", self.find)
        monkeypatch.setattr(EventReader, "read", self.read)
        client = cast(Client, type("Client", (), {"new_inbox": lambda _: "inbox"})())
        self.reader = EventReader(client)

    async def find(self, _: Client) -> Layout:
        self.begun += 1
        layout = self.layout
        await self.go_on.wait()
        if self.error is not None:
            raise self.error
        return layout

    async def read(self, stream: str, seq: int) -> StoredEvent | None:
        return EVENT if stream == "HOOKLINE_EVENTS" else None

    async def ask(self, count: int) -> list[asyncio.Task[StoredEvent | None]]:
        asked = [asyncio.create_task(self.reader.find(1, 7)) for _ in range(count)]
        for _ in range(5):
            await asyncio.sleep(0)
        return asked


async def test_events_that_are_gone_share_one_look_for_other_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks(monkeypatch)
    asked = await looks.ask(50)
    looks.go_on.set()
    assert await asyncio.gather(*asked) == [None] * 50
    assert looks.begun == 1


async def test_a_look_that_began_before_a_move_does_not_speak_for_an_event_that_was_stored_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = Looks(monkeypatch)
    before = await looks.ask(1)
    looks.layout = MOVED
    after = await looks.ask(20)
    looks.go_on.set()
    assert await asyncio.gather(*before, *after) == [None, *[EVENT] * 20]
    assert looks.begun == 2


async def test_a_look_that_fails_takes_no_event_for_gone_and_the_next_one_is_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = Looks(monkeypatch)
    looks.error = StreamUnavailable("away")
    looks.go_on.set()
    failed = await asyncio.gather(*await looks.ask(3), return_exceptions=True)
    assert [type(each) for each in failed] == [StreamUnavailable] * 3
    looks.error, looks.layout = None, MOVED
    assert await looks.reader.find(1, 7) == EVENT


def head(seq: int, stored_ns: int = 7) -> Taken:
    client = cast(Client, None)
    headers = {"Nats-Msg-Size": "250000"}
    return Taken(
        Origin.EVENTS, "large", EVENT.subject, headers, b"", seq, stored_ns, 1, client, "$JS.ACK.x", is_head=True
    )


async def test_an_event_that_came_without_its_body_is_given_it_and_another_one_is_not_taken_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = Looks(monkeypatch)
    looks.layout = MOVED
    looks.go_on.set()
    came = head(1)
    assert came.size_bytes == 250_000
    whole = await looks.reader.whole(came)
    assert whole is not None
    assert (whole.body, whole.size_bytes, whole.seq, whole.is_head) == (EVENT.body, len(EVENT.body), 1, False)
    assert await looks.reader.whole(head(1, stored_ns=8)) is None
    assert await looks.reader.whole(whole) is whole


async def test_few_bodies_are_on_their_way_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looks, now, most = Looks(monkeypatch), 0, 0

    async def find(*_: object) -> StoredEvent:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1
        return EVENT

    monkeypatch.setattr(EventReader, "find", find)
    assert all(await asyncio.gather(*(looks.reader.whole(head(seq)) for seq in range(50))))
    assert most == BODIES_AT_ONCE
