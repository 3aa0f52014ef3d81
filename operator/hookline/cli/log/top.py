"""`top`: which Webhooks are busy, slow or failing just now."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hookline.api.texts import took
from hookline.cli.errors import Failure
from hookline.cli.log.api import LOG, Object, items_of, listed, path_of, version_of
from hookline.cli.log.attempts import followed
from hookline.cli.log.fields import moment
from hookline.cli.log.place import Session
from hookline.cli.log.rates import WINDOW_SECONDS, Rate, Rates
from hookline.cli.program import end_in_order_on_signals

DRAW_SECONDS = 1.0
LOOK_SECONDS = 5.0
"""Between two looks at what waits."""
MOST_WAITING = 5000
"""Deliveries that are looked at."""
BEFORE = 2000
"""Attempts of before that are looked at to begin with."""
ROOM_LINES = 5
"""Of a screen, for what is not a row."""


def top(
    session: Session,
    once: Annotated[bool, typer.Option("--once", help="Print it once. So it is where there is no terminal.")] = False,
) -> None:
    """Show by Webhook, of the last minute: calls in a second, failures, how long calls took, and what waits. Live.

    Example: hookline top
    """
    console = Console()
    rates = Rates()
    version = _from_before(session, rates)
    _look_at_waiting(session, rates)
    if once or not console.is_terminal:
        console.print(table_of(rates.at(datetime.now(UTC)), everywhere=not session.namespace, rows=0))
        return
    end_in_order_on_signals()
    with contextlib.suppress(KeyboardInterrupt):
        _live(session, console, rates, version)


def _live(session: Session, console: Console, rates: Rates, version: str) -> None:
    """Until Ctrl-C. What is followed and what is looked at come from two threads, which end with the process."""
    come: queue.SimpleQueue[Object | list[Object] | Failure] = queue.SimpleQueue()
    for work in (_follow, _look):
        threading.Thread(target=work, args=(session, version, come), daemon=True).start()
    with Live(console=console, auto_refresh=False, screen=True) as live:
        while True:
            _take(come, rates)
            rows = max(console.size.height - ROOM_LINES, 1)
            now = datetime.now(UTC)
            live.update(table_of(rates.at(now), everywhere=not session.namespace, rows=rows), refresh=True)
            time.sleep(DRAW_SECONDS)


def _take(come: queue.SimpleQueue[Object | list[Object] | Failure], rates: Rates) -> None:
    """Whatever came since. A failure of either thread ends the command."""
    with contextlib.suppress(queue.Empty):
        while True:
            match come.get_nowait():
                case Failure() as failure:
                    raise failure
                case list() as waiting:
                    rates.waits(waiting)
                case found:
                    rates.attempt(found)


def _follow(session: Session, version: str, come: queue.SimpleQueue[Object | list[Object] | Failure]) -> None:
    try:
        for found in followed(session, path_of(LOG, session.namespace, "attempts"), {}, version):
            come.put(found)
    except Failure as failure:
        come.put(failure)


def _look(session: Session, _version: str, come: queue.SimpleQueue[Object | list[Object] | Failure]) -> None:
    try:
        while True:
            time.sleep(LOOK_SECONDS)
            come.put(_waiting(session))
    except Failure as failure:
        come.put(failure)


def _from_before(session: Session, rates: Rates) -> str:
    """Attempts of the last minute, so that there is something to be seen at once; the version to go on from."""
    path, version, begin = path_of(LOG, session.namespace, "attempts"), "", ""
    now, found = datetime.now(UTC), list[Object]()
    while len(found) < BEFORE:
        page = session.api.get(path, {"limit": "500", **({"continue": begin} if begin else {})})
        version = version or version_of(page)
        items = items_of(page)
        found += items
        begin = str((page.get("metadata") or {}).get("continue") or "")
        oldest = moment(items[-1], "time") if items else None
        if not begin or oldest is None or (now - oldest).total_seconds() > WINDOW_SECONDS:
            break
    for each in reversed(found):
        rates.attempt(each)
    return version


def _look_at_waiting(session: Session, rates: Rates) -> None:
    rates.waits(_waiting(session))


def _waiting(session: Session) -> list[Object]:
    return list(listed(session.api, path_of(LOG, session.namespace, "deliveries"), limit=MOST_WAITING))


def table_of(rates: Sequence[Rate], *, everywhere: bool, rows: int) -> Table:
    """At most `rows` of them; 0: all. Fits into 80 columns: names are cut first."""
    table = Table(box=None, pad_edge=False, expand=True, caption=_caption(rates), caption_justify="left")
    table.add_column("WEBHOOK", ratio=1, no_wrap=True, overflow="ellipsis", min_width=12)
    for title in ("CALLS/S", "FAILED", "LAST", "P50", "P99", "WAITING"):
        table.add_column(title, justify="left" if title == "LAST" else "right", no_wrap=True, max_width=18)
    for each in rates[: rows or None]:
        namespace, name = each.webhook
        style = "red" if each.failed else "yellow" if each.waiting else ""
        table.add_row(
            Text(f"{namespace}/{name}" if everywhere else name, style=style),
            _rate(each.attempts) if each.attempts else "-",
            str(each.failed) if each.failed else "-",
            Text(each.last_failure or "-"),
            took(each.p50_ms / 1000) if each.attempts else "-",
            took(each.p99_ms / 1000) if each.attempts else "-",
            _count(each.waiting),
        )
    return table


def _caption(rates: Sequence[Rate]) -> str:
    calls = sum(each.attempts for each in rates)
    failed = sum(each.failed for each in rates)
    waiting = sum(each.waiting for each in rates)
    minute = f"{_rate(calls)} calls/s, {failed} of {calls} failed in the last minute"
    return f"{minute}, {_count(waiting) if waiting else 'nothing'} waiting"


def _rate(calls: int) -> str:
    """Of a minute, for a second."""
    a_second = calls / WINDOW_SECONDS
    return f"{a_second:.2f}" if 0 < a_second < 1 else f"{a_second:.1f}"


def _count(waiting: int) -> str:
    return f"{MOST_WAITING}+" if waiting >= MOST_WAITING else str(waiting) if waiting else "-"
