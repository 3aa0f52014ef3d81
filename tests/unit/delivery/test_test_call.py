"""Which Webhooks may be called as a test, how many at once, and what is written down of a call."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, cast

import pytest

from doubles.books import CANARY, route
from hookline.delivery import test_call
from hookline.delivery.http.call import Call
from hookline.delivery.policy.retry import Outcome, Reason
from hookline.delivery.recorder import Noted
from hookline.routing.routes import Book, Keys, Route, RouteState, Shard, book_of
from hookline.runtime.tasks import cancel
from hookline.stream.test_call import NotTested, Question, Serves, Why


class World:
    """A book, and a receiver that answers when it is told to."""

    def __init__(self, *routes: Route, keys: Keys | None = None) -> None:
        self.current: Book | None = book_of((each, keys or Keys(uid=each.uid)) for each in routes)
        self.calls: list[Call] = []
        self.answers = asyncio.Event()
        self.answer = b"ok"
        me = cast(Any, self)
        self.told: list[Noted] = []
        self.tests = test_call.TestCalls("me", me, me, me, on_called=self.told.append)

    async def call(self, call: Call) -> Outcome:
        self.calls.append(call)
        await self.answers.wait()
        return Outcome(Reason.HTTP_STATUS, 500, "answered 500 Internal Server Error", 0.25, answer=self.answer)

    def now_s(self) -> float:
        return 1_700_000_000.5


def asked(uid: str = "u1", **changes: str) -> Question:
    return Question(
        **{"uid": uid, "sender": "me", "id": "test-1", "event_type": "IdentityCreated", **changes}, body="{}"
    )


async def refused(world: World, question: Question) -> str:
    with pytest.raises(NotTested) as caught:
        await world.tests.call(question)
    return caught.value.reason


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, None),
        ({"state": RouteState.HELD, "paused": True}, None),
        ({"state": RouteState.HELD}, Why.HELD),
        ({"state": RouteState.DISABLED}, Why.DISABLED),
        # Whatever another version may write.
        ({"state": RouteState.DISABLED, "paused": True}, Why.DISABLED),
    ],
)
def test_active_and_paused_webhooks_are_called_and_no_others(changes: dict[str, Any], why: Why | None) -> None:
    one = route(**changes)
    found = test_call.refusal(one, book_of([(one, Keys(uid=one.uid))]))
    assert (found and found[0]) == why


def test_one_that_another_version_of_the_sender_must_serve_is_not_called() -> None:
    paused = route(state=RouteState.HELD, paused=True)
    book = Book({0: Shard({"u1": paused}, {"u1": Keys(uid="u1")}, unread={"u1": "it needs wings"})})
    assert test_call.refusal(paused, book) == (Why.HELD, "the Webhook is held: it needs wings")


def test_one_that_is_not_in_the_book_is_left_to_others() -> None:
    world = World(route(timeout_seconds=7))
    assert world.tests.serves(asked("u2")) is None
    assert world.tests.serves(Question(webhook="default/other")) is None
    assert world.tests.serves(Question()) is None
    mine = Serves("me", "u1", "IdentityCreated", 7, socket.gethostname())
    assert (world.tests.serves(asked()), world.tests.serves(Question(webhook="default/hook"))) == (mine, mine)
    world.current = None
    assert world.tests.serves(asked()) is None


async def test_one_that_left_the_book_meanwhile_is_not_called() -> None:
    assert await refused(World(route()), asked("u2")) == Why.NOT_SERVED


async def test_what_no_call_can_be_made_of_is_not_called() -> None:
    world = World(route())
    assert [await refused(world, asked(id="evt-1")), await refused(world, asked(event_type="."))] == [Why.INVALID] * 2
    assert world.calls == []


async def test_a_call_is_marked_and_what_is_written_down_holds_no_secret() -> None:
    keys = Keys(uid="u1", query=CANARY, headers=(("X-Key", CANARY),))
    world = World(route(), keys=keys)
    world.answers.set()
    world.answer = f"you sent {CANARY}".encode()
    record = await world.tests.call(asked())
    (call,) = world.calls
    assert dict(call.headers) | {"webhook-id": "test-1", "hookline-test": "true", "X-Key": CANARY} == dict(call.headers)
    assert call.url == f"https://example.com/?{CANARY}"
    assert (record.test, record.event_id, record.attempt, record.status, record.follows) == (True, "test-1", 1, 500, "")
    assert (record.at_s, record.duration_s, record.reason) == (1_700_000_000.5, 0.25, "HTTPStatus")
    assert record.request_headers["X-Key"] == ""
    assert CANARY not in repr(record)
    assert CANARY.encode() not in record.answer
    assert [(each.route.uid, each.event_id, each.test) for each in world.told] == [("u1", record.event_id, True)]


async def test_no_more_are_under_way_than_there_may_be_and_an_end_makes_room() -> None:
    uids = [f"u{number}" for number in range(test_call.AT_ONCE_OF_TENANT + 1)]
    world = World(*(route(uid, name=uid) for uid in uids), route("v1", namespace="other"))
    calling = [asyncio.create_task(world.tests.call(asked(uid))) for uid in uids[:-1]]
    await asyncio.sleep(0)
    assert await refused(world, asked(uids[0])) == Why.BUSY
    assert await refused(world, asked(uids[-1])) == Why.BUSY
    calling.append(asyncio.create_task(world.tests.call(asked("v1"))))
    await cancel(calling[:1])
    calling.append(asyncio.create_task(world.tests.call(asked(uids[0]))))
    world.answers.set()
    assert all([(await each).test for each in calling[1:]])


async def test_all_tenants_together_have_a_bound_as_well() -> None:
    world = World(*(route(f"u{number}", namespace=f"n{number}") for number in range(test_call.AT_ONCE + 1)))
    calling = [asyncio.create_task(world.tests.call(asked(f"u{number}"))) for number in range(test_call.AT_ONCE)]
    await asyncio.sleep(0)
    assert await refused(world, asked(f"u{test_call.AT_ONCE}")) == Why.BUSY
    await cancel(calling)


def test_a_refusal_says_what_to_do() -> None:
    disabled = route(state=RouteState.DISABLED)
    found = test_call.refusal(disabled, book_of([(disabled, Keys(uid="u1"))]))
    assert found is not None
    assert "paused: true" in found[1]
