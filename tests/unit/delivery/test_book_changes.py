from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from doubles.books import CANARY, route, secret_keys
from hookline.delivery.book_changes import changes
from hookline.routing.routes import (
    BOOK_SHARDS,
    Book,
    Keys,
    RetiredKey,
    Route,
    RouteState,
    book_of,
    shard_of,
    shard_with,
)


def book(*entries: tuple[Route, Keys]) -> Book:
    return book_of(entries)


def what(before: Book, now: Book) -> list[str]:
    return [f"{each.webhook}: {each.what}" for each in changes(before, now)]


ONE = route("u1")
KEYS = Keys(uid="u1", signing="whsec_old")


@pytest.mark.parametrize(
    ("changed", "keys", "said"),
    [
        ({"url": "https://new.example/x"}, {}, "url is https://new.example/x"),
        ({}, {"query": f"token={CANARY}"}, "url is "),
        ({"state": RouteState.DISABLED}, {}, "disabled"),
        ({"state": RouteState.HELD}, {}, "deliveries wait"),
        ({"event": "IdentityDeleted"}, {}, "event is IdentityDeleted"),
        ({"rate_limit": (5, 1)}, {}, "limits changed"),
        ({}, {"signing": f"whsec_{CANARY}"}, "signing key replaced"),
        ({}, {"signing": None}, "signing key set or removed"),
        ({}, {"retired": (RetiredKey(key=CANARY, until_s=1),)}, "an old signing key"),
        ({}, {"headers": (("x", CANARY),)}, "headers changed"),
        ({}, {"ca_pem": CANARY}, "certificates changed"),
    ],
)
def test_a_change_is_said_of_its_webhook_without_anything_secret(
    changed: Mapping[str, Any], keys: Mapping[str, Any], said: str
) -> None:
    found = what(book((ONE, KEYS)), book((ONE.model_copy(update=changed), KEYS.model_copy(update=keys))))
    assert len(found) == 1
    assert found[0].startswith(f"{ONE.title}: ")
    assert said in found[0]
    assert CANARY not in found[0]


def test_a_webhook_that_moves_to_another_shard_neither_comes_nor_goes() -> None:
    here, there = shard_with([(ONE, KEYS)]), shard_with([(ONE.model_copy(update={"timeout_seconds": 3}), KEYS)])
    home = shard_of(ONE.uid, BOOK_SHARDS)
    on = (home + 1) % BOOK_SHARDS
    before, between, after = Book({home: here}), Book({home: here, on: there}), Book({on: there})
    assert what(before, between) == [f"{ONE.title}: timeout, retries or limits changed"]
    assert what(between, after) == []


def test_what_comes_and_goes_is_said_and_what_stays_is_not() -> None:
    two = route("u2")
    assert what(book((ONE, KEYS)), book((ONE, KEYS), (two, secret_keys("u2")))) == [f"{two.title}: added: is called"]
    assert what(book((ONE, KEYS), (two, secret_keys("u2"))), book((ONE, KEYS))) == [f"{two.title}: removed"]
    assert what(book((ONE, KEYS)), book((ONE, KEYS))) == []
