"""What is written of the CA, its certificates and its bundles, over a cluster that is played, in time of its own."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from hookline.control.api_workload import ApiSettings
from hookline.control.authority import Home
from hookline.control.authority_writer import CLOCK_SECONDS, LOOK_SECONDS, AuthorityWriter
from hookline.control.bundle_writer import BUNDLE_SECONDS, BundleWriter, again_seconds
from hookline.control.cluster import ClusterError, ClusterUnavailable, Conflict, Denied, Snapshot
from hookline.control.context import Context, Identity
from hookline.control.kinds import CONFIG_MAPS, DISPATCHERS, NAMESPACES, SECRETS, Kind
from hookline.control.work_keys import ApiKey, ApiServiceKey, AuthorityKey, BundlesKey, DispatcherKey, GatewayTouchKey
from hookline.resources.base import CA_LABEL
from unit.control.clock import run
from unit.control.objects import OWN, Manifest, dispatcher, manifest

CA, TLS, API_TLS = "hookline-ca", "hookline-gateway-tls-default", "hookline-api-tls"
DAY = timedelta(days=1)

Place = tuple[str, str, str]
"""Kind, namespace, name."""


class Stage:
    """A cluster, as far as this is about, that several operators may see."""

    def __init__(self) -> None:
        self.objects: dict[Place, Manifest] = {}
        self.writes: list[str] = []
        self.events: list[tuple[str, str]] = []
        self.refuses: dict[str, ClusterError] = {}
        """By namespace/name."""
        self.version = 10
        self.clock_ahead = timedelta()
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def store(self, kind: Kind, found: Manifest) -> Manifest:
        self.version += 1
        metadata = found["metadata"]
        place = kind.name, metadata["namespace"], metadata["name"]
        there = self.objects.get(place, {"metadata": {"uid": f"uid-{self.version}"}, "data": {}})
        uid = metadata.get("uid", there["metadata"]["uid"])
        data = {**(there.get("data") or {}), **(found.get("data") or {})}
        labels = {**there["metadata"].get("labels", {}), **metadata.get("labels", {})}
        kept = {**metadata, "uid": uid, "labels": labels, "resourceVersion": str(self.version)}
        self.objects[place] = {**there, **found, "metadata": kept, "data": data}
        return self.objects[place]

    async def apply(self, kind: Kind, found: Manifest) -> Manifest:
        metadata = found["metadata"]
        name = f"{metadata['namespace']}/{metadata['name']}"
        if name in self.refuses:
            raise self.refuses[name]
        there = self.objects.get((kind.name, metadata["namespace"], metadata["name"]))
        if there is None and "uid" in metadata:
            raise Conflict("it is gone")
        for key in ("uid", "resourceVersion"):
            if there is not None and metadata.get(key, there["metadata"][key]) != there["metadata"][key]:
                raise Conflict(f"another {key}")
        self.writes.append(f"{kind.name} {name}")
        return self.store(kind, found)

    async def create(self, kind: Kind, found: Manifest) -> Manifest:
        metadata = found["metadata"]
        if kind.name == "Event":
            self.events.append((metadata["namespace"], found["reason"]))
            return found
        if (kind.name, metadata["namespace"], metadata["name"]) in self.objects:
            raise Conflict("it is there")
        return await self.apply(kind, found)

    async def snapshot(self, kind: Kind, namespace: str, *, labels: str) -> Snapshot:
        key, _, value = labels.partition("=")
        found = [
            each
            for place, each in self.objects.items()
            if place[:2] == (kind.name, namespace) and each["metadata"]["labels"].get(key) == value
        ]
        return Snapshot(found, self.version)

    def text(self, kind: Kind, name: str, key: str, namespace: str = OWN) -> str:
        return str(self.objects.get((kind.name, namespace, name), {}).get("data", {}).get(key, ""))

    def written(self) -> list[str]:
        found = self.writes[:]
        self.writes.clear()
        return found


class Player:
    """An operator."""

    def __init__(self, stage: Stage, *, api: int = 0, **spec: Any) -> None:
        self.stage = stage
        identity = Identity("op", OWN, "image", api=ApiSettings(api))
        self.context = Context(cast(Any, stage), identity, now=lambda: stage.now)
        self.writer = AuthorityWriter(self.context, Home(OWN))
        self.bundles = BundleWriter(self.context, Home(OWN))
        self.dispatcher("default", **spec)
        self.see()

    def dispatcher(self, name: str, **spec: Any) -> None:
        self.stage.version += 1
        self.context.observed.put(
            DISPATCHERS, dispatcher(name, spec, version=self.stage.version, generation=self.stage.version)
        )

    def asks(self, *namespaces: str, data: Any = None, name: str = CA) -> None:
        """Teams apply their ConfigMaps, and it hears of them."""
        for each in namespaces:
            found = manifest(CONFIG_MAPS, name, namespace=each, labels={CA_LABEL: "true"})
            del found["metadata"]["uid"]
            self.context.observed.put(CONFIG_MAPS, self.stage.store(CONFIG_MAPS, {**found, "data": data}))

    def see(self) -> None:
        """Its watches catch up."""
        for (kind, _, _), each in self.stage.objects.items():
            self.context.observed.put(SECRETS if kind == "Secret" else CONFIG_MAPS, each)

    def lose(self, kind: Kind, name: str, namespace: str = OWN) -> None:
        """Somebody deletes an object, and it hears of it."""
        self.stage.version += 1
        found = self.stage.objects.pop((kind.name, namespace, name))
        gone = {**found, "metadata": {**found["metadata"], "resourceVersion": str(self.stage.version)}}
        self.context.observed.remove(kind, gone)

    async def work(self) -> None:
        """Whatever waits is done, as workers do it."""
        queue = self.context.queue
        while len(queue):
            key = await queue.take()
            if key == AuthorityKey():
                await self.writer.reconcile()
            elif key == BundlesKey():
                await self.bundles.reconcile()
            queue.done(key)

    async def look(self) -> list[str]:
        """What a look at everything writes."""
        self.context.add([AuthorityKey(), BundlesKey()])
        await self.work()
        return self.stage.written()

    def condition(self, name: str = "default") -> tuple[str, str] | None:
        seen = self.context.dispatcher(name)
        assert seen is not None
        found = self.writer.conditions(seen)
        return (found[0].reason, found[0].message) if found else None


def played(scene: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def test() -> None:
        run(scene())

    test.__name__, test.__doc__ = scene.__name__, scene.__doc__
    return test


@played
async def test_a_new_installation_gets_a_ca_a_certificate_and_bundles_and_then_nothing_is_written() -> None:
    player = Player(Stage())
    player.asks("team-a", "team-b")
    assert await player.look() == [
        f"Secret {OWN}/{CA}",
        f"Secret {OWN}/{TLS}",
        f"ConfigMap {OWN}/{CA}",
        f"ConfigMap team-a/{CA}",
        f"ConfigMap team-b/{CA}",
    ]
    assert player.condition() == ("Issued", "the gateway shows a certificate of the installation's CA")
    assert await player.look() == []
    second = Player(player.stage)
    assert second.condition() == player.condition()
    assert await second.look() == []


@played
async def test_a_dispatcher_is_looked_at_and_its_pods_are_touched_when_its_gateway_gets_a_certificate() -> None:
    player = Player(Stage())
    await player.writer.reconcile()
    waiting = set()
    while len(player.context.queue):
        waiting.add(key := await player.context.queue.take())
        player.context.queue.done(key)
    assert waiting == {BundlesKey(), ApiServiceKey(), DispatcherKey(OWN, "default"), GatewayTouchKey("default")}


@played
async def test_what_becomes_old_is_looked_for_without_any_news() -> None:
    player = Player(Stage())
    await player.look()
    player.stage.now += 61 * DAY
    await asyncio.sleep(LOOK_SECONDS + 1)
    await player.work()
    assert player.stage.written() == [f"Secret {OWN}/{TLS}"]


@played
async def test_a_new_ca_is_in_every_bundle_a_month_before_anything_is_signed_by_it() -> None:
    player = Player(Stage())
    player.asks("team")
    await player.look()
    since: dict[bytes, datetime] = {}
    """When a CA was first in the team's bundle."""
    for _ in range(80):
        bundle = player.stage.text(CONFIG_MAPS, CA, "ca.crt", "team").encode()
        for each in x509.load_pem_x509_certificates(bundle):
            since.setdefault(each.fingerprint(SHA256()), player.stage.now)
        player.stage.now += 7 * DAY
        await player.look()
        signs = x509.load_pem_x509_certificate(base64.b64decode(player.stage.text(SECRETS, CA, "ca.crt")))
        known = player.stage.now - since[signs.fingerprint(SHA256())]
        assert known >= 28 * DAY or len(since) == 1
    assert len(since) == 3


