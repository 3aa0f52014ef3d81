"""The log's API as the operator keeps it, over a cluster that is played, in time of its own."""

from __future__ import annotations

import asyncio
import base64
from datetime import timedelta
from typing import Any, cast

import pytest

from hookline.control.api_service_writer import AGAIN_SECONDS, LOOK_SECONDS, SOON_SECONDS, ApiServiceWriter
from hookline.control.api_workload import ApiSettings
from hookline.control.api_writer import ApiWriter
from hookline.control.applier import Applier
from hookline.control.authority import Home
from hookline.control.authority_writer import AuthorityWriter
from hookline.control.cluster import ClusterError, Denied, Forbidden
from hookline.control.context import Context, Identity
from hookline.control.kinds import DEPLOYMENTS, DISPATCHERS, PODS, SECRETS, Kind
from hookline.control.work_keys import ApiKey, ApiServiceKey, DispatcherKey
from unit.control.clock import run
from unit.control.objects import OWN, Manifest, dispatcher, pod

NAME = "v1alpha1.log.hookline.dev"


class Player:
    """A cluster and its operator."""

    def __init__(self, *, replicas: int = 2, watched: str | None = None) -> None:
        identity = Identity("op", OWN, "image", watched, shipped_nats="nats://nats:4222", api=ApiSettings(replicas))
        self.context = Context(cast(Any, self), identity)
        home = Home(OWN)
        self.authority = AuthorityWriter(self.context, home)
        self.api_service = ApiServiceWriter(self.context, home)
        self.api = ApiWriter(self.context, Applier(self.context), self.authority, self.api_service)
        self.version = 10
        self.clock_ahead = timedelta()
        self.live: Manifest | None = None
        """The APIService."""
        self.writes: list[str] = []
        self.bundles: list[str] = []
        self.touched: list[str] = []
        self.events: list[str] = []
        self.refuses: ClusterError | None = None
        self.see("default")

    def see(self, name: str, **spec: Any) -> None:
        self.version += 1
        self.context.observed.put(DISPATCHERS, dispatcher(name, spec, version=self.version, generation=self.version))

    def api_service_is(self, *, namespace: str = OWN, available: str = "True", bundle: str = "") -> None:
        self.version += 1
        self.live = {
            "metadata": {"name": NAME, "uid": "u", "resourceVersion": str(self.version)},
            "spec": {"service": {"namespace": namespace, "name": "hookline-api"}, "caBundle": bundle},
            "status": {"conditions": [{"type": "Available", "status": available, "reason": "Said"}]},
        }

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Manifest | None:
        assert (kind.name, namespace, name) == ("APIService", None, NAME)
        if isinstance(self.refuses, Forbidden):
            raise self.refuses
        return self.live

    async def apply(self, kind: Kind, manifest: Manifest) -> Manifest:
        if self.refuses is not None and kind is DEPLOYMENTS:
            raise self.refuses
        self.version += 1
        metadata = {"uid": "u", **manifest["metadata"], "resourceVersion": str(self.version)}
        if kind.name == "APIService":
            assert self.live is not None
            assert manifest.keys() == {"metadata", "spec"}
            assert manifest["spec"].keys() == {"caBundle"}
            assert manifest["metadata"] == self.live["metadata"]
            self.live["spec"]["caBundle"] = manifest["spec"]["caBundle"]
            self.live["metadata"] = metadata
            self.bundles.append(base64.b64decode(manifest["spec"]["caBundle"]).decode())
            return self.live
        self.writes.append(f"{kind.name} {metadata['name']}")
        return {**manifest, "metadata": metadata}

    async def create(self, kind: Kind, manifest: Manifest) -> Manifest:
        if kind.name == "Event":
            self.events.append(f"{manifest['regarding']['name']} {manifest['reason']}")
            return manifest
        return await self.apply(kind, manifest)

    async def merge(self, kind: Kind, _namespace: str, name: str, patch: Manifest) -> Manifest:
        assert kind is PODS
        self.touched.append(name)
        self.version += 1
        there = pod(name, "", component="api", version=self.version)
        there["metadata"]["annotations"] = patch["metadata"]["annotations"]
        return there

    async def look(self) -> list[str]:
        """What is written, with the CA in force."""
        await self.authority.reconcile()
        await self.api_service.reconcile()
        await self.api.reconcile()
        found = self.writes[:]
        self.writes.clear()
        return found

    async def waiting(self) -> set[Any]:
        found = set()
        while len(self.context.queue):
            found.add(key := await self.context.queue.take())
            self.context.queue.done(key)
        return found

    def reason(self, name: str = "default") -> str:
        seen = self.context.dispatcher(name)
        assert seen is not None
        return self.api.condition(seen).reason

    def ready(self, replicas: int) -> None:
        live = self.context.own(DEPLOYMENTS, "hookline-api")
        assert live is not None
        self.version += 1
        metadata = {**live["metadata"], "resourceVersion": str(self.version)}
        self.context.observed.put(DEPLOYMENTS, {**live, "metadata": metadata, "status": {"readyReplicas": replicas}})


