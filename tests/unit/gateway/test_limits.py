"""How much of the gateway a namespace may use."""

from __future__ import annotations

import pytest

from hookline.gateway import limits
from hookline.gateway.app import MAX_REQUEST_BYTES
from hookline.gateway.limits import Bounds, Limits
from hookline.gateway.problem import Kind, Refused
from hookline.resources.dispatcher import GatewayLimits

SMALL = Bounds(requests=3, body_bytes=100, requests_of_one=2, body_bytes_of_one=60)


def refused(work: object) -> Kind:
    assert callable(work)
    with pytest.raises(Refused) as error:
        work()
    assert error.value.problem.retry_after_seconds
    return error.value.problem.kind


def test_a_namespace_has_so_many_requests_and_takes_none_from_another() -> None:
    all_ = Limits(SMALL)
    first, _ = all_.begin("a", 0), all_.begin("a", 0)
    assert refused(lambda: all_.begin("a", 0)) is Kind.TOO_MANY_REQUESTS
    all_.begin("b", 0)
    assert refused(lambda: all_.begin("c", 0)) is Kind.UNAVAILABLE
    first.end()
    all_.begin("c", 0)


def test_bodies_have_a_bound_in_sum_and_give_it_back() -> None:
    all_ = Limits(SMALL)
    one, other = all_.begin("a", 0), all_.begin("b", 0)
    one.hold(60)
    assert refused(lambda: one.hold(1)) is Kind.TOO_MANY_REQUESTS
    assert refused(lambda: other.hold(41)) is Kind.UNAVAILABLE
    other.hold(40)
    one.end()
    other.end()
    assert all_.body_bytes == all_.requests == 0
    all_.begin("a", 0).hold(60)


def test_a_rate_may_be_overdrawn_by_one_request_and_is_then_waited_for() -> None:
    all_ = Limits(Bounds(events_per_second=10))
    place = all_.begin("a", 0)
    place.spend(30, 0)
    with pytest.raises(Refused) as error:
        all_.begin("a", 0)
    assert error.value.problem.retry_after_seconds == pytest.approx(2)
    assert refused(lambda: all_.begin("a", 1.9)) is Kind.TOO_MANY_REQUESTS
    all_.begin("a", 2.1)
    all_.begin("b", 0)


def test_bytes_have_a_rate_of_their_own_and_idle_time_saves_up_one_second_of_it() -> None:
    all_ = Limits(Bounds(bytes_per_second=1000))
    all_.begin("a", 0)
    all_.begin("a", 1000).spend(1, 1500)
    assert refused(lambda: all_.begin("a", 1000.4)) is Kind.TOO_MANY_REQUESTS
    all_.begin("a", 1000.6)


def test_namespaces_without_end_are_forgotten_but_none_that_is_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_NAMESPACES", 10)
    all_ = Limits(Bounds(requests_of_one=1))
    all_.begin("in-use", 0)
    for number in range(100):
        all_.begin(f"n{number}", 0).end()
    assert len(all_._uses) <= 11
    assert refused(lambda: all_.begin("in-use", 0)) is Kind.TOO_MANY_REQUESTS


def test_a_dispatcher_has_the_limits_of_a_gateway_and_none_by_which_a_right_request_never_comes_in() -> None:
    said, bounds = GatewayLimits(), Bounds()
    assert (said.requests_at_once, said.bytes_at_once) == (bounds.requests_of_one, bounds.body_bytes_of_one)
    assert (said.events_per_second, said.bytes_per_second) == (bounds.events_per_second, bounds.bytes_per_second)
    fields = GatewayLimits.model_json_schema()["properties"]
    assert fields["requestsAtOnce"]["maximum"] == bounds.requests
    assert fields["bytesAtOnce"]["maximum"] == bounds.body_bytes
    assert fields["bytesAtOnce"]["minimum"] >= 2 * MAX_REQUEST_BYTES, "of one that is compressed, both forms count"
