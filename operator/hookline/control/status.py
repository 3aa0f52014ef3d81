"""Statuses: which conditions an object has, whether they differ from those it shows, and which Event tells of it.

Pure. A status that says the same is not written again; the time of a transition is kept until its status changes.
Reasons and what they mean: reasons.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hookline.control.kinds import CONFIG_MAPS, PUBLISHERS, Kind, Object
from hookline.control.publishers import Word
from hookline.control.seen import Publisher, Seen
from hookline.resources.base import GROUP
from hookline.resources.reasons import WebhookReason
from hookline.routing.routes import Keys, PublicKey
from hookline.routing.verdict import Condition

MESSAGE_LENGTH = 2048
"""A condition's message may be longer, but nobody reads that."""

NOTE_BYTES = 1024
"""The API server takes no longer note of an Event."""


_TROUBLES = (WebhookReason.ENDPOINT_FAILING, WebhookReason.ENDPOINT_GONE)

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")

OURS = frozenset(
    {"Accepted", "SecretsResolved", "Programmed", "Ready", "Delivering", "Stalled"}
    | {
        "Available",
        "GatewayAvailable",
        "LogApiAvailable",
        "QueueReady",
        "BookWritten",
        "RolledOut",
        "CertificateReady",
        "Compatible",
    }
)
"""Every condition that the operator writes. Others in a status are somebody else's."""


@dataclass(frozen=True, slots=True)
class Failing:
    """An endpoint that senders cannot deliver to, or, when it is `gone`, must not."""

    since: str
    reason: str
    status: int | None
    gone: bool = False


def conditions_in(status: Any) -> list[Object]:
    """The conditions of a status that the API server has, by whomever it was written.

    What has another shape, as an older CRD may have let through, counts as absent.
    """
    conditions = status.get("conditions") if isinstance(status, Mapping) else None
    if not isinstance(conditions, Sequence) or isinstance(conditions, str):
        return []
    return [each for each in conditions if isinstance(each, Mapping) and _is_condition(each)]


def _is_condition(found: Object) -> bool:
    words = ("type", "status", "reason", "message", "lastTransitionTime")
    return all(isinstance(found.get(word), str) for word in words) and bool(_TIME.fullmatch(found[words[-1]]))


def delivering(ready: Condition, failing: Failing | None, *, in_force: bool = True) -> Condition:
    """The condition Delivering: changes when an endpoint turns failing or well, never per call.

    `in_force`: whether all senders are known to serve what the Webhook says now.
    """
    if ready.status != "True" and not in_force:
        return Condition(
            "Delivering",
            "Unknown",
            WebhookReason.PENDING,
            "the version before may be called until every sender has this one",
        )
    if ready.status == "True" and ready.reason in (WebhookReason.DISABLED, WebhookReason.PAUSED):
        return Condition("Delivering", "False", ready.reason, ready.message)
    if ready.status != "True":
        return Condition("Delivering", "False", ready.reason, "no calls are made while the Webhook is not ready")
    if failing is None:
        return Condition("Delivering", "True", WebhookReason.DELIVERING, "no trouble with the endpoint is known")
    if failing.gone:
        return Condition(
            "Delivering",
            "False",
            WebhookReason.ENDPOINT_GONE,
            f"the receiver answered 410 at {failing.since}, which asks never to be called again: no calls are made, "
            "and deliveries wait; correct spec.url, or change anything else in spec to have it called again",
        )
    answer = f" (HTTP {failing.status})" if failing.status else ""
    return Condition(
        "Delivering",
        "False",
        WebhookReason.ENDPOINT_FAILING,
        f"calls fail since {failing.since}: {failing.reason}{answer}; deliveries wait, and one is tried now and "
        "then; all are sent once a call succeeds",
    )


