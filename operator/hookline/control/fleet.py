"""One Dispatcher at work: its route book, and what is known of its senders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from hookline.control.desired_book import Change, DesiredBook
from hookline.control.lately import Lately
from hookline.control.sender_reports import Report
from hookline.control.status import Failing
from hookline.control.work_keys import ShardKey
from hookline.resources.reasons import DispatcherReason, WebhookReason
from hookline.routing.routes import RouteState
from hookline.routing.verdict import Condition

_UNHEARD = Condition(
    "QueueReady", "Unknown", DispatcherReason.NO_SENDERS, "no sender has said yet whether it can use its queue"
)


@dataclass(frozen=True, slots=True)
class NoRoom:
    """That the newest version of a Webhook was not taken into the route book."""

    why: Change
    before: RouteState | None
    """What senders go on doing by an older version that is in the book, if there is one."""
    old_secrets: bool = False
    """Whether that one has other signing keys, header values or client keys: a rotation was not taken."""

    @property
    def called(self) -> bool:
        """Whether calls go on by the older version."""
        return self.before is RouteState.ACTIVE


@dataclass(eq=False)
class Fleet:
    """State of one Dispatcher in this operator. It can be made anew from the cluster at any time."""

    name: str
    book: DesiredBook = field(default_factory=DesiredBook)
    failing: Mapping[str, Failing] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)
    """Webhooks that a sender holds because its version does not know what they need, by uid, and why."""
    heard: bool = False
    """Whether all ready senders have said what they know of endpoints, at one look at least."""
    doubted: set[str] = field(default_factory=set)
    """Webhooks that go by what an operator before this one heard of their endpoints, until senders are heard."""
    asked: int = 0
    """Ready sender pods at the last look."""
    behind: int = 0
    """Of these, how many did not serve all that was awaited, or did not answer."""
    queue: Condition = _UNHEARD
    """What senders say of their queue, those among them that are not ready."""
    lately: Lately = field(default_factory=Lately)
    """Webhooks that heard events by this book lately."""
    held_back: str = ""
    """Why the book is not written, if that is so."""
    refused: dict[int, str] = field(default_factory=dict)
    """Shards that the API server does not take, and its words."""
    late: frozenset[str] = frozenset()
    """Sender pods that said at the last look that they serve something else than the book."""

    def written(self) -> Condition:
        """The condition BookWritten."""
        if self.held_back:
            return Condition("BookWritten", "False", DispatcherReason.LOSES_MOST, self.held_back)
        if self.refused:
            return Condition(
                "BookWritten", "False", DispatcherReason.BOOK_REFUSED, _refused(next(iter(self.refused.values())))
            )
        return Condition("BookWritten", "True", DispatcherReason.WRITTEN, "the route book holds what the Webhooks say")

    def shard_key(self, uid: str) -> ShardKey:
        """The shard that a Webhook falls into, as something to look at."""
        return self.key_of(self.book.place(uid))

    def key_of(self, number: int) -> ShardKey:
        """A shard, as something to look at."""
        return ShardKey(self.name, number)

    def programmed(self, uid: str, no_room: NoRoom | None = None) -> Condition:
        """The condition Programmed of a Webhook whose route may be called, by what is known of the senders."""
        if no_room is not None:
            return _no_room(self.name, no_room)
        if not self.book.awaited(uid):
            why = self.unread.get(uid)
            if why is not None:
                return Condition("Programmed", "False", WebhookReason.SENDER_TOO_OLD, _too_old(self.name, why))
            return Condition("Programmed", "True", WebhookReason.PROGRAMMED, "every ready sender has this version")
        refusal = self.refused.get(self.book.place(uid))
        if refusal is not None:
            return Condition("Programmed", "False", WebhookReason.BOOK_REFUSED, _refused(refusal))
        if self.asked == 0:
            return Condition(
                "Programmed",
                "False",
                WebhookReason.NO_SENDERS,
                f"written, but no sender of the Dispatcher {self.name} is ready; ask its administrators to look at it",
            )
        message = f"written; waiting for {self.behind} of {self.asked} senders to load it"
        return Condition("Programmed", "False", WebhookReason.PENDING, message)

    @property
    def queue_unheard(self) -> bool:
        """Whether no sender has said yet to this operator whether it can use its queue."""
        return self.queue is _UNHEARD

    def hear_of_queue(self, reports: Iterable[Report | None]) -> bool:
        """Take in what all pods say of their queue; whether that is news. One that works is enough."""
        answered = [report for report in reports if report is not None]
        if not answered:
            return False
        before = self.queue
        problems = sorted(report.queue for report in answered if report.queue is not None)
        if len(problems) < len(answered):
            advice = min((each.attempts_log for each in answered if each.attempts_log), default="")
            message = "senders take from the queue and store in it"
            self.queue = Condition(
                "QueueReady", "True", DispatcherReason.QUEUE_READY, f"{message}; {advice}" if advice else message
            )
        else:
            self.queue = Condition("QueueReady", "False", *problems[0])
        return self.queue != before

    def take_reports(self, reports: Mapping[str, Report | None]) -> set[str]:
        """Take in what the ready pods say; the Webhooks of which something changed."""
        answered = [report for report in reports.values() if report is not None]
        self.asked = len(reports)
        changed: set[str] = set()
        if answered:
            unread = dict(self.unread) if len(answered) < len(reports) else {}
            unread |= {uid: why for report in answered for uid, why in report.unread.items()}
            changed |= {uid for uid in unread.keys() | self.unread.keys() if unread.get(uid) != self.unread.get(uid)}
            self.unread = unread
            # What a pod that does not answer found failing stays so, as does what a report has no room for.
            partial = len(answered) < len(reports) or any(report.truncated for report in answered)
            failing = dict(self.failing) if partial else {}
            failing |= {uid: each for report in answered for uid, each in report.failing.items()}
            known = self.failing
            changed |= {uid for uid in failing.keys() | known.keys() if _differ(failing.get(uid), known.get(uid))}
            # The first word about an endpoint stays: each probe has its own failure.
            self.failing = {uid: each if uid in changed else known.get(uid, each) for uid, each in failing.items()}
        self.late = frozenset(
            pod for pod, report in reports.items() if report is not None and not self.book.is_served_by(report.served)
        )
        if answered and len(answered) == len(reports):
            self.heard = True
            changed |= self.doubted
            self.doubted.clear()
        if len(answered) == len(reports):
            changed |= set(self.book.served([report.served for report in answered]))
        self.behind = len(reports) if self.book.awaiting else 0
        return changed


def _differ(found: Failing | None, known: Failing | None) -> bool:
    """Whether an endpoint turned failing, gone or well."""
    return (found is None) != (known is None) or (found is not None and known is not None and found.gone != known.gone)


def _too_old(dispatcher: str, why: str) -> str:
    return (
        f"a sender of the Dispatcher {dispatcher} is of a version that cannot deliver this, and holds its deliveries: "
        f"{why}; they are delivered by a newer one (spec.image of the Dispatcher, if it names one)"
    )


def _no_room(dispatcher: str, found: NoRoom) -> Condition:
    why = (
        f"the Webhooks of this namespace use their share of the route book of the Dispatcher {dispatcher}; delete "
        "some, or shorten headers and certificates"
        if found.why is Change.SHARE
        else f"the route book of the Dispatcher {dispatcher} has no room; shorten headers and certificates, or use "
        "another Dispatcher"
    )
    if found.called and found.old_secrets:
        effect = (
            "a rotation was not taken: the version before stays in force, and its signing key goes on signing calls "
            "(so do its headers, client key and query of the URL). If one of these leaked, take the label "
            "hookline.dev/allow-webhooks off its Secret, which stops the calls"
        )
        return Condition("Programmed", "False", WebhookReason.ROTATION_REFUSED, f"{effect}; {why}")
    effect = {
        RouteState.ACTIVE: "the version before stays in force",
        RouteState.HELD: "the Webhook is not called, and deliveries wait",
    }.get(found.before or RouteState.DISABLED, "the Webhook is not called, and events of this time are not kept for it")
    return Condition("Programmed", "False", WebhookReason.BOOK_FULL, f"{effect}; {why}")


def _refused(words: str) -> str:
    return f"the route book cannot be written, and what was written before stays in force: {words}"
