"""`replay`: makes a Replay, and shows how far it is until it ends."""

from __future__ import annotations

import contextlib
import enum
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from hookline.api.texts import not_reached
from hookline.cli.errors import NotAchieved, WrongInput
from hookline.cli.log.api import REFUSALS, RESOURCES, TRIES, Denied, Object, path_of
from hookline.cli.log.fields import number, point_in_time, stamp, text, value
from hookline.cli.log.output import Output, document, say
from hookline.cli.log.place import Session
from hookline.cli.log.targets import labels_of, webhook_name
from hookline.cli.program import INTERRUPTED

LOOK_SECONDS = 1.0
"""Between two looks at how far it is."""

KEPT_SECONDS = 7 * 24 * 3600
"""How long what this command made can be looked at after its end. Who wants another time, writes a Replay."""

FINISHED = frozenset({"Complete", "Failed"})


class Source(enum.StrEnum):
    DEAD = "dead"
    EVENTS = "events"


_SOURCES = {Source.DEAD: "DeadLetters", Source.EVENTS: "Events"}


def replay(
    session: Session,
    target: Annotated[str, typer.Argument(metavar="[webhook/NAME]", help="The Webhook.", show_default=False)] = "",
    selector: Annotated[
        str | None,
        typer.Option("--selector", "-l", metavar="LABELS", help="Several, as by team=a,tier=b.", show_default=False),
    ] = None,
    source: Annotated[
        Source | None, typer.Option(help="What is sent again.", show_default="events with --only-failed, else dead")
    ] = None,
    since: Annotated[
        str, typer.Option(metavar="TIME", help="Not older than 30m, 2h, 1d, or since a time.", show_default=False)
    ] = "",
    until: Annotated[
        str, typer.Option(metavar="TIME", help="Not newer than 30m, 2h, 1d ago, or a time.", show_default=False)
    ] = "",
    only_failed: Annotated[bool, typer.Option("--only-failed", help="Of events: those never delivered.")] = False,
    ids: Annotated[
        list[str] | None, typer.Option("--id", metavar="ID", help="Of an event. Repeatable.", show_default=False)
    ] = None,
    rate: Annotated[
        int | None, typer.Option(min=1, max=1000, help="How many in a second at most.", show_default="50")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count them, and send nothing.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Until it ends; Ctrl-C leaves it running.")] = True,
) -> None:
    """Send dead letters, or events of a time, of one Webhook or of several again. They keep their ids, and are marked
    (`hookline-replay`).

    It goes on in the cluster whatever becomes of this command: what it makes is a Replay. Exit code 1 if it fails.

    Example: hookline replay webhook/identity-created --since 2h --only-failed --dry-run
    """
    namespace, webhooks = session.one_namespace(), webhooks_of(target, selector)
    now = datetime.now(UTC)
    spec = spec_of(
        webhooks,
        source=source,
        since=point_in_time(since, "--since", now),
        until=point_in_time(until, "--until", now),
        only_failed=only_failed,
        ids=ids or [],
        rate=rate,
        dry_run=dry_run,
    )
    path = path_of(RESOURCES, namespace, "replays")
    made = session.api.post(path, _object(_new_name(webhook_name(target) or "webhooks"), namespace, spec))
    replay_name = text(made, "metadata.name")
    if session.output is Output.NAME:
        say(f"replay.hookline.dev/{replay_name}")
    if wait:
        made = _until_it_ends(session, path_of(RESOURCES, namespace, "replays", replay_name), replay_name)
    if session.output in (Output.JSON, Output.YAML):
        say(document(made, session.output))
    elif session.output.is_table and not wait:
        say(f"replay/{replay_name} is made; {_how_to_follow(session, replay_name)}")
    elif session.output.is_table:
        say(f"replay/{replay_name}: {in_words(made)}")
    if text(made, "status.phase") == "Failed":
        raise NotAchieved(f"replay/{replay_name} failed: {_why(made)}")


def webhooks_of(target: str, selector: str | None) -> dict[str, Any]:
    """Which Webhooks, as the spec of a Replay says it. Raises WrongInput."""
    if target and selector is not None:
        raise WrongInput("name one Webhook, or several by --selector: leave one of the two out")
    if selector is not None:
        return {"selector": {"matchLabels": labels_of(selector)}}
    if not target:
        raise WrongInput("name a Webhook by webhook/NAME, or several by --selector LABEL=VALUE")
    return {"webhook": {"name": webhook_name(target)}}


def spec_of(
    webhooks: dict[str, Any],
    *,
    source: Source | None,
    since: datetime | None,
    until: datetime | None,
    only_failed: bool,
    ids: list[str],
    rate: int | None,
    dry_run: bool,
) -> dict[str, Any]:
    """The spec of a Replay; what was not asked for is left to its defaults. Raises WrongInput."""
    if source is Source.DEAD and only_failed:
        raise WrongInput("--only-failed is of events: dead letters all failed; leave one of the two out")
    if since and until and since >= until:
        raise WrongInput("--until must be later than --since")
    chosen = source or (Source.EVENTS if only_failed else Source.DEAD)
    spec: dict[str, Any] = {
        **webhooks,
        "source": _SOURCES[chosen],
        "ttlSecondsAfterFinished": KEPT_SECONDS,
    }
    if since:
        spec["since"] = stamp(since)
    if until:
        spec["until"] = stamp(until)
    if only_failed:
        spec["onlyFailed"] = True
    if ids:
        spec["ids"] = ids
    if rate is not None:
        spec["ratePerSecond"] = rate
    if dry_run:
        spec["dryRun"] = True
    return spec


def _object(name: str, namespace: str, spec: dict[str, Any]) -> Object:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "hookline.dev/v1alpha1", "kind": "Replay", "metadata": metadata, "spec": spec}


