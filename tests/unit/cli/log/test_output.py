from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
import yaml

from doubles import played_log
from doubles.answered_api import Object, attempt, dead, delivered, waiting
from hookline.api import kinds as resources
from hookline.api.objects import Entry, as_object
from hookline.api.table import definitions, row
from hookline.cli.log.kinds import ATTEMPTS, DEAD_LETTERS, DELIVERIES
from hookline.cli.log.output import Kind, Output, Table, as_text

HOSTILE = "\x1b[2J\x07\u202e\n"


def lines(kind: Kind, *items: Object, output: Output = Output.TABLE, everywhere: bool = False) -> list[str]:
    return Table(kind, output=output, everywhere=everywhere).lines(items, datetime.now(UTC))


def test_attempts_have_the_columns_that_are_documented() -> None:
    heading, failed, done = lines(ATTEMPTS, attempt(), delivered())
    assert heading.split() == ["NAME", "WEBHOOK", "EVENT", "ATTEMPT", "STATUS", "REASON", "DURATION", "NEXT", "AGE"]
    assert failed.split()[:-2] == ["evt-1-1.7", "identity-created", "IdentityCreated", "1", "503", "HTTPStatus", "41ms"]
    assert failed.split()[-2].startswith("4m")
    assert done.split()[4:] == ["204", "Delivered", "41ms", "Done", "12s"]
    assert heading.index("STATUS") == failed.index("503") == done.index("204")


def test_wide_and_all_namespaces_show_more() -> None:
    heading, row = lines(ATTEMPTS, attempt(), output=Output.WIDE, everywhere=True)
    assert heading.split()[0] == "NAMESPACE"
    assert heading.split()[-3:] == ["EVENT-ID", "URL", "SENDER"]
    assert "https://receiver.example.com/hooks" in row


def test_deliveries_and_dead_letters_have_the_columns_that_are_documented() -> None:
    heading, _ = lines(DELIVERIES, waiting())
    assert heading.split() == ["NAME", "WEBHOOK", "EVENT", "STATE", "REASON", "ATTEMPT", "NEXT", "AGE"]
    heading, row = lines(DEAD_LETTERS, dead())
    assert heading.split() == ["NAME", "WEBHOOK", "EVENT", "REASON", "OUTCOME", "ATTEMPTS", "AGE"]
    assert "ScheduleSpent" in row


@pytest.mark.parametrize("follows", ["Dead", "Parked"])
def test_what_follows_in_place_of_another_attempt_is_said(follows: str) -> None:
    _, row = lines(ATTEMPTS, attempt(next={"follows": follows}))
    assert row.split()[-2] == follows


def test_an_attempt_without_an_answer_has_no_status() -> None:
    _, row = lines(ATTEMPTS, attempt(status=None, reason="Timeout"))
    assert row.split()[4:6] == ["-", "Timeout"]


@pytest.mark.parametrize("form", list(Output))
def test_nothing_that_is_printed_steers_a_terminal(form: Output) -> None:
    hostile = attempt(
        detail=HOSTILE, reason=HOSTILE, url=HOSTILE, answer={"body": HOSTILE, "headers": {HOSTILE: HOSTILE}}
    )
    printed = "\n".join(lines(ATTEMPTS, hostile, output=form)) if form.is_table else as_text(ATTEMPTS, [hostile], form)
    assert all(each.isprintable() or each == "\n" for each in printed)


def test_json_and_yaml_hold_the_objects_as_they_came() -> None:
    items = [attempt(detail="Zoë"), delivered()]
    assert json.loads(as_text(ATTEMPTS, items, Output.JSON))["items"] == items
    assert yaml.safe_load(as_text(ATTEMPTS, items, Output.YAML))["items"] == items
    assert as_text(ATTEMPTS, items, Output.NAME).splitlines()[0] == "attempt.log.hookline.dev/evt-1-1.7"


def test_there_are_colours_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b" not in "".join(lines(ATTEMPTS, attempt()))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b" in "".join(lines(ATTEMPTS, attempt()))
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in "".join(lines(ATTEMPTS, attempt()))


def test_rows_that_come_later_stand_below_the_first() -> None:
    table = Table(ATTEMPTS, output=Output.TABLE, everywhere=False, rows_follow=True)
    heading, first = table.lines([delivered()], datetime.now(UTC))
    (second,) = table.lines([attempt()], datetime.now(UTC))
    assert heading.index("REASON") == first.index("Delivered") == second.index("HTTPStatus")


@pytest.mark.parametrize(
    ("kind", "resource", "made"),
    [
        (ATTEMPTS, resources.ATTEMPTS, lambda: played_log.attempt(7)),
        (ATTEMPTS, resources.ATTEMPTS, lambda: played_log.attempt(8, status=None, follows="Dead", next_at_s=None)),
        (DELIVERIES, resources.DELIVERIES, lambda: played_log.waiting(7)),
        (DEAD_LETTERS, resources.DEAD_LETTERS, lambda: played_log.dead(7)),
    ],
)
def test_a_table_shows_what_kubectl_get_shows(
    kind: Kind, resource: resources.Resource, made: Callable[[], Entry], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
    monkeypatch.setattr("doubles.played_log.time.time", now.timestamp)
    entry = made()
    columns = [(each["name"].upper(), bool(each["priority"])) for each in definitions(resource)]
    assert [(each.title, each.wide) for each in kind.columns] == columns
    cells = [str(cell) for cell in row(resource, entry, now.timestamp(), "None")["cells"]]
    assert [each.cell(as_object(entry), now) for each in kind.columns] == cells
