"""The route book: what the control side tells the senders.

Decides the form of routes and keys, in which shard each lies and which events a route hears. How a book is written as
files is decided in book_files. Control and delivery share these two modules and nothing else.

A route holds nothing secret. What may be secret lies in its keys, which are written to other files: signing keys,
header values, certificates, and the query of the URL, in which many receivers expect a token.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from hookline.events.schemas import EventTypeSpec
from hookline.resources.dispatcher import STREAM_PREFIX
from hookline.resources.egress_policy import DEFAULT_PORTS, EgressPolicy, policy_of
from hookline.routing.signing import public_key

BOOK_SHARDS = 64
"""Shards of a book: 10,000 Webhooks make about 160 routes a shard, some 80 KiB, far below the 1 MiB of a ConfigMap."""

BOOK_FILE = "book.json"


ROTATION_SECONDS = 86_400
"""How long a replaced signing key signs beside the new one (design: 24 h), so that receivers can change theirs."""

MAX_KEYS_BYTES = 96 * 1024
"""Of what one Webhook takes from its headers, certificates and URL's query, as it stands in the book: the largest CA
that is taken (64 KiB), a client certificate with its chain, and all the headers that a receiver reads."""

MAX_RETIRED_KEYS = 4
"""Signatures beside the present ones: as many keys as one Secret may hold. Whoever rotates more often within a day
loses the oldest."""


class RouteState(StrEnum):
    """What a sender does with the deliveries of a Webhook."""

    ACTIVE = "Active"
    """Deliver."""
    HELD = "Held"
    """Something is missing that the team can supply, such as a Secret: deliveries are made and wait."""
    DISABLED = "Disabled"
    """No new deliveries are made; those made before wait until it is enabled again."""


KNOWN_NEEDS: frozenset[str] = frozenset()
"""What this version knows of all that a route may need: nothing yet. See docs/upgrades.md before adding a field."""


class Record(BaseModel):
    """Base of what stands in a route book. Fields of a later version are passed over."""

    # Inputs are hidden, because an error of a record of keys would show the keys.
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class RouteHead(Record):
    """Whose a route is and what it hears: the part that is the same in every version of the format."""

    uid: str = Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9-]+$", description="uid of the Webhook.")
    namespace: str = Field(max_length=63, description="Its namespace, which is the tenant whose events it hears.")
    name: str = Field(max_length=253, description="Its name.")
    generation: int = Field(ge=0, description="The generation of the Webhook that was compiled.")
    event: str | None = Field(max_length=128, description="Event type; null when the Webhook hears none.")


class Route(RouteHead):
    """One Webhook, compiled and without secrets."""

    state: RouteState = Field(description="Deliver, let wait, or make no deliveries.")
    paused: bool = Field(
        default=False, description="Held because its owner paused it, and for nothing else: it may be called as a test."
    )
    needs: tuple[Annotated[str, Field(max_length=64, pattern=r"^[a-z0-9-]+$")], ...] = Field(
        default=(),
        max_length=32,
        description="What a sender must know to do right by this Webhook. One that does not know all of it holds it.",
    )
    url: str = Field(max_length=2048, description="URL without its query, which lies in the keys.")
    timeout_seconds: int = Field(ge=1, le=30, description="Bound of one whole call.")
    schedule_seconds: tuple[int, ...] = Field(max_length=20, description="Waits between attempts.")
    max_concurrency: int = Field(ge=1, le=1000, description="Calls at once, of all senders together.")
    rate_limit: tuple[int, int] | None = Field(default=None, description="Calls in so many seconds, of all senders.")

    @property
    def title(self) -> str:
        """How people call it: namespace/name."""
        return f"{self.namespace}/{self.name}"

    @property
    def per_second(self) -> float:
        """Calls a second, of all senders together; 0 without a limit."""
        return self.rate_limit[0] / self.rate_limit[1] if self.rate_limit else 0.0


def held_route(head: RouteHead, *, state: RouteState = RouteState.HELD) -> Route:
    """A route of which only the head is known: never called."""
    return Route(
        uid=head.uid,
        namespace=head.namespace,
        name=head.name,
        generation=head.generation,
        event=head.event,
        state=state,
        url="",
        timeout_seconds=1,
        schedule_seconds=(),
        max_concurrency=1,
    )


class RetiredKey(Record):
    """A signing key that was replaced and signs beside its successor until its time is over."""

    key: str = Field(repr=False, description="One key as it was in the Secret.")
    until_s: int = Field(ge=0, description="Unix time from which it no longer signs.")


@dataclass(frozen=True, slots=True)
class PublicKey:
    """With which receivers verify `v1a` signatures. `until_s` (Unix time) is None while its private key is in use."""

    text: str
    until_s: int | None = None


class Keys(Record):
    """What may be secret of one Webhook. Its repr shows the uid only."""

    uid: str
    query: str = Field(default="", repr=False, description="Query of the URL as typed, without the question mark.")
    signing: str | None = Field(
        default=None, repr=False, description="Standard Webhooks keys, with a space between them."
    )
    retired: tuple[RetiredKey, ...] = Field(
        default=(), max_length=MAX_RETIRED_KEYS, repr=False, description="Keys that a rotation left, newest first."
    )
    headers: tuple[tuple[str, str], ...] = Field(default=(), repr=False, description="User headers.")
    ca_pem: str | None = Field(default=None, repr=False, description="CA certificates that may sign the receiver's.")
    client_cert_pem: str | None = Field(default=None, repr=False, description="Client certificate chain.")
    client_key_pem: str | None = Field(default=None, repr=False, description="Its private key.")

    def secrets(self) -> list[str]:
        """Every text that must not be shown, for redaction."""
        texts = [
            self.query,
            *self.signing_keys,
            *(retired.key for retired in self.retired),
            *(value for _, value in self.headers),
            self.client_key_pem or "",
        ]
        return [text for text in texts if text]

    @property
    def size_bytes(self) -> int:
        """Length in the book, without signing keys."""
        signed = {"signing", "retired"}
        return len(self.model_dump_json(exclude=signed, exclude_defaults=True))

    def in_use(self) -> list[str]:
        """The secrets without signing keys that were replaced: what whoever rotates replaces."""
        return self.model_copy(update={"retired": ()}).secrets()

    @property
    def signing_keys(self) -> tuple[str, ...]:
        """The present keys, in the order of the Secret."""
        return tuple(self.signing.split()) if self.signing else ()

    def signing_at(self, now_s: float) -> tuple[str, ...]:
        """The keys that sign a call made at `now_s` (Unix time): the present ones first, then those not yet expired."""
        present = self.signing_keys
        if not present or not self.retired:
            return present
        return (*present, *(retired.key for retired in self.retired if now_s < retired.until_s))

    def public_keys_at(self, now_s: float) -> tuple[PublicKey, ...]:
        """Of those that sign a call made at `now_s` (Unix time), the keys that all may know."""
        until = {retired.key: retired.until_s for retired in self.retired}
        found = ((public_key(key), until.get(key)) for key in self.signing_at(now_s))
        return tuple(PublicKey(text, until_s) for text, until_s in found if text is not None)


class DispatcherRecord(Record):
    """What a sender must know of its Dispatcher."""

    allow_cidrs: tuple[str, ...] = Field(default=(), description="Networks that may be called although private.")
    allow_ports: tuple[str, ...] = Field(default=DEFAULT_PORTS, description="Ports that may be called.")
    proxy_url: str | None = Field(default=None, description="Forward proxy through which all calls go.")
    allow_own: bool = Field(default=False, description="Whether the sender's own addresses may be listed.")
    events_seconds: int = Field(default=604_800, description="How long events are kept.")
    parked_seconds: int = Field(default=604_800, description="How long deliveries wait for a held Webhook.")
    dead_seconds: int = Field(default=2_592_000, description="How long dead letters are kept.")
    attempts_enabled: bool = Field(default=True, description="Whether the attempts log is written.")
    attempts_seconds: int = Field(default=604_800, description="How long it keeps what is written.")
    attempts_bytes: int = Field(default=1_073_741_824, description="How much of it at most.")
    stream_replicas: int = Field(default=1, ge=1, le=5, description="Copies of each stream.")
    stream_prefix: str | None = Field(
        default=None, pattern=f"^{STREAM_PREFIX}$", description="Of the streams' names. None leaves them as they are."
    )

    def policy(self) -> EgressPolicy:
        """What may be called. Raises ValueError for texts that state no policy."""
        return policy_of(self.allow_cidrs, self.allow_ports, self.proxy_url, allow_own=self.allow_own)


_VALIDATIONS: dict[str, Literal["Enforce", "Warn", "Ignore"]] = {"Warn": "Warn", "Ignore": "Ignore"}


class TypeRecord(Record):
    """An event type that an EventType resource defines."""

    name: str
    description: str
    validation: str = Field(description="Enforce, Warn or Ignore. What a version does not know is Enforce to it.")
    schema_: dict[str, Any] = Field(alias="schema")
    sample: Any = Field(default=None, repr=False, description="One body, if there is one.")
    deprecated: str = Field(default="", description="Why it should no longer be used; empty as long as it should.")

    # Senders hand types on to publishers: what only a later version knows must not be lost on the way.
    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True, extra="allow")

    def spec(self) -> EventTypeSpec:
        """The event type, for whoever checks bodies."""
        known = _VALIDATIONS.get(self.validation, "Enforce")
        return EventTypeSpec(
            self.name,
            self.schema_,
            validation=known,
            description=self.description,
            sample=self.sample,
            deprecated=self.deprecated,
        )


@dataclass(frozen=True)
class Shard:
    """The routes and keys of the Webhooks whose uid falls into one shard; both name the same Webhooks."""

    routes: Mapping[str, Route]
    keys: Mapping[str, Keys] = field(repr=False)
    digest: str = ""
    """Digest of the index that it was read from. Empty before it was written."""
    unread: Mapping[str, str] = field(default_factory=dict)
    """Webhooks that this version holds because it does not know what their records say, by uid, and why."""
    problems: tuple[str, ...] = ()
    """What is wrong with records that do not even say whose they are, and are left out."""

    @cached_property
    def by_event(self) -> Mapping[tuple[str, str], tuple[Route, ...]]:
        """Routes by tenant and event type, without those that make no deliveries."""
        found: dict[tuple[str, str], list[Route]] = {}
        for route in sorted(self.routes.values(), key=lambda each: each.uid):
            if route.event is not None and route.state is not RouteState.DISABLED:
                found.setdefault((route.namespace, route.event), []).append(route)
        return {place: tuple(routes) for place, routes in found.items()}


@dataclass(frozen=True, slots=True)
class Audience:
    """For how many Webhooks an event is."""

    called: int
    waiting: int
    """Deliveries are made and wait, such as for a Secret."""
    disabled: int
    """The event is lost to them."""

    def __str__(self) -> str:
        receiving = self.called + self.waiting
        counts = [f"{receiving or 'no'} Webhook{'' if receiving == 1 else 's' if receiving else ''}"]
        counts += [f"{self.waiting} of them waiting"] if self.waiting else []
        counts += [f"{self.disabled} disabled"] if self.disabled else []
        return f"for {', '.join(counts)}"


@dataclass(frozen=True)
class Book:
    """All routes and keys of one dispatcher, by shard. A shard changes without the others."""

    shards: Mapping[int, Shard]
    dispatcher: DispatcherRecord = field(default_factory=DispatcherRecord)
    types: tuple[TypeRecord, ...] = ()
    digest: str = ""
    """Digest of the root that it was read from, without the shards'. Empty before it was written."""

    @cached_property
    def unread(self) -> Mapping[str, str]:
        """Webhooks that this version holds because it does not know what their records say, by uid, and why."""
        return {
            uid: why
            for number, shard in self.shards.items()
            for uid, why in shard.unread.items()
            if self._moving.get(uid, number) == number
        }

    def route(self, uid: str) -> Route | None:
        """The route of a Webhook."""
        return self._routes.get(uid)

    def keys(self, uid: str) -> Keys:
        """The keys of a Webhook; empty ones when it has none."""
        return self._keys.get(uid) or Keys(uid=uid)

    @cached_property
    def _moving(self) -> dict[str, int]:
        """Of Webhooks that are in two shards, because they move: the shard to which, where the newer form is."""
        uids = [uid for shard in self.shards.values() for uid in shard.routes]
        if len(set(uids)) == len(uids):
            return {}
        numbers: dict[str, list[int]] = {}
        for number, shard in self.shards.items():
            for uid in shard.routes:
                numbers.setdefault(uid, []).append(number)
        return {
            uid: max(found, key=lambda number: distance(uid, number))
            for uid, found in numbers.items()
            if len(found) > 1
        }

    @cached_property
    def _routes(self) -> dict[str, Route]:
        """By uid: a delivery asks five times, and the way over the shard takes 6 us of its CPU in a profile."""
        found = {uid: route for shard in self.shards.values() for uid, route in shard.routes.items()}
        return found | {uid: self.shards[number].routes[uid] for uid, number in self._moving.items()}

    @cached_property
    def _keys(self) -> dict[str, Keys]:
        found = {uid: keys for shard in self.shards.values() for uid, keys in shard.keys.items()}
        return found | {uid: self.shards[number].keys[uid] for uid, number in self._moving.items()}

    def named(self, namespace: str, name: str) -> Route | None:
        """The route of a Webhook by its name, for whoever asks seldom."""
        return next((each for each in self.routes() if (each.namespace, each.name) == (namespace, name)), None)

    def all_keys(self) -> Iterator[Keys]:
        """The keys of every Webhook."""
        yield from self._keys.values()

    def routes(self) -> Iterator[Route]:
        """Every route."""
        yield from self._routes.values()

    def match(self, tenant: str, event_type: str) -> tuple[Route, ...]:
        """The routes for which an event becomes a delivery."""
        place = (tenant, event_type)
        found = self._matches.get(place)
        if found is None:
            routes = (route for shard in self.shards.values() for route in shard.by_event.get(place, ()))
            found = tuple(route for route in routes if self._routes[route.uid] is route)
            if found:
                # Only what is heard, which the routes bound: anybody may publish events that nobody hears.
                self._matches[place] = found
        return found

    @cached_property
    def _matches(self) -> dict[tuple[str, str], tuple[Route, ...]]:
        """What `match` found before: asking all 64 shards takes 11 us of an event's CPU in a profile."""
        return {}

    def audience(self, tenant: str, event_type: str) -> Audience:
        """For how many Webhooks an event is."""
        states = [route.state for route in self.match(tenant, event_type)]
        called = states.count(RouteState.ACTIVE)
        return Audience(called, len(states) - called, self._disabled[tenant, event_type])

    @cached_property
    def _disabled(self) -> Counter[tuple[str, str | None]]:
        """How many there are, by tenant and event type."""
        return Counter((each.namespace, each.event) for each in self.routes() if each.state is RouteState.DISABLED)

    def served(self) -> dict[str, str]:
        """Digests by file, of the root and of each shard's index: says exactly which book this is."""
        return {BOOK_FILE: self.digest} | {index_file(number): each.digest for number, each in self.shards.items()}


