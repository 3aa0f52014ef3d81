from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from doubles.books import CANARY, entries, route, secret_keys
from hookline.control.desired_book import Change, DesiredBook, files_of, keys_manifest, root_manifest, routes_manifest
from hookline.control.kinds import BOOK_LABEL, SECRETS
from hookline.control.observed import Observed
from hookline.routing.book_files import (
    decode,
    decode_shard,
    digest_of,
    encode_root,
    encode_shard,
    keys_file,
    routes_file,
)
from hookline.routing.routes import (
    BOOK_FILE,
    BOOK_SHARDS,
    DispatcherRecord,
    Keys,
    Route,
    TypeRecord,
    index_file,
    shard_of,
    shard_with,
)

Entry = tuple[Route, Keys]
pairs = st.lists(entries(), max_size=6, unique_by=lambda entry: entry[0].uid)


def uids_in(number: int, count: int) -> list[str]:
    """Some uids that fall into one shard."""
    found = (f"u{each}" for each in range(100_000) if shard_of(f"u{each}", BOOK_SHARDS) == number)
    return [next(found) for _ in range(count)]


ONE, TWO, THREE = uids_in(5, 3)


def entry(uid: str, text: str = "", *, route_text: str = "") -> Entry:
    return route(uid, url=f"https://example.com/{route_text}"), Keys(uid=uid, query=text)


def book_with(*found: Entry) -> DesiredBook:
    book = DesiredBook()
    for each in found:
        assert book.put(*each) is Change.TAKEN
    return book


def all_files(book: DesiredBook) -> dict[str, bytes]:
    return {name: content for number in book.shards() for name, content in book.files(number).items()}


@given(pairs, st.randoms(use_true_random=False))
def test_the_same_webhooks_make_the_same_files_in_whatever_order_they_came(found: list[Entry], random: Any) -> None:
    shuffled = random.sample(found, len(found))
    assert all_files(book_with(*found)) == all_files(book_with(*shuffled))


@given(pairs, entries())
def test_a_put_changes_the_files_of_its_shard_only(found: list[Entry], added: Entry) -> None:
    book = book_with(*found)
    before, number = all_files(book), shard_of(added[0].uid, BOOK_SHARDS)
    book.put(*added)
    after = all_files(book)
    changed = {name for name in after if before.get(name) != after[name]}
    assert changed == {routes_file(number), keys_file(number), index_file(number)}


@given(pairs, entries())
def test_what_was_put_and_removed_leaves_nothing(found: list[Entry], added: Entry) -> None:
    book = book_with(*found, added)
    assert book.remove(added[0].uid)
    assert not book.remove(added[0].uid)
    without = book_with(*found)
    assert all(book.files(number) == without.files(number) for number in book.shards())
    assert (set(book.uids()), len(book)) == ({each.uid for each, _ in found}, len(found))
    assert (book.route(added[0].uid), book.keys(added[0].uid), book.awaited(added[0].uid)) == (None, None, False)


@given(pairs)
def test_a_book_that_was_loaded_is_the_book_that_was_written(found: list[Entry]) -> None:
    written, loaded = book_with(*found), DesiredBook()
    for number in written.shards():
        loaded.load(number, written.files(number))
    assert not loaded.awaiting
    for each in found:
        assert loaded.put(*each) is Change.NONE
    assert all_files(loaded) == all_files(written)
    assert loaded.counts() == written.counts()
    assert not loaded.awaiting


def test_a_shard_that_became_empty_is_still_a_shard() -> None:
    book = book_with(entry(ONE))
    book.remove(ONE)
    assert book.shards() == [5]
    assert decode_shard(5, book.files(5)).routes == {}


def test_the_whole_book_can_be_read_by_a_sender() -> None:
    book = book_with((route("u1"), secret_keys("u1")), (route("u2"), secret_keys("u2")))
    files = {**all_files(book), **encode_root(book.shards(), DispatcherRecord())}
    read, problems = decode(files)
    assert problems == []
    assert (read.route("u1"), read.keys("u2")) == (route("u1"), secret_keys("u2"))


def test_of_a_half_written_shard_only_the_keys_are_remembered_until_the_webhook_goes() -> None:
    book, files = DesiredBook(), book_with((route(ONE), secret_keys(ONE)), entry(TWO)).files(5)
    book.load(5, {keys_file(5): files[keys_file(5)]})
    assert (book.route(ONE), book.keys(ONE), len(book)) == (None, secret_keys(ONE), 0)
    assert book.shards() == [5]
    book.remove(ONE)
    assert book.keys(ONE) is None
    assert book.put(*entry(TWO, "new")) is Change.TAKEN
    assert book.keys(TWO) == entry(TWO, "new")[1]


def test_a_route_in_a_shard_that_is_not_its_home_stays_there() -> None:
    book = DesiredBook()
    files = encode_shard(6, shard_with([entry(ONE)]))
    book.load(6, files)
    assert book.put(*entry(ONE)) is Change.NONE
    assert (book.place(ONE), list(book.uids()), book.files(6)) == (6, [ONE], files)


# ---- what senders serve ----------------------------------------------------------------------------------------------


class Fleet:
    """A book and the senders that load its shards, each at its own time."""

    def __init__(self, senders: int) -> None:
        self.book = DesiredBook()
        self.states: dict[str, Mapping[str, Entry]] = {"": {}}
        """What a shard held, by the digest of its index."""
        self.senders: list[dict[str, str]] = [{} for _ in range(senders)]

    def write(self) -> str:
        digest = digest_of(self.book.files(5)[index_file(5)])
        held = {uid: (self.book.route(uid), self.book.keys(uid)) for uid in self.book.uids()}
        self.states[digest] = held  # type: ignore[assignment]  # what uids names is there
        return digest

    def serves(self, sender: Mapping[str, str], uid: str) -> bool:
        held = self.states[sender.get(index_file(5), "")]
        return uid in held and held[uid] == (self.book.route(uid), self.book.keys(uid))


