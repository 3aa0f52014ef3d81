"""What happens after an attempt: done, again later, or dead.

Decides from the outcome of one attempt when the next one is due and when a delivery is given up, and names every way
an attempt can end. It never reads a clock, draws no random number and sends nothing: time and jitter are arguments.

| the attempt ended with                       | then |
| -------------------------------------------- | ---- |
| 2xx                                          | done |
| 410                                          | dead at once: the receiver says that the address is gone for good |
| 429 or 503 with `Retry-After`                | again at the later of schedule and hint; the hint counts up to 24 h |
| anything else, 3xx and other 4xx included    | again on the schedule |
| any failure when the schedule is spent       | dead |

Other 4xx answers are retried because in practice they are a wrong deployment, an expired credential or a missing
route, which people mend within the hours that the schedule spans. Refused egress and unusable TLS material are retried
for the same reason: an administrator can change the policy, the owner of a Secret can mend it.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime

# Standard Webhooks 1.0.0, "deliverability": after the first attempt nine more, over 75 h 35 m 5 s.
DEFAULT_SCHEDULE_SECONDS: tuple[int, ...] = (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
MAX_RETRY_AFTER_SECONDS = 86400.0
JITTER_SHARE = 0.2

_LONGEST_HTTP_DATE = 64
_STATUSES_WITH_RETRY_AFTER = frozenset({429, 503})


class Reason(enum.StrEnum):
    """How an attempt ended, in one word: the same word in logs, metrics, attempts and dead letters."""

    DELIVERED = "Delivered"
    """The whole answer came, and its status is 2xx."""
    REDIRECT = "Redirect"
    """Status 3xx. Redirects are never followed: the Webhook must name the final address."""
    GONE = "Gone"
    """Status 410."""
    TOO_MANY_REQUESTS = "TooManyRequests"
    """Status 429."""
    HTTP_STATUS = "HTTPStatus"
    """Any other status that is not 2xx."""
    EGRESS_REFUSED = "EgressRefused"
    """The address must not be called; nothing was sent."""
    DNS_FAILURE = "DNSFailure"
    """The name has no address, or no name server answered."""
    CONNECTION_REFUSED = "ConnectionRefused"
    """Nobody listens on the port."""
    UNREACHABLE = "Unreachable"
    """No route to the host or network, or no local socket to be had."""
    CONNECT_TIMEOUT = "ConnectTimeout"
    """Name lookup and TCP connection took too long."""
    TLS_TIMEOUT = "TLSTimeout"
    """TCP stood, the TLS handshake did not end in time."""
    TLS_FAILURE = "TLSFailure"
    """The TLS handshake failed: no common version or cipher, client certificate missing or refused, no TLS at all."""
    CERTIFICATE_INVALID = "CertificateInvalid"
    """The receiver's certificate is expired, for another name, or not from a trusted authority."""
    FIRST_BYTE_TIMEOUT = "FirstByteTimeout"
    """Connected and sent, but no status line in time."""
    TIMEOUT = "Timeout"
    """Status and headers came, the end of the answer did not come in time."""
    CONNECTION_RESET = "ConnectionReset"
    """The connection broke before the answer was complete."""
    BAD_RESPONSE = "BadResponse"
    """What came back is not HTTP/1.x, or its headers exceed the limits."""
    INVALID_CALL = "InvalidCall"
    """The call could not be built: URL, headers or TLS material unusable; nothing was sent."""
    INTERNAL_ERROR = "InternalError"
    """A fault in Hookline itself."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one attempt.

    `detail` is one line for the engineer on call, free of secrets. `status` is the HTTP status if one arrived.
    `retry_after_seconds` is the receiver's wish, already parsed. `answer` holds at most the first 1024 bytes of the
    response body, undecoded; it is the receiver's text and may hold anything.
    """

    reason: Reason
    status: int | None
    detail: str
    duration_seconds: float
    retry_after_seconds: float | None = None
    answer: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Done:
    """The delivery has arrived."""


@dataclass(frozen=True, slots=True)
class Retry:
    """The delivery is tried again at `at_s`, Unix time in seconds."""

    at_s: float


@dataclass(frozen=True, slots=True)
class Dead:
    """The delivery is given up. `reason` is one line for the dead letter, free of secrets."""

    reason: str


def decide(
    outcome: Outcome, *, attempt: int, schedule_seconds: Sequence[float], now_s: float, jitter: float
) -> Done | Retry | Dead:
    """What follows the attempt number `attempt` (1-based) that ended at `now_s` with `outcome`.

    `jitter` in [0, 1) spreads retries over 20 % of the wait, after the schedule and after a receiver's hint, never
    before: whoever reads the schedule in a manifest or asks for a pause gets at least that. An empty schedule means a
    single attempt. Raises ValueError for an attempt below 1.
    """
    if attempt < 1:
        raise ValueError("attempts are counted from 1")
    if outcome.reason is Reason.DELIVERED:
        return Done()
    if outcome.reason is Reason.GONE:
        return Dead("Gone: the receiver answered 410, which asks senders to stop for good")
    if attempt > len(schedule_seconds):
        return Dead(f"ScheduleSpent: attempt {attempt} was the last one and ended with {_summary(outcome)}")
    wait = max(float(schedule_seconds[attempt - 1]), _hint_seconds(outcome))
    return Retry(now_s + wait * (1 + JITTER_SHARE * jitter))


def parse_retry_after(value: str, now_s: float) -> float | None:
    """The pause in seconds that a `Retry-After` header asks for, at most 24 h; None if it asks for none.

    RFC 9110 10.2.3: a count of seconds, or an HTTP-date, here relative to `now_s` (Unix seconds). A date in the past
    and everything else is None: a receiver's text is never an error.
    """
    text = value.strip()
    if text.isascii() and text.isdigit():
        # int() refuses very long digit strings, float() turns them into infinity.
        return min(float(text), MAX_RETRY_AFTER_SECONDS)
    seconds = _seconds_until(text, now_s)
    if seconds is None or seconds <= 0:
        return None
    return min(seconds, MAX_RETRY_AFTER_SECONDS)


def _hint_seconds(outcome: Outcome) -> float:
    if outcome.status not in _STATUSES_WITH_RETRY_AFTER or outcome.retry_after_seconds is None:
        return 0.0
    return min(outcome.retry_after_seconds, MAX_RETRY_AFTER_SECONDS)


def _summary(outcome: Outcome) -> str:
    return str(outcome.reason) if outcome.status is None else f"{outcome.reason} {outcome.status}"


def _seconds_until(http_date: str, now_s: float) -> float | None:
    if len(http_date) > _LONGEST_HTTP_DATE:
        return None
    try:
        when = parsedate_to_datetime(http_date)
        # HTTP-dates are in GMT; the asctime form does not say so.
        return when.replace(tzinfo=when.tzinfo or UTC).timestamp() - now_s
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
