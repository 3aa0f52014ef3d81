"""The node itself: what the other tests rest on."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from controlplane import assets, images, sandbox
from controlplane.kubectl import Kubectl
from controlplane.node import Node

pytestmark = pytest.mark.timeout(300)


def until(condition: Callable[[], bool], *, seconds: float = 60, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.2)


def restricted_pod(name: str, arguments: list[str]) -> str:
    """A pod of the hookline image as strict as the shipped ones."""
    container = {
        "name": "main",
        "image": "hookline:0.1.0",
        "args": arguments,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})


def test_the_image_runs_as_nobody_with_a_root_file_system_that_cannot_be_written(
    kubectl: Kubectl, namespace: str
) -> None:
    kubectl.ok("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    kubectl.ok("apply", "-n", namespace, "-f", "-", stdin=restricted_pod("version", ["--version"]))

    def ended() -> bool:
        return kubectl.json("get", "pod", "version", "-n", namespace)["status"]["phase"] in ("Succeeded", "Failed")

    until(ended, what="the end of the pod")
    assert kubectl.ok("logs", "version", "-n", namespace) == "hookline 0.1.0\n"
    assert kubectl.json("get", "pod", "version", "-n", namespace)["status"]["phase"] == "Succeeded"


def test_a_node_leaves_nothing_behind(tmp_path_factory: pytest.TempPathFactory, node: Node) -> None:
    """Seen on the running node: everything of it is in the sandbox, and what is outside is known to `end`."""
    mounts = Path("/proc/self/mounts").read_text()
    assert str(node.folder) not in mounts
    rules = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout
    assert "KUBE-" not in rules
    assert [each for each in sandbox.left_behind() if "cgroup" not in each and "via" not in each] == ["hookline0"]


def test_only_one_node_at_a_time_and_the_second_says_so(node: Node, tmp_path: Path) -> None:
    second = Node(tmp_path / "second", assets.ensure(assets.NODE))
    with pytest.raises(Exception, match="a node runs here already"):
        second.start()
    assert node.is_ready()


def test_an_image_is_made_once() -> None:
    before = images.build(images.pause(), tell=pytest.fail)
    assert before.exists()
