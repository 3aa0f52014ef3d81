from __future__ import annotations

import asyncio
import copy
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from doubles.books import route as route_of
from hookline.control import webhooks as webhooks_module
from hookline.control.cluster import Cluster, ClusterError, ClusterUnavailable, Conflict, Forbidden
from hookline.control.context import Context, Identity
from hookline.control.desired_book import Change, DesiredBook, root_manifest
from hookline.control.fleet import Fleet
from hookline.control.kinds import CONFIG_MAPS, DISPATCHERS, EVENT_TYPES, SECRETS, WEBHOOKS, Kind
from hookline.control.sender_reports import Report
from hookline.control.status import Failing
from hookline.control.webhooks import FULL_SECONDS, PATIENCE_SECONDS, Webhooks
from hookline.control.work_keys import Key, RoomKey, ShardKey, WebhookKey
from hookline.delivery.policy.retry import Reason
from hookline.routing.book_files import digest_of, encode_shard, routes_file
from hookline.routing.routes import (
    BOOK_SHARDS,
    MAX_RETIRED_KEYS,
    ROTATION_SECONDS,
    DispatcherRecord,
    Keys,
    Route,
    RouteState,
    index_file,
    shard_of,
    shard_with,
)
from hookline.routing.signing import public_key
from unit.control import clock
from unit.control.objects import OWN, Manifest, dispatcher, event_type, secret, webhook

CANARY = "canary-c41d"
WHSECS = [f"whsec_{letter * 43}=" for letter in "ABCDEFGH"]
SIGNED = {"secretRef": {"name": "keys"}}
PLACE = ("team", "hook")
FAILING = {"uid-of-hook": Failing("2026-01-01T00:00:00Z", Reason.HTTP_STATUS, 500)}
GONE = {"uid-of-hook": Failing("2026-01-01T00:00:00Z", Reason.GONE, 410, gone=True)}


class Api(Cluster):
    """Takes statuses and Events as the API server does: a status only for the version that it names."""

    def __init__(self) -> None:
        self.version = 100
        self.objects: dict[tuple[str, str], Manifest] = {}
        self.writes: list[tuple[str, str, Manifest]] = []
        self.refuses: dict[str, ClusterError] = {}

    def next_version(self) -> int:
        self.version += 1
        return self.version

    async def apply(self, kind: Kind, manifest: Manifest, *, subresource: str | None = None) -> Manifest:
        assert (kind, subresource) == (WEBHOOKS, "status")
        return self._write("apply", kind, manifest)

    async def create(self, kind: Kind, manifest: Manifest) -> Manifest:
        return self._write("create", kind, manifest)

    def _write(self, verb: str, kind: Kind, manifest: Manifest) -> Manifest:
        self.writes.append((verb, kind.name, copy.deepcopy(manifest)))
        if verb in self.refuses:
            raise self.refuses[verb]
        if verb == "create":
            return manifest
        there = self.objects[manifest["metadata"]["namespace"], manifest["metadata"]["name"]]
        if any(there["metadata"][name] != manifest["metadata"][name] for name in ("uid", "resourceVersion")):
            raise Conflict("another version")
        there["status"] = copy.deepcopy(manifest["status"])
        there["metadata"]["resourceVersion"] = str(self.next_version())
        return copy.deepcopy(there)


class Stage:
    """An operator's Webhooks with all that is around them; time passes when a test says so."""

    def __init__(self, *dispatchers: str) -> None:
        self.api = Api()
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.context = Context(self.api, Identity("op", OWN, "image"), now=lambda: self.now)
        self.webhooks = Webhooks(self.context)
        self.shards: set[Key] = set()
        """What was to be written since it was last looked at."""
        for name in dispatchers or ("default",):
            self.put(DISPATCHERS, dispatcher(name))
            self.context.fleets[name] = Fleet(name)

    @property
    def fleet(self) -> Fleet:
        return self.context.fleets["default"]

    def put(self, kind: Kind, manifest: Manifest) -> None:
        """Somebody writes an object, and the watch tells."""
        manifest["metadata"]["resourceVersion"] = str(self.api.next_version())
        if kind is WEBHOOKS:
            place = (manifest["metadata"]["namespace"], manifest["metadata"]["name"])
            there = self.api.objects.get(place, {})
            if there.get("metadata", {}).get("uid") == manifest["metadata"]["uid"] and "status" in there:
                manifest["status"] = there["status"]
            self.api.objects[place] = manifest
        self.context.add(self.context.observed.put(kind, copy.deepcopy(manifest)))

    def delete(self, kind: Kind, manifest: Manifest) -> None:
        manifest["metadata"]["resourceVersion"] = str(self.api.next_version())
        self.context.add(self.context.observed.remove(kind, manifest))

    async def work(self) -> None:
        """Everything that is to be done now."""
        queue = self.context.queue
        while len(queue):
            key = await queue.take()
            match key:
                case WebhookKey(namespace, name):
                    await self.webhooks.reconcile((namespace, name))
                case RoomKey(dispatcher):
                    self.webhooks.try_again(dispatcher)
                case ShardKey(dispatcher, shard):
                    self.shards.add(key)
                    fleet = self.context.fleets.get(dispatcher)
                    assert fleet is None or fleet.book.files(shard)
            queue.done(key)

    async def load(self, *, failing: dict[str, Failing] | None = None) -> None:
        """Every sender loads what was written, and says so."""
        await self.work()
        for fleet in self.context.fleets.values():
            served = {
                index_file(number): digest_of(fleet.book.files(number)[index_file(number)])
                for number in fleet.book.shards()
            }
            for uid in fleet.take_reports({"one": Report(served, failing or {})}):
                route = fleet.book.route(uid)
                assert route is not None
                self.context.queue.add(WebhookKey(route.namespace, route.name))
        await self.work()

    def conditions(self, place: tuple[str, str] = PLACE) -> dict[str, tuple[str, str]]:
        status = self.api.objects[place].get("status") or {"conditions": []}
        return {each["type"]: (each["status"], each["reason"]) for each in status["conditions"]}

    def without_room(self, *, before: bool) -> int:
        return self.webhooks.without_room(called=before)

    @property
    def events(self) -> list[Manifest]:
        return [manifest for verb, _, manifest in self.api.writes if verb == "create"]

    def route(self, uid: str = "uid-of-hook") -> Route:
        route = self.fleet.book.route(uid)
        assert route is not None
        return route

    def keys(self, uid: str = "uid-of-hook") -> Keys:
        keys = self.fleet.book.keys(uid)
        assert keys is not None
        return keys


