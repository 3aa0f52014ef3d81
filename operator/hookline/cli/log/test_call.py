"""`test`: sends the event type's sample to a Webhook now, and shows what came back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from hookline.api.kinds import API_VERSION, WEBHOOK_TESTS
from hookline.cli.errors import NotAchieved
from hookline.cli.log.api import LOG, Denied, Object, path_of
from hookline.cli.log.details import attempt_lines
from hookline.cli.log.fields import text, value
from hookline.cli.log.kinds import DELIVERED
from hookline.cli.log.output import Output, document, say
from hookline.cli.log.place import Session
from hookline.cli.log.targets import webhook_name


def send_test(
    session: Session,
    target: Annotated[str, typer.Argument(metavar="webhook/NAME", help="The Webhook.", show_default=False)],
    event_type: Annotated[
        str, typer.Option(metavar="TYPE", help="Whose sample is sent.", show_default="that of the Webhook")
    ] = "",
) -> None:
    """Send the sample of the event type now, past the queue, and show the answer. Exit code 1 unless it was delivered.

    The call takes the way of every other one: egress policy, TLS, signature. It is marked as a test
    (`hookline-test: true`), has no event and is not tried again.

    Example: hookline test webhook/identity-created
    """
    namespace = session.one_namespace()
    name = webhook_name(target)
    spec = {"webhook": name, **({"eventType": event_type} if event_type else {})}
    asked = {"apiVersion": API_VERSION, "kind": WEBHOOK_TESTS.kind, "spec": spec}
    answer = session.api.post(path_of(LOG, namespace, WEBHOOK_TESTS.plural), asked)
    attempt = value(answer, "status.attempt")
    if not isinstance(attempt, dict):
        raise Denied(text(answer, "status.message") or "no sender answered; is one running?")
    _show(session, namespace, name, answer, attempt)
    if text(attempt, "reason") != DELIVERED:
        raise NotAchieved(f"not delivered: {text(attempt, 'reason')}")


def _show(session: Session, namespace: str, name: str, answer: Object, attempt: Object) -> None:
    if session.output is Output.NAME:
        say(f"webhook.hookline.dev/{name}")
    elif session.output.is_table:
        found = {**attempt, "metadata": {"namespace": namespace}, "webhook": {"name": name}}
        say("\n".join(attempt_lines(found, datetime.now(UTC))))
    else:
        say(document(answer, session.output))
