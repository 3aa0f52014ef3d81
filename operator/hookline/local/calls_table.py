"""How received calls are shown: a table for terminals, a line or a JSON object for everything else.

Decides what of a call is shown. It never shows header values, bodies or the values of a query, and it never prints.
What the caller sent is shown in ASCII with escapes, so that it cannot steer a terminal.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC

from rich.table import Table
from rich.text import Text

from hookline.local.receiver import ReceivedCall


def calls_table(calls: Iterable[ReceivedCall]) -> Table:
    """One row for each call, in the order given."""
    table = Table()
    table.add_column("event", no_wrap=True)
    table.add_column("URL", overflow="fold")
    table.add_column("attempt", justify="right", no_wrap=True)
    table.add_column("answer", justify="right", no_wrap=True)
    table.add_column("time (UTC)", no_wrap=True)
    table.add_column("verified", overflow="fold")
    for call in calls:
        table.add_row(
            Text(_shown(call.event_type)),
            Text(shown_url(call)),
            Text(_attempt(call)),
            Text(str(call.answered), style="green" if call.answered < 300 else "red"),
            Text(call.at.astimezone(UTC).strftime("%H:%M:%S")),
            Text(_verified(call), style="green" if call.is_verified else "red"),
        )
    return table


def call_line(call: ReceivedCall) -> str:
    """One plain line, without a line break at the end."""
    words = (
        _iso(call),
        _shown(call.event_type),
        _shown_path(call),
        _shown(call.webhook_id),
        f"attempt {_attempt(call)}",
        f"answered {call.answered}",
        f"verified by {call.verified}" if call.is_verified else f"NOT VERIFIED: {_shown(call.reason)}",
        f"{len(call.body)} bytes",
    )
    return "  ".join(words)


def call_record(call: ReceivedCall) -> dict[str, str | int | None]:
    """The JSON object of a call. `verified` is how it was (`signature`, `header`) or `no`, with the `reason`."""
    return {
        "time": _iso(call),
        "event": call.event_type,
        "tenant": call.tenant,
        "path": _shown_path(call),
        "webhookId": call.webhook_id,
        "attempt": call.attempt,
        "answered": call.answered,
        "verified": call.verified,
        "reason": call.reason,
        "bodyBytes": len(call.body),
    }


def shown_url(call: ReceivedCall) -> str:
    """The URL that was called, its query as `?…`."""
    return call.origin + _shown_path(call)


def _shown_path(call: ReceivedCall) -> str:
    path, question_mark, _ = call.path_and_query.partition("?")
    return _shown(path) + ("?…" if question_mark else "")


def _shown(text: str) -> str:
    return ascii(text)[1:-1] or "-"


def _attempt(call: ReceivedCall) -> str:
    return "-" if call.attempt is None else str(call.attempt)


def _verified(call: ReceivedCall) -> str:
    return call.verified if call.is_verified else f"no: {_shown(call.reason)}"


def _iso(call: ReceivedCall) -> str:
    return call.at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