def index_file(shard: int) -> str:
    """Names the digests of the two files of a shard."""
    return f"index-{shard:02}.json"


def book_of(
    entries: Iterable[tuple[Route, Keys]],
    dispatcher: DispatcherRecord | None = None,
    types: Iterable[TypeRecord] = (),
) -> Book:
    """A book of compiled Webhooks, the same whatever their order."""
    found: dict[int, list[tuple[Route, Keys]]] = {}
    for route, keys in sorted(entries, key=lambda pair: pair[0].uid):
        found.setdefault(shard_of(route.uid, BOOK_SHARDS), []).append((route, keys))
    return Book(
        {number: shard_with(pairs) for number, pairs in sorted(found.items())},
        dispatcher or DispatcherRecord(),
        tuple(sorted(types, key=lambda each: each.name)),
    )


def shard_with(pairs: Iterable[tuple[Route, Keys]]) -> Shard:
    """A shard of compiled Webhooks."""
    pairs = list(pairs)
    return Shard({route.uid: route for route, _ in pairs}, {keys.uid: keys for _, keys in pairs})


def shard_of(uid: str, shards: int) -> int:
    """The home of a Webhook: by hash, so that a change of one Webhook never moves another."""
    return int.from_bytes(hashlib.sha256(uid.encode()).digest()[:8]) % shards


def distance(uid: str, shard: int) -> int:
    """How far a shard is from a Webhook's home. One that finds no room at home is in the next shard that has some."""
    return (shard - shard_of(uid, BOOK_SHARDS)) % BOOK_SHARDS


def rotated(before: Keys | None, now: Keys, now_s: float) -> Keys:
    """`now` with the signing keys of `before` that sign on for a while: those that the Secret no longer holds.

    A key that was taken away (its Secret deleted or no longer allowed) never signs on: to take back is not to rotate.
    """
    if before is None or now.signing is None:
        return now
    present = now.signing_keys
    until_s = int(now_s) + ROTATION_SECONDS
    replaced = [RetiredKey(key=key, until_s=until_s) for key in before.signing_keys]
    kept = [*replaced, *(retired for retired in before.retired if now_s < retired.until_s)]
    kept = [retired for retired in kept if retired.key not in present][:MAX_RETIRED_KEYS]
    return now.model_copy(update={"retired": tuple(kept)})
