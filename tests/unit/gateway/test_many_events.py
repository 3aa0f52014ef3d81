"""Many events in one request: what becomes of it when the queue is slow, and of others meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import httpx
import pytest

from hookline.events.builtin_events import event_named, sample_of
from hookline.events.schemas import Catalogue
from hookline.gateway import app, intake
from hookline.gateway.app import Pages
from hookline.gateway.callers import OneToken
from hookline.gateway.intake import Intake
from hookline.gateway.limits import Limits
from hookline.gateway.repeats import Repeats
from hookline.stream.admission import Admission, Admitted

SAMPLE = sample_of(event_named("IdentityCreated"))
LINE = json.dumps(SAMPLE).encode()


class Queue(Admission):
    """Stores so many events, and says nothing of those behind them."""

    def __init__(self, stores: int = 0) -> None:
        self.catalogue = Catalogue()
        self.asked = 0
        self._stores = stores

    async def store(self, *_: Any, **__: Any) -> Admitted:
        self.asked += 1
        if self.asked > self._stores:
            await asyncio.Event().wait()
        return Admitted("")

    def unconfirmed(self) -> None:
        pass


@pytest.fixture(autouse=True)
def little_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "STORE_SECONDS", 0.05)


async def send(queue: Queue, lines: list[bytes]) -> httpx.Response:
    taking = Intake(queue, Repeats())
    callers = OneToken("token", namespace="default", name="test")
    pages = Pages(lambda: taking, lambda: queue.catalogue, callers, Limits())
    transport = httpx.ASGITransport(pages.app())
    headers = {"Authorization": "Bearer token", "Content-Type": "application/x-ndjson"}
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway", headers=headers) as client:
        return await client.post("/v1/events/IdentityCreated", content=b"\n".join(lines))


async def test_a_queue_that_says_nothing_is_waited_for_once_and_not_for_each_of_many() -> None:
    queue = Queue(stores=10)
    answer = await send(queue, [LINE] * 1000)
    said = answer.json()
    assert (answer.status_code, said["stored"], said["refused"]) == (503, 10, 990)
    assert answer.headers["Retry-After"] == "2"
    assert Counter(each["status"] for each in said["events"]) == {202: 10, 503: 990}
    unsure = [each for each in said["events"] if "id" in each.get("problem", {})]
    assert len(unsure) == queue.asked - 10 <= app._AT_ONCE, "all others were not begun"


async def test_no_event_is_begun_when_its_request_has_taken_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "_BEGIN_SECONDS", -1.0)
    queue = Queue(stores=10)
    assert [each["status"] for each in (await send(queue, [LINE] * 3)).json()["events"]] == [503] * 3
    assert queue.asked == 0


async def test_other_requests_have_their_turn_between_the_events_of_one() -> None:
    turns = 0

    async def another() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(another())
    assert (await send(Queue(), [b"{}"] * 200)).status_code == 422
    other.cancel()
    assert turns >= 200


async def test_blank_lines_are_no_events_and_have_a_bound_of_their_own() -> None:
    assert (await send(Queue(stores=1), [b""] * 1500 + [LINE])).json()["stored"] == 1
    assert (await send(Queue(), [b""] * 3000)).status_code == 413


async def test_a_name_out_of_a_body_is_told_in_a_way_that_no_terminal_obeys() -> None:
    line = json.dumps({**SAMPLE, "\x9b31m": 1}, ensure_ascii=False).encode()
    answer = await send(Queue(), [line])
    assert answer.json()["events"][0]["problem"]["errors"][0]["pointer"] == "/\x9b31m"
    assert answer.content.isascii()
