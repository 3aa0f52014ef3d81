from __future__ import annotations

from benchmarks.load import Cost, Steady
from benchmarks.whole_way import SHARED, Rounds, Way, figures


def rounds(*, per_second: float, sender_us: float, queue_us: float, p50_ms: float) -> Rounds:
    """Two of 1,000 events each, and a steady one of 100 a second."""
    cost = Cost(1000, 1000 / per_second, sender_us / 1000, queue_us / 1000)
    seconds = [p50_ms / 1000] * 60 + [p50_ms / 100] * 40
    return Rounds([cost, cost], [Steady(seconds, seconds, seconds, 1.0, 0, 0.1, 0.05, 0.5)], 100.0)


PRESENT = rounds(per_second=2000, sender_us=200, queue_us=150, p50_ms=2)
BEFORE = rounds(per_second=1000, sender_us=400, queue_us=400, p50_ms=4)


def test_each_quantity_is_told_as_a_ratio_as_it_was_and_as_it_is() -> None:
    found = {each.key: each for each in figures(Way(100), PRESENT, BEFORE)}
    values = {key: round(each.value, 6) for key, each in found.items()}
    assert (values["h.100.rate"], values["h.100.rate.before"], values["h.100.rate.now"]) == (2, 1000, 2000)
    assert (values["h.100.cpu"], values["h.100.cpu.before"], values["h.100.cpu.now"]) == (350 / 800, 800, 350)
    assert (values["h.100.p50"], values["h.100.p99"]) == (0.5, 0.5)
    assert values["h.100.steady.now"] == 1500
    assert {each.key for each in found.values() if each.missed} == set()


def test_an_engine_that_is_as_it_was_misses_each_target() -> None:
    missed = {each.key for each in figures(Way(1), BEFORE, BEFORE) if each.missed}
    assert missed == {"h.1.rate", "h.1.cpu", "h.1.p50"}


def test_of_several_senders_on_few_cores_only_the_cpu_has_a_target() -> None:
    fast = Rounds(BEFORE.fast)
    assert {each.key for each in figures(SHARED, fast, fast) if each.missed} == {"h.100x4.cpu"}


def test_without_a_former_engine_nothing_is_compared_and_nothing_missed() -> None:
    found = figures(Way(2000), BEFORE, None)
    assert [each.key.rsplit(".", 1)[1] for each in found] == ["now"] * len(found)
    assert all(each.title.startswith("2,000 endpoints: ") for each in found)
    assert not any(each.missed for each in found)
