"""Whoever watches deliveries, such as a log, stands in the way of none of them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO

import pytest

from doubles import own
from doubles.command import HOOKLINE
from doubles.local import hook, publish, receiver_of, sender, until, until_stored, write_book
from hookline.delivery.sender import Attempt
from hookline.local.nats_server import NatsServer
from hookline.local.receiver import ReceivedCall
from hookline.stream.connection import Client


@contextmanager
def full_disk() -> Iterator[int | IO[bytes]]:
    with Path("/dev/full").open("wb") as out:
        yield out


@contextmanager
def closed_pipe() -> Iterator[int | IO[bytes]]:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        yield writing
    finally:
        os.close(writing)


@contextmanager
def pipe_that_nobody_reads() -> Iterator[int | IO[bytes]]:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while os.write(writing, b"x" * 4096):
            pass
    except BlockingIOError:
        os.set_blocking(writing, True)
    try:
        yield writing
    finally:
        os.close(writing)
        os.close(reading)


@pytest.mark.parametrize("output", [full_disk, closed_pipe, pipe_that_nobody_reads])
async def test_a_sender_whose_log_cannot_be_written_delivers_each_event_once_and_ends_when_told(
    tmp_path: Path,
    nats_server: NatsServer,
    client: Client,
    output: Callable[[], AbstractContextManager[int | IO[bytes]]],
) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls) as receiver:
        write_book(tmp_path / "book", hook("one", receiver))
        with output() as stderr:
            words = ["sender", "--book", str(tmp_path / "book"), "--nats", nats_server.url, "--listen", "127.0.0.1:0"]
            process = await asyncio.create_subprocess_exec(HOOKLINE, *words, stderr=stderr, stdout=stderr)
            try:
                await publish(client, 300)
                await until(lambda: len(calls) >= 300)
                await until_stored(client, own.DELIVERIES, 0)
                assert process.returncode is None
            finally:
                process.terminate()
                ended = await asyncio.wait_for(process.wait(), 30)
    assert ended == 0
    assert len(calls) == 300


async def test_an_observer_that_fails_has_no_event_delivered_twice(
    tmp_path: Path, nats_server: NatsServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(attempt: Attempt) -> None:
        raise OSError("cannot be told")

    calls: list[ReceivedCall] = []
    async with receiver_of(calls) as receiver:
        write_book(tmp_path / "book", hook("one", receiver))
        async with sender(tmp_path / "book", nats_server.url) as running:
            monkeypatch.setattr(running.pod, "_on_attempt", fail)
            await publish(client, 10)
            await until(lambda: len(calls) == 10)
            await until_stored(client, own.DELIVERIES, 0)
            await until(lambda: (now := running.pod.snapshot()) is not None and now.held == 0)
    assert len(calls) == 10
