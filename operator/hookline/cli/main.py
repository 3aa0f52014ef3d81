"""The command `hookline`: puts the commands together and turns every failure into one line and an exit code."""

from __future__ import annotations

import sys

import typer

from hookline import __version__
from hookline.cli import api, check, demo, events, gateway, listen, operator, publish, purge, run, sender
from hookline.cli.common import default_data
from hookline.cli.errors import NotAchieved, WrongInput
from hookline.cli.log.commands import add_commands
from hookline.cli.log.place import Local
from hookline.cli.program import add_root, run_to_its_end
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
app.command(short_help="Remove what a tenant, or one event, has in the streams.")(purge.purge)
app.command(short_help="Receive, verify and print calls on this machine.")(listen.listen)
app.command(short_help="Say what a cluster would say of manifests.")(check.check)
app.command(short_help="Deliver all 20 event types to a local receiver.")(demo.demo)
app.command(short_help="Reconcile the resources of a Kubernetes cluster.")(operator.operator)
app.command(short_help="Deliver by the operator's route book.")(sender.sender)
app.command(short_help="Take events by HTTPS in a cluster.")(gateway.gateway)
app.command(short_help="Tell what became of deliveries, in a cluster.")(api.api)
add_commands(app, Local(default_data))
app.add_typer(events.app, name="events", short_help="Built-in event types, schemas and samples.")


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(f"hookline {__version__}")


add_root(app, version)


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run_to_its_end("hookline", _run))


def _run() -> object:
    try:
        return app(standalone_mode=False)
    except BadNatsAddress as error:
        raise WrongInput(f"the address of NATS {error}") from None
    except (StreamUnavailable, StreamRefused, NatsServerError, DataFolderInUse, GatewayPortInUse) as error:
        raise NotAchieved(str(error)) from None


if __name__ == "__main__":
    main()
