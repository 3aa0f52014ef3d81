from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.control.kinds import (
    BOOK_LABEL,
    CONFIG_MAPS,
    DEPLOYMENTS,
    DISPATCHER_LABEL,
    DISPATCHERS,
    DISRUPTION_BUDGETS,
    EVENT_TYPES,
    NAMESPACES,
    NETWORK_POLICIES,
    PODS,
    PUBLISHERS,
    SECRETS,
    SERVICE_ACCOUNTS,
    WEBHOOKS,
    Kind,
    keys_name,
    publishers_name,
    root_name,
    routes_name,
    sender_name,
)
from hookline.control.observed import Observed
from hookline.control.work_keys import (
    ApiKey,
    ApiServiceKey,
    AuthorityKey,
    BundlesKey,
    DispatcherKey,
    EventTypeKey,
    Key,
    PublishersKey,
    RootKey,
    SendersKey,
    ShardKey,
    WebhookKey,
)
from hookline.resources.base import ALLOW_LABEL, PUBLISHER_LABEL, Problem
from hookline.routing.publisher_tokens import PublisherToken
from unit.control.objects import (
    OWN,
    Manifest,
    book_object,
    dispatcher,
    event_type,
    manifest,
    pod,
    publisher,
    secret,
    webhook,
)

CANARY = "canary-51c0"

SPECS: list[dict[str, Any]] = [
    {},
    {"secretRef": {"name": "keys"}},
    {"secretRef": {"name": "other"}, "event": "order.created"},
    {"dispatcher": "edge", "headers": [{"name": "X-A", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "a"}}}]},
    {"tls": {"caSecretRef": {"name": "ca"}}, "enabled": False},
    {"url": "no url"},
]


@dataclass
class Event:
    """What a watch says."""

    version: int
    gone: bool
    manifest: Manifest


@dataclass
class World:
    """One kind in a cluster: every state that it ever was in, and what is on its way to the operator."""

    version: int = 1
    there: dict[str, Manifest] = field(default_factory=dict)
    states: dict[str, dict[int, Manifest | None]] = field(default_factory=dict)
    """By name and version from which on it was so."""
    watch: list[Event] = field(default_factory=list)
    lists: list[tuple[int, list[Manifest]]] = field(default_factory=list)

    def _change(self, name: str, now: Manifest | None, told: Manifest) -> None:
        going = now is not None and "deletionTimestamp" in now["metadata"]
        self.states.setdefault(name, {0: None})[self.version] = None if going else now
        if now is None:
            self.there.pop(name)
        else:
            self.there[name] = now
        self.watch.append(Event(self.version, now is None, told))

    def write(self, name: str, variant: int, *, going: bool = False) -> None:
        self.version += 1
        there = self.there.get(name)
        uid = there["metadata"]["uid"] if there else f"{name}-{self.version}"
        more: dict[str, Any] = {"deletionTimestamp": "2026-01-01T00:00:00Z"} if going else {}
        now = webhook(name, SPECS[variant], version=self.version, uid=uid, generation=self.version, **more)
        self._change(name, now, now)

    def delete(self, name: str) -> None:
        there = self.there.get(name)
        if there is not None:
            self.version += 1
            # As the API server tells it: the last state, with the version of the deletion.
            told = {**there, "metadata": {**there["metadata"], "resourceVersion": str(self.version)}}
            self._change(name, None, told)

    def list_now(self) -> None:
        self.lists.append((self.version, list(self.there.values())))

    def state_since(self, name: str, version: int) -> list[Manifest | None]:
        """Every state that the object was in at that version or later."""
        states = self.states.get(name, {0: None})
        first = max(each for each in states if each <= version)
        return [state for each, state in states.items() if each >= first]


def fresh(manifests: list[Manifest]) -> Observed:
    observed = Observed(OWN)
    observed.replace_all(WEBHOOKS, manifests, 10**9)
    return observed


