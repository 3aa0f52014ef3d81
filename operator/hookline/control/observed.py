"""What the cluster holds, as far as decisions need it: read once when it changes, found again by what refers to it.

`put`, `remove` and `replace_all` take objects as the API server writes them and say which keys are to be looked at
again. What is older never replaces what is newer, nor brings back what is gone, so that watches, lists and answers to
writes may overlap in any order. Decides nothing about Webhooks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

import structlog
from pydantic import ValidationError

from hookline.control.kinds import (
    CONFIG_MAPS,
    DISPATCHER_LABEL,
    DISPATCHERS,
    EVENT_TYPES,
    NAMESPACES,
    PODS,
    SECRETS,
    TOUCHED_ANNOTATION,
    WEBHOOKS,
    Kind,
    book_part,
)
from hookline.control.reading import MAX_DEPTH, TOO_DEEP
from hookline.dispatcher import Dispatcher
from hookline.eventtype import EventType
from hookline.resource import Resource, problems_of
from hookline.secret import Secret, SecretProblem
from hookline.webhook import Webhook

log = structlog.get_logger(__name__)

Object = Mapping[str, Any]
Place = tuple[str, str]
"""Namespace (empty for what has none) and name."""

R = TypeVar("R", bound=Resource)


class Key(NamedTuple):
    """Something to look at: a kind of work, and what it is about."""

    work: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Seen(Generic[R]):
    """One resource. `value` is None when its spec is not valid, and `problem` says why."""

    namespace: str
    name: str
    uid: str
    generation: int
    created: str
    status: Object = field(repr=False)
    value: R | None = field(repr=False)
    problem: str = ""
    version: str = ""
    """The resourceVersion."""


@dataclass(frozen=True, slots=True)
class SenderPod:
    """A sender pod, as far as the operator talks to it."""

    name: str
    dispatcher: str
    ip: str
    ready: bool
    touched: str
    """Value of the annotation that the operator touches."""
    waiting: str = ""
    """What keeps a container of it from running, such as ImagePullBackOff."""


class Observed:
    """The state, by kind and place. `namespace` is the operator's own, in which route books are."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self.webhooks: dict[Place, Seen[Webhook]] = {}
        self.event_types: dict[Place, Seen[EventType]] = {}
        self.dispatchers: dict[Place, Seen[Dispatcher]] = {}
        self.secrets: dict[Place, Secret] = {}
        self.namespace_labels: dict[str, Mapping[str, str]] = {}
        self.pods: dict[Place, SenderPod] = {}
        self.objects: dict[tuple[str, Place], Object] = {}
        """Our own objects: ConfigMaps, Secrets and Deployments, by kind and place, as they are in the cluster."""
        self.policy_changes = 0
        """Counts changes of Dispatchers and EventTypes, which every decision looks at."""
        self._versions: dict[tuple[str, Place], tuple[str, int]] = {}
        self._gone: dict[tuple[str, Place], int] = {}
        """Version at which an object went, as long as no list is newer."""
        self._listed: dict[str, int] = {}
        """Version of the newest whole list, by slot: what is older and was not in it is gone."""
        self._by_secret: defaultdict[Place, set[Place]] = defaultdict(set)
        self._by_event: defaultdict[str, set[Place]] = defaultdict(set)
        self._by_dispatcher: defaultdict[str, set[Place]] = defaultdict(set)
        self._by_namespace: defaultdict[str, set[Place]] = defaultdict(set)

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
        slot, place = self._slot(kind, metadata), _place(kind, metadata)
        version = _version(metadata)
        if version <= self._known(slot, place):
            return set()
        if metadata.get("deletionTimestamp"):
            # Going: what is deleted must not be served until some finalizer of others lets go.
            return self._drop(kind, slot, place, version)
        self._gone.pop((slot, place), None)
        self._versions[slot, place] = (str(metadata.get("uid", "")), version)
        return self._store(kind, manifest, place)

    def remove(self, kind: Kind, manifest: Object) -> set[Key]:
        """An object is gone, unless another one of its name is there already, or the same one came back since."""
        metadata: Any = manifest.get("metadata")
        if not is_identity(metadata):
            return set()
        slot, place = self._slot(kind, metadata), _place(kind, metadata)
        version = _version(metadata)
        there = self._versions.get((slot, place))
        if there is None:
            self._gone[slot, place] = max(version, self._known(slot, place))
            return set()
        if there[0] != metadata.get("uid", there[0]) or there[1] > version:
            return set()
        return self._drop(kind, slot, place, version)

    def replace_all(self, kind: Kind, manifests: Iterable[Object], version: int, *, ours: bool = False) -> set[Key]:
        """A whole list of some version: what is neither in it nor newer is gone, whatever a watch said or missed."""
        slot = _slot_of(kind, ours=ours)
        listed = {
            _place(kind, each["metadata"]): each
            for each in manifests
            if self.belongs(kind, each.get("metadata"), ours=ours)
        }
        gone = [
            place
            for (where, place), (_, known) in self._versions.items()
            if where == slot and place not in listed and known <= version
        ]
        keys: set[Key] = set()
        for place in gone:
            keys |= self._drop(kind, slot, place, version)
        if version >= self._listed.get(slot, 0):
            # The newest word on all of them, also on what a list before it lacked.
            self._listed[slot] = 0
            for place in listed:
                if self._gone.get((slot, place), 0) <= version:
                    self._gone.pop((slot, place), None)
        for manifest in listed.values():
            keys |= self.put(kind, manifest)
        self.confirm(kind, version, ours=ours)
        return keys

    def confirm(self, kind: Kind, version: int, *, ours: bool = False) -> None:
        """A whole list of this version agrees with what is known: it says by itself what was gone until then."""
        slot = _slot_of(kind, ours=ours)
        self._listed[slot] = max(version, self._listed.get(slot, 0))
        for where in [where for where, gone in self._gone.items() if where[0] == slot and gone <= version]:
            del self._gone[where]

    def _known(self, slot: str, place: Place) -> int:
        """The newest version at which something is known of a place: what was there, or that nothing was."""
        there = self._versions.get((slot, place))
        return there[1] if there else max(self._gone.get((slot, place), 0), self._listed.get(slot, 0))

    def differs(self, kind: Kind, listed: Iterable[Object], version: int | None = None, *, ours: bool = False) -> bool:
        """Whether a list of metadata names other objects or newer versions than are known.

        With the version of the list, what came after it does not count.
        """
        slot = _slot_of(kind, ours=ours)
        found = (each["metadata"] for each in listed if self.belongs(kind, each.get("metadata"), ours=ours))
        there = [metadata for metadata in found if not metadata.get("deletionTimestamp")]
        versions = {_place(kind, metadata): _version(metadata) for metadata in there}
        known = {place: each for (where, place), (_, each) in self._versions.items() if where == slot}
        if any(place not in versions and (version is None or each <= version) for place, each in known.items()):
            return True
        return any(self._known(slot, place) < each for place, each in versions.items())

    def belongs(self, kind: Kind, metadata: Any, *, ours: bool) -> bool:
        """Whether a list or watch of our own objects, or of all others, is the one that tells of this object.

        Both may name it: whoever sets labels may lend a part of a book, or call a Secret one.
        """
        if not is_identity(metadata):
            return False
        return kind not in (SECRETS, CONFIG_MAPS) or self._is_ours(kind, metadata) == ours

    def _is_ours(self, kind: Kind, metadata: Object) -> bool:
        """Whether an object is a part of a route book, whatever it is labelled. Such a Secret is never lent."""
        own = kind in (SECRETS, CONFIG_MAPS) and metadata.get("namespace") == self._namespace
        return own and book_part(metadata["name"]) is not None

    def _slot(self, kind: Kind, metadata: Object) -> str:
        """Lent Secrets and our own come from different lists and watches."""
        return _slot_of(kind, ours=self._is_ours(kind, metadata))

    def all_keys(self) -> set[Key]:
        """Every resource, to be looked at."""
        named = (("Webhook", self.webhooks), ("EventType", self.event_types), ("Dispatcher", self.dispatchers))
        return {Key(work, *place) for work, places in named for place in places}

    def webhooks_of(self, dispatcher: str) -> set[Key]:
        """The Webhooks that name a Dispatcher."""
        return {Key("Webhook", *place) for place in self._by_dispatcher.get(dispatcher, ())}

    def sender_pods(self, dispatcher: str) -> list[SenderPod]:
        """The sender pods of a Dispatcher."""
        return [pod for pod in self.pods.values() if pod.dispatcher == dispatcher]

    def _store(self, kind: Kind, manifest: Object, place: Place) -> set[Key]:
        if kind is WEBHOOKS:
            return self._store_webhook(_seen(Webhook, manifest), place)
        if kind is EVENT_TYPES:
            return self._store_event_type(_seen(EventType, manifest), place)
        if kind is DISPATCHERS:
            before = self.dispatchers.get(place)
            self.dispatchers[place] = _seen(Dispatcher, manifest)
            return self._dispatcher_keys(place, before, self.dispatchers[place])
        if kind is NAMESPACES:
            labels = dict(manifest["metadata"].get("labels") or {})
            changed = self.namespace_labels.get(place[1]) != labels
            self.namespace_labels[place[1]] = labels
            return self._namespace_keys(place[1]) if changed else set()
        if kind is PODS:
            self.pods[place] = _pod(manifest)
            return {Key("Senders", "", self.pods[place].dispatcher)}
        if kind is SECRETS and not self._is_ours(kind, manifest["metadata"]):
            self.secrets[place] = _secret(manifest)
            return {Key("Webhook", *user) for user in self._by_secret.get(place, ())}
        self.objects[kind.name, place] = manifest
        return _own_keys(manifest["metadata"])

    def _store_webhook(self, seen: Seen[Webhook], place: Place) -> set[Key]:
        self._unlink(place)
        self.webhooks[place] = seen
        self._link(seen, place)
        return {Key("Webhook", *place)}

    def _store_event_type(self, seen: Seen[EventType], place: Place) -> set[Key]:
        before = self.event_types.get(place)
        self.event_types[place] = seen
        keys = {Key("EventType", *place)}
        if before is None or before.generation != seen.generation or before.uid != seen.uid:
            self.policy_changes += 1
            keys |= self._event_keys(before, seen)
        return keys

    def _drop(self, kind: Kind, slot: str, place: Place, version: int) -> set[Key]:
        self._versions.pop((slot, place), None)
        self._gone[slot, place] = version
        if kind is WEBHOOKS:
            self._unlink(place)
            self.webhooks.pop(place, None)
            return {Key("Webhook", *place)}
        if kind is EVENT_TYPES:
            self.policy_changes += 1
            return {Key("EventType", *place)} | self._event_keys(self.event_types.pop(place, None))
        if kind is DISPATCHERS:
            return self._dispatcher_keys(place, self.dispatchers.pop(place, None), None)
        if kind is NAMESPACES:
            self.namespace_labels.pop(place[1], None)
            return self._namespace_keys(place[1])
        if kind is PODS:
            pod = self.pods.pop(place, None)
            return {Key("Senders", "", pod.dispatcher)} if pod else set()
        if slot == SECRETS.name:
            self.secrets.pop(place, None)
            return {Key("Webhook", *user) for user in self._by_secret.get(place, ())}
        gone = self.objects.pop((kind.name, place), None)
        return _own_keys(gone["metadata"]) if gone else set()

    def _link(self, seen: Seen[Webhook], place: Place) -> None:
        for index, name in self._links(seen):
            index[name].add(place)

    def _unlink(self, place: Place) -> None:
        seen = self.webhooks.get(place)
        for index, name in self._links(seen) if seen else ():
            index[name].discard(place)
            if not index[name]:
                del index[name]

    def _links(self, seen: Seen[Webhook]) -> Iterable[tuple[defaultdict[Any, set[Place]], Any]]:
        yield self._by_namespace, seen.namespace
        if seen.value is not None:
            spec = seen.value.spec
            yield self._by_event, spec.event
            yield self._by_dispatcher, spec.dispatcher
            for name in spec.secret_names():
                yield self._by_secret, (seen.namespace, name)

    def _event_keys(self, *types: Seen[EventType] | None) -> set[Key]:
        """Webhooks on an event type that came, went or changed, and the books that hold it."""
        events = {each.value.spec.event for each in types if each is not None and each.value is not None}
        users = {Key("Webhook", *place) for event in events for place in self._by_event.get(event, ())}
        return users | {Key("Root", "", each.name) for each in self.dispatchers.values()}

    def _namespace_keys(self, namespace: str) -> set[Key]:
        return {Key("Webhook", *place) for place in self._by_namespace.get(namespace, ())}

    def _dispatcher_keys(self, place: Place, before: Seen[Dispatcher] | None, now: Seen[Dispatcher] | None) -> set[Key]:
        """A Dispatcher, and when more than its status changed, every other one and its Webhooks."""
        key = Key("Dispatcher", *place)
        if before and now and (before.uid, before.generation) == (now.uid, now.generation):
            return {key}
        self.policy_changes += 1
        # Whether another one works may hang on this one: two may not use one NATS.
        keys = {key, Key("Root", "", place[1])} | self.webhooks_of(place[1])
        return keys.union(*({Key("Dispatcher", *each)} | self.webhooks_of(each[1]) for each in self.dispatchers))


