"""What other senders say of the streams, and what anybody else says in their place."""

from __future__ import annotations

import pytest

from hookline.stream import names
from hookline.stream.agreement import Says
from hookline.stream.peers import _on_streams

LONGEST = "p" * 31


@pytest.mark.parametrize("wanted", [None, "", LONGEST])
def test_all_that_a_sender_may_say_is_heard(wanted: str | None) -> None:
    at = " ".join(f"{LONGEST}{base}" for base in names.BASES)
    assert _on_streams({"wanted": wanted, "at": at}) == Says(wanted, at)


@pytest.mark.parametrize(("said", "heard"), [(True, True), (False, False), ("yes", False), (1, False), (None, False)])
def test_a_sender_takes_large_events_only_if_it_says_so(said: object, heard: bool) -> None:
    assert _on_streams({"wanted": None, "at": "", "takes_large": said}) == Says(None, "", takes_large=heard)


@pytest.mark.parametrize(
    "said", [None, 7, {}, {"wanted": 1, "at": ""}, {"wanted": "x" * 1000, "at": ""}, {"wanted": None, "at": "x" * 1000}]
)
def test_what_no_sender_says_is_not_kept(said: object) -> None:
    assert _on_streams(said) is None
