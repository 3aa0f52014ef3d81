"""The gateway of a Dispatcher: which objects make it, as manifests. Pure.

Its pods have the token of an account that may ask the API server who a caller is and what he may do, and nothing else.
They read their certificate and the tokens of publishers from volumes: what changes there never changes a pod.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hookline.control.https_pods import (
    GRACE_SECONDS,
    HTTPS_PORT,
    LAST_LOOK_SECONDS,
    TLS_FOLDER,
    WHOLE_GRACE_SECONDS,
    arguments,
    objects_of,
)
from hookline.control.kinds import (
    GATEWAY,
    GATEWAY_ACCOUNT,
    Kind,
    gateway_certificate_name,
    gateway_name,
    publishers_name,
)
from hookline.control.pods import (
    NOTHING,
    login_arguments,
    login_mounts,
    login_volumes,
    mount,
    pods_of,
    secret_volume,
)
from hookline.resources.dispatcher import Dispatcher, DispatcherSpec, GatewayLimits
from hookline.routing import publisher_tokens

PUBLISHERS_FOLDER = "/var/run/hookline/publishers"


def objects(
    dispatcher: Dispatcher, *, image: str, stopped: bool = False, environment: Mapping[str, str] = NOTHING
) -> list[tuple[Kind, dict[str, Any]]]:
    """Everything that makes the gateway of a Dispatcher, in the order in which it is applied.

    `stopped`: without any pod. Its Service then refuses connections, and keeps its address for when it comes back.
    `environment` is that of its pods.
    """
    spec = dispatcher.spec
    pods = pods_of(dispatcher, GATEWAY, gateway_name(dispatcher.metadata.name), image, environment)
    container = pods.container(
        _arguments(spec),
        _mounts(spec),
        ports={"https": HTTPS_PORT},
        resources=spec.gateway.resources,
        last_look_seconds=LAST_LOOK_SECONDS,
    )
    deployment = pods.deployment(
        container,
        _volumes(dispatcher),
        replicas=0 if stopped else spec.gateway.replicas,
        account=GATEWAY_ACCOUNT,
        with_token=True,
        grace_seconds=WHOLE_GRACE_SECONDS,
    )
    return objects_of(pods, deployment)


def _arguments(spec: DispatcherSpec) -> list[str]:
    told = ["gateway", "--nats", spec.nats.url, *arguments()]
    told += ["--publisher-tokens", f"{PUBLISHERS_FOLDER}/{publisher_tokens.FILE}"]
    told += ["--grace-seconds", str(GRACE_SECONDS), *_limits(spec.gateway.limits)]
    return told + login_arguments(spec.nats)


def _limits(limits: GatewayLimits) -> list[str]:
    arguments = [
        *("--requests-at-once", str(limits.requests_at_once)),
        *("--bytes-at-once", str(limits.bytes_at_once)),
    ]
    if limits.events_per_second is not None:
        arguments += ["--events-per-second", str(limits.events_per_second)]
    if limits.bytes_per_second is not None:
        arguments += ["--bytes-per-second", str(limits.bytes_per_second)]
    return arguments


def _mounts(spec: DispatcherSpec) -> list[dict[str, Any]]:
    return [mount("tls", TLS_FOLDER), mount("publishers", PUBLISHERS_FOLDER), *login_mounts(spec.nats)]


def _volumes(dispatcher: Dispatcher) -> list[dict[str, Any]]:
    name, spec = dispatcher.metadata.name, dispatcher.spec
    given = spec.gateway.tls.secret_ref
    return [
        secret_volume("tls", given.name if given else gateway_certificate_name(name)),
        secret_volume("publishers", publishers_name(name), optional=True),
        *login_volumes(spec.nats),
    ]
