"""`hookline demo`: everything at once on this machine, one row for each call."""

from __future__ import annotations

import asyncio
import logging
import secrets
import shlex
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from hookline.cli.common import run_until_signal
from hookline.cli.errors import NotAchieved
from hookline.cli.run import curl_line
from hookline.events.builtin_events import EVENTS, sample_of, to_text
from hookline.local.calls_shown import call_row
from hookline.local.receiver import ReceivedCall, Receiver, new_secret
from hookline.local.run import LocalHookline, Manifests
from hookline.local.samples import demo_manifests
from hookline.runtime.logs import set_up_logs
from hookline.runtime.tuning import tune_process
from hookline.stream.admission import Admission
from hookline.stream.connection import close, connect

ALL_ARRIVE_SECONDS = 60.0
"""How long `--once` waits for every event, start-up not counted."""

APP_KEY_HEADER = "X-Api-Key"


def demo(
    once: Annotated[bool, typer.Option("--once", help="Stop when all events arrived: exit 0, otherwise 1.")] = False,
) -> None:
    """Start everything on this machine and deliver one event of each of the 20 types to a local TLS receiver.

    Uses a folder of its own that goes with it. Stays up until Ctrl-C unless --once is given.

    Example: hookline demo --once
    """
    tune_process()
    set_up_logs(level=logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="hookline-demo-") as folder:
        run_until_signal(_Demo(Path(folder), once=once).run)


class _Demo:
    def __init__(self, folder: Path, *, once: bool) -> None:
        self._folder = folder
        self._data = folder / "data"
        self._once = once
        self._calls: list[ReceivedCall] = []
        self._console = Console()
        self._curl = ""

    async def run(self, stop: asyncio.Event) -> None:
        secret, app_key = new_secret(), secrets.token_urlsafe(24)
        header_secret = (APP_KEY_HEADER, app_key)
        async with Receiver(secret=secret, header_secret=header_secret, on_call=self._arrived) as receiver:
            manifests = self._folder / "webhooks.yaml"
            manifests.touch(mode=0o600)
            manifests.write_text(
                demo_manifests(
                    url=receiver.url,
                    ca_pem=receiver.ca_pem,
                    secret=secret,
                    header_secret=header_secret,
                    events=[event.name for event in EVENTS],
                )
            )
            hookline = LocalHookline(
                Manifests([manifests], allow_cidrs=["127.0.0.0/8"]),
                self._data,
                gateway_ports=(0,),
                on_gateway=self._gateway_listens,
                grace_seconds=5,
            )
            ended = asyncio.Event()
            running = asyncio.create_task(hookline.run(ended))
            try:
                await self._show(hookline, running, stop)
            finally:
                ended.set()
                await running

    async def _show(self, hookline: LocalHookline, running: asyncio.Task[None], stop: asyncio.Event) -> None:
        await _first(hookline.ready.wait(), running, stop.wait())
        if running.done() or stop.is_set():
            return
        self._say("Hookline runs on this machine: queue, sender, and a TLS receiver that verifies each call.")
        expected = await _publish_samples(hookline.nats_url)
        await self._wait(expected, running, stop)

    async def _wait(self, expected: frozenset[str], running: asyncio.Task[None], stop: asyncio.Event) -> None:
        """Until every expected event was verified; then until Ctrl-C, unless this is to be done once."""
        deadline = time.monotonic() + ALL_ARRIVE_SECONDS
        while (missing := expected - self._verified()) and time.monotonic() < deadline and not stop.is_set():
            await _first(asyncio.sleep(0.05), running)
        if stop.is_set():
            return
        if missing:
            problem = f"{len(missing)} of {len(expected)} events did not arrive verified"
            if self._once:
                raise NotAchieved(problem)
            self._say(problem)
        else:
            # The Webhook with the app key hears one of the events as well: let its row be seen.
            await asyncio.sleep(0.2)
            self._say(f"All {len(expected)} events arrived, and the receiver verified each signature.")
        if not self._once:
            self._say(_what_next(self._data, self._curl))
            await _first(stop.wait(), running)

    def _gateway_listens(self, url: str, token: Path) -> None:
        self._curl = curl_line(url, token)

    def _arrived(self, call: ReceivedCall) -> None:
        self._calls.append(call)
        self._say(call_row(call))

    def _verified(self) -> set[str]:
        """Ids of events that came with a signature that the independent library `standardwebhooks` verified."""
        return {call.webhook_id for call in self._calls if call.verified == "signature" and call.answered < 300}

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def _what_next(data: Path, curl: str) -> str:
    """Lines that work when they are pasted into another terminal, in the same folder."""
    command = shlex.quote(sys.argv[0])
    return (
        "Publish one yourself, in another terminal:\n"
        f"  {command} events sample IdentityCreated |\n"
        f"    {command} publish IdentityCreated - --data {shlex.quote(str(data))}\n"
        + (f"or by HTTP:\n  {curl}\n" if curl else "")
        + 'Next: README.md, "Your first own Webhook, in five minutes". Ctrl-C ends this.'
    )


async def _publish_samples(url: str) -> frozenset[str]:
    """One event of each type; their ids."""
    client = await connect(url, name="hookline-demo")
    try:
        admission = await Admission.at(client)
        bodies = {each.name: to_text(sample_of(each)).encode() for each in EVENTS}
        stored = [await admission.store("default", name, body, patience_seconds=10) for name, body in bodies.items()]
        return frozenset(each.id for each in stored)
    finally:
        await close(client)


async def _first(*waits: object) -> None:
    """Wait for the first of these; a task that is not ours to cancel is left alone."""
    mine = [asyncio.ensure_future(each) for each in waits if asyncio.iscoroutine(each)]
    others = [each for each in waits if isinstance(each, asyncio.Task)]
    await asyncio.wait([*mine, *others], return_when=asyncio.FIRST_COMPLETED)
    for each in mine:
        each.cancel()