def trouble_in(seen: Seen[Any]) -> Condition | None:
    """The condition Delivering if the status says that senders found trouble with this generation's endpoint."""
    for each in conditions_in(seen.status):
        is_trouble = each.get("type") == "Delivering" and each.get("reason") in _TROUBLES
        if is_trouble and each.get("observedGeneration") == seen.generation:
            return Condition("Delivering", each["status"], each["reason"], each["message"])
    return None


def as_before(seen: Seen[Any], found: Condition) -> Condition:
    """The condition as the status has it, for an operator that just began and knows no better; else as it was found."""
    for each in conditions_in(seen.status):
        if each["type"] == found.type:
            return Condition(found.type, each["status"], each["reason"], each["message"])
    return found


def with_stalled(conditions: Sequence[Condition], accepted: Condition) -> list[Condition]:
    """The conditions, and Stalled while only a person can help: kstatus (Flux, kpt) then says Failed, not waiting."""
    if accepted.status != "False":
        return list(conditions)
    return [*conditions, Condition("Stalled", "True", accepted.reason, accepted.message)]


def signing_keys(keys: Keys | None, now: datetime) -> list[dict[str, str]]:
    """The public keys of a Webhook for its status. Nothing else of its keys is shown."""
    return [_signing_key(each) for each in (keys.public_keys_at(now.timestamp()) if keys is not None else ())]


def _signing_key(key: PublicKey) -> dict[str, str]:
    if key.until_s is None:
        return {"publicKey": key.text}
    return {"publicKey": key.text, "until": _stamp(datetime.fromtimestamp(key.until_s, UTC))}


def status_of(seen: Seen[Any], conditions: Iterable[Condition], now: datetime, **more: Any) -> dict[str, Any]:
    """The status of an object, with the times of conditions that did not change kept."""
    before = {each["type"]: each for each in conditions_in(seen.status)}
    return {
        "observedGeneration": seen.generation,
        "conditions": [_condition(each, before.get(each.type), seen.generation, now) for each in conditions],
        **more,
    }


def _condition(condition: Condition, before: Object | None, generation: int, now: datetime) -> dict[str, Any]:
    changed = before is None or before.get("status") != condition.status
    return {
        "type": condition.type,
        "status": condition.status,
        "observedGeneration": generation,
        "lastTransitionTime": _stamp(now) if changed or before is None else before["lastTransitionTime"],
        "reason": condition.reason,
        "message": condition.message[:MESSAGE_LENGTH],
    }


def says_the_same(status: Object, before: Object) -> bool:
    """Whether writing `status` would tell nothing new. Conditions and fields of others are theirs."""
    conditions = {each["type"]: each for each in conditions_in(before)}
    wanted = {each["type"]: each for each in status["conditions"]}
    mine = {key: each for key, each in conditions.items() if key in wanted or key in OURS}
    rest = {key: value for key, value in status.items() if key != "conditions"}
    return wanted == mine and all(before.get(key) == value for key, value in rest.items())


def programmed_before(seen: Seen[Any]) -> bool:
    """Whether the status already says that senders serve this generation."""
    return says_of_this(seen, "Programmed")


def says_of_this(seen: Seen[Any], condition: str) -> bool:
    """Whether the status says that a condition is true of this generation."""
    return any(
        each["type"] == condition and each["status"] == "True" and each.get("observedGeneration") == seen.generation
        for each in conditions_in(seen.status)
    )


def word_in(status: Object, condition: str) -> tuple[str, str]:
    """Status and reason of a condition; empty when there is none."""
    for each in conditions_in(status):
        if each["type"] == condition:
            return each["status"], each["reason"]
    return "", ""


def events_of(
    kind: Kind, seen: Seen[Any], before: Object, status: Object, *, reporter: str, now: datetime
) -> list[dict[str, Any]]:
    """The Events that tell of transitions of Ready, Delivering and Compatible. What is well from the start needs none.

    Of Delivering only what senders found: that a Webhook is not called while it is not ready, its Ready tells.
    """
    found = []
    for condition in status["conditions"]:
        was, is_now = (word_in(each, condition["type"]) for each in (before, status))
        if was != is_now and _is_told(condition["type"], was, is_now):
            told = (*was, condition["type"], *is_now, condition["lastTransitionTime"], str(seen.generation))
            found.append(_event(kind, seen, told, condition, reporter=reporter, now=now))
    return found


