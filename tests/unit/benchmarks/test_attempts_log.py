from __future__ import annotations

from benchmarks.attempts_log import Round, figures
from benchmarks.load import Cost


def rounds(per_second: float, sender_us: float, queue_us: float) -> list[Round]:
    return [Round(Cost(1000, 1000 / per_second, 0.0), sender_us, queue_us)] * 3


def test_each_quantity_is_told_as_a_ratio_to_that_without_the_log() -> None:
    found = {each.key: each for each in figures(100, rounds(960, 208, 165), rounds(1000, 200, 150))}
    values = {key: round(each.value, 6) for key, each in found.items()}
    assert (values["k.100.rate"], values["k.100.rate.with"], values["k.100.rate.without"]) == (0.96, 960, 1000)
    assert (values["k.100.sender"], values["k.100.queue"]) == (1.04, 1.1)
    assert not any(each.missed for each in found.values())


def test_a_log_that_costs_more_than_was_promised_misses_its_targets() -> None:
    found = figures(1, rounds(900, 220, 150), rounds(1000, 200, 150))
    assert {each.key for each in found if each.missed} == {"k.1.rate", "k.1.sender"}
