"""The log's API: which objects make it, as manifests. Pure.

An installation has it once, for the queues of all its Dispatchers. Its pods have the token of an account that comes
with the manifests. They read their certificate and the list of queues from volumes: what changes there never changes a
pod; that a queue asks for credentials which are not mounted yet does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
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
    API,
    API_CERTIFICATE_NAME,
    API_NAME,
    API_QUEUES_NAME,
    COMPONENT_LABEL,
    NAME_LABEL,
    Kind,
)
from hookline.control.nats_users import with_login
from hookline.control.pods import Pods, metadata_of_installation, mount, secret_volume
from hookline.resources.dispatcher import Dispatcher, Resources
from hookline.routing.queues import FILE, Queue, queues_file
from hookline.stream.permissions import Role

QUEUES_FOLDER = "/var/run/hookline/queues"
NATS_FOLDER = "/var/run/hookline/nats"
"""Has a folder for each Dispatcher whose NATS asks for credentials."""
DATA_FOLDER = "/var/lib/hookline"


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """What administrators decide: flags of the operator, since no one Dispatcher has it."""

    replicas: int = 2
    """0: there is none."""
    resources: Resources = field(
        default_factory=lambda: Resources(requests={"cpu": "100m", "memory": "256Mi"}, limits={"memory": "1Gi"})
    )
    disk: str = "4Gi"
    """At most, of a node's, for the index that a pod makes anew whenever it begins."""


@dataclass(frozen=True, slots=True)
class ApiHome:
    """The installation that it belongs to."""

    namespace: str
    image: str
    shipped_nats: str = ""
    """Address of the NATS that came with it, whose users the operator makes."""
    watched: str | None = None
    """The only namespace that it is for; None for all."""
    pull_secrets: Sequence[str] = ()


def queues(dispatchers: Sequence[Dispatcher], home: ApiHome) -> dict[str, Any]:
    """The ConfigMap with the queues that it reads."""
    listed = [_queue(each) for each in _with_logins(dispatchers, home)]
    metadata = metadata_of_installation(home.namespace, API, API_QUEUES_NAME, _owners(dispatchers, home))
    return {"metadata": metadata, "data": {FILE: queues_file(listed)}}


def objects(
    dispatchers: Sequence[Dispatcher], settings: ApiSettings, home: ApiHome
) -> list[tuple[Kind, dict[str, Any]]]:
    """Everything that makes its pods, in the order in which it is applied."""
    pods = _pods(home, _owners(dispatchers, home))
    logins = _with_logins(dispatchers, home)
    container = pods.container(
        _arguments(home),
        [
            mount("tls", TLS_FOLDER),
            mount("queues", QUEUES_FOLDER),
            {"name": "data", "mountPath": DATA_FOLDER},
            *(mount(_volume_name(each), _folder(each)) for each in logins if _asks(each)),
        ],
        ports={"https": HTTPS_PORT},
        resources=settings.resources,
        last_look_seconds=LAST_LOOK_SECONDS,
    )
    deployment = pods.deployment(
        container,
        [
            secret_volume("tls", API_CERTIFICATE_NAME),
            {"name": "queues", "configMap": {"name": API_QUEUES_NAME, "defaultMode": 0o440}},
            {"name": "data", "emptyDir": {"sizeLimit": settings.disk}},
            *_login_volumes(logins),
        ],
        replicas=settings.replicas,
        account=API_NAME,
        with_token=True,
        grace_seconds=WHOLE_GRACE_SECONDS,
    )
    return objects_of(pods, deployment)


def _owners(dispatchers: Sequence[Dispatcher], home: ApiHome) -> Sequence[Dispatcher]:
    """In an installation for one namespace it goes with the last Dispatcher: nobody else takes it away there.

    In one for all it stays, since kube-apiserver asks it for as long as the APIService is there.
    """
    return dispatchers if home.watched else ()


def _pods(home: ApiHome, owners: Sequence[Dispatcher]) -> Pods:
    return Pods(
        API,
        metadata_of_installation(home.namespace, API, API_NAME, owners),
        {NAME_LABEL: "hookline", COMPONENT_LABEL: API},
        home.image,
        home.pull_secrets,
    )


def _arguments(home: ApiHome) -> list[str]:
    told = ["api", "--queues", f"{QUEUES_FOLDER}/{FILE}", "--data", DATA_FOLDER, *arguments()]
    told += ["--grace-seconds", str(GRACE_SECONDS)]
    return [*told, *(["--namespace", home.watched] if home.watched else [])]


def _with_logins(dispatchers: Iterable[Dispatcher], home: ApiHome) -> list[Dispatcher]:
    return [with_login(each, home.shipped_nats, Role.API) for each in dispatchers]


def _queue(dispatcher: Dispatcher) -> Queue:
    nats, name = dispatcher.spec.nats, dispatcher.metadata.name
    login = nats.credentials_secret_ref
    return Queue(name, nats.url, f"{_folder(dispatcher)}/{login.key}" if login is not None else "")


def _asks(dispatcher: Dispatcher) -> bool:
    return dispatcher.spec.nats.credentials_secret_ref is not None


def _folder(dispatcher: Dispatcher) -> str:
    return f"{NATS_FOLDER}/{dispatcher.metadata.name}"


def _volume_name(dispatcher: Dispatcher) -> str:
    return f"nats-{dispatcher.metadata.name}"


def _login_volumes(dispatchers: Iterable[Dispatcher]) -> list[dict[str, Any]]:
    """None is waited for: the queue of a Dispatcher whose Secret is missing must not hide those of the others."""
    found = [(each, each.spec.nats.credentials_secret_ref) for each in dispatchers]
    return [secret_volume(_volume_name(each), ref.name, optional=True) for each, ref in found if ref is not None]
