from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubles.books import CANARY, a_book, books, entries, route, secret_keys
from hookline.routing import book_files
from hookline.routing.book_files import (
    DISPATCHER_FILE,
    TYPES_FILE,
    BookError,
    decode,
    decode_keys,
    decode_shard,
    digest_of,
    encode,
    encode_shard,
    is_secret,
    keys_file,
    routes_file,
)
from hookline.routing.routes import (
    BOOK_FILE,
    BOOK_SHARDS,
    Book,
    DispatcherRecord,
    Keys,
    RetiredKey,
    Route,
    RouteState,
    Shard,
    book_of,
    index_file,
    shard_of,
    shard_with,
)

ONE, TWO = shard_of("u1", BOOK_SHARDS), shard_of("u2", BOOK_SHARDS)


def without(files: Mapping[str, bytes], name: str) -> dict[str, bytes]:
    return {each: content for each, content in files.items() if each != name}


def changed(**changes: object) -> Book:
    """The book with another u1."""
    return book_of([(route("u1", **changes), secret_keys("u1")), (route("u2"), secret_keys("u2"))])


def whole(files: Mapping[str, bytes]) -> Book:
    book, problems = decode(files)
    assert problems == []
    return book


def content_of(book: Book) -> dict[int, tuple[Mapping[str, Route], Mapping[str, Keys]]]:
    return {number: (shard.routes, shard.keys) for number, shard in book.shards.items()}


@given(books)
def test_what_was_encoded_is_decoded(pairs: list[tuple[Route, Keys]]) -> None:
    book = book_of(pairs)
    read = whole(encode(book))
    assert content_of(read) == content_of(book)
    assert (read.dispatcher, read.types) == (book.dispatcher, book.types)


@given(books, entries())
def test_one_more_webhook_changes_the_three_files_of_its_shard(
    pairs: list[tuple[Route, Keys]], added: tuple[Route, Keys]
) -> None:
    before, after = encode(book_of(pairs)), encode(book_of([*pairs, added]))
    written = {name for name in after if before.get(name) != after[name]} - {BOOK_FILE}
    number = shard_of(added[0].uid, BOOK_SHARDS)
    assert written <= {routes_file(number), keys_file(number), index_file(number)}
    if number in book_of(pairs).shards:
        assert before[BOOK_FILE] == after[BOOK_FILE]


def test_the_digests_of_what_is_served_are_those_of_the_files() -> None:
    files = encode(a_book())
    assert whole(files).served() == {name: digest_of(files[name]) for name in (BOOK_FILE, *map(index_file, (ONE, TWO)))}


def test_files_that_are_not_secret_hold_no_secret() -> None:
    files = encode(a_book())
    assert any(CANARY.encode() in content for name, content in files.items() if is_secret(name))
    assert not any(CANARY.encode() in content for name, content in files.items() if not is_secret(name))
    # A digest of a secret tells whoever guesses it that the guess was right.
    assert all(is_secret(index_file(number)) for number in range(BOOK_SHARDS))


def test_a_first_book_with_a_missing_damaged_or_mixed_file_is_refused_by_the_file_name() -> None:
    files, other = encode(a_book()), encode(changed(name="other"))
    for name in files:
        with pytest.raises(BookError, match=name.replace(".", r"\.")) as error:
            decode(without(files, name))
        assert CANARY not in str(error.value)
        with pytest.raises(BookError, match=name.replace(".", r"\.")):
            decode({**files, name: files[name][:-1]})
    with pytest.raises(BookError, match=routes_file(ONE)):
        decode({**files, routes_file(ONE): other[routes_file(ONE)]})


def test_a_torn_shard_stays_as_it_was_and_the_others_go_on() -> None:
    before = whole(encode(a_book()))
    both = book_of([(route("u1", name="new"), secret_keys("u1")), (route("u2", name="new"), secret_keys("u2"))])
    files = encode(both)
    for torn in (without(files, keys_file(ONE)), {**files, routes_file(ONE): b"["}, without(files, index_file(ONE))):
        now, problems = decode(torn, before)
        assert len(problems) == 1
        assert (now.shards[ONE], now.route("u2")) == (before.shards[ONE], both.route("u2"))
        assert now.served()[index_file(ONE)] == before.served()[index_file(ONE)]


