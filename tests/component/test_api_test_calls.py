"""The API has a sender make a test call with the sample of the event, whichever Dispatcher serves the Webhook."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from pathlib import Path

import pytest

from doubles.local import hook, receiver_of, sender
from hookline.api import test_calls
from hookline.api.actions import CannotBeDone
from hookline.api.log import Unreadable
from hookline.events.builtin_events import event_named, sample_of
from hookline.local import book_folder
from hookline.local.nats_server import NatsServer
from hookline.local.receiver import ReceivedCall
from hookline.routing.routes import DispatcherRecord, RouteState, TypeRecord, book_of
from hookline.stream import test_call
from hookline.stream.connection import Client


async def why_not(clients: Mapping[str, Client], name: str, event_type: str = "") -> str:
    with pytest.raises((Unreadable, CannotBeDone)) as caught:
        await test_calls.call_webhook(clients, "default", name, event_type)
    return f"{type(caught.value).__name__}: {caught.value}"


async def test_a_webhook_is_called_with_the_sample_of_its_event_or_of_another_one(
    tmp_path: Path, nats_server: NatsServer, queue: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(test_call, "FIND_SECONDS", 0.5)
    calls: list[ReceivedCall] = []
    clients = {"away": queue, "default": queue}
    async with receiver_of(calls) as receiver:
        route, keys = hook("one", receiver)
        own = TypeRecord(name="order.created", description="", validation="Warn", schema_={}, sample={"a": "ü"})
        bare = TypeRecord(name="order.bare", description="", validation="Warn", schema_={})
        off, (deaf, deaf_keys) = hook("off", receiver, state=RouteState.DISABLED), hook("nothing", receiver)
        nothing = deaf.model_copy(update={"event": None}), deaf_keys
        book = book_of([(route, keys), off, nothing], DispatcherRecord(allow_cidrs=("127.0.0.0/8",)), [own, bare])
        book_folder.write(book, tmp_path / "book")
        assert "none runs" in await why_not(clients, "one")
        async with sender(tmp_path / "book", nats_server.url):
            attempt = await test_calls.call_webhook(clients, "default", "one")
            assert (attempt.namespace, attempt.webhook, attempt.uid) == ("default", "one", route.uid)
            assert attempt.sender == socket.gethostname()
            assert (attempt.name, attempt.record.test, attempt.record.status) == (attempt.record.event_id, True, 200)
            await test_calls.call_webhook(clients, "default", "one", "order.created")
            assert [json.loads(each.body) for each in calls] == [
                sample_of(event_named("IdentityCreated")), {"a": "ü"},
            ]  # fmt: skip
            assert [each.event_type for each in calls] == ["IdentityCreated", "order.created"]
            assert (await why_not(clients, "two")).startswith("Unreadable: no sender serves this Webhook yet")
            assert (await why_not(clients, "off")).startswith("CannotBeDone: spec.enabled is false")
            assert (await why_not(clients, "nothing")).startswith("CannotBeDone: the Webhook hears no event")
            assert (await why_not(clients, "one", "order.bare")).startswith("CannotBeDone: the EventType of order.bare")
            assert (await why_not(clients, "one", "None.such")).startswith("CannotBeDone: there is no event type")
            assert (await why_not({}, "one")).startswith("Unreadable: no queue")
            assert len(calls) == 2
