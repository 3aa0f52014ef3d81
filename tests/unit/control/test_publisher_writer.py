"""What is written of publishers' tokens, and what is told, over a cluster that is played."""

from __future__ import annotations

import secrets
from typing import Any, cast

import pytest

from hookline.control.cluster import ClusterError, ClusterUnavailable, Conflict, Denied, Snapshot, Unjudged
from hookline.control.context import Context, Identity
from hookline.control.kinds import DISPATCHERS, PODS, PUBLISHERS, SECRETS, Kind, publishers_name
from hookline.control.publisher_writer import LOOK_SECONDS, PublisherWriter
from hookline.control.publishers import tokens_in
from hookline.control.work_keys import GatewayTouchKey, PublisherKey, PublishersKey
from unit.control.objects import OWN, Manifest, dispatcher, manifest, pod, publisher

TOKEN = secrets.token_hex(16)


class Stage:
    """The part of an operator that has to do with publishers, over what a cluster holds."""

    def __init__(self) -> None:
        self.objects: dict[str, Manifest] = {}
        self.writes: list[str] = []
        self.events: list[Any] = []
        self.names: set[str] = set()
        self.touched: dict[str, str] = {}
        self.refuses: set[str] = set()
        self.away: ClusterError | None = None
        self.version = 10
        self.now_s = 0.0
        self.begin()

    def begin(self) -> None:
        """An operator begins: all that it knows is what the cluster holds."""
        self.context = Context(cast(Any, self), Identity("op", OWN, "image"))
        self.writer = PublisherWriter(self.context, clock=lambda: self.now_s)
        for each in self.objects.values():
            self.context.observed.put(SECRETS, each)

    def put(self, kind: Kind, manifest: Manifest) -> None:
        self.version += 1
        manifest["metadata"]["resourceVersion"] = str(self.version)
        self.context.observed.put(kind, manifest)

    async def apply(self, _: Kind, manifest: Any) -> Any:
        name, version = manifest["metadata"]["name"], manifest["metadata"].get("resourceVersion")
        if name in self.refuses:
            raise Denied("exceeded quota")
        there = self.objects.get(name)
        if there is not None and version != there["metadata"]["resourceVersion"]:
            raise Conflict("another version")
        self.version += 1
        metadata = {**manifest["metadata"], "uid": name, "resourceVersion": str(self.version)}
        self.objects[name] = {**manifest, "metadata": metadata}
        self.writes.append(name)
        return self.objects[name]

    async def snapshot(self, _: Kind, __: str, *, labels: str) -> Snapshot:
        assert labels == "app.kubernetes.io/managed-by=hookline-operator"
        return Snapshot(list(self.objects.values()), self.version)

    async def create(self, _: Kind, event: Any) -> None:
        if self.away is not None:
            raise self.away
        if event["metadata"]["name"] in self.names:
            raise Conflict("it is there")
        self.names.add(event["metadata"]["name"])
        self.events.append(event)

    async def merge(self, kind: Kind, namespace: str, name: str, patch: Any) -> Any:
        assert (kind, namespace) == (PODS, OWN)
        (self.touched[name],) = patch["metadata"]["annotations"].values()
        found = pod(name, component="gateway", version=self.version)
        found["metadata"]["annotations"] = patch["metadata"]["annotations"]
        return found

    async def look(self) -> None:
        """As the workers do it, some time later."""
        self.now_s += 2 * LOOK_SECONDS
        await self.writer.reconcile()
        await self.work()

    async def work(self) -> None:
        queue = self.context.queue
        while len(queue):
            key = await queue.take()
            if isinstance(key, PublisherKey):
                await self.writer.tell((key.namespace, key.name))
            elif isinstance(key, GatewayTouchKey):
                await self.writer.touch(key.dispatcher)
            queue.done(key)

    def held(self, name: str = "default") -> set[str]:
        return {f"{each.namespace}/{each.secret}" for each in tokens_in(self.objects.get(publishers_name(name)))}

    def told(self) -> list[tuple[str, str]]:
        found = [(each["regarding"]["name"], each["reason"]) for each in self.events]
        self.events.clear()
        return found


@pytest.fixture
async def stage() -> Stage:
    found = Stage()
    found.put(DISPATCHERS, dispatcher())
    found.put(PUBLISHERS, publisher("ci", TOKEN))
    return found


async def test_each_dispatcher_has_its_secret_and_nothing_is_written_again(stage: Stage) -> None:
    stage.put(DISPATCHERS, dispatcher("edge"))
    stage.put(DISPATCHERS, dispatcher("foreign", namespace="team"))
    await stage.look()
    await stage.look()
    assert stage.writes == [publishers_name("default"), publishers_name("edge")]
    assert stage.held("edge") == {"team/ci"}
    stage.context.observed.remove(PUBLISHERS, publisher("ci", TOKEN, version=99))
    await stage.look()
    assert stage.held() == stage.held("edge") == set()


async def test_what_is_taken_away_counts_no_more_at_a_gateway_whose_dispatcher_is_not_understood(stage: Stage) -> None:
    stage.put(PUBLISHERS, publisher("other", secrets.token_hex(16)))
    await stage.look()
    stage.told()
    stage.put(DISPATCHERS, dispatcher("default", {"replicas": "many"}))
    await stage.look()
    assert (stage.held(), stage.told()) == ({"team/ci", "team/other"}, [])
    stage.context.observed.remove(PUBLISHERS, publisher("other", "", version=99))
    stage.put(PUBLISHERS, publisher("new", secrets.token_hex(16)))
    await stage.look()
    assert stage.held() == {"team/ci"}
    assert stage.told() == [("new", "PublisherRefused")]
    stage.put(DISPATCHERS, dispatcher())
    await stage.look()
    assert stage.held() == {"team/ci", "team/new"}


