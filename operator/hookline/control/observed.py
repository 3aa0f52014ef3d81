"""What the cluster holds, as far as decisions need it: read once when it changes, and whom each change concerns.

`put`, `remove` and `replace_all` take objects as the API server writes them and say which keys are to be looked at
again. Decides nothing about Webhooks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Generic, TypeVar

import structlog

from hookline.control.cache import Cache, Change, Stamp
from hookline.control.kinds import (
    API,
    API_NAME,
    API_QUEUES_NAME,
    CA_NAME,
    CONFIG_MAPS,
    DEPLOYMENTS,
    DISPATCHER_LABEL,
    DISPATCHERS,
    DISRUPTION_BUDGETS,
    EVENT_TYPES,
    GATEWAY,
    NAMESPACES,
    NATS_NAMES,
    NETWORK_POLICIES,
    PODS,
    PUBLISHERS,
    SECRETS,
    SENDER,
    SERVICE_ACCOUNTS,
    SERVICES,
    WEBHOOKS,
    Kind,
    Object,
    Place,
    book_part,
    is_of_authority,
    is_own_name,
    publishers_name,
    whole,
)
from hookline.control.references import References
from hookline.control.seen import Asking, Pod, Publisher, Seen, asking_of, pod_of, publisher_of, secret_of, seen_of
from hookline.control.work_keys import (
    ApiKey,
    ApiServiceKey,
    AuthorityKey,
    BundlesKey,
    DispatcherKey,
    EventTypeKey,
    Key,
    NatsUsersKey,
    PublishersKey,
    RootKey,
    SendersKey,
    ShardKey,
    WebhookKey,
)
from hookline.resources.dispatcher import Dispatcher
from hookline.resources.eventtype import EventType
from hookline.resources.webhook import Webhook

log = structlog.get_logger(__name__)

V = TypeVar("V")


class _Table(Generic[V]):
    """All that is done with the objects of one list: what is kept of each, and whom a change of it concerns.

    `concerned` also takes the change into account, wherever something is found by it.
    """

    def __init__(self, read: Callable[[Object], V], concerned: Callable[[Change[V]], set[Key]]) -> None:
        self.cache = Cache(read)
        self.concerned = concerned


class Observed:
    """The state, by kind and place. `namespace` is the operator's own, in which route books are."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self.references = References()
        """Which Webhooks name what."""
        self.namespace_labels: dict[str, Mapping[str, str]] = {}
        self.policy_changes = 0
        """Counts changes of Dispatchers and EventTypes, which every decision looks at."""
        webhooks = _Table(partial(seen_of, Webhook), self._webhook_changed)
        event_types = _Table(partial(seen_of, EventType), self._event_type_changed)
        dispatchers = _Table(partial(seen_of, Dispatcher), self._dispatcher_changed)
        secrets = _Table(secret_of, self._secret_changed)
        publishers = _Table(publisher_of, _publisher_changed)
        pods = _Table(pod_of, _pod_changed)
        asking = _Table(asking_of, _asking_changed)
        self.webhooks = webhooks.cache.values
        self.event_types = event_types.cache.values
        self.dispatchers = dispatchers.cache.values
        self.secrets = secrets.cache.values
        self.publishers = publishers.cache.values
        self.pods = pods.cache.values
        self.asking = asking.cache.values
        """ConfigMaps that ask for the CA."""
        self._tables: dict[str, _Table[Any]] = {
            WEBHOOKS.name: webhooks,
            EVENT_TYPES.name: event_types,
            DISPATCHERS.name: dispatchers,
            SECRETS.name: secrets,
            _slot_of(PUBLISHERS, ours=False): publishers,
            PODS.name: pods,
            CONFIG_MAPS.name: asking,
            NAMESPACES.name: _Table(_labels_of, self._namespace_changed),
            **{slot: _Table(whole, _own_changed) for slot in _OWN},
        }

    def put(self, kind: Kind, manifest: Object) -> set[Key]:
        """An object is there, or changed. The keys that its news concerns; none when it is known.

        Never raises: an object of a shape that nobody thought of must not stop the work on others.
        """
        try:
            return self._put(kind, manifest)
        except Exception as error:  # noqa: BLE001  # whatever stands in an object
            _say_unreadable(kind, manifest, error)
            return set()

    def _put(self, kind: Kind, manifest: Object) -> set[Key]:
        metadata = manifest["metadata"]
        table, place = self._table_of(kind, metadata), _place(kind, metadata)
        version = _version(metadata)
        if metadata.get("deletionTimestamp"):
            # Going: what is deleted must not be served until some finalizer of others lets go.
            change = table.cache.end(place, version)
        else:
            change = table.cache.put(place, Stamp(str(metadata.get("uid", "")), version), manifest)
        return table.concerned(change) if change else set()

    def remove(self, kind: Kind, manifest: Object) -> set[Key]:
        """An object is gone, unless another one of its name is there already, or the same one came back since."""
        metadata: Any = manifest.get("metadata")
        if not is_identity(metadata):
            return set()
        table = self._table_of(kind, metadata)
        change = table.cache.remove(_place(kind, metadata), _version(metadata), metadata.get("uid"))
        return table.concerned(change) if change else set()

    def replace_all(self, kind: Kind, manifests: Iterable[Object], version: int, *, ours: bool = False) -> set[Key]:
        """A whole list of some version: what is neither in it nor newer is gone, whatever a watch said or missed."""
        table = self._tables[_slot_of(kind, ours=ours)]
        listed = {
            _place(kind, each["metadata"]): each
            for each in manifests
            if self.belongs(kind, each.get("metadata"), ours=ours)
        }
        keys: set[Key] = set()
        for change in table.cache.replace_all(listed, version):
            keys |= table.concerned(change)
        for manifest in listed.values():
            keys |= self.put(kind, manifest)
        table.cache.confirm(version)
        return keys

    def confirm(self, kind: Kind, version: int, *, ours: bool = False) -> None:
        """A whole list of this version agrees with what is known: it says by itself what was gone until then."""
        self._tables[_slot_of(kind, ours=ours)].cache.confirm(version)

    def differs(self, kind: Kind, listed: Iterable[Object], version: int | None = None, *, ours: bool = False) -> bool:
        """Whether a list of metadata names other objects or newer versions than are known.

        With the version of the list, what came after it does not count.
        """
        found = (each["metadata"] for each in listed if self.belongs(kind, each.get("metadata"), ours=ours))
        there = [metadata for metadata in found if not metadata.get("deletionTimestamp")]
        versions = {_place(kind, metadata): _version(metadata) for metadata in there}
        return self._tables[_slot_of(kind, ours=ours)].cache.differs(versions, version)

    def belongs(self, kind: Kind, metadata: Any, *, ours: bool) -> bool:
        """Whether a list or watch of our own objects, or of all others, is the one that tells of this object.

        Both may name it: whoever sets labels may allow one of ours, or call a Secret one.
        """
        if not is_identity(metadata):
            return False
        if kind is PUBLISHERS:
            return not self._is_ours(SECRETS, metadata)
        return kind not in (SECRETS, CONFIG_MAPS) or self._is_ours(kind, metadata) == ours

    def _is_ours(self, kind: Kind, metadata: Object) -> bool:
        """Whether the operator makes such an object, whatever it is labelled. No Webhook may use such a Secret."""
        own = kind in (SECRETS, CONFIG_MAPS) and metadata.get("namespace") == self._namespace
        return own and is_own_name(metadata["name"])

    def _table_of(self, kind: Kind, metadata: Object) -> _Table[Any]:
        """Allowed Secrets and our own come from different lists and watches."""
        return self._tables[_slot_of(kind, ours=self._is_ours(kind, metadata))]

    def own(self, kind: Kind, place: Place) -> Object | None:
        """An object of our own as it is in the cluster, a part of a book or of a workload; None without one."""
        return self._tables[_slot_of(kind, ours=kind in (SECRETS, CONFIG_MAPS))].cache.values.get(place)

    def all_keys(self) -> set[Key]:
        """Every resource, to be looked at."""
        return {
            *(WebhookKey(*place) for place in self.webhooks),
            *(EventTypeKey(name) for _, name in self.event_types),
            *(DispatcherKey(*place) for place in self.dispatchers),
            PublishersKey(),
            AuthorityKey(),
            BundlesKey(),
            ApiKey(),
            ApiServiceKey(),
        }

    def webhooks_of(self, dispatcher: str) -> set[Key]:
        """The Webhooks that name a Dispatcher."""
        return _webhooks(self.references.of_dispatcher(dispatcher))

    def sender_pods(self, dispatcher: str) -> list[Pod]:
        """The sender pods of a Dispatcher."""
        return self._pods_of(dispatcher, SENDER)

    def gateway_pods(self, dispatcher: str) -> list[Pod]:
        """The gateway pods of a Dispatcher."""
        return self._pods_of(dispatcher, GATEWAY)

    def api_pods(self) -> list[Pod]:
        """The pods of the log's API."""
        return self._pods_of("", API)

    def _pods_of(self, dispatcher: str, component: str) -> list[Pod]:
        return [pod for pod in self.pods.values() if (pod.dispatcher, pod.component) == (dispatcher, component)]

    def _webhook_changed(self, change: Change[Seen[Webhook]]) -> set[Key]:
        if change.now is None:
            self.references.remove(change.place)
        else:
            self.references.put(change.place, change.now.value)
        return {WebhookKey(*change.place)}

    def _event_type_changed(self, change: Change[Seen[EventType]]) -> set[Key]:
        """An EventType, and when more than its status changed, the Webhooks on it and the books that hold it."""
        key = EventTypeKey(change.place[1])
        if _is_of_status(change):
            return {key}
        self.policy_changes += 1
        found = (each.value for each in (change.before, change.now) if each is not None)
        events = {each.spec.event for each in found if each is not None}
        users = (_webhooks(self.references.of_event(event)) for event in events)
        keys: set[Key] = {key, *(RootKey(each.name) for each in self.dispatchers.values())}
        return keys.union(*users)

    def _dispatcher_changed(self, change: Change[Seen[Dispatcher]]) -> set[Key]:
        """A Dispatcher, and when more than its status changed, every other one and its Webhooks."""
        if _is_of_status(change):
            return {DispatcherKey(*change.place)}
        self.policy_changes += 1
        keys: set[Key] = {RootKey(change.place[1]), PublishersKey(), AuthorityKey(), ApiKey()}
        # Whether another one works may hang on this one: two may not use one NATS.
        for place in {change.place, *self.dispatchers}:
            keys |= {DispatcherKey(*place), *self.webhooks_of(place[1])}
        return keys

    def _namespace_changed(self, change: Change[Mapping[str, str]]) -> set[Key]:
        """The Webhooks of a namespace and whether it gets the CA, unless its labels are as before."""
        name = change.place[1]
        if change.now is None:
            self.namespace_labels.pop(name, None)
        else:
            self.namespace_labels[name] = change.now
            if change.now == change.before:
                return set()
        keys = _webhooks(self.references.of_namespace(name))
        if any(namespace == name for namespace, _ in self.publishers):
            keys.add(PublishersKey())
        if (name, CA_NAME) in self.asking:
            keys.add(BundlesKey())
        return keys

    def _secret_changed(self, change: Change[Any]) -> set[Key]:
        return _webhooks(self.references.of_secret(change.place))