@played
async def test_a_former_leader_cannot_put_an_older_ca_over_a_newer_one() -> None:
    stage = Stage()
    former = Player(stage)
    await former.look()
    leader = Player(stage)
    stage.now += 250 * DAY
    await leader.look()
    before = stage.text(SECRETS, CA, "next.crt")
    assert before
    with pytest.raises(Conflict):
        await former.writer.reconcile()
    former.see()
    assert await former.look() == []
    assert stage.text(SECRETS, CA, "next.crt") == before


@pytest.mark.parametrize("ahead", [-200 * DAY, 2 * DAY, 400 * DAY])
def test_by_a_clock_that_is_wrong_nothing_is_made_and_that_is_said(ahead: timedelta) -> None:
    async def scene() -> None:
        player = Player(Stage())
        await player.look()
        stage = player.stage
        stage.now, stage.clock_ahead = stage.now + ahead, ahead
        assert await player.look() == []
        reason, words = player.condition() or ("", "")
        assert reason == "NotIssued"
        assert f"{abs(ahead).days} days {'behind' if ahead < timedelta() else 'ahead of'}" in words
        stage.now, stage.clock_ahead = stage.now - ahead, DAY
        await asyncio.sleep(CLOCK_SECONDS + 1)
        await player.work()
        assert stage.written() == []
        assert (player.condition() or ("",))[0] == "Issued"

    run(scene())


