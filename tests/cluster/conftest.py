"""A real API server for the tests of this folder: one for a session, a namespace for each test that asks for one."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane import assets, sessions
from controlplane.kubectl import Kubectl
from controlplane.servers import ControlPlane, User

USERS = (User("alice"), User("bob"))
"""Two people without any rights but those a test grants them."""

_unavailable: list[str] = []


def pytest_collection_finish(session: pytest.Session) -> None:
    """Here and not in a fixture: a first build takes longer than a test may."""
    if sessions.wanted(session, Path(__file__).parent):
        _unavailable[:] = filter(None, [sessions.showing(session, assets.unavailable)])


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """etcd, kube-apiserver and kube-controller-manager, with Hookline's CRDs."""
    if _unavailable:
        sessions.refuse(_unavailable[0])
    plane = ControlPlane(tmp_path_factory.mktemp("cluster"), assets.ensure(), users=USERS)
    plane.start()
    try:
        _kubectl(plane).apply_crds()
        yield plane
    finally:
        plane.stop()


@pytest.fixture(scope="session")
def kubectl(control_plane: ControlPlane) -> Kubectl:
    """`kubectl("get", "pods", user="alice")`."""
    return _kubectl(control_plane)


@pytest.fixture
def namespace(control_plane: ControlPlane, kubectl: Kubectl) -> Iterator[str]:
    """A fresh namespace, gone after the test as far as anyone can see in it."""
    name = f"test-{secrets.token_hex(4)}"
    kubectl.ok("create", "namespace", name)
    _until_has_account(control_plane, name)
    yield name
    # Not waited for: its finalizers take seconds, and no other test uses the name.
    kubectl.ok("delete", "namespace", name, "--wait=false")


def _kubectl(plane: ControlPlane) -> Kubectl:
    return Kubectl(assets.ensure()["kubectl"], plane.kubeconfig, plane.folder / "kubectl-cache")


def _until_has_account(plane: ControlPlane, namespace: str) -> None:
    """Pods are refused until the controller has made the namespace's ServiceAccount."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            plane.request(f"/api/v1/namespaces/{namespace}/serviceaccounts/default")
            return
        time.sleep(0.05)
    pytest.fail(f"namespace {namespace} got no ServiceAccount within 30 s")
