"""What pages tell people to type is there: each command with each of its options, and the columns that they show."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from hookline.cli import main, plugin
from hookline.cli.log.kinds import ATTEMPTS, DEAD_LETTERS, DELIVERIES
from hookline.cli.plugin import behind_the_command

ROOT = Path(__file__).parents[4]
PAGES = [ROOT / "README.md", ROOT / "docs/operating.md", ROOT / "docs/runbooks.md"]
OPERATING = (ROOT / "docs/operating.md").read_text(encoding="utf-8")
PROGRAMS = {"kubectl hookline": plugin.app, "hookline": main.app}

_INLINE = re.compile(r"`((?:kubectl )?hookline [^`|]+)`")
_TYPED = re.compile(r"^\$ ((?:kubectl )?hookline .+)$", re.MULTILINE)
_SHOWN = re.compile(r"^((?:NAME|NAMESPACE)  .+)$", re.MULTILINE)


def commands(page: Path) -> Iterator[str]:
    text = page.read_text(encoding="utf-8")
    for command in (each for pattern in (_INLINE, _TYPED) for each in pattern.findall(text)):
        yield from command.replace(")", "").split("$(")


def unknown_in(command: str) -> list[str]:
    """Words that the program does not know: commands and options."""
    program = next(name for name in PROGRAMS if command.startswith(f"{name} "))
    words = behind_the_command(shlex.split(command.removeprefix(program), comments=True))
    node: Any = typer.main.get_command(PROGRAMS[program])
    unknown, path = [], []
    while words and hasattr(node, "commands"):
        if words[0] in node.commands:
            path.append(words.pop(0))
            node = node.commands[path[-1]]
        elif path == ["dead"]:
            node = node.commands["list"]
        else:
            break
    if hasattr(node, "commands") and words and not words[0].startswith("-"):
        unknown.append(words[0])
    options = {name for each in node.params for name in (*each.opts, *each.secondary_opts)} | {"--help", "-h"}
    if len(path) == 0:
        options |= {"--version", "--install-completion", "--show-completion"}
    typed = [word.partition("=")[0] for word in words if word.startswith("-") and word != "-"]
    return unknown + [each for each in typed if each not in options]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_command_that_a_page_names_is_there_with_its_options(page: Path) -> None:
    wrong = {command: unknown for command in commands(page) if (unknown := unknown_in(command))}
    assert wrong == {}


def test_a_command_that_is_not_there_would_be_found() -> None:
    assert unknown_in("kubectl hookline attempts --nope -w") == ["--nope"]
    assert unknown_in("hookline nope") == ["nope"]
    assert unknown_in("hookline dead webhook/x --reason Gone -o name") == []


def test_the_operating_page_names_every_command() -> None:
    named = {command.split()[2] for command in commands(ROOT / "docs/operating.md") if command.startswith("kubectl ")}
    assert named >= {"attempts", "deliveries", "dead", "replay", "test", "status", "top", "bundle"}


def test_tables_on_pages_have_the_columns_of_the_commands() -> None:
    known = [[each.title for each in kind.columns if not each.wide] for kind in (ATTEMPTS, DELIVERIES, DEAD_LETTERS)]
    shown = [heading.split() for heading in _SHOWN.findall(OPERATING)]
    assert shown == known
