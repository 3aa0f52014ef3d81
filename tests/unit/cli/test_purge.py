"""What `hookline purge` refuses before it asks NATS anything."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from hookline.cli.errors import WrongInput
from hookline.cli.purge import purge

app = typer.Typer()
app.command()(purge)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--tenant", "Team A"], "--tenant must be a namespace"),
        (["--tenant", ">"], "--tenant must be a namespace"),
        (["--tenant", "team-a", "--event-id", "a.*"], "--event-id must be"),
        (["--tenant", "team-a", "--nats", "nats://127.0.0.1:1"], "add --yes"),
    ],
)
def test_what_names_no_tenant_or_event_is_refused_and_nothing_is_removed_unasked(
    words: list[str], problem: str
) -> None:
    error = CliRunner().invoke(app, words).exception
    assert isinstance(error, WrongInput)
    assert problem in str(error)