WELL = {
    "Accepted": ("True", "Accepted"),
    "SecretsResolved": ("True", "Resolved"),
    "Programmed": ("True", "Programmed"),
    "Ready": ("True", "Ready"),
    "Delivering": ("True", "Delivering"),
}
UNSIGNED = {**WELL, "SecretsResolved": ("True", "Unsigned")}


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Statuses are written at once, but where a test is about waiting."""
    monkeypatch.setattr(webhooks_module, "PATIENCE_SECONDS", 0.0)


def signed_stage() -> Stage:
    stage = Stage()
    stage.put(SECRETS, secret("keys", {"secret": WHSECS[0].encode()}))
    stage.put(WEBHOOKS, webhook(spec=SIGNED))
    return stage


async def test_a_webhook_with_its_secret_becomes_ready_once_senders_serve_it() -> None:
    stage = signed_stage()
    await stage.work()
    assert stage.conditions()["Programmed"] == ("False", "NoSenders")
    assert stage.conditions()["Ready"] == ("False", "NoSenders")
    await stage.load()
    assert stage.conditions() == WELL
    assert (stage.route().state, stage.keys().signing) == (RouteState.ACTIVE, WHSECS[0])
    assert stage.shards == {stage.fleet.shard_key("uid-of-hook")}


async def test_a_second_look_at_an_unchanged_cluster_writes_nothing() -> None:
    stage = signed_stage()
    await stage.load()
    stage.api.writes.clear()
    stage.shards.clear()
    for _ in range(2):
        stage.now += timedelta(hours=1)
        stage.context.add(stage.context.observed.all_keys())
        await stage.load()
    assert (stage.api.writes, stage.shards) == ([], set())


async def test_an_operator_that_begins_anew_writes_nothing_when_all_is_as_it_should_be() -> None:
    before = signed_stage()
    await before.load()
    stage = Stage()
    for number in before.fleet.book.shards():
        stage.fleet.book.load(number, before.fleet.book.files(number))
    stage.put(SECRETS, secret("keys", {"secret": WHSECS[0].encode()}))
    stage.put(WEBHOOKS, copy.deepcopy(before.api.objects[PLACE]))
    await stage.work()
    assert (stage.api.writes, stage.shards) == ([], set())


async def test_what_a_former_operator_wrote_and_did_not_see_served_is_awaited() -> None:
    before = signed_stage()
    await before.work()
    stage = Stage()
    for number in before.fleet.book.shards():
        stage.fleet.book.load(number, before.fleet.book.files(number))
    stage.put(SECRETS, secret("keys", {"secret": WHSECS[0].encode()}))
    stage.put(WEBHOOKS, copy.deepcopy(before.api.objects[PLACE]))
    await stage.work()
    assert stage.conditions()["Programmed"] == ("False", "NoSenders")
    assert stage.shards == {stage.fleet.shard_key("uid-of-hook")}
    await stage.load()
    assert stage.conditions() == WELL


def test_senders_get_a_moment_before_a_status_says_pending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks_module, "PATIENCE_SECONDS", PATIENCE_SECONDS)

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(time, "monotonic", loop.time)
        stage = signed_stage()
        await stage.work()
        assert stage.api.writes == []
        await asyncio.sleep(PATIENCE_SECONDS - 0.1)
        await stage.work()
        assert stage.api.writes == []
        await asyncio.sleep(0.2)
        await stage.work()
        assert stage.conditions()["Programmed"] == ("False", "NoSenders")

    clock.run(scenario())


def test_a_quick_sender_makes_it_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks_module, "PATIENCE_SECONDS", PATIENCE_SECONDS)

    async def scenario() -> None:
        monkeypatch.setattr(time, "monotonic", asyncio.get_running_loop().time)
        stage = signed_stage()
        await stage.load()
        await asyncio.sleep(10)
        await stage.work()
        assert [verb for verb, _, _ in stage.api.writes] == ["apply"]
        assert stage.conditions() == WELL

    clock.run(scenario())


# ---- secrets ---------------------------------------------------------------------------------------------------------


async def test_a_secret_that_comes_late_goes_and_comes_back_takes_effect_each_time() -> None:
    stage = Stage()
    stage.put(WEBHOOKS, webhook(spec=SIGNED))
    await stage.load()
    assert stage.conditions()["SecretsResolved"] == ("False", "SecretNotAllowed")
    assert stage.conditions()["Programmed"] == ("False", "SecretNotAllowed")
    assert stage.conditions()["Ready"] == ("False", "SecretNotAllowed")
    assert (stage.route().state, stage.route().event) == (RouteState.HELD, "IdentityCreated")
    stage.put(SECRETS, secret("keys", {"secret": WHSECS[0].encode()}))
    await stage.load()
    assert stage.conditions() == WELL
    stage.delete(SECRETS, secret("keys"))
    await stage.load()
    assert stage.conditions()["SecretsResolved"] == ("False", "SecretNotAllowed")
    assert (stage.route().state, stage.keys()) == (RouteState.HELD, Keys(uid="uid-of-hook"))
    assert [each["reason"] for each in stage.events] == ["SecretNotAllowed", "Pending", "Ready", "SecretNotAllowed"]


async def test_a_rotated_key_signs_beside_its_successor_for_a_day_and_then_leaves_the_book() -> None:
    stage = signed_stage()
    await stage.load()
    stage.put(SECRETS, secret("keys", {"secret": WHSECS[1].encode()}))
    await stage.load()
    now_s = stage.now.timestamp()
    assert stage.keys().signing_at(now_s) == (WHSECS[1], WHSECS[0])
    assert stage.keys().signing_at(now_s + ROTATION_SECONDS - 1) == (WHSECS[1], WHSECS[0])
    stage.shards.clear()
    stage.now += timedelta(seconds=ROTATION_SECONDS)
    stage.context.add(stage.context.observed.all_keys())
    await stage.load()
    assert stage.keys() == Keys(uid="uid-of-hook", signing=WHSECS[1])
    assert stage.shards == {stage.fleet.shard_key("uid-of-hook")}


def whsks(*letters: str) -> bytes:
    return "\n".join(f"whsk_{letter * 43}=" for letter in letters).encode()


async def test_the_status_names_the_public_keys_that_sign_now_and_no_other() -> None:
    stage = Stage()
    stage.put(WEBHOOKS, webhook(spec=SIGNED))
    stage.put(SECRETS, secret("keys", {"secret": WHSECS[0].encode() + b" " + whsks("A")}))
    await stage.load()
    first, second = (public_key(whsks(letter).decode()) for letter in "AE")
    assert stage.api.objects[PLACE]["status"]["signingKeys"] == [{"publicKey": first}]
    writes = len(stage.api.writes)
    stage.context.add(stage.context.observed.all_keys())
    await stage.load()
    assert len(stage.api.writes) == writes
    stage.put(SECRETS, secret("keys", {"secret": whsks("E")}))
    await stage.load()
    assert stage.api.objects[PLACE]["status"]["signingKeys"] == [
        {"publicKey": second},
        {"publicKey": first, "until": "2026-01-02T00:00:00Z"},
    ]
    stage.now += timedelta(seconds=ROTATION_SECONDS)
    stage.context.add(stage.context.observed.all_keys())
    await stage.load()
    assert stage.api.objects[PLACE]["status"]["signingKeys"] == [{"publicKey": second}]
    stage.delete(SECRETS, secret("keys"))
    await stage.load()
    assert stage.api.objects[PLACE]["status"]["signingKeys"] == []
    assert "whsk_" not in json.dumps(stage.api.writes, default=str)


def test_a_webhook_is_looked_at_again_by_itself_when_its_old_key_has_served() -> None:
    async def scenario() -> None:
        stage = signed_stage()
        await stage.load()
        stage.put(SECRETS, secret("keys", {"secret": WHSECS[1].encode()}))
        await stage.load()
        stage.now += timedelta(seconds=ROTATION_SECONDS + 1)
        await asyncio.sleep(ROTATION_SECONDS + 2)
        await stage.load()
        assert stage.keys().retired == ()

    clock.run(scenario())


secret_steps = st.lists(
    st.tuples(st.none() | st.sampled_from(WHSECS), st.sampled_from([0, 1, 3600, 43_200, 86_399, 86_400, 200_000])),
    max_size=12,
)


@settings(max_examples=60)
@given(secret_steps)
def test_a_replaced_key_signs_for_a_day_unless_it_was_withdrawn_and_never_longer(
    steps: list[tuple[str | None, int]],
) -> None:
    async def scenario() -> None:
        stage = Stage()
        stage.put(WEBHOOKS, webhook(spec=SIGNED))
        current: str | None = None
        replaced: dict[str, float] = {}
        for value, seconds in steps:
            stage.now += timedelta(seconds=seconds)
            now_s = stage.now.timestamp()
            if value is None:
                stage.delete(SECRETS, secret("keys"))
                replaced.clear()
            else:
                stage.put(SECRETS, secret("keys", {"secret": value.encode()}))
                if current is not None and current != value:
                    replaced[current] = now_s
                replaced.pop(value, None)
            current = value
            await stage.work()
            signing = stage.keys().signing_at(now_s)
            young = sorted((at, key) for key, at in replaced.items() if now_s - at < ROTATION_SECONDS)
            assert signing[:1] == ((current,) if current else ())
            assert len(signing) <= 1 + MAX_RETIRED_KEYS
            # Of keys that were replaced in the same second, any may be the one that is dropped.
            assert set(signing[1:]) <= {key for _, key in young}
            assert len(signing[1:]) == min(len(young), MAX_RETIRED_KEYS)
            everything = stage.keys().secrets()
            assert not set(everything) - {current, *(key for _, key in young)}

    clock.run(scenario())


# ---- specs -----------------------------------------------------------------------------------------------------------


async def test_a_change_of_the_spec_awaits_the_senders_again_and_says_so_for_its_generation() -> None:
    stage = signed_stage()
    await stage.load()
    stage.put(WEBHOOKS, webhook(spec={**SIGNED, "url": "https://example.com/new"}, generation=2))
    await stage.work()
    assert stage.conditions()["Programmed"] == ("False", "Pending")
    await stage.load()
    assert stage.conditions() == WELL
    assert stage.api.objects[PLACE]["status"]["observedGeneration"] == 2
    assert stage.route().url == "https://example.com/new"


async def test_a_webhook_on_an_unknown_event_is_in_no_book_and_heals_when_the_type_appears() -> None:
    stage = Stage()
    stage.put(WEBHOOKS, webhook(spec={"event": "order.created"}))
    await stage.work()
    assert stage.conditions()["Accepted"] == ("False", "UnknownEvent")
    assert stage.conditions()["Stalled"] == ("True", "UnknownEvent")
    assert "uid-of-hook" not in stage.fleet.book
    stage.put(EVENT_TYPES, event_type("order.created"))
    await stage.load()
    assert stage.conditions() == UNSIGNED


async def test_a_webhook_goes_on_while_its_event_type_is_wrong_or_of_a_later_version() -> None:
    """Also for an operator that begins anew, and finds the type in the book only."""
    before, anew = Stage(), Stage()
    for stage in (before, anew):
        stage.put(WEBHOOKS, webhook(spec={"event": "order.created"}))
    before.put(EVENT_TYPES, event_type("order.created"))
    await before.load()
    anew.put(CONFIG_MAPS, root_manifest(OWN, "default", [], DispatcherRecord(), before.context.policy().records))
    for stage in (before, anew):
        later = event_type("order.created", generation=2)
        later["spec"]["fieldOfALaterVersion"] = 1
        stage.put(EVENT_TYPES, later)
        await stage.load()
        assert stage.conditions()["Accepted"] == ("True", "Accepted")
        assert (stage.route().state, stage.route().event) == (RouteState.ACTIVE, "order.created")


async def test_a_webhook_that_was_accepted_once_stays_in_the_book_and_waits() -> None:
    stage = Stage()
    stage.put(EVENT_TYPES, event_type("order.created"))
    stage.put(WEBHOOKS, webhook(spec={"event": "order.created"}))
    await stage.load()
    stage.delete(EVENT_TYPES, event_type("order.created"))
    await stage.load()
    assert stage.conditions()["Accepted"] == ("False", "UnknownEvent")
    assert (stage.route().state, stage.route().event) == (RouteState.HELD, None)


async def test_a_disabled_webhook_is_ready_and_makes_no_calls() -> None:
    stage = Stage()
    stage.put(WEBHOOKS, webhook(spec={"enabled": False}))
    await stage.load()
    assert stage.conditions()["Ready"] == ("True", "Disabled")
    assert stage.conditions()["Delivering"] == ("False", "Disabled")
    assert stage.route().state is RouteState.DISABLED


async def test_a_deleted_webhook_leaves_the_book() -> None:
    stage = signed_stage()
    await stage.load()
    stage.shards.clear()
    stage.delete(WEBHOOKS, webhook(spec=SIGNED))
    await stage.work()
    assert list(stage.fleet.book.uids()) == []
    assert stage.shards == {stage.fleet.shard_key("uid-of-hook")}


@pytest.mark.parametrize("spec", [{}, {"event": "unheard"}, {"url": "no url"}])
async def test_one_that_was_made_anew_under_its_name_takes_its_place(spec: dict[str, Any]) -> None:
    stage = signed_stage()
    await stage.load()
    stage.put(WEBHOOKS, webhook(spec=spec, uid="another"))
    await stage.work()
    assert list(stage.fleet.book.uids()) == ([] if spec else ["another"])


async def test_a_webhook_that_names_another_dispatcher_moves_to_its_book() -> None:
    stage = Stage("default", "edge")
    # Two on one NATS are not both accepted.
    stage.put(DISPATCHERS, dispatcher("edge", {"nats": {"url": "nats://other"}}, generation=2))
    stage.put(WEBHOOKS, webhook())
    await stage.load()
    stage.put(WEBHOOKS, webhook(spec={"dispatcher": "edge"}, generation=2))
    await stage.load()
    assert stage.conditions() == UNSIGNED
    assert [len(stage.context.fleets[name].book) for name in ("default", "edge")] == [0, 1]


async def test_a_webhook_of_a_dispatcher_that_is_not_there_is_refused_and_heals() -> None:
    stage = Stage("default")
    stage.put(WEBHOOKS, webhook(spec={"dispatcher": "edge"}))
    await stage.work()
    assert stage.conditions()["Accepted"] == ("False", "DispatcherNotFound")
    stage.context.fleets["edge"] = Fleet("edge")
    stage.put(DISPATCHERS, dispatcher("edge", {"nats": {"url": "nats://other"}}))
    await stage.load()
    assert stage.conditions() == UNSIGNED


async def test_a_webhook_of_a_dispatcher_that_gets_its_nats_back_heals() -> None:
    stage = Stage("default", "edge")
    stage.put(WEBHOOKS, webhook(spec={"dispatcher": "edge"}))
    await stage.work()
    assert stage.conditions()["Accepted"] == ("False", "DispatcherNotFound")
    stage.put(DISPATCHERS, dispatcher("default", {"nats": {"url": "nats://other"}}, generation=2))
    await stage.load()
    assert stage.conditions() == UNSIGNED


async def test_a_spec_that_cannot_be_read_holds_what_was_and_says_why() -> None:
    stage = signed_stage()
    await stage.load()
    stage.put(WEBHOOKS, webhook(spec={**SIGNED, "url": "no url"}, generation=2))
    await stage.load()
    assert stage.conditions() == {
        "Accepted": ("False", "InvalidSpec"),
        "Ready": ("False", "InvalidSpec"),
        "Stalled": ("True", "InvalidSpec"),
    }
    # What happens meanwhile is not lost to it.
    route = stage.route()
    assert (route.state, route.event, stage.keys()) == (RouteState.HELD, "IdentityCreated", Keys(uid="uid-of-hook"))


async def test_a_disabled_webhook_whose_spec_cannot_be_read_stays_disabled() -> None:
    stage = signed_stage()
    stage.put(WEBHOOKS, webhook(spec={**SIGNED, "enabled": False}))
    await stage.load()
    stage.put(WEBHOOKS, webhook(spec={**SIGNED, "enabled": False, "fieldOfALaterVersion": 1}, generation=2))
    await stage.load()
    assert (stage.route().state, stage.keys()) == (RouteState.DISABLED, Keys(uid="uid-of-hook"))


async def test_an_operator_that_begins_anew_keeps_the_route_of_a_spec_that_it_cannot_read() -> None:
    before = signed_stage()
    await before.load()
    stage = Stage()
    for number in before.fleet.book.shards():
        stage.fleet.book.load(number, before.fleet.book.files(number))
    stage.put(WEBHOOKS, webhook(spec={**SIGNED, "url": "no url"}, generation=2))
    (seen,) = stage.context.observed.webhooks.values()
    assert stage.webhooks.place(seen) is None
    stage.webhooks.forget_strangers()
    assert (stage.route().state, stage.keys()) == (RouteState.HELD, Keys(uid="uid-of-hook"))


async def test_routes_that_no_webhook_stands_for_are_forgotten_at_the_start() -> None:
    before = Stage()
    for name in ("one", "two"):
        before.put(WEBHOOKS, webhook(name))
    await before.load()
    stage = Stage()
    for number in before.fleet.book.shards():
        stage.fleet.book.load(number, before.fleet.book.files(number))
    stage.put(WEBHOOKS, webhook("two"))
    (seen,) = stage.context.observed.webhooks.values()
    stage.webhooks.place(seen)
    stage.webhooks.forget_strangers()
    assert list(stage.fleet.book.uids()) == ["uid-of-two"]


# ---- no room ---------------------------------------------------------------------------------------------------------

ROOM_BYTES = 4000
"""Of a shard here: a Webhook fits beside the one that fills most of it."""

NO_ROOM_BYTES = 2000
"""Then what is there may stay as it is."""


def full_stage() -> Stage:
    """With one signed Webhook, and another one in each shard of the book."""
    stage = signed_stage()
    stage.fleet.book = DesiredBook(ROOM_BYTES)
    for number in range(BOOK_SHARDS):
        uids = (f"other-{each}" for each in range(100_000))
        uid = next(each for each in uids if shard_of(each, BOOK_SHARDS) == number)
        filler = [(route_of(uid, namespace="greedy"), Keys(uid=uid, ca_pem="x" * 1100))]
        stage.fleet.book.load(number, encode_shard(number, shard_with(filler)))
    return stage


async def ready_stage() -> Stage:
    """Ready, and then the room around it was taken."""
    stage = full_stage()
    await stage.load()
    assert stage.conditions() == WELL
    stage.fleet.book.capacity_bytes = NO_ROOM_BYTES
    stage.api.writes.clear()
    return stage


LONG_URL = {**SIGNED, "url": f"https://example.com/{'p' * 1900}"}


def test_a_new_webhook_that_finds_no_room_says_so_and_is_tried_again_when_there_may_be_some() -> None:
    async def scenario() -> None:
        stage = full_stage()
        stage.fleet.book.capacity_bytes = NO_ROOM_BYTES
        stage.put(WEBHOOKS, webhook(spec=SIGNED))
        await stage.load()
        assert stage.conditions()["Programmed"] == ("False", "BookFull")
        assert stage.conditions()["Ready"] == ("False", "BookFull")
        assert stage.conditions()["Delivering"] == ("False", "BookFull")
        assert (stage.without_room(before=True), stage.without_room(before=False)) == (0, 1)
        writes = len(stage.api.writes)
        stage.fleet.book.capacity_bytes = ROOM_BYTES
        await asyncio.sleep(FULL_SECONDS + 1)
        await stage.load()
        # Nobody made room, and to look at what was refused costs CPU.
        assert len(stage.api.writes) == writes
        stage.fleet.book.remove(next(iter(stage.fleet.book.uids())))
        await asyncio.sleep(FULL_SECONDS + 1)
        await stage.load()
        assert stage.conditions() == WELL
        assert stage.without_room(before=False) == 0

    clock.run(scenario())


async def test_a_key_is_replaced_also_when_the_book_has_no_room() -> None:
    stage = await ready_stage()
    stage.put(SECRETS, secret("keys", {"secret": WHSECS[1].encode()}))
    await stage.load()
    assert stage.keys().signing_at(stage.now.timestamp()) == (WHSECS[1], WHSECS[0])
    assert stage.conditions() == WELL


async def test_a_change_that_finds_no_room_leaves_the_version_before_in_force_and_says_so() -> None:
    stage = await ready_stage()
    before = (stage.route(), stage.keys())
    stage.put(WEBHOOKS, webhook(spec=LONG_URL, generation=2))
    with capture_logs() as logs:
        for _ in range(3):
            stage.context.add(stage.context.observed.all_keys())
            await stage.load()
    assert (stage.route(), stage.keys()) == before
    assert stage.conditions()["Ready"] == ("False", "BookFull")
    assert stage.conditions()["Delivering"] == ("Unknown", "Pending")
    assert (stage.without_room(before=True), stage.without_room(before=False)) == (1, 0)
    assert [each["reason"] for each in stage.events] == ["BookFull"]
    assert [each["event"] for each in logs] == ["no room in the route book"]


async def test_a_rotation_that_finds_no_room_is_told_by_condition_event_log_and_metric() -> None:
    """Also where another change was refused before it, and without the keys."""
    stage = await ready_stage()
    stage.put(WEBHOOKS, webhook(spec=LONG_URL, generation=2))
    await stage.load()
    with capture_logs() as logs:
        stage.put(SECRETS, secret("keys", {"secret": WHSECS[1].encode()}))
        await stage.load()
    assert stage.keys().signing == WHSECS[0]
    assert stage.conditions()["Programmed"] == ("False", "RotationRefused")
    assert stage.conditions()["Ready"] == ("False", "RotationRefused")
    assert [(each["type"], each["reason"]) for each in stage.events][-1] == ("Warning", "RotationRefused")
    assert "signing key goes on signing" in stage.events[-1]["note"]
    assert stage.without_room(before=True) == 1
    (line,) = logs
    assert (line["log_level"], line["webhook"]) == ("warning", "team/hook")
    assert "secrets from before go on" in line["what"]
    assert "whsec_" not in f"{logs}{stage.api.writes}"


async def test_a_webhook_that_was_stopped_and_finds_no_room_to_begin_again_says_that_deliveries_wait() -> None:
    stage = await ready_stage()
    stage.delete(SECRETS, secret("keys"))
    await stage.load()
    stage.fleet.book.capacity_bytes = 100
    stage.put(WEBHOOKS, webhook(spec=LONG_URL, generation=2))
    stage.put(SECRETS, secret("keys", {"secret": WHSECS[1].encode()}))
    await stage.load()
    assert stage.conditions()["Ready"] == ("False", "BookFull")
    assert stage.conditions()["Delivering"] == ("False", "BookFull")
    assert "deliveries wait" in stage.events[-1]["note"]
    assert (stage.without_room(before=True), stage.without_room(before=False)) == (0, 1)


STOPS: list[Callable[[Stage], None]] = [
    lambda stage: stage.delete(SECRETS, secret("keys")),
    lambda stage: stage.put(WEBHOOKS, webhook(spec={**LONG_URL, "enabled": False}, generation=2)),
    lambda stage: stage.put(WEBHOOKS, webhook(spec={**LONG_URL, "paused": True}, generation=2)),
    lambda stage: stage.put(WEBHOOKS, webhook(spec={**LONG_URL, "event": "unheard"}, generation=2)),
    lambda stage: stage.put(WEBHOOKS, webhook(spec={**LONG_URL, "url": "no url"}, generation=2)),
]


@pytest.mark.parametrize("stop", STOPS)
async def test_what_stops_calls_takes_effect_also_when_the_book_has_no_room(stop: Callable[[Stage], None]) -> None:
    stage = await ready_stage()
    stop(stage)
    await stage.load()
    assert stage.route().state is not RouteState.ACTIVE
    assert stage.keys().signing is None
    assert stage.without_room(before=True) == 0
    assert stage.conditions()["Ready"][1] != "RotationRefused"


async def test_a_webhook_that_moves_to_another_shard_has_both_written_and_is_in_one_when_it_is_served() -> None:
    stage = signed_stage()
    stage.fleet.book = DesiredBook(ROOM_BYTES)
    home = stage.fleet.book.place("uid-of-hook")
    uid = next(each for each in map(str, range(100_000)) if shard_of(each, BOOK_SHARDS) == home)
    filler = [(route_of(uid, namespace="greedy"), Keys(uid=uid, ca_pem="x" * 1100))]
    stage.fleet.book.load(home, encode_shard(home, shard_with(filler)))
    await stage.load()
    assert stage.fleet.book.place("uid-of-hook") == home
    stage.shards.clear()
    stage.put(WEBHOOKS, webhook(spec={**SIGNED, "headers": [{"name": "X-Long", "value": "v" * 1200}]}, generation=2))
    await stage.load()
    await stage.load()
    assert stage.conditions() == WELL
    assert stage.fleet.book.place("uid-of-hook") == home + 1
    assert stage.shards == {stage.fleet.key_of(home), stage.fleet.key_of(home + 1)}
    assert b"uid-of-hook" not in stage.fleet.book.files(home)[routes_file(home)]


def test_a_webhook_that_was_taken_before_there_was_a_bound_stays_until_it_grows() -> None:
    stage = Stage()
    headers = [{"name": f"X-{number}", "value": "v" * 4000} for number in range(30)]
    stage.put(WEBHOOKS, webhook(spec={"headers": headers}))
    (seen,) = stage.context.observed.webhooks.values()
    verdict = stage.webhooks.place(seen)
    assert verdict is not None
    assert verdict.secrets_resolved.reason == "TooLarge"
    keys = Keys(uid="uid-of-hook", headers=tuple((each["name"], each["value"]) for each in headers))
    assert stage.fleet.book.put(route_of("uid-of-hook"), keys) is Change.TAKEN
    verdict = stage.webhooks.place(seen)
    assert verdict is not None
    assert (verdict.ready.status, stage.keys()) == ("True", keys)


# ---- neighbours, endpoints, writes -----------------------------------------------------------------------------------


CHANGES: list[Callable[[Stage], None]] = [
    lambda stage: stage.put(WEBHOOKS, webhook("mine", {"url": "https://example.com/new"}, generation=2)),
    lambda stage: stage.put(WEBHOOKS, webhook("mine", {"url": "no url"}, generation=2)),
    lambda stage: stage.put(WEBHOOKS, webhook("mine", {"event": "unheard"}, generation=2)),
    lambda stage: stage.put(WEBHOOKS, webhook("mine", {"dispatcher": "nowhere"}, generation=2)),
    lambda stage: stage.delete(WEBHOOKS, webhook("mine")),
    lambda stage: stage.put(WEBHOOKS, webhook("mine", uid="anew")),
]


@pytest.mark.parametrize("change", CHANGES)
async def test_a_webhook_never_disturbs_another_one(change: Callable[[Stage], None]) -> None:
    stage = signed_stage()
    stage.put(WEBHOOKS, webhook("mine"))
    await stage.load()
    before = (stage.route(), stage.keys(), copy.deepcopy(stage.api.objects[PLACE]))
    change(stage)
    await stage.load()
    assert (stage.route(), stage.keys(), stage.api.objects[PLACE]) == before


async def test_a_failing_endpoint_delivers_no_more_but_its_webhook_is_ready() -> None:
    stage = signed_stage()
    await stage.load()
    stage.api.writes.clear()
    for _ in range(2):
        await stage.load(failing=FAILING)
        assert stage.conditions() == {**WELL, "Delivering": ("False", "EndpointFailing")}
    for _ in range(2):
        await stage.load(failing=GONE)
        assert stage.conditions() == {**WELL, "Delivering": ("False", "EndpointGone")}
    for _ in range(2):
        await stage.load()
        assert stage.conditions() == WELL
    told = [(each["type"], each["reason"]) for each in stage.events]
    assert told == [("Warning", "EndpointFailing"), ("Warning", "EndpointGone"), ("Normal", "Delivering")]


def restarted(stage: Stage) -> Stage:
    """A new operator, which reads what the one before left, the book among it, and has heard no sender."""
    again = Stage()
    again.fleet.book = stage.fleet.book
    again.api, again.context.cluster = stage.api, stage.api
    again.put(SECRETS, secret("keys", {"secret": WHSECS[0].encode()}))
    again.put(WEBHOOKS, copy.deepcopy(stage.api.objects[PLACE]))
    again.api.writes.clear()
    return again


@pytest.mark.parametrize("answers", [None, {}, {"one": None}, {"one": Report({}, {}), "two": None}])
async def test_an_operator_that_has_not_heard_all_senders_calls_no_failing_endpoint_well(
    answers: dict[str, Report | None] | None,
) -> None:
    stage = signed_stage()
    await stage.load(failing=FAILING)
    await stage.load(failing=FAILING)
    stage = restarted(stage)
    await stage.work()
    if answers is not None:
        assert stage.fleet.take_reports(answers) == set()
    stage.context.queue.add(WebhookKey(*PLACE))
    await stage.work()
    assert stage.conditions() == {**WELL, "Delivering": ("False", "EndpointFailing")}
    await stage.load(failing=FAILING)
    assert stage.conditions() == {**WELL, "Delivering": ("False", "EndpointFailing")}
    assert stage.events == []


async def test_an_endpoint_that_got_well_while_no_operator_was_there_is_told_once_when_senders_are_heard() -> None:
    stage = signed_stage()
    await stage.load(failing=FAILING)
    await stage.load(failing=FAILING)
    stage = restarted(stage)
    for _ in range(2):
        await stage.load()
    assert stage.conditions() == WELL
    assert [(each["type"], each["reason"]) for each in stage.events] == [("Normal", "Delivering")]


async def test_a_changed_spec_of_a_gone_endpoint_is_well_for_an_operator_that_just_began() -> None:
    stage = signed_stage()
    await stage.load(failing=GONE)
    await stage.load(failing=GONE)
    stage = restarted(stage)
    stage.put(WEBHOOKS, webhook(spec={**SIGNED, "url": "https://example.com/new"}, generation=2))
    await stage.load()
    assert stage.conditions() == WELL


async def test_a_status_that_somebody_overtook_is_left_to_the_next_look() -> None:
    stage = signed_stage()
    await stage.work()
    stage.api.writes.clear()
    # It was written, but the watch has not told yet.
    newer = copy.deepcopy(stage.api.objects[PLACE])
    newer["metadata"] |= {"resourceVersion": str(stage.api.next_version()), "generation": 2}
    newer["spec"]["url"] = "https://example.com/new"
    stage.api.objects[PLACE] = newer
    await stage.load()
    assert [verb for verb, _, _ in stage.api.writes] == ["apply"]
    assert stage.events == []
    stage.context.add(stage.context.observed.put(WEBHOOKS, copy.deepcopy(newer)))
    await stage.load()
    assert stage.conditions() == WELL
    assert stage.route().url == "https://example.com/new"


@pytest.mark.parametrize("failure", [ClusterUnavailable("away"), Forbidden("no"), Conflict("it is there")])
async def test_an_event_that_cannot_be_posted_holds_nothing_up(failure: ClusterError) -> None:
    stage = signed_stage()
    stage.api.refuses["create"] = failure
    await stage.load()
    assert stage.conditions() == WELL


async def test_a_status_that_cannot_be_written_is_a_failure_to_be_tried_again() -> None:
    stage = signed_stage()
    stage.api.refuses["apply"] = ClusterUnavailable("away")
    with pytest.raises(ClusterUnavailable):
        await stage.work()
    del stage.api.refuses["apply"]
    stage.context.queue.done(WebhookKey(*PLACE))
    stage.context.queue.add(WebhookKey(*PLACE))
    await stage.load()
    assert stage.conditions() == WELL


async def test_no_secret_stands_in_a_status_or_an_event() -> None:
    stage = Stage()
    header = {"name": "X-A", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "a"}}}
    spec = {**SIGNED, "url": f"https://example.com/?{CANARY}", "headers": [header, {"name": "X-B", "value": CANARY}]}
    stage.put(WEBHOOKS, webhook(spec=spec))
    await stage.load()
    for value in (CANARY.encode(), WHSECS[0].encode()):
        stage.put(SECRETS, secret("keys", {"secret": value, "a": f"{CANARY}\n{CANARY}".encode()}))
        await stage.load()
    stage.put(SECRETS, secret("keys", {"secret": WHSECS[0].encode(), "a": CANARY.encode()}))
    await stage.load()
    assert stage.conditions() == WELL
    assert stage.events
    assert CANARY not in json.dumps(stage.api.writes)
    assert CANARY not in repr(stage.context)
