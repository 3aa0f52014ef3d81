"""`hookline check`: what a cluster would say of manifests, without one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from hookline.cli.common import checked_cidrs, existing
from hookline.cli.errors import NotAchieved, WrongInput
from hookline.local import evaluation
from hookline.local.evaluation import LEFT_ALONE, Finding, Level
from hookline.local.manifests import files_in, read


def check(
    paths: Annotated[list[Path], typer.Argument(help="YAML files, or folders of them.", show_default=False)],
    allow_cidr: Annotated[
        list[str] | None, typer.Option(help="A private or loopback network that may be called. Repeatable.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array of findings.")] = False,
) -> None:
    """Say of each manifest what a cluster that holds just these would say. Nothing is contacted.

    Exit code 0: all is well. 1: something would wait, such as for a Secret. 2: something would be refused.

    Example: hookline check ./webhooks
    """
    findings = _findings(existing(paths), checked_cidrs(allow_cidr or []))
    if as_json:
        typer.echo(json.dumps([_as_dict(each) for each in findings], indent=2))
    else:
        _print(findings)
    _conclude(findings)


def _print(findings: list[Finding]) -> None:
    """A line for each; one for all that is none of ours, of which a folder of manifests may hold much."""
    ours = [each for each in findings if not each.message.endswith(LEFT_ALONE)]
    for each in ours:
        typer.echo(f"{each.level.value:<8} {each}")
    if len(ours) < len(findings):
        typer.echo(f"{Level.NOTE.value:<8} {len(findings) - len(ours)} documents are not Hookline's{LEFT_ALONE}")


def _findings(paths: list[Path], allow_cidrs: list[str]) -> list[Finding]:
    readings = [read(file) for file in files_in(paths)]
    understood = evaluation.understand(
        [document for documents, _ in readings for document in documents],
        [each for _, unreadable in readings for each in unreadable],
    )
    judged = evaluation.evaluate(understood.objects, allow_cidrs=allow_cidrs)
    return sorted([*understood.findings, *judged.findings], key=lambda each: (str(each.file), each.line, each.field))


def _as_dict(finding: Finding) -> dict[str, object]:
    return {
        "file": str(finding.file),
        "line": finding.line,
        "object": finding.subject,
        "level": finding.level.value,
        "field": finding.field,
        "message": finding.message,
    }


def _conclude(findings: list[Finding]) -> None:
    if not findings:
        raise WrongInput("no manifest found; name YAML files that hold Webhooks, or folders of them")
    wrong = sum(each.level is Level.WRONG for each in findings)
    waiting = sum(each.level is Level.WAITING for each in findings)
    if wrong:
        raise WrongInput(f"{wrong} would be refused, {waiting} would wait")
    if waiting:
        raise NotAchieved(f"{waiting} would wait")
