"""What is told of endpoints and dead letters, how often, and that it cannot loop."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubles.books import route
from hookline.delivery.policy import notices as policy
from hookline.delivery.policy.endpoint_state import Kind, State, backlogged
from hookline.delivery.policy.notices import DeadLetters, Notice, TenantBound, may_tell, of_turn
from hookline.delivery.policy.retry import Outcome, Reason
from hookline.events import notices
from hookline.events.schemas import Catalogue
from hookline.routing.routes import Route

NOW_S = 1_700_000_000.0
ROUTE = route()
FAILING = State(generation=1, kind=Kind.FAILING, reason="HTTPStatus", status=503, since_s=1_699_999_000)
GONE = State(generation=1, kind=Kind.GONE, reason="Gone", status=410, since_s=1_699_999_000)
SLOW = backlogged(ROUTE, "Slow", NOW_S)
PROBED = FAILING.model_copy(update={"probes": 4})
OUTCOME = Outcome(Reason.HTTP_STATUS, 503, "answered 503", 0.1, answer=b"secret")

CATALOGUE = Catalogue()


def told(notice: Notice | None) -> str:
    """Which type it is. What is told is as its schema says."""
    if notice is None:
        return ""
    assert CATALOGUE.check(notice.type, notices.body_of(notice.facts)) == ()
    assert notice.tenant == "default"
    return notice.type


@pytest.mark.parametrize(
    ("before", "after", "type_"),
    [
        (None, FAILING, notices.ENDPOINT_FAILING),
        (SLOW, FAILING, notices.ENDPOINT_FAILING),
        (None, GONE, notices.ENDPOINT_GONE),
        (FAILING, GONE, notices.ENDPOINT_GONE),
        (PROBED, backlogged(ROUTE, "Recovered", NOW_S), notices.ENDPOINT_RECOVERED),
        (FAILING, None, notices.ENDPOINT_RECOVERED),
        (GONE, None, notices.ENDPOINT_RECOVERED),
        # A probe that failed, and what is only slow.
        (FAILING, PROBED, ""),
        (None, SLOW, ""),
        (SLOW, None, ""),
        (None, None, ""),
    ],
)
def test_turns_for_the_worse_and_the_better_are_told(before: State | None, after: State | None, type_: str) -> None:
    assert told(of_turn(ROUTE, before, after, NOW_S)) == type_


def test_what_is_told_says_which_webhook_since_when_and_why() -> None:
    failing = of_turn(ROUTE, None, FAILING, NOW_S)
    assert failing is not None
    assert dict(failing.facts) == {
        "time": "2023-11-14T22:13:20.000Z",
        "webhook": {"namespace": "default", "name": "hook", "uid": "u1", "event": "IdentityCreated"},
        "state": "Failing",
        "since": "2023-11-14T21:56:40.000Z",
        "reason": "HTTPStatus",
        "status": 503,
    }
    recovered = of_turn(ROUTE, PROBED, SLOW, NOW_S)
    assert recovered is not None
    assert {name: recovered.facts[name] for name in ("was", "reason", "probes")} == {
        "was": "Failing", "reason": "Delivered", "probes": 4,
    }  # fmt: skip


def test_the_same_turn_has_the_same_key_and_another_one_another() -> None:
    turns = [(None, FAILING), (None, GONE), (FAILING, SLOW), (None, FAILING.model_copy(update={"since_s": 5}))]
    keys = [[of_turn(ROUTE, *turn, now_s) for turn in turns] for now_s in (NOW_S, NOW_S + 1)]
    first, second = ([each.key for each in row if each is not None] for row in keys)
    assert (first, len(set(first))) == (second, len(turns))


HEARS_NOTICES = [route(event=each.name) for each in notices.NOTICES]


@pytest.mark.parametrize("listener", [*HEARS_NOTICES, route(event=None)], ids=lambda each: each.event or "nothing")
def test_nothing_is_told_of_a_webhook_that_hears_notices(listener: Route) -> None:
    turns = [(None, FAILING), (None, GONE), (FAILING, SLOW), (FAILING, None)]
    assert [of_turn(listener, *turn, NOW_S) for turn in turns] == [None] * 4
    assert not may_tell(listener)


@given(st.sampled_from([ROUTE, *HEARS_NOTICES]), st.sampled_from([None, FAILING, GONE, SLOW]))
def test_whatever_becomes_of_a_notice_no_notice_follows_from_it(listener: Route, after: State | None) -> None:
    """It is delivered to Webhooks that hear its type, and of those nothing is told."""
    notice = of_turn(listener, None, after, NOW_S)
    if notice is not None:
        assert not may_tell(route(event=notice.type))


def die(dead: DeadLetters, of: Iterable[Route], now_s: float, **changes: object) -> list[bool]:
    facts = {"event_id": "evt_1", "attempts": 3, "outcome": OUTCOME, **changes}
    return [dead.died(each, "ScheduleSpent", now_s, **facts) for each in of]  # type: ignore[arg-type]


def test_many_dead_letters_of_a_webhook_are_one_notice_a_minute_with_their_number() -> None:
    dead = DeadLetters()
    assert dead.next_s() is None
    die(dead, [ROUTE] * 1000, NOW_S)
    dead.died(ROUTE, "Gone", NOW_S + 1, event_id="evt_9", attempts=0, outcome=None)
    assert dead.take(NOW_S + 4) == []
    due_s = dead.next_s()
    assert due_s is not None
    (first,) = dead.take(due_s)
    assert told(first) == notices.DELIVERY_DEAD
    assert (first.facts["count"], first.facts["reasons"]) == (1001, {"ScheduleSpent": 1000, "Gone": 1})
    assert first.facts["last"] == {"eventId": "evt_9", "attempts": 0, "reason": "", "status": None}
    die(dead, [ROUTE], due_s + 1)
    assert dead.next_s() == due_s + policy.APART_SECONDS
    (second,) = dead.take(due_s + policy.APART_SECONDS)
    assert second.key != first.key
    assert dead.next_s() is None
    die(dead, [ROUTE], due_s + 1000)
    assert dead.next_s() == due_s + 1000 + policy.COLLECT_SECONDS


def test_what_is_not_due_is_told_at_the_end() -> None:
    dead = DeadLetters()
    die(dead, [ROUTE, route("u2")], NOW_S)
    assert [each.facts["webhook"]["uid"] for each in dead.take(NOW_S, all_=True)] == ["u1", "u2"]


def test_no_more_webhooks_are_kept_than_there_is_room_for() -> None:
    dead = DeadLetters()
    routes = [route(f"u{number}") for number in range(policy.MAX_WEBHOOKS + 1)]
    assert die(dead, routes, NOW_S) == [True] * policy.MAX_WEBHOOKS + [False]
    assert die(dead, routes[:1], NOW_S) == [True]


def test_nothing_that_a_receiver_answered_is_told() -> None:
    dead = DeadLetters()
    die(dead, [ROUTE], NOW_S, outcome=replace(OUTCOME, detail="token=secret"))
    (notice,) = dead.take(NOW_S, all_=True)
    assert "secret" not in json.dumps(dict(notice.facts))


def test_a_tenant_has_a_bound_and_takes_nothing_from_others() -> None:
    bound = TenantBound()
    assert [bound.lets("a", NOW_S) for _ in range(policy.OF_TENANT + 1)] == [True] * policy.OF_TENANT + [False]
    assert bound.lets("b", NOW_S)
    assert not bound.lets("a", NOW_S + policy.OF_TENANT_SECONDS - 1)
    assert bound.lets("a", NOW_S + policy.OF_TENANT_SECONDS)
