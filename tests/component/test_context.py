"""What a producer sends beside the body of an event is there wherever the event comes to, over a real nats-server."""

from __future__ import annotations

from pathlib import Path

from doubles import own
from doubles.local import dead_letters, hook, publish, receiver_of, sender, until_stored, write_book
from hookline.delivery import messages
from hookline.delivery.messages import Delivery
from hookline.local.nats_server import NatsServer
from hookline.local.receiver import Answer
from hookline.routing.routes import RouteState
from hookline.stream import names
from hookline.stream.connection import Client
from hookline.stream.event_reader import EventReader

CONTEXT = {
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "tracestate": "rojo=00f067aa0ba902b7, congo=t61rcWkgMzE",
    "subject": " Zürich 100% ✓",
}
STRANGE = (
    b"Hookline-Context-traceparent: twice",
    f"Hookline-Context-traceparent: {CONTEXT['traceparent']}".encode(),
    f"Hookline-Context-tracestate:{CONTEXT['tracestate']}".encode(),
    "Hookline-Context-subject:   %20Zürich 100%25 ✓  ".encode(),
    b"Hookline-Context-Subject: in other case",
    b"Hookline-Context-binary: \xff\x00\xfe",
    b"Hookline-Context-\xff: a name",
    b"Hookline-Context-lines: a%0D%0Ab",
    b"Hookline-Context-huge: " + b"x" * 10_000,
    *(b"Hookline-Context-a-%d: x" % number for number in range(28)),
)


async def publish_strangely(client: Client, subject: str) -> None:
    """As no client of NATS writes."""
    head = b"NATS/1.0\r\n" + b"".join(line + b"\r\n" for line in STRANGE) + b"\r\n"
    sizes = f"{len(head)} {len(head) + 2}"
    await client._send_command(f"HPUB {subject} {sizes}\r\n".encode() + head + b"{}\r\n")
    await client.flush()


async def test_the_context_of_an_event_is_there_after_a_retry_in_a_dead_letter_and_where_it_is_parked(
    tmp_path: Path, nats_server: NatsServer, queue: Client
) -> None:
    async with receiver_of([], Answer(500)) as receiver:
        failing = hook("failing", receiver, schedule_seconds=(1,))
        waiting = hook("waiting", receiver, state=RouteState.HELD)
        write_book(tmp_path / "book", failing, waiting)
        await publish(queue, context=CONTEXT)
        await publish_strangely(queue, names.event_subject("default", "IdentityCreated"))
        await until_stored(queue, own.EVENTS, 2)
        await publish(queue)
        async with sender(tmp_path / "book", nats_server.url):
            await until_stored(queue, own.DEAD, 3)
            await until_stored(queue, own.PARKED, 3)
    letters = [each.delivery for each in await dead_letters(queue)]
    for found, attempt in ((letters, 2), (await parked(queue, 3), 1)):
        by_seq = {each.event_seq: (each.event.context, each.attempt) for each in found if each is not None}
        assert by_seq == {1: (CONTEXT, attempt), 2: (CONTEXT, attempt), 3: ({}, attempt)}
    # As what was set aside is read.
    stored = await EventReader(queue).read(own.EVENTS, 2)
    assert stored is not None
    assert messages.event_of(stored.subject, stored.headers, stored.body, seq=2, stored_s=1).context == CONTEXT


async def parked(queue: Client, count: int) -> list[Delivery]:
    found = [await queue.jetstream().get_msg(own.PARKED, seq) for seq in range(1, count + 1)]
    return [messages.read(each.subject or "", each.headers or {}, each.data or b"") for each in found]
