"""How received calls are shown: as a short row, as a whole line, or as a JSON object.

Decides what of a call is shown. It never shows the values of a query, shows headers and bodies only when they were
asked for, and never prints.
What the caller sent is shown with escapes, so that it cannot steer a terminal; all but the body in ASCII.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC

from hookline.events.builtin_events import EVENTS
from hookline.events.envelope import stamp
from hookline.local.receiver import ReceivedCall
from hookline.runtime.log_wording import printable

EVENT_COLUMNS = max(len(each.name) for each in EVENTS)


@dataclass(frozen=True)
class Details:
    """What is shown of a call beside its line."""

    headers: bool = False
    body: bool = False


NO_DETAILS = Details()


def call_row(call: ReceivedCall) -> str:
    """A row of at most 80 columns, 60 for a built-in event."""
    time = call.at.astimezone(UTC).strftime("%H:%M:%S")
    return f"{time}  {call.answered}  {_shown(call.event_type)[:43]:{EVENT_COLUMNS}}  {_verified(call)}"[:80]


def call_line(call: ReceivedCall) -> str:
    """One plain line, without a line break at the end."""
    words = (
        stamp(call.at.timestamp()),
        _shown(call.event_type),
        _shown_path(call),
        _shown(call.webhook_id),
        f"attempt {_attempt(call)}",
        f"answered {call.answered}",
        _verified(call),
        f"{len(call.body)} bytes",
    )
    return "  ".join(words)


def call_details(call: ReceivedCall, details: Details) -> list[str]:
    """Lines below that of a call: its headers and its body as they came, as far as they were asked for."""
    lines = [f"    {_shown(name)}: {_shown(value)}" for name, value in call.headers.items()] if details.headers else []
    if details.body:
        lines += [f"    {printable(line)}" for line in _text(call.body).splitlines() or [""]]
    return lines


def call_record(call: ReceivedCall, details: Details = NO_DETAILS) -> dict[str, object]:
    """The JSON object of a call. `verified` is how it was (`signature`, `header`) or `no`, with the `reason`."""
    more: dict[str, object] = {}
    if details.headers:
        more["headers"] = [[_ascii_safe(name), _ascii_safe(value)] for name, value in call.headers.items()]
    if details.body:
        more["body"] = _text(call.body)
    return {
        "time": stamp(call.at.timestamp()),
        "event": call.event_type,
        "tenant": call.tenant,
        "path": _shown_path(call),
        "webhookId": call.webhook_id,
        "attempt": call.attempt,
        "answered": call.answered,
        "verified": call.verified,
        "reason": call.reason,
        "bodyBytes": len(call.body),
        **more,
    }


def _shown_path(call: ReceivedCall) -> str:
    path, question_mark, _ = call.path_and_query.partition("?")
    return _shown(path) + ("?…" if question_mark else "")


def _text(body: bytes) -> str:
    return body.decode("utf-8", "backslashreplace")


def _ascii_safe(text: str) -> str:
    """Without half surrogate pairs, by which aiohttp says that a header is not UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _shown(text: str) -> str:
    return ascii(text)[1:-1] or "-"


def _attempt(call: ReceivedCall) -> str:
    return "-" if call.attempt is None else str(call.attempt)


def _verified(call: ReceivedCall) -> str:
    return f"verified by {call.verified}" if call.is_verified else f"NOT VERIFIED: {_shown(call.reason)}"
