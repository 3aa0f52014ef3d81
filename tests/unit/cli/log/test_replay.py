from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hookline.cli.errors import WrongInput
from hookline.cli.log.replay import Source, in_words, spec_of, webhooks_of

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)


def spec(**asked: Any) -> dict[str, Any]:
    nothing: dict[str, Any] = {
        "source": None,
        "since": None,
        "until": None,
        "only_failed": False,
        "ids": [],
        "rate": None,
        "dry_run": False,
    }
    return spec_of({"webhook": {"name": "identity-created"}}, **{**nothing, **asked})


def test_without_a_word_all_dead_letters_are_sent_and_the_defaults_are_those_of_the_replay() -> None:
    asked = spec()
    assert asked.pop("ttlSecondsAfterFinished") > 0
    assert asked == {"webhook": {"name": "identity-created"}, "source": "DeadLetters"}


def test_what_is_asked_for_stands_in_the_spec() -> None:
    asked = spec(since=NOW - timedelta(hours=2), until=NOW, only_failed=True, ids=["evt_1"], rate=5, dry_run=True)
    del asked["ttlSecondsAfterFinished"]
    assert asked == {
        "webhook": {"name": "identity-created"},
        "source": "Events",
        "since": "2026-11-30T10:00:00Z",
        "until": "2026-11-30T12:00:00Z",
        "onlyFailed": True,
        "ids": ["evt_1"],
        "ratePerSecond": 5,
        "dryRun": True,
    }


def test_what_contradicts_itself_is_wrong_input() -> None:
    with pytest.raises(WrongInput, match="--only-failed is of events"):
        spec(source=Source.DEAD, only_failed=True)
    with pytest.raises(WrongInput, match="--until must be later"):
        spec(since=NOW, until=NOW)


def test_a_dry_run_says_what_would_be_sent() -> None:
    status = {"phase": "Complete", "found": 12, "replayed": 10, "skipped": 2}
    assert in_words({"spec": {"dryRun": True}, "status": status}).startswith("Complete: found 12, would send 10")
    assert in_words({"spec": {}, "status": status}) == "Complete: found 12, sent 10, skipped 2"
    assert in_words({}) == "Pending: found 0, sent 0"


def test_what_the_log_does_not_reach_back_to_is_said_at_the_end_of_the_last_line() -> None:
    status = {"phase": "Complete", "found": 12, "replayed": 10, "skipped": 2, "unknown": 3}
    assert in_words({"spec": {}, "status": status}) == (
        "Complete: found 12, sent 10, skipped 2; the attempts log does not reach back to 3 of 10: they are sent again"
    )
    assert in_words({"spec": {"dryRun": True}, "status": status}).endswith("3 of 10: they would be sent again")


def test_one_webhook_is_named_or_several_by_their_labels() -> None:
    assert webhooks_of("webhook/one", None) == {"webhook": {"name": "one"}}
    labels = {"team": "a", "example.com/tier": ""}
    assert webhooks_of("", "team=a, example.com/tier==") == {"selector": {"matchLabels": labels}}


@pytest.mark.parametrize(
    ("target", "selector", "said"),
    [
        ("", None, "name a Webhook by webhook/NAME"),
        ("webhook/one", "team=a", "leave one of the two out"),
        ("one", "", "leave one of the two out"),
        ("pod/one", None, "webhook/NAME"),
        *(("", each, "LABEL=VALUE") for each in ("", "team", "team!=a", "!team", "team in (a,b)", "team=a,", "a b=c")),
        *(("", each, "LABEL=VALUE") for each in ("=a", "team=\x1b[31m", "team===a", "/team=a", "team=" + "a" * 64)),
        ("", "team=a,team=b", "two values of team"),
    ],
)
def test_what_names_no_webhooks_or_too_many_is_wrong_input(target: str, selector: str | None, said: str) -> None:
    with pytest.raises(WrongInput, match=said) as raised:
        webhooks_of(target, selector)
    assert "\n" not in str(raised.value)
    assert str(raised.value).isprintable()
