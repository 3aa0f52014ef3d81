"""Logs, and what must not be in them.

Rule: a log line names a Webhook, an event's id, a reason; never a body, a header's value, a URL's query, a Secret.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from typing import TextIO

import structlog

REDACTED = b"[redacted]"


def redact(text: bytes, secrets: Iterable[str]) -> bytes:
    """`text` without any of the secrets, for what a stranger sent us and we must show: an answer may echo a call."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret.encode(), REDACTED)
    return text


def set_up_logs(stream: TextIO | None = None, *, level: int = logging.INFO, json: bool | None = None) -> None:
    """One line for each thing that happened: for people on a terminal, JSON otherwise."""
    out = stream or sys.stderr
    as_json = json if json is not None else not out.isatty()
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=out.isatty())
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
