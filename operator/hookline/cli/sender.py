"""`hookline sender`: one sender pod, from a route book folder and NATS."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from hookline.cli.common import listen_address, run_until_signal
from hookline.cli.errors import NotAchieved
from hookline.cli.run import log_attempt
from hookline.delivery.pod import Pod
from hookline.probes import Probes
from hookline.telemetry import set_up_logs


def sender(
    book: Annotated[Path, typer.Option(envvar="HOOKLINE_BOOK", help="Folder of the route book.", show_default=False)],
    nats: Annotated[str, typer.Option(envvar="HOOKLINE_NATS_URL", help="Address of NATS.", show_default=False)],
    nats_credentials: Annotated[
        Path | None, typer.Option(envvar="HOOKLINE_NATS_CREDENTIALS", help="NATS credentials file.")
    ] = None,
    listen: Annotated[str, typer.Option(help="HOST:PORT of /livez, /readyz, /metrics and /report.")] = ":8080",
    grace_seconds: Annotated[
        float, typer.Option(min=0, max=3600, help="At the end: how long calls under way may take.")
    ] = 30.0,
) -> None:
    """Deliver by a route book that the operator writes. Waits for the book and for NATS as long as it takes.

    Example: hookline sender --book /var/run/hookline/book --nats nats://nats:4222
    """
    set_up_logs()
    host, port = listen_address(listen)
    pod = Pod(
        book,
        nats,
        credentials=nats_credentials,
        on_attempt=log_attempt,
        grace_seconds=grace_seconds,
        patient=True,
    )

    async def work(stop: asyncio.Event) -> None:
        probes = Probes(live=pod.live, ready=pod.unready, metrics=pod.metrics.text, json_pages={"/report": pod.report})
        async with probes.serving(host, port):
            await pod.run(stop)

    try:
        run_until_signal(work)
    except OSError as error:
        raise NotAchieved(f"cannot listen at {listen}: {error.strerror or type(error).__name__}") from None
