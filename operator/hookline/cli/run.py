"""`hookline run`: Hookline on this machine, from manifests in files."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import structlog
import typer

from hookline.cli.common import DATA_HELP, checked_cidrs, checked_nats, default_data, existing, run_until_signal
from hookline.cli.errors import WrongInput
from hookline.delivery.sender import Attempt
from hookline.heap import map_large_blocks
from hookline.local.desk import Finding, Level
from hookline.local.run import LocalHookline, Manifests
from hookline.loglines import duration
from hookline.retry import Dead, Retry
from hookline.telemetry import set_up_logs

log = structlog.get_logger(__name__)

_MARKS = {Level.OK: "ok", Level.NOTE: "note", Level.WAITING: "NOT DELIVERED", Level.WRONG: "REFUSED"}


def run(
    paths: Annotated[list[Path], typer.Argument(help="YAML files, or folders of them.", show_default=False)],
    data: Annotated[Path | None, typer.Option(help=DATA_HELP, show_default="~/.local/state/hookline")] = None,
    nats: Annotated[
        str | None, typer.Option(envvar="HOOKLINE_NATS_URL", help="An existing NATS instead of the embedded one.")
    ] = None,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Take the queue of --nats over from the installation that has it.")
    ] = False,
    allow_cidr: Annotated[
        list[str] | None, typer.Option(help="A private or loopback network that may be called. Repeatable.")
    ] = None,
    sync_interval: Annotated[
        str, typer.Option(help="fsync of the embedded queue: `always` before each ack, or a time such as 1s.")
    ] = "always",
    grace_seconds: Annotated[
        float, typer.Option(min=0, max=3600, help="At the end: how long calls under way may take.")
    ] = 30.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object for each call and whatever else happens.")
    ] = False,
) -> None:
    """Deliver events to the Webhooks in YAML files. Changes of the files take effect within two seconds.

    Example: hookline run ./webhooks --allow-cidr 127.0.0.0/8
    """
    for_machines = set_up_logs(json=True if as_json else None)
    map_large_blocks()
    if not re.fullmatch(r"always|[1-9][0-9]*(ms|s|m)", sync_interval):
        raise WrongInput("--sync-interval must be `always`, or a time such as 500ms, 1s or 2m")
    manifests = Manifests(existing(paths), allow_cidrs=checked_cidrs(allow_cidr or []))
    hookline = LocalHookline(
        manifests,
        data or default_data(),
        nats_url=checked_nats(nats) if nats is not None else None,
        take_over=take_over,
        on_attempt=log_attempts() if for_machines else say_attempt,
        on_findings=print_findings,
        sync_interval=sync_interval,
        grace_seconds=grace_seconds,
    )
    run_until_signal(hookline.run)


def print_findings(findings: Sequence[Finding]) -> None:
    for each in findings:
        typer.echo(f"{_MARKS[each.level]:<13} {each}", err=each.level in (Level.WAITING, Level.WRONG))


def say_attempt(attempt: Attempt) -> None:
    """One line for each call, for a person."""
    line = attempt_in_words(attempt)
    decision = attempt.decision
    if isinstance(decision, Dead) and not attempt.given_back:
        log.error(line)
    elif isinstance(decision, Retry) or not attempt.settled:
        log.warning(line)
    else:
        log.info(line)


def attempt_in_words(attempt: Attempt) -> str:
    """What was called, what came back, what follows: `IdentityCreated to team-a/hook: 503 in 41 ms; again in 5 s`."""
    outcome, decision = attempt.outcome, attempt.decision
    called = f"{attempt.delivery.event.type} to {attempt.route.title}"
    took = duration(outcome.duration_seconds)
    answer = f"{outcome.status} in {took}" if outcome.status else f"{outcome.reason} ({outcome.detail})"
    what_follows = ""
    if attempt.given_back:
        what_follows = "; what waits, waits on"
    elif not attempt.settled:
        what_follows = "; will be called again: what follows could not be stored"
    elif isinstance(decision, Retry):
        what_follows = f"; attempt {attempt.delivery.attempt}, again in {duration(decision.wait_seconds)}"
    elif isinstance(decision, Dead):
        what_follows = f"; given up, now a dead letter: {decision.reason}"
    return f"{called}: {answer}{what_follows}"


def log_attempts() -> Callable[[Attempt], None]:
    """Logs one line for each call, as logs are set up now: to find that out anew each time takes 3 us."""
    return functools.partial(_log_attempt, log.bind())


def _log_attempt(log: structlog.typing.FilteringBoundLogger, attempt: Attempt) -> None:
    """The URL without its query, which may hold a token."""
    outcome, decision = attempt.outcome, attempt.decision
    facts = {
        "webhook": attempt.route.title,
        "event_type": attempt.delivery.event.type,
        "event_id": attempt.delivery.event.id,
        "attempt": attempt.delivery.attempt,
        "url": attempt.route.url,
        "status": outcome.status,
        "reason": str(outcome.reason),
        "milliseconds": round(outcome.duration_seconds * 1000, 1),
    }
    if attempt.given_back:
        log.info("a probe failed; what waits, waits on", **facts, detail=outcome.detail)
    elif not attempt.settled:
        log.warning("called, and will be called again: what follows could not be stored", **facts)
    elif isinstance(decision, Retry):
        log.warning("will be tried again", **facts, detail=outcome.detail, in_seconds=round(decision.wait_seconds, 1))
    elif isinstance(decision, Dead):
        log.error("given up, now a dead letter", **facts, detail=outcome.detail, why=decision.reason)
    else:
        log.info("delivered", **facts)
