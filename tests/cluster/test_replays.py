"""Replays in a cluster: followed, written by one executor at a time, waited for by kubectl, and removed in time; by who
has the rights of `hookline api` and no others."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from controlplane.kubectl import Kubectl
from controlplane.servers import ControlPlane
from doubles import own
from doubles.local import count, until
from doubles.replays import SomeAttempts, first, give_up
from hookline.api.replay.conditions import told
from hookline.api.replay.executor import Executor, Gone
from hookline.api.replay.in_cluster import ClusterReplays, ClusterWebhooks, execute_when_leading
from hookline.api.replay.replays import Found, Runner
from hookline.local.nats_server import NatsServer
from hookline.resources.reasons import ReplayReason
from hookline.resources.replay import ReplayStatus
from hookline.runtime.background import background
from hookline.serving.api_server import ApiServer, Place
from hookline.stream.connection import connect
from hookline.stream.streams import Retention, ensure

NOW = "2026-11-30T14:00:00Z"
MANIFESTS = Path(__file__).parents[2] / "manifests"


def rights() -> list[Any]:
    """Those of the shipped roles, but for questions about callers."""
    files = (MANIFESTS / "base" / "api.yaml", MANIFESTS / "api" / "role.yaml")
    roles = [each for file in files for each in yaml.safe_load_all(file.read_text()) if "rules" in each]
    assert len(roles) == 2
    return [rule for role in roles for rule in role["rules"]]


@dataclass(frozen=True)
class Cluster:
    plane: ControlPlane
    kubectl: Kubectl
    namespace: str
    server: ApiServer

    def make(self, name: str, **spec: Any) -> None:
        manifest = {
            "apiVersion": "hookline.dev/v1alpha1",
            "kind": "Replay",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {"webhook": {"name": "one"}, **spec},
        }
        self.kubectl.ok("create", "-f", "-", stdin=json.dumps(manifest))

    def get(self, kind: str, name: str) -> Any:
        return self.kubectl.json("get", kind, name, "-n", self.namespace)

    def make_webhook(self) -> str:
        """Its uid."""
        spec = {"url": "https://example.com/", "event": "IdentityCreated"}
        manifest = {
            "apiVersion": "hookline.dev/v1alpha1",
            "kind": "Webhook",
            "metadata": {"name": "one", "namespace": self.namespace},
            "spec": spec,
        }
        self.kubectl.ok("create", "-f", "-", stdin=json.dumps(manifest))
        return str(self.get("webhook", "one")["metadata"]["uid"])

    @property
    def replays(self) -> ClusterReplays:
        return ClusterReplays(self.server, self.namespace)


@pytest.fixture
async def cluster(
    control_plane: ControlPlane, kubectl: Kubectl, namespace: str, tmp_path: Path
) -> AsyncIterator[Cluster]:
    account = f"--serviceaccount={namespace}:default"
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "rules": rights()}
    named = {**role, "metadata": {"name": "api", "namespace": namespace}}
    kubectl.ok("create", "-f", "-", stdin=yaml.safe_dump(named))
    kubectl.ok("create", "rolebinding", "api", "--role=api", account, "-n", namespace)
    token = tmp_path / "token"
    token.write_text(kubectl.ok("create", "token", "default", "-n", namespace).strip())
    async with ApiServer(Place(control_plane.url, token, control_plane.ca_file), who="api") as server:
        yield Cluster(control_plane, kubectl, namespace, server)


async def found(cluster: Cluster) -> Found:
    (one,) = await first(cluster.replays.follow())
    return cast(Found, one)


def running(number: int) -> ReplayStatus:
    status = ReplayStatus(phase="Running", found=number, replayed=number)
    return told(status, 1, ReplayReason.RUNNING, f"{number} found", NOW)


async def test_what_is_made_changed_and_deleted_is_followed(cluster: Cluster) -> None:
    seen: list[Sequence[Found]] = []
    note = seen.append

    async def follow() -> None:
        async for each in cluster.replays.follow():
            note(each)

    async with background(follow()):
        await until(lambda: seen == [[]], what="the empty list")
        cluster.make("outage", dryRun=True)
        await until(lambda: len(seen[-1]) == 1, what="the new one")
        cluster.kubectl.ok("delete", "replay", "outage", "-n", cluster.namespace)
        await until(lambda: seen[-1] == [] and len(seen) > 2, what="its end")
    assert (seen[1][0].title, seen[1][0].is_finished) == (f"{cluster.namespace}/outage", False)


async def test_a_status_is_written_though_somebody_sets_a_label_and_never_over_that_of_somebody_else(
    cluster: Cluster,
) -> None:
    cluster.make("outage")
    write, other = [(await cluster.replays.open(await found(cluster))).write for _ in range(2)]
    await write(running(1))
    cluster.kubectl.ok("label", "replay", "outage", "a=b", "-n", cluster.namespace)
    await write(running(2))
    assert cluster.get("replay", "outage")["status"]["found"] == 2
    with pytest.raises(Gone):
        await other(running(9))
    assert cluster.get("replay", "outage")["status"]["found"] == 2
    taken_over = (await cluster.replays.open(await found(cluster))).write
    await taken_over(running(3))
    with pytest.raises(Gone):
        await write(running(4))
    cluster.kubectl.ok("delete", "replay", "outage", "-n", cluster.namespace)
    cluster.make("outage")
    with pytest.raises(Gone):
        await taken_over(running(5))
    assert cluster.get("replay", "outage")["status"]["found"] == 0


async def test_one_of_several_processes_executes_and_another_one_when_it_ends(cluster: Cluster) -> None:
    at_work: list[str] = []

    class Worker:
        def __init__(self, name: str) -> None:
            self.name = name

        async def run(self) -> None:
            at_work.append(self.name)
            try:
                await asyncio.Event().wait()
            finally:
                at_work.remove(self.name)

    def stand(name: str) -> asyncio.Task[None]:
        worker = cast(Runner, Worker(name))
        work = execute_when_leading(cluster.server, worker, namespace=cluster.namespace, identity=name)
        return asyncio.create_task(work)

    one = stand("one")
    await until(lambda: at_work == ["one"])
    two = stand("two")
    try:
        await asyncio.sleep(0.3)
        assert at_work == ["one"]
        one.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await one
        await until(lambda: at_work == ["two"])
    finally:
        two.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await two
    assert at_work == []


async def test_kubectl_waits_for_a_replay_and_it_is_removed_when_its_time_is_over(
    cluster: Cluster, tmp_path: Path
) -> None:
    (tmp_path / "nats").mkdir()
    server = NatsServer(tmp_path / "nats")
    await server.start()
    client = await connect(server.url, name="test")
    try:
        await ensure(client, Retention(), prefix="HOOKLINE_")
        uid = cluster.make_webhook()
        await give_up(client, uid, ["evt_1", "evt_2"], tenant=cluster.namespace)
        executor = Executor(lambda: {"default": client}, ClusterWebhooks(cluster.server), SomeAttempts().log)
        async with background(Runner(cluster.replays, executor).run()):
            cluster.make("tried", dryRun=True, ttlSecondsAfterFinished=0)
            cluster.make("none", webhook={"name": "other"})
            cluster.make("outage")
            wait = ("wait", "-n", cluster.namespace, "--timeout=30s")
            await asyncio.to_thread(cluster.kubectl.ok, *wait, "replay/outage", "--for=condition=Complete")
            await asyncio.to_thread(cluster.kubectl.ok, *wait, "replay/none", "--for=condition=Failed")
            await asyncio.to_thread(cluster.kubectl.ok, *wait, "replay/tried", "--for=delete")
        assert await count(client, own.DELIVERIES) == 2
        assert await count(client, own.DEAD) == 0
        shown = cluster.kubectl.ok("get", "rp", "outage", "-n", cluster.namespace).split()
        assert shown[:8] == ["NAME", "WEBHOOK", "SOURCE", "PHASE", "FOUND", "REPLAYED", "SKIPPED", "FAILED"]
        assert shown[9:17] == ["outage", "one", "DeadLetters", "Complete", "2", "2", "0", "0"]
        status = cluster.get("replay", "outage")["status"]
        assert (status["observedGeneration"], status["webhooks"][0]["uid"]) == (1, uid)
    finally:
        await client.close()
        await server.stop()
