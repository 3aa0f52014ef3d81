"""A cluster of one node with Hookline in it, as its manifests ship it.

Decides which images are on the node and how it is installed; for the tests of this folder and for benchmarks.
"""

from __future__ import annotations

import base64
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from controlplane import assets, images, sandbox
from controlplane.kubectl import Kubectl
from controlplane.node import Node, install_missing, unfit
from controlplane.servers import User
from doubles.receiver import NAME
from hookline.control.kinds import API_SERVICE_NAME
from hookline.control.nats_users import SECRET_NAMES, SEED_FILE
from hookline.stream.connection import Client, connect
from hookline.stream.credentials import by_seed
from hookline.stream.permissions import Role

CHECKOUT = Path(__file__).parents[2]
SYSTEM = "hookline-system"
NATS = CHECKOUT / "manifests" / "nats" / "stateful-set.yaml"


def prepare() -> str | None:
    """Build and install what a node needs; why there can be none here, in one line, or None."""
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
        images.nats(f"docker.io/library/nats@{_nats_digest()}"),
        images.hookline("docker.io/library/hookline:0.1.0"),
    ]


def _nats_digest() -> str:
    """By which the manifests name the image: whatever the tag beside it says, a node looks for this."""
    found = re.search(r"image: nats:\S+@(sha256:[0-9a-f]{64})", NATS.read_text())
    assert found is not None
    return found[1]


@contextmanager
def running_node() -> Iterator[Node]:
    """The cluster, with all images on its node."""
    # Not a test's own folder: the paths of sockets may have 107 characters at most.
    folder = Path(tempfile.mkdtemp(prefix="hookline-node-"))
    cluster = Node(
        folder,
        assets.ensure(assets.NODE),
        users=[User("gitops", ("system:masters",)), User("editor")],
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


def kubectl_of(node: Node) -> Kubectl:
    return Kubectl(assets.ensure(assets.NODE)["kubectl"], node.kubeconfig, node.folder / "kubectl-cache")


def uninstall(kubectl: Kubectl, system: str = SYSTEM) -> None:
    """As docs/kubernetes.md says, but for the CRDs: the APIService goes before what answers for it."""
    kubectl.ok("delete", "apiservice", API_SERVICE_NAME, "--ignore-not-found")
    kubectl.ok("delete", "namespace", system, "--ignore-not-found", "--timeout=120s", seconds=130)


def install(node: Node, kubectl: Kubectl) -> None:
    """The overlay `default`, with one command; and wait for the operator and NATS."""
    node.make_volume("nats")
    kubectl.ok("apply", "-k", CHECKOUT / "manifests/overlays/default")
    kubectl.ok("rollout", "status", "deployment/hookline-operator", "-n", SYSTEM, "--timeout=90s", seconds=100)
    kubectl.ok("rollout", "status", "statefulset/nats", "-n", SYSTEM, "--timeout=90s", seconds=100)


async def queue(kubectl: Kubectl, role: Role, system: str = SYSTEM, seed: str = "") -> Client:
    """The installed NATS, as a role that it knows, or by a seed that it was told of."""
    address = kubectl.json("get", "service", "nats", "-n", system)["spec"]["clusterIP"]
    if not seed:
        keys = kubectl.json("get", "secret", SECRET_NAMES[role], "-n", system)["data"]
        seed = base64.b64decode(keys[SEED_FILE]).decode()
    return await connect(f"nats://{address}:4222", name=role, credentials=by_seed(seed), connect_seconds=60)
