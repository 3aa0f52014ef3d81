"""The receiver of the benchmarks: what it makes of bytes, and how it fails as it is told."""

from __future__ import annotations

import asyncio

import pytest
from benchmarks.receiver import FAILED, OK, Heard, Line, Told, event_id

BODY = b'{"data": 1}'


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


def call(number: int, *, path: str = "/ok/ok-1", id_name: str = "webhook-id") -> bytes:
    lines = [f"POST {path} HTTP/1.1", f"{id_name}: {event_id('r0', number, 5)}", f"Content-Length: {len(BODY)}"]
    return "\r\n".join([*lines, "", ""]).encode() + BODY


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def transport() -> Transport:
    return Transport()


@pytest.fixture
def line(told: Told, transport: Transport) -> Line:
    line = Line(told)
    line.connection_made(transport)
    return line


def test_calls_are_heard_however_their_bytes_are_cut(line: Line, told: Told, transport: Transport) -> None:
    for byte in call(7) + call(8, id_name="Webhook-Id"):
        line.data_received(bytes([byte]))
    line.data_received(call(9) + call(10))
    assert list(told.heard["ok", "r0"].order) == [7, 8, 9, 10]
    assert transport.written == OK * 4


def test_a_repeat_is_a_call_and_no_new_event() -> None:
    heard = Heard()
    for number in (1, 2, 1):
        heard.note(number, 0)
    assert (heard.calls, list(heard.order), heard.numbers) == (3, [1, 2], {1, 2})
    assert len(heard.seconds) == len(heard.at_s) == 2


@pytest.mark.parametrize(
    ("mode", "written", "closed"), [("fail", FAILED, False), ("close", b"", True), ("hang", b"", False)]
)
def test_a_call_that_failed_was_not_heard(
    line: Line, told: Told, transport: Transport, mode: str, written: bytes, closed: bool
) -> None:
    told.modes["ok"] = mode
    line.data_received(call(1))
    assert (transport.written, transport.closed, told.heard) == (written, closed, {})


async def test_a_byte_a_second_begins_with_one(line: Line, told: Told, transport: Transport) -> None:
    told.modes["ok"] = "drip"
    line.data_received(call(1))
    assert transport.written == OK[:1]
    transport.close()


def test_a_faulty_group_fails_by_its_share_and_others_never(told: Told) -> None:
    told.modes["ok"], told.faults = "faulty", 0.5
    modes = [told.mode("ok") for _ in range(1000)]
    assert {"ok", "fail", "close", "hang"} == set(modes)
    assert 400 < modes.count("ok") < 600
    assert told.mode("other") == "ok"
    told.faults = 0.0
    assert told.mode("ok") == "ok"
