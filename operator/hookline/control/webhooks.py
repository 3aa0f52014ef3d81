"""From a Webhook to its place in a route book and its status."""

from __future__ import annotations

import time
from dataclasses import dataclass

import structlog

from hookline.control.context import Context
from hookline.control.desired_book import Change, DesiredBook
from hookline.control.fleet import Fleet, NoRoom
from hookline.control.kinds import WEBHOOKS, Place
from hookline.control.seen import Seen
from hookline.control.status import delivering, programmed_before, signing_keys, status_of, trouble_in, with_stalled
from hookline.control.work_keys import RoomKey, WebhookKey
from hookline.resources.reasons import WebhookReason
from hookline.resources.webhook import Webhook
from hookline.routing.routes import Keys, Route, RouteState, rotated
from hookline.routing.verdict import Condition, Verdict, decide, summary

log = structlog.get_logger(__name__)

PATIENCE_SECONDS = 2.0
"""How long senders may take to load a change before the status says that it is pending: mostly they are quicker, and
one write is better than two."""


FULL_SECONDS = 60.0
"""Until Webhooks that found no room are tried again, if others made some: to decide one may take 8 ms of CPU."""


@dataclass(frozen=True, slots=True)
class _Placed:
    """Where a Webhook stands."""

    dispatcher: str
    uid: str
    no_room: NoRoom | None = None


