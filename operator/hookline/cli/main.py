"""The command `hookline`: puts the commands together and turns every failure into one line and an exit code."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer
from typer.exceptions import Abort, TyperException

from hookline import __version__
from hookline.cli import check, demo, events, gateway, listen, operator, publish, run, sender
from hookline.cli.common import help_if_alone
from hookline.cli.errors import Failure, WrongInput
from hookline.local.nats_server import NatsServerError
from hookline.local.run import DataFolderInUse, GatewayPortInUse
from hookline.resources.natsaddress import BadNatsAddress
from hookline.stream.connection import StreamRefused, StreamUnavailable

app = typer.Typer(
    name="hookline",
    help="Webhooks from Kubernetes: signed, retried, dead-lettered, never lost.",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
# The list of commands has room for one short line each, at 80 columns.
app.command(short_help="Deliver events to the Webhooks in YAML files.")(run.run)
app.command(short_help="Publish an event.")(publish.publish)
app.command(short_help="Receive, verify and print calls on this machine.")(listen.listen)
app.command(short_help="Say what a cluster would say of manifests.")(check.check)
app.command(short_help="Deliver all 20 event types to a local receiver.")(demo.demo)
app.command(short_help="Reconcile the resources of a Kubernetes cluster.")(operator.operator)
app.command(short_help="Deliver by the operator's route book.")(sender.sender)
app.command(short_help="Take events by HTTPS in a cluster.")(gateway.gateway)
app.add_typer(events.app, name="events", short_help="Built-in event types, schemas and samples.")


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(f"hookline {__version__}")


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    as_option: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    if as_option:
        version()
        raise typer.Exit
    help_if_alone(context)


def main() -> None:
    """Entry point of the console script."""
    try:
        code = app(standalone_mode=False)
    except Abort:
        code = 130
    except TyperException as error:
        code = _say(error.format_message(), error.exit_code)
    except Failure as failure:
        code = _say(str(failure), failure.exit_code)
    except BadNatsAddress as error:
        code = _say(f"the address of NATS {error}", WrongInput.exit_code)
    except (StreamUnavailable, StreamRefused, NatsServerError, DataFolderInUse, GatewayPortInUse) as error:
        code = _say(str(error), 1)
    except BrokenPipeError:
        # Whoever read our output has gone, as `head` does; nothing is left to be said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


def _say(message: str, code: int) -> int:
    line = " ".join(message.split())
    sys.stderr.write(f"hookline: {line}\n")
    return code


if __name__ == "__main__":
    main()
