"""Logs, and what must not be in them.

Rule: a log line names a Webhook, an event's id, a reason; never a body, a header's value, a URL's query, a Secret.
"""

from __future__ import annotations

import html
import json
import logging
import re
import sys
from collections.abc import Iterable
from typing import Any, TextIO
from urllib.parse import unquote_plus

import orjson
import structlog

REDACTED = b"[redacted]"


_SHORTEST_PART = 8
_BETWEEN_PARTS = re.compile(r"[\s&=;,]+")


def redact(text: bytes, secrets: Iterable[str], *, cut: bool = False) -> bytes:
    """`text` without any of the secrets, for what a stranger sent us and we must show: an answer may echo a call.

    Nor any part of them, of 8 characters or more: the token without its scheme, one parameter of a query. Nor one of
    these in the spelling of a URL, of JSON or of HTML. `cut` says that the text goes on: it may end in the middle of a
    secret.
    """
    parts = {part for secret in secrets for part in _parts(secret)}
    known = sorted({spelled.encode() for part in parts for spelled in _spellings(part)}, key=len, reverse=True)
    if not known:
        return text
    # In one go: a secret that is a letter of the mark would make the text ten times as long with each letter.
    text = re.compile(b"|".join(map(re.escape, known))).sub(REDACTED, text)
    begun = _begun(text, known) if cut else 0
    return text[:-begun] + REDACTED if begun else text


def _parts(secret: str) -> list[str]:
    return [secret, *(part for part in _BETWEEN_PARTS.split(secret) if len(part) >= _SHORTEST_PART)]


def _spellings(part: str) -> set[str]:
    """As a receiver may echo it: a URL's escapes decoded, and as JSON (PHP escapes slashes too) or HTML have it."""
    plain = {part, unquote_plus(part)}
    quoted = {json.dumps(each)[1:-1] for each in plain}
    return plain | quoted | {each.replace("/", r"\/") for each in quoted} | {html.escape(each) for each in plain}


def _begun(text: bytes, secrets: Iterable[bytes]) -> int:
    """How many bytes at the end of `text` are the beginning of a secret."""
    sizes = ((secret, size) for secret in secrets for size in range(1, min(len(secret), len(text) + 1)))
    return max((size for secret, size in sizes if text.endswith(secret[:size])), default=0)


def set_up_logs(stream: TextIO | None = None, *, level: int = logging.INFO, json: bool | None = None) -> None:
    """One line for each thing that happened: for people on a terminal, JSON otherwise."""
    out = stream or sys.stderr
    as_json = json if json is not None else not out.isatty()
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(_json_text) if as_json else structlog.dev.ConsoleRenderer(colors=out.isatty())
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=False,
    )


def _json_text(record: Any, *, default: Any) -> str:
    """A sender writes a line for each call: the standard library takes 4 us more for it."""
    try:
        return orjson.dumps(record, default=default).decode()
    except TypeError:
        # Half a surrogate pair, as in a path that is not UTF-8, or a number of more than 64 bits.
        return json.dumps(record, default=default)
