from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from doubles.books import CANARY, a_book, books, entries, route, secret_keys, uids
from hookline.routing.routes import (
    BOOK_FILE,
    BOOK_SHARDS,
    MAX_RETIRED_KEYS,
    ROTATION_SECONDS,
    Book,
    Keys,
    PublicKey,
    RetiredKey,
    Route,
    RouteState,
    book_of,
    index_file,
    rotated,
    shard_of,
    shard_with,
)
from hookline.routing.signing import MAX_KEYS


def test_the_representation_of_keys_shows_no_secret() -> None:
    assert CANARY not in repr(secret_keys())
    assert CANARY not in repr(a_book())


def test_every_secret_of_keys_is_named_for_redaction() -> None:
    keys = Keys(
        uid="u1",
        query="query",
        signing="signing",
        retired=(RetiredKey(key="retired", until_s=1),),
        headers=(("X-A", "value"),),
        client_key_pem="private",
    )
    assert sorted(keys.secrets()) == ["private", "query", "retired", "signing", "value"]
    assert Keys(uid="u1").secrets() == []


@given(books)
def test_every_webhook_is_found_by_its_uid(pairs: list[tuple[Route, Keys]]) -> None:
    book = book_of(pairs)
    assert sorted(each.uid for each in book.routes()) == sorted(each.uid for each, _ in pairs)
    for its_route, its_keys in pairs:
        assert (book.route(its_route.uid), book.keys(its_route.uid)) == (its_route, its_keys)


@given(entries(), entries(), st.integers(1, BOOK_SHARDS - 1), st.integers(0, BOOK_SHARDS - 1), st.booleans())
def test_of_a_webhook_that_moves_only_the_form_in_the_new_shard_counts(
    one: tuple[Route, Keys], other: tuple[Route, Keys], farther: int, start: int, reverse: bool
) -> None:
    uid, home = one[0].uid, shard_of(one[0].uid, BOOK_SHARDS)
    first = (home + start % farther) % BOOK_SHARDS
    new = (one[0].model_copy(update={"url": "new"}), one[1].model_copy(update={"query": "new"}))
    shards = [(first, shard_with([one, other])), ((home + farther) % BOOK_SHARDS, shard_with([new]))]
    book = Book(dict(reversed(shards) if reverse else shards))
    assert (book.route(uid), book.keys(uid)) == new
    assert sorted(each.uid for each in book.routes()) == sorted({uid, other[0].uid})
    heard = [each for each in book.match(one[0].namespace, one[0].event or "") if each.uid == uid]
    assert heard == ([new[0]] if one[0].event is not None and one[0].state is not RouteState.DISABLED else [])


@given(books, uids)
def test_an_unknown_webhook_has_no_route_and_no_keys(pairs: list[tuple[Route, Keys]], uid: str) -> None:
    book = book_of(each for each in pairs if each[0].uid != uid)
    assert book.route(uid) is None
    assert book.keys(uid) == Keys(uid=uid)


@given(books, st.randoms())
def test_a_book_does_not_depend_on_the_order_of_webhooks(pairs: list[tuple[Route, Keys]], random: object) -> None:
    shuffled = list(pairs)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert book_of(pairs) == book_of(shuffled)


@given(books, entries())
def test_one_more_webhook_changes_its_shard_only(pairs: list[tuple[Route, Keys]], added: tuple[Route, Keys]) -> None:
    before, after = book_of(pairs).shards, book_of([*pairs, added]).shards
    changed = {number for number in after if before.get(number) != after[number]}
    assert changed <= {shard_of(added[0].uid, BOOK_SHARDS)}


def test_an_event_is_heard_in_its_own_tenant_by_its_own_type_and_not_by_a_disabled_webhook() -> None:
    book = book_of(
        [
            (route("u1"), Keys(uid="u1")),
            (route("u2", state=RouteState.HELD), Keys(uid="u2")),
            (route("u3", state=RouteState.DISABLED), Keys(uid="u3")),
            (route("u4", namespace="other"), Keys(uid="u4")),
            (route("u5", event="IdentityDeleted"), Keys(uid="u5")),
            (route("u6", event=None), Keys(uid="u6")),
        ]
    )
    assert sorted(each.uid for each in book.match("default", "IdentityCreated")) == ["u1", "u2"]
    assert book.match("default", "Unheard") == ()


def test_what_matches_is_remembered_only_for_events_that_are_heard() -> None:
    book = a_book()
    for number in range(100):
        assert book.match("default", f"Unheard{number}") == ()
    (tenant, event_type), *_ = [(each.namespace, each.event or "") for each in book.routes()]
    assert book.match(tenant, event_type) == book.match(tenant, event_type) != ()
    assert list(book._matches) == [(tenant, event_type)]


def test_a_book_says_exactly_what_it_serves() -> None:
    served = a_book().served()
    shards = {index_file(shard_of(uid, BOOK_SHARDS)) for uid in ("u1", "u2")}
    assert served.keys() == {BOOK_FILE, *shards}


@given(uids)
def test_a_webhook_stays_in_its_shard(uid: str) -> None:
    assert shard_of(uid, BOOK_SHARDS) == shard_of(uid, BOOK_SHARDS)
    assert 0 <= shard_of(uid, 16) < 16


