"""`hookline api`: tells what became of deliveries, over the Kubernetes API, in a pod."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import structlog
import typer

from hookline.api.doing import QueueActions
from hookline.api.process import ClusterApi
from hookline.api.queues import Queues
from hookline.api.replay.executor import Executor
from hookline.api.replay.in_cluster import ClusterReplays, ClusterWebhooks, execute_when_leading
from hookline.api.replay.replays import Runner
from hookline.api.webhook_names import WebhookNames
from hookline.cli.common import listen_address, run_until_signal
from hookline.cli.errors import WrongInput
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
from hookline.runtime.background import background
from hookline.runtime.logs import lost_log_lines, set_up_logs
from hookline.runtime.probes import Probes
from hookline.runtime.tuning import tune_process
from hookline.serving.api_server import ACCOUNT_FOLDER, ApiServer
from hookline.serving.server import GRACE_SECONDS

log = structlog.get_logger(__name__)


def api(
    queues: Annotated[Path, typer.Option(help="File with the queues of Dispatchers; may be replaced.")],
    data: Annotated[Path, typer.Option(help="Folder for the index, for this process alone; may be emptied.")],
    tls_certificate: CertificateFile,
    tls_key: KeyFile,
    namespace: Annotated[
        str | None, typer.Option(help="The only namespace that is answered for.", show_default="all")
    ] = None,
    own_namespace: Annotated[
        str | None, typer.Option(envvar="POD_NAMESPACE", help="Where its Lease is.", show_default="that of its pod")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            envvar="POD_NAME", help="What this process is called in its Lease.", show_default="the host's name"
        ),
    ] = None,
    listen: Listen = HTTPS,
    health: Health = PLAIN,
    grace_seconds: Grace = GRACE_SECONDS,
) -> None:
    """Answer for attempts, deliveries and dead letters, in a pod: to kube-apiserver, and to whoever shows a token.

    Example: hookline api --queues queues.json --data /var/lib/hookline --tls-certificate tls.crt --tls-key tls.key
    """
    tune_process()
    set_up_logs(json=True)
    host, port = listen_address(listen)
    health_host, health_port = listen_address(health)
    place = own_api_server("has this as well")
    certificate = certificate_of(tls_certificate, tls_key)

    own = own_namespace or _namespace_of_pod()

    async def work(stop: asyncio.Event) -> None:
        async with AsyncExitStack() as stack:
            server = await stack.enter_async_context(ApiServer(place, who="api"))
            names = WebhookNames(server, namespace)
            log_of_all = Queues(data, names_of=names.of)
            executor = Executor(lambda: log_of_all.clients, ClusterWebhooks(server), log_of_all)
            runner = Runner(ClusterReplays(server, namespace or ""), executor)
            pod = ClusterApi(
                log_of_all,
                server,
                certificate,
                QueueActions(executor, lambda: log_of_all.clients),
                host=host,
                port=port,
                missing=lambda: log_of_all.missing,
                only=namespace,
                grace_seconds=grace_seconds,
            )
            pod.process.metrics.watch_log(lost_log_lines)
            pod.process.metrics.watch_ready(pod.process.unready)
            probes = Probes(live=lambda: None, ready=pod.process.unready, metrics=pod.process.metrics.text)
            with listening(listen, health):
                await stack.enter_async_context(probes.serving(health_host, health_port))
                following = [
                    certificate.follow(stop),
                    log_of_all.follow_file(queues, stop),
                    log_of_all.run(),
                    names.follow(),
                    execute_when_leading(server, runner, namespace=own, identity=name or socket.gethostname()),
                ]
                async with background(*following):
                    await pod.run(stop, on_listening=_listening)
        log.info("ended")

    run_until_signal(work)


def _namespace_of_pod() -> str:
    try:
        return (ACCOUNT_FOLDER / "namespace").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        raise WrongInput("it is not known in which namespace this pod is; say so with --own-namespace") from None


def _listening(port: int) -> None:
    log.info("answering for what became of deliveries", port=port)