def _is_told(condition: str, was: tuple[str, str], is_now: tuple[str, str]) -> bool:
    """Whether a transition from one status and reason to another is worth an Event."""
    match condition:
        case "Ready":
            return was[0] not in ("", "Unknown") or is_now[0] != "True"
        case "Delivering":
            return is_now[1] in _TROUBLES or (was[1] in _TROUBLES and is_now[0] == "True")
        case "Compatible":
            return "False" in (was[0], is_now[0])
        case _:
            return False


def put_back_event(kind: Kind, seen: Seen[Any], what: str, *, reporter: str, now: datetime) -> dict[str, Any]:
    """Tells that something of a Dispatcher was taken away or changed by others, and is as it was again."""
    words = {
        "status": "False",
        "reason": "PutBack",
        "message": f"{what} was taken away or changed, and is put back; it belongs to this Dispatcher",
    }
    return _event(kind, seen, (what, _stamp(now, "microseconds")), words, reporter=reporter, now=now)


def asking_event(seen: Seen[Any], reason: str, message: str, *, reporter: str, now: datetime) -> dict[str, Any]:
    """Tells the team of a ConfigMap with the CA of what it should know."""
    words = {"status": "False", "reason": reason, "message": message}
    return _event(CONFIG_MAPS, seen, (reason, _stamp(now, "microseconds")), words, reporter=reporter, now=now)


def publisher_event(publisher: Publisher, word: Word, *, reporter: str, now: datetime) -> dict[str, Any]:
    """Tells the team of a Secret whether its token counts: of one version of it once, whoever has told it."""
    reason = "PublisherAccepted" if word.accepted else "PublisherRefused"
    words = {"status": "True" if word.accepted else "False", "reason": reason, "message": word.text}
    return _event(PUBLISHERS, publisher, (publisher.version, word.text), words, reporter=reporter, now=now)


def _event(
    kind: Kind,
    seen: Seen[Any] | Publisher,
    told: tuple[str, ...],
    condition: Object,
    *,
    reporter: str,
    now: datetime,
) -> dict[str, Any]:
    """Its name follows from what is `told`, so that it is made once, however often it is tried."""
    digest = hashlib.sha256("\0".join((seen.uid, *told)).encode()).hexdigest()
    return {
        "metadata": {
            "name": f"{seen.name[:200].rstrip('-.')}.{digest[:16]}",
            "namespace": seen.namespace or "default",
        },
        "eventTime": _stamp(now, "microseconds"),
        "reportingController": f"{GROUP}/operator",
        "reportingInstance": reporter[:128],
        "action": "Reconcile",
        "reason": condition["reason"],
        "type": "Normal" if condition["status"] == "True" else "Warning",
        "note": condition["message"].encode()[:NOTE_BYTES].decode(errors="ignore"),
        "regarding": {
            "apiVersion": kind.api_version,
            "kind": kind.name,
            "name": seen.name,
            "uid": seen.uid,
            **({"namespace": seen.namespace} if seen.namespace else {}),
        },
    }


def manifest_of(seen: Seen[Any], status: Object) -> dict[str, Any]:
    """What is applied: to the object of that uid, not one made anew under its name, and to the version that was seen.

    A status that a former leader decided long ago must not arrive after its successor's.
    """
    named = {"name": seen.name, "uid": seen.uid, "namespace": seen.namespace, "resourceVersion": seen.version}
    return {"metadata": {key: value for key, value in named.items() if value}, "status": status}


def _stamp(now: datetime, precision: str = "seconds") -> str:
    return now.isoformat(timespec=precision).replace("+00:00", "Z")
