"""Names of streams, subjects and consumers. Pure.

EVENTS      hookline.events.<tenant>.<event type>              limits; what was published
            hookline.large.<tenant>.<event type>               the same, of events with a large body
DELIVERIES  hookline.deliveries.<shard>.<webhook uid>          work queue; one message for each event and Webhook
            hookline.deliveries.later.<webhook uid>.<once>     scheduled copies that wait for their time
            hookline.deliveries.anchor                         one message that nobody takes, see stream/anchor
PARKED      hookline.parked.<webhook uid>                      work queue; deliveries that wait by themselves
DEAD        hookline.dead.<tenant>.<webhook uid>               limits; deliveries given up
HOOKLINE_BACKLOG hookline.backlog.<tenant>                     work queue; events that were set aside, many by a message
HOOKLINE_ATTEMPTS hookline.attempts.<tenant>.<webhook uid>     limits; the log of attempts, see stream/attempt_record
            hookline.attempts.<tenant>._unheard                counts of events that no Webhook heard
KV_TYPES    event types that EventType resources define
KV_ENDPOINTS what all senders know of endpoints that are not well
KV_INSTALLATION whose all of these are, see stream/ownership

The first four bear a prefix, see stream/layout: HOOKLINE_EVENTS, or EVENTS as all were named once. A subject is the
same whichever stream has it. A stream that has none of them has hookline.former.<stream>.

No stream: hookline.unknown and hookline.known, by which senders ask one another for Webhooks
(delivery/policy/deleted_webhooks), hookline.here, by which they count one another (delivery/policy/shares), and
hookline.audience and hookline.same, by which whoever publishes asks a sender for how many Webhooks an event is
(stream/audience), and whether a key that was used before stands for the same event (stream/same_event), and
hookline.test, by which a sender is asked to call a Webhook with a sample (stream/test_call).
"""

from __future__ import annotations

import re
from functools import lru_cache

from hookline.resources.dispatcher import STREAM_PREFIX
from hookline.routing.routes import shard_of

EVENTS = "EVENTS"
DELIVERIES = "DELIVERIES"
PARKED = "PARKED"
DEAD = "DEAD"
BACKLOG = "HOOKLINE_BACKLOG"
"""Had a name of its own from the start, and has no prefix."""
ATTEMPTS = "HOOKLINE_ATTEMPTS"
"""Has no prefix either."""
BASES = (EVENTS, DELIVERIES, PARKED, DEAD)
"""What the name of a stream that bears a prefix ends with."""
OWN_PREFIX = "HOOKLINE_"
"""Of the streams on a NATS that has none of ours yet."""
SUBJECTS = {
    EVENTS: "hookline.events.>",
    DELIVERIES: "hookline.deliveries.>",
    PARKED: "hookline.parked.*",
    DEAD: "hookline.dead.*.*",
}
"""Of each stream, by the end of its name."""
LARGE_SUBJECTS = "hookline.large.>"
"""Of events with a large body, which senders read past without it. EVENTS takes them once all senders know them."""
LATER_SUBJECTS = "hookline.deliveries.later.>"
FORMER_SUBJECTS = "hookline.former.*"
ATTEMPTS_SUBJECTS = "hookline.attempts.*.*"
TYPES_BUCKET = "hookline-event-types"
ENDPOINTS_BUCKET = "hookline-endpoints"
INSTALLATION_BUCKET = "hookline-installation"

OWNER_ID = "hookline.dev/installation"
OWNER_NAME = "hookline.dev/installation-name"
OWNER_TERM = "hookline.dev/term"
"""In the metadata of each stream: whose it is. A stream without them and with other subjects than ours is foreign."""
LOG_WHOLE_SINCE = "hookline.dev/whole-since"
"""Of the attempts log, in the metadata of its stream: lines before this time may be missing. Unix time, or LOG_OFF."""
LOG_OFF = "off"
"""Nothing is written now."""

ANCHOR_SUBJECT = "hookline.deliveries.anchor"