def _slot_of(kind: Kind, *, ours: bool) -> str:
    return f"own {kind.name}" if ours else kind.name


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


def _seen(model: type[R], manifest: Object) -> Seen[R]:
    metadata = manifest["metadata"]
    value, problem = _parsed(model, {key: value for key, value in manifest.items() if key != "status"})
    return Seen(
        namespace=metadata.get("namespace", ""),
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata.get("generation", 1),
        created=str(metadata.get("creationTimestamp") or ""),
        status=status if isinstance(status := manifest.get("status"), Mapping) else {},
        value=value,
        problem=problem,
        version=metadata.get("resourceVersion", ""),
    )


def _parsed(model: type[R], manifest: Object) -> tuple[R | None, str]:
    if TOO_DEEP in manifest:
        return None, f"the object nests deeper than {MAX_DEPTH} levels; write a flatter one"
    try:
        return model.model_validate(manifest), ""
    except ValidationError as error:
        # Only where the API server did not apply the CRD's rules: an older CRD, or an older API server.
        return None, "; ".join(f"{each.field}: {each.message}" for each in problems_of(error))


def _secret(manifest: Object) -> Secret:
    try:
        return Secret.of_manifest(manifest)
    except (SecretProblem, ValidationError):
        metadata = manifest["metadata"]
        labels = metadata.get("labels")
        return Secret(
            metadata.get("namespace", ""), metadata["name"], labels if isinstance(labels, Mapping) else {}, {}
        )


