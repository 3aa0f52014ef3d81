"""`hookline gateway`: takes events by HTTPS in a pod, and stores them in the queue."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import structlog
import typer

from hookline.cli.common import checked_nats, listen_address, run_until_signal
from hookline.cli.pod import (
    HTTPS,
    PLAIN,
    CertificateFile,
    Grace,
    Health,
    KeyFile,
    Listen,
    certificate_of,
    listening,
    own_api_server,
)
from hookline.gateway.account_token import AUDIENCE
from hookline.gateway.cluster_callers import ClusterCallers
from hookline.gateway.limits import Bounds
from hookline.gateway.process import GatewayProcess
from hookline.gateway.static_tokens import StaticTokens
from hookline.runtime import telemetry
from hookline.runtime.background import background
from hookline.runtime.logs import lost_log_lines, set_up_logs
from hookline.runtime.probes import Probes
from hookline.runtime.tuning import collect_seldom, tune_process
from hookline.serving.api_server import ApiServer
from hookline.serving.server import GRACE_SECONDS

log = structlog.get_logger(__name__)

_BOUNDS = Bounds()


def gateway(
    nats: Annotated[str, typer.Option(envvar="HOOKLINE_NATS_URL", help="Address of NATS: nats:// or tls://.")],
    tls_certificate: CertificateFile,
    tls_key: KeyFile,
    nats_credentials: Annotated[
        Path | None,
        typer.Option(
            envvar="HOOKLINE_NATS_CREDENTIALS",
            help="NATS credentials file, or a seed; read for each connection.",
        ),
    ] = None,
    publisher_tokens: Annotated[
        Path | None,
        typer.Option(help="File with the digests of publishers' tokens; may be replaced, or absent at first."),
    ] = None,
    listen: Listen = HTTPS,
    health: Health = PLAIN,
    grace_seconds: Grace = GRACE_SECONDS,
    requests_at_once: Annotated[
        int, typer.Option(min=1, max=_BOUNDS.requests, help="Of one namespace: requests under way.")
    ] = _BOUNDS.requests_of_one,
    bytes_at_once: Annotated[
        int, typer.Option(min=1, max=_BOUNDS.body_bytes, help="Of one namespace: bytes of bodies in memory.")
    ] = _BOUNDS.body_bytes_of_one,
    events_per_second: Annotated[
        int | None, typer.Option(min=1, help="Of one namespace: events in a second.", show_default="no limit")
    ] = None,
    bytes_per_second: Annotated[
        int | None, typer.Option(min=1, help="Of one namespace: bytes of bodies in a second.", show_default="no limit")
    ] = None,
) -> None:
    """Take events by HTTPS, in a pod, from workloads that show a ServiceAccount's token. Waits for NATS.

    Example: hookline gateway --nats nats://nats:4222 --tls-certificate tls.crt --tls-key tls.key
    """
    tune_process()
    set_up_logs(json=True)
    telemetry.set_up("hookline-gateway")
    host, port = listen_address(listen)
    health_host, health_port = listen_address(health)
    place = own_api_server("has a gateway")
    certificate = certificate_of(tls_certificate, tls_key)
    address = checked_nats(nats)
    bounds = Bounds(
        requests_of_one=requests_at_once,
        body_bytes_of_one=bytes_at_once,
        events_per_second=events_per_second,
        bytes_per_second=bytes_per_second,
    )

    async def work(stop: asyncio.Event) -> None:
        static = StaticTokens(publisher_tokens) if publisher_tokens is not None else None
        async with AsyncExitStack() as stack:
            api = await stack.enter_async_context(ApiServer(place, who="gateway", audience=AUDIENCE))
            callers = await stack.enter_async_context(ClusterCallers(api, static))
            pod = GatewayProcess(
                address,
                callers,
                host=host,
                port=port,
                credentials=nats_credentials,
                tls=certificate.context,
                bounds=bounds,
                grace_seconds=grace_seconds,
            )
            pod.metrics.watch_log(lost_log_lines)
            pod.metrics.watch_ready(pod.unready)
            pod.metrics.watch_certificate(lambda: certificate.expires_s)
            probes = Probes(live=lambda: None, ready=pod.unready, metrics=pod.metrics.text)
            with listening(listen, health):
                await stack.enter_async_context(probes.serving(health_host, health_port))
                following = [certificate.follow(stop), *([static.watch(stop)] if static is not None else [])]
                async with background(*following):
                    await pod.run(stop, on_listening=_listening)
        log.info("ended")

    run_until_signal(work)


def _listening(port: int) -> None:
    collect_seldom()
    log.info("taking events", port=port)