def _publisher_changed(_: Change[Publisher]) -> set[Key]:
    return {PublishersKey()}


def _slot_of(kind: Kind, *, ours: bool) -> str:
    return f"own {kind.name}" if ours else f"{kind.name} {kind.part}".strip()


_OWN = (
    _slot_of(CONFIG_MAPS, ours=True),
    _slot_of(SECRETS, ours=True),
    *(kind.name for kind in (DEPLOYMENTS, DISRUPTION_BUDGETS, NETWORK_POLICIES, SERVICE_ACCOUNTS, SERVICES)),
)


def is_identity(metadata: Any) -> bool:
    """Whether metadata says which object it is of: what a garbled answer may lack."""
    return isinstance(metadata, Mapping) and isinstance(metadata.get("name"), str)


def _version(metadata: Object) -> int:
    version = metadata.get("resourceVersion")
    return int(version) if isinstance(version, str) and version.isascii() and version.isdigit() else 0


def _say_unreadable(kind: Kind, manifest: Object, error: Exception) -> None:
    """Which object, and nothing that stands in it."""
    metadata = manifest.get("metadata") if isinstance(manifest, Mapping) else None
    named = {key: str((metadata or {}).get(key, ""))[:253] for key in ("namespace", "name")}
    log.error("an object cannot be read; left as it was", kind=kind.name, problem=type(error).__name__, **named)


