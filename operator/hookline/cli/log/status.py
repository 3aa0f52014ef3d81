"""`status`: whether the installation and the Webhooks of a namespace are well, as far as this person may see.

What may not be seen is said, and is no failure: a team sees its own namespace, an administrator all.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from prometheus_client.parser import text_string_to_metric_families

from hookline.api.texts import age
from hookline.cli.log.api import CORE, LOG, RESOURCES, Denied, Object, items_of, listed, path_of
from hookline.cli.log.fields import number, since, text, value
from hookline.cli.log.output import Output, document, paint, say
from hookline.cli.log.place import Session
from hookline.cli.log.rates import WINDOW_SECONDS, Rate, Rates
from hookline.runtime.log_wording import printable

MOST = 2000
"""Objects of each list that are looked at; there may be more."""
MOST_PODS = 50
HEALTH_PORT = 8080
NAMED = 10
"""Webhooks that are named one by one."""

COMPONENTS = ("sender", "gateway", "operator", "api")
_OURS = {"labelSelector": "app.kubernetes.io/part-of=hookline"}


@dataclass
class Seen:
    """What could be seen, and why the rest could not."""

    report: Object = field(default_factory=dict)
    hidden: list[Denied] = field(default_factory=list)

    @contextlib.contextmanager
    def looking(self, what: str) -> Iterator[None]:
        try:
            yield
        except Denied as error:
            self.hidden.append(error)
            self.report.setdefault("notSeen", []).append({"what": what, "why": str(error)})


def status(session: Session) -> None:
    """Show whether Dispatchers, gateway and queue are well, which endpoints fail, how much waits and how calls end.

    Example: hookline status -A
    """
    seen = gathered(session)
    if session.output is Output.NAME:
        say("\n".join(_names(seen.report)))
    elif session.output.is_table:
        say("\n".join(lines_of(seen.report, datetime.now(UTC))))
    else:
        say(document(seen.report, session.output))


def gathered(session: Session) -> Seen:
    """Raises Denied if nothing at all could be seen: then there is no cluster, or no `hookline run`."""
    seen = Seen()
    report, api, namespace = seen.report, session.api, session.namespace
    report["namespace"] = namespace or "all"
    if session.in_cluster:
        with seen.looking("Dispatchers"):
            report["dispatchers"] = list(listed(api, path_of(RESOURCES, "", "dispatchers"), limit=MOST))
        with seen.looking("Webhooks"):
            report["webhooks"] = _webhooks(list(listed(api, path_of(RESOURCES, namespace, "webhooks"), limit=MOST)))
    with seen.looking("what waits"):
        report["waiting"] = _waiting(list(listed(api, path_of(LOG, namespace, "deliveries"), limit=MOST)))
    with seen.looking("dead letters"):
        report["deadLetters"] = _dead(list(listed(api, path_of(LOG, namespace, "deadletters"), limit=MOST)))
    with seen.looking("attempts"):
        report["lastMinute"] = _last_minute(list(listed(api, path_of(LOG, namespace, "attempts"), limit=MOST)))
    if session.in_cluster:
        _look_at_pods(session, seen)
    looked_at = 5 if session.in_cluster else 3
    if len(seen.hidden) >= looked_at and not any(each.reason for each in seen.hidden):
        raise seen.hidden[0]
    return seen


def _webhooks(found: Sequence[Object]) -> Object:
    troubled = [
        each for each in found if condition(each, "Ready") != "True" or condition(each, "Delivering") == "False"
    ]
    return {
        "count": len(found),
        "more": len(found) >= MOST,
        "notDelivering": [
            {
                "namespace": text(each, "metadata.namespace"),
                "name": text(each, "metadata.name"),
                **_trouble(each),
            }
            for each in troubled
        ],
    }


def _trouble(webhook: Object) -> Object:
    kind = "Delivering" if condition(webhook, "Ready") == "True" else "Ready"
    return {"reason": condition(webhook, kind, "reason"), "message": condition(webhook, kind, "message")}


def condition(found: Object, kind: str, part: str = "status") -> str:
    """Of a resource's status; "" if it has none of this kind."""
    conditions = value(found, "status.conditions")
    for each in conditions if isinstance(conditions, list) else []:
        if text(each, "type") == kind:
            return text(each, part)
    return ""


def _waiting(found: Sequence[Object]) -> Object:
    states = Counter(text(each, "state") or "Unknown" for each in found)
    times = [each for each in (text(one, "metadata.creationTimestamp") for one in found) if each]
    return {
        "count": len(found),
        "more": len(found) >= MOST,
        "states": dict(sorted(states.items())),
        "oldest": min(times, default=""),
    }