def test_a_new_shard_that_is_torn_is_missing_until_it_is_whole() -> None:
    files = encode(a_book())
    before = whole(encode(book_of([(route("u1"), secret_keys("u1"))])))
    now, problems = decode(without(files, keys_file(TWO)), before)
    assert (now.route("u2"), len(problems)) == (None, 1)
    assert decode(files, now)[0].route("u2") == route("u2")


def test_a_root_that_is_not_whole_is_refused_also_when_there_was_a_book() -> None:
    files = encode(a_book())
    for name in (BOOK_FILE, DISPATCHER_FILE, TYPES_FILE):
        with pytest.raises(BookError, match=name):
            decode(without(files, name), whole(files))


def test_a_shard_that_did_not_change_is_not_read_again() -> None:
    files = encode(a_book())
    before = whole(files)
    now, problems = decode({name: files[name] for name in files if not name.startswith(("routes-", "keys-"))}, before)
    assert problems == []
    assert all(now.shards[number] is before.shards[number] for number in (ONE, TWO))


def test_a_shard_that_the_root_no_longer_names_is_gone() -> None:
    before = whole(encode(a_book()))
    now, problems = decode({**encode(a_book()), **encode(book_of([(route("u1"), secret_keys("u1"))]))}, before)
    assert set(now.shards) == {ONE}
    assert problems == []


@pytest.mark.parametrize("name", [BOOK_FILE, index_file(ONE)])
def test_a_book_of_another_format_is_refused(name: str) -> None:
    files = encode(a_book())
    content = {**json.loads(files[name]), "format": 99}
    with pytest.raises(BookError, match="format 99"):
        decode({**files, name: json.dumps(content).encode()})


@pytest.mark.parametrize("shards", [["../outside"], [-1], [BOOK_SHARDS], "all"])
def test_a_root_that_names_a_strange_shard_is_refused(shards: object) -> None:
    files = encode(a_book())
    root = {**json.loads(files[BOOK_FILE]), "shards": shards}
    with pytest.raises(BookError, match="shards"):
        decode({**files, BOOK_FILE: json.dumps(root).encode()})


@given(st.dictionaries(st.sampled_from([BOOK_FILE, TYPES_FILE, "routes-00.json"]), st.binary(max_size=60)))
def test_any_files_are_a_book_or_a_book_error(files: dict[str, bytes]) -> None:
    with pytest.raises(BookError):
        decode(files)


def shard_files(keys: list[object]) -> dict[str, bytes]:
    """The shard of u1 with other keys, all digests right."""
    files = encode_shard(ONE, shard_with([(route("u1"), secret_keys("u1"))]))
    content = json.dumps(keys).encode()
    index = {**json.loads(files[index_file(ONE)]), "keys": digest_of(content)}
    return {**files, keys_file(ONE): content, index_file(ONE): json.dumps(index).encode()}


@pytest.mark.parametrize("keys", [[{"uid": "u2"}], [{"uid": "u1", "query": [CANARY]}], [{"uid": ["u1"]}], []])
def test_a_route_without_keys_that_are_understood_is_held(keys: list[object]) -> None:
    shard = decode_shard(ONE, shard_files(keys))
    assert shard.routes == {"u1": route("u1", state="Held")}
    assert shard.keys == {"u1": Keys(uid="u1")}
    assert shard.unread == {"u1": f"{keys_file(ONE)} holds no keys of it that are understood"}


def test_the_keys_of_a_torn_shard_can_still_be_read() -> None:
    files = encode(a_book())
    assert decode_keys(ONE, {keys_file(ONE): files[keys_file(ONE)]}) == {"u1": secret_keys("u1")}
    assert decode_keys(ONE, {}) == decode_keys(ONE, {keys_file(ONE): b"{"}) == {}


def test_an_empty_shard_is_a_shard() -> None:
    assert decode_shard(ONE, encode_shard(ONE, Shard({}, {}))).routes == {}


def test_the_contracts_are_json_schemas_that_name_every_field() -> None:
    for text in book_files.contracts().values():
        assert json.loads(text)["properties"]