async def test_a_team_is_told_once_what_became_of_its_token_and_again_when_that_changes(stage: Stage) -> None:
    stage.put(PUBLISHERS, publisher("guessed", "x" * 40))
    await stage.look()
    (event,) = [each for each in stage.events if each["regarding"]["name"] == "guessed"]
    assert event["regarding"] == {
        "apiVersion": "v1",
        "kind": "Secret",
        "name": "guessed",
        "namespace": "team",
        "uid": "uid-of-guessed",
    }
    assert (event["metadata"]["namespace"], event["type"]) == ("team", "Warning")
    assert "can be guessed" in event["note"]
    assert sorted(stage.told()) == [("ci", "PublisherAccepted"), ("guessed", "PublisherRefused")]
    await stage.look()
    stage.put(PUBLISHERS, publisher("guessed", "x" * 40, annotations={"unrelated": "change"}))
    await stage.look()
    assert stage.told() == []
    stage.put(PUBLISHERS, publisher("guessed", secrets.token_hex(16)))
    await stage.look()
    assert stage.told() == [("guessed", "PublisherAccepted")]
    stage.put(PUBLISHERS, publisher("ci", TOKEN, uid="made-anew"))
    await stage.look()
    assert stage.told() == [("ci", "PublisherAccepted")]


@pytest.mark.parametrize("why", [ClusterUnavailable("no answer"), Unjudged("a policy does not answer")])
async def test_what_could_not_be_told_is_told_later_since_a_secret_has_no_status(
    why: ClusterError, stage: Stage
) -> None:
    stage.away = why
    await stage.look()
    assert stage.told() == []
    assert PublisherKey("team", "ci") in stage.context.queue._later
    stage.away = None
    await stage.writer.tell(("team", "ci"))
    assert stage.told() == [("ci", "PublisherAccepted")]
    await stage.writer.tell(("team", "ci"))
    assert stage.told() == []


async def test_an_operator_that_begins_tells_nobody_what_the_one_before_told(stage: Stage) -> None:
    refused = publisher("guessed", "x" * 40)
    stage.put(PUBLISHERS, refused)
    await stage.look()
    stage.told()
    stage.begin()
    stage.put(DISPATCHERS, dispatcher())
    stage.put(PUBLISHERS, publisher("ci", TOKEN))
    stage.context.observed.put(PUBLISHERS, refused)
    stage.put(PUBLISHERS, publisher("new", secrets.token_hex(16)))
    await stage.look()
    assert stage.told() == [("new", "PublisherAccepted")]


async def test_one_dispatcher_that_is_refused_holds_up_no_other_and_a_token_is_accepted_once_it_is_written(
    stage: Stage,
) -> None:
    stage.put(DISPATCHERS, dispatcher("edge"))
    stage.put(PUBLISHERS, publisher("guessed", "x" * 40))
    stage.refuses = {publishers_name("default")}
    with pytest.raises(Denied):
        await stage.look()
    await stage.work()
    assert stage.held("edge") == {"team/ci"}
    assert stage.told() == [("guessed", "PublisherRefused")]
    stage.refuses.clear()
    await stage.look()
    assert stage.told() == [("ci", "PublisherAccepted")]


async def test_what_a_successor_wrote_is_not_overwritten_but_read(stage: Stage) -> None:
    await stage.look()
    there = stage.objects[publishers_name("default")]
    stage.objects[publishers_name("default")] = {**there, "metadata": {**there["metadata"], "resourceVersion": "99"}}
    stage.version = 100
    stage.context.observed.remove(PUBLISHERS, publisher("ci", TOKEN, version=99))
    with pytest.raises(Conflict):
        await stage.look()
    assert stage.held() == {"team/ci"}
    await stage.look()
    assert stage.held() == set()


async def test_many_changes_cost_one_look_in_a_while(stage: Stage) -> None:
    await stage.look()
    stage.put(PUBLISHERS, publisher("other", secrets.token_hex(16)))
    await stage.writer.reconcile()
    assert stage.held() == {"team/ci"}
    assert PublishersKey() in stage.context.queue._later
    stage.context.queue.add(PublishersKey())
    await stage.look()
    assert stage.held() == {"team/ci", "team/other"}


async def test_gateway_pods_are_touched_once_for_each_write_and_no_others(stage: Stage) -> None:
    stage.put(PODS, pod("sender"))
    stage.put(PODS, pod("gateway", component="gateway"))
    stage.put(PODS, pod("of-edge", "edge", component="gateway"))
    await stage.look()
    assert stage.touched.keys() == {"gateway"}
    first = stage.touched.pop("gateway")
    await stage.look()
    assert stage.touched == {}
    stage.put(PUBLISHERS, publisher("other", secrets.token_hex(16)))
    await stage.look()
    second = stage.touched.pop("gateway")
    assert second != first
    stage.put(SECRETS, manifest(SECRETS, "hookline-gateway-tls-default", namespace=OWN))
    await stage.writer.touch("default")
    assert stage.touched.keys() == {"gateway"}, "of another certificate"
    assert stage.touched["gateway"] != second


async def test_an_operator_that_begins_touches_pods_for_which_the_one_before_did_not_live_to(stage: Stage) -> None:
    await stage.look()
    stage.begin()
    stage.put(DISPATCHERS, dispatcher())
    stage.put(PUBLISHERS, publisher("ci", TOKEN))
    stage.put(PODS, pod("fresh", component="gateway"))
    await stage.look()
    assert stage.touched == {}, "it has begun with what is there"
    late = pod("late", component="gateway")
    late["metadata"]["annotations"] = {"hookline.dev/book": "former"}
    stage.put(PODS, late)
    await stage.look()
    assert "late" in stage.touched
