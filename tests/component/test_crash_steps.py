"""A sender that is killed at a step: a part of the kill matrix, all of which `make kill-matrix` runs."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import pytest

from crash import matrix, steps
from crash.faults import FAULTS
from crash.matrix import Cell
from crash.wire import When

DOCUMENT = Path(__file__).parents[2] / "docs" / "kill-matrix.md"

CHOSEN = [
    Cell("store delivery", When.AFTER, 20),
    Cell("call", When.BEFORE, 30),
    Cell("call", When.AFTER, 10),
    Cell("store later", When.BEFORE, 2),
    Cell("store dead letter", When.BEFORE, 10),
    Cell("ack DELIVERIES", When.BEFORE, 20),
    Cell("ack EVENTS", When.BEFORE, 16),
    Cell("ack PARKED", When.BEFORE, 20),
]


async def test_every_step_of_a_sender_is_in_the_matrix(tmp_path: Path) -> None:
    passed = await matrix.passages(tmp_path)
    assert steps.unexplained(passed) == set()
    assert steps.unused(passed) == set()
    written = set(re.findall(r"\| sender killed \| (?:before|after) `([^`]+)`", DOCUMENT.read_text()))
    assert written == set(passed)


async def test_a_sender_killed_at_a_step_loses_nothing_and_repeats_at_most_the_calls_under_way(tmp_path: Path) -> None:
    await matrix.run_all([cell.run for cell in CHOSEN], tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "one of two senders killed three times",
        "nats-server killed three times",
        "receiver: connections reset three times",
    ],
)
async def test_a_fault_of_others_loses_nothing(tmp_path: Path, name: str) -> None:
    (fault,) = (each for each in FAULTS if each.name == name)
    await matrix.run_all([partial(matrix.endure, fault)], tmp_path)
