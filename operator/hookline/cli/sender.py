"""`hookline sender`: delivers in a pod, from a route book folder and NATS, nothing else."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import structlog
import typer

from hookline.cli.common import checked_nats, listen_address, run_until_signal
from hookline.cli.errors import NotAchieved
from hookline.cli.run import log_attempts
from hookline.delivery.process import SenderProcess
from hookline.runtime import telemetry
from hookline.runtime.logs import lost_log_lines, set_up_logs
from hookline.runtime.probes import Probes
from hookline.runtime.tuning import tune_process
from hookline.stream.owner import Installation

log = structlog.get_logger(__name__)


def sender(
    book: Annotated[
        Path, typer.Option(envvar="HOOKLINE_BOOK", help="Folder of the route book. May be empty or absent at first.")
    ],
    nats: Annotated[str, typer.Option(envvar="HOOKLINE_NATS_URL", help="Address of NATS: nats:// or tls://.")],
    nats_credentials: Annotated[
        Path | None,
        typer.Option(
            envvar="HOOKLINE_NATS_CREDENTIALS",
            help="NATS credentials file, or a seed; read for each connection.",
        ),
    ] = None,
    installation: Annotated[str, typer.Option(help="Id of the owner of the streams; the operator gives it.")] = "",
    installation_name: Annotated[str, typer.Option(help="Its name, for people.")] = "",
    take_over_from: Annotated[
        str, typer.Option(help="Id or name of the owner of the streams that is replaced, as long as it is that one.")
    ] = "",
    proxy_credentials: Annotated[
        Path | None,
        typer.Option(
            envvar="HOOKLINE_PROXY_CREDENTIALS",
            help="File with user:password for the Dispatcher's forward proxy; read for each connection.",
        ),
    ] = None,
    listen: Annotated[
        str, typer.Option(help="HOST:PORT of /livez, /readyz, /metrics and /report; without HOST on every address.")
    ] = "0.0.0.0:8080",  # a kubelet asks at the pod's address
    grace_seconds: Annotated[
        float, typer.Option(min=0, max=3600, help="At the end: how long calls under way may take.")
    ] = 30.0,
) -> None:
    """Deliver by a route book that the operator writes. Waits for a book and for NATS as long as it takes.

    Example: hookline sender --book /var/run/hookline/book --nats nats://nats:4222
    """
    tune_process()
    set_up_logs(json=True)
    telemetry.set_up("hookline-sender")
    host, port = listen_address(listen)
    pod = SenderProcess(
        book,
        checked_nats(nats),
        installation=Installation(installation, installation_name or installation, take_over_from),
        credentials=nats_credentials,
        proxy_credentials=proxy_credentials,
        on_attempt=log_attempts(),
        grace_seconds=grace_seconds,
        patient=True,
    )
    pod.metrics.watch_log(lost_log_lines)
    pod.metrics.watch_ready(pod.unready)
    probes = Probes(live=pod.live, ready=pod.unready, metrics=pod.metrics.text, json_pages={"/report": pod.report})

    async def work(stop: asyncio.Event) -> None:
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(probes.serving(host, port))
            except OSError as error:
                raise NotAchieved(f"cannot listen on {listen}: {error.strerror or type(error).__name__}") from None
            await pod.run(stop)
        log.info("ended")

    run_until_signal(work)