def _dead(found: Sequence[Object]) -> Object:
    reasons = Counter(text(each, "reason") or "Unknown" for each in found)
    return {"count": len(found), "more": len(found) >= MOST, "reasons": dict(reasons.most_common(NAMED))}


def _last_minute(found: Sequence[Object]) -> Object:
    rates = Rates()
    for each in reversed(found):
        rates.attempt(each)
    of_webhooks = rates.at(datetime.now(UTC))
    calls, failed = sum(each.attempts for each in of_webhooks), sum(each.failed for each in of_webhooks)
    return {
        "calls": calls,
        "failed": failed,
        "callsPerSecond": round(calls / WINDOW_SECONDS, 2),
        "failing": [_rate(each) for each in of_webhooks if each.failed][:NAMED],
    }


def _rate(each: Rate) -> Object:
    namespace, name = each.webhook
    return {
        "namespace": namespace,
        "name": name,
        "calls": each.attempts,
        "failed": each.failed,
        "last": each.last_failure,
        "p99Milliseconds": round(each.p99_ms, 1),
    }


def _look_at_pods(session: Session, seen: Seen) -> None:
    """Of the namespaces of Dispatchers, if those are known."""
    dispatchers = seen.report.get("dispatchers") or []
    namespaces = sorted({text(each, "metadata.namespace") for each in dispatchers} - {""})
    pods: list[Object] = []
    for namespace in namespaces:
        with seen.looking(f"pods of {namespace}"):
            pods += items_of(session.api.get(path_of(CORE, namespace, "pods"), {**_OURS, "limit": str(MOST_PODS)}))
    if not pods:
        return
    seen.report["pods"] = [_pod(each) for each in pods]
    seen.report["queue"] = queue = dict[str, float]()
    for each in pods:
        if component_of(each) not in COMPONENTS or not _is_ready(each):
            continue
        with seen.looking(f"metrics of pod {text(each, 'metadata.name')}"):
            _merge(queue, metrics_of(session, each))


def component_of(pod: Object) -> str:
    labels = value(pod, "metadata.labels")
    return (
        text(labels, "app")
        if not isinstance(labels, dict)
        else printable(str(labels.get("app.kubernetes.io/component", "")))
    )


def _pod(pod: Object) -> Object:
    statuses = value(pod, "status.containerStatuses")
    statuses = statuses if isinstance(statuses, list) else []
    return {
        "namespace": text(pod, "metadata.namespace"),
        "name": text(pod, "metadata.name"),
        "component": component_of(pod),
        "ready": _is_ready(pod),
        "restarts": int(sum(number(each, "restartCount") or 0 for each in statuses)),
    }


def _is_ready(pod: Object) -> bool:
    return condition(pod, "Ready") == "True"


def metrics_of(session: Session, pod: Object) -> str:
    """Over the API server, which asks the pod: takes the right `get` on `pods/proxy`."""
    namespace, name = text(pod, "metadata.namespace"), text(pod, "metadata.name")
    return session.api.text(path_of(CORE, namespace, "pods", f"{name}:{HEALTH_PORT}", "proxy") + "/metrics")


WATCHED = {
    "hookline_oldest_waiting_seconds": max,
    "hookline_endpoints_failing": max,
    "hookline_endpoints_gone": max,
    "hookline_queue_connected": min,
    "hookline_queue_disk_bytes": max,
    "hookline_queue_disk_limit_bytes": max,
    "hookline_nats_disk_bytes": max,
    "hookline_nats_disk_limit_bytes": min,
}
"""Gauges that are shown, and what counts of several pods' and labels'."""


def _merge(into: dict[str, float], metrics: str) -> None:
    try:
        families = list(text_string_to_metric_families(metrics))
    except ValueError:
        return
    for family in families:
        for sample in family.samples:
            if (choose := WATCHED.get(sample.name)) is not None:
                before = into.get(sample.name)
                into[sample.name] = sample.value if before is None else choose(before, sample.value)


def _names(report: Object) -> list[str]:
    dispatchers = report.get("dispatchers") or []
    return [f"dispatcher.hookline.dev/{text(each, 'metadata.name')}" for each in dispatchers]


