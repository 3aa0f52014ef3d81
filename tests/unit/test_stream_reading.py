"""What is read of messages by hand, because the library's own way costs several times as much: the same comes out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.aio.msg import Msg

from hookline.stream.connection import _Client
from hookline.stream.pull import _place

_names = st.text("aZ-_9", min_size=1, max_size=12)
_values = st.text("aZ:; é\t0", max_size=12)
_headers = st.dictionaries(_names, _values, max_size=6)


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
    assert _place(reply) == (metadata.consumer, metadata.sequence.stream) == ("shard-03", 4711)
