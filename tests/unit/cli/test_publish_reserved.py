"""Events of Hookline's own types are published by nobody else."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from hookline.cli.errors import WrongInput
from hookline.cli.publish import publish
from hookline.events.notices import NOTICES

app = typer.Typer()
app.command()(publish)


@pytest.mark.parametrize("name", [*(each.name for each in NOTICES), "hookline.Other", "HOOKLINE.x"])
def test_a_type_that_is_reserved_is_refused_before_nats_is_asked(name: str) -> None:
    error = CliRunner().invoke(app, [name, "-", "--nats", "nats://127.0.0.1:1"]).exception
    assert isinstance(error, WrongInput)
    assert "published by Hookline itself" in str(error)
