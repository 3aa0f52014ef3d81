"""A sender that is killed at a step: a part of the kill matrix, all of which `make kill-matrix` runs."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import pytest

from crash import matrix, moves, steps
from crash.faults import FAULTS
from crash.matrix import Cell
from crash.moves import MoveCell
from crash.wire import When

DOCUMENT = Path(__file__).parents[2] / "docs" / "kill-matrix.md"

CHOSEN = [
    Cell("store delivery", When.AFTER, 3),
    Cell("call from an event", When.BEFORE, 3),
    Cell("store set aside", When.AFTER, 2),
    Cell("ack HOOKLINE_BACKLOG", When.BEFORE, 2),
    Cell("store copy", When.AFTER, 2),
    Cell("purge stream DELIVERIES", When.BEFORE, 2),
    Cell("call", When.BEFORE, 12),
    Cell("call", When.AFTER, 10),
    Cell("store later", When.BEFORE, 2),
    Cell("store dead letter", When.BEFORE, 10),
    Cell("ack DELIVERIES", When.BEFORE, 5),
    Cell("ack EVENTS", When.BEFORE, 16),
    Cell("ack PARKED", When.BEFORE, 20),
]

OF_OTHERS = [
    "one of two senders killed three times",
    "nats-server killed three times",
    "receiver: connections reset three times",
]
EVENTS = 60
"""Twice as many calls: each fault comes three times, after 20 calls or within one that takes long."""


async def test_every_step_of_a_sender_is_in_the_matrix(tmp_path: Path) -> None:
    passed = await matrix.passages(tmp_path)
    assert steps.unexplained(passed) == set()
    assert steps.unused(passed) == set()
    written = set(re.findall(r"\| sender killed \| (?:before|after) `([^`]+)`", DOCUMENT.read_text()))
    assert written == set(passed)


@pytest.mark.parametrize("chosen", [CHOSEN[:7], CHOSEN[7:]], ids=["the first", "the others"])
async def test_a_sender_killed_at_a_step_loses_nothing_and_repeats_at_most_the_calls_under_way(
    tmp_path: Path, chosen: list[Cell]
) -> None:
    await matrix.run_all([cell.run for cell in chosen], tmp_path)


async def test_a_sender_killed_while_it_moves_streams_loses_nothing(tmp_path: Path) -> None:
    chosen = [MoveCell("update stream DELIVERIES", When.AFTER, 1), MoveCell("delete message PARKED", When.BEFORE, 2)]
    await matrix.run_all([cell.run for cell in chosen], tmp_path)


def test_every_step_of_a_move_is_in_the_matrix_and_lost_nothing() -> None:
    rows = re.findall(
        r"^\| (?:before|after) `([^`]+)`, passage \d \| \d+ \| (\d+) \|", DOCUMENT.read_text(), re.MULTILINE
    )
    assert {lost for _, lost in rows} == {"0"}
    assert {moves.what_follows(step) for step, _ in rows} == set(moves.STEPS.values())


async def test_faults_of_others_lose_nothing(tmp_path: Path) -> None:
    faults = [each.smaller(EVENTS) for each in FAULTS if each.name in OF_OTHERS]
    assert [each.name for each in faults] == OF_OTHERS
    await matrix.run_all([partial(matrix.endure, each) for each in faults], tmp_path)