def _new_name(webhook: str) -> str:
    return f"{webhook[:40].rstrip('.-')}-{secrets.token_hex(4)}"


def _until_it_ends(session: Session, path: str, name: str) -> Object:
    """What it was at its end. Ctrl-C ends the command alone."""
    try:
        with _progress(name) as show:
            failures = 0
            while True:
                try:
                    found, failures = session.api.get(path), 0
                except Denied as error:
                    if error.reason in REFUSALS or (failures := failures + 1) >= TRIES:
                        raise Denied(f"replay/{name} goes on, but cannot be followed: {error}") from None
                else:
                    show(found)
                    if text(found, "status.phase") in FINISHED:
                        return found
                time.sleep(LOOK_SECONDS)
    except KeyboardInterrupt:
        typer.echo(f"replay/{name} goes on; {_how_to_follow(session, name)}", err=True)
        raise typer.Exit(INTERRUPTED) from None


def _how_to_follow(session: Session, name: str) -> str:
    if session.in_cluster:
        kubectl = session.again().removeprefix(session.program).strip()
        follow = " ".join(["kubectl get replay", name, *([kubectl] if kubectl else []), "-w"])
        return f"follow it with: {follow}"
    return f"follow what it sends with: {session.again('attempts', '-w')}"


@contextlib.contextmanager
def _progress(name: str) -> Iterator[Callable[[Object], None]]:
    """A bar on a terminal; elsewhere nothing, since the last line says it all."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"replay/{name}", total=None)

        def show(found: Object) -> None:
            done = sum(number(found, f"status.{each}") or 0 for each in ("replayed", "skipped", "failed"))
            bar.update(task, completed=done, total=number(found, "status.found"))

        yield show


def in_words(found: Object) -> str:
    """How it stands: `Complete: found 12, sent 12`."""
    counts = {word: number(found, f"status.{word}") or 0 for word in ("found", "replayed", "skipped", "failed")}
    words = [f"found {counts['found']:.0f}"]
    is_dry = value(found, "spec.dryRun") is True
    if is_dry:
        words.append(f"would send {counts['replayed']:.0f} (a dry run: nothing was sent)")
    else:
        words.append(f"sent {counts['replayed']:.0f}")
    words += [f"{word} {counts[word]:.0f}" for word in ("skipped", "failed") if counts[word]]
    said = f"{text(found, 'status.phase') or 'Pending'}: {', '.join(words)}"
    unknown = number(found, "status.unknown") or 0
    if not unknown:
        return said
    return f"{said}; {not_reached(unknown, counts['replayed'], dry_run=is_dry)}"


def _why(found: Object) -> str:
    """The message of the condition Failed."""
    conditions = value(found, "status.conditions")
    for each in conditions if isinstance(conditions, list) else []:
        if text(each, "type") == "Failed" and text(each, "status") == "True":
            return text(each, "message") or text(each, "reason")
    return in_words(found)
