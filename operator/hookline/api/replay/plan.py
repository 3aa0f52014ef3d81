"""What a Replay means: which deliveries of which messages, and how far it is. Pure.

A Replay goes through streams once, in their order, up to where they reached when it began. Counts belong to what lies
before `next` of a place, and are written together with it: after a crash nothing is counted twice, and nothing is left
out. A dead letter is removed only after the count that it is in was written. What lies between `settled` and `next` may
not be removed yet, so it is done again after a crash, uncounted: under the same name, by which NATS knows it for two
minutes, and after a restart of its own as long as nobody took it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from hookline.api.log import Attempt
from hookline.api.texts import not_reached
from hookline.delivery import messages
from hookline.delivery.messages import Delivery
from hookline.delivery.policy.retry import Reason
from hookline.events import envelope
from hookline.resources.replay import Replay, ReplayPlace, ReplayStatus, ReplayTarget, unix_s
from hookline.stream import names
from hookline.stream.attempt_record import NOTED_SECONDS
from hookline.stream.log_reader import LogReach
from hookline.stream.stored import Stored

WAITING_SECONDS = 1.0
"""How many deliveries of a Webhook may wait to be called before a Replay adds to them: as many as it stores in this
time, or as its receiver takes if that is less. What is published meanwhile goes behind them; and a lane in which they
would wait for two seconds counts as stuck (delivery/policy/lanes)."""

LEAST_WAITING = 10
"""Else a receiver that takes one in a second would be left without any between two looks."""

MOST_LATER = 10_000
"""Deliveries of a Webhook that wait for their retry. They hold up nobody, but a queue is no place for all of a Replay
whose receiver refuses everything."""

LINES_LATE_SECONDS = NOTED_SECONDS
"""How long after a call its line is in the attempts log, and read."""


@dataclass(frozen=True, slots=True)
class WebhookSeen:
    """A Webhook as it is now."""

    name: str
    uid: str
    event: str
    dispatcher: str
    enabled: bool
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Item:
    """One delivery that is meant, and under which name it is stored."""

    delivery: Delivery | None
    """None of a dead letter that holds no delivery."""
    once: str
    webhook: ReplayTarget
    stored_s: float
    """When its message was stored, Unix time by the clock of NATS."""
    is_unknown: bool = False
    """Whether nobody knows that it was not delivered before."""


@dataclass(frozen=True, slots=True)
class Lines:
    """What the attempts log says of one delivery."""

    delivered: bool = False
    first: bool = False
    """Whether it has the first attempt."""
    all: bool = True
    """Whether all that it has was looked at."""

    def and_of(self, uid: str, attempts: Iterable[Attempt]) -> Lines:
        """With some attempts at its event more. Those of another Webhook of the name, and tests, say nothing."""
        mine = [each.record for each in attempts if each.uid == uid and not each.record.test]
        return Lines(
            self.delivered or any(each.reason == Reason.DELIVERED for each in mine),
            self.first or any(each.attempt == 1 and not each.replay for each in mine),
            self.all,
        )


@dataclass(slots=True)
class Tally:
    """What became of items."""

    replayed: int = 0
    skipped: int = 0
    failed: int = 0
    unknown: int = 0
    """Of those that were replayed."""

    @property
    def found(self) -> int:
        return self.replayed + self.skipped + self.failed


@dataclass(frozen=True, slots=True)
class Asked:
    """A Replay, read. Times are Unix time by the clock of NATS."""

    namespace: str
    name: str
    uid: str
    of_letters: bool
    since_s: float
    until_s: float
    ids: frozenset[str]
    only_failed: bool
    dry_run: bool
    rate: int
    webhooks: tuple[ReplayTarget, ...]

    @property
    def base(self) -> str:
        """The end of the names of the streams that it goes through."""
        return names.DEAD if self.of_letters else names.EVENTS

    @property
    def removes(self) -> bool:
        """Whether what is replayed is taken out of its stream."""
        return self.of_letters and not self.dry_run

    def pattern(self, dispatcher: str) -> str:
        """Subjects of all messages that may be meant, and of few others: the server passes over the rest."""
        webhooks = [each for each in self.webhooks if each.dispatcher == dispatcher]
        if self.of_letters:
            return names.dead_subject(self.namespace, _only(each.uid for each in webhooks) or "*")
        return names.any_event_subject(self.namespace, _only(each.event for each in webhooks) or ">")


def asked(replay: Replay, webhooks: Iterable[ReplayTarget]) -> Asked:
    """What a Replay asks for, of these Webhooks."""
    spec, metadata = replay.spec, replay.metadata
    return Asked(
        namespace=metadata.namespace,
        name=metadata.name,
        uid=metadata.uid or metadata.name,
        of_letters=spec.source == "DeadLetters",
        since_s=unix_s(spec.since) if spec.since is not None else 0.0,
        until_s=unix_s(spec.until) if spec.until is not None else float("inf"),
        ids=frozenset(spec.ids),
        only_failed=spec.only_failed,
        dry_run=spec.dry_run,
        rate=spec.rate_per_second,
        webhooks=tuple(webhooks),
    )


def targets(replay: Replay, webhooks: Iterable[WebhookSeen]) -> tuple[ReplayTarget, ...]:
    """The Webhooks of its namespace that a Replay is for, by name."""
    meant = [each for each in webhooks if replay.spec.means(each.name, each.labels)]
    return tuple(
        ReplayTarget(name=each.name, uid=each.uid, event=each.event, dispatcher=each.dispatcher)
        for each in sorted(meant, key=lambda each: each.name)
    )


def items(want: Asked, stream: str, message: Stored, *, replayed_ms: int) -> list[Item]:
    """What a message means for a Replay: of a dead letter one delivery at most, of an event one for each Webhook.

    `replayed_ms` is now, Unix time. The names of items are the same after a crash.
    """
    if not want.since_s <= message.stored_s < want.until_s:
        return []
    found = _of_letter(want, message) if want.of_letters else _of_event(want, message)
    return [
        Item(
            again(delivery, want.name, replayed_ms) if delivery is not None else None,
            letter_once(stream, message)
            if want.of_letters
            else f"replay.{want.uid}.{stream}.{message.seq}.{webhook.uid}",
            webhook,
            message.stored_s,
        )
        for delivery, webhook in found
    ]


def letter_once(stream: str, message: Stored) -> str:
    """The name under which a dead letter's delivery is stored, whoever replays it: two who do so at a time have it
    stored once. Its place alone is not enough: a stream that was made anew begins again with 1, and NATS would take its
    letters for others, which were replayed just before."""
    return f"replay.{stream}.{message.seq}.{message.stored_ns}"


def again(delivery: Delivery, replay: str, replayed_ms: int) -> Delivery:
    """A delivery with its whole schedule before it. Its event, and its place among events, stay."""
    return Delivery(delivery.uid, delivery.event, delivery.event_seq, 1, delivery.stored_s, replay, replayed_ms)


def delivery_of(message: Stored) -> Delivery | None:
    """What a dead letter holds to be delivered; None of one that holds no delivery of its own tenant. Anybody on this
    NATS may have written it, and what it says of its tenant goes into the call."""
    letter = messages.read_dead_letter(message.subject, message.headers, message.body)
    mine = letter.delivery is not None and letter.delivery.event.tenant == letter.tenant
    return letter.delivery if mine else None


def _of_letter(want: Asked, message: Stored) -> list[tuple[Delivery | None, ReplayTarget]]:
    tenant, uid = names.of_dead(message.subject)
    webhook = next((each for each in want.webhooks if each.uid == uid), None)
    event_id = message.headers.get(envelope.ID_HEADER, "")
    if webhook is None or tenant != want.namespace or not _is_meant(want, event_id):
        return []
    return [(delivery_of(message), webhook)]


def _of_event(want: Asked, message: Stored) -> list[tuple[Delivery | None, ReplayTarget]]:
    if not names.is_event(message.subject) or names.event_of(message.subject)[0] != want.namespace:
        return []
    event_type = names.event_of(message.subject)[1]
    heard = [each for each in want.webhooks if each.event == event_type]
    if not heard:
        return []
    subject, stored_s = message.subject, message.stored_s
    event = messages.event_of(subject, message.headers, message.body, seq=message.seq, stored_s=stored_s)
    if not _is_meant(want, event.id):
        return []
    return [(Delivery(each.uid, event, message.seq, stored_s=int(stored_s)), each) for each in heard]


def _is_meant(want: Asked, event_id: str) -> bool:
    return not want.ids or event_id in want.ids


def _only(values: Iterable[str]) -> str:
    """The one value that all have; empty if there are several."""
    found = set(values)
    return found.pop() if len(found) == 1 else ""


def is_unknown(item: Item, lines: Lines, reach: LogReach) -> bool:
    """Whether nobody knows that an event was not delivered, though no line of the attempts log says that it was.

    A line that is kept of its first attempt says that none of those behind it were pushed out.
    """
    if not lines.all or item.stored_s < reach.whole_s:
        return True
    return item.stored_s < reach.kept_s and not lines.first


def lines_wait_s(stored_s: Iterable[float], now_s: float, known_for_s: float) -> float:
    """How long to wait until the attempts log has what it will have of events that were stored at these times and
    called at once. All were stored before it was known how far the Replay reaches, so many seconds ago: a server whose
    clock was ahead may have stored them in times to come."""
    newest_s = max(stored_s, default=now_s - LINES_LATE_SECONDS)
    return LINES_LATE_SECONDS - max(now_s - newest_s, known_for_s)


def gone(want: Asked, webhooks: Iterable[WebhookSeen]) -> list[ReplayTarget]:
    """Those of its Webhooks that are not there any more."""
    there = {each.uid for each in webhooks}
    return [each for each in want.webhooks if each.uid not in there]


def disabled(want: Asked, webhooks: Iterable[WebhookSeen]) -> list[str]:
    """Names of those that are not to be called now."""
    mine = {each.uid for each in want.webhooks}
    return [each.name for each in webhooks if each.uid in mine and not each.enabled]


@dataclass(frozen=True, slots=True)
class Look:
    """At a Webhook: how many of its deliveries wait to be called, and how many this Replay has stored so far."""

    at_s: float
    """By the monotonic clock."""
    waiting: int
    stored: int


def done_per_second(before: Look, now: Look) -> float:
    """How many were done in a second between two looks, at least: what others stored meanwhile is not known."""
    done = before.waiting + now.stored - before.stored - now.waiting
    return max(0.0, done / max(now.at_s - before.at_s, 0.001))


def room(rate: int, before: Look | None, now: Look) -> int:
    """How many a Replay of this rate may add to what waits now. `before` is the look before, if there was one: without
    it nothing is known of the receiver, and few are sent to see."""
    pace = min(rate, done_per_second(before, now)) if before is not None else 0
    return max(0, int(max(LEAST_WAITING, pace * WAITING_SECONDS)) - now.waiting)


def counted(status: ReplayStatus, index: int, following: int, tally: Tally) -> ReplayStatus:
    """After what lies before `following` of a place was counted. What was counted before is settled by now."""
    place = status.checkpoint[index]
    moved = place.model_copy(update={"settled": place.next, "next": following})
    return status.model_copy(
        update={
            "checkpoint": _with(status.checkpoint, index, moved),
            "found": status.found + tally.found,
            "replayed": status.replayed + tally.replayed,
            "skipped": status.skipped + tally.skipped,
            "failed": status.failed + tally.failed,
            "unknown": status.unknown + tally.unknown,
        }
    )


def settled(status: ReplayStatus, index: int) -> ReplayStatus:
    """After all that is counted of a place is done."""
    place = status.checkpoint[index]
    return status.model_copy(
        update={"checkpoint": _with(status.checkpoint, index, place.model_copy(update={"settled": place.next}))}
    )


def _with(places: Sequence[ReplayPlace], index: int, place: ReplayPlace) -> tuple[ReplayPlace, ...]:
    return (*places[:index], place, *places[index + 1 :])


def sentence(status: ReplayStatus, *, dry_run: bool) -> str:
    """How far it is, for people."""
    word = "would be replayed" if dry_run else "replayed"
    counts = f"{status.found} found, {status.replayed} {word}, {status.skipped} skipped, {status.failed} failed"
    if not status.unknown:
        return counts
    return f"{counts}; {not_reached(status.unknown, status.replayed, dry_run=dry_run)}"
