from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubles.books import CANARY, a_book, books, entries, route, secret_keys
from hookline import bookfiles
from hookline.bookfiles import (
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
from hookline.routes import BOOK_FILE, BOOK_SHARDS, Book, Keys, Route, Shard, book_of, index_file, shard_of, shard_with

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


def test_a_record_that_is_not_understood_names_its_field_and_no_value() -> None:
    with pytest.raises(BookError, match="query") as error:
        decode_shard(ONE, shard_files([{"uid": "u1", "query": [CANARY]}]))
    assert CANARY not in str(error.value)


def test_a_shard_whose_files_name_different_webhooks_is_refused() -> None:
    with pytest.raises(BookError, match="same Webhooks"):
        decode_shard(ONE, shard_files([{"uid": "u2"}]))


def test_the_keys_of_a_torn_shard_can_still_be_read() -> None:
    files = encode(a_book())
    assert decode_keys(ONE, {keys_file(ONE): files[keys_file(ONE)]}) == {"u1": secret_keys("u1")}
    assert decode_keys(ONE, {}) == decode_keys(ONE, {keys_file(ONE): b"{"}) == {}


def test_an_empty_shard_is_a_shard() -> None:
    assert decode_shard(ONE, encode_shard(ONE, Shard({}, {}))).routes == {}


def test_the_contracts_are_json_schemas_that_name_every_field() -> None:
    for text in bookfiles.contracts().values():
        assert json.loads(text)["properties"]