def _place(kind: Kind, metadata: Object) -> Place:
    return (metadata.get("namespace") or "" if kind.namespaced else "", metadata["name"])


def _labels_of(manifest: Object) -> Mapping[str, str]:
    return dict(manifest["metadata"].get("labels") or {})


def _webhooks(places: Iterable[Place]) -> set[Key]:
    return {WebhookKey(*place) for place in places}


def _is_of_status(change: Change[Seen[Any]]) -> bool:
    """Whether the same resource was there before, and its spec is as it was."""
    before, now = change.before, change.now
    if before is None or now is None:
        return False
    return (before.uid, before.generation) == (now.uid, now.generation)


def _pod_changed(change: Change[Pod]) -> set[Key]:
    """Senders are asked what they serve. Of a gateway the Dispatcher says what its pods wait for, as of the API."""
    pod = change.now or change.before
    if pod is not None and pod.component == API:
        return {ApiKey()}
    if pod is not None and pod.component == GATEWAY:
        return {DispatcherKey(change.place[0], pod.dispatcher)}
    return {SendersKey(pod.dispatcher)} if pod is not None and pod.component == SENDER else set()


def _asking_changed(change: Change[Asking]) -> set[Key]:
    return {BundlesKey()} if change.place[1] == CA_NAME else set()


def _own_changed(change: Change[Object]) -> set[Key]:
    """What is to be looked at when one of our own objects changed: only its owner knows whether we did it."""
    manifest = change.before if change.now is None else change.now
    return _owner_of(manifest["metadata"]) if manifest is not None else set()


def _owner_of(metadata: Object) -> set[Key]:
    if metadata["name"] in NATS_NAMES:
        return {NatsUsersKey()}
    part = book_part(metadata["name"])
    if part is not None:
        dispatcher, shard = part
        return {RootKey(dispatcher) if shard is None else ShardKey(dispatcher, shard)}
    if metadata["name"].startswith(publishers_name("")):
        return {PublishersKey()}
    if is_of_authority(metadata["name"]):
        return {AuthorityKey()}
    if metadata["name"] in (API_NAME, API_QUEUES_NAME):
        return {ApiKey()}
    found = (metadata.get("labels") or {}).get(DISPATCHER_LABEL)
    return {DispatcherKey(metadata.get("namespace") or "", found)} if found else set()
