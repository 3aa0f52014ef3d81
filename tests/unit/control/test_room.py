from __future__ import annotations

import random
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doubles.books import entries, route
from hookline.control.desired_book import Change, DesiredBook
from hookline.control.room import (
    FOR_CHANGES,
    FOR_NEW,
    SHARE,
    Charge,
    Reserve,
    Room,
    charge,
    fits,
    places,
    share,
    written,
)
from hookline.routing.book_files import MAX_FILE_BYTES, decode_shard, digest_of, encode_record, encode_shard
from hookline.routing.routes import (
    BOOK_SHARDS,
    MAX_RETIRED_KEYS,
    ROTATION_SECONDS,
    Book,
    Keys,
    RetiredKey,
    Route,
    RouteState,
    Shard,
    index_file,
    rotated,
    shard_of,
    shard_with,
)
from hookline.routing.signing import MAX_KEYS

CAPACITY = MAX_FILE_BYTES // 8
"""Of a shard here: a book of an eighth is filled in an eighth of the time."""
LONGEST_KEYS = tuple("whsec_" + letter * 86 + "==" for letter in "ABCDEFGHIJKL")
NOW_S = 1e9


def charged(route: Route, keys: Keys) -> Charge:
    return charge(route, keys, written(encode_record(route), encode_record(keys)))


# ---- the issue: one namespace against all others ---------------------------------------------------------------------


@dataclass
class Tenants:
    """Puts Webhooks of several namespaces into one book, and counts what became of them."""

    book: DesiredBook = field(default_factory=lambda: DesiredBook(CAPACITY))
    uids: random.Random = field(default_factory=lambda: random.Random(1))

    def add(self, namespace: str, count: int, bytes_: int = 0) -> tuple[list[str], Counter[Change]]:
        """New Webhooks with a CA of so many bytes; the uids of those that were taken."""
        found, taken = Counter[Change](), []
        for _ in range(count):
            uid = str(uuid.UUID(int=self.uids.getrandbits(128)))
            keys = Keys(uid=uid, signing=LONGEST_KEYS[0], ca_pem="x" * bytes_ or None)
            change = self.book.put(route(uid, namespace=namespace), keys)
            found[change] += 1
            if change is Change.TAKEN:
                taken.append(uid)
        return taken, found

    def rotate(self, uids: list[str], key: str) -> Counter[Change]:
        """Give Webhooks that are there another signing key."""
        found = Counter[Change]()
        for uid in uids:
            there, now = self.book.keys(uid), self.book.route(uid)
            assert there is not None
            assert now is not None
            keys = rotated(there, there.model_copy(update={"signing": key, "retired": ()}), NOW_S)
            found[self.book.put(now, keys)] += 1
        return found

    def flood(self, namespace: str) -> list[str]:
        """The attack: Webhooks of falling size, until not even the smallest one fits."""
        sizes = (8000, 4000, 2000, 1000, 500, 0)
        return [uid for size in sizes for uid in self.add(namespace, 300 if size else 700, size)[0]]


def test_a_namespace_that_floods_the_book_keeps_no_other_one_out_and_no_key_from_being_replaced() -> None:
    tenants = Tenants()
    before, _ = tenants.add("team", 100)
    flooding = tenants.flood("greedy")
    assert tenants.add("greedy", 1)[1] == {Change.SHARE: 1}
    new = sum((tenants.add(f"other-{number}", 10)[1] for number in range(20)), Counter[Change]())
    assert new == {Change.TAKEN: 200}
    assert tenants.rotate(before, LONGEST_KEYS[1]) == {Change.TAKEN: len(before)}
    assert tenants.rotate(flooding, LONGEST_KEYS[1]) == {Change.TAKEN: len(flooding)}


def test_namespaces_that_flood_the_book_together_still_leave_room_for_one_that_does_not() -> None:
    tenants = Tenants()
    for number in range(6):
        tenants.flood(f"greedy-{number}")
    _, new = tenants.add("other", 15)
    assert new == {Change.TAKEN: 15}


def test_one_namespace_alone_uses_seven_eighths_of_the_whole_book() -> None:
    tenants = Tenants()
    taken = tenants.flood("only")
    used = sum(charged(route(uid, namespace="only"), tenants.book.keys(uid) or Keys(uid=uid)).keys for uid in taken)
    assert 0.87 < used / (CAPACITY * BOOK_SHARDS) <= 0.875