class Webhooks:
    """Decides Webhooks one at a time; none is disturbed by another."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._placed: dict[Place, _Placed] = {}
        self._since: dict[str, float] = {}

    async def reconcile(self, place: Place) -> None:
        """One Webhook: route, keys, status. Raises ClusterError."""
        seen = self._context.observed.webhooks.get(place)
        if seen is None:
            self._withdraw(place)
            return
        verdict = self.place(seen)
        if verdict is None:
            invalid = Condition("Accepted", "False", WebhookReason.INVALID_SPEC, seen.problem)
            await self._write(seen, [invalid, Condition("Ready", "False", invalid.reason, invalid.message)], invalid)
            return
        assert seen.value is not None
        programmed = self._programmed(place, seen, verdict)
        ready = summary(seen.value, verdict.accepted, verdict.secrets_resolved, programmed)
        if self._should_wait(seen, programmed):
            self._context.queue.add_later(WebhookKey(*place), PATIENCE_SECONDS)
            return
        found = self._delivering(place, seen, ready)
        conditions = [verdict.accepted, verdict.secrets_resolved, programmed, ready, found]
        await self._write(seen, conditions, verdict.accepted)

    def place(self, seen: Seen[Webhook]) -> Verdict | None:
        """Decide a Webhook and have the right book hold it. Writes nothing. None when the spec is not valid."""
        place = (seen.namespace, seen.name)
        if seen.value is None:
            self._hold(place, seen)
            return None
        verdict = decide(seen.value, self._context.policy().around)
        fleet = self._context.fleets.get(seen.value.spec.dispatcher)
        known = fleet is not None and seen.uid in fleet.book
        if fleet is None or (verdict.accepted.status != "True" and not known):
            # Nothing was ever accepted of it, so no delivery waits for it.
            self._withdraw(place)
        else:
            self._put(place, fleet, verdict)
        return verdict

    def without_room(self, *, called: bool) -> int:
        """Webhooks whose newest version no route book took: those that are called by an older one, or the others."""
        found = (placed.no_room for placed in self._placed.values())
        return sum(1 for each in found if each is not None and each.called == called)

    def try_again(self, dispatcher: str) -> None:
        """Have those looked at that found no room in a book, if there may be some by now."""
        fleet = self._context.fleets.get(dispatcher)
        waiting = {
            WebhookKey(*place)
            for place, placed in self._placed.items()
            if placed.dispatcher == dispatcher and placed.no_room is not None
        }
        if fleet is None or not waiting:
            return
        if fleet.book.made_room():
            self._context.add(waiting)
        self._context.queue.add_later(RoomKey(dispatcher), FULL_SECONDS)

    def forget_strangers(self) -> None:
        """Remove routes of deleted Webhooks. Call once at startup, after every Webhook was placed."""
        here = {(placed.dispatcher, placed.uid) for placed in self._placed.values()}
        for fleet in self._context.fleets.values():
            for uid in [uid for uid in fleet.book.uids() if (fleet.name, uid) not in here]:
                fleet.book.remove(uid)

    def _put(self, place: Place, fleet: Fleet, verdict: Verdict) -> None:
        before = self._placed.get(place)
        if before is not None and (before.dispatcher, before.uid) != (fleet.name, verdict.route.uid):
            self._withdraw(place)
        now_s = self._context.now().timestamp()
        keys = rotated(fleet.book.keys(verdict.route.uid), verdict.keys, now_s)
        self._expire_later(place, keys, now_s)
        self._enter(place, fleet, verdict.route, keys)

    def _enter(self, place: Place, fleet: Fleet, route: Route, keys: Keys) -> None:
        before = self._placed.get(place)
        change = fleet.book.put(route, keys)
        if change.refused and route.state is not RouteState.ACTIVE and route.uid in fleet.book:
            change = fleet.book.stop(route)
        no_room = _no_room(fleet.book, change, keys) if change.refused else None
        self._placed[place] = _Placed(fleet.name, route.uid, no_room)
        self._context.add({fleet.key_of(number) for number in fleet.book.settle(route.uid)})
        if change is Change.TAKEN:
            self._changed(fleet, route.uid)
        if no_room is not None:
            self._context.queue.add_later(RoomKey(fleet.name), FULL_SECONDS)
            _say_no_room(fleet.name, route, before.no_room if before is not None else None, no_room)

    def _changed(self, fleet: Fleet, uid: str) -> None:
        self._since[uid] = time.monotonic()
        self._context.queue.add(fleet.shard_key(uid))

    def _expire_later(self, place: Place, keys: Keys, now_s: float) -> None:
        """Look again when a rotated key has served its time: it should not lie in the book any longer."""
        if keys.retired:
            wait = min(each.until_s for each in keys.retired) - now_s + 1
            self._context.queue.add_later(WebhookKey(*place), max(wait, 1))

    def _hold(self, place: Place, seen: Seen[Webhook]) -> None:
        """A spec that cannot be read, as one of a later version: what the Webhook had waits, and what is new too."""
        placed = self._placed.get(place)
        if placed is not None and placed.uid != seen.uid:
            self._withdraw(place)
        for fleet in self._context.fleets.values():
            route = fleet.book.route(seen.uid)
            if route is not None:
                disabled = route.state is RouteState.DISABLED
                held = route if disabled else route.model_copy(update={"state": RouteState.HELD, "paused": False})
                self._enter(place, fleet, held, Keys(uid=seen.uid))

    def _withdraw(self, place: Place) -> None:
        placed = self._placed.pop(place, None)
        if placed is None:
            return
        self._since.pop(placed.uid, None)
        fleet = self._context.fleets.get(placed.dispatcher)
        if fleet is not None:
            self._context.add({fleet.key_of(number) for number in fleet.book.remove(placed.uid)})

    def _programmed(self, place: Place, seen: Seen[Webhook], verdict: Verdict) -> Condition:
        placed = self._placed.get(place)
        fleet = self._context.fleets.get(placed.dispatcher) if placed else None
        for part in (verdict.accepted, verdict.secrets_resolved):
            if part.status != "True":
                return Condition("Programmed", "False", part.reason, f"deliveries wait: {part.type} is False")
        if placed is None or fleet is None:
            return Condition("Programmed", "False", WebhookReason.NO_SENDERS, "the Dispatcher has no route book yet")
        unknown = seen.uid not in self._since and not fleet.book.awaited(seen.uid)
        if unknown and placed.no_room is None and not programmed_before(seen):
            # Written by an operator before this one, which did not live to see the senders load it.
            fleet.book.await_senders(seen.uid)
            self._changed(fleet, seen.uid)
        return fleet.programmed(seen.uid, placed.no_room)

    def _should_wait(self, seen: Seen[Webhook], programmed: Condition) -> bool:
        """Whether the senders are likely to have loaded the change in a moment."""
        since = self._since.get(seen.uid)
        pending = programmed.status != "True" and programmed.reason in (WebhookReason.PENDING, WebhookReason.NO_SENDERS)
        return pending and since is not None and time.monotonic() - since < PATIENCE_SECONDS

    def _keys(self, place: Place) -> Keys | None:
        """As the book holds them, with those that a rotation left."""
        placed = self._placed.get(place)
        fleet = self._context.fleets.get(placed.dispatcher) if placed else None
        return fleet.book.keys(placed.uid) if placed and fleet else None

    def _delivering(self, place: Place, seen: Seen[Webhook], ready: Condition) -> Condition:
        placed = self._placed.get(place)
        fleet = self._context.fleets.get(placed.dispatcher) if placed else None
        old = placed is not None and placed.no_room is not None and placed.no_room.called
        in_force = fleet is None or not (fleet.book.awaited(seen.uid) or seen.uid in fleet.unread or old)
        found = delivering(ready, fleet.failing.get(seen.uid) if fleet else None, in_force=in_force)
        if found.status != "True" or fleet is None or fleet.heard:
            return found
        before = trouble_in(seen)
        if before is not None:
            # An operator that just began has heard nobody: that is no sign of an endpoint that is well again.
            fleet.doubted.add(seen.uid)
        return before or found

    async def _write(self, seen: Seen[Webhook], conditions: list[Condition], accepted: Condition) -> None:
        now = self._context.now()
        keys = signing_keys(self._keys((seen.namespace, seen.name)), now)
        status = status_of(seen, with_stalled(conditions, accepted), now, signingKeys=keys)
        await self._context.write_status(WEBHOOKS, seen, status)


def _no_room(book: DesiredBook, change: Change, wanted: Keys) -> NoRoom:
    route, keys = book.route(wanted.uid), book.keys(wanted.uid)
    if route is None or keys is None:
        return NoRoom(change, None)
    return NoRoom(change, route.state, old_secrets=keys.in_use() != wanted.in_use())


def _say_no_room(dispatcher: str, route: Route, before: NoRoom | None, found: NoRoom) -> None:
    if before is not None and (before.called, before.old_secrets) == (found.called, found.old_secrets):
        return
    what = "the version before stays in force" if found.called else "it is not called"
    if found.called and found.old_secrets:
        what = "a rotation was not taken: the secrets from before go on signing calls, or are sent"
    log.warning("no room in the route book", webhook=route.title, dispatcher=dispatcher, why=found.why.value, what=what)
