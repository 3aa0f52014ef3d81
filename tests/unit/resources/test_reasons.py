"""That the lists of reasons are what the program says, no more and no less, and what docs/conditions.md tells."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import hookline
from hookline.control.status import OURS
from hookline.generate import CONDITION_REASONS
from hookline.resources.reasons import ConditionReason, WebhookReason, table

PACKAGE = Path(hookline.__file__).parent
LISTS = {each.__name__: each for each in CONDITION_REASONS}
ALL = [reason for each in CONDITION_REASONS for reason in each]
WELL = {
    *("Accepted", "Resolved", "Programmed", "Ready", "Delivering", "AllSenders", "RolledOut", "QueueReady", "Written"),
    *("Compatible", "AllGateways", "AllLogApis", "Issued", "OwnCertificate"),
    *("Running", "Complete", "DryRun"),
}
OF_REPLAYS = {"Complete", "Failed"}
"""Conditions that the operator does not write."""
PAGE = Path(__file__).parents[3] / "docs" / "conditions.md"


def calls() -> Iterator[tuple[str, ast.Call, list[ast.expr]]]:
    """Each place where the program makes a condition, or the refusal that becomes one, and what it says there."""
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                where = f"{file.relative_to(PACKAGE)}:{node.lineno}"
                if node.func.id == "Condition":
                    yield where, node, node.args[2:3]
                elif node.func.id == "Refusal":
                    yield where, node, node.args[0:1]


def listed(node: ast.expr) -> ConditionReason | None:
    """The reason that an expression names, if it names one of a list."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in LISTS:
        return LISTS[node.value.id][node.attr]
    return None


def test_every_condition_has_its_reason_from_a_list() -> None:
    found = list(calls())
    assert len(found) > 40
    literals = [where for where, _, reason in found if reason and isinstance(reason[0], ast.Constant)]
    assert literals == []


def test_every_reason_of_a_list_is_used() -> None:
    words = "|".join(LISTS)
    sources = "".join(file.read_text() for file in PACKAGE.rglob("*.py"))
    used = set(re.findall(rf"\b({words})\.([A-Z_]+)\b", sources))
    assert {(type(reason).__name__, reason.name) for reason in ALL} == used


def test_a_reason_names_every_condition_that_has_it() -> None:
    wrong = [
        where
        for where, call, reason in calls()
        if isinstance(call.func, ast.Name) and call.func.id == "Condition" and reason
        if isinstance(call.args[0], ast.Constant) and call.args[0].value != "Ready"
        if (named := listed(reason[0])) is not None and call.args[0].value not in named.conditions
    ]
    assert wrong == []
    assert {name for reason in ALL for name in reason.conditions} == OURS - {"Stalled"} | OF_REPLAYS


@pytest.mark.parametrize("reason", ALL, ids=lambda each: f"{type(each).__name__}.{each}")
def test_each_reason_says_what_it_means_and_what_to_do(reason: ConditionReason) -> None:
    assert reason.means
    assert reason.advice or reason in WELL
    assert not {"|", "\n"} & set(reason.means + reason.advice)


def test_the_page_for_people_has_the_tables_in_their_order() -> None:
    page = PAGE.read_text()
    places = [page.index(f"{table(each)}\n<!-- end -->") for each in CONDITION_REASONS]
    assert places == sorted(places)


def test_a_word_names_its_reason_and_is_text() -> None:
    assert WebhookReason("BookFull") is WebhookReason.BOOK_FULL
    assert f"{WebhookReason.BOOK_FULL}" == "BookFull"
