"""A whole cluster of one node: a control plane, and kubelet, scheduler, kube-proxy, CoreDNS and containerd beside it.

Decides their configuration. Everything runs in a sandbox, so that nothing of it touches this machine and all of it goes
with the sandbox. What no kubelet brings, such as volumes and a name server, is made in the plainest way.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from controlplane import images, sandbox
from controlplane.credentials import Credentials, User
from controlplane.processes import Server
from controlplane.sandbox import NODE_ADDRESS, POD_CIDR, Sandbox
from controlplane.servers import SERVICE_CIDR, ControlPlane, Place

NAME = "node1"
DOMAIN = "cluster.local"
START_SECONDS = 90.0

PACKAGES = {
    "containerd": "containerd",
    "runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "sysctl": "procps",
    "gcc": "gcc",
}
"""Programs that the node needs, and the Debian packages that have them."""


def unfit() -> str | None:
    """Why this machine cannot carry a node, in one line, or None."""
    if os.name != "posix" or not Path("/proc/self/ns/net").exists():
        return "no node here: this is no Linux"
    if os.geteuid() != 0:
        return "no node here: namespaces and mounts need root"
    missing = sorted({package for program, package in PACKAGES.items() if shutil.which(program) is None})
    if missing:
        return f"no node here: install {' '.join(missing)} (apt-get install --no-install-recommends …)"
    return None


def install_missing() -> None:
    """Install what `unfit` misses, on Debian as root; otherwise nothing happens."""
    missing = sorted({package for program, package in PACKAGES.items() if shutil.which(program) is None})
    if not missing or os.geteuid() != 0 or shutil.which("apt-get") is None:
        return
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update"], ["install", "--yes", "--no-install-recommends", *missing]):
        subprocess.run(["apt-get", "-qq", *words], env=environment, capture_output=True, check=False)


class Node(ControlPlane):
    """A cluster with one node. `names` are resolved in it beside its Services: name to address."""

    def __init__(
        self,
        folder: Path,
        programs: Mapping[str, Path],
        *,
        users: Sequence[User] = (),
        names: Mapping[str, str] | None = None,
    ) -> None:
        self._sandbox = Sandbox(folder.absolute(), [SERVICE_CIDR])
        self._names = names or {}
        super().__init__(
            folder,
            programs,
            users=users,
            controllers=["*"],
            place=Place(NODE_ADDRESS),
            apiserver_flags=["--kubelet-preferred-address-types=InternalIP", *self._kubelet_client(folder.absolute())],
        )

    @staticmethod
    def _kubelet_client(folder: Path) -> list[str]:
        """How the API server proves to the kubelet who it is, for logs and exec."""
        its = Credentials(folder)
        return [
            f"--kubelet-client-certificate={its.kubelet_client_certificate}",
            f"--kubelet-client-key={its.kubelet_client_key}",
        ]

    def stop(self) -> None:
        """End everything, and undo the sandbox."""
        super().stop()
        self._sandbox.end()

    def import_image(self, archive: Path) -> None:
        """Have an image on the node."""
        words = ["ctr", f"--address={self._socket}", "--namespace=k8s.io", "images", "import", str(archive)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the image {archive.name} could not be imported: {done.stderr.strip()[-300:]}")

    def make_volume(self, name: str, *, gigabytes: int = 20) -> None:
        """A PersistentVolume on this machine's disk, for the first claim that asks: what a storage class would make."""
        folder = self.folder / "volumes" / name
        folder.mkdir(parents=True)
        # A kubelet does not give such volumes to the pod's group.
        folder.chmod(0o777)
        spec = {
            "capacity": {"storage": f"{gigabytes}Gi"},
            "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": str(folder)},
        }
        self.request(
            "/api/v1/persistentvolumes",
            {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec},
        )

    def is_ready(self) -> bool:
        """Whether the node may be given pods."""
        try:
            node = self.request(f"/api/v1/nodes/{NAME}")
        except OSError:
            return False
        conditions = {each["type"]: each["status"] for each in node["status"].get("conditions", [])}
        return conditions.get("Ready") == "True" and not node["spec"].get("taints")

    @property
    def _socket(self) -> Path:
        return self.folder / "c.sock"

    def _start_servers(self) -> None:
        self._sandbox.start()
        self._place = Place(NODE_ADDRESS, self._sandbox.enter)
        super()._start_servers()
        self._start_containerd()
        self.import_image(images.build(images.pause()))
        self._spawn("coredns", [str(self._programs["coredns"]), f"-conf={self._corefile()}"])
        self._spawn("kube-scheduler", self._scheduler_command())
        self._spawn("kube-proxy", [str(self._programs["kube-proxy"]), f"--config={self._proxy_config()}"])
        kubelet = self._spawn("kubelet", self._kubelet_command())
        kubelet.until(self.is_ready, seconds=START_SECONDS)

    def _start_containerd(self) -> None:
        server: Server = self._spawn("containerd", ["containerd", f"--config={self._containerd_config()}"])
        server.until(self._socket.is_socket, seconds=START_SECONDS)

    def _scheduler_command(self) -> list[str]:
        return [
            str(self._programs["kube-scheduler"]),
            f"--kubeconfig={self.kubeconfig()}",
            "--leader-elect=false",
            "--secure-port=0",
        ]

    def _kubelet_command(self) -> list[str]:
        config = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": NODE_ADDRESS,
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": False},
                "x509": {"clientCAFile": str(self.ca_file)},
            },
            "authorization": {"mode": "AlwaysAllow"},
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": sandbox.make_cgroup(),
            "cgroupsPerQOS": False,
            "clusterDNS": [NODE_ADDRESS],
            "clusterDomain": DOMAIN,
            "containerRuntimeEndpoint": f"unix://{self._socket}",
            "enforceNodeAllocatable": [],
            # The disk of a test machine may be fuller than a kubelet likes.
            "evictionHard": {"memory.available": "50Mi", "nodefs.available": "0%", "imagefs.available": "0%"},
            "failCgroupV1": False,
            "failSwapOn": False,
            "healthzBindAddress": "127.0.0.1",
            "imageGCHighThresholdPercent": 100,
            "makeIPTablesUtilChains": False,
            "oomScoreAdj": 0,
            "podLogsDir": str(self.folder / "pod-logs"),
            "resolvConf": str(self._resolv_conf()),
        }
        return [
            str(self._programs["kubelet"]),
            f"--config={self._write('kubelet.json', config)}",
            f"--kubeconfig={self.kubeconfig()}",
            f"--root-dir={self.folder}/kubelet",
            f"--cert-dir={self.folder}/kubelet-certificates",
            f"--hostname-override={NAME}",
            f"--node-ip={NODE_ADDRESS}",
        ]

    def _proxy_config(self) -> Path:
        config = {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "iptables",
            "bindAddress": NODE_ADDRESS,
            "clientConnection": {"kubeconfig": str(self.kubeconfig())},
            "clusterCIDR": POD_CIDR,
            "conntrack": {"maxPerCore": 0},
            "healthzBindAddress": "127.0.0.1:10256",
            "hostnameOverride": NAME,
        }
        return self._write("kube-proxy.json", config)

    def _corefile(self) -> Path:
        lines = "".join(f"    {address} {name}\n" for name, address in self._names.items())
        path = self.folder / "Corefile"
        path.write_text(
            f".:53 {{\n  bind {NODE_ADDRESS}\n  hosts {{\n{lines}    fallthrough\n  }}\n"
            f"  kubernetes {DOMAIN} {{\n    kubeconfig {self.kubeconfig()} hookline\n  }}\n  errors\n}}\n"
        )
        return path

    def _resolv_conf(self) -> Path:
        path = self.folder / "resolv.conf"
        path.write_text(f"nameserver {NODE_ADDRESS}\n")
        return path

    def _containerd_config(self) -> Path:
        self._write(
            "cni/10-bridge.conflist",
            {
                "cniVersion": "0.4.0",
                "name": "pods",
                "plugins": [
                    {
                        "type": "bridge",
                        "bridge": "pods0",
                        "isGateway": True,
                        "hairpinMode": True,
                        "ipam": {
                            "type": "host-local",
                            "dataDir": str(self.folder / "addresses"),
                            "ranges": [[{"subnet": POD_CIDR}]],
                            "routes": [{"dst": "0.0.0.0/0"}],
                        },
                    },
                    {"type": "portmap", "capabilities": {"portMappings": True}},
                ],
            },
        )
        path = self.folder / "containerd.toml"
        runtime = 'plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc'
        path.write_text(
            textwrap.dedent(f"""\
            version = 2
            root = "{self.folder}/containers"
            state = "{self.folder}/state"
            disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.devmapper"]
            [grpc]
              address = "{self._socket}"
            [plugins."io.containerd.grpc.v1.cri"]
              sandbox_image = "{images.PAUSE}"
              # Where a machine forbids to lower oom_score_adj, every pod would fail without.
              restrict_oom_score_adj = true
              netns_mounts_under_state_dir = true
              disable_apparmor = true
              [{runtime}]
                runtime_type = "io.containerd.runc.v2"
                [{runtime}.options]
                  Root = "{self.folder}/runc"
              [plugins."io.containerd.grpc.v1.cri".cni]
                bin_dir = "/usr/lib/cni"
                conf_dir = "{self.folder}/cni"
            """)
        )
        return path

    def _write(self, name: str, content: Any) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1))
        return path
