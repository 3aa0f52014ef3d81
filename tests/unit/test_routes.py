from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline import routes
from hookline.routes import (
    BOOK_SHARDS,
    INDEX_FILE,
    Book,
    BookError,
    DispatcherRecord,
    Keys,
    Route,
    RouteState,
    TypeRecord,
    book_of,
    decode,
    encode,
    is_secret,
    shard_of,
)

CANARY = "canary-8d1f"

texts = st.text(max_size=30)
uids = st.uuids().map(str)


@st.composite
def entries(draw: st.DrawFn) -> tuple[Route, Keys]:
    uid = draw(uids)
    route = Route(
        uid=uid,
        namespace=draw(st.sampled_from(["default", "team-a"])),
        name=draw(st.text("abc-", min_size=1, max_size=20)),
        generation=draw(st.integers(0, 9)),
        state=draw(st.sampled_from(RouteState)),
        event=draw(st.sampled_from(["IdentityCreated", "order.created", None])),
        url=draw(texts),
        timeout_seconds=draw(st.integers(1, 30)),
        schedule_seconds=tuple(draw(st.lists(st.integers(1, 86400), max_size=20))),
        max_concurrency=draw(st.integers(1, 1000)),
    )
    keys = Keys(
        uid=uid,
        query=draw(texts),
        signing=tuple(draw(st.lists(texts, max_size=2))),
        headers=tuple(draw(st.lists(st.tuples(texts, texts), max_size=3))),
        ca_pem=draw(st.none() | texts),
    )
    return route, keys


books = st.lists(entries(), max_size=12, unique_by=lambda entry: entry[0].uid)


def route(uid: str = "u1", **changes: object) -> Route:
    fields: dict[str, object] = {
        "uid": uid,
        "namespace": "default",
        "name": "hook",
        "generation": 1,
        "state": RouteState.ACTIVE,
        "event": "IdentityCreated",
        "url": "https://example.com/",
        "timeout_seconds": 15,
        "schedule_seconds": (5,),
        "max_concurrency": 10,
    }
    return Route.model_validate({**fields, **changes})


def secret_keys(uid: str = "u1") -> Keys:
    return Keys(uid=uid, query=CANARY, signing=(CANARY,), headers=(("x", CANARY),), client_key_pem=CANARY)


def a_book() -> Book:
    return book_of(
        [(route("u1"), secret_keys("u1")), (route("u2"), secret_keys("u2"))],
        DispatcherRecord(allow_cidrs=("10.0.0.0/8",)),
        [TypeRecord(name="order.created", description="", validation="Warn", schema_={"type": "object"})],
    )


@given(books)
def test_what_was_encoded_is_decoded(pairs: list[tuple[Route, Keys]]) -> None:
    book = book_of(pairs)
    read = decode(encode(book))
    assert (read.routes, read.keys) == (book.routes, book.keys)
    assert (read.dispatcher, read.types) == (book.dispatcher, book.types)


@given(books, st.randoms())
def test_the_files_do_not_depend_on_the_order_of_webhooks(pairs: list[tuple[Route, Keys]], random: object) -> None:
    shuffled = list(pairs)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert encode(book_of(pairs)) == encode(book_of(shuffled))


@given(books, entries())
def test_one_more_webhook_changes_its_two_shards_and_the_index_only(
    pairs: list[tuple[Route, Keys]], added: tuple[Route, Keys]
) -> None:
    before, after = encode(book_of(pairs)), encode(book_of([*pairs, added]))
    changed = {name for name in after if before.get(name) != after[name]}
    shard = shard_of(added[0].uid, BOOK_SHARDS)
    if added[0].uid not in [route.uid for route, _ in pairs]:
        assert changed == {f"routes-{shard:02}.json", f"keys-{shard:02}.json", INDEX_FILE}


def test_files_that_are_not_secret_hold_no_secret() -> None:
    files = encode(a_book())
    assert any(CANARY.encode() in content for name, content in files.items() if is_secret(name))
    assert not any(CANARY.encode() in content for name, content in files.items() if not is_secret(name))


def test_the_representation_of_keys_shows_no_secret() -> None:
    assert CANARY not in repr(secret_keys())
    assert CANARY not in repr(a_book())


def without(files: Mapping[str, bytes], name: str) -> dict[str, bytes]:
    return {each: content for each, content in files.items() if each != name}


def test_a_book_with_a_missing_damaged_or_mixed_file_is_refused_by_the_file_name() -> None:
    files = encode(a_book())
    other = encode(book_of([(route("u1", name="other"), secret_keys("u1")), (route("u2"), secret_keys("u2"))]))
    for name in files:
        with pytest.raises(BookError, match=name.replace(".", r"\.")) as error:
            decode(without(files, name))
        assert CANARY not in str(error.value)
        with pytest.raises(BookError, match=name.replace(".", r"\.")):
            decode({**files, name: files[name][:-1]})
    shard = f"routes-{shard_of('u1', BOOK_SHARDS):02}.json"
    with pytest.raises(BookError, match=shard):
        decode({**files, shard: other[shard]})


def test_a_book_of_another_format_is_refused() -> None:
    files = encode(a_book())
    index = json.loads(files[INDEX_FILE])
    index["format"] = 99
    with pytest.raises(BookError, match="format 99"):
        decode({**files, INDEX_FILE: json.dumps(index).encode()})


@pytest.mark.parametrize("name", ["../outside.json", "/etc/passwd", "routes-1.json", "keys-00.json/x"])
def test_an_index_that_names_a_strange_file_is_refused(name: str) -> None:
    files = encode(a_book())
    index = json.loads(files[INDEX_FILE])
    index["files"][name] = "0"
    with pytest.raises(BookError, match="no book has"):
        routes.file_names(json.dumps(index).encode())


@given(st.dictionaries(st.sampled_from([INDEX_FILE, "types.json", "routes-00.json"]), st.binary(max_size=60)))
def test_any_files_are_a_book_or_a_book_error(files: dict[str, bytes]) -> None:
    with pytest.raises(BookError):
        decode(files)


def test_a_record_that_is_not_understood_names_its_field_and_no_value() -> None:
    files = encode(book_of([(route("u1"), secret_keys("u1"))]))
    shard = f"keys-{shard_of('u1', BOOK_SHARDS):02}.json"
    records = json.loads(files[shard])
    records[0]["query"] = [CANARY]
    content = json.dumps(records).encode()
    index = json.loads(files[INDEX_FILE])
    index["files"][shard] = routes.digest_of(content)
    with pytest.raises(BookError, match="query") as error:
        decode({**files, shard: content, INDEX_FILE: json.dumps(index).encode()})
    assert CANARY not in str(error.value)


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
    assert [each.uid for each in book.match("default", "IdentityCreated")] == ["u1", "u2"]
    assert book.match("default", "Unheard") == ()


@given(uids)
def test_a_webhook_stays_in_its_shard(uid: str) -> None:
    assert shard_of(uid, BOOK_SHARDS) == shard_of(uid, BOOK_SHARDS)
    assert 0 <= shard_of(uid, 16) < 16
