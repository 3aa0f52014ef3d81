"""Every way to install, each on its own: applied with one command, and a signed call arrives."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from controlplane.kubectl import Kubectl
from controlplane.node import Node
from controlplane.ports import free_port
from doubles import own
from doubles.receiver import TlsReceiver
from e2e.cluster import queue, uninstall
from e2e.team import Team, allow_receiver, new_secret
from hookline.stream.nkeys import public_of, seed_of
from hookline.stream.permissions import EXAMPLE_KEY, Role
from hookline.stream.publish import Publisher

CHECKOUT = Path(__file__).parents[2]
LOG_API_PAGE = (CHECKOUT / "docs/log-api.md").read_text()
MY_SEED = seed_of(secrets.token_bytes(32))

pytestmark = pytest.mark.timeout(400)


@contextmanager
def install(kubectl: Kubectl, overlay: Path, system: str) -> Iterator[None]:
    """One `kubectl apply -k`, and what it made taken away again but for the CRDs."""
    kubectl.ok("apply", "-k", overlay, seconds=90)
    try:
        kubectl.ok("rollout", "status", "deployment/hookline-operator", "-n", system, "--timeout=90s", seconds=100)
        yield
    finally:
        uninstall(kubectl, system)


@asynccontextmanager
async def publisher(kubectl: Kubectl, system: str, seed: str = "") -> AsyncIterator[Publisher]:
    client = await queue(kubectl, Role.GATEWAY, system, seed)
    try:
        yield Publisher(client)
    finally:
        await client.close()


async def a_call_arrives(
    kubectl: Kubectl, system: str, namespace: str, receiver: TlsReceiver, publishing: Publisher
) -> None:
    allow_receiver(kubectl, system)
    team = Team(kubectl, namespace, receiver, publishing)
    secret = new_secret()
    team.apply(
        team.secret("receiver-ca", {"ca.crt": receiver.ca_pem}),
        team.secret("signing", {"secret": secret}),
        team.webhook("orders", "/orders", secret="signing"),
    )
    team.ready("orders")
    assert (await team.arrives("/orders", await team.publish())).verified_by(secret)


@pytest.fixture
def vacated(kubectl: Kubectl) -> Kubectl:
    """The cluster without the installation of the other tests."""
    uninstall(kubectl)
    return kubectl


def on_one_node(folder: Path) -> Path:
    """The overlay `ha` without the rule that no two NATS servers share a node: this cluster has one."""
    shutil.copytree(CHECKOUT / "manifests", folder / "manifests")
    shutil.copytree(CHECKOUT / "crds", folder / "crds")
    (folder / "one-node").mkdir()
    (folder / "one-node/kustomization.yaml").write_text(
        "resources: [../manifests/overlays/ha]\n"
        "patches:\n- target: {kind: StatefulSet, name: nats}\n  patch: |-\n"
        "    - {op: remove, path: /spec/template/spec/affinity}\n"
    )
    return folder / "one-node"


async def test_three_nats_servers_hold_every_stream_three_times(
    vacated: Kubectl, node: Node, namespace: str, receiver: TlsReceiver, tmp_path: Path
) -> None:
    for number in range(3):
        node.make_volume(f"ha-{number}")
    with install(vacated, on_one_node(tmp_path), "hookline-system"):
        vacated.ok("rollout", "status", "statefulset/nats", "-n", "hookline-system", "--timeout=120s", seconds=130)
        async with publisher(vacated, "hookline-system") as publishing:
            await a_call_arrives(vacated, "hookline-system", namespace, receiver, publishing)
        client = await queue(vacated, Role.SENDER)
        streams = (own.EVENTS, own.DELIVERIES, own.PARKED, own.DEAD)
        infos = [await client.jetstream().stream_info(each) for each in streams]
        await client.close()
    assert {each.config.num_replicas for each in infos} == {3}, infos


async def the_log_is_read_through_a_port_forward(kubectl: Kubectl, folder: Path) -> None:
    """By the documented commands, as an account with `view`; nothing of it is in the API of the cluster."""
    kubectl.ok(
        "create", "rolebinding", "view", "--clusterrole=view", "--serviceaccount=hookline:default", "-n", "hookline"
    )
    kubectl.ok("rollout", "status", "deployment/hookline-api", "-n", "hookline", "--timeout=90s", seconds=100)
    section = LOG_API_PAGE.partition("## In a single namespace")[2].partition("\n## ")[0]
    by_curl, by_kubectl = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    seen = f"until {by_kubectl.strip()} > table && grep -q orders table; do sleep 0.5; done; cat table"
    script = f"{by_curl}\necho\n{seen}".replace("8443", str(free_port()))
    said = await asyncio.to_thread(kubectl.script, script, folder)
    listed, table = said.split("\n", 1)
    assert json.loads(listed)["kind"] == "AttemptList"
    assert "orders" in table, said
    assert "v1alpha1.log.hookline.dev" not in kubectl.ok("get", "apiservices", "-o", "name")


async def test_one_namespace_for_everything_serves_that_namespace_only(
    vacated: Kubectl, node: Node, namespace: str, receiver: TlsReceiver, tmp_path: Path
) -> None:
    node.make_volume("namespaced")
    vacated.ok("create", "namespace", "hookline")
    with install(vacated, CHECKOUT / "manifests/overlays/namespaced", "hookline"):
        vacated.ok("rollout", "status", "statefulset/nats", "-n", "hookline", "--timeout=90s", seconds=100)
        async with publisher(vacated, "hookline") as publishing:
            await a_call_arrives(vacated, "hookline", "hookline", receiver, publishing)
            await the_log_is_read_through_a_port_forward(vacated, tmp_path)
            outside = Team(vacated, namespace, receiver, publishing)
            outside.apply(outside.webhook("unseen", "/unseen", secret="signing"))
        status = vacated.json("get", "webhook", "unseen", "-n", namespace)["status"]
    assert status == {"observedGeneration": -1, "conditions": [], "signingKeys": []}, "nobody looked at it"


async def test_a_nats_that_is_there_already(
    vacated: Kubectl, node: Node, namespace: str, receiver: TlsReceiver, tmp_path: Path
) -> None:
    shutil.copytree(CHECKOUT / "manifests", tmp_path / "manifests")
    shutil.copytree(CHECKOUT / "crds", tmp_path / "crds")
    overlay = tmp_path / "manifests/overlays/existing-nats"
    dispatcher = (overlay / "dispatcher.yaml").read_text()
    address = "nats.elsewhere.svc:4222"
    (overlay / "dispatcher.yaml").write_text(dispatcher.replace("nats.example.com:4222", address))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/kustomization.yaml").write_text(
        "namespace: elsewhere\nresources: [../manifests/nats]\n"
        "patches:\n- patch: |-\n    $patch: delete\n    apiVersion: networking.k8s.io/v1\n    kind: NetworkPolicy\n"
        "    metadata: {name: nats}\n"
    )
    node.make_volume("elsewhere")
    vacated.ok("create", "namespace", "elsewhere")
    # As the documentation says to whoever runs a NATS of his own.
    (tmp_path / "users.conf").write_text(
        (CHECKOUT / "docs/nats-user.conf").read_text().replace(EXAMPLE_KEY, public_of(MY_SEED))
    )
    (tmp_path / "nats.creds").write_text(MY_SEED)
    vacated.ok("create", "namespace", "hookline-system")
    for system, name, file in (
        ("elsewhere", "hookline-nats-users", "users.conf"),
        ("hookline-system", "nats-credentials", "nats.creds"),
    ):
        vacated.ok("create", "secret", "generic", name, "-n", system, f"--from-file={tmp_path / file}")
    vacated.ok("apply", "-k", tmp_path / "elsewhere")
    with install(vacated, overlay, "hookline-system"):
        async with publisher(vacated, "elsewhere", MY_SEED) as publishing:
            await a_call_arrives(vacated, "hookline-system", namespace, receiver, publishing)
    vacated.ok("delete", "namespace", "elsewhere", "--wait=false")
