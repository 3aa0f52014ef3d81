"""Where the CPU of a sender and of nats-server goes while events are delivered: flame graphs, and shares of parts.

    python -m benchmarks.flame [--seconds 60] [--plot FILE] [--page FILE]      (make flame)

The whole way of an event: published, on disk before it is confirmed, called at one of 100 endpoints, acked. Both
processes are sampled at once. py-spy takes the sender's stacks from outside: only the event loop's thread counts, and
only while it works, on a core of its own where there are two. What C code does counts for the Python function that
called it, such as TLS records for `transport.write`. nats-server takes its own, by Go's pprof, at a port on loopback
that it has here and nowhere else.
py-spy needs the right to trace a process of one's own (root, or kernel.yama.ptrace_scope=0).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvloop
from benchmarks import flame_parts, pprof, report
from benchmarks.bench import machine
from benchmarks.flame_graph import svg
from benchmarks.flame_parts import Parts, Stack, shares
from benchmarks.load import Cost, flood
from benchmarks.processes import apart
from benchmarks.receiver import Receiver
from benchmarks.stage import Failed, OneServer, Stage, healthy, say, stage
from benchmarks.throughput import CONCURRENCY

ENDPOINTS = 100
WARM_UP = 1000
AT_A_TIME = 2000
"""Deliveries, again and again for as long as samples are taken."""
PER_SECOND = 250
"""Samples of the sender. Those of nats-server are 100 for each second of CPU."""
LARGEST = 10
"""Parts of both processes that are named in order."""
LATE_SECONDS = 30
"""How long the profilers may take when their time is over."""

BEGINS_BELOW = "Runner.run (asyncio/runners.py)"
"""The frames of a sender up to here are the same in every stack."""


@dataclass(frozen=True)
class Profile:
    """Of one process."""

    process: str
    parts: Parts
    stacks: Mapping[Stack, int]
    cpu_us: float
    """CPU of the process for each delivery, in microseconds."""

    def rows(self) -> list[tuple[str, float, float]]:
        """Each part with its share and its microseconds for each delivery, the largest first."""
        found = shares(self.stacks, self.parts)
        return [(part, share, share * self.cpu_us) for part, share in sorted(found.items(), key=lambda each: -each[1])]


class ProfiledServer(OneServer):
    """With Go's pprof. Whoever reaches its port may read it, so no other server of ours has it."""

    def _configuration(self) -> str:
        # It listens where clients do, on loopback; -1 is a port that is free.
        return json.dumps({**json.loads(super()._configuration()), "prof_port": -1}, indent=1)

    def profile(self, seconds: int) -> bytes:
        """What it answers after as many seconds. Raises Failed."""
        try:
            said = json.loads((self._data / f"nats-server_{self.pid}.ports").read_bytes())
            url = f"{said['profile'][0]}/debug/pprof/profile?seconds={seconds}"
            with urllib.request.urlopen(url, timeout=seconds + LATE_SECONDS) as answer:
                return bytes(answer.read())
        except (OSError, ValueError, LookupError) as error:
            raise Failed(f"nats-server gave no profile: {error}") from None


def read(text: str) -> Counter[Stack]:
    """Samples by stack, from the folded lines of py-spy, below the event loop, without line numbers."""
    found: Counter[Stack] = Counter()
    for line in text.splitlines():
        frames, _, count = line.rpartition(" ")
        stack = tuple(re.sub(r":\d+\)$", ")", frame) for frame in frames.split(";"))
        if BEGINS_BELOW in stack:
            found[stack[stack.index(BEGINS_BELOW) + 1 :]] += int(count)
    return found


def together(costs: Sequence[Cost]) -> Cost:
    """Of several closed loops, one after the other."""
    return Cost(
        sum(each.deliveries for each in costs),
        sum(each.seconds for each in costs),
        sum(each.sender_cpu_seconds for each in costs),
        sum(each.queue_cpu_seconds for each in costs),
    )


def table(of: Profile) -> str:
    """The parts of one process."""
    rows = (f"| {part} | {share:.1%} | {us:.1f} |" for part, share, us in of.rows())
    return "\n".join([f"| {of.process} | share | us for each |", "| --- | ---: | ---: |", *rows])


