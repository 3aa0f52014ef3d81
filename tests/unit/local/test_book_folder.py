from __future__ import annotations

from pathlib import Path

import pytest

from doubles.books import a_book, route, secret_keys
from hookline.local import book_folder
from hookline.routing.book_files import BookError, decode, encode, is_secret, keys_file
from hookline.routing.routes import BOOK_FILE, BOOK_SHARDS, Book, book_of, shard_of

ONE = shard_of("u1", BOOK_SHARDS)


def changed() -> Book:
    """Another u1, another dispatcher, and a Webhook in a shard that is new; u2 and its shard are gone."""
    return book_of([(route("u1", name="new"), secret_keys("u1")), (route("u3"), secret_keys("u3"))])


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_folder_holds_the_book_and_nothing_else(tmp_path: Path) -> None:
    book_folder.write(a_book(), tmp_path)
    assert files_in(tmp_path) == encode(a_book())
    book_folder.write(changed(), tmp_path)
    assert files_in(tmp_path) == encode(changed())


def test_the_same_book_again_writes_nothing_and_one_change_its_shard(tmp_path: Path) -> None:
    assert book_folder.write(a_book(), tmp_path) == len(encode(a_book()))
    assert book_folder.write(a_book(), tmp_path) == 0
    entries = [(route("u1", name="new"), secret_keys("u1")), (route("u2"), secret_keys("u2"))]
    book_folder.write(book_of([(route("u1"), secret_keys("u1")), entries[1]]), tmp_path)
    assert book_folder.write(book_of(entries), tmp_path) == 2  # routes and index: the keys are the same


def test_files_with_secrets_are_for_their_owner_only(tmp_path: Path) -> None:
    book_folder.write(a_book(), tmp_path / "book")
    assert (tmp_path / "book").stat().st_mode & 0o077 == 0
    for path in (tmp_path / "book").iterdir():
        assert bool(path.stat().st_mode & 0o077) is not is_secret(path.name)


def test_at_no_moment_is_there_a_book_that_was_never_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads between two writes finds the old book, the new one, parts of both by whole shards, or an error."""
    book_folder.write(a_book(), tmp_path)
    before, _ = decode(encode(a_book()))
    meant = {None, *before.routes(), *changed().routes()}
    seen: list[str] = []
    replace = Path.replace

    def replacing(path: Path, target: Path) -> Path:
        done = replace(path, target)
        seen.append(target.name)
        files = {name: content for name, content in files_in(tmp_path).items() if name.endswith(".json")}
        try:
            now, _ = decode(files, before)
        except BookError:
            return done
        assert {now.route(uid) for uid in ("u1", "u2", "u3")} <= meant
        assert now.shards[ONE].keys == before.shards[ONE].keys
        return done

    monkeypatch.setattr(Path, "replace", replacing)
    book_folder.write(changed(), tmp_path)
    assert seen[-1] == BOOK_FILE
    assert all(name.startswith("index-") for name in seen[-3:-1])


def test_keys_are_read_back_and_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    assert book_folder.read_keys(tmp_path / "none") == {}
    book_folder.write(a_book(), tmp_path)
    assert book_folder.read_keys(tmp_path) == {uid: secret_keys(uid) for uid in ("u1", "u2")}
    (tmp_path / keys_file(ONE)).write_bytes(b"[")
    assert book_folder.read_keys(tmp_path) == {"u2": secret_keys("u2")}


def test_routes_are_read_back_by_title_and_those_of_a_shard_that_is_not_whole_are_left_out(tmp_path: Path) -> None:
    assert book_folder.read_routes(tmp_path / "none") == {}
    book_folder.write(a_book(), tmp_path)
    routes = {each.title: each for each in a_book().routes()}
    assert book_folder.read_routes(tmp_path) == routes
    (tmp_path / keys_file(ONE)).write_bytes(b"[")
    assert book_folder.read_routes(tmp_path) == {title: each for title, each in routes.items() if each.uid == "u2"}
