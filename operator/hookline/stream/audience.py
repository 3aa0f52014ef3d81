"""For how many Webhooks an event is: asked by whoever publishes, answered by one of the senders. Nothing is stored.

Decides only that no answer means that it is not known: there may be no sender, or an older one, or no permission.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import asdict

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from hookline.routing.routes import Audience
from hookline.stream import names
from hookline.stream.connection import StreamUnavailable

ANSWER_SECONDS = 1.0
"""How long an answer is waited for. Without any sender NATS says so at once."""


async def answer_audience(client: Client, audience: Callable[[str, str], Audience | None]) -> None:
    """Begin to answer, by `audience` of a tenant and an event type; None is no answer. Raises StreamUnavailable."""

    async def asked(message: Msg) -> None:
        tenant, _, event_type = message.data.decode(errors="replace").partition(".")
        found = audience(tenant, event_type)
        if found is not None and names.is_inbox(message.reply):
            # A lost answer only means that the number is not known.
            with contextlib.suppress(nats.errors.Error):
                await client.publish(message.reply, json.dumps(asdict(found)).encode())

    try:
        await client.subscribe(names.AUDIENCE_SUBJECT, queue="senders", cb=asked)
    except nats.errors.Error as error:
        raise StreamUnavailable(f"questions of publishers cannot be heard ({type(error).__name__})") from None


async def ask_audience(client: Client, tenant: str, event_type: str) -> Audience | None:
    """For how many Webhooks an event of this type is, as far as one sender knows; None when it is not known."""
    try:
        answer = await client.request(names.AUDIENCE_SUBJECT, f"{tenant}.{event_type}".encode(), timeout=ANSWER_SECONDS)
        content = json.loads(answer.data)
        counts = [content[name] for name in ("called", "waiting", "disabled")]
    except (nats.errors.Error, TimeoutError, ValueError, KeyError, TypeError, RecursionError):
        return None
    # Anybody on this NATS may have sent it.
    return Audience(*counts) if all(type(each) is int and each >= 0 for each in counts) else None