UNKNOWN_SUBJECT = "hookline.unknown"
KNOWN_SUBJECT = "hookline.known"
HERE_SUBJECT = "hookline.here"
AUDIENCE_SUBJECT = "hookline.audience"
SAME_SUBJECT = "hookline.same"
TEST_SUBJECT = "hookline.test"
ACCOUNT_INFO = "$JS.API.INFO"
"""Not ours, but JetStream's: what the account uses, and may use."""
NOT_NEEDED_SUBJECTS = (AUDIENCE_SUBJECT, SAME_SUBJECT, TEST_SUBJECT, ACCOUNT_INFO.lower())
"""Nobody needs to be permitted to use them: without them it is not known for how many Webhooks an event is, another
event with a key that was used before is taken for a repeat, no sender makes test calls, and a metric is missing. In
lower case, as the client library hands them on."""

PURGED_SUBJECTS = "hookline.attempts.*._purged"
"""Markers: what a tenant had in the log before is to be forgotten."""

FANOUT_CONSUMER = "fanout"
"""Of the first owner; see `fanout_consumer`."""
LARGE_CONSUMER = "large"
"""Of events with a large body. Its name must not begin as that of the others: a version before takes it for one of
them, where it looks how far these have come."""

UNREAD = "unread"
"""In the subject of a dead letter, in place of a tenant or Webhook that a message does not name."""

DELIVERY_SHARDS = 16
"""Consumers of DELIVERIES. 16 keep up with one server; 64 made the purge of acked messages lag (measured)."""

_PREFIX = "hookline"
_OF_TERM = "_"
"""Before the term in the name of a consumer: no tenant has it in its name."""
_STREAMS = {
    "events": EVENTS,
    "large": EVENTS,
    "deliveries": DELIVERIES,
    "parked": PARKED,
    "dead": DEAD,
    "backlog": BACKLOG,
    "attempts": ATTEMPTS,
}
_HEADER = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_UID = re.compile(r"[A-Za-z0-9-]{1,128}")
_BEARS = re.compile(rf"({STREAM_PREFIX})({'|'.join(BASES)})")


def inbox_of(name: str) -> str:
    """What the subjects of answers to a connection of this name begin with."""
    return f"_INBOX.{name}"


def is_inbox(subject: str) -> bool:
    """Whether an answer may go there. Who asks writes what he likes as its reply, and a sender may publish where he may
    not."""
    return subject.startswith("_INBOX.")


def parts_of(stream: str) -> tuple[str, str] | None:
    """The prefix of a stream and what is behind it; None of a name that no stream of ours has."""
    found = _BEARS.fullmatch(stream)
    return (found[1], found[2]) if found is not None else None


@lru_cache(maxsize=64)
def bears(stream: str, base: str) -> bool:
    """Whether a stream has this name behind a prefix, or without one."""
    return parts_of(stream) == (stream.removesuffix(base), base)


def former_subject(stream: str) -> str:
    """What a stream has that has none of our subjects: no stream is without any."""
    return f"{_PREFIX}.former.{stream}"


def event_subject(tenant: str, event_type: str) -> str:
    return f"{_PREFIX}.events.{tenant}.{event_type}"


def large_subject(tenant: str, event_type: str) -> str:
    return f"{_PREFIX}.large.{tenant}.{event_type}"


def any_event_subject(tenant: str, event_type: str) -> str:
    """Pattern of events of a type, large ones among them; a type of > stands for all."""
    return f"{_PREFIX}.*.{tenant}.{event_type}"


def is_large(subject: str) -> bool:
    return subject.startswith(f"{_PREFIX}.large.")


def is_notice(subject: str) -> bool:
    """Whether an event under a subject, in lower case, is one that Hookline itself publishes."""
    return is_event(subject) and event_of(subject)[1].startswith("hookline.")


def is_event(subject: str) -> bool:
    """Whether the subject of a message in EVENTS names a tenant and a type."""
    return subject.count(".") >= 3


def event_of(subject: str) -> tuple[str, str]:
    """Tenant and event type of an event's subject; the type may hold full stops."""
    _, _, tenant, event_type = subject.split(".", 3)
    return tenant, event_type


@lru_cache(maxsize=20_000)
def delivery_subject(uid: str) -> str:
    return f"{_PREFIX}.deliveries.{shard_of(uid, DELIVERY_SHARDS):02}.{uid}"


def uid_of(subject: str) -> str:
    """The Webhook of a delivery's, parked delivery's or dead letter's subject."""
    return subject.rsplit(".", 1)[1]


def is_uid(token: str) -> bool:
    """Whether the last token of a subject can be that of a Webhook, as routes have it: anybody on this NATS may have
    written there, and not every token can be part of a consumer's name."""
    return _UID.fullmatch(token) is not None


