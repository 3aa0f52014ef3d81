"""`hookline run`: Hookline on this machine, from manifests in files."""

from __future__ import annotations

import functools
import logging
import re
import shlex
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated

import structlog
import typer

from hookline.cli.common import DATA_HELP, checked_cidrs, checked_nats, default_data, existing, run_until_signal
from hookline.cli.errors import WrongInput
from hookline.delivery.policy.retry import Dead, Retry
from hookline.delivery.sender import Attempt
from hookline.local.evaluation import Finding, Level
from hookline.local.run import LocalHookline, Manifests
from hookline.resources.dispatcher import STREAM_PREFIX
from hookline.runtime import telemetry
from hookline.runtime.log_wording import duration
from hookline.runtime.logs import set_up_logs
from hookline.runtime.tuning import tune_process

log = structlog.get_logger(__name__)

GATEWAY_PORT = 8484
"""Where people look for it. Several `hookline run` of one machine have one each."""

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
    stream_prefix: Annotated[
        str | None,
        typer.Option(
            help="What the names of the streams begin with; those with another prefix are moved.",
            show_default="as they are, else HOOKLINE_",
        ),
    ] = None,
    allow_cidr: Annotated[
        list[str] | None, typer.Option(help="A private or loopback network that may be called. Repeatable.")
    ] = None,
    sync_interval: Annotated[
        str, typer.Option(help="fsync of the embedded queue: `always` before each ack, or a time such as 1s.")
    ] = "always",
    gateway_port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="Of the gateway on loopback, for publishing by HTTP; 0: any free one.",
            show_default="8484, else any free one",
        ),
    ] = None,
    gateway: Annotated[bool, typer.Option(help="Whether there is a gateway.", show_default=True)] = True,
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
    tune_process()
    for_machines = set_up_logs(json=True if as_json else None)
    telemetry.set_up("hookline")
    if not re.fullmatch(r"always|[1-9][0-9]*(ms|s|m)", sync_interval):
        raise WrongInput("--sync-interval must be `always`, or a time such as 500ms, 1s or 2m")
    if stream_prefix is not None and not re.fullmatch(STREAM_PREFIX, stream_prefix):
        raise WrongInput("--stream-prefix must be up to 31 letters, digits, _ and -, with a letter first, or empty")
    manifests = Manifests(existing(paths), allow_cidrs=checked_cidrs(allow_cidr or []), stream_prefix=stream_prefix)
    hookline = LocalHookline(
        manifests,
        data or default_data(),
        nats_url=checked_nats(nats) if nats is not None else None,
        take_over=take_over,
        on_attempt=log_attempts() if for_machines else say_attempt,
        on_findings=print_findings,
        gateway_ports=_gateway_ports(gateway_port) if gateway else (),
        on_gateway=log_gateway if for_machines else say_gateway,
        sync_interval=sync_interval,
        grace_seconds=grace_seconds,
    )
    run_until_signal(hookline.run)


def print_findings(findings: Sequence[Finding]) -> None:
    for each in findings:
        typer.echo(f"{_MARKS[each.level]:<13} {each}", err=each.level in (Level.WAITING, Level.WRONG))


def _gateway_ports(port: int | None) -> tuple[int, ...]:
    return (GATEWAY_PORT, 0) if port is None else (port,)


def say_gateway(url: str, token: Path) -> None:
    typer.echo(f"Publish by HTTP, such as:\n  {curl_line(url, token)}")


def log_gateway(url: str, token: Path) -> None:
    log.info("the gateway listens", url=url, token_file=str(token))


def curl_line(url: str, token: Path, event_type: str = "IdentityCreated") -> str:
    """A line that publishes a sample when it is pasted into a shell. The token stays in its file."""
    bearer = f'-H "Authorization: Bearer $(cat {shlex.quote(str(token))})"'
    sample = f"curl -sS {url}/v1/event-types/{event_type}/sample"
    return f"{sample} | curl -sS {bearer} --json @- {url}/v1/events/{event_type}"


class Sequel(Enum):
    """What follows from an attempt: the level at which it is logged, and how logs for machines say it."""

    DELIVERED = logging.INFO, "delivered"
    WAITS_ON = logging.WARNING, "a probe failed; what waits, waits on"
    NOT_STORED = logging.WARNING, "called, and will be called again: what follows could not be stored"
    AGAIN = logging.WARNING, "will be tried again"
    GIVEN_UP = logging.ERROR, "given up, now a dead letter"

    def __init__(self, level: int, message: str) -> None:
        self.level = level
        self.message = message


def sequel(attempt: Attempt) -> Sequel:
    """What follows from an attempt. What was decided counts only if it was stored."""
    if attempt.given_back:
        return Sequel.WAITS_ON
    if not attempt.settled:
        return Sequel.NOT_STORED
    if isinstance(attempt.decision, Retry):
        return Sequel.AGAIN
    return Sequel.GIVEN_UP if isinstance(attempt.decision, Dead) else Sequel.DELIVERED


def say_attempt(attempt: Attempt) -> None:
    """One line for each call, for a person."""
    log.log(sequel(attempt).level, attempt_in_words(attempt))


def attempt_in_words(attempt: Attempt) -> str:
    """What was called, what came back, what follows: `IdentityCreated to team-a/hook: 503 in 41 ms; again in 5 s`."""
    outcome = attempt.outcome
    called = f"{attempt.delivery.event.type} to {attempt.route.title}"
    took = duration(outcome.duration_seconds)
    answer = f"{outcome.status} in {took}" if outcome.status else f"{outcome.reason} ({outcome.detail})"
    return f"{called}: {answer}{_what_follows(attempt)}"


def _what_follows(attempt: Attempt) -> str:
    match sequel(attempt), attempt.decision:
        case Sequel.WAITS_ON, _:
            return "; what waits, waits on"
        case Sequel.NOT_STORED, _:
            return "; will be called again: what follows could not be stored"
        case Sequel.AGAIN, Retry(wait_seconds):
            return f"; attempt {attempt.delivery.attempt}, again in {duration(wait_seconds)}"
        case Sequel.GIVEN_UP, Dead(reason):
            return f"; given up, now a dead letter: {reason}"
        case _:
            return ""


def log_attempts() -> Callable[[Attempt], None]:
    """Logs one line for each call, as logs are set up now: to find that out anew each time takes 3 us."""
    return functools.partial(_log_attempt, log.bind())


def _log_attempt(log: structlog.typing.FilteringBoundLogger, attempt: Attempt) -> None:
    """The URL without its query, which may hold a token."""
    outcome, decision, follows = attempt.outcome, attempt.decision, sequel(attempt)
    facts: dict[str, object] = {
        "webhook": attempt.route.title,
        "event_type": attempt.delivery.event.type,
        "event_id": attempt.delivery.event.id,
        "attempt": attempt.delivery.attempt,
        "url": attempt.route.url,
        "status": outcome.status,
        "reason": str(outcome.reason),
        "milliseconds": round(outcome.duration_seconds * 1000, 1),
    }
    if follows in (Sequel.WAITS_ON, Sequel.AGAIN, Sequel.GIVEN_UP):
        facts["detail"] = outcome.detail
    if follows is Sequel.AGAIN and isinstance(decision, Retry):
        facts["in_seconds"] = round(decision.wait_seconds, 1)
    elif follows is Sequel.GIVEN_UP and isinstance(decision, Dead):
        facts["why"] = decision.reason
    log.log(follows.level, follows.message, **facts)
