"""One attempt in full, for a person: what was called, what came back, how long each part took. Pure."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime

from hookline.cli.log.api import Object
from hookline.cli.log.fields import since, text, value
from hookline.cli.log.kinds import duration, what_follows
from hookline.runtime.log_wording import printable

SHOWN_CHARACTERS = 1024
"""Of an answer's body; `-o yaml` shows all that was kept."""

_PHASES = (("lookup", "lookup"), ("connect", "connect"), ("tls", "TLS"), ("firstByte", "first byte"))


def attempt_lines(found: Object, now: datetime) -> list[str]:
    """What a receiver wrote is shown with escapes in place of what could steer a terminal."""
    status = text(found, "status")
    outcome = " ".join(word for word in (status, text(found, "reason")) if word)
    detail = text(found, "detail")
    rows = [
        ("Attempt", f"{text(found, 'attempt')} of event {text(found, 'event.id')} ({text(found, 'event.type')})"),
        ("Webhook", f"{text(found, 'metadata.namespace')}/{text(found, 'webhook.name')}"),
        ("Called", f"{text(found, 'url')}, {since(found, 'time', now)} ago ({text(found, 'time')})"),
        ("Outcome", f"{outcome} in {duration(found, 'durationMilliseconds')}{f': {detail}' if detail else ''}"),
        ("Phases", _phases(found)),
        ("Next", what_follows(found, now)),
        ("Sent", _bytes(found, "request.bytes")),
        ("Answer", _bytes(found, "answer.bytes")),
        ("Sender", text(found, "sender")),
        ("Replay", text(found, "replay")),
    ]
    lines = [f"{title:<9}{words}" for title, words in rows if words]
    return [
        *lines,
        *_headers("Request headers", found, "request.headers"),
        *_headers("Answer headers", found, "answer.headers"),
        *_body(found),
    ]


def _phases(found: Object) -> str:
    """Those that a kept connection spared are not there."""
    taken = [(title, duration(found, f"phasesMilliseconds.{name}")) for name, title in _PHASES]
    return ", ".join(f"{title} {time}" for title, time in taken if time)


def _bytes(found: Object, path: str) -> str:
    count = text(found, path)
    return f"{count} bytes" if count else ""


def _headers(title: str, found: Object, path: str) -> list[str]:
    headers = value(found, path)
    if not isinstance(headers, dict) or not headers:
        return []
    return [f"{title}:", *(f"  {printable(str(name))}: {_header(what)}" for name, what in headers.items())]


def _header(what: object) -> str:
    return printable(what) if isinstance(what, str) and what else "(not shown)"


def _body(found: Object) -> list[str]:
    body = answer_text(found)
    if not body:
        return []
    lines = [f"  {printable(line)}" for line in body[:SHOWN_CHARACTERS].splitlines()]
    left = len(body) - SHOWN_CHARACTERS
    return ["Answer:", *lines, *([f"  … {left} characters more: -o yaml"] if left > 0 else [])]


def answer_text(found: Object) -> str:
    """The first bytes of the answer, as text; what is none, in escapes."""
    body = value(found, "answer.body")
    if not isinstance(body, str):
        return ""
    if text(found, "answer.bodyEncoding").lower() != "base64":
        return body
    try:
        return base64.b64decode(body, validate=True).decode("utf-8", "backslashreplace")
    except (binascii.Error, ValueError):
        return ""
