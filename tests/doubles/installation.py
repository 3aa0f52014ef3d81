"""Hookline in a namespace of a test cluster: the shipped rights, operators as processes, senders, a queue.

Decides what of the manifests is applied: roles and the ServiceAccount. Operators reach the API server through a proxy,
as the ServiceAccount that those roles are bound to, and as nobody else.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from controlplane.kubectl import Kubectl
from controlplane.servers import ControlPlane
from doubles.api_proxy import ApiProxy
from doubles.kubelet import RunningPod, StandInKubelet
from doubles.operator_process import OperatorProcess
from doubles.waiting import eventually
from hookline.control.cluster import Cluster, connected
from hookline.control.kinds import BOOK_LABEL, CONFIG_MAPS, DISPATCHERS, SECRETS, WEBHOOKS, Kind
from hookline.local.nats_server import NatsServer
from hookline.resources.url import split_query
from hookline.routing.book_files import DISPATCHER_FILE, BookError, decode, digest_of
from hookline.routing.routes import BOOK_FILE, Book, Route
from hookline.stream.connection import Client, connect
from hookline.stream.streams import Retention, ensure

Object = dict[str, Any]

MANIFESTS = Path(__file__).parents[2] / "manifests"
ACCOUNT = "hookline-operator"

DISPATCHER: Object = {
    "apiVersion": "hookline.dev/v1alpha1",
    "kind": "Dispatcher",
    "metadata": {"name": "default"},
    "spec": {"replicas": 1, "gateway": {"replicas": 1}, "nats": {"url": "nats://nats:4222"}},
}
"""The first Dispatcher, with a single sender and gateway: tests have two cores."""


class LoopbackKubelet(StandInKubelet):
    """Opens loopback in the route book on its way to the pods: receivers of tests are there, and no Dispatcher may."""

    # Never the first ones: another run of these tests on this machine would answer in a pod's place.
    _addresses = (f"127.{secrets.randbelow(189) + 11}.{secrets.randbelow(249) + 1}.{host}" for host in range(1, 250))

    async def _current(self, kind: Kind) -> dict[str, Object]:
        found = await super()._current(kind)
        if kind is not CONFIG_MAPS:
            return found
        roots = {name: _with_loopback(each) for name, each in found.items() if BOOK_FILE in each.get("data", {})}
        return found | roots

    async def _is_ready(self, pod: RunningPod) -> bool:
        try:
            # Without verification no CA store is read, which takes more than the question itself.
            async with httpx.AsyncClient(timeout=1, trust_env=False, verify=False) as client:
                return (await client.get(f"http://{pod.ip}:8080/readyz")).status_code == 200
        except httpx.HTTPError:
            return False


def _with_loopback(root: Object) -> Object:
    dispatcher = json.loads(root["data"][DISPATCHER_FILE])
    # What is default is not written.
    dispatcher["allow_cidrs"] = [*dispatcher.get("allow_cidrs", []), "127.0.0.0/8", "::1/128"]
    text = json.dumps(dispatcher)
    book = json.loads(root["data"][BOOK_FILE]) | {"dispatcher": digest_of(text.encode())}
    return {**root, "data": {**root["data"], DISPATCHER_FILE: text, BOOK_FILE: json.dumps(book)}}


@dataclass
class Installation:
    """One Hookline."""

    namespace: str
    watched: str | None
    proxy: ApiProxy
    admin: Cluster
    """Without a proxy and with every right."""
    kubectl: Kubectl
    plane: ControlPlane
    audit_mark: int
    folder: Path
    bootstrap: Path
    operators: list[OperatorProcess] = field(default_factory=list)
    kubelet: LoopbackKubelet | None = None
    queue: Client | None = None

    @property
    def account(self) -> str:
        """The user that the operator is to the API server."""
        return f"system:serviceaccount:{self.namespace}:{ACCOUNT}"

    def operator(self, name: str = "operator-0", *, shipped_nats: str = "", **environment: str) -> OperatorProcess:
        """An operator of this installation, not started."""
        words = ["--kubeconfig", str(self.kubeconfig(name)), "--own-namespace", self.namespace]
        words += ["--bootstrap", str(self.bootstrap), *(["--namespace", self.watched] if self.watched else [])]
        words += ["--shipped-nats", shipped_nats] if shipped_nats else []
        process = OperatorProcess(self.plane.folder, f"{self.namespace}-{name}", words, environment)
        self.operators.append(process)
        return process

    def kubeconfig(self, who: str) -> Path:
        """Of the operators' account, through the proxy, which knows the bearer as `who`."""
        direct = self.plane.service_account_kubeconfig(self.namespace, ACCOUNT)
        config = json.loads(direct.read_text())
        config["clusters"][0]["cluster"] = {"server": self.proxy.url_of(who)}
        path = direct.with_name(f"kubeconfig-{self.namespace}-{who}")
        path.write_text(json.dumps(config))
        return path

    async def kube(self, *words: str | Path, stdin: str | None = None, user: str = "admin") -> str:
        """kubectl, while all else here goes on."""
        return await asyncio.to_thread(self.kubectl.ok, *words, stdin=stdin, user=user)

    async def settled(self, *, seconds: float = 45) -> None:
        """Wait until the cluster says of every Webhook what holds, and the book and the senders hold the same."""
        last: list[str] = []

        async def all_well() -> bool:
            last[:] = await self.unsettled()
            return not last

        await eventually(all_well, seconds=seconds, what=lambda: f"{'; '.join(last)}; {self.logs()[-4000:]}")

    async def unsettled(self) -> list[str]:
        """What is not yet as the Webhooks say."""
        webhooks = {each["metadata"]["uid"]: each for each in await self.admin.list_all(WEBHOOKS, self.watched)}
        try:
            book = await self.book()
        except BookError as error:
            return [f"the book is not whole: {error}"]
        problems = [f"{route.title} is gone, not its route" for route in book.routes() if route.uid not in webhooks]
        problems += [problem for uid, each in webhooks.items() for problem in _unsettled(each, book.route(uid))]
        return problems + await self._behind(book)

    async def _behind(self, book: Book) -> list[str]:
        pods = self.kubelet.pods if self.kubelet else {}
        shards = {name: digest for name, digest in book.served().items() if name != BOOK_FILE}
        problems = []
        for name, pod in list(pods.items()):
            served = await report_of(pod)
            problems += [f"{name} serves another {file}" for file in shards if served.get(file) != shards[file]]
        return problems

    async def book(self, dispatcher: str = "default") -> Book:
        """The route book, as it is in the cluster. Raises BookError while it is not whole."""
        files: dict[str, bytes] = {}
        selector = f"{BOOK_LABEL}={dispatcher}"
        for each in await self.admin.list_all(CONFIG_MAPS, self.namespace, labels=selector):
            files |= {name: text.encode() for name, text in each["data"].items()}
        for each in await self.admin.list_all(SECRETS, self.namespace, labels=selector):
            files |= {name: base64.b64decode(text) for name, text in each["data"].items()}
        return decode(files)[0]

    async def whole_book(self) -> Book | None:
        """As `book`, and None while it is half written."""
        try:
            return await self.book()
        except BookError:
            return None

    async def alone(self) -> None:
        """Wait until what tests before have left is gone: a change of it would be one for an operator of this one."""

        async def nobody_goes() -> bool:
            return "Terminating" not in await self.kube("get", "namespaces", "--no-headers")

        async def nothing_is_left() -> bool:
            return not (await self.kube("get", "webhooks", "--all-namespaces", "--output=name")).strip()

        await eventually(nobody_goes, seconds=90, what=lambda: "the end of other tests' namespaces")
        await self.kube("delete", "webhooks", "--all", "--all-namespaces", "--wait=false")
        await eventually(nothing_is_left, what=lambda: "the end of other tests' Webhooks")

    async def until_sends(self) -> None:
        """Wait until the first Dispatcher has its senders."""

        async def has_senders() -> bool:
            found = await self.admin.get(DISPATCHERS, self.namespace, "default")
            return condition_of(found or {}, "Ready").get("status") == "True"

        await eventually(has_senders, what=lambda: f"senders: {self.logs()[-3000:]}")

    def logs(self) -> str:
        """All that operators and senders have said."""
        pods = self.kubelet.pods.values() if self.kubelet else ()
        return "".join([*(each.output for each in self.operators), *(pod.log.read_text() for pod in pods)])

    def audited(self) -> list[Object]:
        """The operator's requests, as the API server's audit log has them."""
        return [each for each in self.plane.audit_since(self.audit_mark) if each["user"]["username"] == self.account]


