"""The door for events, over a real nats-server."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from doubles import own
from doubles.local import count, sender, until
from doubles.waiting import until_it_is
from hookline.delivery import session
from hookline.events.builtin_events import EVENTS, sample_of, to_text
from hookline.events.envelope import stamp
from hookline.events.schemas import UnknownEvent
from hookline.local import book_folder
from hookline.local.nats_server import NatsServer
from hookline.routing.routes import TypeRecord, book_of
from hookline.runtime.background import background
from hookline.stream import admission, names
from hookline.stream.admission import Admission, Admitted
from hookline.stream.connection import Client
from hookline.stream.publish import Former, Outcome
from hookline.stream.types import read_types, types_version, write_types

ORDER = TypeRecord(name="order.created", description="", validation="Enforce", schema_={"type": "object"})
SAMPLE = to_text(sample_of(EVENTS[0])).encode()


async def test_an_event_is_stored_once_under_its_id_and_one_without_is_given_one(queue: Client) -> None:
    door = await Admission.at(queue)
    assert await door.store("default", EVENTS[0].name, SAMPLE, "one", patience_seconds=5) == Admitted("one")
    again = await door.store("default", EVENTS[0].name, SAMPLE, "one", patience_seconds=5)
    assert (again, again.new) == (Admitted("one", Outcome(Former(own.EVENTS, 1))), False)
    first, second = [await door.store("default", EVENTS[0].name, SAMPLE, patience_seconds=5) for _ in range(2)]
    assert first.id != second.id
    assert await count(queue, own.EVENTS) == 3


async def test_the_time_of_an_event_is_written_as_that_of_a_delivery(queue: Client) -> None:
    door = await Admission.at(queue)
    await door.store("default", EVENTS[0].name, SAMPLE, "one", patience_seconds=5)
    stored = await queue.jetstream().get_msg(own.EVENTS, seq=1)
    time = (stored.headers or {})["Hookline-Event-Time"]
    assert time == stamp(datetime.fromisoformat(time).timestamp())


async def test_a_context_is_stored_with_its_event(queue: Client) -> None:
    door = await Admission.at(queue)
    await door.store("default", EVENTS[0].name, SAMPLE, "one", context={"subject": "é 1"}, patience_seconds=5)
    stored = await queue.jetstream().get_msg(own.EVENTS, seq=1)
    assert (stored.headers or {})["Hookline-Context-subject"] == "%C3%A9%201"


async def test_what_refuses_a_body_is_told_from_what_its_type_only_warns_of(queue: Client) -> None:
    await write_types(queue, (ORDER, ORDER.model_copy(update={"name": "order.paid", "validation": "Warn"})))
    door = await Admission.at(queue)
    assert door.judge("order.created", b"{}") == admission.Judged((), ())
    assert len(door.judge("order.created", b"[]").refusals) == 1
    assert door.judge("order.paid", b"[]").refusals == ()
    assert len(door.judge("order.paid", b"[]").warnings) == 1
    with pytest.raises(UnknownEvent):
        door.judge("order.craeted", b"{}")


async def test_a_type_that_something_was_written_over_is_written_again(
    tmp_path: Path, nats_server: NatsServer, queue: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NATS writes a confirmation to whatever subject the publisher of an event names as its reply."""
    monkeypatch.setattr(session, "LOOK_SECONDS", 0.05)
    bucket = f"$KV.{names.TYPES_BUCKET}"
    book_folder.write(book_of([], types=[ORDER]), tmp_path / "book")
    async with sender(tmp_path / "book", nats_server.url):
        assert await read_types(queue) == [ORDER]
        for key in ("order.created", "Nothing"):
            await queue.publish(names.event_subject("default", "A"), b"{}", reply=f"{bucket}.{key}")
        # The type, two confirmations, and one message for each that puts it right.
        await until_it_is(lambda: types_version(queue), lambda version: version is not None and 5 in version)
        assert await read_types(queue) == [ORDER]


async def test_changed_event_types_are_taken_up_and_the_last_known_ones_count_while_nats_is_away(
    nats_server: NatsServer, queue: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "FOLLOW_SECONDS", 0.05)
    door = await Admission.at(queue)
    async with background(door.follow()):
        assert "order.created" not in door.catalogue.names()
        await write_types(queue, (ORDER,))
        await until(lambda: "order.created" in door.catalogue.names())
        await nats_server.stop()
        assert door.judge("order.created", b"{}").refusals == ()
        await nats_server.start()
        await until(lambda: queue.is_connected)
        await write_types(queue, ())
        await until(lambda: "order.created" not in door.catalogue.names())
