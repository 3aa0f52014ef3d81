"""`deliveries`: what is not done yet, and why."""

from __future__ import annotations

from hookline.cli.log.api import LOG, listed, path_of, selector
from hookline.cli.log.attempts import LISTED, EventId, EventType, Limit, Reason, WebhookTarget
from hookline.cli.log.kinds import DELIVERIES
from hookline.cli.log.output import print_items
from hookline.cli.log.place import Session
from hookline.cli.log.targets import webhook_name


def deliveries(
    session: Session,
    target: WebhookTarget = "",
    event: EventId = "",
    event_type: EventType = "",
    reason: Reason = "",
    limit: Limit = LISTED,
) -> None:
    """Show what is not done yet: queued, scheduled to be tried again, or parked, and why.

    By Webhook, what waits longest first.

    Example: hookline deliveries webhook/identity-created
    """
    narrowed = selector(webhook=webhook_name(target), event=event, type=event_type, reason=reason)
    found = list(listed(session.api, path_of(LOG, session.namespace, "deliveries"), narrowed, limit=limit))
    print_items(DELIVERIES, found, output=session.output, namespace=session.namespace)
