"""`hookline check`: what a cluster would say of manifests, without one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from hookline.cli.common import checked_cidrs, existing
from hookline.cli.errors import NotAchieved, WrongInput
from hookline.local import evaluation
from hookline.local.evaluation import LEFT_ALONE, Finding, Key, Known, Level, Understood
from hookline.local.manifests import files_in, read


def check(
    paths: Annotated[list[Path], typer.Argument(help="YAML files, or folders of them.", show_default=False)],
    allow_cidr: Annotated[
        list[str] | None, typer.Option(help="A private or loopback network that may be called. Repeatable.")
    ] = None,
    against: Annotated[
        list[Path] | None,
        typer.Option(
            help="EventTypes as they are in force, in files or folders: says what a change of them means. Repeatable."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array of findings.")] = False,
) -> None:
    """Say of each manifest what a cluster that holds just these would say. Nothing is contacted.

    Exit code 0: all is well. 1: something would wait, such as for a Secret, or a change of a schema is not compatible.
    2: something would be refused.

    Example: hookline check ./webhooks
    """
    understood = _understood(existing(paths))
    changes = evaluation.changed_types(understood.objects, _in_force(existing(against or [])))
    findings = [*_findings(understood, checked_cidrs(allow_cidr or [])), *changes]
    findings.sort(key=lambda each: (str(each.file), each.line, each.field))
    if as_json:
        typer.echo(json.dumps([_as_dict(each) for each in findings], indent=2))
    else:
        _print(findings)
    _conclude(findings, len(changes))


def _print(findings: list[Finding]) -> None:
    """A line for each; one for all that is none of ours, of which a folder of manifests may hold much."""
    ours = [each for each in findings if not each.message.endswith(LEFT_ALONE)]
    for each in ours:
        typer.echo(f"{each.level.value:<8} {each}")
    if len(ours) < len(findings):
        typer.echo(f"{Level.NOTE.value:<8} {len(findings) - len(ours)} documents are not Hookline's{LEFT_ALONE}")


def _understood(paths: list[Path]) -> Understood:
    readings = [read(file) for file in files_in(paths)]
    return evaluation.understand(
        [document for documents, _ in readings for document in documents],
        [each for _, unreadable in readings for each in unreadable],
    )


def _in_force(paths: list[Path]) -> Mapping[Key, Known]:
    understood = _understood(paths)
    wrong = next((each for each in understood.findings if each.level is Level.WRONG), None)
    if wrong:
        raise WrongInput(f"--against: {wrong}")
    return understood.objects


def _findings(understood: Understood, allow_cidrs: list[str]) -> list[Finding]:
    judged = evaluation.evaluate(understood.objects, allow_cidrs=allow_cidrs)
    return [*understood.findings, *judged.findings]


def _as_dict(finding: Finding) -> dict[str, object]:
    return {
        "file": str(finding.file),
        "line": finding.line,
        "object": finding.subject,
        "level": finding.level.value,
        "field": finding.field,
        "message": finding.message,
    }


def _conclude(findings: list[Finding], changes: int) -> None:
    if not findings:
        raise WrongInput("no manifest found; name YAML files that hold Webhooks, or folders of them")
    wrong = sum(each.level is Level.WRONG for each in findings)
    waiting = sum(each.level is Level.WAITING for each in findings)
    if wrong:
        raise WrongInput(f"{wrong} would be refused, {waiting} would wait")
    if waiting:
        raise NotAchieved(f"{waiting} would wait")
    if changes:
        raise NotAchieved(f"{changes} EventTypes would change in a way that is not compatible, or cannot be judged")
