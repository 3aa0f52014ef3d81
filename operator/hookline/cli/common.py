"""What several commands share: the data folder, running until a signal, the address of the queue."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer
import uvloop

from hookline.cli.errors import WrongInput
from hookline.local.nats_server import known_url, url_file
from hookline.resources.egress_policy import parse_cidrs
from hookline.resources.natsaddress import BadNatsAddress, parse_nats
from hookline.runtime import telemetry
from hookline.runtime.tasks import cancel

T = TypeVar("T")

DATA_HELP = "Folder for the queue and the route book."
NatsOrOwn = Annotated[
    str | None,
    typer.Option(envvar="HOOKLINE_NATS_URL", help="Address of NATS.", show_default="that of `hookline run`"),
]
OwnData = Annotated[Path | None, typer.Option(help=DATA_HELP, show_default="~/.local/state/hookline")]
"""Which of them counts `nats_address` says."""


def default_data() -> Path:
    """Where `hookline run` keeps its data unless told otherwise."""
    return default_state("hookline")


def default_state(name: str) -> Path:
    """A folder of this user for what outlives a command (XDG Base Directory Specification)."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / name


def nats_address(nats: str | None, data: Path) -> str:
    """The queue to talk to: the one named, else the one that `hookline run` started on the data folder.

    Never another one: what happens to listen on the usual port is somebody else's.
    """
    if nats is not None:
        return checked_nats(nats)
    known = known_url(data.absolute())
    if known is None:
        raise WrongInput(f"no `hookline run` has used {data}; start one, or name its --data, or NATS with --nats")
    return checked_nats(known, said_by=str(url_file(data.absolute())))


def checked_nats(url: str, *, said_by: str = "--nats") -> str:
    try:
        parse_nats(url)
    except BadNatsAddress as error:
        raise WrongInput(f"{said_by}: {error}") from None
    return url


def checked_cidrs(texts: list[str]) -> list[str]:
    try:
        return [str(network) for network in parse_cidrs(texts)]
    except ValueError as error:
        raise WrongInput(f"--allow-cidr: {error}") from None


def listen_address(text: str) -> tuple[str, int]:
    """Host and port of HOST:PORT. An empty host is every address; an IPv6 address stands in brackets."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]*)):([0-9]{1,5})", text)
    if match is None or int(match[3]) > 65535:
        raise WrongInput("--listen must be HOST:PORT, for example 0.0.0.0:8080, [::]:8080 or :8080")
    return match[1] or match[2] or "", int(match[3])


def existing(paths: list[Path]) -> list[Path]:
    for path in paths:
        if not path.exists():
            raise WrongInput(f"{path} does not exist; name a YAML file, or a folder of them")
    return paths


def run_loop(work: Awaitable[T]) -> T:
    """Run to the end on a uvloop."""

    async def body() -> T:
        try:
            return await work
        finally:
            # The runner cancels what libraries left running once, and waits for it for ever.
            await cancel(each for each in asyncio.all_tasks() if each is not asyncio.current_task())

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(body())
    finally:
        telemetry.shut_down()


def run_until_signal(work: Callable[[asyncio.Event], Awaitable[T]]) -> T:
    """Run `work` with an event that SIGINT, SIGTERM and the end of the terminal set."""

    async def body() -> T:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        numbers = [signal.SIGINT, signal.SIGTERM]
        # Whoever starts a command with nohup wants it to outlive the terminal.
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        for number in numbers:
            loop.add_signal_handler(number, stop.set)
        return await work(stop)

    return run_loop(body())
