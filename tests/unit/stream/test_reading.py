"""What is read and written of messages by hand, since the library costs several times as much: the same comes out."""

from __future__ import annotations

import nats.errors
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from hookline.stream.connection import Heard, QueueUnusable, StreamRefused, StreamUnavailable, _Client
from hookline.stream.publish import Former, Outcome, OutOfRoom, _outcome
from hookline.stream.pull import read_reply

_names = st.text("aZ-_9", min_size=1, max_size=12)
_values = st.text("aZ:; é\t0", max_size=12)
_headers = st.dictionaries(_names, _values, max_size=6)
_any_values = st.text("aZ:; é\t0\r\n\x00\u2028", max_size=12)


async def written(client: Client, headers: dict[str, str] | None, *, reply: str = "reply") -> bytes:
    """What a publish with these headers puts onto the connection."""
    sent: list[bytes] = []

    async def send(cmd: bytes, priority: bool = False) -> None:
        sent.append(cmd)

    client._send_command = send  # type: ignore[method-assign]
    client._flush_queue = None
    await client._send_publish("subject", reply, b"body", 4, headers)
    return b"".join(sent)


@given(st.dictionaries(_names, _any_values, min_size=1, max_size=6))
@pytest.mark.asyncio
async def test_headers_are_written_as_the_library_writes_them(headers: dict[str, str]) -> None:
    assert await written(_Client(), headers) == await written(Client(), headers)


@pytest.mark.parametrize("reply", ["", "reply"])
async def test_a_message_without_headers_is_written_as_the_library_writes_it(reply: str) -> None:
    assert await written(_Client(), None, reply=reply) == await written(Client(), None, reply=reply)


async def heard(client: Client, headers: bytes | None) -> list[Heard]:
    """What a listener hears of a message with these bytes of headers."""
    messages: list[Heard] = []
    assert isinstance(client, _Client)
    subscription = Subscription(client, id=1, subject="inbox")
    client._subs[1] = subscription
    client.hand_to(subscription, messages.append)
    await client._process_msg(1, b"inbox", b"reply", b"body", headers)  # type: ignore[arg-type]  # as its parser does
    return messages


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (None, {}),
        (b"NATS/1.0\r\na: b\r\n\r\n", {"a": "b"}),
        (b"NATS/1.0 503\r\n\r\n", {"Status": "503"}),
        (
            b"NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: 3\r\n\r\n",
            {"Status": "408", "Description": "Request Timeout", "Nats-Pending-Messages": "3"},
        ),
    ],
    ids=["none", "headers", "a status", "a status with headers"],
)
async def test_a_listener_hears_headers_and_the_status_alike(raw: bytes | None, expected: dict[str, str]) -> None:
    assert await heard(_Client(), raw) == [Heard("inbox", "reply", expected, b"body")]


async def test_a_name_that_is_no_name_of_a_header_is_refused() -> None:
    with pytest.raises(nats.errors.BadHeaderError):
        await written(_Client(), {"a\r\nb": "c"})


@given(_headers)
def test_headers_are_read_as_the_library_reads_them(headers: dict[str, str]) -> None:
    raw = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode() + b"\r\n"
    assert _Client._parse_header_lines(raw) == Client._parse_header_lines(raw)


def test_what_is_no_header_and_no_utf_8_does_no_harm() -> None:
    assert _Client._parse_header_lines(b"noise\r\nA:b\r\nC: \xff\r\n\r\n") == {"A": "b", "C": "\ufffd"}


@pytest.mark.parametrize(
    "reply",
    [
        "$JS.ACK.DELIVERIES.shard-03.1.4711.12.1763964112468903000.5",
        "$JS.ACK.hub.Ab3dE.DELIVERIES.shard-03.1.4711.12.1763964112468903000.5",
        "$JS.ACK._.Ab3dE.DELIVERIES.shard-03.1.4711.12.1763964112468903000.5.xyz",
    ],
    ids=["plain", "with a domain", "with a token at the end"],
)
def test_the_place_of_a_message_is_read_as_the_library_reads_it(reply: str) -> None:
    metadata = Msg(Client(), reply=reply).metadata
    consumer, seq, stored_ns, delivered, pending = read_reply(reply)
    assert (consumer, seq) == (metadata.consumer, metadata.sequence.stream) == ("shard-03", 4711)
    assert (delivered, pending) == (metadata.num_delivered, metadata.num_pending) == (1, 5)
    assert stored_ns == 1763964112468903000
    assert abs(stored_ns / 1e9 - metadata.timestamp.timestamp()) < 1e-3


def answer(body: bytes, **headers: str) -> Heard:
    return Heard("inbox.1", "", headers, body)


def test_whether_a_message_is_new_is_read_of_every_spelling_of_the_answer() -> None:
    assert _outcome(answer(b'{"stream":"EVENTS","seq":12}'), "EVENTS").new
    assert _outcome(answer(b'{"stream":"EVENTS", "seq":12}'), "EVENTS").new
    assert _outcome(answer(b'{"stream":"EVENTS","domain":"hub","seq":12}'), "EVENTS").new
    duplicate = answer(b'{"stream":"EVENTS","seq":12,"duplicate":true}')
    assert _outcome(duplicate, "EVENTS") == Outcome(Former("EVENTS", 12))
    assert _outcome(answer(b'{"stream":"HOOKLINE_EVENTS","seq":12}'), "EVENTS").new
    assert _outcome(answer(b'{"stream":"a-team_EVENTS","seq":12}'), "EVENTS", {"a-team_EVENTS"}).new


def test_an_answer_that_stores_nothing_is_an_error() -> None:
    refusal = b'{"error":{"code":503,"description":"maximum bytes exceeded"},"stream":"EVENTS","seq":0}'
    with pytest.raises(StreamRefused, match="maximum bytes"):
        _outcome(answer(refusal), "EVENTS")


@pytest.mark.parametrize("code", [10002, 10023, 10047, 10077])
def test_an_account_a_server_or_a_stream_without_room_is_told_from_a_message_that_cannot_be_stored(code: int) -> None:
    full = b'{"error":{"code":400,"err_code":%d,"description":"full"},"stream":"EVENTS","seq":0}' % code
    with pytest.raises(OutOfRoom):
        _outcome(answer(full), "EVENTS")


@pytest.mark.parametrize(
    ("code", "what"), [(10158, b"duplicate message id is in process"), (10167, b"too many requests")]
)
def test_what_the_server_cannot_say_yet_is_asked_again_and_not_refused(code: int, what: bytes) -> None:
    busy = b'{"error":{"code":409,"err_code":%d,"description":"%b"},"stream":"EVENTS","seq":0}' % (code, what)
    with pytest.raises(StreamUnavailable, match=what.decode()):
        _outcome(answer(busy), "EVENTS")


@pytest.mark.parametrize("more", [b"", b',"duplicate":true', b',"domain":"hub"'])
def test_a_message_that_another_stream_took_is_not_stored(more: bytes) -> None:
    with pytest.raises(QueueUnusable, match="the stream ARCHIVE of another application"):
        _outcome(answer(b'{"stream":"ARCHIVE","seq":12%b}' % more), "EVENTS")
