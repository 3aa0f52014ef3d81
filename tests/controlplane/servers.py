"""A control plane in a folder: etcd, kube-apiserver and kube-controller-manager on loopback, with RBAC and audit log.

Decides their flags, when they are ready, and what a test can ask of them. Has no node: pods stay Pending.
"""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controlplane import keeper, takedown
from controlplane.credentials import ADMIN, Credentials, User
from controlplane.ports import free_port, is_free
from controlplane.processes import Server, StartError

CONTROLLERS = (
    "clusterrole-aggregation-controller",
    "deployment-controller",
    "disruption-controller",
    "endpoints-controller",
    "endpointslice-controller",
    "garbage-collector-controller",
    "namespace-controller",
    "replicaset-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
    "statefulset-controller",
)
"""What the shipped manifests need, on a cluster without a node."""

SERVICE_CIDR = "10.96.0.0/16"
START_SECONDS = 60.0
ISSUER = "https://kubernetes.default.svc.cluster.local"

_CONTROLLER_MANAGER = User("system:kube-controller-manager", ("system:masters",))
_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [{"level": "Metadata"}],
}


@dataclass(frozen=True)
class Place:
    """Where the servers run: the address they listen on, and what comes before each command."""

    address: str = "127.0.0.1"
    enter: tuple[str, ...] = ()
    """Such as nsenter, for a network namespace."""


