"""What docs/log-api.md says in numbers is so."""

from __future__ import annotations

from pathlib import Path

import pytest

from hookline.api.queue_log import AHEAD_SECONDS
from hookline.api.shelves import PART
from hookline.api.under_way import Bounds
from hookline.api.users import TIMES
from hookline.api.watching import LONGEST_SECONDS, TICK_SECONDS
from hookline.serving import remembered, server

PAGE = " ".join((Path(__file__).parents[3] / "docs/log-api.md").read_text().split())
MOST = Bounds()
ASKED = remembered.Bounds()


@pytest.mark.parametrize(
    "sentence",
    [
        f"a yes {TIMES.fresh_seconds:g} s, a no {TIMES.refused_seconds:g} s.",
        f"{MOST.requests_of_one} requests and {MOST.watches_of_one} watches; all together {MOST.requests} and 1,000.",
        f"{ASKED.unknown_per_second:g} a second and {ASKED.unknown_at_once} at once by each pod",
        f"{ASKED.waiting_of_one} questions, then 429",
        f"waits {AHEAD_SECONDS:g} s for it",
        f"is cut after {server.Bounds().stall_seconds:g} s",
        f"is read in parts of {PART}",
    ],
)
def test_a_number_of_the_page_is_that_of_the_code(sentence: str) -> None:
    assert sentence in PAGE


def test_times_in_words_are_those_of_the_code() -> None:
    assert (MOST.watches, LONGEST_SECONDS, TICK_SECONDS, TIMES.fresh_seconds) == (1000, 3600, 30, TIMES.outage_seconds)
    assert "ends a watch within half a minute" in PAGE
    assert "an hour at most" in PAGE
