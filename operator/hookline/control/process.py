"""The operator as a process: connects it to its cluster, its pod, its metrics and its health port."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import structlog

from hookline import __version__
from hookline.control.api_workload import ApiSettings
from hookline.control.cluster import Access, Cluster, ClusterUnavailable, connected, fresh
from hookline.control.context import Identity
from hookline.control.kinds import NAMESPACES, PODS
from hookline.control.run import Operator
from hookline.control.watch import pass_on_warnings
from hookline.control.work_queue import retry_seconds
from hookline.runtime.logs import lost_log_lines
from hookline.runtime.metrics import OperatorMetrics
from hookline.runtime.probes import Probes

log = structlog.get_logger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class Options:
    """What a person may say on the command line."""

    host: str
    port: int
    lease: str
    watched: str | None = None
    namespace: str | None = None
    name: str | None = None
    image: str | None = None
    bootstrap: Path | None = None
    kubeconfig: Path | None = None
    shipped_nats: str = ""
    api: ApiSettings = field(default_factory=ApiSettings)
    traces: Mapping[str, str] = field(default_factory=dict)


async def serve(options: Options, stop: asyncio.Event) -> None:
    """Run an operator until `stop`. Raises NoCluster, LeaseLost, WatchEnded, ClusterError, OSError."""
    pass_on_warnings()
    metrics = OperatorMetrics()
    async with connected(options.kubeconfig, on_request=metrics.request) as (cluster, access):
        identity = await _identity(cluster, access, options)
        operator = Operator(cluster, lambda: fresh(access), identity, lease=options.lease, bootstrap=options.bootstrap)
        metrics.watch_log(lost_log_lines)
        metrics.watch(
            operator.context.queue,
            leads=lambda: operator.leads,
            without_room=operator.without_room,
            fullness=lambda: operator.fullness,
            disks=operator.nats_disks.used_bytes,
            disk_limits=operator.nats_disks.limit_bytes,
        )
        metrics.watch_ready(operator.ready)
        probes = Probes(live=operator.live, ready=operator.ready, metrics=metrics.text)
        async with probes.serving(options.host, options.port):
            await operator.run(stop)


async def _identity(cluster: Cluster, access: Access, options: Options) -> Identity:
    namespace = options.namespace or access.namespace or "default"
    name = options.name or socket.gethostname()
    own_image, pull_secrets = await _own_image(cluster, namespace, name)
    found = await _insist(lambda: cluster.get(NAMESPACES, None, namespace))
    return Identity(
        name,
        namespace,
        options.image or own_image,
        options.watched,
        uid=str(found["metadata"]["uid"]) if found else "",
        shipped_nats=options.shipped_nats,
        api=options.api,
        pull_secrets=pull_secrets,
        traces=options.traces,
    )


async def _insist(ask: Callable[[], Awaitable[T]]) -> T:
    """An answer of the API server, however long it is away: to end and begin anew would not bring it back."""
    failures = 0
    while True:
        try:
            return await ask()
        except ClusterUnavailable as error:
            failures += 1
            log.warning("cannot begin yet; trying again", problem=str(error))
            await asyncio.sleep(retry_seconds(failures, 0.5))


async def _own_image(cluster: Cluster, namespace: str, pod: str) -> tuple[str, tuple[str, ...]]:
    """The image of the pod that this is, so that others are of the same version, and by which Secrets it is pulled."""
    found = await _insist(lambda: cluster.get(PODS, namespace, pod))
    spec = (found or {}).get("spec") or {}
    secrets = tuple(str(each["name"]) for each in spec.get("imagePullSecrets") or [] if each.get("name"))
    for container in spec.get("containers") or []:
        if container.get("name") == "operator":
            return str(container["image"]), secrets
    return f"hookline:{__version__}", secrets
