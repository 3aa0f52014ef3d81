"""Where the CPU of a sender goes: samples of its stacks while it delivers, as a flame graph and as shares of its parts.

    python -m benchmarks.flame [--count 12000] [--plot FILE] [--page FILE]      (make flame)

py-spy takes the samples from outside. Only the event loop's thread counts, and only while it works. What C code does
counts for the Python function that called it: TLS records are written in the call of `transport.write`.
Needs the right to trace a process of one's own (root, or kernel.yama.ptrace_scope=0).
"""

from __future__ import annotations

import argparse
import asyncio
import re
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

import uvloop
from benchmarks import report
from benchmarks.bench import machine
from benchmarks.load import flood
from benchmarks.receiver import Receiver
from benchmarks.stage import Failed, healthy, say, stage

WEBHOOKS = 1000
CONCURRENCY = 64
PER_SECOND = 250
LIMIT_SECONDS = 120

BEGINS_BELOW = "Runner.run (asyncio/runners.py)"
"""The frames up to here are the same in every stack."""

PARTS: Mapping[str, tuple[str, ...]] = {
    "HTTP and TLS": ("aiohttp/", "ssl.py", "hookline/delivery/http/"),
    "messages of NATS": ("nats/", "hookline/stream/"),
    "the log of calls": ("structlog/", "hookline/runtime/logs.py", "_log_attempt (hookline/cli/run.py)", "json/"),
    "metrics": ("prometheus_client/", "hookline/runtime/metrics.py"),
    "signatures": ("hookline/routing/signing.py", "hmac.py"),
    "lanes, breaker and shares": (
        "hookline/delivery/policy/",
        *(f"hookline/delivery/{name}.py" for name in ("endpoints", "parking", "recently_acked")),
    ),
    "fan-out": ("hookline/delivery/fanout.py",),
    "a delivery and its route": ("hookline/delivery/", "hookline/"),
    "the event loop": ("",),
}
"""What makes a frame belong to a part; the first that fits counts."""

COLOURS = ("#e8833a", "#5b9bd5", "#8e6bbf", "#c77fb5", "#d9534f", "#5cb85c", "#e5c54f", "#7fa99b", "#b0b7be")
WIDTH, ROW, TEXT_WIDTH, NARROWEST = 1200, 17, 6.4, 1.2

Stack = tuple[str, ...]


@dataclass
class Node:
    """One function, called from the ones above it."""

    samples: int = 0
    called: dict[str, Node] = field(default_factory=dict)


def read(text: str) -> Counter[Stack]:
    """Samples by stack, from the folded lines of py-spy, below the event loop, without line numbers."""
    found: Counter[Stack] = Counter()
    for line in text.splitlines():
        frames, _, count = line.rpartition(" ")
        stack = tuple(re.sub(r":\d+\)$", ")", frame) for frame in frames.split(";"))
        if BEGINS_BELOW in stack:
            found[stack[stack.index(BEGINS_BELOW) + 1 :]] += int(count)
    return found


def part_of(stack: Sequence[str]) -> str:
    """The part that a sample counts for: that of its innermost frame that is not the library of Python."""
    for frame in reversed(stack):
        for part, marks in PARTS.items():
            if any(mark and mark in frame for mark in marks):
                return part
    return list(PARTS)[-1]


def shares(stacks: Mapping[Stack, int]) -> dict[str, float]:
    """Of all samples, by part, 0 to 1."""
    counted: Counter[str] = Counter()
    for stack, count in stacks.items():
        counted[part_of(stack)] += count
    return {part: counted[part] / max(1, sum(counted.values())) for part in PARTS}


def table(of: Mapping[str, float]) -> str:
    rows = sorted(of.items(), key=lambda each: -each[1])
    return "\n".join(["| part | share |", "| --- | ---: |", *(f"| {part} | {share:.1%} |" for part, share in rows)])


