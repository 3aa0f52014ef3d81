"""Where events are looked for that are not where they were."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import cast

import pytest
from nats.aio.client import Client

from hookline.runtime.tasks import cancel
from hookline.stream import event_reader
from hookline.stream.connection import StreamUnavailable
from hookline.stream.event_reader import BODIES_BYTES, EventReader, StoredEvent
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


def head(seq: int, stored_ns: int = 7, size_bytes: int = 250_000) -> Taken:
    client = cast(Client, None)
    headers = {"Nats-Msg-Size": str(size_bytes)}
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


class Reads:
    """Each is held up until it is let go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun: list[int] = []
        self.go_on: dict[int, asyncio.Event] = defaultdict(asyncio.Event)
        self.reader = Looks(monkeypatch).reader
        monkeypatch.setattr(self.reader, "find", self.find)

    async def find(self, seq: int, _: int) -> StoredEvent:
        self.begun.append(seq)
        await self.go_on[seq].wait()
        return EVENT

    def ask(self, seq: int, size_bytes: int) -> asyncio.Task[Taken | None]:
        return asyncio.create_task(self.reader.whole(head(seq, size_bytes=size_bytes)))


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize(("size_bytes", "at_once"), [(250_000, 1), (BODIES_BYTES // 2 - 1, 2), (33_000, 7)])
async def test_few_bytes_of_bodies_are_on_their_way_at_once(
    monkeypatch: pytest.MonkeyPatch, size_bytes: int, at_once: int
) -> None:
    reads = Reads(monkeypatch)
    asked = [reads.ask(seq, size_bytes) for seq in range(20)]
    await settled()
    assert len(reads.begun) == at_once
    for seq in range(20):
        reads.go_on[seq].set()
        await settled()
        assert len(reads.begun) <= seq + 1 + at_once
    async with asyncio.timeout(5):
        assert all(await asyncio.gather(*asked))
    assert reads.begun == list(range(20))


async def test_a_body_that_is_larger_than_all_that_may_be_on_its_way_goes_alone_and_in_its_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reads = Reads(monkeypatch)
    asked = [reads.ask(seq, size) for seq, size in enumerate([40_000, 10**15, 40_000])]
    await settled()
    assert reads.begun == [0]
    for seq in range(3):
        reads.go_on[seq].set()
        await settled()
        assert reads.begun == list(range(min(3, seq + 2)))
    async with asyncio.timeout(5):
        assert all(await asyncio.gather(*asked))


async def test_bodies_that_are_waited_for_no_more_keep_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = Reads(monkeypatch)
    asked = [reads.ask(seq, BODIES_BYTES // 2) for seq in range(6)]
    await settled()
    await cancel(asked)
    last = reads.ask(7, BODIES_BYTES)
    await settled()
    assert reads.begun[-1] == 7
    reads.go_on[7].set()
    async with asyncio.timeout(5):
        assert await last
