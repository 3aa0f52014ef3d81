"""What happens after an attempt: done, again later, or dead.

Decides from the outcome of one attempt when the next one is due and when a delivery is given up, and names every way
an attempt can end. It never reads a clock, draws no random number and sends nothing: time and jitter are arguments.

What follows stands beside each Reason, and for people in docs/outcomes.md, whose table is made from here:

| a reason says | while the schedule has waits left | when it is spent |
| --- | --- | --- |
| Then.DONE  | done | done |
| Then.AGAIN | again on the schedule, or when `Retry-After` asks for it if that is later | dead: ScheduleSpent |
| Then.DEAD  | dead at once: Gone | dead: Gone |

`Retry-After` counts on 429 and 503 only, in seconds or as a date that is read against the `Date` of the answer, and
up to 24 h.

Other 4xx answers are retried because in practice they are a wrong deployment, an expired credential or a missing
route, which people mend within the hours that the schedule spans. Refused egress and unusable TLS material are retried
for the same reason: an administrator can change the policy, the owner of a Secret can mend it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Self

MAX_RETRY_AFTER_SECONDS = 86400.0
JITTER_SHARE = 0.2

SCHEDULE_SPENT = "ScheduleSpent"
"""Why a delivery is given up after its last attempt, or that waited for a failing endpoint for as long."""

_LONGEST_HTTP_DATE = 64
_STATUSES_WITH_RETRY_AFTER = frozenset({429, 503})


class Then(enum.StrEnum):
    """What follows a failure, or a success, while the schedule is not spent."""

    DONE = "done"
    AGAIN = "again"
    DEAD = "dead"


class Reason(enum.StrEnum):
    """How an attempt ended, in one word: the same word in logs, metrics and dead letters.

    With it stand what it means, what follows, and what a person does about it.
    """

    means: str
    then: Then
    advice: str

    def __new__(cls, word: str, means: str = "", then: Then = Then.AGAIN, advice: str = "") -> Self:
        # Defaults, because a type checker takes Reason("Gone"), which looks a member up, for such a call.
        reason = str.__new__(cls, word)
        reason._value_ = word
        reason.means, reason.then, reason.advice = means, then, advice
        return reason

    DELIVERED = (
        "Delivered",
        "the whole answer came, and its status is 2xx",
        Then.DONE,
    )
    REDIRECT = (
        "Redirect",
        "status 3xx; redirects are never followed",
        Then.AGAIN,
        "put the final address into `spec.url`",
    )
    GONE = (
        "Gone",
        "status 410: the receiver asks never to be called again",
        Then.DEAD,
        "delete the Webhook, or correct `spec.url`",
    )
    TOO_MANY_REQUESTS = (
        "TooManyRequests",
        "status 429",
        Then.AGAIN,
        "lower `spec.maxConcurrency`",
    )
    HTTP_STATUS = (
        "HTTPStatus",
        "any other status that is not 2xx; it stands beside the word",
        Then.AGAIN,
        "the receiver's log says why; on 401 and 403 look at the Secret, on 404 at `spec.url`",
    )
    EGRESS_REFUSED = (
        "EgressRefused",
        "the address must not be called; nothing was sent",
        Then.AGAIN,
        "take another address, or have the Dispatcher's administrators allow it: the detail says how",
    )
    DNS_FAILURE = (
        "DNSFailure",
        "the name has no address, or no name server answered",
        Then.AGAIN,
        "correct the name in `spec.url`, or look at the cluster's DNS",
    )
    PROXY_UNREACHABLE = (
        "ProxyUnreachable",
        "the Dispatcher's forward proxy could not be reached, or did not answer",
        Then.AGAIN,
        "have the Dispatcher's administrators look at the proxy, at `spec.egress.proxy` and at network policies",
    )
    PROXY_REFUSED = (
        "ProxyRefused",
        "the forward proxy would not connect: other credentials, an address not allowed there, or one it cannot reach",
        Then.AGAIN,
        "the detail has the proxy's status; have the Dispatcher's administrators look at the proxy's rules and log",
    )
    CONNECTION_REFUSED = (
        "ConnectionRefused",
        "nobody listens on the port",
        Then.AGAIN,
        "start the receiver, or correct the port in `spec.url`",
    )
    UNREACHABLE = (
        "Unreachable",
        "there is no route to the host, or no local socket to be had",
        Then.AGAIN,
        "look at routes, network policies and firewalls between sender and receiver",
    )
    CONNECT_TIMEOUT = (
        "ConnectTimeout",
        "name lookup and TCP connection took longer than 10 s, or than the whole call may take",
        Then.AGAIN,
        "mostly a firewall that drops packets, or a receiver that accepts no more connections",
    )
    TLS_TIMEOUT = (
        "TLSTimeout",
        "the TLS handshake did not finish within 10 s of the start of the call, or before its timeout",
        Then.AGAIN,
        "the receiver is overloaded, or does not speak TLS on this port",
    )
    TLS_FAILURE = (
        "TLSFailure",
        "no common TLS version or cipher, a client certificate that is missing or refused, or no TLS at all",
        Then.AGAIN,
        "the detail says which; `spec.tls.clientCertSecretRef` names a client certificate",
    )
    CERTIFICATE_INVALID = (
        "CertificateInvalid",
        "the receiver's certificate is expired, for another name, or not from a trusted authority",
        Then.AGAIN,
        "the detail says which; `spec.tls.caSecretRef` names an authority of your own",
    )
    FIRST_BYTE_TIMEOUT = (
        "FirstByteTimeout",
        "connected and sent, and no status line in time",
        Then.AGAIN,
        "have the receiver answer first and work later, or raise `spec.timeoutSeconds`",
    )
    TIMEOUT = (
        "Timeout",
        "a status of 2xx came, and the end of the answer did not come in time",
        Then.AGAIN,
        "have the receiver answer with a short body, of the length that its Content-Length says",
    )
    CONNECTION_RESET = (
        "ConnectionReset",
        "the connection broke before the head of an answer was complete, or one with 2xx as a whole",
        Then.AGAIN,
        "the receiver, or a proxy before it, restarts or gives up on calls",
    )
    BAD_RESPONSE = (
        "BadResponse",
        "what came back is not HTTP/1.x, its head is too long, or it is a 2xx of which nobody knows where it ends",
        Then.AGAIN,
        "the port belongs to something else, or the receiver is broken; the detail says which",
    )
    INVALID_CALL = (
        "InvalidCall",
        "the call could not be built: URL, headers or TLS material unusable; nothing was sent",
        Then.AGAIN,
        "the detail names the field",
    )
    INTERNAL_ERROR = (
        "InternalError",
        "a fault in Hookline itself",
        Then.AGAIN,
        "report it, with the detail",
    )


def table() -> str:
    """Every Reason as a table in Markdown."""
    rows = [f"| {each} | {each.means} | {each.then} | {each.advice} |" for each in Reason]
    return "\n".join(["| reason | it means | then | what to do |", "| --- | --- | --- | --- |", *rows])


@dataclass(slots=True)  # not frozen, though nothing changes it: made for each call, at a quarter of the cost
class Outcome:
    """The end of one attempt.

    `detail` is one line for the engineer on call, free of secrets. `status` is the HTTP status if one arrived.
    `retry_after_seconds` is the receiver's wish, already parsed. `answer` holds at most the first 16 KiB of the
    response body, and nothing of a compressed one; it is the receiver's text and may hold anything. `answer_is_cut`
    says that it may end in the middle of a word. `answer_bytes` is how much of it came, `answer_head` the first 4 KiB
    of what came before it.
    `phases_s` is how long each part of the call took (`delivery/http/progress`).
    """

    reason: Reason
    status: int | None
    detail: str
    duration_seconds: float
    retry_after_seconds: float | None = None
    answer: bytes = field(default=b"", repr=False)
    answer_is_cut: bool = False
    answer_bytes: int = 0
    answer_head: bytes = field(default=b"", repr=False)
    phases_s: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Done:
    """The delivery has arrived."""


@dataclass(frozen=True, slots=True)
class Retry:
    """The delivery is tried again after `wait_seconds`, counted from the end of the attempt."""

    wait_seconds: float


@dataclass(frozen=True, slots=True)
class Dead:
    """The delivery is given up. `reason` is one line for the dead letter, free of secrets."""

    reason: str


def decide(outcome: Outcome, *, attempt: int, schedule_seconds: Sequence[float], jitter: float) -> Done | Retry | Dead:
    """What follows the attempt number `attempt` (1-based) that ended with `outcome`.

    `jitter` in [0, 1) spreads retries over 20 % of the wait, after the schedule and after a receiver's hint, never
    before: whoever reads the schedule in a manifest or asks for a pause gets at least that. An empty schedule means a
    single attempt. Raises ValueError for an attempt below 1.
    """
    if attempt < 1:
        raise ValueError("attempts are counted from 1")
    if outcome.reason.then is Then.DONE:
        return Done()
    if outcome.reason.then is Then.DEAD:
        return Dead("Gone: the receiver answered 410, which asks senders to stop for good")
    if attempt > len(schedule_seconds):
        return Dead(f"{SCHEDULE_SPENT}: attempt {attempt} was the last one and ended with {_summary(outcome)}")
    wait = max(float(schedule_seconds[attempt - 1]), pause_seconds(outcome))
    return Retry(wait * (1 + JITTER_SHARE * jitter))


def parse_retry_after(value: str, now_s: float, *, answered: str | None = None) -> float | None:
    """The pause in seconds that a `Retry-After` header asks for, at most 24 h; None if it asks for none.

    RFC 9110 10.2.3: a count of seconds, or an HTTP-date. That is one of the receiver's clock, so it is read against
    `answered`, the `Date` of the same answer (RFC 9110 6.6.1); against `now_s` (Unix seconds) if there is none. A date
    in the past and everything else is None: a receiver's text is never an error.
    """
    text = value.strip()
    if text.isascii() and text.isdigit():
        # int() refuses very long digit strings, float() turns them into infinity.
        return min(float(text), MAX_RETRY_AFTER_SECONDS)
    until_s, answered_s = _unix_s(text), _unix_s((answered or "").strip())
    if until_s is None:
        return None
    seconds = until_s - (now_s if answered_s is None else answered_s)
    return min(seconds, MAX_RETRY_AFTER_SECONDS) if seconds > 0 else None


def pause_seconds(outcome: Outcome) -> float:
    """What the receiver asks for with `Retry-After`, on the statuses on which that counts, at most 24 h."""
    if outcome.status not in _STATUSES_WITH_RETRY_AFTER or outcome.retry_after_seconds is None:
        return 0.0
    return min(outcome.retry_after_seconds, MAX_RETRY_AFTER_SECONDS)


def _summary(outcome: Outcome) -> str:
    return str(outcome.reason) if outcome.status is None else f"{outcome.reason} {outcome.status}"


def _unix_s(http_date: str) -> float | None:
    if len(http_date) > _LONGEST_HTTP_DATE:
        return None
    try:
        when = parsedate_to_datetime(http_date)
        # HTTP-dates are in GMT; the asctime form does not say so.
        return when.replace(tzinfo=when.tzinfo or UTC).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