class ControlPlane:
    """The servers of one folder. `programs` are their paths by name (assets.ensure)."""

    def __init__(
        self,
        folder: Path,
        programs: Mapping[str, Path],
        *,
        users: Sequence[User] = (),
        controllers: Sequence[str] = CONTROLLERS,
        place: Place | None = None,
        apiserver_flags: Sequence[str] = (),
    ) -> None:
        self.folder = folder.absolute()
        self._programs = programs
        self._users = (ADMIN, _CONTROLLER_MANAGER, *users)
        self._controllers = controllers
        self._place = place or Place()
        self._apiserver_flags = apiserver_flags
        self._credentials = Credentials(self.folder)
        self._ports: dict[str, int] = {}
        self._servers: dict[str, Server] = {}
        self._keeper: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"https://{self._place.address}:{self._ports['kube-apiserver']}"

    @property
    def ca_file(self) -> Path:
        return self._credentials.ca_file

    @property
    def audit_log(self) -> Path:
        return self.folder / "audit.log"

    def start(self, *, leave_running: bool = False) -> None:
        """Start all servers and wait until they serve. They end with this process, unless left running on purpose."""
        self._prepare()
        if not leave_running:
            self._keeper = keeper.keep(self.folder)
        try:
            self._start_servers()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End all servers. The folder stays."""
        takedown.down(self.folder)
        for server in self._servers.values():
            server.end()
        if self._keeper is not None:
            self._keeper.communicate()
            self._keeper = None

    def start_apiserver(self) -> None:
        """Start it (again), with the same port and data."""
        server = self._spawn("kube-apiserver", self._apiserver_command())
        server.until(self._ready, seconds=START_SECONDS)

    def stop_apiserver(self, *, kill: bool = False) -> None:
        self._servers["kube-apiserver"].end(kill=kill)

    def restart_apiserver(self, *, kill: bool = False) -> None:
        self.stop_apiserver(kill=kill)
        self.start_apiserver()

    def token(self, user: str = ADMIN.name) -> str:
        return self._credentials.token(user)

    def kubeconfig(self, user: str = ADMIN.name) -> Path:
        """A kubeconfig of one of the users given at the start."""
        return self._credentials.kubeconfig(self.url, user, self.token(user))

    def service_account_kubeconfig(self, namespace: str, name: str, *, seconds: int = 3600) -> Path:
        """A kubeconfig with a token of a ServiceAccount, had by a TokenRequest."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        wish = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": seconds},
        }
        token = self.request(path, wish)["status"]["token"]
        return self._credentials.kubeconfig(self.url, f"{namespace}-{name}", token, namespace=namespace)

    def request(self, path: str, body: object = None, *, user: str = ADMIN.name) -> Any:
        """One JSON call to the API server, a POST if there is a body."""
        asked = urllib.request.Request(
            f"{self.url}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token(user)}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(asked, timeout=10, context=self._tls()) as answer:
            return json.loads(answer.read())

    def audit_mark(self) -> int:
        """A point in the audit log, for `audit_since`."""
        return self.audit_log.stat().st_size if self.audit_log.exists() else 0

    def audit_since(self, mark: int = 0) -> list[dict[str, Any]]:
        """The requests that were answered after a mark. A watch is told of when it ends."""
        with self.audit_log.open("rb") as log:
            log.seek(mark)
            # A line still being written has no end yet.
            return [json.loads(each) for each in log.read().split(b"\n")[:-1]]

    def _prepare(self) -> None:
        names = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
        first_service_address = SERVICE_CIDR.replace(".0/16", ".1")
        self._credentials.make((*names, "127.0.0.1", first_service_address, self._place.address), self._users)
        (self.folder / "audit-policy.json").write_text(json.dumps(_AUDIT_POLICY))
        self._ports = self._choose_ports()

    def _start_servers(self) -> None:
        etcd = self._spawn("etcd", self._etcd_command())
        etcd.until(lambda: self._listens("etcd"), seconds=START_SECONDS)
        self.start_apiserver()
        manager = self._spawn("kube-controller-manager", self._controller_manager_command())
        if "serviceaccount-controller" in self._controllers or "*" in self._controllers:
            # The first thing it does for everyone, and pods are refused without.
            manager.until(self._has_default_account, seconds=START_SECONDS)

    def _spawn(self, name: str, command: Sequence[str]) -> Server:
        server = self._servers[name] = Server(self.folder, name, [*self._place.enter, *command])
        server.start()
        return server

    def _etcd_command(self) -> list[str]:
        clients, peers = (f"http://127.0.0.1:{self._ports[each]}" for each in ("etcd", "etcd-peers"))
        return [
            str(self._programs["etcd"]),
            f"--data-dir={self.folder}/etcd",
            # A test cluster need not survive a power cut, and is three times faster without.
            "--unsafe-no-fsync",
            f"--listen-client-urls={clients}",
            f"--advertise-client-urls={clients}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=default={peers}",
            "--log-level=warn",
        ]

    def _apiserver_command(self) -> list[str]:
        its = self._credentials
        return [
            str(self._programs["kube-apiserver"]),
            f"--etcd-servers=http://127.0.0.1:{self._ports['etcd']}",
            f"--bind-address={self._place.address}",
            f"--secure-port={self._ports['kube-apiserver']}",
            *self._advertised(),
            f"--tls-cert-file={its.server_certificate}",
            f"--tls-private-key-file={its.server_key}",
            f"--token-auth-file={its.tokens_file}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            f"--service-account-issuer={ISSUER}",
            f"--service-account-key-file={its.account_key}",
            f"--service-account-signing-key-file={its.account_key}",
            f"--service-cluster-ip-range={SERVICE_CIDR}",
            "--allow-privileged=true",
            f"--audit-policy-file={self.folder}/audit-policy.json",
            f"--audit-log-path={self.audit_log}",
            # In megabytes; a log that is turned over would lose what a test looks for.
            "--audit-log-maxsize=10000",
            f"--cert-dir={self.folder}",
            # By which servers beside it know that it is kube-apiserver who asks, as kubeadm sets it up.
            f"--requestheader-client-ca-file={its.front_proxy_ca_file}",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-uid-headers=X-Remote-Uid",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={its.front_proxy_certificate}",
            f"--proxy-client-key-file={its.front_proxy_key}",
            # Else open watches hold up a restart.
            "--shutdown-watch-termination-grace-period=1s",
            *self._apiserver_flags,
        ]

    def _advertised(self) -> list[str]:
        """Pods find the API server by the Service `kubernetes`; one on loopback cannot be announced there."""
        if self._place.address.startswith("127."):
            return ["--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none"]
        return [f"--advertise-address={self._place.address}"]

    def _controller_manager_command(self) -> list[str]:
        return [
            str(self._programs["kube-controller-manager"]),
            f"--kubeconfig={self.kubeconfig(_CONTROLLER_MANAGER.name)}",
            "--leader-elect=false",
            f"--controllers={','.join(self._controllers)}",
            f"--root-ca-file={self.ca_file}",
            f"--service-account-private-key-file={self._credentials.account_key}",
            "--secure-port=0",
        ]

    def _choose_ports(self) -> dict[str, int]:
        """Free ports, the same as last time where they are free, so that a kubeconfig goes on working."""
        kept = self.folder / "ports.json"
        before: dict[str, int] = json.loads(kept.read_text()) if kept.exists() else {}
        if not before or not all(is_free(each, self._place.address) for each in before.values()):
            before = {each: free_port() for each in ("etcd", "etcd-peers", "kube-apiserver")}
        kept.write_text(json.dumps(before))
        return before

    def _listens(self, name: str) -> bool:
        if self._place.enter:
            # Its loopback is not ours. The API server waits for etcd by itself.
            return True
        try:
            socket.create_connection(("127.0.0.1", self._ports[name]), timeout=1).close()
        except OSError:
            return False
        return True

    def _ready(self) -> bool:
        asked = urllib.request.Request(f"{self.url}/readyz", headers={"Authorization": f"Bearer {self.token()}"})
        try:
            with urllib.request.urlopen(asked, timeout=5, context=self._tls()) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _has_default_account(self) -> bool:
        try:
            self.request("/api/v1/namespaces/default/serviceaccounts/default")
        except OSError:
            return False
        return True

    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca_file))


__all__ = ["CONTROLLERS", "ControlPlane", "Place", "StartError", "User"]