def test_webhooks_of_a_flooding_namespace_can_be_changed_when_no_new_one_is_taken() -> None:
    tenants = Tenants()
    uid, *_ = tenants.flood("greedy")
    now, keys = tenants.book.route(uid), tenants.book.keys(uid)
    assert now is not None
    assert keys is not None
    assert tenants.book.put(now, keys.model_copy(update={"headers": (("x-one-more", "y" * 4000),)})) is Change.TAKEN


# ---- what a Webhook is charged ---------------------------------------------------------------------------------------


@given(entries())
def test_nobody_is_charged_less_than_what_stands_in_the_files(entry: tuple[Route, Keys]) -> None:
    takes, all_ = written(*map(encode_record, entry)), charged(*entry)
    assert all_.routes >= takes.routes
    assert all_.keys >= takes.keys


signings = st.lists(st.sampled_from(LONGEST_KEYS), min_size=1, max_size=MAX_KEYS, unique=True).map(" ".join)


@given(st.lists(signings, min_size=1, max_size=6))
def test_signing_keys_cost_the_same_however_they_are_rotated(rotations: list[str]) -> None:
    keys = Keys(uid="u1", signing=rotations[0])
    first = charged(route(), keys).keys
    for signing in rotations[1:]:
        keys = rotated(keys, Keys(uid="u1", signing=signing), NOW_S)
        assert charged(route(), keys).keys == first


def test_the_most_keys_of_the_greatest_length_are_charged_in_advance() -> None:
    until_s = int(NOW_S) + ROTATION_SECONDS
    retired = tuple(RetiredKey(key=key, until_s=until_s) for key in LONGEST_KEYS[:MAX_RETIRED_KEYS])
    full = Keys(uid="u1", signing=" ".join(LONGEST_KEYS[-MAX_KEYS:]), retired=retired)
    one = Keys(uid="u1", signing=LONGEST_KEYS[0])
    assert charged(route(), full) == charged(route(), one)
    assert written(b"", encode_record(full)).keys <= charged(route(), full).keys


@given(entries(), st.sampled_from(RouteState), st.integers(0, 2**62), st.booleans())
def test_what_stops_a_webhook_never_costs_more(
    entry: tuple[Route, Keys], state: RouteState, generation: int, hears: bool
) -> None:
    its_route, keys = entry
    stopped = {"state": state, "generation": generation, "event": its_route.event if hears else None}
    more = charged(its_route.model_copy(update=stopped), Keys(uid=keys.uid)) - charged(its_route, keys)
    assert more.routes <= 0
    assert more.keys <= 0


# ---- who gets room ---------------------------------------------------------------------------------------------------

few = st.integers(0, 8000)
reserves = st.sampled_from([FOR_NEW, FOR_CHANGES])


@given(few, few, st.integers(1, 8000), reserves)
def test_everybody_gets_room_while_there_is_plenty_and_then_whoever_uses_less_than_a_share_of_what_is_free(
    others: int, own: int, more: int, reserve: Reserve
) -> None:
    found = share(Charge(0, others + own), Charge(0, own), Charge(0, more), capacity_bytes=8000, reserve=reserve)
    free = 8000 - others - own - more
    if free >= 8000 * reserve.of_book or own + more <= free * SHARE:
        assert found is Room.FREE
    else:
        assert found is (Room.SHARE if more <= free * SHARE else Room.NONE)


@settings(max_examples=25)
@given(st.lists(st.integers(1, 500), min_size=1, max_size=30), st.integers(1, 12))
def test_greedy_namespaces_never_take_all_of_the_reserve(sizes: list[int], namespaces: int) -> None:
    capacity, used = 8000, dict[int, int]()
    for number in range(namespaces):
        for size in sorted(sizes * 200, reverse=True):
            own, more = Charge(used.get(number, 0)), Charge(size)
            if share(Charge(sum(used.values())), own, more, capacity_bytes=capacity, reserve=FOR_NEW) is Room.FREE:
                used[number] = own.routes + size
    assert capacity - sum(used.values()) >= capacity / 8 * (8 / 9) ** namespaces