class Operator:
    """Hears of a world, late and in any order, and checks that it never goes back behind what it has heard."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.observed = Observed(OWN)
        self.heard: dict[str, int] = {}

    def hear_watch(self, *, lost: bool = False) -> None:
        if not self.world.watch:
            return
        event = self.world.watch.pop(0)
        if lost:
            return
        if event.gone:
            self.observed.remove(WEBHOOKS, event.manifest)
        else:
            self.observed.put(WEBHOOKS, event.manifest)
        self._check(event.manifest["metadata"]["name"], event.version)

    def hear_answer(self, name: str) -> None:
        """The answer to a write of its own."""
        if name in self.world.there:
            self.observed.put(WEBHOOKS, self.world.there[name])
            self._check(name, int(self.world.there[name]["metadata"]["resourceVersion"]))

    def hear_list(self, number: int) -> None:
        if not self.world.lists:
            return
        version, manifests = self.world.lists.pop(number % len(self.world.lists))
        if not self.observed.differs(WEBHOOKS, manifests, version):
            self.observed.confirm(WEBHOOKS, version)
        else:
            self.observed.replace_all(WEBHOOKS, manifests, version)
        for name in NAMES:
            self._check(name, version)

    def _check(self, name: str, version: int) -> None:
        self.heard[name] = max(version, self.heard.get(name, 0))
        seen = self.observed.webhooks.get(("team", name))
        possible = self.world.state_since(name, self.heard[name])
        assert (seen.generation if seen else None) in [each and each["metadata"]["generation"] for each in possible]


NAMES = ["a", "b", "c"]
names = st.sampled_from(NAMES)
variants = st.integers(0, len(SPECS) - 1)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), names, variants),
        st.tuples(st.just("write"), names, variants),
        st.tuples(st.just("going"), names, variants),
        st.tuples(st.just("delete"), names, st.just(0)),
        st.tuples(st.just("list"), names, st.just(0)),
        st.tuples(st.just("hear list"), names, st.integers(0, 3)),
        st.tuples(st.just("hear watch"), names, st.integers(1, 3)),
        st.tuples(st.just("hear answer"), names, st.just(0)),
        st.tuples(st.just("lose"), names, st.just(0)),
    ),
    max_size=40,
)


def live_through(steps: list[tuple[str, str, int]], *, losing: bool) -> Operator:
    world = World()
    operator = Operator(world)
    for what, name, number in steps:
        match what:
            case "write":
                world.write(name, number)
            case "going":
                world.write(name, number, going=True)
            case "delete":
                world.delete(name)
            case "list":
                world.list_now()
            case "hear list":
                operator.hear_list(number)
            case "hear watch":
                for _ in range(number):
                    operator.hear_watch()
            case "hear answer":
                operator.hear_answer(name)
            case "lose" if losing:
                operator.hear_watch(lost=True)
    return operator


def assert_newest(operator: Operator) -> None:
    there = [each for each in operator.world.there.values() if "deletionTimestamp" not in each["metadata"]]
    wanted = fresh(there)
    assert operator.observed.webhooks == wanted.webhooks
    assert operator.observed.references == wanted.references


@given(steps, st.randoms(use_true_random=False))
def test_watch_lists_and_answers_in_any_order_end_in_the_newest_state_and_never_go_back(
    steps: list[tuple[str, str, int]], random: Any
) -> None:
    operator = live_through(steps, losing=False)
    while operator.world.watch or operator.world.lists:
        if operator.world.watch and (not operator.world.lists or random.random() < 0.5):
            operator.hear_watch()
        else:
            operator.hear_list(random.randrange(4))
    assert_newest(operator)


@given(steps)
def test_what_a_watch_missed_is_repaired_by_the_next_list(steps: list[tuple[str, str, int]]) -> None:
    operator = live_through(steps, losing=True)
    operator.world.list_now()
    operator.hear_list(len(operator.world.lists) - 1)
    assert_newest(operator)


def test_what_was_made_while_a_list_was_read_stays_and_what_was_deleted_stays_away() -> None:
    observed = Observed(OWN)
    observed.put(WEBHOOKS, webhook("old", version=5))
    listed = [webhook("old", version=5)]
    observed.put(WEBHOOKS, webhook("new", version=12))
    observed.remove(WEBHOOKS, webhook("old", version=13))
    assert observed.replace_all(WEBHOOKS, listed, 10) == set()
    assert observed.webhooks.keys() == {("team", "new")}


def test_what_is_known_to_be_gone_stays_gone_whatever_is_heard_of_others() -> None:
    observed = Observed(OWN)
    observed.remove(WEBHOOKS, webhook("a", version=8))
    observed.replace_all(SECRETS, [], 20)
    assert observed.put(WEBHOOKS, webhook("a", version=7)) == set()
    observed.replace_all(WEBHOOKS, [], 10)
    observed.replace_all(WEBHOOKS, [webhook("b", version=4)], 5)
    assert observed.put(WEBHOOKS, webhook("b", version=9)) == set()
    assert observed.put(WEBHOOKS, webhook("b", version=11)) == {WebhookKey("team", "b")}


def test_an_older_version_and_one_that_is_known_concern_nobody() -> None:
    observed = Observed(OWN)
    assert observed.put(WEBHOOKS, webhook(version=5)) == {WebhookKey("team", "hook")}
    assert observed.put(WEBHOOKS, webhook(version=5)) == set()
    assert observed.put(WEBHOOKS, webhook(spec={"enabled": False}, version=4)) == set()
    assert observed.webhooks["team", "hook"].generation == 1


def test_the_end_of_a_former_object_does_not_take_the_one_that_has_its_name_now() -> None:
    observed = Observed(OWN)
    observed.put(WEBHOOKS, webhook(uid="new", version=9))
    assert observed.remove(WEBHOOKS, webhook(uid="old", version=10)) == set()
    assert observed.remove(WEBHOOKS, webhook(uid="new", version=8)) == set()
    assert observed.remove(WEBHOOKS, webhook(uid="new", version=10)) == {WebhookKey("team", "hook")}
    assert not observed.webhooks


def test_what_is_being_deleted_is_gone_although_a_finalizer_holds_it() -> None:
    observed = Observed(OWN)
    observed.put(WEBHOOKS, webhook(version=5))
    going = webhook(version=6, deletionTimestamp="2026-01-01T00:00:00Z")
    assert observed.put(WEBHOOKS, going) == {WebhookKey("team", "hook")}
    assert not observed.webhooks
    assert not observed.differs(WEBHOOKS, [going])


@pytest.mark.parametrize("listed", [[webhook("a", version=3)], [webhook("a", version=2), webhook("b")], []])
def test_a_list_of_metadata_differs_by_newer_more_or_fewer_objects(listed: list[Manifest]) -> None:
    observed = Observed(OWN)
    observed.put(WEBHOOKS, webhook("a", version=2))
    assert observed.differs(WEBHOOKS, listed)
    assert not observed.differs(WEBHOOKS, [webhook("a", version=2)])
    assert not observed.differs(WEBHOOKS, [webhook("a", version=1)])


def test_what_came_after_a_list_does_not_make_it_differ() -> None:
    observed = Observed(OWN)
    observed.put(WEBHOOKS, webhook("new", version=12))
    observed.put(WEBHOOKS, webhook("gone", version=9))
    observed.remove(WEBHOOKS, webhook("gone", version=11))
    listed = [webhook("gone", version=9)]
    assert not observed.differs(WEBHOOKS, listed, 10)
    assert observed.differs(WEBHOOKS, listed)
    assert observed.differs(WEBHOOKS, listed, 12)
    assert observed.differs(WEBHOOKS, [webhook("gone", version=13)], 13)


def test_a_secret_concerns_the_webhooks_that_name_it_in_its_namespace() -> None:
    observed = Observed(OWN)
    for name, spec in enumerate(SPECS):
        observed.put(WEBHOOKS, webhook(f"w{name}", spec))
    observed.put(WEBHOOKS, webhook("w1", SPECS[1], namespace="elsewhere"))
    users = {WebhookKey("team", "w1"), WebhookKey("team", "w3")}
    assert observed.put(SECRETS, secret("keys", version=2)) == users
    assert observed.put(SECRETS, secret("keys", version=3)) == users
    assert observed.remove(SECRETS, secret("keys", version=4)) == users
    assert observed.put(SECRETS, secret("nobody's")) == set()


def test_a_webhook_that_names_another_secret_is_no_longer_concerned_by_the_first() -> None:
    observed = Observed(OWN)
    observed.put(WEBHOOKS, webhook(spec=SPECS[1], version=1))
    observed.put(WEBHOOKS, webhook(spec=SPECS[2], version=2))
    assert observed.put(SECRETS, secret("keys")) == set()
    assert observed.put(SECRETS, secret("other")) == {WebhookKey("team", "hook")}


def test_an_event_type_concerns_its_webhooks_and_every_book_and_a_new_status_of_it_nobody_else() -> None:
    observed = Observed(OWN)
    observed.put(WEBHOOKS, webhook("hears", {"event": "order.created"}))
    observed.put(WEBHOOKS, webhook("deaf"))
    observed.put(DISPATCHERS, dispatcher("default"))
    itself, changes = EventTypeKey("order.created"), observed.policy_changes
    found = observed.put(EVENT_TYPES, event_type("order.created", version=2))
    assert found == {itself, WebhookKey("team", "hears"), RootKey("default")}
    assert observed.put(EVENT_TYPES, event_type("order.created", version=3)) == {itself}
    assert observed.policy_changes == changes + 1
    assert observed.put(EVENT_TYPES, event_type("order.created", version=4, generation=2)) == found
    assert observed.remove(EVENT_TYPES, event_type("order.created", version=5)) == found
    assert observed.policy_changes == changes + 3


def test_an_event_type_that_takes_another_event_concerns_the_webhooks_of_both() -> None:
    observed = Observed(OWN)
    for event in ("Order", "ORDER"):
        observed.put(WEBHOOKS, webhook(f"hears-{event.lower()}-{len(observed.webhooks)}", {"event": event}))
    observed.put(EVENT_TYPES, event_type("Order", version=2))
    found = observed.put(EVENT_TYPES, event_type("ORDER", version=3, generation=2))
    assert {each.name for each in found if isinstance(each, WebhookKey)} == {"hears-order-0", "hears-order-1"}


def test_a_dispatcher_concerns_its_webhooks_and_every_other_dispatcher_with_theirs() -> None:
    observed = Observed(OWN)
    observed.put(DISPATCHERS, dispatcher("default"))
    observed.put(DISPATCHERS, dispatcher("edge"))
    observed.put(WEBHOOKS, webhook("mine"))
    observed.put(WEBHOOKS, webhook("theirs", {"dispatcher": "edge"}))
    all_of_them = {
        DispatcherKey(OWN, "default"),
        RootKey("default"),
        AuthorityKey(),
        ApiKey(),
        WebhookKey("team", "mine"),
        DispatcherKey(OWN, "edge"),
        WebhookKey("team", "theirs"),
        PublishersKey(),
    }
    assert observed.put(DISPATCHERS, dispatcher("default", {"replicas": 3}, version=2, generation=2)) == all_of_them
    assert observed.put(DISPATCHERS, dispatcher("default", version=3, generation=2)) == {DispatcherKey(OWN, "default")}
    assert observed.remove(DISPATCHERS, dispatcher("default", version=4)) == all_of_them


def test_labels_of_a_namespace_concern_its_webhooks_and_nothing_else_of_it_does() -> None:
    observed = Observed(OWN)
    observed.put(WEBHOOKS, webhook())
    observed.put(WEBHOOKS, webhook(namespace="elsewhere"))
    labelled: dict[str, Any] = {"labels": {"team": "a"}}
    assert observed.put(NAMESPACES, manifest(NAMESPACES, "team", version=2, **labelled)) == {WebhookKey("team", "hook")}
    assert observed.put(NAMESPACES, manifest(NAMESPACES, "team", version=3, **labelled)) == set()
    assert observed.namespace_labels == {"team": {"team": "a"}}
    assert observed.remove(NAMESPACES, manifest(NAMESPACES, "team", version=4)) == {WebhookKey("team", "hook")}


def test_a_sender_pod_is_known_by_its_dispatcher() -> None:
    observed = Observed(OWN)
    assert observed.put(PODS, pod("one")) == {SendersKey("default")}
    observed.put(PODS, pod("two", "edge", ready=False, ip=""))
    (one,), (two,) = observed.sender_pods("default"), observed.sender_pods("edge")
    assert (one.ready, one.ip, two.ready, two.ip) == (True, "10.0.0.1", False, "")
    assert observed.remove(PODS, pod("one", version=2)) == {SendersKey("default")}
    assert observed.remove(PODS, pod("never")) == set()


def test_a_gateway_pod_is_nobody_who_sends_and_its_dispatcher_says_what_it_waits_for() -> None:
    observed = Observed(OWN)
    assert observed.put(PODS, pod("one", component="gateway")) == {DispatcherKey(OWN, "default")}
    assert observed.put(PODS, pod("other", component="")) == set()
    assert observed.sender_pods("default") == []
    assert [each.name for each in observed.gateway_pods("default")] == ["one"]


def own_objects() -> Iterator[tuple[Kind, Manifest, Key]]:
    for name in ("default", "edge-07"):
        yield CONFIG_MAPS, book_object(CONFIG_MAPS, root_name(name), name), RootKey(name)
        yield CONFIG_MAPS, book_object(CONFIG_MAPS, routes_name(name, 7), name), ShardKey(name, 7)
        yield SECRETS, book_object(SECRETS, keys_name(name, 63), name), ShardKey(name, 63)
        yield SECRETS, manifest(SECRETS, publishers_name(name), namespace=OWN), PublishersKey()
        for kind in (DEPLOYMENTS, DISRUPTION_BUDGETS, NETWORK_POLICIES, SERVICE_ACCOUNTS):
            theirs = manifest(kind, sender_name(name), namespace=OWN, labels={DISPATCHER_LABEL: name})
            yield kind, theirs, DispatcherKey(OWN, name)


@pytest.mark.parametrize(("kind", "theirs", "key"), list(own_objects()))
def test_our_own_objects_concern_what_writes_them_when_they_change_go_or_are_missing(
    kind: Kind, theirs: Manifest, key: Key
) -> None:
    observed = Observed(OWN)
    ours = kind in (CONFIG_MAPS, SECRETS)
    assert observed.put(kind, theirs) == {key}
    place = (OWN, theirs["metadata"]["name"])
    assert observed.own(kind, place) == theirs
    assert observed.replace_all(kind, [], 5, ours=ours) == {key}
    assert observed.own(kind, place) is None


def test_what_a_list_lacked_by_mistake_a_later_one_brings_back_as_it_was() -> None:
    observed = Observed(OWN)
    observed.put(WEBHOOKS, webhook("a", version=3))
    observed.replace_all(WEBHOOKS, [], 9)
    assert observed.webhooks == {}
    assert observed.replace_all(WEBHOOKS, [webhook("a", version=3)], 9) == {WebhookKey("team", "a")}
    assert observed.webhooks.keys() == {("team", "a")}


LABELS: list[dict[str, str]] = [{}, {ALLOW_LABEL: "true"}, {ALLOW_LABEL: "true", BOOK_LABEL: "other"}, {BOOK_LABEL: ""}]


@pytest.mark.parametrize("labels", LABELS)
def test_a_part_of_a_book_is_known_by_its_name_and_lent_to_nobody_whatever_it_is_labelled(
    labels: dict[str, str],
) -> None:
    observed = Observed(OWN)
    mine = secret(keys_name("default", 1), {"secret": b"x"}, namespace=OWN, version=3, labels=labels)
    assert observed.belongs(SECRETS, mine["metadata"], ours=True)
    assert not observed.belongs(SECRETS, mine["metadata"], ours=False)
    assert observed.put(SECRETS, mine) == {ShardKey("default", 1)}
    assert observed.secrets == {}
    # The list of allowed Secrets may name it, or not.
    for listed in ([mine], []):
        assert not observed.differs(SECRETS, listed, 5)
        assert observed.replace_all(SECRETS, listed, 5) == set()
    assert observed.own(SECRETS, (OWN, mine["metadata"]["name"])) == mine


@pytest.mark.parametrize(
    ("name", "namespace"),
    [
        ("hookline-keys-default-01", "team"),
        ("hookline-keys-default-1", OWN),
        ("keys", OWN),
        ("hookline-nats-sender", "team"),
        ("hookline-nats", OWN),
    ],
)
def test_a_secret_of_another_name_or_namespace_is_none_of_ours(name: str, namespace: str) -> None:
    observed = Observed(OWN)
    theirs = secret(name, namespace=namespace, labels={ALLOW_LABEL: "true", BOOK_LABEL: "default"})
    assert observed.belongs(SECRETS, theirs["metadata"], ours=False)
    observed.put(SECRETS, theirs)
    assert observed.secrets.keys() == {(namespace, name)}


@pytest.mark.parametrize(
    "name",
    [
        "hookline-ca",
        "hookline-nats-sender",
        "hookline-nats-users",
        "hookline-gateway-tls-default",
        publishers_name("a"),
    ],
)
def test_no_webhook_may_use_a_secret_that_the_operator_makes(name: str) -> None:
    observed = Observed(OWN)
    mine = secret(name, {"secret": b"x"}, namespace=OWN, labels={ALLOW_LABEL: "true"})
    assert not observed.belongs(SECRETS, mine["metadata"], ours=False)
    observed.put(SECRETS, mine)
    assert observed.secrets == {}
    assert observed.own(SECRETS, (OWN, name)) == mine


def test_a_lent_secret_that_its_owner_labels_as_a_book_is_lent_until_he_takes_it_back() -> None:
    observed = Observed(OWN)
    labels = {ALLOW_LABEL: "true", BOOK_LABEL: "default"}
    observed.put(SECRETS, secret("keys", {"secret": b"x"}, version=1))
    observed.put(SECRETS, secret("keys", {"secret": b"y"}, version=2, labels=labels))
    assert observed.secrets["team", "keys"].data == {"secret": b"y"}
    observed.remove(SECRETS, secret("keys", version=3, labels=labels))
    assert observed.secrets == {}
    assert observed.own(SECRETS, ("team", "keys")) is None


def test_of_a_publisher_no_more_than_a_digest_is_kept() -> None:
    observed = Observed(OWN)
    token = f"{CANARY}-0123456789abcdefghijk"
    assert observed.put(PUBLISHERS, publisher("ci", token)) == {PublishersKey()}
    assert isinstance(observed.publishers["team", "ci"].token, PublisherToken)
    observed.put(PUBLISHERS, publisher("two", token, data={"token": token.encode(), CANARY: b"x"}))
    assert isinstance(observed.publishers["team", "two"].token, Problem)
    assert CANARY not in repr(vars(observed))
    assert CANARY not in repr(observed.publishers)
    assert observed.remove(PUBLISHERS, publisher("ci", token, version=2)) == {PublishersKey()}
    assert observed.publishers.keys() == {("team", "two")}


def test_a_secret_may_give_a_token_and_be_lent_and_each_ends_alone() -> None:
    observed = Observed(OWN)
    both = publisher("ci", "x" * 40, labels={ALLOW_LABEL: "true", PUBLISHER_LABEL: "true"})
    observed.put(SECRETS, both)
    observed.put(PUBLISHERS, both)
    observed.remove(PUBLISHERS, publisher("ci", "x" * 40, version=2))
    assert observed.secrets.keys() == {("team", "ci")}
    assert observed.publishers == {}


def test_what_the_operator_makes_gives_no_token_whatever_it_is_labelled() -> None:
    observed = Observed(OWN)
    for name in (keys_name("default", 1), publishers_name("default")):
        mine = publisher(name, "x" * 40, namespace=OWN)
        assert not observed.belongs(PUBLISHERS, mine["metadata"], ours=False)
        assert not observed.differs(PUBLISHERS, [mine], 5)
        assert observed.replace_all(PUBLISHERS, [mine], 5) == set()


def test_labels_of_a_namespace_concern_its_publishers() -> None:
    observed = Observed(OWN)
    observed.put(PUBLISHERS, publisher("ci", "x" * 40))
    assert observed.put(NAMESPACES, manifest(NAMESPACES, "other", labels={"a": "b"})) == set()
    assert observed.put(NAMESPACES, manifest(NAMESPACES, "team", labels={"a": "b"})) == {PublishersKey()}
    assert observed.put(NAMESPACES, manifest(NAMESPACES, "team", version=2, labels={"a": "b"})) == set()


def test_a_spec_that_is_not_valid_is_kept_with_its_problem_and_without_its_value() -> None:
    observed = Observed(OWN)
    observed.put(WEBHOOKS, webhook(spec={"url": f"http://{CANARY}/", "timeoutSeconds": 99}))
    seen = observed.webhooks["team", "hook"]
    assert seen.value is None
    assert "spec.url: " in seen.problem
    assert "spec.timeoutSeconds: " in seen.problem
    assert CANARY not in seen.problem
    assert observed.webhooks_of("default") == set()
    assert observed.put(NAMESPACES, manifest(NAMESPACES, "team", labels={"a": "b"})) == {WebhookKey("team", "hook")}


def test_a_secret_that_cannot_be_read_is_lent_and_empty() -> None:
    observed = Observed(OWN)
    observed.put(SECRETS, {**secret("keys"), "data": {"secret": "no base64!"}})
    found = observed.secrets["team", "keys"]
    assert (found.allowed, found.data) == (True, {})


def test_what_belongs_to_the_logs_api_concerns_it_and_its_certificate_the_ca() -> None:
    observed = Observed(OWN)
    assert observed.put(DEPLOYMENTS, manifest(DEPLOYMENTS, "hookline-api", namespace=OWN)) == {ApiKey()}
    assert observed.put(CONFIG_MAPS, manifest(CONFIG_MAPS, "hookline-api-queues", namespace=OWN)) == {ApiKey()}
    assert observed.put(SECRETS, manifest(SECRETS, "hookline-api-tls", namespace=OWN)) == {AuthorityKey()}
    assert observed.put(PODS, pod("api-0", "", component="api")) == {ApiKey()}
    assert [each.name for each in observed.api_pods()] == ["api-0"]
    # No Webhook may use a Secret of it, however it is labelled.
    allowed = manifest(SECRETS, "hookline-api-tls", namespace=OWN, labels={ALLOW_LABEL: "true"}, version=2)
    assert not observed.belongs(SECRETS, allowed["metadata"], ours=False)


def test_everything_is_looked_at_by_all_keys() -> None:
    observed = Observed(OWN)
    observed.put(WEBHOOKS, webhook())
    observed.put(EVENT_TYPES, event_type("Order"))
    observed.put(DISPATCHERS, dispatcher())
    assert observed.all_keys() == {
        WebhookKey("team", "hook"),
        EventTypeKey("order"),
        DispatcherKey(OWN, "default"),
        PublishersKey(),
        AuthorityKey(),
        ApiKey(),
        ApiServiceKey(),
        BundlesKey(),
    }


def test_the_representation_of_what_was_seen_shows_nothing_that_may_be_secret() -> None:
    observed = Observed(OWN)
    spec = {"url": f"https://example.com/?{CANARY}", "headers": [{"name": "X-A", "value": CANARY}]}
    observed.put(WEBHOOKS, webhook(spec=spec, status={"note": CANARY}))
    observed.put(SECRETS, secret("keys", {"secret": CANARY.encode()}))
    assert CANARY not in repr([observed.webhooks, observed.secrets, observed])
