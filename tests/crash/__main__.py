"""`python -m crash`: every cell of the kill matrix, and docs/kill-matrix.md from what was seen. `make kill-matrix`.

`make kill-matrix ARGS=queues` runs the faults of the queue itself alone, `ARGS=moves` those of a move, `ARGS=replays`
those of Replays.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from crash import matrix, moves, queues, replays
from crash.faults import FAULTS
from crash.replaying import WINDOW
from crash.scenario import IN_HAND, REPEATS_AT_MOST

DOCUMENT = Path(__file__).parents[2] / "docs" / "kill-matrix.md"

HEAD = f"""# The kill matrix

Written by `make kill-matrix`. Each row is a run, from an empty NATS until nothing is left to do, of a real `hookline
sender`, nats-server and TLS receiver, with one fault in it. The steps are heard on the wire: a run without faults
names them, and a step that has no line in `tests/crash/steps.py` fails `make test`.

In each run three Webhooks hear every event, which are few enough to be called from it. One is called, and an eighth of
its events fails once, another eighth until the schedule is spent; one waits for its Secret and is called later; one is
deleted while its deliveries wait. A few events of another type have more Webhooks: their deliveries are stored before
they are called. The sender is asked to end in the middle, as in a rollout. Publishers count an event once it is
acknowledged.

- **lost**: a pair of event and Webhook that neither arrived nor became a dead letter. Always 0.
- **repeated**: calls that a receiver got again only because of the fault, the most in one run. All have the same
  `webhook-id` and body. A sender that is killed repeats the calls under way, at most `maxConcurrency` of each
  Webhook, here {IN_HAND} together, and those whose acks had not left the process: more than {REPEATS_AT_MOST} fails.
- Every call of every run was compared byte by byte with what was published, and its signature verified. No dead letter
  was stored twice.

What is recognized by its name is so for two minutes, the deduplication window of the streams; after a restart of
nats-server only what still waits is.

| fault | at | events | lost | repeated | what follows |
| --- | --- | --- | --- | --- | --- |
"""


QUEUES = f"""
## The queue itself

A sender or a `hookline run`, and one or three NATS servers, while events are published one after the other. An event is
**refused at the door** when its publisher heard that it is not stored, or did not hear within seconds that it is. Lost
is what was confirmed, and neither arrived nor became a dead letter. {queues.FORMER} is the last commit whose streams
bear no mark of their owner; its senders run from this repository's history. A full disk is one of its own, which only
root may mount.

| fault | confirmed | refused at the door | lost | repeated | outcome |
| --- | --- | --- | --- | --- | --- |
"""


MOVES = f"""
## Streams that are moved

From EVENTS and so on to HOOKLINE_EVENTS and so on, back, and there again, by a sender that is killed at one step,
while events are published one after the other. {moves.PARKED} deliveries are parked and a retry waits before. Names
of streams are without their prefix: the first passage of `update stream EVENTS` is the old stream that gives up its
subjects, the second the new one that takes them. Each event arrives, and so does what was parked; the retry keeps its
time.

| sender killed | confirmed | lost | repeated | what follows |
| --- | --- | --- | --- | --- |
"""


REPLAYS = f"""
## Replays

A Replay of {replays.ITEMS} dead letters, or of as many events, executed by a process that asks NATS and kube-apiserver
as a pod of `hookline api` does. It, or nats-server, is killed at a step, and started again. The middle one of a step's
passages is taken. Each answer of NATS, {WINDOW} messages, is counted by itself.

NATS forgets names after {replays.FORGETS_SECONDS:g} s here and not after two minutes: so **repeated** are all
deliveries that were stored a second time, and more than {replays.REPEATS_AT_MOST} fails. In each run the status said in
the end that {replays.ITEMS} were found and replayed, and each dead letter was removed after its delivery was confirmed
and counted, as heard on the wire.

| fault | source | at | items | lost | repeated | what follows |
| --- | --- | --- | --- | --- | --- | --- |
"""


async def main() -> None:
    parts = {"queues": write_queues, "moves": write_moves, "replays": write_replays}
    if sys.argv[1:]:
        for name in sys.argv[1:]:
            await parts[name]()
        return
    with tempfile.TemporaryDirectory(prefix="hookline-crash-") as name:
        folder = Path(name)
        (folder / "whole").mkdir()
        cells = matrix.cells(await matrix.passages(folder / "whole"))
        jobs: list[matrix.Job] = [*(partial(matrix.endure, fault) for fault in FAULTS), *(cell.run for cell in cells)]
        results = await matrix.run_all(jobs, folder / "cells")
    endured, crashes = results[: len(FAULTS)], results[len(FAULTS) :]
    rows = matrix.step_rows(cells, crashes) + matrix.fault_rows(FAULTS, endured)
    DOCUMENT.write_text(HEAD + "\n".join(rows) + "\n")
    for write in parts.values():
        await write()
    print(DOCUMENT.read_text())


async def write_queues() -> None:
    """The second table alone."""
    with tempfile.TemporaryDirectory(prefix="hookline-queues-") as name:
        rows = await queues.main(Path(name))
    _replace(QUEUES, rows)


async def write_moves() -> None:
    """The third table alone."""
    with tempfile.TemporaryDirectory(prefix="hookline-moves-") as name:
        folder = Path(name)
        (folder / "whole").mkdir()
        cells = await moves.cells(folder / "whole")
        tallies = await matrix.run_all([cell.run for cell in cells], folder / "cells")
    _replace(MOVES, [moves.row(*each) for each in zip(cells, tallies, strict=True)])


async def write_replays() -> None:
    """The fourth table alone."""
    with tempfile.TemporaryDirectory(prefix="hookline-replays-") as name:
        folder = Path(name)
        cells = await replays.cells(folder / "whole")
        results = await matrix.run_all([cell.run for cell in cells], folder / "cells")
    _replace(REPLAYS, [replays.row(*each) for each in zip(cells, results, strict=True)])


def _replace(head: str, rows: Sequence[str]) -> None:
    """One part of the document, from its heading to the next one."""
    title = head.splitlines()[1]
    before, _, after = DOCUMENT.read_text().partition(title)
    _, more, behind = after.partition("\n## ")
    DOCUMENT.write_text(before.rstrip() + "\n" + head + "\n".join(rows) + "\n" + more + behind)


if __name__ == "__main__":
    asyncio.run(main())
