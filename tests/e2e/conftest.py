"""A real cluster of one node for the tests of this folder, with Hookline in it as its manifests ship it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from controlplane import sandbox, sessions
from controlplane.kubectl import Kubectl
from controlplane.node import Node
from doubles.receiver import TlsReceiver
from e2e import cluster
from hookline.stream.permissions import Role
from hookline.stream.publish import Publisher

_unavailable: list[str] = []


def pytest_collection_finish(session: pytest.Session) -> None:
    """Here and not in a fixture: a first build takes longer than a test may."""
    if sessions.wanted(session, Path(__file__).parent):
        _unavailable[:] = filter(None, [sessions.showing(session, cluster.prepare)])


@pytest.fixture(scope="session")
def node() -> Iterator[Node]:
    """The cluster, with all images on its node."""
    if _unavailable:
        sessions.refuse(_unavailable[0])
    with cluster.running_node() as running:
        yield running


@pytest.fixture(scope="session")
def kubectl(node: Node) -> Kubectl:
    """`kubectl("get", "pods")`."""
    return cluster.kubectl_of(node)


@pytest.fixture(scope="session")
def installed(node: Node, kubectl: Kubectl) -> Kubectl:
    """Hookline, installed with one command."""
    cluster.install(node, kubectl)
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


@pytest.fixture
async def publisher(installed: Kubectl) -> AsyncIterator[Publisher]:
    """Past the gateway, as one that has its key."""
    client = await cluster.queue(installed, Role.GATEWAY)
    yield Publisher(client)
    await client.close()
