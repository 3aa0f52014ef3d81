"""What is said of Dispatchers: which of them work, and their conditions. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hookline.control.seen import Seen
from hookline.control.status import says_of_this, word_in
from hookline.resources.dispatcher import Dispatcher
from hookline.resources.reasons import DispatcherReason
from hookline.routing.acceptance import Rejected, accept_dispatchers
from hookline.routing.verdict import Condition

Object = Mapping[str, Any]


def judged(dispatchers: Iterable[Seen[Dispatcher]]) -> dict[str, Condition]:
    """The condition Accepted of each Dispatcher, by name.

    Of two on one NATS the one that uses it keeps it, of those that are new to it the oldest.
    """
    return accept_dispatchers({seen.name: _read(seen) for seen in sorted(dispatchers, key=_rank)})


def _rank(seen: Seen[Dispatcher]) -> tuple[int, str, str]:
    """Who comes first: whose spec was accepted as it is, then whose former one was, then the oldest."""
    was_accepted = word_in(seen.status, "Accepted")[0] == "True"
    return 0 if says_of_this(seen, "Accepted") else 1 if was_accepted else 2, seen.created, seen.name


def _read(seen: Seen[Dispatcher]) -> Dispatcher | Rejected:
    return Rejected(DispatcherReason.INVALID_SPEC, seen.problem) if seen.value is None else seen.value


def available(deployment: Object | None, wanted: int) -> Condition:
    """The condition Available: whether sender pods are ready."""
    status = (deployment or {}).get("status") or {}
    ready = int(status.get("readyReplicas") or 0)
    if ready == 0:
        return Condition(
            "Available",
            "False",
            DispatcherReason.NO_SENDERS,
            "no sender pod is ready; look at: kubectl get pods -l hookline.dev/dispatcher, and at their logs",
        )
    if ready < wanted:
        return Condition(
            "Available", "True", DispatcherReason.SOME_SENDERS, f"{ready} of {wanted} sender pods are ready"
        )
    return Condition("Available", "True", DispatcherReason.ALL_SENDERS, f"all {wanted} sender pods are ready")


def rolled_out(deployment: Object | None, wanted: int, *, refusal: str = "", waiting: str = "") -> Condition:
    """The condition RolledOut: whether the sender pods are those of this generation, as kstatus reads a Deployment.

    `refusal` is why the API server does not take the Deployment or what belongs to it, `waiting` what a pod waits for.
    """
    if refusal:
        message = f"the sender pods cannot be set up, and those from before stay: {refusal}"
        return Condition("RolledOut", "False", DispatcherReason.REFUSED, message)
    if deployment is None:
        return Condition("RolledOut", "False", DispatcherReason.ROLLING_OUT, "there is no Deployment of senders yet")
    status = deployment.get("status") or {}
    found = {each.get("type"): each for each in status.get("conditions") or [] if isinstance(each, Mapping)}
    progressing, failure = found.get("Progressing", {}), found.get("ReplicaFailure", {})
    updated, there = int(status.get("updatedReplicas") or 0), int(status.get("replicas") or 0)
    observed = int(status.get("observedGeneration") or 0) >= int(deployment["metadata"].get("generation") or 0)
    current = observed and updated >= wanted and there <= updated
    if failure.get("status") == "True":
        return Condition(
            "RolledOut",
            "False",
            DispatcherReason.ROLLOUT_STUCK,
            f"pods cannot be made: {failure.get('message', '')}"[:500],
        )
    if current:
        return Condition(
            "RolledOut", "True", DispatcherReason.ROLLED_OUT, "the sender pods are those of this generation"
        )
    of_this = f"{updated if observed else 0} of {wanted} sender pods are of this generation"
    says = f"; a pod waits: {waiting}" if waiting else ""
    if (deployment.get("spec") or {}).get("paused"):
        return Condition(
            "RolledOut",
            "False",
            DispatcherReason.ROLLOUT_PAUSED,
            f"{of_this}: the Deployment is paused; resume its rollout",
        )
    if progressing.get("reason") == "ProgressDeadlineExceeded":
        return Condition(
            "RolledOut", "False", DispatcherReason.ROLLOUT_STUCK, f"{of_this}, and it does not go on{says}"
        )
    return Condition("RolledOut", "False", DispatcherReason.ROLLING_OUT, f"{of_this}{says}")


def ready(*parts: Condition) -> Condition:
    """The condition Ready of a Dispatcher or an EventType."""
    for part in parts:
        if part.status != "True":
            return Condition("Ready", "False", part.reason, part.message)
    return Condition("Ready", "True", DispatcherReason.READY, parts[-1].message)
