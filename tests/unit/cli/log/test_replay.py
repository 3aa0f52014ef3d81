from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hookline.cli.errors import WrongInput
from hookline.cli.log.replay import Source, in_words, spec_of

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
    return spec_of("identity-created", **{**nothing, **asked})


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
