"""`dead`: dead letters, listed, sent again, or dropped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from hookline.api import kinds
from hookline.cli.errors import NotAchieved, WrongInput
from hookline.cli.log.api import LOG, Denied, listed, path_of, selector
from hookline.cli.log.attempts import LISTED, EventId, EventType, Limit, Reason, WebhookTarget
from hookline.cli.log.kinds import DEAD_LETTERS
from hookline.cli.log.output import print_items, say
from hookline.cli.log.place import Session
from hookline.cli.log.targets import is_kind, webhook_name
from hookline.runtime.log_wording import printable

Names = Annotated[list[str], typer.Argument(metavar="NAME…", help="Of dead letters.", show_default=False)]

LIST = "list"


class ListUnlessTold(TyperGroup):
    """A group of commands that lists when none of them is named: `dead webhook/NAME` is `dead list webhook/NAME`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = [LIST, *args]
        return super().parse_args(ctx, args)


def dead_letters(
    session: Session,
    target: WebhookTarget = "",
    event: EventId = "",
    event_type: EventType = "",
    reason: Reason = "",
    limit: Limit = LISTED,
) -> None:
    """Show deliveries that were given up, with the last answer's status and reason. Newest first.

    Example: hookline dead webhook/identity-created --reason ScheduleSpent
    """
    narrowed = selector(webhook=webhook_name(target), event=event, type=event_type, reason=reason)
    found = list(listed(session.api, path_of(LOG, session.namespace, "deadletters"), narrowed, limit=limit))
    print_items(DEAD_LETTERS, found, output=session.output, namespace=session.namespace)


def dead_replay(session: Session, names: Names) -> None:
    """Send single dead letters again, now. For many of them: `replay --source dead`.

    Example: hookline dead replay $(hookline dead webhook/identity-created -o name)
    """
    namespace = session.one_namespace()

    def replay(name: str) -> None:
        session.api.post(path_of(LOG, namespace, "deadletters", name, "replay"), _replay_body(name))

    _each(_plain(names), replay, "is queued to be sent again")


def dead_drop(
    session: Session,
    names: Names,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Without asking.")] = False,
) -> None:
    """Drop dead letters for good: they are not sent, and cannot be had back.

    Example: hookline dead drop evt-93-identity-created --yes
    """
    namespace, plain = session.one_namespace(), _plain(names)
    if not yes:
        count = "1 dead letter" if len(plain) == 1 else f"{len(plain)} dead letters"
        if not _confirmed(f"Drop {count} of {namespace} for good?"):
            raise NotAchieved("nothing was dropped; --yes drops without asking")
    _each(plain, lambda name: session.api.delete(path_of(LOG, namespace, "deadletters", name)), "is dropped")


def _confirmed(question: str) -> bool:
    """No of whoever cannot answer."""
    try:
        return typer.confirm(question, err=True)
    except typer.Abort:
        typer.echo(err=True)
        return False


def _plain(names: Sequence[str]) -> list[str]:
    """Without what `-o name` writes before them. Raises WrongInput."""
    plain = []
    for each in names:
        kind, slash, name = each.rpartition("/")
        if slash and not is_kind(kind, kinds.DEAD_LETTERS):
            raise WrongInput("dead letters are named by NAME, or deadletter/NAME")
        if not name:
            raise WrongInput("the name of a dead letter is empty")
        plain.append(name)
    return plain


def _replay_body(name: str) -> dict[str, Any]:
    return {"apiVersion": kinds.API_VERSION, "kind": kinds.DEAD_LETTERS.kind, "metadata": {"name": name}}


def _each(names: Sequence[str], do: Callable[[str], object], done: str) -> None:
    """All of them, also when one fails; then that is told by the exit code."""
    failed: list[Denied] = []
    for name in names:
        try:
            do(name)
        except Denied as error:
            failed.append(error)
            typer.echo(f"deadletter/{printable(name)}: {error}", err=True)
        else:
            say(f"deadletter/{printable(name)} {done}")
    if failed:
        raise NotAchieved(f"{len(failed)} of {len(names)} dead letters were left as they are")