@played
async def test_of_two_that_begin_at_once_one_makes_the_ca() -> None:
    stage = Stage()
    one, other = Player(stage), Player(stage)
    await one.writer.reconcile()
    made = stage.text(SECRETS, CA, "ca.crt")
    with pytest.raises(Conflict, match="it is there"):
        await other.writer.reconcile()
    await other.look()
    assert stage.text(SECRETS, CA, "ca.crt") == made


@played
async def test_a_ca_that_was_deleted_does_not_come_back_from_a_former_leader() -> None:
    stage = Stage()
    former, leader = Player(stage), Player(stage)
    await leader.look()
    former.see()
    leaked = stage.text(SECRETS, CA, "ca.crt")
    leader.lose(SECRETS, CA)
    stage.now += 250 * DAY
    with pytest.raises(Conflict):
        await former.writer.reconcile()
    assert stage.text(SECRETS, CA, "ca.crt") == ""
    await leader.look()
    assert leaked not in (stage.text(SECRETS, CA, "ca.crt"), "")


@played
async def test_a_secret_that_somebody_else_made_is_neither_used_nor_replaced_and_that_is_said() -> None:
    stage = Stage()
    stage.store(SECRETS, {"metadata": {"namespace": OWN, "name": CA}, "data": {"ca.crt": "dGhlaXJz"}})
    theirs = stage.objects.pop(("Secret", OWN, CA))
    player = Player(stage)
    stage.objects["Secret", OWN, CA] = theirs  # without the label that the operator asks by
    player.asks("team")
    with pytest.raises(Conflict, match="delete it"):
        await player.writer.reconcile()
    assert await _quietly(player) == []
    reason, message = player.condition() or ("", "")
    assert (reason, "delete it" in message) == ("NotIssued", True)
    stage.objects.pop(("Secret", OWN, CA))
    assert len(await player.look()) == 4
    assert (player.condition() or ("",))[0] == "Issued"


