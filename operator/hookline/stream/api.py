"""Questions to JetStream's API, and what its refusals mean."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import nats.errors
from nats.aio.client import Client

from hookline.stream.connection import QueueUnusable, StreamUnavailable, denied, has_jetstream
from hookline.stream.queue_problem import QueueProblem, QueueReason

NOT_FOUND = 404
"""Of a stream, a consumer or a message: `code` of an error."""

_NO_JETSTREAM = 10039
"""`err_code` of an error (nats-server, errors.json)."""

_ASK_SECONDS = 5.0


async def request(client: Client, subject: str, body: bytes = b"", *, headers: dict[str, str] | None = None) -> bytes:
    """An answer of JetStream. Raises StreamUnavailable, QueueUnusable."""
    try:
        answer = await client.request(subject, body, timeout=_ASK_SECONDS, headers=headers)
    except nats.errors.NoRespondersError:
        if not has_jetstream(client):
            raise _no_jetstream() from None
        raise StreamUnavailable("JetStream does not answer; its servers may just begin") from None
    except nats.errors.Error as error:
        problem = denied(client, subject)
        if problem is not None:
            raise QueueUnusable(problem) from None
        raise StreamUnavailable(
            f"JetStream does not answer ({type(error).__name__}); its servers may not have elected a leader yet"
        ) from None
    return answer.data


def _no_jetstream() -> QueueUnusable:
    return QueueUnusable(
        QueueProblem(QueueReason.NATS_UNSUITABLE, "this NATS, or this account of it, has no JetStream; enable it there")
    )


async def api(client: Client, what: str, **question: object) -> dict[str, Any]:
    """A question to JetStream's API; its answer, which may be an error. Raises StreamUnavailable, QueueUnusable."""
    body = json.dumps(question).encode() if question else b""
    answer = await request(client, f"$JS.API.{what}", body)
    try:
        said: dict[str, Any] = json.loads(answer)
    except ValueError:
        raise StreamUnavailable(f"JetStream gave no answer to {what} that can be read") from None
    error = said.get("error", {})
    if error.get("err_code") == _NO_JETSTREAM:
        raise _no_jetstream()
    if error.get("code") == 503:
        raise StreamUnavailable(f"JetStream does not answer {what} now ({error.get('description')})")
    return said


async def ask(client: Client, what: str, **question: object) -> dict[str, Any]:
    """A question to JetStream's API that has an answer; it. Raises StreamUnavailable, QueueUnusable."""
    said = await api(client, what, **question)
    if "error" in said:
        raise StreamUnavailable(f"JetStream does not answer {what} ({said['error'].get('description')})")
    return said


async def ask_if_there(client: Client, what: str, **question: object) -> dict[str, Any] | None:
    """As `ask`, and None of a stream, a consumer or a message that is not there."""
    said = await api(client, what, **question)
    if said.get("error", {}).get("code") == NOT_FOUND:
        return None
    if "error" in said:
        raise StreamUnavailable(f"JetStream does not answer {what} ({said['error'].get('description')})")
    return said


def place_of(info: Mapping[str, Any]) -> tuple[str, int, int]:
    """Of a stream, by what it says of itself: differs after whatever was stored in it or taken out of it."""
    state = info["state"]
    return info["created"], state["last_seq"], state["messages"]


def unix_ns(text: str) -> int:
    """Of a time as nats-server writes it, with up to nine digits behind the second."""
    second, _, rest = text.removesuffix("Z").partition(".")
    return int(datetime.fromisoformat(f"{second}+00:00").timestamp()) * 1_000_000_000 + int(rest.ljust(9, "0") or 0)


def unix_s(text: str) -> float:
    """The same in seconds."""
    return unix_ns(text) / 1e9
