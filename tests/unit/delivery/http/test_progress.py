from __future__ import annotations

from types import SimpleNamespace

import pytest

from hookline.delivery.http import progress
from hookline.delivery.http.progress import Phase, Progress

DIRECT = (Phase.CONNECT, Phase.HANDSHAKE, Phase.ANSWER, Phase.BODY)
PROXIED = (Phase.PROXY, Phase.TUNNEL, Phase.HANDSHAKE, Phase.ANSWER, Phase.BODY)


def after(monkeypatch: pytest.MonkeyPatch, *phases: Phase) -> Progress:
    """A call that has come so far, each phase a second after the one before."""
    now_s = [100.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now_s[0]))
    made = Progress()
    for phase in phases:
        now_s[0] += 1
        made.reach(phase)
    return made


@pytest.mark.parametrize(
    ("phases", "took"),
    [
        ((), {"lookup": 10}),
        (DIRECT[:1], {"lookup": 1, "connect": 9}),
        (DIRECT[:2], {"lookup": 1, "connect": 1, "tls": 8}),
        (DIRECT[:3], {"lookup": 1, "connect": 1, "tls": 1, "first_byte": 7}),
        (DIRECT, {"lookup": 1, "connect": 1, "tls": 1, "first_byte": 1}),
        ((Phase.CONNECT, *DIRECT), {"lookup": 1, "connect": 2, "tls": 1, "first_byte": 1}),
        (PROXIED[:2], {"lookup": 1, "connect": 9}),
        (PROXIED, {"lookup": 1, "connect": 2, "tls": 1, "first_byte": 1}),
    ],
)
def test_each_part_of_a_call_lasts_until_the_next_or_until_its_end(
    monkeypatch: pytest.MonkeyPatch, phases: tuple[Phase, ...], took: dict[str, float]
) -> None:
    assert after(monkeypatch, *phases).phases_s(110.0) == took


def test_a_kept_connection_takes_none_but_the_wait_for_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    made = after(monkeypatch, Phase.ANSWER, Phase.BODY)
    made.reused = True
    assert made.phases_s(110.0) == {"first_byte": 1}


def test_a_call_that_goes_over_a_new_connection_after_all_is_timed_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    made = after(monkeypatch, Phase.ANSWER)
    made.begin_anew()
    assert (made.phase, made.needs_new_connection) == (Phase.LOOKUP, True)
    assert made.phases_s(110.0) == {"lookup": 9}