@played
async def test_a_thousand_namespaces_are_written_once_each_and_not_all_at_once() -> None:
    player = Player(Stage())
    teams = [f"team-{number:03}" for number in range(1000)]
    player.asks(*teams)
    loop = asyncio.get_running_loop()
    for _ in range(2):
        began_s = loop.time()
        assert sum(each.startswith("ConfigMap team-") for each in await player.look()) == len(teams)
        assert loop.time() - began_s > (len(teams) - 1) * BUNDLE_SECONDS
        assert await player.look() == []
        player.lose(SECRETS, CA)


@played
async def test_a_config_map_that_is_refused_holds_up_no_other_and_is_tried_ever_more_seldom() -> None:
    player = Player(Stage())
    stage = player.stage
    player.asks("a", "b", "c")
    stage.refuses[f"b/{CA}"] = Denied("denied the request")
    written = await player.look()
    assert [each for each in written if "/" + CA in each and OWN not in each] == [
        f"ConfigMap a/{CA}",
        f"ConfigMap c/{CA}",
    ]
    assert stage.events == [("b", "Refused")]
    assert await player.look() == []
    await asyncio.sleep(again_seconds(1) + 1)
    await player.work()
    assert stage.events == [("b", "Refused")] * 2
    stage.refuses.clear()
    await asyncio.sleep(again_seconds(1) + 1)
    assert await player.look() == []
    await asyncio.sleep(again_seconds(2))
    await player.work()
    assert stage.written() == [f"ConfigMap b/{CA}"]
    assert len(stage.events) == 2


@pytest.mark.parametrize("namespace", ["team", OWN])
def test_what_others_write_is_put_back_at_once_and_then_ever_more_seldom(namespace: str) -> None:
    async def scene() -> None:
        player = Player(Stage())
        player.asks("team")
        await player.look()
        bundle = player.stage.text(CONFIG_MAPS, CA, "ca.crt", namespace)
        waits = []
        for _ in range(10):
            player.asks(namespace, data={"ca.crt": "theirs"})
            began_s = asyncio.get_running_loop().time()
            await player.look()
            while player.stage.text(CONFIG_MAPS, CA, "ca.crt", namespace) != bundle:
                await asyncio.sleep(10)
                await player.work()
            waits.append(round((asyncio.get_running_loop().time() - began_s) / 60))
        assert waits == [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]
        assert player.stage.events == [(namespace, "PutBack")] * 10
        player.asks(namespace, data={"ca.crt": "theirs"})
        player.lose(SECRETS, CA)
        await player.look()
        assert player.stage.text(CONFIG_MAPS, CA, "ca.crt", namespace) not in ("theirs", bundle)

    run(scene())


@played
async def test_a_config_map_that_is_made_anew_is_filled_at_once_however_often() -> None:
    player = Player(Stage())
    player.asks("team")
    await player.look()
    for _ in range(5):
        player.lose(CONFIG_MAPS, CA, "team")
        player.asks("team")
        assert await player.look() == [f"ConfigMap team/{CA}"]
    assert player.stage.events == []


@played
async def test_a_config_map_that_goes_while_others_are_filled_is_passed_over() -> None:
    player = Player(Stage())
    player.asks("a", "b", "c")
    await player.writer.reconcile()
    filling = asyncio.create_task(player.work())
    await asyncio.sleep(BUNDLE_SECONDS / 2)
    player.lose(CONFIG_MAPS, CA, "b")
    await filling
    assert [each for each in player.stage.written() if "Map" in each and OWN not in each] == [
        f"ConfigMap a/{CA}",
        f"ConfigMap c/{CA}",
    ]


