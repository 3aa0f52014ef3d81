"""What is said of Dispatchers: which of them work, and their conditions. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from hookline.control.kinds import Object
from hookline.control.seen import Seen
from hookline.control.status import says_of_this, word_in
from hookline.resources.dispatcher import Dispatcher
from hookline.resources.reasons import DispatcherReason
from hookline.routing.acceptance import Rejected, accept_dispatchers
from hookline.routing.verdict import Condition


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
    ready = _ready_in(deployment)
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


def gateway_available(deployment: Object | None, dispatcher: Dispatcher | None) -> Condition:
    """The condition GatewayAvailable: whether events can be published by HTTPS."""
    gateway, ready = dispatcher.spec.gateway if dispatcher else None, _ready_in(deployment)
    if gateway is not None and not gateway.enabled:
        return _of_gateway("False", DispatcherReason.GATEWAY_DISABLED, "spec.gateway.enabled is false")
    if ready == 0:
        return _of_gateway(
            "False",
            DispatcherReason.NO_GATEWAY,
            "no gateway pod is ready; look at: kubectl describe pods -l app.kubernetes.io/component=gateway, and at "
            "their logs",
        )
    wanted = gateway.replicas if gateway else ready
    if ready < wanted:
        return _of_gateway("True", DispatcherReason.SOME_GATEWAYS, f"{ready} of {wanted} gateway pods are ready")
    return _of_gateway("True", DispatcherReason.ALL_GATEWAYS, f"all {wanted} gateway pods are ready")


def asked_for(gateway: Condition) -> tuple[Condition, ...]:
    """What Ready counts of the condition GatewayAvailable: nothing where no gateway is wanted."""
    return () if gateway.reason == DispatcherReason.GATEWAY_DISABLED else (gateway,)


def _of_gateway(status: Literal["True", "False"], reason: DispatcherReason, message: str) -> Condition:
    return Condition("GatewayAvailable", status, reason, message)


def log_api_available(
    deployment: Object | None, wanted: int, *, hindered: str = "", waiting: str = "", unreached: str = ""
) -> Condition:
    """The condition LogApiAvailable: whether people can read what became of deliveries.

    `hindered` is why its pods cannot be set up, `waiting` what one of them waits for, `unreached` why people do not
    reach them by kube-apiserver. Ready does not count it: events are taken and delivered without it.
    """
    ready = _ready_in(deployment)
    if wanted == 0:
        return _of_log_api(
            "False",
            DispatcherReason.LOG_API_DISABLED,
            "the operator has --api-replicas=0; the APIService must not stay without it: docs/log-api.md",
        )
    if ready == 0:
        why = hindered or (f"a pod waits: {waiting}" if waiting else "")
        look = "look at: kubectl describe pods -l app.kubernetes.io/component=api, and at their logs"
        return _of_log_api("False", DispatcherReason.NO_LOG_API, f"no pod of the log's API is ready; {why or look}")
    if unreached:
        return _of_log_api("False", DispatcherReason.LOG_API_NOT_REACHED, unreached)
    says = f"; {hindered}" if hindered else ""
    if ready < wanted:
        return _of_log_api(
            "True", DispatcherReason.SOME_LOG_APIS, f"{ready} of {wanted} pods of the log's API are ready{says}"
        )
    return _of_log_api("True", DispatcherReason.ALL_LOG_APIS, f"all {wanted} pods of the log's API are ready{says}")


def _of_log_api(status: Literal["True", "False"], reason: DispatcherReason, message: str) -> Condition:
    return Condition("LogApiAvailable", status, reason, message)


def _ready_in(deployment: Object | None) -> int:
    return int(((deployment or {}).get("status") or {}).get("readyReplicas") or 0)


def both(senders: Condition, gateway: Condition) -> Condition:
    """The condition RolledOut of a Dispatcher. Senders come first: without them nothing is delivered."""
    return next((each for each in (senders, gateway) if each.status != "True"), _ROLLED_OUT)


_ROLLED_OUT = Condition("RolledOut", "True", DispatcherReason.ROLLED_OUT, "the pods are those of this generation")


def rolled_out(
    component: str, deployment: Object | None, wanted: int, *, refusal: str = "", waiting: str = ""
) -> Condition:
    """The condition RolledOut of one component: whether its pods are of this generation, as kstatus reads a Deployment.

    `refusal` is why the API server does not take the Deployment or what belongs to it, `waiting` what a pod waits for.
    """
    if refusal:
        message = f"the {component} pods cannot be set up, and those from before stay: {refusal}"
        return _behind(DispatcherReason.REFUSED, message)
    if deployment is None:
        missing = _behind(DispatcherReason.ROLLING_OUT, f"there is no Deployment of {component} pods yet")
        return missing if wanted else _ROLLED_OUT
    status = deployment.get("status") or {}
    found = {each.get("type"): each for each in status.get("conditions") or [] if isinstance(each, Mapping)}
    progressing, failure = found.get("Progressing", {}), found.get("ReplicaFailure", {})
    updated, there = int(status.get("updatedReplicas") or 0), int(status.get("replicas") or 0)
    observed = int(status.get("observedGeneration") or 0) >= int(deployment["metadata"].get("generation") or 0)
    current = observed and updated >= wanted and there <= updated
    if failure.get("status") == "True":
        message = f"{component} pods cannot be made: {failure.get('message', '')}"[:500]
        return _behind(DispatcherReason.ROLLOUT_STUCK, message)
    if current:
        return _ROLLED_OUT
    of_this = f"{updated if observed else 0} of {wanted} {component} pods are of this generation"
    says = f"; a pod waits: {waiting}" if waiting else ""
    if (deployment.get("spec") or {}).get("paused"):
        message = f"{of_this}: the Deployment is paused; resume its rollout"
        return _behind(DispatcherReason.ROLLOUT_PAUSED, message)
    if progressing.get("reason") == "ProgressDeadlineExceeded":
        return _behind(DispatcherReason.ROLLOUT_STUCK, f"{of_this}, and it does not go on{says}")
    return _behind(DispatcherReason.ROLLING_OUT, f"{of_this}{says}")


def _behind(reason: DispatcherReason, message: str) -> Condition:
    return Condition("RolledOut", "False", reason, message)


def ready(*parts: Condition) -> Condition:
    """The condition Ready of a Dispatcher or an EventType."""
    for part in parts:
        if part.status != "True":
            return Condition("Ready", "False", part.reason, part.message)
    return Condition("Ready", "True", DispatcherReason.READY, parts[-1].message)
