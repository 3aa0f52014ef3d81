from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hookline.local.server_health import LONGEST_PAUSE_SECONDS, WELL_SECONDS, Pauses, monitor_of, refuses_writes

ILL = b'{"status":"unavailable","error":"JetStream stream \'$G > A\' write error: no space left on device"}'


def test_pauses_grow_up_to_a_bound_and_are_short_again_after_a_server_that_was_well() -> None:
    pauses = Pauses()
    waited = [pauses.next_seconds(ran_seconds=0) for _ in range(12)]
    assert waited[:4] == [0.2, 0.4, 0.8, 1.6]
    assert waited[-1] == LONGEST_PAUSE_SECONDS
    assert pauses.next_seconds(ran_seconds=WELL_SECONDS) == 0.2
    assert pauses.next_seconds(ran_seconds=1) == 0.4


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"monitoring": []}', '{"monitoring": 7}', "\x00"])
def test_a_file_of_ports_that_says_nothing_is_as_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "nats-server_7.ports").write_text(text)
    assert monitor_of(tmp_path, 7) is None
    assert monitor_of(tmp_path, 8) is None


@pytest.mark.parametrize(
    ("answer", "ill"),
    [
        (b"HTTP/1.0 503 X\r\n\r\n" + ILL, True),
        (b"HTTP/1.0 200 OK\r\n\r\n" + ILL, False),
        (b'HTTP/1.0 503 X\r\n\r\n{"status":"unavailable","error":"JetStream has not established contact"}', False),
        (b'HTTP/1.0 200 OK\r\n\r\n{"status":"ok"}', False),
        (b"HTTP/1.0 503 X\r\n\r\n[7]", False),
        (b"HTTP/1.0 503", False),
        (b"HTTP/1.0", False),
        (b"\xff" * 100_000, False),
        (b"", False),
    ],
)
async def test_only_an_error_of_writing_counts_whatever_is_answered(answer: bytes, ill: bool) -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(say, "127.0.0.1", 0) as server:
        said = await refuses_writes(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", "/secret")
    assert (said is not None) == ill


async def test_a_server_that_is_gone_says_nothing() -> None:
    assert await refuses_writes("http://127.0.0.1:1", "/secret") is None
