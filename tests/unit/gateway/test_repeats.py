"""A key that is used again: for the same event, or for another one."""

from __future__ import annotations

from hookline.gateway.intake import STORE_SECONDS
from hookline.gateway.repeats import KEPT_SECONDS, Repeats
from hookline.stream.same_event import digest_of
from hookline.stream.streams import DEDUPLICATION_SECONDS

ONE, OTHER = digest_of("A", b"{}"), digest_of("A", b"[]")


def test_the_same_event_is_a_repeat_and_another_is_not() -> None:
    keys = Repeats()
    assert not keys.is_another("a", "k", ONE, 0)
    assert not keys.is_another("a", "k", ONE, 1)
    assert keys.is_another("a", "k", OTHER, 2)
    assert not keys.is_another("b", "k", OTHER, 2), "keys are those of a namespace"


def test_the_type_is_part_of_the_event() -> None:
    assert digest_of("A", b"{}") != digest_of("B", b"{}")


def test_a_key_is_free_after_its_time_and_when_nothing_was_stored_under_it() -> None:
    keys = Repeats()
    keys.is_another("a", "k", ONE, 0)
    assert not keys.is_another("a", "k", OTHER, KEPT_SECONDS)
    keys.forget("a", "k", ONE)
    assert keys.is_another("a", "k", ONE, KEPT_SECONDS + 1), "what another request stored is not forgotten"
    keys.forget("a", "k", OTHER)
    assert not keys.is_another("a", "k", ONE, KEPT_SECONDS + 2)


def test_a_key_is_known_to_stand_for_what_was_stored_once_that_is_said_of_the_same_event() -> None:
    keys = Repeats()
    keys.is_another("a", "k", ONE, 0)
    keys.stored("a", "k", OTHER)
    assert not keys.is_stored("a", "k")
    keys.stored("a", "k", ONE)
    assert keys.is_stored("a", "k")
    assert not keys.is_stored("b", "k")
    keys.forget("a", "k", ONE)
    assert not keys.is_stored("a", "k")


def test_keys_without_end_take_no_memory_without_end() -> None:
    keys = Repeats(max_keys=10)
    for number in range(100):
        keys.is_another("a", str(number), ONE, 0)
    assert len(keys._uses) == 10
    keys.is_another("a", "late", ONE, KEPT_SECONDS + 1)
    assert len(keys._uses) == 1


def test_a_key_lasts_as_long_as_nats_may_know_it_whichever_of_its_tries_was_stored() -> None:
    keys = Repeats()
    keys.is_another("a", "k", ONE, 0)
    assert not keys.is_another("a", "k", ONE, 100)
    assert keys.is_another("a", "k", OTHER, 100 + DEDUPLICATION_SECONDS + STORE_SECONDS)


def test_a_try_that_stored_nothing_frees_no_key_that_another_one_has() -> None:
    keys = Repeats()
    for _ in range(2):
        keys.is_another("a", "k", ONE, 0)
    keys.forget("a", "k", ONE)
    assert keys.is_another("a", "k", OTHER, 1)
    keys.forget("a", "k", ONE)
    assert not keys.is_another("a", "k", OTHER, 2)
