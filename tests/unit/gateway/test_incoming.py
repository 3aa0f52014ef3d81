"""Which id an event gets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.gateway.incoming import MAX_KEY_CHARACTERS, id_of_key, id_of_line, id_of_source
from hookline.gateway.problem import Kind, Refused
from hookline.routing.signing import valid_message_id

KEYS = st.text(min_size=1, max_size=MAX_KEY_CHARACTERS).filter(lambda key: key != '""')


@pytest.mark.parametrize(
    ("key", "id_"), [("order-4711", "order-4711"), ('"order-4711"', "order-4711"), ("a" * 128,) * 2]
)
def test_a_key_that_may_be_an_id_is_the_id(key: str, id_: str) -> None:
    assert id_of_key(key) == id_


@given(KEYS)
def test_every_other_key_becomes_an_id_that_may_be_signed_and_always_the_same(key: str) -> None:
    assert valid_message_id(id_of_key(key))
    assert id_of_key(key) == id_of_key(key)


@given(KEYS, KEYS)
def test_two_keys_are_two_ids(one: str, other: str) -> None:
    bare = [key[1:-1] if len(key) > 1 and key[0] == key[-1] == '"' else key for key in (one, other)]
    assert (id_of_key(one) == id_of_key(other)) == (bare[0] == bare[1])


@pytest.mark.parametrize("key", ["", '""', "a" * (MAX_KEY_CHARACTERS + 1)])
def test_an_empty_key_and_one_without_end_are_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(Refused) as refused:
        id_of_key(key)
    assert refused.value.problem.kind is Kind.BAD_KEY
    assert "aaa" not in refused.value.problem.detail


def test_each_line_has_a_part_of_the_key_and_none_without() -> None:
    assert id_of_line("order", 7) == "order-7"
    assert id_of_line("", 7) == ""
    longest = "a" * 128
    assert valid_message_id(id_of_line(longest, 7))
    assert id_of_line(longest, 7) != id_of_line(longest, 8)


def test_a_source_and_an_id_are_told_apart() -> None:
    assert id_of_source("a", "b1") != id_of_source("ab", "1")
    assert valid_message_id(id_of_source("/sensors/ü", "1"))