@played
async def test_a_config_map_that_is_gone_or_not_served_or_of_another_name_gets_nothing() -> None:
    selector = {"from": "Selector", "selector": {"matchLabels": {"hooks": "yes"}}}
    player = Player(Stage(), servedNamespaces=selector)
    player.asks("served", "other")
    player.asks("served", name="another")
    labels: dict[str, Any] = {"labels": {"hooks": "yes"}}
    player.context.observed.put(NAMESPACES, manifest(NAMESPACES, "served", version=99, **labels))
    player.stage.objects.pop(("ConfigMap", "served", CA))  # it has not heard of that yet
    assert [each for each in await player.look() if OWN not in each] == []
    player.asks("served")
    assert await player.look() == [f"ConfigMap served/{CA}"]
    assert player.context.observed.put(NAMESPACES, manifest(NAMESPACES, "other", version=100, **labels)) == {
        BundlesKey()
    }
    assert await player.look() == [f"ConfigMap other/{CA}"]
    assert player.stage.events == []


@pytest.mark.parametrize(
    ("gateway", "condition"),
    [({"enabled": False}, None), ({"tls": {"secretRef": {"name": "mine"}}}, "OwnCertificate")],
)
def test_where_no_gateway_needs_one_there_is_no_ca(gateway: dict[str, Any], condition: str | None) -> None:
    async def scene() -> None:
        player = Player(Stage(), gateway=gateway)
        player.asks("team")
        assert await player.look() == []
        assert (player.condition() or (None,))[0] == condition
        player.dispatcher("edge")
        assert f"Secret {OWN}/hookline-gateway-tls-edge" in await player.look()
        assert player.stage.text(SECRETS, TLS, "tls.crt") == ""

    run(scene())


@played
async def test_the_logs_api_has_a_certificate_for_the_name_that_kube_apiserver_calls() -> None:
    player = Player(Stage(), api=2, gateway={"enabled": False})
    player.asks("team")
    # The CA is there for it alone, and teams need none.
    assert await player.look() == [f"Secret {OWN}/{CA}", f"Secret {OWN}/{API_TLS}", f"ConfigMap {OWN}/{CA}"]
    shown = x509.load_pem_x509_certificate(base64.b64decode(player.stage.text(SECRETS, API_TLS, "tls.crt")))
    names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert f"hookline-api.{OWN}.svc" in names.get_values_for_type(x509.DNSName)
    assert player.writer.problem_of_api == ""
    assert await player.look() == []
    player.stage.now += 61 * DAY
    assert await player.look() == [f"Secret {OWN}/{API_TLS}"]


@played
async def test_why_the_logs_api_gets_no_certificate_is_told_and_its_pods_are_looked_at() -> None:
    player = Player(Stage(), api=2)
    player.stage.refuses[f"{OWN}/{API_TLS}"] = Denied("exceeded quota")
    with pytest.raises(Denied):
        await player.writer.reconcile()
    assert player.writer.problem_of_api == "exceeded quota"
    assert (player.condition() or ("",))[0] == "Issued"
    player.stage.refuses.clear()
    await player.writer.reconcile()
    assert player.writer.problem_of_api == ""
    waiting = set()
    while len(player.context.queue):
        waiting.add(key := await player.context.queue.take())
        player.context.queue.done(key)
    assert ApiKey() in waiting


@played
async def test_a_certificate_that_is_refused_holds_up_no_other_and_that_is_said() -> None:
    player = Player(Stage())
    player.dispatcher("edge")
    player.stage.refuses[f"{OWN}/{TLS}"] = Denied("exceeded quota")
    with pytest.raises(Denied):
        await player.writer.reconcile()
    assert f"Secret {OWN}/hookline-gateway-tls-edge" in player.stage.written()
    assert player.condition() == ("NotIssued", "the gateway gets no certificate: exceeded quota")
    assert (player.condition("edge") or ("",))[0] == "Issued"
    player.stage.refuses.clear()
    await player.look()
    assert (player.condition() or ("",))[0] == "Issued"


@played
async def test_a_certificate_that_is_there_counts_while_no_new_one_can_be_made_and_that_is_said() -> None:
    player = Player(Stage())
    await player.look()
    before = player.stage.text(SECRETS, TLS, "tls.crt")
    player.stage.refuses[f"{OWN}/{TLS}"] = Denied("field is immutable")
    player.stage.now += 61 * DAY
    with pytest.raises(Denied):
        await player.writer.reconcile()
    assert player.stage.text(SECRETS, TLS, "tls.crt") == before
    assert (player.condition() or ("",))[0] == "NotIssued"