ALL = [
    "ConfigMap hookline-api-queues",
    "NetworkPolicy hookline-api",
    "PodDisruptionBudget hookline-api",
    "Service hookline-api",
    "Deployment hookline-api",
]


def test_an_installation_gets_it_and_then_nothing_is_written() -> None:
    async def scene() -> None:
        player = Player()
        player.api_service_is()
        written = await player.look()
        assert [each for each in written if each in ALL] == ALL
        assert await player.look() == []
        assert len(player.bundles) == 1

    run(scene())


def test_a_queue_more_is_written_into_the_list_and_pods_are_touched_and_not_replaced() -> None:
    async def scene() -> None:
        player = Player()
        await player.look()
        player.context.observed.put(PODS, pod("api-0", "", component="api"))
        assert await player.look() == []
        assert player.touched == []
        player.see("open", nats={"url": "nats://open.example.com"})
        assert await player.look() == ["Secret hookline-gateway-tls-open", ALL[0]]
        assert player.touched == ["api-0"]
        assert await player.look() == []
        assert player.touched == ["api-0"]

    run(scene())


def test_of_two_dispatchers_on_one_nats_the_one_that_may_use_it_is_listed() -> None:
    async def scene() -> None:
        player = Player()
        player.see("second", nats={"url": "nats://nats:4222"})
        await player.look()
        live = player.context.own(Kind("ConfigMap", "configmaps", "v1"), "hookline-api-queues")
        assert live is not None
        assert live["data"]["queues.json"].count('"dispatcher"') == 1

    run(scene())


def test_every_dispatcher_says_how_it_stands_and_hears_of_changes_alone() -> None:
    async def scene() -> None:
        player = Player()
        player.see("edge", nats={"url": "nats://edge.example.com"})
        player.api_service_is()
        await player.look()
        assert {DispatcherKey(OWN, "default"), DispatcherKey(OWN, "edge")} <= await player.waiting()
        assert (player.reason(), player.reason("edge")) == ("NoLogApi", "NoLogApi")
        player.ready(2)
        await player.api.reconcile()
        assert {DispatcherKey(OWN, "default"), DispatcherKey(OWN, "edge")} <= await player.waiting()
        assert player.reason() == "AllLogApis"
        await player.api.reconcile()
        assert await player.waiting() == set()

    run(scene())


def test_an_operator_that_just_began_says_what_was_said_before() -> None:
    async def scene() -> None:
        player = Player()
        words = {"status": "False", "reason": "LogApiNotReached", "message": "m", "observedGeneration": 1}
        before = {"type": "LogApiAvailable", "lastTransitionTime": "2026-01-01T00:00:00Z", **words}
        found = dispatcher("default", version=99, generation=99)
        player.context.observed.put(DISPATCHERS, {**found, "status": {"conditions": [before]}})
        assert player.reason() == "LogApiNotReached"
        await player.look()
        assert player.reason() == "NoLogApi"

    run(scene())


def test_what_the_api_server_refuses_is_said_and_tried_again() -> None:
    async def scene() -> None:
        player = Player()
        player.refuses = Denied("exceeded quota")
        with pytest.raises(Denied):
            await player.look()
        assert player.reason() == "NoLogApi"
        seen = player.context.dispatcher("default")
        assert seen is not None
        assert "exceeded quota" in player.api.condition(seen).message
        player.refuses = None
        await player.look()
        assert "exceeded quota" not in player.api.condition(seen).message

    run(scene())


