"""The kill matrix: each step of a sender, killed right before and right after it, and each other fault, as a table.

Decides how a row is judged. The rows come from a run without faults: whatever was heard on the wire is a step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from crash import scenario, steps
from crash.faults import Fault
from crash.scenario import MAX_CONCURRENCY, REPEATS_AT_MOST, Plan, Result
from crash.wire import Passages, When

AT_ONCE = 4
"""Cells that run at once: they mostly wait."""

CELL_SECONDS = 180.0
"""A cell that takes longer hangs."""


@dataclass(frozen=True)
class Cell:
    """A sender killed right before or after the passage `number` of a step."""

    step: str
    when: When
    number: int

    async def run(self, folder: Path) -> Result:
        """Raises AssertionError when something is lost, altered, repeated too often, or was not killed at all."""
        passages = Passages(self.step, self.when, self.number)
        result = await scenario.run(folder, Plan(passages))
        assert passages.killed, f"{self}: the step was passed {passages.counts[self.step]} times only"
        assert list(result.exits).count(-9) == 1, f"{self}: {result}"
        judge(self, result, REPEATS_AT_MOST)
        return result


def judge(what: object, result: Result, repeats_at_most: int) -> None:
    """Raises AssertionError."""
    assert (result.lost, result.altered, result.letters_repeated) == (0, 0, 0), f"{what}: {result}"
    assert result.repeated <= repeats_at_most, f"{what}: {result}"


async def passages(folder: Path) -> Mapping[str, int]:
    """How often each step is passed when nothing goes wrong, without those that are passed only sometimes."""
    plan = Plan()
    result = await scenario.run(folder, plan)
    judge("without a fault", result, 0)
    return {step: count for step, count in plan.passages.counts.items() if step not in steps.SOMETIMES}


def cells(passed: Mapping[str, int]) -> list[Cell]:
    """For each step a passage in the middle of everything, early enough to be reached also when things go otherwise."""
    return [Cell(step, when, _passage(step, passed[step])) for step in steps.order(passed) for when in When]


def _passage(step: str, times: int) -> int:
    # The first calls from events begin whatever the machine does; how many follow depends on how fast it is.
    return MAX_CONCURRENCY - 1 if step == "call from an event" else max(1, times // 4)


T = TypeVar("T")
Job = Callable[[Path], Awaitable[Result]]


async def run_all(jobs: Sequence[Callable[[Path], Awaitable[T]]], folder: Path) -> list[T]:
    """All of them, some at once, each in a folder of its own. Raises what the first failing one raises."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(number: int, job: Callable[[Path], Awaitable[T]]) -> T:
        async with room:
            place = folder / str(number)
            place.mkdir(parents=True)
            async with asyncio.timeout(CELL_SECONDS):
                return await job(place)

    async with asyncio.TaskGroup() as group:
        running = [group.create_task(one(number, job)) for number, job in enumerate(jobs)]
    return [each.result() for each in running]


async def endure(fault: Fault, folder: Path) -> Result:
    """One fault that is no crash of a sender. Raises AssertionError."""
    result = await scenario.run(folder, fault.plan())
    judge(fault.name, result, fault.bound)
    return result


def step_rows(cells: Iterable[Cell], results: Iterable[Result]) -> list[str]:
    """One for each step and side of it."""
    found: dict[tuple[str, When], list[Result]] = {}
    for cell, result in zip(cells, results, strict=True):
        found.setdefault((cell.step, cell.when), []).append(result)
    return [
        f"| sender killed | {when.value} `{step}` | {_figures(each)} | {steps.what_follows(step, when)} |"
        for (step, when), each in found.items()
    ]


def fault_rows(faults: Iterable[Fault], results: Iterable[Result]) -> list[str]:
    rounds = zip(faults, results, strict=True)
    return [f"| {fault.name} | under load | {_figures([result])} | {fault.what_follows} |" for fault, result in rounds]


def _figures(results: Sequence[Result]) -> str:
    """Events, lost, repeated at most."""
    events = " + ".join(str(each.events) for each in results)
    return f"{events} | {sum(each.lost for each in results)} | {max(each.repeated for each in results)}"