@pytest.mark.parametrize("full", [Charge(5000, 0), Charge(0, 5000)])
def test_both_files_must_have_room(full: Charge) -> None:
    assert share(full, Charge(), Charge(1, 1), capacity_bytes=5000, reserve=FOR_NEW) is Room.NONE
    assert not fits(full, Charge(1, 1), 5000)
    assert fits(full - Charge(1, 1), Charge(1, 1), 5000)


@given(few, few, reserves)
def test_what_does_not_grow_has_room_also_where_an_older_version_took_too_much(
    own: int, less: int, reserve: Reserve
) -> None:
    all_, more = Charge(9000, 9000), Charge(-less, -less)
    assert share(all_, Charge(own, own), more, capacity_bytes=5000, reserve=reserve) is Room.FREE
    assert fits(all_, more, 5000)


@given(st.uuids().map(str), st.integers(0, BOOK_SHARDS - 1))
def test_a_webhook_is_looked_for_a_place_from_its_home_on_and_only_ever_moves_on(uid: str, steps: int) -> None:
    home = shard_of(uid, BOOK_SHARDS)
    all_ = list(places(uid, home))
    assert all_[0] == home
    assert sorted(all_) == list(range(BOOK_SHARDS))
    assert list(places(uid, all_[steps])) == all_[steps:]


# ---- shards and moves ------------------------------------------------------------------------------------------------

SMALL_BYTES = 6000


def digests(book: DesiredBook) -> dict[str, str]:
    """What a sender says that has loaded every shard."""
    return {index_file(number): digest_of(book.files(number)[index_file(number)]) for number in book.shards()}


def shards_of(book: DesiredBook) -> dict[int, Shard]:
    return {number: decode_shard(number, book.files(number)) for number in book.shards()}


def as_served(shards: Mapping[int, Shard]) -> dict[str, tuple[Route, Keys]]:
    """By which routes and keys a sender calls that has loaded these shards; each Webhook once for an event."""
    book = Book(shards)
    for namespace, event in {(each.namespace, each.event or "") for each in book.routes()}:
        heard = [each.uid for each in book.match(namespace, event)]
        assert len(heard) == len(set(heard))
    return {each.uid: (each, book.keys(each.uid)) for each in book.routes()}


def records(book: DesiredBook) -> int:
    return sum(len(each.routes) for each in shards_of(book).values())


steps = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "put", "stop", "remove", "serve"]),
        st.integers(0, 11),
        st.sampled_from([0, 300, 1500, 4000, 5900]),
    ),
    max_size=40,
)


