from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

from benchmarks.fairness import CASES, FEW, Case, figures, remarks
from benchmarks.load import Steady
from benchmarks.receiver import Receiver

RECEIVER = cast("Receiver", SimpleNamespace(url=lambda path: f"https://127.0.0.1:1/{path}", ca="a CA"))


def at(ms: float, *, p50_ms: float = 5, missing: int = 0, confirmed_seconds: Sequence[float] = (0.001,)) -> Steady:
    """A round with that p99."""
    return Steady(
        [p50_ms / 1000] * 90 + [ms / 1000] * 10, list(confirmed_seconds), [0.002], ms / 100, missing, 0.1, 0.1, 0.5
    )


def arms(**changes: list[Steady]) -> dict[str, list[Steady]]:
    """Three rounds in which nobody feels anything."""
    return {name: [at(10)] * 3 for name in ("without", *(case.key for case in CASES))} | changes


def test_a_p99_within_the_bound_is_fair_and_one_beyond_it_is_missed() -> None:
    found = figures(FEW, arms(fast=[at(15, p50_ms=10)] * 3, large=[at(16)] * 3))
    assert [each.key for each in found if each.missed] == ["i.few.large"]
    values = {each.key: each.value for each in found}
    assert (values["i.few.fast"], values["i.few.fast.p50"]) == (1.5, 2)


def test_each_p99_is_told_in_its_two_parts_and_with_the_longest_of_all() -> None:
    found = {each.key: each.value for each in figures(1000, arms(hang=[at(20), at(30), at(20)]))}
    parts = [found[f"i.many.hang.{name}"] for name in ("confirmed", "sent", "longest")]
    assert parts == [1, 2, 0.3]


def test_a_control_has_no_target_and_is_what_sharing_is_compared_with() -> None:
    found = {each.key: each for each in figures(FEW, arms(fast=[at(60)] * 3, **{"fast.apart": [at(30)] * 3}))}
    assert (found["i.few.fast.apart"].value, found["i.few.fast.shared"].value) == (3, 2)
    assert not found["i.few.fast.apart"].missed
    assert "i.few.large.apart" not in found


def test_one_round_of_the_former_engine_is_compared_with_its_own_without() -> None:
    before = {"before.without": [at(20)], "before": [at(2000)]}
    found = {each.key: each for each in figures(FEW, arms(**before))}
    assert found["i.few.fast.before"].value == 100
    assert not found["i.few.fast.before"].missed


def test_of_a_queue_that_confirmed_nothing_there_is_no_end() -> None:
    found = {each.key: each.value for each in figures(FEW, arms(large=[at(9000, confirmed_seconds=[])] * 3))}
    assert found["i.few.large.confirmed"] == float("inf")


def test_what_did_not_come_in_time_is_said_by_case() -> None:
    said = remarks(1000, arms(backlog=[at(10), at(3000, missing=1200), at(10)]))
    assert said == ["i: 1,000 tenants, backlog: 1,200 events of the others did not come in time."]


def test_the_webhooks_of_a_case_are_of_one_tenant_and_its_burst_is_for_them_all() -> None:
    for case in CASES:
        routes = [route for route, _ in case.entries(RECEIVER)]
        heard = {f"{route.namespace}/{route.event}" for route in routes}
        assert set(case.plan(5).names) == heard
        assert len({route.uid for route in routes}) == len(routes) == case.webhooks
        assert len({route.namespace for route in routes}) == 1
        assert len(heard) == (1 if case.one_event else case.webhooks)


def test_bursts_are_bounded_in_count_and_time() -> None:
    case = Case("x", "x", count=7)
    assert (case.plan(5).count, case.plan(5).seconds) == (7, 5)
