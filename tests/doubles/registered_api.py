"""The log's API in a thread of its own, registered at a real kube-apiserver, over a Log in memory."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import trustme
import uvloop

from controlplane.kubectl import Kubectl
from controlplane.ports import free_port
from controlplane.servers import ControlPlane
from doubles.played_log import PlayedLog
from hookline.api.actions import NoSuchWebhook
from hookline.api.log import Attempt
from hookline.api.process import ClusterApi
from hookline.serving.api_server import ApiServer, Place
from hookline.serving.certificate import Certificate

T = TypeVar("T")

SERVICE, NAMESPACE = "hookline-api", "kube-public"
API_SERVICE = "v1alpha1.log.hookline.dev"
ACCOUNT = "hookline-log-api-test"
MANIFESTS = Path(__file__).parents[2] / "manifests"


class PlayedActions:
    """Replays and tests by writing down that they were asked for."""

    def __init__(self, log: PlayedLog) -> None:
        self._log = log
        self.replayed: list[tuple[str, str]] = []

    async def replay_dead_letter(self, namespace: str, name: str) -> bool:
        self.replayed.append((namespace, name))
        return await self._log.drop_dead_letter(namespace, name)

    async def test_webhook(self, namespace: str, name: str, event_type: str) -> Attempt:
        for each in self._log.tried:
            if (each.namespace, each.webhook) == (namespace, name):
                return each
        raise NoSuchWebhook


class LogApi:
    """`start` it, and again after `stop`: at the same port."""

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        self.log = PlayedLog()
        self.actions = PlayedActions(self.log)
        self.authority = trustme.CA()
        leaf = self.authority.issue_cert(f"{SERVICE}.{NAMESPACE}.svc", "localhost", "127.0.0.1")
        leaf.cert_chain_pems[0].write_to_path(folder / "tls.crt")
        leaf.private_key_pem.write_to_path(folder / "tls.key")
        self.folder = folder
        self.port = free_port()
        self.place = Place(plane.url, folder / "token", plane.ca_file)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    def start(self) -> None:
        listening = threading.Event()
        self._thread = threading.Thread(target=lambda: uvloop.run(self._run(listening)), name="log-api")
        self._thread.start()
        assert listening.wait(20)

    def stop(self) -> None:
        if self._loop is not None and self._stop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(20)
            assert not self._thread.is_alive()
        self._thread = self._loop = self._stop = None

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """In its event loop."""
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _run(self, listening: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        certificate = Certificate(self.folder / "tls.crt", self.folder / "tls.key")
        async with ApiServer(self.place, who="api") as server:
            api = ClusterApi(
                self.log, server, certificate, self.actions, host="127.0.0.1", port=self.port, grace_seconds=5
            )
            await api.run(self._stop, on_listening=lambda _: listening.set())


@contextlib.contextmanager
def registered(plane: ControlPlane, kubectl: Kubectl, folder: Path) -> Iterator[LogApi]:
    """With an account of its own that has the rights of the shipped one, and an APIService that leads to loopback: by
    a Service of a name, the only one that kube-apiserver follows there."""
    for role in (*sorted((MANIFESTS / "roles").glob("[!k]*.yaml")), MANIFESTS / "api" / "cluster-role.yaml"):
        kubectl.ok("apply", "-f", role)
    kubectl.ok("-n", NAMESPACE, "create", "serviceaccount", ACCOUNT)
    account = f"--serviceaccount={NAMESPACE}:{ACCOUNT}"
    kubectl.ok("create", "clusterrolebinding", ACCOUNT, "--clusterrole=hookline-api", account)
    reader = "--role=extension-apiserver-authentication-reader"
    kubectl.ok("-n", "kube-system", "create", "rolebinding", ACCOUNT, reader, account)
    api = LogApi(plane, folder)
    wish = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    token = plane.request(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{ACCOUNT}/token", wish)
    api.place.token_file.write_text(token["status"]["token"])
    api.start()
    try:
        kubectl.ok("apply", "-f", "-", stdin=json.dumps(_service()))
        kubectl.ok("apply", "-f", "-", stdin=json.dumps(_api_service(api)))
        kubectl.ok("wait", f"apiservice/{API_SERVICE}", "--for=condition=Available", "--timeout=30s")
        yield api
    finally:
        kubectl("delete", "apiservice", API_SERVICE)
        kubectl("-n", NAMESPACE, "delete", "service", SERVICE)
        kubectl("-n", NAMESPACE, "delete", "serviceaccount", ACCOUNT)
        kubectl("delete", "clusterrolebinding", ACCOUNT)
        kubectl("-n", "kube-system", "delete", "rolebinding", ACCOUNT)
        api.stop()


def _service() -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": SERVICE, "namespace": NAMESPACE},
        "spec": {"type": "ExternalName", "externalName": "localhost"},
    }


def _api_service(api: LogApi) -> dict[str, Any]:
    bundle = base64.b64encode(api.authority.cert_pem.bytes()).decode()
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": API_SERVICE},
        "spec": {
            "group": "log.hookline.dev",
            "version": "v1alpha1",
            "groupPriorityMinimum": 1000,
            "versionPriority": 15,
            "caBundle": bundle,
            "service": {"name": SERVICE, "namespace": NAMESPACE, "port": api.port},
        },
    }
