"""What stands before a slash is a kind, in each spelling that kubectl takes or writes."""

from __future__ import annotations

import pytest

from hookline.api import kinds
from hookline.cli.log.kinds import ATTEMPTS, DEAD_LETTERS
from hookline.cli.log.output import name_of
from hookline.cli.log.targets import attempt_name, is_kind


@pytest.mark.parametrize("word", ["deadletter", "deadletters", "dl", "deadletters.log.hookline.dev"])
def test_each_spelling_of_a_kind_is_known(word: str) -> None:
    assert is_kind(word, kinds.DEAD_LETTERS)


@pytest.mark.parametrize("word", ["", "delivery", "deadletters.example.com", "log.hookline.dev"])
def test_what_is_another_kind_or_of_another_group_is_none_of_it(word: str) -> None:
    assert not is_kind(word, kinds.DEAD_LETTERS)


def test_what_the_output_name_writes_is_taken_back() -> None:
    item = {"metadata": {"name": "evt-1.2"}}
    assert attempt_name(name_of(ATTEMPTS, item)) == "evt-1.2"
    assert is_kind(name_of(DEAD_LETTERS, item).partition("/")[0], kinds.DEAD_LETTERS)
