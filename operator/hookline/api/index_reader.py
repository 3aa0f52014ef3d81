"""Lists of attempts out of the index of one Dispatcher: which of its orders a question goes by, and how far one goes.

The cost of an answer has a bound, whatever is asked for: of what no order narrows so many rows are looked at, and the
list goes on from there with its next part.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hookline.api.index import CACHE_KIB, COLUMNS, PROBE, TEST, Entry, Series, event_key
from hookline.api.log import Wanted
from hookline.delivery.policy.retry import Reason
from hookline.stream.attempt_record import AttemptRecord

SCAN = 50_000
"""Rows that are looked at for one part of a list, or of what is followed."""

_SERIES_REMEMBERED = 20_000
_LONGEST_STATUS = 9


@dataclass(frozen=True, slots=True)
class Part:
    """Some rows, and the place from which to go on; None behind the last."""

    entries: Sequence[Entry]
    more: int | None


@dataclass(frozen=True, slots=True)
class _Way:
    """The order that a question goes by (empty: that of places), what it fixes, and what else each row is asked."""

    index: str
    fixed: Sequence[tuple[str, tuple[Any, ...]]]
    asked: Sequence[tuple[str, tuple[Any, ...]]]


class IndexReader:
    """One connection to the file. Used by one thread. Raises sqlite3.Error."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA query_only = ON")
        self._db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        self._series: dict[int, Series] = {}
        (self._secret,) = self._db.execute("SELECT value FROM meta WHERE key = 'secret'").fetchone()

    def close(self) -> None:
        self._db.close()

    def before(self, namespace: str, wanted: Wanted, place: int, floor: int, limit: int) -> Part:
        """Rows before a place and not before the floor, newest first."""
        return self._part(self._way(namespace, wanted), "place < ? AND place >= ?", (place, floor), "DESC", limit)

    def after(self, namespace: str, wanted: Wanted, place: int, up_to: int, limit: int) -> Part:
        """Rows behind a place up to another one, oldest first."""
        return self._part(self._way(namespace, wanted), "place > ? AND place <= ?", (place, up_to), "ASC", limit)

    def _part(self, way: _Way | None, bounds: str, places: tuple[int, int], order: str, limit: int) -> Part:
        """From the first of two places to the other one."""
        if way is None:
            return Part((), None)
        end = self._end(way, bounds, places, order)
        if end is not None:
            places = places[0], end
        found = self._select(way, bounds, places, order, limit + 1)
        if len(found) > limit:
            return Part(found[:limit], found[limit - 1].place)
        return Part(found, end)

    def at(self, place: int) -> Entry | None:
        row = self._db.execute(f"SELECT {COLUMNS} FROM attempts WHERE place = ?", (place,)).fetchone()  # noqa: S608
        return self._entry(row) if row is not None else None

    def pushed_out(self, namespace: str) -> int:
        """Up to which place a Webhook of a namespace lost records because it had too many."""
        narrowed, values = (" WHERE tenant = ?", (namespace,)) if namespace else ("", ())
        (found,) = self._db.execute(f"SELECT max(place) FROM pushed_out{narrowed}", values).fetchone()  # noqa: S608
        return int(found or 0)

    def _way(self, namespace: str, wanted: Wanted) -> _Way | None:
        """None when nothing can be found."""
        conditions: dict[str, tuple[str, tuple[Any, ...]]] = {}
        if namespace:
            tenant = self._name(namespace)
            if tenant is None:
                return None
            conditions["tenant"] = "tenant = ?", (tenant,)
        if wanted.webhook and namespace:
            webhook = self._name(f"{namespace}/{wanted.webhook}")
            if webhook is None:
                return None
            conditions["webhook"] = "webhook = ?", (webhook,)
        elif wanted.webhook:
            conditions["series_of"] = "series IN (SELECT id FROM series WHERE webhook = ?)", (wanted.webhook,)
        if wanted.event_id:
            conditions["event"] = "event = ?", (event_key(self._secret, wanted.event_id),)
            conditions["event_id"] = "event_id = ?", (wanted.event_id,)
        if wanted.event_type:
            conditions["type"] = "series IN (SELECT id FROM series WHERE type = ?)", (wanted.event_type,)
        if wanted.reason:
            conditions["reason"] = "reason = ?", (wanted.reason,)
        status = _status(wanted.status)
        if wanted.status and status is None:
            return None
        if status is not None:
            conditions["status"] = "status = ?", (status,)
        index, fixed, said = _order(conditions.keys(), fails=wanted.reason != Reason.DELIVERED, status=status)
        asked = [each for name, each in conditions.items() if name not in fixed]
        return _Way(index, [*(conditions[each] for each in fixed), *((each, ()) for each in said)], asked)

    def _name(self, text: str) -> int | None:
        found = self._db.execute("SELECT id FROM names WHERE text = ?", (text,)).fetchone()
        return int(found[0]) if found is not None else None

    def _end(self, way: _Way, bounds: str, places: tuple[int, int], order: str) -> int | None:
        """The last place that is looked at now; None when it is the last of all."""
        if not way.asked:
            return None
        condition, values = _joined([*way.fixed, (bounds, places)])
        found = self._db.execute(
            f"SELECT place FROM attempts {_by(way)} WHERE {condition} ORDER BY place {order} LIMIT 1 OFFSET ?",  # noqa: S608
            (*values, SCAN - 1),
        ).fetchone()
        return int(found[0]) if found is not None else None

    def _select(self, way: _Way, bounds: str, places: tuple[int, int], order: str, limit: int) -> list[Entry]:
        condition, values = _joined([*way.fixed, *way.asked, (bounds, places)])
        rows = self._db.execute(
            f"SELECT {COLUMNS} FROM attempts {_by(way)} WHERE {condition} ORDER BY place {order} LIMIT ?",  # noqa: S608
            (*values, limit),
        ).fetchall()
        return [self._entry(each) for each in rows]

    def _entry(self, row: tuple[Any, ...]) -> Entry:
        place, series, event_id, at_s, attempt, reason, status, detail, event_seq, duration_s = row[:10]
        request_bytes, answer_bytes, follows, next_at_s, flags, replay = row[10:]
        tenant, webhook, uid, sender, event_type, url = self._series_of(series)
        record = AttemptRecord(
            event_id=event_id,
            event_type=event_type,
            at_s=at_s,
            attempt=attempt,
            reason=reason,
            status=status,
            detail=detail,
            url=url,
            event_seq=event_seq,
            duration_s=duration_s,
            request_bytes=request_bytes,
            answer_bytes=answer_bytes,
            follows=follows,
            next_at_s=next_at_s,
            probe=bool(flags & PROBE),
            test=bool(flags & TEST),
            replay=replay,
        )
        return Entry(place, tenant, webhook, uid, sender, record)

    def _series_of(self, number: int) -> Series:
        found = self._series.get(number)
        if found is None:
            if len(self._series) >= _SERIES_REMEMBERED:
                self._series.clear()
            question = "SELECT tenant, webhook, uid, sender, type, url FROM series WHERE id = ?"
            found = self._series[number] = self._db.execute(question, (number,)).fetchone()
        return found


