"""Faults of the queue itself: a part of the second table of the kill matrix, all of which `make kill-matrix` runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from crash import queues

DOCUMENT = Path(__file__).parents[2] / "docs" / "kill-matrix.md"

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize(
    "name",
    [
        "three NATS servers: the leader killed",
        "a NATS taken over while the former owner is frozen",
        "senders of 1593ce5 and of this version, forth and back",
    ],
)
async def test_a_fault_of_the_queue_loses_no_confirmed_event(tmp_path: Path, name: str) -> None:
    (row,) = (each for each in queues.ROWS if each.name == name)
    try:
        tally = await row.run(tmp_path)
    except queues.NotHere as error:
        pytest.skip(str(error))
    row.judge(tally)


def test_every_fault_of_the_queue_is_in_the_matrix_and_lost_nothing() -> None:
    text = DOCUMENT.read_text()
    for row in queues.ROWS:
        found = re.search(rf"^\| {re.escape(row.name)} \| (\d+) \| \d+ \| (\d+) \| \d+ \|", text, re.MULTILINE)
        assert found is not None, row.name
        assert int(found[1]) > 0
        assert found[2] == "0"
