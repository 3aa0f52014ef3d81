from __future__ import annotations

from hookline.delivery.policy.deleted_webhooks import QUESTIONS, DeletedWebhooks


def asked(deleted: DeletedWebhooks, times: int, *uids: str) -> DeletedWebhooks:
    for _ in range(times):
        deleted.ask(uids)
    return deleted


def test_a_webhook_is_gone_when_nobody_answered_any_of_the_questions() -> None:
    deleted = asked(DeletedWebhooks(), QUESTIONS, "a")
    assert not deleted.gone("a")
    assert asked(deleted, 1, "a").gone("a")


def test_one_answer_begins_the_row_anew() -> None:
    deleted = asked(DeletedWebhooks(), QUESTIONS, "a", "b")
    deleted.known(["a", "stranger"])
    assert not asked(deleted, QUESTIONS, "a", "b").gone("a")
    assert deleted.gone("b")
    assert asked(deleted, 1, "a").gone("a")


def test_a_webhook_that_is_not_asked_for_any_more_is_forgotten() -> None:
    deleted = asked(DeletedWebhooks(), QUESTIONS + 1, "a")
    asked(deleted, 1)
    assert not deleted.gone("a")
    assert not asked(deleted, QUESTIONS, "a").gone("a")


def test_while_nobody_can_be_heard_nothing_is_gone() -> None:
    deleted = asked(DeletedWebhooks(), QUESTIONS + 1, "a")
    deleted.forget()
    assert not asked(deleted, QUESTIONS, "a").gone("a")


def test_what_was_never_asked_for_is_not_gone() -> None:
    assert not DeletedWebhooks().gone("a")