def _order(conditions: Sequence[str] | Any, *, fails: bool, status: int | None) -> tuple[str, list[str], list[str]]:
    """The name of the index that narrows most, the conditions that it fixes, and what is to be said for it."""
    if "event" in conditions:
        return "by_event", ["event"], []
    failed = [f"reason <> '{Reason.DELIVERED}'"]
    if "reason" in conditions and fails and "webhook" in conditions:
        return "by_failure_of_webhook", ["webhook", "reason"], failed
    if "webhook" in conditions:
        return "by_webhook", ["webhook"], []
    if "status" in conditions and "tenant" in conditions and status is not None and status >= 300:
        return "by_status", ["tenant", "status"], ["status >= 300"]
    if "reason" in conditions and fails and "tenant" in conditions:
        return "by_failure", ["tenant", "reason"], failed
    if "tenant" in conditions:
        return "by_tenant", ["tenant"], []
    return "", [], []


def _by(way: _Way) -> str:
    return f"INDEXED BY {way.index}" if way.index else "NOT INDEXED"


def _joined(conditions: Sequence[tuple[str, tuple[Any, ...]]]) -> tuple[str, list[Any]]:
    return " AND ".join(text for text, _ in conditions), [value for _, values in conditions for value in values]


def _status(text: str) -> int | None:
    return int(text) if len(text) <= _LONGEST_STATUS and text.isascii() and text.isdigit() else None
