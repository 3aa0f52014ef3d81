"""The route book as a sender reads it: real folders, real changes, as `hookline run` and as a kubelet write them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from doubles.books import CANARY, a_book, route, secret_keys
from doubles.kubelet import atomic_write
from doubles.local import until
from hookline.delivery import route_book
from hookline.delivery.route_book import RouteBook
from hookline.local import book_folder
from hookline.routing.book_files import encode, keys_file, routes_file
from hookline.routing.routes import BOOK_FILE, BOOK_SHARDS, Book, book_of, index_file, shard_of
from hookline.runtime import folders
from hookline.runtime.metrics import SenderMetrics

ONE, TWO = shard_of("u1", BOOK_SHARDS), shard_of("u2", BOOK_SHARDS)


def changed(name: str = "new") -> Book:
    """The book with another u1."""
    return book_of([(route("u1", name=name), secret_keys("u1")), (route("u2"), secret_keys("u2"))])


def read(folder: Path) -> RouteBook:
    book = RouteBook(folder, SenderMetrics())
    book.reload()
    return book


def title(books: RouteBook, uid: str = "u1") -> str:
    found = books.current.route(uid) if books.current else None
    return found.name if found else ""


@contextlib.asynccontextmanager
async def watching(folder: Path) -> AsyncIterator[RouteBook]:
    books, stop = RouteBook(folder, SenderMetrics()), asyncio.Event()
    task = asyncio.create_task(books.watch(stop))
    try:
        yield books
    finally:
        stop.set()
        await task


def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are read from now on."""
    seen: list[str] = []
    content = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        seen.append(path.name)
        return content(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    return seen


def test_a_change_of_one_webhook_reads_the_small_files_and_its_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book_folder.write(a_book(), tmp_path)
    books = read(tmp_path)
    before = books.current
    seen = reads(monkeypatch)
    books.reload()
    assert books.current is before
    assert not any(name.startswith(("routes-", "keys-")) for name in seen)
    book_folder.write(
        book_of([(route("u1", name="new"), secret_keys("u1")), (route("u2"), secret_keys("u2"))]), tmp_path
    )
    seen.clear()
    books.reload()
    assert {name for name in seen if name.startswith(("routes-", "keys-"))} == {routes_file(ONE), keys_file(ONE)}
    assert before is not None
    assert books.current is not None
    assert books.current.shards[TWO] is before.shards[TWO]
    assert title(books) == "new"


def test_listeners_hear_of_each_new_book_and_of_nothing_else(tmp_path: Path) -> None:
    heard: list[Book] = []
    book_folder.write(a_book(), tmp_path)
    books = RouteBook(tmp_path, SenderMetrics())
    books.on_change(heard.append)
    for book in (a_book(), changed(), changed()):
        book_folder.write(book, tmp_path)
        books.reload()
        books.reload()
    assert [each.route("u1") for each in heard] == [route("u1"), route("u1", name="new")]


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"format": 1}', b'{"format": 3, "shards": []}', b"\xff\xfe"])
def test_a_book_that_is_damaged_or_of_another_format_changes_nothing(tmp_path: Path, content: bytes) -> None:
    book_folder.write(a_book(), tmp_path)
    books = read(tmp_path)
    assert books.problem == ""
    for name in (BOOK_FILE, index_file(ONE)):
        good = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content)
        books.reload()
        assert name in books.problem
        assert title(books) == "hook"
        (tmp_path / name).write_bytes(good)
    books.reload()
    assert books.problem == ""


@pytest.mark.parametrize("make", ["missing", "a file", "unreadable entry"])
def test_a_folder_that_is_none_is_a_problem_and_no_exception(tmp_path: Path, make: str) -> None:
    folder = tmp_path / "book"
    if make == "a file":
        folder.write_text("")
    elif make == "unreadable entry":
        (folder / BOOK_FILE).mkdir(parents=True)
    books = read(folder)
    assert books.current is None
    assert BOOK_FILE in books.problem