@asynccontextmanager
async def installed(
    plane: ControlPlane,
    kubectl: Kubectl,
    folder: Path,
    *,
    namespaced: bool = False,
    senders: bool = True,
    dispatcher: Object = DISPATCHER,
) -> AsyncIterator[Installation]:
    """Install, and leave nothing running."""
    namespace = f"hookline-{secrets.token_hex(4)}"
    bootstrap = folder / f"{namespace}.yaml"
    bootstrap.write_text(yaml.safe_dump(dispatcher))
    async with AsyncExitStack() as stack:
        admin, _ = await stack.enter_async_context(connected(plane.kubeconfig()))
        proxy = await stack.enter_async_context(ApiProxy(plane.url, plane.ca_file, plane.token()).serving())
        mark = plane.audit_mark()
        found = Installation(
            namespace, namespace if namespaced else None, proxy, admin, kubectl, plane, mark, folder, bootstrap
        )
        stack.push_async_callback(_end_operators, found)
        stack.push_async_callback(found.kube, "delete", "namespace", namespace, "--wait=false")
        await found.kube("create", "namespace", namespace)
        await _apply_roles(found, stack)
        if senders:
            await _start_senders(found, stack)
        yield found


async def _apply_roles(installation: Installation, stack: AsyncExitStack) -> None:
    overlay = "namespaced" if installation.watched else "default"
    built = yaml.safe_load_all(await installation.kube("kustomize", MANIFESTS / "overlays" / overlay))
    wanted = ("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
    roles = [_placed(each, installation.namespace) for each in built if each["kind"] in wanted]
    await installation.kube("apply", "--server-side", "-f", "-", stdin=json.dumps(_list_of(roles)))
    for each in roles:
        if each["kind"] == "ClusterRoleBinding":
            words = ("delete", "clusterrolebinding", each["metadata"]["name"], "--wait=false")
            stack.push_async_callback(installation.kube, *words)


def _placed(role: Object, namespace: str) -> Object:
    """A role of the manifests in another namespace, so that tests do not share one."""
    metadata = role["metadata"]
    if "namespace" in metadata:
        metadata["namespace"] = namespace
    if role["kind"] == "ClusterRoleBinding":
        metadata["name"] += f"-{namespace}"
    for subject in role.get("subjects", []):
        subject["namespace"] = namespace
    return role


async def _start_senders(installation: Installation, stack: AsyncExitStack) -> None:
    data = installation.folder / f"{installation.namespace}-nats"
    data.mkdir()
    server = NatsServer(data, sync_interval="10s")
    stack.push_async_callback(server.stop)
    await server.start()
    installation.queue = await connect(server.url, name="test")
    stack.push_async_callback(installation.queue.close)
    await ensure(installation.queue, Retention())
    installation.kubelet = LoopbackKubelet(
        installation.admin,
        installation.namespace,
        installation.folder / f"{installation.namespace}-pods",
        nats_url=server.url,
    )
    await stack.enter_async_context(installation.kubelet.running())


async def _end_operators(installation: Installation) -> None:
    installation.proxy.undo()
    for each in installation.operators:
        if each.running:
            each.thaw()
            each.kill()
    if sys.exc_info()[0] is not None:
        sys.stdout.write(installation.logs())


async def report_of(pod: RunningPod) -> Mapping[str, str]:
    """What a sender says it serves; empty when it does not answer."""
    try:
        async with httpx.AsyncClient(timeout=1, trust_env=False, verify=False) as client:
            served: Mapping[str, str] = (await client.get(f"http://{pod.ip}:8080/report")).json()["served"]
            return served
    except (httpx.HTTPError, ValueError):
        return {}


@asynccontextmanager
async def api_service(installation: Installation, **spec: Any) -> AsyncIterator[None]:
    """The APIService of the manifests, for this installation. A cluster has one, and without an answer it harms all
    others, so that it is there for as long as it is needed.
    """
    built = yaml.safe_load_all(await installation.kube("kustomize", MANIFESTS / "overlays" / "default"))
    (found,) = [each for each in built if each["kind"] == "APIService"]
    found["spec"]["service"]["namespace"] = installation.namespace
    found["spec"] |= spec
    await installation.kube("apply", "--server-side", "--field-manager=gitops", "-f", "-", stdin=json.dumps(found))
    try:
        yield
    finally:
        await installation.kube("delete", "apiservice", found["metadata"]["name"])


def condition_of(manifest: Object, kind: str) -> Object:
    """One condition; empty when it is not there or speaks of an older generation."""
    conditions: list[Object] = (manifest.get("status") or {}).get("conditions") or []
    generation = (manifest.get("metadata") or {}).get("generation")
    return next((each for each in conditions if (each["type"], each["observedGeneration"]) == (kind, generation)), {})


def _unsettled(webhook: Object, route: Route | None) -> list[str]:
    """In what the status of a Webhook, or its route, is not what it will be."""
    title, generation = _title(webhook), webhook["metadata"]["generation"]
    if (webhook.get("status") or {}).get("observedGeneration") != generation:
        return [f"{title} was not looked at"]
    if condition_of(webhook, "Accepted").get("status") != "True":
        waits = condition_of(webhook, "Accepted").get("reason") == "DispatcherNotFound"
        return [f"{title} is not accepted, and hears events"] if route and route.event and not waits else []
    if route is None or (route.generation, route.url) != (generation, split_query(webhook["spec"]["url"])[0]):
        return [f"{title} is not in the book as it is"]
    resolved, programmed = (condition_of(webhook, each).get("status") for each in ("SecretsResolved", "Programmed"))
    return [f"{title} is not programmed"] if resolved == "True" and programmed != "True" else []


def _title(manifest: Object) -> str:
    return f"{manifest['metadata']['namespace']}/{manifest['metadata']['name']}"


def _list_of(manifests: list[Object]) -> Object:
    return {"apiVersion": "v1", "kind": "List", "items": manifests}