def _pod(manifest: Object) -> SenderPod:
    metadata, status = manifest["metadata"], manifest.get("status") or {}
    conditions = {each.get("type"): each.get("status") for each in status.get("conditions") or []}
    return SenderPod(
        name=metadata["name"],
        dispatcher=(metadata.get("labels") or {}).get(DISPATCHER_LABEL, ""),
        ip=status.get("podIP") or "",
        ready=conditions.get("Ready") == "True",
        touched=(metadata.get("annotations") or {}).get(TOUCHED_ANNOTATION, ""),
        waiting=_waiting(status),
    )


def _waiting(status: Object) -> str:
    """The words of the kubelet, but for those of an ordinary start."""
    for each in status.get("containerStatuses") or []:
        reason = ((each.get("state") or {}).get("waiting") or {}).get("reason")
        if isinstance(reason, str) and reason not in ("ContainerCreating", "PodInitializing"):
            return reason[:64]
    return ""


def _own_keys(metadata: Object) -> set[Key]:
    """What is to be looked at when one of our own objects changed: only its owner knows whether we did it."""
    part = book_part(metadata["name"])
    if part is not None:
        dispatcher, shard = part
        return {Key("Root", "", dispatcher) if shard is None else Key("Shard", dispatcher, shard)}
    found = (metadata.get("labels") or {}).get(DISPATCHER_LABEL)
    return {Key("Dispatcher", metadata.get("namespace") or "", found)} if found else set()