def in_order(profiles: Iterable[Profile]) -> str:
    """The largest parts of all processes."""
    rows = [(us, each.process, part) for each in profiles for part, _, us in each.rows()]
    largest = sorted(rows, reverse=True)[:LARGEST]
    return "\n".join(
        [
            "| both, in order | part | us for each |",
            "| --- | --- | ---: |",
            *(f"| {process} | {part} | {us:.1f} |" for us, process, part in largest),
        ]
    )


async def sample(receiver: Receiver, folder: Path, seconds: int) -> list[Profile]:
    """Of a sender and its nats-server, while events are delivered for as long. Raises Failed."""
    entries = healthy(receiver, ENDPOINTS, max_concurrency=CONCURRENCY)
    names = [route.name for route, _ in entries]
    server = ProfiledServer(folder / "flame")
    async with stage(folder / "flame", receiver, entries, server=server) as on:
        say(f"warming up with {WARM_UP:,} deliveries")
        await flood(on, names, WARM_UP)
        say(f"sampling for {seconds} s")
        pid = on.senders[0].pid
        # py-spy cannot tell a thread that works from one that waits for a core.
        with apart(pid, [os.getpid(), on.queue_pid, receiver.pid]):
            sender = asyncio.create_task(_py_spy(pid, folder / "stacks.txt", seconds))
            queue = asyncio.create_task(asyncio.to_thread(server.profile, seconds))
            try:
                cost = await _load(on, names, sender, queue)
                answers = await sender, await queue
            finally:
                sender.cancel()
                queue.cancel()
    try:
        of_queue = pprof.read(answers[1])
    except ValueError as error:
        raise Failed(f"nats-server's profile cannot be read: {error}") from None
    say(f"{cost.deliveries:,} deliveries, {cost.per_second:.0f} a second")
    return [
        Profile("sender", flame_parts.SENDER, read(answers[0]), cost.cpu_us - cost.queue_us),
        Profile("nats-server", flame_parts.NATS, of_queue, cost.queue_us),
    ]


async def _load(on: Stage, names: Sequence[str], *while_: asyncio.Task[object]) -> Cost:
    """Deliveries until the first of these ends: the other one's time is over then as well."""
    costs: list[Cost] = []
    while not any(each.done() for each in while_):
        costs.append(await flood(on, names, AT_A_TIME))
    return together(costs)


async def _py_spy(pid: int, out: Path, seconds: int) -> str:
    """Folded stacks. Raises Failed."""
    words = ["record", "--rate", str(PER_SECOND), "--duration", str(seconds), "--format", "raw"]
    spy = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("py-spy"),
        *words,
        "--output",
        str(out),
        "--pid",
        str(pid),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(seconds + LATE_SECONDS):
            _, errors = await spy.communicate()
    except TimeoutError:
        raise Failed(f"py-spy did not end within {LATE_SECONDS} s after its time") from None
    finally:
        if spy.returncode is None:
            spy.kill()
    if not out.exists():
        raise Failed(f"py-spy took no samples: {errors.decode().strip()[-500:]}")
    return out.read_text()


def lines_of(profiles: Sequence[Profile], facts: Mapping[str, object]) -> Iterable[str]:
    """What the page says of a run."""
    yield report.machine_line(facts)
    for each in profiles:
        yield ""
        yield f"{sum(each.stacks.values()):,} samples of the {each.process}, {each.cpu_us:.0f} us for each delivery:"
        yield ""
        yield table(each)
    yield ""
    yield f"The {LARGEST} largest parts of both:"
    yield ""
    yield in_order(profiles)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=int, default=60, help="how long samples are taken")
    options.add_argument(
        "--plot", type=Path, metavar="FILE", help="write the sender's graph there as SVG, nats-server's as FILE-nats"
    )
    options.add_argument("--page", type=Path, metavar="FILE", help="put the tables into this page (docs/benchmarks.md)")
    given = options.parse_args()
    facts = machine()
    try:
        with tempfile.TemporaryDirectory(prefix="hookline-flame-") as folder, Receiver() as receiver:
            profiles = uvloop.run(sample(receiver, Path(folder), given.seconds))
    except Failed as error:
        sys.exit(f"error: {error}")
    text = "\n".join(lines_of(profiles, facts))
    print(text)
    if given.plot:
        for each, path in zip(profiles, (given.plot, given.plot.with_stem(f"{given.plot.stem}-nats")), strict=True):
            path.write_text(svg(each.stacks, each.parts))
    if given.page:
        given.page.write_text(report.put_into(given.page.read_text(), "flame", text))


if __name__ == "__main__":
    main()