OF_BEFORE: dict[str, list[dict[str, Any]]] = {
    "dispatcher.json": [
        {
            "allow_cidrs": ["10.0.0.0/8"],
            "allow_own": False,
            "allow_ports": ["443", "1024-65535"],
            "dead_seconds": 2592000,
            "events_seconds": 604800,
            "parked_seconds": 604800,
            "proxy_url": None,
            "stream_replicas": 1,
        }
    ],
    "types.json": [
        {"description": "", "name": "order.created", "schema": {"type": "object"}, "validation": "Warn"},
    ],
    "routes-58.json": [
        {
            "event": "IdentityCreated",
            "generation": 1,
            "max_concurrency": 10,
            "name": "hook",
            "namespace": "default",
            "rate_limit": None,
            "schedule_seconds": [5],
            "state": "Active",
            "timeout_seconds": 15,
            "uid": "u1",
            "url": "https://example.com/",
        }
    ],
    "keys-58.json": [
        {
            "ca_pem": None,
            "client_cert_pem": None,
            "client_key_pem": None,
            "headers": [["x", "y"]],
            "query": "q=1",
            "retired": [{"key": "whsec_b", "until_s": 7}],
            "signing": "whsec_a",
            "uid": "u1",
        }
    ],
}
"""The records of the last version that refused every field it did not know, each field written out."""

NEXT = {"of_the_next_version": {"x": [1]}}


def of_records(records: Mapping[str, Sequence[object]], **more: object) -> dict[str, bytes]:
    """A book of one shard, 58, of these records, all digests right. `more` stands in root and index."""
    contents = {name: found[0] if name == "dispatcher.json" else found for name, found in records.items()}
    files = {name: json.dumps(content).encode() for name, content in contents.items()}
    index = {"routes": digest_of(files["routes-58.json"]), "keys": digest_of(files["keys-58.json"])}
    root = {"shards": [58], "dispatcher": digest_of(files["dispatcher.json"]), "types": digest_of(files["types.json"])}
    written: dict[str, Mapping[str, object]] = {"index-58.json": index, "book.json": root}
    return files | {name: json.dumps({"format": 2, **found, **more}).encode() for name, found in written.items()}


def with_next(record: Any) -> Any:
    """The record with a field of the next version at every level, but in a schema, which users write."""
    if isinstance(record, list):
        return [with_next(each) for each in record]
    if not isinstance(record, dict):
        return record
    return {key: value if key == "schema" else with_next(value) for key, value in record.items()} | NEXT


def two_routes(first: Mapping[str, object]) -> dict[str, bytes]:
    """A book of u1, changed so, and its neighbour n-5 in the same shard."""
    (of_u1,), (keys,) = OF_BEFORE["routes-58.json"], OF_BEFORE["keys-58.json"]
    neighbour = {**of_u1, "uid": "n-5", "name": "neighbour"}
    return of_records(
        {
            **OF_BEFORE,
            "routes-58.json": [{**of_u1, **first}, neighbour],
            "keys-58.json": [{"uid": "n-5"}, keys],
        }
    )


def test_a_book_of_the_version_before_is_read_as_it_was_meant() -> None:
    book = whole(of_records(OF_BEFORE))
    assert book.route("u1") == route("u1")
    retired = (RetiredKey(key="whsec_b", until_s=7),)
    assert book.keys("u1") == Keys(uid="u1", query="q=1", signing="whsec_a", retired=retired, headers=(("x", "y"),))
    assert book.dispatcher == DispatcherRecord(allow_cidrs=("10.0.0.0/8",))
    assert [each.name for each in book.types] == ["order.created"]
    assert book.unread == {}


def test_a_book_is_written_so_that_the_version_before_reads_it() -> None:
    """It refuses fields that it does not know, and what it knows is the same when it is absent."""
    files = encode(whole(of_records(OF_BEFORE)))
    for name, (known,) in OF_BEFORE.items():
        content = json.loads(files[name])
        (written,) = content if isinstance(content, list) else [content]
        assert written.keys() <= known.keys()
        assert all(written[key] == value for key, value in known.items() if key in written)


def test_fields_of_the_next_version_are_passed_over_at_every_level() -> None:
    records = {name: [with_next(each) for each in found] for name, found in OF_BEFORE.items()}
    book, before = whole(of_records(records, **NEXT)), whole(of_records(OF_BEFORE))
    assert content_of(book) == content_of(before)
    assert (book.dispatcher, book.unread) == (before.dispatcher, {})