fleet_steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from([ONE, TWO, THREE]), st.integers(0, 2)),
        st.tuples(st.just("await"), st.sampled_from([ONE, TWO, THREE]), st.just(0)),
        st.tuples(st.just("remove"), st.sampled_from([ONE, TWO, THREE]), st.just(0)),
        st.tuples(st.just("write"), st.just(""), st.just(0)),
        st.tuples(st.just("load"), st.just(""), st.integers(0, 1)),
        st.tuples(st.just("ask"), st.just(""), st.just(0)),
    ),
    max_size=40,
)


@given(fleet_steps)
def test_a_webhook_is_awaited_until_every_sender_serves_just_its_newest_form(
    steps: list[tuple[str, str, int]],
) -> None:
    fleet = Fleet(2)
    book, written = fleet.book, ""
    for what, uid, number in steps:
        match what:
            case "put":
                taken = book.put(*entry(uid, str(number)))
                assert taken is not Change.TAKEN or book.awaited(uid)
            case "await" if uid in book:
                book.await_senders(uid)
            case "remove":
                book.remove(uid)
            case "write":
                written = fleet.write()
            case "load" if written:
                fleet.senders[number] = {index_file(5): written}
            case "ask":
                for served in book.served(fleet.senders):
                    assert all(fleet.serves(sender, served) for sender in fleet.senders)
                    assert not book.awaited(served)
    awaited = {uid for uid in (ONE, TWO, THREE) if book.awaited(uid)}
    assert awaited <= set(book.uids())
    written = fleet.write()
    assert set(book.served([{index_file(5): written}, {index_file(5): written}])) == awaited
    assert not book.awaiting


def test_without_a_sender_nothing_is_served() -> None:
    book = book_with(entry(ONE))
    book.files(5)
    assert book.served([]) == []
    assert book.awaiting


def test_a_sender_of_a_shard_that_nobody_wrote_serves_nothing() -> None:
    book = book_with(entry(ONE))
    book.files(5)
    assert book.served([{}, {index_file(5): "0" * 64}]) == []
    assert book.awaiting


def test_a_sender_serves_the_book_when_it_serves_every_shard_as_it_is_now() -> None:
    other = next(f"u{each}" for each in range(100_000) if shard_of(f"u{each}", BOOK_SHARDS) == 6)
    book = book_with(entry(ONE), entry(other))
    now = {index_file(number): digest_of(book.files(number)[index_file(number)]) for number in book.shards()}
    assert book.is_served_by({**now, BOOK_FILE: "whatever"})
    assert not book.is_served_by({index_file(5): now[index_file(5)]})
    book.put(*entry(ONE, "new"))
    book.files(5)
    assert not book.is_served_by(now)


def test_a_sender_that_is_some_writes_behind_serves_what_did_not_change_since() -> None:
    book = book_with(entry(ONE))
    behind = {index_file(5): digest_of(book.files(5)[index_file(5)])}
    for number in range(40):
        book.put(*entry(TWO, str(number)))
        assert book.served([behind]) == ([] if number else [ONE])
        book.files(5)
    assert book.served([behind]) == []
    assert (book.awaited(ONE), book.awaited(TWO)) == (False, True)


# ---- objects in the cluster ------------------------------------------------------------------------------------------


def test_a_shard_comes_back_from_its_config_map_and_secret_and_only_the_secret_holds_secrets() -> None:
    book = book_with((route(ONE), secret_keys(ONE)))
    files = book.files(5)
    config_map, secret = (make("own", "edge", 5, files) for make in (routes_manifest, keys_manifest))
    assert files_of(config_map, secret) == files
    assert CANARY not in json.dumps(config_map)
    assert config_map["data"].keys() == {routes_file(5)}
    assert secret["data"].keys() == {keys_file(5), index_file(5)}
    assert (files_of(None, None), files_of({"data": None}, {})) == ({}, {})


def test_the_objects_of_a_book_are_no_lent_secrets() -> None:
    secret = keys_manifest("own", "edge", 5, book_with(entry(ONE)).files(5))
    assert secret["metadata"]["labels"][BOOK_LABEL] == "edge"
    observed = Observed("own")
    observed.put(SECRETS, {**secret, "metadata": {**secret["metadata"], "resourceVersion": "1"}})
    assert observed.secrets == {}


def test_the_root_names_shards_dispatcher_and_types() -> None:
    types = [TypeRecord(name="order.created", description="", validation="Warn", schema_={"type": "object"})]
    record = DispatcherRecord(allow_cidrs=("10.0.0.0/8",))
    data = root_manifest("own", "edge", [7, 3], record, types)["data"]
    read, problems = decode({name: text.encode() for name, text in data.items()} | all_shards([3, 7]))
    assert (read.dispatcher, read.types, problems) == (record, tuple(types), [])
    assert json.loads(data[BOOK_FILE])["shards"] == [3, 7]


def all_shards(numbers: list[int]) -> dict[str, bytes]:
    return {name: content for number in numbers for name, content in encode_shard(number, shard_with([])).items()}


def test_the_representation_of_a_book_shows_no_secret() -> None:
    book = book_with((route(ONE), secret_keys(ONE)))
    assert CANARY not in repr([book, book._remembered, *(shard.entries for shard in book._shards.values())])