@played
async def test_while_the_api_server_is_away_it_is_not_asked_for_one_after_the_other() -> None:
    player = Player(Stage())
    player.asks("a", "b")
    await player.look()
    player.lose(SECRETS, CA)
    player.stage.refuses |= {f"{each}/{CA}": ClusterUnavailable("no answer") for each in ("a", "b")}
    with pytest.raises(ClusterUnavailable):
        await player.look()
    assert player.stage.events == []


@played
async def test_a_config_map_whose_write_gets_no_answer_is_tried_after_all_others() -> None:
    player = Player(Stage())
    stage = player.stage
    player.asks("a", "b", "c")
    stage.refuses |= {f"{each}/{CA}": ClusterUnavailable("a policy hangs") for each in ("a", "b")}
    await player.writer.reconcile()
    stage.writes.clear()
    for last in ([], [], [f"ConfigMap c/{CA}"]):
        with pytest.raises(ClusterUnavailable):
            await player.bundles.reconcile()
        assert [each for each in stage.written() if OWN not in each] == last
    stage.refuses.clear()
    assert [each for each in await player.look() if OWN not in each] == [f"ConfigMap a/{CA}", f"ConfigMap b/{CA}"]


@played
async def test_a_dispatcher_that_is_made_anew_owns_the_certificate_that_is_there() -> None:
    player = Player(Stage())
    await player.look()
    before = player.stage.text(SECRETS, TLS, "tls.crt")
    player.stage.version += 1
    anew = dispatcher("default", uid="made-anew", version=player.stage.version)
    player.context.observed.put(DISPATCHERS, anew)
    assert await player.look() == [f"Secret {OWN}/{TLS}"]
    (owner,) = player.stage.objects["Secret", OWN, TLS]["metadata"]["ownerReferences"]
    assert (owner["uid"], player.stage.text(SECRETS, TLS, "tls.crt")) == ("made-anew", before)
    assert await player.look() == []


@played
async def test_what_others_add_to_the_secret_with_the_ca_stays_and_nothing_is_written_for_it() -> None:
    player = Player(Stage())
    await player.look()
    player.stage.objects["Secret", OWN, CA]["data"]["note"] = base64.b64encode(b"theirs").decode()
    player.stage.store(SECRETS, player.stage.objects["Secret", OWN, CA])
    player.see()
    assert await player.look() == []


@played
async def test_a_secret_of_another_type_keeps_it_since_nobody_could_change_that() -> None:
    player = Player(Stage())
    await player.look()
    player.stage.objects["Secret", OWN, TLS] |= {"type": "Opaque", "data": {"tls.crt": "no base64!"}}
    player.stage.store(SECRETS, player.stage.objects["Secret", OWN, TLS])
    player.see()
    assert await player.look() == [f"Secret {OWN}/{TLS}"]
    assert player.stage.objects["Secret", OWN, TLS]["type"] == "Opaque"


@played
async def test_no_log_line_and_no_condition_holds_a_key() -> None:
    with structlog.testing.capture_logs() as lines:
        player = Player(Stage())
        player.asks("team")
        await player.look()
        player.stage.objects["Secret", OWN, CA]["data"]["ca.key"] = "Y2FuYXJ5"
        player.stage.store(SECRETS, player.stage.objects["Secret", OWN, CA])
        player.see()
        await player.look()
    assert any("could not be used" in each["event"] for each in lines)
    told = repr([lines, player.condition(), player.stage.events, player.context.observed.asking])
    for each in ("ca.key", "next.key"):
        key = player.stage.text(SECRETS, CA, each)
        assert not key or key not in told
    assert "PRIVATE" not in told
    assert "Y2FuYXJ5" not in told


async def _quietly(player: Player) -> list[str]:
    player.context.add([BundlesKey()])
    await player.work()
    return player.stage.written()
