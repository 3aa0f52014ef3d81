from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from jsonschema import FormatChecker
from jsonschema.validators import validator_for
from rich.console import Console
from typer.testing import CliRunner, Result

from hookline.cli import events
from hookline.cli.errors import NotAchieved, WrongInput
from hookline.events import notices
from hookline.events.builtin_events import event_named, sample_of, schema_files

SHOWN = events._builtin()


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(events.app, [str(word) for word in words])


def test_list_has_one_line_for_each_event_in_columns() -> None:
    result = run("list")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [event.name for event in SHOWN]
    assert len({line.index(event.description) for line, event in zip(lines, SHOWN, strict=True)}) == 1
    assert all(event.display_name in line and event.category in line for line, event in zip(lines, SHOWN, strict=True))
    assert not any(line.endswith(" ") for line in lines)


def test_list_as_json_is_an_array_of_objects() -> None:
    listed = json.loads(run("list", "--json").stdout)
    assert [each["name"] for each in listed] == [event.name for event in SHOWN]
    assert listed[4] == {
        "name": "IdentityRequestCreated",
        "displayName": "Identity requests created",
        "category": "Identity requests",
        "description": "An identity was requested.",
        "schemaFile": "schema-identityrequestcreated.json",
    }


def test_list_on_a_terminal_is_a_table_that_never_cuts_names(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(events, "Console", lambda: Console(file=screen, force_terminal=True, width=80))
    assert run("list").stdout == ""
    assert "display name" in screen.getvalue()
    assert all(event.name in screen.getvalue() for event in SHOWN)


@pytest.mark.parametrize("event", SHOWN, ids=lambda event: event.name)
def test_schema_prints_the_text_of_the_generated_file_and_sample_a_body_that_satisfies_it(event: events._Type) -> None:
    printed = run("schema", event.name).stdout
    assert printed == {**schema_files(), **notices.schema_files()}[f"events/schema-{event.name.lower()}.json"]
    sample = json.loads(run("sample", event.name).stdout)
    schema = json.loads(printed)
    assert validator_for(schema)(schema, format_checker=FormatChecker()).is_valid(sample)


def test_what_is_printed_is_utf_8_in_every_locale() -> None:
    command = [sys.executable, "-m", "hookline.cli.main", "events", "sample", "IdentityCreated"]
    printed = subprocess.run(
        command, env={**os.environ, "PYTHONIOENCODING": "latin-1"}, capture_output=True, check=True
    )
    assert json.loads(printed.stdout.decode("utf-8")) == sample_of(event_named("IdentityCreated"))
    assert "Zoë".encode() in printed.stdout


def test_output_writes_what_is_printed(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    result = run("schema", "IdentityDeleted", "--output", file)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", f"{file}\n")
    assert file.read_text(encoding="utf-8") == run("schema", "IdentityDeleted").stdout


def test_output_to_a_folder_takes_the_documented_name(tmp_path: Path) -> None:
    run("schema", "IdentityCreated", "--output", tmp_path)
    run("sample", "IdentityCreated", "--output", f"{tmp_path}/new/inner/")
    assert (tmp_path / "schema-identitycreated.json").is_file()
    assert (tmp_path / "new" / "inner" / "sample-identitycreated.json").is_file()


def test_output_to_a_dash_prints() -> None:
    assert run("sample", "AccessGranted", "--output", "-").stdout == run("sample", "AccessGranted").stdout


@pytest.mark.parametrize("target", ["missing/x.json", "a-file/x.json", "a-file/"])
def test_a_path_that_cannot_be_written_is_a_failure_in_one_line(tmp_path: Path, target: str) -> None:
    (tmp_path / "a-file").write_text("kept")
    result = run("schema", "IdentityCreated", "--output", f"{tmp_path}/{target}")
    assert isinstance(result.exception, NotAchieved)
    assert str(tmp_path) in str(result.exception)
    assert "\n" not in str(result.exception)
    assert (tmp_path / "a-file").read_text() == "kept"


@pytest.mark.parametrize("command", ["schema", "sample"])
@pytest.mark.parametrize("name", ["identitycreated", "IdentityCreate", "IDENTITYCREATED"])
def test_an_unknown_name_is_wrong_input_with_the_nearest(command: str, name: str, tmp_path: Path) -> None:
    result = run(command, name, "--output", tmp_path / "x.json")
    assert isinstance(result.exception, WrongInput)
    assert f'"{name}"; the nearest: IdentityCreated' in str(result.exception)
    assert not (tmp_path / "x.json").exists()


@pytest.mark.parametrize("command", ["list", "schema", "sample"])
def test_each_command_has_help_with_an_example(command: str) -> None:
    assert f"Example: hookline events {command}" in run(command, "--help").stdout
