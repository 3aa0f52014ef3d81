"""What may be looked at: the keys of the work queue, a type for each kind of work.

A key says what it is about and nothing of its state. Classes and not tuples: two kinds of work on things of the same
name must never be taken for one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class WebhookKey:
    """A Webhook: its route, its keys and its status."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class EventTypeKey:
    """An EventType and its status."""

    name: str


@dataclass(frozen=True, slots=True)
class DispatcherKey:
    """A Dispatcher: its workload and its status."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class ShardKey:
    """A shard of the route book of a Dispatcher, as it is written."""

    dispatcher: str
    shard: int


@dataclass(frozen=True, slots=True)
class RootKey:
    """The root of the route book of a Dispatcher, as it is written."""

    dispatcher: str


@dataclass(frozen=True, slots=True)
class RoomKey:
    """The Webhooks that found no room in the route book of a Dispatcher."""

    dispatcher: str


@dataclass(frozen=True, slots=True)
class TouchKey:
    """The annotation of the sender pods of a Dispatcher that has kubelets refresh the book."""

    dispatcher: str


@dataclass(frozen=True, slots=True)
class SendersKey:
    """The sender pods of a Dispatcher, which are to be asked now."""

    dispatcher: str


@dataclass(frozen=True, slots=True)
class PublishersKey:
    """The Secrets with the digests of publishers' tokens, of all Dispatchers."""


@dataclass(frozen=True, slots=True)
class PublisherKey:
    """A Secret of a publisher, whose team is to be told what becomes of it."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class GatewayTouchKey:
    """The annotation of the gateway pods of a Dispatcher that has kubelets refresh what they mount."""

    dispatcher: str


@dataclass(frozen=True, slots=True)
class AuthorityKey:
    """The CA of the installation, and the certificates of its gateways."""


@dataclass(frozen=True, slots=True)
class BundlesKey:
    """The ConfigMaps with the public part of the CA."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """The log's API: its pods, and which queues they read."""


@dataclass(frozen=True, slots=True)
class ApiServiceKey:
    """What kube-apiserver trusts of the log's API, and whether it reaches it."""


@dataclass(frozen=True, slots=True)
class NatsUsersKey:
    """The users of the NATS that is shipped."""


Key: TypeAlias = (
    WebhookKey
    | EventTypeKey
    | DispatcherKey
    | ShardKey
    | RootKey
    | RoomKey
    | TouchKey
    | SendersKey
    | PublishersKey
    | PublisherKey
    | GatewayTouchKey
    | AuthorityKey
    | BundlesKey
    | ApiKey
    | ApiServiceKey
    | NatsUsersKey
)


def words_of(key: Key) -> tuple[str, str, str]:
    """A key as logs show it: the kind of work, the namespace (the book for a shard; else empty), and the name."""
    work = type(key).__name__.removesuffix("Key")
    match key:
        case WebhookKey(namespace, name) | DispatcherKey(namespace, name) | PublisherKey(namespace, name):
            return (work, namespace, name)
        case ShardKey(dispatcher, shard):
            return (work, dispatcher, f"{shard:02}")
        case EventTypeKey(name) | RootKey(name) | RoomKey(name) | TouchKey(name) | SendersKey(name):
            return (work, "", name)
        case GatewayTouchKey(name):
            return (work, "", name)
        case PublishersKey() | AuthorityKey() | BundlesKey() | ApiKey() | ApiServiceKey() | NatsUsersKey():
            return (work, "", "")
