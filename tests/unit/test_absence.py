from __future__ import annotations

from hookline.delivery.absence import QUESTIONS, Absences


def asked(absences: Absences, times: int, *uids: str) -> Absences:
    for _ in range(times):
        absences.ask(uids)
    return absences


def test_a_webhook_is_gone_when_nobody_answered_any_of_the_questions() -> None:
    absences = asked(Absences(), QUESTIONS, "a")
    assert not absences.gone("a")
    assert asked(absences, 1, "a").gone("a")


def test_one_answer_begins_the_row_anew() -> None:
    absences = asked(Absences(), QUESTIONS, "a", "b")
    absences.known(["a", "stranger"])
    assert not asked(absences, QUESTIONS, "a", "b").gone("a")
    assert absences.gone("b")
    assert asked(absences, 1, "a").gone("a")


def test_a_webhook_that_is_not_asked_for_any_more_is_forgotten() -> None:
    absences = asked(Absences(), QUESTIONS + 1, "a")
    asked(absences, 1)
    assert not absences.gone("a")
    assert not asked(absences, QUESTIONS, "a").gone("a")


def test_while_nobody_can_be_heard_nothing_is_gone() -> None:
    absences = asked(Absences(), QUESTIONS + 1, "a")
    absences.forget()
    assert not asked(absences, QUESTIONS, "a").gone("a")


def test_what_was_never_asked_for_is_not_gone() -> None:
    assert not Absences().gone("a")
