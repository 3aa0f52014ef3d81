"""`attempts`: each call of a delivery, newest first, or as they come."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated

import typer

from hookline.cli.errors import WrongInput
from hookline.cli.log.api import LOG, TRIES, Denied, Object, Params, listed, path_of, selector, version_of
from hookline.cli.log.details import attempt_lines
from hookline.cli.log.fields import moment, point_in_time, text
from hookline.cli.log.kinds import ATTEMPTS
from hookline.cli.log.output import Output, Table, document, name_of, print_items, say
from hookline.cli.log.place import Session
from hookline.cli.log.targets import attempt_name, webhook_name

LISTED = 100
"""Objects, unless more are asked for."""

AGAIN_SECONDS = 1.0
"""Between two tries to follow again."""

Target = Annotated[
    str, typer.Argument(metavar="[webhook/NAME]", help="Of one Webhook; attempt/NAME: all of one.", show_default=False)
]
WebhookTarget = Annotated[str, typer.Argument(metavar="[webhook/NAME]", help="Of one Webhook.", show_default=False)]
EventId = Annotated[str, typer.Option("--event", metavar="ID", help="Of one event.", show_default=False)]
EventType = Annotated[str, typer.Option("--type", metavar="TYPE", help="Of one event type.", show_default=False)]
Reason = Annotated[str, typer.Option(metavar="WORD", help="Such as HTTPStatus.", show_default=False)]
Limit = Annotated[int, typer.Option(min=0, help="How many, those that are listed first; 0: all.")]


def attempts(
    session: Session,
    target: Target = "",
    event: EventId = "",
    event_type: EventType = "",
    status: Annotated[str, typer.Option(metavar="CODE", help="Of the answer, such as 503.", show_default=False)] = "",
    reason: Reason = "",
    since: Annotated[
        str, typer.Option(metavar="TIME", help="Not older than 30m, 2h, 1d, or since a time.", show_default=False)
    ] = "",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on with those that come, until Ctrl-C.")] = False,
    limit: Limit = LISTED,
) -> None:
    """Show each call that was made: when, what came back, and what follows. Newest first.

    Example: hookline attempts webhook/identity-created --since 2h --reason HTTPStatus
    """
    if (name := attempt_name(target)) is not None:
        _show_one(session, name)
        return
    narrowed = selector(
        webhook=webhook_name(target), event=event, type=event_type, status=_status(status), reason=reason
    )
    not_before = point_in_time(since, "--since", datetime.now(UTC))
    if watch:
        _follow(session, narrowed, not_before, limit)
        return
    path = path_of(LOG, session.namespace, "attempts")
    found = list(_not_before(listed(session.api, path, narrowed, limit=limit), not_before))
    print_items(ATTEMPTS, found, output=session.output, namespace=session.namespace)


def _show_one(session: Session, name: str) -> None:
    found = session.api.get(path_of(LOG, session.one_namespace(), "attempts", name))
    if session.output.is_table:
        say("\n".join(attempt_lines(found, datetime.now(UTC))))
    elif session.output is Output.NAME:
        say(name_of(ATTEMPTS, found))
    else:
        say(document(found, session.output))


def _status(typed: str) -> str:
    if typed and not (typed.isascii() and typed.isdigit()):
        raise WrongInput("--status must be a number such as 503; how a call ended without an answer is its --reason")
    return typed


def _not_before(found: Iterator[Object], at: datetime | None) -> Iterator[Object]:
    """The newest come first, so that the first one that is too old ends it."""
    for each in found:
        made = moment(each, "time")
        if at is not None and made is not None and made < at:
            return
        yield each


def _follow(session: Session, narrowed: Params, not_before: datetime | None, limit: int) -> None:
    """Oldest first, as they came, and then on."""
    path = path_of(LOG, session.namespace, "attempts")
    page = session.api.get(path, {**narrowed, "limit": str(min(limit, 500) or 500)})
    before = list(_not_before(iter(page.get("items") or []), not_before))[::-1]
    rows = _Rows(session)
    rows.print(before, begins=True)
    for each in followed(session, path, narrowed, version_of(page)):
        rows.print([each])


class _Rows:
    def __init__(self, session: Session) -> None:
        self._output = session.output
        self._table = Table(
            ATTEMPTS, output=session.output, everywhere=not session.namespace, rows_follow=session.output.is_table
        )

    def print(self, items: list[Object], *, begins: bool = False) -> None:
        if self._output.is_table:
            if items or begins:
                say("\n".join(self._table.lines(items, datetime.now(UTC))))
            return
        for each in items:
            if self._output is Output.NAME:
                say(name_of(ATTEMPTS, each))
            elif self._output is Output.YAML:
                say(f"---\n{document(each, Output.YAML)}")
            else:
                say(json.dumps(each))


def followed(session: Session, path: str, narrowed: Params, version: str) -> Iterator[Object]:
    """Attempts behind a version, for ever. A watch that ends is begun anew where it ended.

    Raises Denied when it is refused, or when nobody answers any more.
    """
    tries = 0
    while True:
        try:
            for event in session.api.follow(
                path, {**narrowed, "resourceVersion": version, "allowWatchBookmarks": "true"}
            ):
                tries = 0
                kind, found = event.get("type"), event.get("object")
                if not isinstance(found, dict):
                    continue
                if kind == "ERROR":
                    raise Denied(text(found, "message") or "the watch failed", reason=text(found, "reason"))
                version = version_of(found) or version
                if kind in ("ADDED", "MODIFIED"):
                    yield found
            tries += 1
        except Denied as error:
            if error.reason in ("Expired", "Gone"):
                version = version_of(session.api.get(path, {**narrowed, "limit": "1"}))
                typer.echo("Some attempts were missed: they are no longer kept, or the log was read anew.", err=True)
            elif (
                error.reason in ("Forbidden", "Unauthorized", "NotFound", "BadRequest", "Invalid")
                or (tries := tries + 1) >= TRIES
            ):
                raise
        time.sleep(AGAIN_SECONDS if tries else 0)