@settings(max_examples=60)
@given(steps)
def test_whatever_is_put_moved_and_removed_the_files_fit_and_hold_just_what_is_wanted(
    steps: list[tuple[str, int, int]],
) -> None:
    book, wanted = DesiredBook(SMALL_BYTES), dict[str, tuple[Route, Keys]]()
    uids = [f"u{number}" for number in range(12)]
    for what, number, bytes_ in steps:
        uid = uids[number]
        its_route = route(uid, namespace=f"n{number % 3}", url="https://example.com/" + "r" * (bytes_ // 3))
        keys = Keys(uid=uid, ca_pem="x" * bytes_)
        match what:
            case "put":
                change = book.put(its_route, keys)
                assert change is not Change.NONE or wanted[uid] == (its_route, keys)
                if not change.refused:
                    wanted[uid] = (its_route, keys)
            case "stop" if uid in wanted:
                stopped = its_route.model_copy(update={"state": RouteState.HELD, "event": None})
                assert not book.stop(stopped).refused
                there = wanted[uid][0].model_copy(update={"state": RouteState.HELD, "event": None})
                wanted[uid] = (there, Keys(uid=uid))
            case "remove":
                assert bool(book.remove(uid)) == (uid in wanted)
                wanted.pop(uid, None)
            case "serve":
                book.served([digests(book)])
                for each in uids:
                    book.settle(each)
        assert {each: (book.route(each), book.keys(each)) for each in book.uids()} == wanted
        assert all(max(map(len, book.files(shard).values())) <= SMALL_BYTES for shard in book.shards())
        assert as_served(shards_of(book)) == wanted
    book.served([digests(book)])
    for uid in uids:
        book.settle(uid)
    assert records(book) == len(wanted)
    for uid in uids:
        book.remove(uid)
    assert [len(book), records(book), book.hearing, book.fullness] == [0, 0, 0, 0.0]


def uids_in(number: int, count: int) -> list[str]:
    found = (f"u{each}" for each in range(100_000) if shard_of(f"u{each}", BOOK_SHARDS) == number)
    return [next(found) for _ in range(count)]


ONE, TWO = uids_in(5, 2)


def with_ca(uid: str, bytes_: int, **changes: object) -> tuple[Route, Keys]:
    return route(uid, namespace=uid, **changes), Keys(uid=uid, ca_pem="x" * bytes_)


def crowded() -> DesiredBook:
    """Two Webhooks in one shard, which has no room for any of them to grow."""
    book = DesiredBook(SMALL_BYTES)
    for uid in (ONE, TWO):
        assert book.put(*with_ca(uid, 1500)) is Change.TAKEN
    book.served([digests(book)])
    return book


def test_a_webhook_that_finds_no_room_at_home_is_in_the_next_shard() -> None:
    book = crowded()
    three = uids_in(5, 3)[-1]
    assert book.put(*with_ca(three, 3000)) is Change.TAKEN
    assert [book.place(uid) for uid in (ONE, TWO, three)] == [5, 5, 6]


def test_a_webhook_that_grows_moves_on_and_no_sender_misses_it_whichever_shard_it_loads_first() -> None:
    book = crowded()
    book.expect([6])
    before = shards_of(book)
    assert book.put(*with_ca(ONE, 3000)) is Change.TAKEN
    assert (book.place(ONE), book.counts()) == (6, {5: 1, 6: 1})
    between = shards_of(book)
    assert book.settle(ONE) == []
    assert book.served([digests(book)]) == [ONE]
    assert book.settle(ONE) == [5]
    after = shards_of(book)
    for older, newer in ((before, between), (between, after)):
        for five, six in product((older, newer), repeat=2):
            assert as_served({5: five[5], 6: six[6]})[ONE] in (with_ca(ONE, 1500), with_ca(ONE, 3000))
    assert as_served(between)[ONE] == as_served(after)[ONE] == with_ca(ONE, 3000)
    assert ONE not in after[5].routes


def test_a_move_is_ended_by_the_operator_that_comes_after() -> None:
    before = crowded()
    before.put(*with_ca(ONE, 3000))
    book = DesiredBook(SMALL_BYTES)
    for number in (6, 5):
        book.load(number, before.files(number))
    assert book.put(*with_ca(ONE, 3000)) is Change.NONE
    assert book.settle(ONE) == []
    assert book.served([digests(book)]) == [ONE]
    assert book.settle(ONE) == [5]
    assert records(book) == 2


def test_a_webhook_that_goes_while_it_moves_is_in_no_shard() -> None:
    book = crowded()
    book.put(*with_ca(ONE, 3000))
    assert sorted(book.remove(ONE)) == [5, 6]
    assert [list(each.routes) for each in shards_of(book).values()] == [[TWO], []]


def test_a_shard_that_an_older_version_filled_stays_as_it_is_and_its_webhooks_find_room_for_what_is_new() -> None:
    uids = uids_in(5, 40)
    older = [(route(uid, namespace="n"), Keys(uid=uid, signing=LONGEST_KEYS[0])) for uid in uids]
    files = encode_shard(5, shard_with(older))
    book = DesiredBook(max(map(len, files.values())))
    book.load(5, files)
    assert {book.put(*each) for each in older} == {Change.NONE}
    assert book.files(5) == files
    for its_route, keys in older:
        new = rotated(keys, keys.model_copy(update={"signing": LONGEST_KEYS[1]}), NOW_S)
        assert book.put(its_route, new) is Change.TAKEN
        assert book.keys(its_route.uid) == new
    assert max(max(map(len, book.files(number).values())) for number in book.shards()) <= book.capacity_bytes
    assert book.put(route("u1", namespace="n"), Keys(uid="u1")) is Change.TAKEN


def test_a_half_written_shard_gets_back_what_was_in_it() -> None:
    before = crowded()
    three = uids_in(5, 3)[-1]
    before.put(*with_ca(three, 3000))
    book = DesiredBook(SMALL_BYTES)
    book.load(6, {name: content for name, content in before.files(6).items() if name.startswith("keys")})
    assert book.put(*with_ca(three, 3000)) is Change.TAKEN
    assert book.place(three) == 6
