"""The command `hookline`: puts the commands together and turns every failure into one line and an exit code."""

from __future__ import annotations

import os
import sys

import typer
from typer.exceptions import Abort, TyperException

from hookline import __version__
from hookline.cli import check, demo, events, listen, operator, publish, run, sender
from hookline.cli.errors import Failure, WrongInput
from hookline.local.nats_server import NatsServerError
from hookline.local.run import DataFolderInUse
from hookline.natsaddress import BadNatsAddress
from hookline.stream.connection import StreamRefused, StreamUnavailable

app = typer.Typer(
    name="hookline",
    help="Webhooks from Kubernetes: signed, retried, dead-lettered, never lost.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(run.run)
app.command()(publish.publish)
app.command()(listen.listen)
app.command()(check.check)
app.command()(demo.demo)
app.command()(operator.operator)
app.command()(sender.sender)
app.add_typer(events.app, name="events")


@app.callback(invoke_without_command=True)
def root(version: bool = typer.Option(False, "--version", help="Print the version and stop.")) -> None:
    if version:
        typer.echo(f"hookline {__version__}")
        raise typer.Exit


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
    except (StreamUnavailable, StreamRefused, NatsServerError, DataFolderInUse) as error:
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
