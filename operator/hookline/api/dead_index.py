"""Dead letters of one Dispatcher in a file of SQLite, so that lists are quick. The streams are the truth.

Made anew at each start, out of the headers of what is there. A row has what lists show; headers and the answer are read
out of the stream. Used by one thread. Raises sqlite3.Error: of a file that is broken, or a disk that is full.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hookline.api.index import remove
from hookline.api.log import Wanted

SCAN = 50_000
"""Rows that are looked at for one part of a list."""

_TABLE = """
CREATE TABLE dead (
    place INTEGER PRIMARY KEY,
    stream TEXT NOT NULL, seq INTEGER NOT NULL, tenant TEXT NOT NULL, webhook TEXT NOT NULL, uid TEXT NOT NULL,
    event_id TEXT NOT NULL, event_type TEXT NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL,
    failed_at_s REAL NOT NULL, attempt INTEGER NOT NULL, outcome TEXT NOT NULL, status INTEGER,
    body_bytes INTEGER NOT NULL
);
CREATE UNIQUE INDEX by_seq ON dead (stream, seq);
CREATE INDEX by_tenant ON dead (tenant);
CREATE INDEX by_webhook ON dead (tenant, webhook);
CREATE INDEX by_event ON dead (event_id);
"""
_INSERT = f"INSERT INTO dead VALUES ({', '.join('?' * 15)})"  # noqa: S608


@dataclass(frozen=True, slots=True)
class DeadRow:
    """`place` grows with the time at which it was stored: Unix time in ns."""

    place: int
    stream: str
    seq: int
    tenant: str
    webhook: str
    uid: str
    event_id: str
    event_type: str
    reason: str
    detail: str
    failed_at_s: float
    attempt: int
    outcome: str
    status: int | None
    body_bytes: int


class DeadIndex:
    """One file."""

    def __init__(self, path: Path) -> None:
        remove(path)
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        # With others, or none, a full disk leaves half of a transaction, and lists that are wrong: seen.
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute("PRAGMA secure_delete = FAST")
        self._db.executescript(_TABLE)

    def close(self) -> None:
        self._db.close()

    def add(self, rows: Iterable[DeadRow]) -> None:
        """Those that it has already are passed over."""
        with self._transaction():
            for row in rows:
                if not self._db.execute(
                    "SELECT 1 FROM dead WHERE stream = ? AND seq = ?", (row.stream, row.seq)
                ).fetchone():
                    values = _values(row)
                    while self._db.execute("SELECT 1 FROM dead WHERE place = ?", (values[0],)).fetchone():
                        # Two streams may have stored at one time.
                        values[0] += 1
                    self._db.execute(_INSERT, values)

    def forget(self, stream: str, *, before: int = 0, deleted: Collection[int] = ()) -> None:
        """What a stream has no more."""
        with self._transaction():
            self._db.execute("DELETE FROM dead WHERE stream = ? AND seq < ?", (stream, before))
            self._db.executemany("DELETE FROM dead WHERE stream = ? AND seq = ?", [(stream, each) for each in deleted])

    def forget_stream(self, stream: str) -> None:
        self._db.execute("DELETE FROM dead WHERE stream = ?", (stream,))

    def before(self, namespace: str, wanted: Wanted, place: int, limit: int) -> tuple[Sequence[DeadRow], int | None]:
        """Rows before a place, newest first, and from where to go on; None behind the last."""
        index, fixed, asked = _way(namespace, wanted)
        end = self._end(index, fixed, place) if asked else None
        condition, values = _joined([*fixed, *asked, ("place < ? AND place >= ?", (place, end or 0))])
        question = f"SELECT * FROM dead {index} WHERE {condition} ORDER BY place DESC LIMIT ?"  # noqa: S608
        found = [DeadRow(*each) for each in self._db.execute(question, (*values, limit + 1))]
        if len(found) > limit:
            return found[:limit], found[limit - 1].place
        return found, end

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _end(self, index: str, fixed: Sequence[tuple[str, tuple[Any, ...]]], place: int) -> int | None:
        condition, values = _joined([*fixed, ("place < ?", (place,))])
        found = self._db.execute(
            f"SELECT place FROM dead {index} WHERE {condition} ORDER BY place DESC LIMIT 1 OFFSET ?",  # noqa: S608
            (*values, SCAN - 1),
        ).fetchone()
        return int(found[0]) if found is not None else None


def _way(
    namespace: str, wanted: Wanted
) -> tuple[str, list[tuple[str, tuple[Any, ...]]], list[tuple[str, tuple[Any, ...]]]]:
    """By which index, what it fixes, and what else each row is asked."""
    said: dict[str, tuple[str, tuple[Any, ...]]] = {}
    for column, value in (
        ("tenant", namespace),
        ("webhook", wanted.webhook),
        ("event_id", wanted.event_id),
        ("event_type", wanted.event_type),
        ("reason", wanted.reason),
    ):
        if value:
            said[column] = f"{column} = ?", (value,)
    if wanted.status:
        said["status"] = "CAST(status AS TEXT) = ?", (wanted.status,)
    index, columns = "NOT INDEXED", list[str]()
    if "event_id" in said:
        index, columns = "INDEXED BY by_event", ["event_id"]
    elif "tenant" in said and "webhook" in said:
        index, columns = "INDEXED BY by_webhook", ["tenant", "webhook"]
    elif "tenant" in said:
        index, columns = "INDEXED BY by_tenant", ["tenant"]
    return index, [said[each] for each in columns], [each for name, each in said.items() if name not in columns]


def _joined(conditions: Sequence[tuple[str, tuple[Any, ...]]]) -> tuple[str, list[Any]]:
    return " AND ".join(text for text, _ in conditions), [value for _, values in conditions for value in values]


def _values(row: DeadRow) -> list[Any]:
    return [getattr(row, each) for each in DeadRow.__slots__]