def is_header(name: str) -> bool:
    """Whether the client writes a header of this name. Anybody on this NATS may have written another one."""
    return _HEADER.fullmatch(name) is not None


def later_subject(uid: str, once: str) -> str:
    """Where a delivery waits for its time.

    `once` names the delivery and its attempt. Must be unique for them: a second schedule on one subject silently
    replaces the first, which is what a repeat of the same attempt after a crash should do, and nothing else.
    """
    return f"{_PREFIX}.deliveries.later.{uid}.{once}"


def parked_subject(uid: str) -> str:
    return f"{_PREFIX}.parked.{uid}"


def backlog_subject(tenant: str) -> str:
    return f"{_PREFIX}.backlog.{tenant}"


def backlog_tenant(subject: str) -> str:
    """The tenant of a message that names events which were set aside."""
    return subject.rsplit(".", 1)[1]


def backlog_consumer(tenant: str, term: int = 1) -> str:
    """Of what was set aside of one tenant, for the owner of a term."""
    return f"backlog-{tenant}" if term == 1 else f"backlog-{tenant}{_OF_TERM}{term}"


def is_backlog_of_others(consumer: str, term: int) -> bool:
    """Whether a consumer of what was set aside is one that the owner of another term makes."""
    its_term = consumer.partition(_OF_TERM)[2] or "1"
    return consumer.startswith("backlog-") and its_term != str(term)


def named_consumer(tenant: str) -> str:
    """What stands for a consumer with events that messages of the backlog name. No consumer has a full stop in its
    name: they take no room of one."""
    return f"{backlog_consumer(tenant)}.events"


def attempts_subject(tenant: str, uid: str) -> str:
    """Of records of one Webhook's attempts."""
    return f"{_PREFIX}.attempts.{tenant}.{uid}"


def purged_subject(tenant: str) -> str:
    """Of the marks of what was purged of a tenant."""
    return PURGED_SUBJECTS.replace("*", tenant)


def unheard_subject(tenant: str) -> str:
    """Of counts of events that no Webhook heard. No uid begins so."""
    return f"{_PREFIX}.attempts.{tenant}._unheard"


def is_attempts(subject: str) -> bool:
    """Whether a subject is one of the attempts log."""
    return subject.startswith(f"{_PREFIX}.attempts.")


def dead_subject(tenant: str, uid: str) -> str:
    return f"{_PREFIX}.dead.{tenant}.{uid}"


def of_dead(subject: str) -> tuple[str, str]:
    """Tenant and Webhook of a dead letter's subject; empty what it does not name. Anybody may have written there."""
    prefix = f"{_PREFIX}.dead."
    tenant, _, uid = subject.removeprefix(prefix).partition(".") if subject.startswith(prefix) else ("", "", "")
    return "" if tenant == UNREAD else tenant, "" if uid == UNREAD or not is_uid(uid) else uid


def fanout_consumer(term: int = 1, prefix: str = "") -> str:
    """The consumer of events. Each owner of the streams has another one, so that a former owner finds his gone.

    It bears the prefix of its stream: what a former stream still has is taken beside what the present one has.
    """
    return _of_term(f"{prefix}{FANOUT_CONSUMER}", term)


def large_consumer(term: int = 1, prefix: str = "") -> str:
    """The consumer of events with a large body, which gives their headers alone."""
    return _of_term(f"{prefix}{LARGE_CONSUMER}", term)


def shard_consumer(shard: int, term: int = 1, prefix: str = "") -> str:
    return _of_term(f"{prefix}shard-{shard:02}", term)


def _of_term(consumer: str, term: int) -> str:
    """The first owner's names are those that streams had before there were marks."""
    return consumer if term == 1 else f"{consumer}-{term}"


def is_of_owner(consumer: str) -> bool:
    """Whether a consumer is one of those that an owner has for himself, of whatever term and prefix."""
    return re.fullmatch(rf"{STREAM_PREFIX}(fanout|large|shard-[0-9]{{2}})(-[0-9]+)?", consumer) is not None


def stream_of(subject: str) -> str:
    """The stream of ours that keeps a subject, without its prefix; empty for others."""
    return _STREAMS.get(subject.split(".", 2)[1] if subject.startswith("hookline.") else "", "")


def shard_filter(shard: int) -> str:
    return f"{_PREFIX}.deliveries.{shard:02}.*"


def unpark_consumer(uid: str) -> str:
    return f"unpark-{uid}"
