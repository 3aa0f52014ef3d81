"""Has one of the senders make a test call: of whichever Dispatcher serves the Webhook, with the sample of its event.

Decides which sample is sent, and what is told when none can be. What a test call is stands in stream/test_call.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

from hookline.api.actions import CannotBeDone
from hookline.api.log import Attempt, Unreadable
from hookline.events.schemas import Catalogue, UnknownEvent
from hookline.stream.connection import Client, StreamRefused, StreamUnavailable
from hookline.stream.test_call import NotTested, Serves, Why, have_called, new_test_id, who_serves
from hookline.stream.types import read_types

_NEVER = frozenset({Why.DISABLED, Why.HELD, Why.INVALID})
"""What does not end by itself."""


async def call_webhook(clients: Mapping[str, Client], namespace: str, name: str, event_type: str = "") -> Attempt:
    """One test call and how it ended. `clients` are those of all Dispatchers, by name. Without an `event_type` the
    sample is that of the Webhook's own. Raises Unreadable, CannotBeDone.
    """
    dispatcher, client, serves = await _found(clients, f"{namespace}/{name}")
    event_type = event_type or serves.event_type
    if not event_type:
        raise CannotBeDone("the Webhook hears no event: its condition Accepted says why")
    try:
        sample = await _sample(client, event_type)
        test_id = new_test_id()
        record = await have_called(client, serves, event_type, sample, test_id)
    except NotTested as error:
        raise _told(error) from None
    except (StreamUnavailable, StreamRefused) as error:
        raise Unreadable(str(error)) from None
    return Attempt(test_id, namespace, name, serves.uid, serves.pod or serves.sender, dispatcher, "0", record)


async def _found(clients: Mapping[str, Client], webhook: str) -> tuple[str, Client, Serves]:
    """Of several Dispatchers at most one serves it."""
    if not clients:
        raise Unreadable("no queue is connected, so no sender can be asked")
    asked = [who_serves(client, webhook=webhook) for client in clients.values()]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    for (dispatcher, client), answer in zip(clients.items(), answers, strict=True):
        if isinstance(answer, Serves):
            return dispatcher, client, answer
    problems = [each for each in answers if isinstance(each, BaseException)]
    for each in problems:
        if not isinstance(each, NotTested | StreamUnavailable):
            raise each
    # Where senders were asked and none serves it, that says more than that another Dispatcher has none.
    first = min(problems, key=lambda each: getattr(each, "reason", "") != Why.NOT_SERVED)
    raise Unreadable(str(first))


async def _sample(client: Client, event_type: str) -> bytes:
    try:
        sample = Catalogue([each.spec() for each in await read_types(client)]).get(event_type).sample
    except UnknownEvent as error:
        raise CannotBeDone(str(error)) from None
    if sample is None:
        raise CannotBeDone(f"the EventType of {event_type} has no spec.sample; write one there, it is what is sent")
    return json.dumps(sample, ensure_ascii=False).encode()


def _told(error: NotTested) -> Exception:
    return CannotBeDone(str(error)) if error.reason in _NEVER else Unreadable(str(error))
