"""The attempts log of one Dispatcher in a file of SQLite, so that lists are quick. The stream is the truth.

A reading aid that may be thrown away: it is made anew for another stream or another version. One thread writes, others
read. A row has what lists show; request headers and what the receiver answered are read out of the stream.

A new file is filled without its indexes, which are made once it has caught up: so ten million records take minutes.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from hookline.api.object_names import place_in_log
from hookline.delivery.policy.retry import Reason
from hookline.stream.attempt_record import AttemptRecord

SCHEMA = 1
"""Grows with each change of the tables."""

CHUNK = 20_000
"""Rows that are removed at once: what is new waits for so long."""

STEPS = 1000
"""Places of the log that are remembered with their times: a server that was killed may have lost its last records, and
gives what comes then the same sequences."""

FILL_CACHE_KIB, CACHE_KIB = 64 * 1024, 16 * 1024
"""Of the pages of a file, while it is filled and indexed, and from then on."""

_SERIES_REMEMBERED = 100_000

_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE names (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT NOT NULL UNIQUE, last INTEGER NOT NULL);
CREATE TABLE series (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT NOT NULL, webhook TEXT NOT NULL, uid TEXT NOT NULL, sender TEXT NOT NULL,
    type TEXT NOT NULL, url TEXT NOT NULL, last INTEGER NOT NULL,
    UNIQUE (tenant, webhook, uid, sender, type, url)
);
CREATE TABLE attempts (
    place INTEGER PRIMARY KEY,
    tenant INTEGER NOT NULL, webhook INTEGER NOT NULL, event INTEGER NOT NULL, series INTEGER NOT NULL,
    event_id TEXT NOT NULL, at_s REAL NOT NULL, attempt INTEGER NOT NULL, reason TEXT NOT NULL, status INTEGER,
    detail TEXT NOT NULL, event_seq INTEGER NOT NULL, duration_s REAL NOT NULL,
    request_bytes INTEGER NOT NULL, answer_bytes INTEGER NOT NULL,
    follows TEXT NOT NULL, next_at_s REAL, flags INTEGER NOT NULL, replay TEXT NOT NULL
);
CREATE TABLE steps (seq INTEGER PRIMARY KEY, stored_ns INTEGER NOT NULL);
CREATE TABLE marks (
    tenant TEXT NOT NULL, event_id TEXT NOT NULL, before INTEGER NOT NULL, PRIMARY KEY (tenant, event_id)
) WITHOUT ROWID;
CREATE TABLE pushed_out (tenant TEXT PRIMARY KEY, place INTEGER NOT NULL) WITHOUT ROWID;
"""

_INDEXES = f"""
CREATE INDEX by_tenant ON attempts (tenant);
CREATE INDEX by_webhook ON attempts (webhook);
CREATE INDEX by_event ON attempts (event);
CREATE INDEX by_failure ON attempts (tenant, reason) WHERE reason <> '{Reason.DELIVERED}';
CREATE INDEX by_failure_of_webhook ON attempts (webhook, reason) WHERE reason <> '{Reason.DELIVERED}';
CREATE INDEX by_status ON attempts (tenant, status) WHERE status >= 300;
"""

_INSERT = f"INSERT OR REPLACE INTO attempts VALUES ({', '.join('?' * 19)})"  # noqa: S608
PROBE, TEST = 1, 2
"""What `flags` is made of."""

K = TypeVar("K")
Series = tuple[str, str, str, str, str, str]
"""Tenant, name of the Webhook, its uid, sender, event type, URL."""


@dataclass(slots=True)  # not frozen: made for each record
class Entry:
    """A record with its place. Texts are printable and bounded, as `attempt_record.decode` gives them."""

    place: int
    tenant: str
    webhook: str
    """Its name."""
    uid: str
    sender: str
    record: AttemptRecord


@dataclass(frozen=True, slots=True)
class Mark:
    """What a tenant had before a place is to be forgotten, or of one event if it names one."""

    tenant: str
    before: int
    event_id: str = ""


def event_key(secret: bytes, event_id: str) -> int:
    """Stands for an event id: a fifth of the room. Of two with one key the id itself decides."""
    return int.from_bytes(hashlib.blake2b(event_id.encode("utf-8", "replace"), digest_size=6, key=secret).digest())


