"""What of deliveries is traced: the way of an event to its Webhooks, and each call. Nothing where nothing is traced.

Whoever asks looks first whether there is a trace at all (`telemetry.tracing`), which is all that it costs without one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hookline.delivery.messages import Delivery
from hookline.delivery.policy.retry import Outcome, Reason
from hookline.events.context import context_problems
from hookline.events.envelope import Event
from hookline.routing.routes import Route
from hookline.runtime.telemetry import Kind, Span, Tracing

PARENT, PREVIOUS = "traceparent", "previousattempt"
"""In the context of an event: from what a span follows, and the call before."""


def fanned_out(tracing: Tracing, event: Event, stored_s: float, webhooks: int) -> Event:
    """An event that becomes deliveries: from when it was stored until now. What it becomes follows from that."""
    attributes = {**_of(event), "hookline.webhooks": webhooks}
    span = tracing.begin(
        f"fan-out {event.type}", Kind.CONSUMER, attributes, parent=event.context.get(PARENT, ""), since_s=stored_s
    )
    span.end()
    return replace(event, context=_with(event, PARENT, span.traceparent))


def attempt_begins(tracing: Tracing, delivery: Delivery, route: Route) -> Span:
    """One call. It is linked to the one before."""
    event = delivery.event
    attributes = {
        **_of(event),
        "http.request.method": "POST",
        "url.full": route.url,
        "hookline.webhook": route.name,
        "hookline.webhook.uid": route.uid,
        "hookline.attempt": delivery.attempt,
    }
    parent, link = (event.context.get(each, "") for each in (PARENT, PREVIOUS))
    return tracing.begin(f"attempt {event.type}", Kind.CLIENT, attributes, parent=parent, link=link)


def attempt_ends(span: Span, delivery: Delivery, outcome: Outcome) -> Delivery:
    """The delivery, which knows of this attempt from now on."""
    status = {"http.response.status_code": outcome.status} if outcome.status is not None else {}
    span.end(status, failed="" if outcome.reason is Reason.DELIVERED else str(outcome.reason))
    return replace(delivery, event=replace(delivery.event, context=_with(delivery.event, PREVIOUS, span.traceparent)))


def _of(event: Event) -> dict[str, str | int]:
    return {"hookline.tenant": event.tenant, "hookline.event.id": event.id, "hookline.event.type": event.type}


def _with(event: Event, name: str, text: str) -> Mapping[str, str]:
    context = {**event.context, name: text}
    # A producer may have used up the room.
    return event.context if context_problems(context) else context
