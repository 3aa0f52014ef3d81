"""`hookline operator`: Hookline in a Kubernetes cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hookline.cli.common import checked_nats, listen_address, run_until_signal
from hookline.cli.errors import NotAchieved, WrongInput
from hookline.resources.dispatcher import Resources
from hookline.runtime import telemetry
from hookline.runtime.logs import set_up_logs

if TYPE_CHECKING:
    from hookline.control.api_workload import ApiSettings


def operator(
    namespace: Annotated[
        str | None, typer.Option(help="Look at the Webhooks of this namespace only. Default: of all namespaces.")
    ] = None,
    own_namespace: Annotated[
        str | None,
        typer.Option(envvar="POD_NAMESPACE", help="Where Dispatchers, route books and senders are. Default: its own."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            envvar="POD_NAME",
            help="What this operator is called, unlike any other of its Lease. Default: the host's name.",
        ),
    ] = None,
    image: Annotated[
        str | None, typer.Option(envvar="HOOKLINE_IMAGE", help="Image of senders. Default: that of its own pod.")
    ] = None,
    bootstrap: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="YAML of Dispatchers to create if they are missing."),
    ] = None,
    shipped_nats: Annotated[
        str | None,
        typer.Option(help="Address of the NATS that came with it, whose users it makes. Default: none."),
    ] = None,
    api_replicas: Annotated[
        int,
        typer.Option(min=0, max=100, envvar="HOOKLINE_API_REPLICAS", help="Pods of the log's API; 0 for none."),
    ] = 2,
    api_requests: Annotated[
        str, typer.Option(envvar="HOOKLINE_API_REQUESTS", help="What each needs at least, as kubectl has it.")
    ] = "cpu=100m,memory=256Mi",
    api_limits: Annotated[
        str, typer.Option(envvar="HOOKLINE_API_LIMITS", help="What each may use at most, as kubectl has it.")
    ] = "memory=1Gi",
    api_disk: Annotated[
        str, typer.Option(envvar="HOOKLINE_API_DISK", help="How much of its node's disk each may use at most.")
    ] = "4Gi",
    kubeconfig: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="How to reach the API server. Default: as a pod, or KUBECONFIG."
        ),
    ] = None,
    listen: Annotated[str, typer.Option(help="HOST:PORT of /livez, /readyz and /metrics.")] = ":8080",
    lease: Annotated[str, typer.Option(help="Name of the Lease that makes one of several operators the leader.")] = (
        "hookline-operator"
    ),
) -> None:
    """Reconcile Webhooks, EventTypes and Dispatchers of a Kubernetes cluster.

    Example: hookline operator --bootstrap dispatcher.yaml
    """
    try:
        # Only here: the Kubernetes client and Kopf take 100 MiB, and need not be installed.
        from hookline.control import process
    except ModuleNotFoundError as error:
        raise WrongInput(f"{error.name} is not installed; install hookline with the extra `operator`") from None
    from hookline.control.cluster import ClusterError, NoCluster
    from hookline.control.run import WatchEnded
    from hookline.serving.leader import LeaseLost

    set_up_logs()
    host, port = listen_address(listen)
    options = process.Options(
        host,
        port,
        lease,
        namespace,
        own_namespace,
        name,
        image,
        bootstrap=bootstrap,
        kubeconfig=kubeconfig,
        shipped_nats=checked_nats(shipped_nats) if shipped_nats else "",
        traces=telemetry.passed_on(),
        api=api_settings(api_replicas, api_requests, api_limits, api_disk),
    )
    try:
        run_until_signal(lambda stop: process.serve(options, stop))
    except NoCluster as error:
        raise WrongInput(str(error)) from None
    except (LeaseLost, WatchEnded, ClusterError, OSError) as error:
        raise NotAchieved(str(error)) from None


def api_settings(replicas: int, requests: str, limits: str, disk: str) -> ApiSettings:
    """What the flags say of the log's API. Raises WrongInput."""
    from hookline.control.api_workload import ApiSettings

    try:
        resources = Resources(requests=_quantities(requests), limits=_quantities(limits))
        Resources(limits={"disk": disk})
    except ValueError:
        raise WrongInput(
            "--api-requests, --api-limits and --api-disk must be quantities of Kubernetes; write cpu=100m,memory=256Mi "
            "and 4Gi"
        ) from None
    return ApiSettings(replicas, resources, disk)


def _quantities(text: str) -> dict[str, str]:
    """Raises ValueError."""
    pairs = [each.partition("=") for each in text.split(",") if each]
    return {name.strip(): quantity.strip() for name, _, quantity in pairs}