def signed(key: str | None, *retired: tuple[str, int]) -> Keys:
    return Keys(uid="u1", signing=key, retired=tuple(RetiredKey(key=text, until_s=until) for text, until in retired))


def test_a_new_key_signs_first_and_the_replaced_one_signs_on_for_a_day() -> None:
    keys = rotated(signed("old"), signed("new"), 1000.9)
    assert keys == signed("new", ("old", 1000 + ROTATION_SECONDS))
    assert keys.signing_at(1000) == ("new", "old")
    assert keys.signing_at(999 + ROTATION_SECONDS) == ("new", "old")
    assert keys.signing_at(1000 + ROTATION_SECONDS) == ("new",)


def test_the_same_key_again_changes_nothing() -> None:
    rotating = signed("new", ("old", 5000))
    assert rotated(rotating, signed("new"), 1000) == rotating
    assert rotated(None, signed("new"), 1000) == signed("new")


def test_a_retired_key_whose_time_is_over_is_dropped() -> None:
    assert rotated(signed("new", ("old", 5000)), signed("new"), 5000) == signed("new")


def test_a_clock_that_jumps_ahead_ends_the_overlap_for_good_and_one_set_back_makes_it_longer() -> None:
    keys = rotated(signed("old"), signed("new"), 1000)
    ahead = rotated(keys, signed("new"), 1000 + ROTATION_SECONDS)
    assert rotated(ahead, signed("new"), 1001).signing_at(1001) == ("new",)
    set_back = rotated(keys, signed("new"), 500)
    assert set_back == keys
    assert set_back.signing_at(999 + ROTATION_SECONDS) == ("new", "old")


def test_a_key_that_was_taken_away_never_signs_on() -> None:
    assert rotated(signed("old", ("older", 5000)), signed(None), 1000) == signed(None)
    assert rotated(signed(None), signed("new"), 1000) == signed("new")


def test_a_key_that_comes_back_signs_once() -> None:
    assert rotated(signed("b", ("a", 5000)), signed("a"), 1000) == signed("a", ("b", 1000 + ROTATION_SECONDS))


def test_whoever_rotates_often_keeps_the_newest_few() -> None:
    keys = signed("0")
    for number in range(1, 9):
        keys = rotated(keys, signed(str(number)), 1000 + number)
    assert keys.signing_at(1010) == ("8", "7", "6", "5", "4")
    assert len(keys.retired) == MAX_RETIRED_KEYS


def test_keys_rotate_one_by_one() -> None:
    until = 1000 + ROTATION_SECONDS
    assert rotated(signed("a"), signed("a b"), 1000) == signed("a b")
    assert rotated(signed("a b"), signed("c a"), 1000) == signed("c a", ("b", until))
    assert rotated(signed("a b", ("z", 5000)), signed("c d"), 1000) == signed(
        "c d", ("a", until), ("b", until), ("z", 5000)
    )
    assert rotated(signed("a b"), signed("c d"), 1000).signing_at(1000) == ("c", "d", "a", "b")
    assert signed("a b").secrets() == ["a", "b"]


def test_a_whole_secret_of_keys_signs_on_when_it_is_replaced() -> None:
    before, after = (signed(" ".join(f"{letter}{number}" for number in range(MAX_KEYS))) for letter in "ab")
    assert rotated(before, after, 1000).signing_at(1000) == (*after.signing_keys, *before.signing_keys)


def test_public_keys_are_those_of_the_private_keys_that_sign_and_show_nothing_of_them() -> None:
    shared = "whsec_" + "A" * 43 + "="
    old, new, older = ("whsk_" + letter * 43 + "=" for letter in "AEI")
    keys = signed(f"{shared} {new}", (old, 5000), (shared[:-2] + "E=", 5000), (older, 900))
    assert keys.public_keys_at(1000) == (PublicKey(public_of(new)), PublicKey(public_of(old), 5000))
    assert keys.public_keys_at(5000) == (PublicKey(public_of(new)),)
    assert signed(None).public_keys_at(0) == ()
    assert not set(keys.secrets()) & {each.text for each in keys.public_keys_at(1000)}


def public_of(private: str) -> str:
    seed = base64.b64decode(private.removeprefix("whsk_"))
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key()
    return "whpk_" + base64.b64encode(public.public_bytes_raw()).decode()


@pytest.mark.parametrize(
    ("states", "told"),
    [
        ((), "for no Webhook"),
        (("Disabled",), "for no Webhook, 1 disabled"),
        (("Active",), "for 1 Webhook"),
        (("Held",), "for 1 Webhook, 1 of them waiting"),
        (("Active", "Active", "Held", "Disabled"), "for 3 Webhooks, 1 of them waiting, 1 disabled"),
    ],
)
def test_a_book_says_for_how_many_webhooks_an_event_is(states: tuple[str, ...], told: str) -> None:
    those = [
        (route(f"u{number}", namespace="team", event="A", state=RouteState(state)), Keys(uid=f"u{number}"))
        for number, state in enumerate(states)
    ]
    others = [
        (route("x", namespace="other", event="A"), Keys(uid="x")),
        (route("y", namespace="team", event="B"), Keys(uid="y")),
    ]
    assert str(book_of([*those, *others]).audience("team", "A")) == told
