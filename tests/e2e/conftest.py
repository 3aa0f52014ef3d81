"""A real cluster of one node for the tests of this folder, with Hookline in it as its manifests ship it."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from controlplane import assets, images, sandbox, sessions
from controlplane.kubectl import Kubectl
from controlplane.node import Node, install_missing, unfit
from controlplane.servers import User
from doubles.receiver import NAME, TlsReceiver

CHECKOUT = Path(__file__).parents[2]
SYSTEM = "hookline-system"

_unavailable: list[str] = []


def pytest_collection_finish(session: pytest.Session) -> None:
    """Here and not in a fixture: a first build takes longer than a test may."""
    if sessions.wanted(session, Path(__file__).parent):
        _unavailable[:] = filter(None, [sessions.showing(session, _prepare)])


def _prepare() -> str | None:
    install_missing()
    problem = unfit() or assets.unavailable(assets.NODE)
    if problem is None:
        for image in _images():
            images.build(image)
    return problem


def _images() -> list[images.Image]:
    """Under the names that the manifests give, as a registry would have them."""
    return [
        images.pause(),
        images.nats("docker.io/library/nats:2.14.6"),
        images.hookline("docker.io/library/hookline:0.1.0"),
    ]


@pytest.fixture(scope="session")
def node() -> Iterator[Node]:
    """The cluster, with all images on its node."""
    if _unavailable:
        sessions.refuse(_unavailable[0])
    # Not pytest's folder: the paths of sockets may have 107 characters at most.
    folder = Path(tempfile.mkdtemp(prefix="hookline-node-"))
    cluster = Node(
        folder,
        assets.ensure(assets.NODE),
        users=[User("gitops", ("system:masters",))],
        names={NAME: sandbox.HOST_ADDRESS},
    )
    try:
        cluster.start()
        for image in _images():
            cluster.import_image(images.build(image))
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def kubectl(node: Node) -> Kubectl:
    """`kubectl("get", "pods")`."""
    return Kubectl(assets.ensure(assets.NODE)["kubectl"], node.kubeconfig, node.folder / "kubectl-cache")


@pytest.fixture(scope="session")
def installed(node: Node, kubectl: Kubectl) -> Kubectl:
    """Hookline, installed with one command."""
    node.make_volume("nats")
    kubectl.ok("apply", "-k", CHECKOUT / "manifests/overlays/default")
    kubectl.ok("rollout", "status", "deployment/hookline-operator", "-n", SYSTEM, "--timeout=90s", seconds=100)
    kubectl.ok("rollout", "status", "statefulset/nats", "-n", SYSTEM, "--timeout=90s", seconds=100)
    return kubectl


@pytest.fixture
def namespace(kubectl: Kubectl) -> Iterator[str]:
    name = f"team-{secrets.token_hex(3)}"
    kubectl.ok("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")


@pytest.fixture
async def receiver() -> AsyncIterator[TlsReceiver]:
    """Outside of the cluster, in a private network that the Dispatcher must allow."""
    async with TlsReceiver(sandbox.HOST_ADDRESS) as running:
        yield running