def test_what_others_take_away_is_put_back_and_dispatchers_say_so() -> None:
    async def scene() -> None:
        player = Player()
        await player.look()
        live = player.context.own(DEPLOYMENTS, "hookline-api")
        assert live is not None
        player.version += 1
        gone = {**live, "metadata": {**live["metadata"], "resourceVersion": str(player.version)}}
        assert player.context.observed.remove(DEPLOYMENTS, gone) == {ApiKey()}
        assert await player.look() == ["Deployment hookline-api"]
        assert player.events == ["default PutBack"]

    run(scene())


def test_with_none_wanted_there_is_none_and_one_that_is_there_ends() -> None:
    async def scene() -> None:
        player = Player(replicas=0)
        assert not [each for each in await player.look() if "api" in each]
        assert player.reason() == "LogApiDisabled"
        assert (player.bundles, player.api_service.problem) == ([], "")

    run(scene())


def test_in_an_installation_for_one_namespace_it_waits_for_a_dispatcher_and_asks_for_no_api_service() -> None:
    async def scene() -> None:
        player = Player(watched=OWN)
        found = dispatcher("default", version=99)
        await player.look()
        assert (player.bundles, player.api_service.problem) == ([], "")
        player.ready(2)
        assert player.reason() == "AllLogApis"
        player.context.observed.remove(DISPATCHERS, found)
        player.writes.clear()
        await player.api.reconcile()
        assert player.writes == []

    run(scene())


def test_a_new_ca_is_told_to_kube_apiserver_at_once_and_both_while_one_follows_the_other() -> None:
    async def scene() -> None:
        player = Player()
        player.api_service_is()
        await player.authority.reconcile()
        assert ApiServiceKey() in await player.waiting()
        await player.api_service.reconcile()
        start = player.context.now()
        later = start + timedelta(days=250)
        player.context.now = lambda: later
        await player.authority.reconcile()
        assert ApiServiceKey() in await player.waiting()
        await player.api_service.reconcile()
        first, both = player.bundles
        assert both.startswith(first)
        assert both.count("BEGIN CERTIFICATE") == 2

    run(scene())


def test_whoever_insists_on_another_ca_is_not_fought() -> None:
    async def scene() -> None:
        player = Player()
        player.api_service_is()
        await player.look()
        written = []
        for _ in range(100):
            player.api_service_is(bundle="bWluZQ==")
            await asyncio.sleep(SOON_SECONDS)
            await player.api_service.reconcile()
            written.append(len(player.bundles))
        assert written[0] == 2, "the first time at once"
        assert 3 < written[-1] <= 2 + 100 * SOON_SECONDS / AGAIN_SECONDS

    run(scene())


@pytest.mark.parametrize(
    ("available", "seconds"), [("True", LOOK_SECONDS), ("False", SOON_SECONDS), ("", LOOK_SECONDS)]
)
def test_it_is_looked_at_without_any_news_and_sooner_while_it_is_not_reached(available: str, seconds: float) -> None:
    async def scene() -> None:
        player = Player()
        if available:
            player.api_service_is(available=available)
        await player.authority.reconcile()
        await player.waiting()
        await player.api_service.reconcile()
        await player.waiting()
        await asyncio.sleep(seconds - 1)
        assert ApiServiceKey() not in await player.waiting()
        await asyncio.sleep(2)
        assert ApiServiceKey() in await player.waiting()

    run(scene())


@pytest.mark.parametrize(
    ("given", "refuses", "words"),
    [
        ({"namespace": "elsewhere"}, None, "another installation"),
        ({"available": "False"}, None, "does not reach it (Said)"),
        (None, None, "there is no APIService"),
        ({}, Forbidden("are the shipped roles bound?"), "shipped roles"),
    ],
)
def test_why_people_do_not_reach_it_is_said(
    given: dict[str, str] | None, refuses: ClusterError | None, words: str
) -> None:
    async def scene() -> None:
        player = Player()
        await player.authority.reconcile()
        await player.api.reconcile()
        player.ready(2)
        if given is not None:
            player.api_service_is(**given)
        player.refuses = refuses
        await player.api_service.reconcile()
        assert ApiKey() in await player.waiting()
        seen = player.context.dispatcher("default")
        assert seen is not None
        found = player.api.condition(seen)
        assert (found.reason, words in found.message) == ("LogApiNotReached", True), found.message
        if given is None or "namespace" in given:
            assert player.bundles == []

    run(scene())


def test_its_certificate_is_among_the_secrets_that_are_watched() -> None:
    async def scene() -> None:
        player = Player()
        await player.look()
        assert player.context.own(SECRETS, "hookline-api-tls") is not None

    run(scene())
