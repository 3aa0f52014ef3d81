"""`hookline purge`: removes what a tenant, or one event, has in the streams, and shows that nothing is left."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from hookline.cli.common import NatsOrOwn, OwnData, default_data, nats_address, run_loop
from hookline.cli.errors import NotAchieved, WrongInput
from hookline.events.envelope import valid_tenant
from hookline.routing.signing import valid_message_id
from hookline.runtime.logs import set_up_logs
from hookline.stream.connection import close, connect
from hookline.stream.permissions import Role
from hookline.stream.purge import Place, Wanted, look
from hookline.stream.purge import purge as purge_streams

IN_HAND = (
    "What senders have in hand now may be delivered once more. An attempts log keeps many lines in one message: with "
    "those of an event a few neighbours' lines go."
)


def purge(
    tenant: Annotated[str, typer.Option(help="The namespace.", show_default=False)],
    event_id: Annotated[str, typer.Option(help="This event alone.", show_default="everything")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    nats: NatsOrOwn = None,
    nats_credentials: Annotated[
        Path | None,
        typer.Option(envvar="HOOKLINE_NATS_CREDENTIALS", help="NATS credentials file, or a seed: those of a sender."),
    ] = None,
    data: OwnData = None,
) -> None:
    """Remove what a tenant, or one event, has in every stream, and look again. Exit code 1 when something is left.

    Example: hookline purge --tenant team-a --event-id evt_9302483c256b4a18a5068ef1cb6e4b43
    """
    if not valid_tenant(tenant):
        raise WrongInput("--tenant must be a namespace: lower-case letters, digits and -, at most 63 characters")
    if event_id and not valid_message_id(event_id):
        raise WrongInput("--event-id must be 1 to 128 letters, digits, - or _")
    if not yes and not sys.stdin.isatty():
        raise WrongInput("nobody can be asked here; add --yes to remove it without a question")
    set_up_logs()
    wanted = Wanted(tenant, event_id)
    run_loop(_purge(wanted, nats_address(nats, data or default_data()), nats_credentials, ask=not yes))


async def _purge(wanted: Wanted, url: str, credentials: Path | None, *, ask: bool) -> None:
    # What a sender may do is needed, and its answers come to where a sender hears them.
    client = await connect(url, name=Role.SENDER, credentials=credentials)
    try:
        found = await look(client, wanted)
        whose = f"of the event {wanted.event_id} in {wanted.tenant}" if wanted.event_id else f"of {wanted.tenant}"
        typer.echo(f"{_listed(found)}\n{IN_HAND}" if found else f"nothing {whose} is there")
        if found and ask and not await asyncio.to_thread(typer.confirm, f"Remove all {whose}? It cannot be undone."):
            raise NotAchieved("nothing was removed")
        removed, left = await purge_streams(client, wanted)
    finally:
        await close(client)
    if removed:
        typer.echo(f"removed:\n{_listed(removed)}")
    if left:
        raise NotAchieved(f"something is left, run it again:\n{_listed(left)}")
    typer.echo(f"looked again: nothing {whose} is left of what was there")


def _listed(counts: Mapping[Place, int]) -> str:
    width = max((len(place.stream) for place in counts), default=0)
    return "\n".join(f"  {place.stream:{width}}  {count:>8,}  {place.what}" for place, count in counts.items())
