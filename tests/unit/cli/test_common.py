from __future__ import annotations

import asyncio
import contextlib

import pytest

from hookline.cli.common import listen_address, run_loop
from hookline.cli.errors import WrongInput


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0.0.0.0:8080", ("0.0.0.0", 8080)),
        (":8080", ("", 8080)),
        ("[::]:8080", ("::", 8080)),
        ("localhost:0", ("localhost", 0)),
    ],
)
def test_an_address_to_listen_at_is_host_and_port(text: str, address: tuple[str, int]) -> None:
    assert listen_address(text) == address


@pytest.mark.parametrize("text", ["", "8080", "host", "host:", "::1:80", "host:65536", "host:-1", "http://host:80"])
def test_what_is_no_address_says_what_to_write(text: str) -> None:
    with pytest.raises(WrongInput, match=r"--listen must be HOST:PORT"):
        listen_address(text)


def test_a_command_ends_although_a_library_left_a_task_that_forgets_its_cancellation() -> None:
    tasks: list[asyncio.Task[None]] = []

    async def left() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.sleep(10)

    async def work() -> str:
        tasks.append(asyncio.create_task(left()))
        await asyncio.sleep(0)
        return "done"

    assert run_loop(work()) == "done"
    assert tasks[0].cancelled(), "it ended by itself, long after"
