"""A Replay whose executor or nats-server is killed at a step: a part of the fourth table of the kill matrix, which
`make kill-matrix ARGS=replays` runs whole."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

from crash import matrix, replays
from crash.replays import REPEATS_AT_MOST, SOURCES, STEPS, ReplayCell
from crash.steps import pattern_in
from crash.wire import Passages, When
from doubles import own
from doubles.frozen import stand_still
from doubles.local import count
from doubles.waiting import until_it_is

DOCUMENT = Path(__file__).parents[2] / "docs" / "kill-matrix.md"

CHOSEN = [
    ReplayCell("executor", "DeadLetters", "write Replay", When.AFTER, 3),
    ReplayCell("executor", "DeadLetters", "delete message DEAD", When.BEFORE, 40),
    ReplayCell("executor", "Events", "write Replay", When.BEFORE, 3),
    ReplayCell("nats-server", "DeadLetters", "delete message DEAD", When.AFTER, 40),
    ReplayCell("nats-server", "Events", "store delivery", When.AFTER, 60),
]


async def test_every_step_of_an_executor_is_in_the_matrix_and_lost_nothing(tmp_path: Path) -> None:
    text, used = DOCUMENT.read_text(), set()
    for source in SOURCES:
        passed = await replays.passages_of(tmp_path, source)
        assert [each for each in passed if pattern_in(STEPS, each) is None] == []
        used |= {pattern_in(STEPS, each) for each in passed}
        row = rf"^\| executor killed \| {source} \| (?:before|after) `([^`]+)` \| {replays.ITEMS} \| 0 \|"
        found = re.findall(row, text, re.MULTILINE)
        assert set(found) == set(passed)
    assert used == set(STEPS)


async def test_an_executor_or_nats_killed_at_a_step_loses_nothing_and_counts_truly(tmp_path: Path) -> None:
    await matrix.run_all([cell.run for cell in CHOSEN], tmp_path)


async def test_an_executor_that_was_frozen_writes_nothing_more_and_repeats_what_it_had_in_hand_at_most(
    tmp_path: Path,
) -> None:
    """It wakes when the other one has done all that was left, and NATS has forgotten the names."""
    async with replays.stage(tmp_path, "DeadLetters", Passages(), ratePerSecond=100) as there:
        there.objects.lease_seconds = 2
        first, second = (there.executor(tmp_path, name=name, renew_seconds=1.2) for name in ("first", "second"))
        async with first.running():
            await until_it_is(lambda: count(there.client, own.DELIVERIES), lambda number: number >= 40)
            stand_still(first.pid)
            try:
                async with second.running():
                    await there.until_done()
                    done = replays.status_in(there.objects)
                    os.kill(first.pid, signal.SIGCONT)
                    await first.until_says("this process executes no Replays now")
            finally:
                os.kill(first.pid, signal.SIGCONT)
        result = await there.result("DeadLetters", [])
        replays.judge("frozen", result, REPEATS_AT_MOST)
        assert result.repeated, "it was in the middle of an answer"
        assert replays.status_in(there.objects) == done
