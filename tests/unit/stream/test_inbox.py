"""Questions that a lost connection took with it, where no server is."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import nats.errors
import pytest
from nats.aio.client import Client

from hookline.stream import inbox
from hookline.stream.connection import Denied, Heard
from hookline.stream.inbox import AT_ONCE, Answer, Inbox

NOBODY = {"Status": "503"}


class Server:
    """Takes questions, and says nothing by itself."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, answer_seconds: float = 10) -> None:
        self.asked: list[str] = []
        """Subjects, as they came."""
        self.error: Exception | None = None
        self.takes = asyncio.Event()
        """Whether there is room to send."""
        self.takes.set()
        self._replies: dict[str, str] = {}
        self._back: list[Callable[[], None]] = []
        self._denied: list[Callable[[str], None]] = []
        monkeypatch.setattr(inbox, "when_back", lambda _, do: self._back.append(do))
        monkeypatch.setattr(inbox, "when_denied", lambda _, do: self._denied.append(do))
        monkeypatch.setattr(inbox, "listen", self._listen)
        monkeypatch.setattr(inbox, "AGAIN_SECONDS", 0.01)
        self.inbox = Inbox(cast(Client, self), answer_seconds)

    def new_inbox(self) -> str:
        return "inbox"

    async def _listen(self, _: Client, __: str, listener: Callable[[Heard], None]) -> None:
        self._listener = listener

    async def publish(self, subject: str, _: bytes, *, reply: str, **__: Any) -> None:
        if self.error is not None:
            raise self.error
        self.asked.append(subject)
        await self.takes.wait()
        self._replies[subject] = reply

    async def ask(self, *subjects: str, again: bool = True) -> list[asyncio.Task[Answer]]:
        asked = [asyncio.create_task(self.inbox.ask(each, b"", again=again)) for each in subjects]
        await until(lambda: set(subjects) <= set(self.asked))
        return asked

    def answer(self, subject: str, **headers: str) -> None:
        self._listener(Heard(self._replies[subject], "", headers, b""))

    def deny(self, subject: str) -> None:
        for each in self._denied:
            each(subject)

    def come_back(self) -> None:
        """The connection is made anew."""
        for each in self._back:
            each()


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it did not happen")


async def turns() -> None:
    """What is due has been done."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_may_be_asked_twice_is_asked_again_over_the_next_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(monkeypatch)
    (asked,) = await server.ask("a")
    server.come_back()
    await until(lambda: server.asked[:2] == ["a", "a"])
    server.answer("a")
    assert (await asked).asked_again


async def test_what_is_not_permitted_is_not_waited_for_and_everything_else_is(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(monkeypatch)
    asked, other = await server.ask("hookline.events.a.B", "hookline.events.a.C")
    server.deny("hookline.events.a.b")
    with pytest.raises(Denied):
        await asked
    server.answer("hookline.events.a.C")
    await other


async def test_what_may_not_be_asked_twice_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(monkeypatch)
    (asked,) = await server.ask("a", again=False)
    server.come_back()
    await turns()
    assert server.asked == ["a"]
    server.answer("a", **NOBODY)
    assert await asked == Answer(Heard("inbox.0", "", NOBODY, b""), asked_again=False)


async def test_no_more_than_a_few_are_asked_again_before_the_first_are_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = Server(monkeypatch)
    subjects = [str(number) for number in range(AT_ONCE + 2)]
    asked = await server.ask(*subjects)

    def twice() -> list[str]:
        return [each for each, times in Counter(server.asked).items() if times > 1]

    monkeypatch.setattr(inbox, "AGAIN_SECONDS", 10)
    server.come_back()
    await turns()
    assert twice() == subjects[:AT_ONCE]
    server.answer("5")
    await turns()
    assert twice() == subjects[: AT_ONCE + 1]
    for each in subjects:
        if each != "5":
            server.answer(each)
    await asyncio.gather(*asked)


async def test_the_word_that_nobody_hears_it_yet_is_no_answer_to_what_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = Server(monkeypatch)
    (asked,) = await server.ask("a")
    server.come_back()
    await until(lambda: len(server.asked) == 2)
    server.answer("a", **NOBODY)
    await until(lambda: len(server.asked) > 2)
    server.answer("a", stored="yes")
    assert (await asked).message.headers == {"stored": "yes"}


async def test_to_be_asked_again_gives_no_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(monkeypatch, answer_seconds=0.1)
    (asked,) = await server.ask("a")
    for _ in range(200):
        server.come_back()
        await asyncio.sleep(0.01)
        if asked.done():
            break
    assert asked.done()
    with pytest.raises(TimeoutError):
        await asked
    asked_by_then = len(server.asked)
    server.come_back()
    await turns()
    assert len(server.asked) == asked_by_then


async def test_what_nobody_waits_for_any_more_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(monkeypatch)
    waits, asked = await server.ask("waits", "asked")
    server.takes.clear()
    (sends,) = await server.ask("sends")
    server.come_back()
    waits.cancel()
    sends.cancel()
    server.takes.set()
    await until(lambda: server.asked.count("asked") > 3)
    server.answer("asked")
    await asked
    assert server.asked.count("waits") == server.asked.count("sends") == 1


async def test_a_connection_that_is_lost_while_it_asks_again_leaves_that_to_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = Server(monkeypatch)
    (asked,) = await server.ask("a")
    server.error = nats.errors.OutboundBufferLimitError()
    server.come_back()
    await turns()
    server.error = None
    server.come_back()
    await until(lambda: len(server.asked) > 1)
    server.answer("a")
    assert (await asked).asked_again