def test_what_the_next_version_says_of_an_event_type_is_handed_on_to_publishers() -> None:
    (kind,) = OF_BEFORE["types.json"]
    newer = {**kind, **NEXT, "validation": "Audit"}
    (read,) = whole(of_records({**OF_BEFORE, "types.json": [newer]})).types
    assert read.model_dump(mode="json", exclude_defaults=True) == newer
    # Of what it does not know a publisher takes the strictest.
    assert read.spec().validation == "Enforce"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"needs": ["filters"]}, "it needs filters, which this version of the sender does not know"),
        ({"needs": ["b", "a"]}, "it needs a, b, which this version of the sender does not know"),
        ({"needs": "all"}, "routes-58.json holds a record that is not understood, at needs"),
        ({"state": "Draining"}, "routes-58.json holds a record that is not understood, at state"),
        ({"rate_limit": {"calls": 1}}, "routes-58.json holds a record that is not understood, at rate_limit"),
        ({"timeout_seconds": 300}, "routes-58.json holds a record that is not understood, at timeout_seconds"),
    ],
)
def test_a_route_that_this_version_cannot_do_right_by_is_held_and_no_other(change: dict[str, object], why: str) -> None:
    for before in (None, whole(of_records(OF_BEFORE))):
        book, problems = decode(two_routes(change), before)
        held, neighbour = book.route("u1"), book.route("n-5")
        assert problems == []
        assert held is not None
        assert neighbour is not None
        # Its events are not lost to it: they become deliveries that wait.
        assert (held.state, held.event, held.title) == (RouteState.HELD, "IdentityCreated", "default/hook")
        assert neighbour.state is RouteState.ACTIVE
        assert book.unread == {"u1": why}
    assert whole(two_routes({"needs": []})).unread == {}


@pytest.mark.parametrize("change", [{"needs": ["filters"]}, {"rate_limit": "fast"}])
def test_a_disabled_webhook_stays_disabled_whatever_else_is_not_known(change: dict[str, object]) -> None:
    held = whole(two_routes({**change, "state": "Disabled"})).route("u1")
    assert held is not None
    assert held.state is RouteState.DISABLED


def test_a_need_that_this_version_knows_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book_files, "KNOWN_NEEDS", frozenset({"filters"}))
    book = whole(two_routes({"needs": ["filters"]}))
    assert book.unread == {}
    found = book.route("u1")
    assert found is not None
    assert found.state is RouteState.ACTIVE


@pytest.mark.parametrize("change", [{"uid": ["u1"]}, {"uid": "../u1"}, {"event": ["A", "B"]}])
def test_a_record_that_is_nobodys_is_left_out_and_said_for_as_long_as_it_is_there(change: dict[str, object]) -> None:
    files = two_routes({"state": "New", **change})
    book, problems = decode(files)
    assert (book.route("u1"), bool(book.route("n-5"))) == (None, True)
    assert problems == decode(files, book)[1]
    assert "routes-58.json" in problems[0]


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("dispatcher.json", {"allow_ports": ["443/udp"]}),
        ("dispatcher.json", {"stream_replicas": "all"}),
        ("types.json", {"name": "a", "schema": []}),
    ],
)
def test_a_root_that_is_not_understood_keeps_what_it_said_before_and_routes_go_on(
    name: str, record: dict[str, object]
) -> None:
    before = whole(of_records(OF_BEFORE))
    (of_u1,) = OF_BEFORE["routes-58.json"]
    files = of_records({**OF_BEFORE, name: [record], "routes-58.json": [{**of_u1, "name": "new"}]})
    book, problems = decode(files, before)
    assert (book.dispatcher, book.types, book.digest) == (before.dispatcher, before.types, before.digest)
    assert book.route("u1") == route("u1", name="new")
    assert decode(files, book)[1] == problems
    assert name in problems[0]
    with pytest.raises(BookError, match=name):
        decode(files)


def test_what_is_absent_means_what_it_always_meant() -> None:
    """A default that changes would change the meaning of every book that was written before."""
    (dispatcher,), (keys,) = OF_BEFORE["dispatcher.json"], OF_BEFORE["keys-58.json"]
    log = {"attempts_enabled": True, "attempts_seconds": 604_800, "attempts_bytes": 1_073_741_824}
    later: dict[str, object] = {"allow_cidrs": [], "stream_prefix": None, **log}
    assert DispatcherRecord().model_dump(mode="json") == {**dispatcher, **later}
    absent: dict[str, object] = {**dict.fromkeys(keys), "uid": "u1", "query": "", "retired": [], "headers": []}
    assert Keys(uid="u1").model_dump(mode="json") == absent
    assert (route("u1").rate_limit, route("u1").needs) == (None, ())