class IndexWriter:
    """One file. Used by one thread. Raises sqlite3.Error: of a file that is broken, or a disk that is full."""

    def __init__(self, path: Path) -> None:
        """Opens what is there and usable; else the file is made anew."""
        self._path = path
        self._names: dict[str, int] = {}
        self._series: dict[Series, int] = {}
        if path.exists() and not _is_usable(path):
            remove(path)
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute(f"PRAGMA cache_size = -{FILL_CACHE_KIB}")
        self.is_filled = _version(self._db) == SCHEMA
        """Whether the file had caught up once: from then on it has its indexes, and may be read."""
        self._is_indexed = self.is_filled
        if self.is_filled:
            self._keep_safe()
        else:
            self._begin()
        self._secret = bytes(self._meta("secret", b""))
        self.seen = int(self._meta("seen", 0))
        """The last sequence that it has."""
        (self.seen_ns,) = self._db.execute("SELECT max(stored_ns) FROM steps WHERE seq = ?", (self.seen,)).fetchone()
        """When that was stored, Unix time."""
        self.floor = int(self._meta("floor", 0))
        """The first place that may be there."""
        self._cleared = -1
        """Nothing is below this place. Not known of a file that was there."""

    def close(self) -> None:
        self._db.close()

    def interrupt(self) -> None:
        """End what another thread does with it now."""
        self._db.interrupt()

    def add(self, entries: Iterable[Entry], seen: int, stored_ns: int, marks: Iterable[Mark] = ()) -> int:
        """Add records of the log up to the sequence `seen`, which was stored at this time; how many there were.

        What is marked is forgotten by `forget_marked`, also if that comes after a crash.
        """
        with self._transaction():
            self._db.executemany(
                "INSERT OR REPLACE INTO marks VALUES (?, ?, ?)",
                [(each.tenant, each.event_id, each.before) for each in marks],
            )
            touched: tuple[dict[int, int], dict[int, int]] = {}, {}
            rows = [self._row(each, touched) for each in entries]
            self._db.executemany(_INSERT, rows)
            for table, places in zip(("names", "series"), touched, strict=True):
                self._db.executemany(f"UPDATE {table} SET last = ? WHERE id = ?", [(b, a) for a, b in places.items()])  # noqa: S608
            self._db.execute("INSERT OR REPLACE INTO steps VALUES (?, ?)", (seen, stored_ns))
            self._db.execute(
                "DELETE FROM steps WHERE seq < (SELECT seq FROM steps ORDER BY seq DESC LIMIT 1 OFFSET ?)", (STEPS,)
            )
            self._set("seen", seen)
        self.seen, self.seen_ns = seen, stored_ns
        return len(rows)

    def steps(self) -> list[tuple[int, int]]:
        """Sequences up to which it once was filled, and when each was stored, the last one first."""
        return list(self._db.execute("SELECT seq, stored_ns FROM steps ORDER BY seq DESC"))

    def rewind(self, step: tuple[int, int]) -> None:
        """Forget what came behind a step."""
        seq, stored_ns = step
        with self._transaction():
            self._db.execute("DELETE FROM attempts WHERE place >= ?", (place_in_log(seq + 1, 0),))
            self._db.execute("DELETE FROM steps WHERE seq > ?", (seq,))
            self._set("seen", seq)
        self.seen, self.seen_ns = seq, stored_ns

    def make_indexes(self) -> None:
        """It has caught up."""
        if not self._is_indexed:
            for statement in filter(str.strip, _INDEXES.split(";")):
                self._db.execute(statement)
            self._is_indexed = True

    def filled(self) -> None:
        """It is indexed, and what is marked was forgotten: keep it safe from now on."""
        if not self.is_filled:
            self._db.execute(f"PRAGMA user_version = {SCHEMA}")
            self._keep_safe()
            self.is_filled = True

    def raise_floor(self, seq: int) -> None:
        """The stream begins at this sequence: what was before is not shown from now on."""
        place = place_in_log(seq, 0)
        if place > self.floor:
            self._set("floor", place)
            self.floor = place

    @property
    def is_cleared(self) -> bool:
        """Whether nothing is below the floor, so that `forget_some` has nothing to do."""
        return self._cleared >= self.floor

    def forget_some(self) -> bool:
        """Remove some of what is below the floor; whether there may be more."""
        with self._transaction():
            few = "SELECT place FROM attempts WHERE place < ? LIMIT ?"
            gone = self._db.execute(f"DELETE FROM attempts WHERE place IN ({few})", (self.floor, CHUNK)).rowcount  # noqa: S608
            if 0 < gone < CHUNK:
                self._forget_texts()
        if gone < CHUNK:
            self._cleared = self.floor
        return gone == CHUNK

    def forget_pushed_out(self, tenant: str, uid: str, before: int) -> bool:
        """Remove some of what one Webhook had before a place: the stream keeps so much of each. Whether there may be
        more."""
        of_uid = "FROM series WHERE tenant = ? AND uid = ?"
        webhooks = f"SELECT id FROM names WHERE text IN (SELECT tenant || '/' || webhook {of_uid})"  # noqa: S608
        condition = f"webhook IN ({webhooks}) AND series IN (SELECT id {of_uid}) AND place < ?"
        gone = self._forget("by_webhook", condition, tenant, uid, tenant, uid, before)
        self._db.execute(
            "INSERT INTO pushed_out VALUES (?, ?) ON CONFLICT DO UPDATE SET place = excluded.place "
            "WHERE excluded.place > place",
            (tenant, before),
        )
        return gone

    def forget_marked(self) -> bool:
        """Remove some of what is marked; whether there may be more."""
        mark = self._db.execute("SELECT tenant, event_id, before FROM marks LIMIT 1").fetchone()
        if mark is None:
            return False
        tenant, event_id, before = mark
        condition, values = "tenant = (SELECT id FROM names WHERE text = ?) AND place < ?", (tenant, before)
        if event_id:
            key = event_key(self._secret, event_id)
            more = self._forget("by_event", f"event = ? AND event_id = ? AND {condition}", key, event_id, *values)
        else:
            more = self._forget("by_tenant", condition, *values)
        if not more:
            self._db.execute("DELETE FROM marks WHERE tenant = ? AND event_id = ?", (tenant, event_id))
        return True

    def _forget(self, index: str, condition: str, *values: object) -> bool:
        by = f"INDEXED BY {index}" if self._is_indexed else ""
        some = f"SELECT place FROM attempts {by} WHERE {condition} LIMIT ?"  # noqa: S608
        with self._transaction():
            return self._db.execute(f"DELETE FROM attempts WHERE place IN ({some})", (*values, CHUNK)).rowcount == CHUNK  # noqa: S608

    def _begin(self) -> None:
        # A file that is not filled is made anew after whatever crash: nothing in it needs to be safe.
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute("PRAGMA page_size = 8192")
        self._db.executescript(_TABLES)
        self._set("secret", secrets.token_bytes(16))

    def _keep_safe(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute("PRAGMA secure_delete = FAST")
        self._db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        self._db.execute("PRAGMA shrink_memory")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN")
        try:
            yield
        except BaseException:
            # What was named in it is not there.
            self._names.clear()
            self._series.clear()
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _row(self, entry: Entry, touched: tuple[dict[int, int], dict[int, int]]) -> tuple[object, ...]:
        record, place = entry.record, entry.place
        tenant, webhook = self._name(entry.tenant), self._name(f"{entry.tenant}/{entry.webhook}")
        key = (entry.tenant, entry.webhook, entry.uid, entry.sender, record.event_type, record.url)
        series = self._series.get(key) or self._new_series(key)
        touched[0][tenant] = touched[0][webhook] = touched[1][series] = place
        return (
            place,
            tenant,
            webhook,
            event_key(self._secret, record.event_id),
            series,
            record.event_id,
            record.at_s,
            record.attempt,
            record.reason,
            record.status,
            record.detail,
            record.event_seq,
            record.duration_s,
            record.request_bytes,
            record.answer_bytes,
            record.follows,
            record.next_at_s,
            (PROBE if record.probe else 0) | (TEST if record.test else 0),
            record.replay,
        )

    def _name(self, text: str) -> int:
        found = self._names.get(text)
        if found is None:
            if len(self._names) >= _SERIES_REMEMBERED:
                self._names.clear()
            self._db.execute("INSERT OR IGNORE INTO names (text, last) VALUES (?, 0)", (text,))
            (found,) = self._db.execute("SELECT id FROM names WHERE text = ?", (text,)).fetchone()
            self._names[text] = found
        return found

    def _new_series(self, series: Series) -> int:
        if len(self._series) >= _SERIES_REMEMBERED:
            self._series.clear()
        columns = "tenant, webhook, uid, sender, type, url"
        self._db.execute(f"INSERT OR IGNORE INTO series ({columns}, last) VALUES (?, ?, ?, ?, ?, ?, 0)", series)  # noqa: S608
        question = f"SELECT id FROM series WHERE ({columns}) = (?, ?, ?, ?, ?, ?)"  # noqa: S608
        (found,) = self._db.execute(question, series).fetchone()
        self._series[series] = found
        return int(found)

    def _forget_texts(self) -> None:
        """Texts that no row has any more: senders come and go."""
        self._names = _without(
            self._names, self._db.execute("DELETE FROM names WHERE last < ? RETURNING id", (self.floor,))
        )
        self._series = _without(
            self._series, self._db.execute("DELETE FROM series WHERE last < ? RETURNING id", (self.floor,))
        )

    def _meta(self, key: str, otherwise: Any) -> Any:
        found = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return found[0] if found is not None else otherwise

    def _set(self, key: str, value: object) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))


def _without(known: dict[K, int], gone: Iterable[tuple[int]]) -> dict[K, int]:
    numbers = {number for (number,) in gone}
    return {key: number for key, number in known.items() if number not in numbers} if numbers else known


def remove(path: Path) -> None:
    """The file, and what SQLite keeps beside it."""
    for end in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + end).unlink(missing_ok=True)


COLUMNS = (
    "place, series, event_id, at_s, attempt, reason, status, detail, event_seq, duration_s, request_bytes, "
    "answer_bytes, follows, next_at_s, flags, replay"
)


def _is_usable(path: Path) -> bool:
    try:
        db = sqlite3.connect(path)
        try:
            return _version(db) == SCHEMA
        finally:
            db.close()
    except sqlite3.Error:
        return False


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])