def lines_of(report: Object, now: datetime) -> list[str]:
    """For a person. Parts that were not seen are left out, and named at the end."""
    parts: list[Callable[[], list[str]]] = [
        lambda: [line for each in report.get("dispatchers", []) for line in _dispatcher_lines(each)],
        lambda: _pod_lines(report.get("pods", [])),
        lambda: _queue_lines(report.get("queue", {})),
        lambda: _webhook_lines(report["webhooks"]) if "webhooks" in report else [],
        lambda: _waiting_lines(report["waiting"], now) if "waiting" in report else [],
        lambda: _dead_lines(report["deadLetters"]) if "deadLetters" in report else [],
        lambda: _minute_lines(report["lastMinute"]) if "lastMinute" in report else [],
        lambda: [
            f"Not seen: {printable(each['what'])} ({printable(each['why'])})" for each in report.get("notSeen", [])
        ],
    ]
    return [f"Namespace: {report['namespace']}", *(line for part in parts for line in part())]


def _dispatcher_lines(found: Object) -> list[str]:
    name = f"{text(found, 'metadata.namespace')}/{text(found, 'metadata.name')}"
    ready = condition(found, "Ready")
    shown = (
        paint("Ready", "green")
        if ready == "True"
        else paint(f"not ready: {condition(found, 'Ready', 'reason')}", "red")
    )
    conditions = value(found, "status.conditions")
    wrong = [
        f"  {text(each, 'type')} {text(each, 'status')}: {text(each, 'reason')}: {text(each, 'message')}"
        for each in (conditions if isinstance(conditions, list) else [])
        if text(each, "status") != "True" and text(each, "type") not in ("Ready", "Stalled")
    ]
    routes = text(found, "status.routes")
    if value(found, "spec.attempts.enabled") is False:
        wrong.append("  Attempts log: off (spec.attempts.enabled), so that its calls are in no list")
    return [f"Dispatcher {name}: {shown}{f', {routes} Webhooks' if routes else ''}", *wrong]


def _pod_lines(pods: Sequence[Object]) -> list[str]:
    words = []
    for component in COMPONENTS:
        of_it = [each for each in pods if each["component"] == component]
        restarts = sum(each["restarts"] for each in of_it)
        if of_it:
            ready = sum(each["ready"] for each in of_it)
            words.append(f"{component} {ready} of {len(of_it)}" + (f" ({restarts} restarts)" if restarts else ""))
    return [f"Pods ready: {', '.join(words)}"] if words else []


def _queue_lines(queue: dict[str, float]) -> list[str]:
    lines = []
    if queue.get("hookline_queue_connected") == 0:
        lines.append(paint("Queue: a pod is not connected", "red"))
    if (oldest := queue.get("hookline_oldest_waiting_seconds")) is not None:
        lines.append(f"Lag: the oldest that waits, waits for {age(oldest)}")
    return [*lines, *_disk_lines(queue)]


def _disk_lines(queue: dict[str, float]) -> list[str]:
    """Of the fullest server where NATS is ours, else of the account."""
    for title, name in (("NATS disk, fullest server", "nats_disk"), ("Queue disk", "queue_disk")):
        used, room = queue.get(f"hookline_{name}_bytes"), queue.get(f"hookline_{name}_limit_bytes")
        if used is not None:
            share = f" of {room / 2**30:.1f} GiB ({used / room:.0%})" if room else ""
            return [f"{title}: {used / 2**30:.1f} GiB{share}"]
    return []


def _webhook_lines(webhooks: Object) -> list[str]:
    troubled = webhooks["notDelivering"]
    lines = [f"Webhooks: {_at_least(webhooks)}, {len(troubled) or 'none'} not delivering"]
    lines += [
        f"  {each['namespace']}/{each['name']}: {paint(each['reason'] or 'Unknown', 'red')}: {each['message']}"
        for each in troubled[:NAMED]
    ]
    return [*lines, *([f"  … {len(troubled) - NAMED} more"] if len(troubled) > NAMED else [])]


def _waiting_lines(waiting: Object, now: datetime) -> list[str]:
    states = ", ".join(f"{count} {printable(state).lower()}" for state, count in waiting["states"].items())
    oldest = since(waiting, "oldest", now)
    return [f"Waiting: {_at_least(waiting)}{f' ({states}), the oldest for {oldest}' if states else ''}"]


def _dead_lines(dead: Object) -> list[str]:
    reasons = ", ".join(f"{count} {printable(reason)}" for reason, count in dead["reasons"].items())
    return [f"Dead letters: {_at_least(dead)}" + (f" ({reasons})" if reasons else "")]


def _minute_lines(minute: Object) -> list[str]:
    lines = [f"Calls of the last minute: {minute['calls']}, {minute['failed'] or 'none'} failed"]
    return lines + [
        f"  {each['namespace']}/{each['name']}: {each['failed']} of {each['calls']} failed, last {each['last']}"
        for each in minute["failing"]
    ]


def _at_least(counted: Object) -> str:
    return f"{counted['count']} or more" if counted["more"] else str(counted["count"])