def test_a_torn_shard_keeps_only_that_shard_and_is_worth_a_line_only_when_it_lasts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book_folder.write(a_book(), tmp_path)
    books = read(tmp_path)
    both = book_of([(route(uid, name="new"), secret_keys(uid)) for uid in ("u1", "u2")])
    files = encode(both)
    for name, content in files.items():
        if name != keys_file(ONE):
            (tmp_path / name).write_bytes(content)
    (tmp_path / keys_file(ONE)).write_bytes(b"[")
    with capture_logs() as logs:
        books.reload()
        assert (title(books, "u1"), title(books, "u2")) == ("hook", "new")
        assert [each["event"] for each in logs] == ["configuration loaded"]
        monkeypatch.setattr(route_book, "PATIENCE_SECONDS", 0.0)
        books.reload()
        books.reload()
        said = [each for each in logs if each["event"] == "route book not usable"]
        assert [keys_file(ONE) in each["problem"] for each in said] == [True]
        (tmp_path / keys_file(ONE)).write_bytes(files[keys_file(ONE)])
        books.reload()
        assert title(books, "u1") == "new"
        (tmp_path / keys_file(ONE)).write_bytes(b"[")
        (tmp_path / index_file(ONE)).write_bytes(b"{")
        books.reload()
        assert logs[-1]["event"] == "route book not usable"
    assert CANARY not in str(logs)


def test_a_first_book_that_is_not_whole_is_said_at_once_and_once(tmp_path: Path) -> None:
    book_folder.write(a_book(), tmp_path)
    (tmp_path / keys_file(ONE)).unlink()
    books = RouteBook(tmp_path, SenderMetrics())
    with capture_logs() as logs:
        for _ in range(3):
            books.reload()
    assert [(each["problem"], each["doing"]) for each in logs] == [
        (f"{keys_file(ONE)} is missing", "waiting for a first good one")
    ]


def test_a_policy_that_is_none_stays_what_it_was_and_the_webhooks_go_on(tmp_path: Path) -> None:
    book_folder.write(a_book(), tmp_path)
    books = read(tmp_path)
    bad = a_book().dispatcher.model_copy(update={"allow_cidrs": ("169.254.0.0/16",)})
    book_folder.write(Book(changed().shards, bad), tmp_path)
    books.reload()
    assert (title(books), books.policy) == ("new", a_book().dispatcher.policy())
    for _ in range(2):
        books.reload()
        assert "dispatcher.json" in books.problem


async def test_a_folder_that_comes_later_is_read_then(tmp_path: Path) -> None:
    async with watching(tmp_path / "later") as books:
        await until(lambda: BOOK_FILE in books.problem)
        book_folder.write(a_book(), tmp_path / "later")
        await until(lambda: title(books) == "hook")
        book_folder.write(changed(), tmp_path / "later")
        await until(lambda: title(books) == "new")


async def test_a_volume_that_a_kubelet_writes_is_followed_from_swap_to_swap(tmp_path: Path) -> None:
    # Optional sources that do not exist yet: an empty volume.
    atomic_write(tmp_path, {})
    async with watching(tmp_path) as books:
        await until(lambda: BOOK_FILE in books.problem)
        atomic_write(tmp_path, encode(a_book()))
        await until(lambda: title(books) == "hook", seconds=4)
        for number in range(20):
            atomic_write(tmp_path, encode(changed(str(number))))
            await until(lambda: title(books) == str(number), seconds=4)  # noqa: B023


async def test_objects_of_a_volume_that_come_one_after_the_other_are_taken_when_they_are_whole(tmp_path: Path) -> None:
    """A kubelet may have the new ConfigMap of a shard before its new Secret."""
    old, new = encode(a_book()), encode(changed())
    atomic_write(tmp_path, old)
    async with watching(tmp_path) as books:
        await until(lambda: title(books) == "hook")
        atomic_write(tmp_path, {**old, routes_file(ONE): new[routes_file(ONE)]})
        atomic_write(tmp_path, {**old, routes_file(ONE): b"["})
        await until(lambda: routes_file(ONE) in books.problem or books.problem == "")
        assert title(books) == "hook"
        atomic_write(tmp_path, new)
        await until(lambda: title(books) == "new", seconds=4)


async def test_a_file_system_that_reports_nothing_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: object, **__: object) -> None:
        raise OSError("no watches left")

    monkeypatch.setattr(folders, "awatch", none_left)
    book_folder.write(a_book(), tmp_path)
    async with watching(tmp_path) as books:
        await until(lambda: title(books) == "hook")
        book_folder.write(changed(), tmp_path)
        await until(lambda: title(books) == "new")