def svg(stacks: Mapping[Stack, int]) -> str:
    """A flame graph: a box for each function, as wide as its share, above the one that called it."""
    root = Node()
    for stack, count in stacks.items():
        node = root
        node.samples += count
        for frame in stack:
            node = node.called.setdefault(frame, Node())
            node.samples += count
    boxes = list(_boxes(root, (), 0.0, WIDTH / max(1, root.samples)))
    height = ROW * (max((len(stack) for stack, *_ in boxes), default=0) + 1)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height + 44}" font-family="sans-serif"',
        'font-size="11" fill="#24292f">',
        f'<rect width="{WIDTH}" height="{height + 44}" fill="white"/>',
    ]
    x = 6.0
    for part, colour in zip(PARTS, COLOURS, strict=True):
        lines.append(f'<rect x="{x:.0f}" y="8" width="10" height="10" fill="{colour}"/>')
        lines.append(f'<text x="{x + 14:.0f}" y="17">{escape(part)}</text>')
        x += 36 + TEXT_WIDTH * len(part)
    for stack, samples, x, width in boxes:
        y = height + 44 - ROW * len(stack)
        lines.append(_box(stack, samples / root.samples, x, y, width))
    return "\n".join([*lines, "</svg>", ""])


def _boxes(node: Node, stack: Stack, x: float, scale: float) -> Iterator[tuple[Stack, int, float, float]]:
    for frame, called in sorted(node.called.items()):
        width = called.samples * scale
        if width >= NARROWEST:
            yield (*stack, frame), called.samples, x, width
            yield from _boxes(called, (*stack, frame), x, scale)
        x += width


def _box(stack: Stack, share: float, x: float, y: float, width: float) -> str:
    name = stack[-1].split(" (")[0]
    letters = int((width - 4) / TEXT_WIDTH)
    said = name if len(name) <= letters else name[: max(0, letters - 1)] + "…"
    text = f'<text x="{x + 2:.1f}" y="{y + 12}">{escape(said)}</text>' if letters > 3 else ""
    colour = COLOURS[list(PARTS).index(part_of(stack))]
    title = f"<title>{escape(stack[-1])}: {share:.1%}</title>"
    return f'<g>{title}<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{ROW - 1}" fill="{colour}"/>{text}</g>'


async def sample(receiver: Receiver, folder: Path, count: int) -> str:
    """Folded stacks of a sender that delivers `count` events to 1,000 Webhooks. Raises Failed."""
    entries = healthy(receiver, WEBHOOKS, max_concurrency=CONCURRENCY)
    names = [route.name for route, _ in entries]
    async with stage(folder / "flame", receiver, entries) as on:
        say(f"warming up with {WEBHOOKS:,} deliveries")
        await flood(on, names, WEBHOOKS)
        out = folder / "stacks.txt"
        words = ["record", "--rate", str(PER_SECOND), "--duration", str(LIMIT_SECONDS), "--format", "raw"]
        command = [*words, "--output", str(out), "--pid", str(on.senders[0].pid)]
        spy = await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("py-spy"),
            *command,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        await asyncio.sleep(2)
        if spy.returncode is None:
            say(f"sampling {count:,} deliveries")
            await flood(on, names, count)
            spy.send_signal(signal.SIGINT)
        _, errors = await spy.communicate()
        if not out.exists():
            raise Failed(f"py-spy took no samples: {errors.decode().strip()[-500:]}")
        return out.read_text()


def lines_of(stacks: Mapping[Stack, int], facts: Mapping[str, object]) -> Iterable[str]:
    yield report.machine_line(facts)
    yield ""
    yield f"{sum(stacks.values()):,} samples of the event loop at work:"
    yield ""
    yield table(shares(stacks))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--count", type=int, default=12_000, help="deliveries while samples are taken")
    options.add_argument("--plot", type=Path, metavar="FILE", help="write the flame graph there, as SVG")
    options.add_argument("--page", type=Path, metavar="FILE", help="put the table into this page (docs/benchmarks.md)")
    given = options.parse_args()
    facts = machine()
    try:
        with tempfile.TemporaryDirectory(prefix="hookline-flame-") as folder, Receiver() as receiver:
            stacks = read(uvloop.run(sample(receiver, Path(folder), given.count)))
    except Failed as error:
        sys.exit(f"error: {error}")
    text = "\n".join(lines_of(stacks, facts))
    print(text)
    if given.plot:
        given.plot.write_text(svg(stacks))
    if given.page:
        given.page.write_text(report.put_into(given.page.read_text(), "flame", text))


if __name__ == "__main__":
    main()
