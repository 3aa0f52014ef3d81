"""The control plane of the tests is a real one: it takes our kinds, refuses by RBAC, keeps data, leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from controlplane import assets, processes, takedown
from controlplane.kubectl import Kubectl
from controlplane.servers import ControlPlane

CHECKOUT = Path(__file__).parents[2]
SAMPLES = CHECKOUT / "manifests" / "samples"

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: idle}
spec:
  replicas: 2
  selector: {matchLabels: {app: idle}}
  template:
    metadata: {labels: {app: idle}}
    spec: {containers: [{name: idle, image: example.com/idle}]}
"""


def until(condition: Callable[[], bool], what: str, *, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.05)


def test_crds_are_established(kubectl: Kubectl) -> None:
    found = kubectl.json("get", "crds")["items"]
    established = {
        each["metadata"]["name"]
        for each in found
        for condition in each["status"]["conditions"]
        if (condition["type"], condition["status"]) == ("Established", "True")
    }
    assert established == {f"{each}.hookline.dev" for each in ("webhooks", "eventtypes", "dispatchers", "replays")}


@pytest.mark.parametrize("sample", sorted(SAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_sample_is_accepted(kubectl: Kubectl, namespace: str, sample: Path) -> None:
    kubectl.ok("apply", "--server-side", "--namespace", namespace, "-f", sample)
    (ours,) = (each for each in yaml.safe_load_all(sample.read_text()) if each["kind"] != "Secret")
    stored = kubectl.json("get", ours["kind"], ours["metadata"]["name"], "--namespace", namespace)
    said = "source" if ours["kind"] == "Replay" else "event"
    assert stored["spec"][said] == ours["spec"][said]


def test_a_user_without_rights_is_refused(kubectl: Kubectl, namespace: str) -> None:
    refused = kubectl("get", "webhooks", "--namespace", namespace, user="alice")
    assert refused.returncode != 0
    assert 'User "alice" cannot list resource "webhooks"' in refused.stderr


def test_a_role_binding_gives_rights_in_its_namespace_only(kubectl: Kubectl, namespace: str) -> None:
    kubectl.ok("create", "rolebinding", "edits", "--clusterrole=edit", "--user=bob", "--namespace", namespace)
    assert kubectl("get", "configmaps", "--namespace", namespace, user="bob").returncode == 0
    assert "Forbidden" in kubectl("get", "configmaps", "--namespace", "default", user="bob").stderr


def test_aggregated_roles_are_filled(kubectl: Kubectl, namespace: str) -> None:
    kubectl.ok("create", "rolebinding", "views", "--clusterrole=view", "--user=bob", "--namespace", namespace)
    aggregate = "rbac.authorization.k8s.io/aggregate-to-view=true"
    kubectl.ok("create", "clusterrole", "aggregated-view", "--verb=list", "--resource=webhooks.hookline.dev")
    try:
        kubectl.ok("label", "clusterrole", "aggregated-view", aggregate)
        listing = ("get", "webhooks", "--namespace", namespace)
        until(lambda: kubectl(*listing, user="bob").returncode == 0, "bob may list Webhooks")
    finally:
        kubectl.ok("delete", "clusterrole", "aggregated-view")


def test_a_service_account_acts_by_its_token(control_plane: ControlPlane, kubectl: Kubectl, namespace: str) -> None:
    config = control_plane.service_account_kubeconfig(namespace, "default")
    told = kubectl.ok("auth", "whoami", "-o", "jsonpath={.status.userInfo.username}", "--kubeconfig", config)
    assert told == f"system:serviceaccount:{namespace}:default"


def test_a_deployment_gets_pending_pods(kubectl: Kubectl, namespace: str) -> None:
    kubectl.ok("apply", "--namespace", namespace, "-f", "-", stdin=DEPLOYMENT)

    def phases() -> list[str]:
        pods = kubectl.json("get", "pods", "--namespace", namespace)["items"]
        return [each["status"]["phase"] for each in pods]

    until(lambda: phases() == ["Pending", "Pending"], "two pods")


def test_a_namespace_enforces_the_restricted_level(kubectl: Kubectl, namespace: str) -> None:
    kubectl.ok("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    refused = kubectl("run", "root", "--image=example.com/root", "--namespace", namespace)
    assert 'violates PodSecurity "restricted' in refused.stderr


def test_the_audit_log_tells_who_asked_for_what(control_plane: ControlPlane, kubectl: Kubectl, namespace: str) -> None:
    mark = control_plane.audit_mark()
    kubectl("get", "secrets", "--namespace", namespace, user="alice")

    def seen() -> bool:
        return any(
            (event["user"]["username"], event["verb"], event["responseStatus"]["code"]) == ("alice", "list", 403)
            for event in control_plane.audit_since(mark)
            if event.get("objectRef", {}).get("resource") == "secrets"
        )

    until(seen, "alice's request in the audit log")


@pytest.mark.parametrize("kill", [False, True], ids=["terminated", "killed"])
def test_data_and_kubeconfigs_outlive_a_restart(
    control_plane: ControlPlane, kubectl: Kubectl, namespace: str, kill: bool
) -> None:
    kubectl.ok("create", "configmap", "kept", "--from-literal=key=value", "--namespace", namespace)
    url = control_plane.url
    control_plane.restart_apiserver(kill=kill)
    assert control_plane.url == url
    assert kubectl.json("get", "configmap", "kept", "--namespace", namespace)["data"] == {"key": "value"}


def test_a_stopped_apiserver_answers_nobody_until_it_is_started(control_plane: ControlPlane, kubectl: Kubectl) -> None:
    control_plane.stop_apiserver()
    try:
        assert "refused" in kubectl("get", "namespaces").stderr
    finally:
        control_plane.start_apiserver()
    kubectl.ok("get", "namespaces")


def test_stop_leaves_nothing_running(tmp_path: Path, control_plane: ControlPlane) -> None:
    plane = ControlPlane(tmp_path / "own", assets.ensure())
    plane.start()
    try:
        assert len(commands_naming(plane.folder)) == 4, "three servers and their keeper"
    finally:
        plane.stop()
    assert commands_naming(plane.folder) == []


def test_a_killed_test_run_leaves_nothing_running(tmp_path: Path, control_plane: ControlPlane) -> None:
    folder = tmp_path / "orphaned"
    script = (
        "from pathlib import Path; from controlplane import assets; from controlplane.servers import ControlPlane\n"
        f"ControlPlane(Path({str(folder)!r}), assets.ensure()).start()\n"
        "print('up', flush=True); import time; time.sleep(600)\n"
    )
    run = subprocess.Popen([sys.executable, "-c", script], cwd=CHECKOUT / "tests", stdout=subprocess.PIPE)
    assert run.stdout is not None
    try:
        with run.stdout:
            assert run.stdout.readline() == b"up\n"
        os.kill(run.pid, signal.SIGKILL)
        run.wait(10)
        until(lambda: commands_naming(folder) == [], "the end of all servers")
    finally:
        takedown.down(folder)


def test_a_server_that_cannot_start_says_so_with_its_last_words(tmp_path: Path, control_plane: ControlPlane) -> None:
    plane = ControlPlane(tmp_path / "own", assets.ensure(), apiserver_flags=["--no-such-flag"])
    with pytest.raises(
        processes.StartError, match=r"kube-apiserver ended at its start: .*unknown flag: --no-such-flag"
    ):
        plane.start()
    assert commands_naming(plane.folder) == []


def test_a_foreign_process_with_a_recorded_pid_is_left_alone(tmp_path: Path) -> None:
    # A session of its own, as servers have: else the signal would miss it for another reason.
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as foreign:
        processes.pid_file(tmp_path, "etcd").write_text(f"{foreign.pid}\n")
        processes.end(tmp_path, "etcd")
        assert foreign.poll() is None
        foreign.kill()


def test_a_developers_cluster_runs_until_it_is_ended(tmp_path: Path, control_plane: ControlPlane) -> None:
    folder = tmp_path / "developer"
    said = command("up", folder)
    try:
        assert said.stdout == f"export KUBECONFIG={folder}/kubeconfig-admin\n", said.stderr
        assert command("up", folder).stdout == said.stdout, "a second `up` finds it running"
        assert command("status", folder).returncode == 0
    finally:
        assert command("erase", folder).returncode == 0
    assert commands_naming(folder) == []
    assert not folder.exists()
    assert command("env", folder).returncode == 1


def command(name: str, folder: Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "controlplane", name, "--folder", str(folder)]
    return subprocess.run(words, cwd=CHECKOUT / "tests", capture_output=True, text=True, timeout=90, check=False)


def commands_naming(folder: Path) -> list[str]:
    """Command lines of the processes of a folder, but for those of the test itself."""
    listed = subprocess.run(["ps", "-ww", "-e", "-o", "pid=,stat=,args="], capture_output=True, text=True, check=True)
    lines = [each.split(maxsplit=2) for each in listed.stdout.splitlines()]
    return [
        each[2]
        for each in lines
        if len(each) == 3 and str(folder) in each[2] and not each[1].startswith("Z") and "-c" not in each[2].split()[:2]
    ]
