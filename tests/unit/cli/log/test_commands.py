"""Both programs have the same commands, each with help and an example that begins with the program's name."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from hookline.cli import main, plugin

COMMANDS = (
    *("attempts", "deliveries", "dead list", "dead replay", "dead drop", "replay", "test", "status", "top", "bundle"),
    *("events list", "events schema", "events sample"),
)
PROGRAMS = {"hookline": main.app, "kubectl hookline": plugin.app}


def help_of(app: typer.Typer, *words: str) -> str:
    result = CliRunner().invoke(app, [*words, "--help"], terminal_width=80)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_each_command_has_help_with_an_example_of_its_program(program: str, command: str) -> None:
    example = " ".join(help_of(PROGRAMS[program], *command.split()).split())
    assert f"Example: {program} {command.removesuffix(' list')}" in example


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("group", ["", "dead", "events"])
def test_no_line_of_a_list_of_commands_is_cut(program: str, group: str) -> None:
    assert "..." not in help_of(PROGRAMS[program], *group.split()).partition("Commands:")[2]


def test_what_says_where_fits_the_place() -> None:
    assert "--context" in help_of(plugin.app, "attempts")
    assert "--data" not in help_of(plugin.app, "attempts")
    assert "--data" in help_of(main.app, "attempts")
    assert "--context" not in help_of(main.app, "attempts")


def test_the_plugin_starts_without_what_only_other_programs_need() -> None:
    """A shell starts it for each word that is completed."""
    heavy = ("pydantic", "jsonschema", "asyncio", "nats", "aiohttp", "uvloop", "structlog", "starlette")
    code = f"import sys, hookline.cli.plugin; print([each for each in {heavy!r} if each in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
