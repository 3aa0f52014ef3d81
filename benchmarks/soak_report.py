"""What a soak must show: nothing lost, repeats within their bound, memory and files flat. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.figures import Figure, slope, thirds_ratio
from benchmarks.plot import Lines

TITLES = {"s": "Soak"}
WARM_UP_SHARE = 0.1
"""Of the run, in which memory may still grow to its usual size."""
GROWTH_PERCENT, THIRDS, FILES = 10.0, 1.1, 1.2


@dataclass(frozen=True)
class Sample:
    """Of one moment. Memory and files are those of the sender that is never killed."""

    at_s: float
    sender_megabytes: float
    sender_files: int
    queue_megabytes: float
    waiting: int
    """Events confirmed by the queue and not yet heard by the receiver."""


@dataclass(frozen=True)
class Totals:
    """At the end, after everything had time to drain."""

    published: int
    confirmed: int
    arrived: int
    """Of the confirmed ones."""
    kept: int
    """Of those that did not arrive: in a queue or a dead letter."""
    repeats: int
    faults: Mapping[str, int]
    calls_at_once: int
    rate: float
    drained_seconds: float

    @property
    def lost(self) -> int:
        return self.confirmed - self.arrived - self.kept

    @property
    def repeats_bound(self) -> int:
        """A kill repeats at most the calls under way, and those whose acks were on their way to the disk."""
        kills = sum(count for name, count in self.faults.items() if name.startswith("killed"))
        return int(kills * (self.calls_at_once + self.rate / 2))


def figures(samples: Sequence[Sample], totals: Totals) -> list[Figure]:
    """With what is promised of each."""
    warm = samples[int(len(samples) * WARM_UP_SHARE) :]
    memory = [each.sender_megabytes for each in warm]
    return [
        Figure("s.rate", "rate", totals.rate, "/s"),
        *(Figure(f"s.{name}", f"times: {name}", count) for name, count in totals.faults.items()),
        Figure("s.confirmed", "events confirmed by the queue", totals.confirmed),
        Figure("s.lost", "lost", totals.lost, at_most=0),
        Figure("s.kept", "not arrived, but in a queue or a dead letter", totals.kept, at_most=0),
        Figure("s.repeats", "repeats", totals.repeats, at_most=totals.repeats_bound),
        Figure("s.drained", "everything had arrived after the end of faults", totals.drained_seconds, "s"),
        Figure("s.memory", "memory of a sender: median", statistics.median(memory), "MB"),
        Figure("s.thirds", "  last third as a ratio to the first", thirds_ratio(memory), "x", at_most=THIRDS),
        Figure("s.growth", "  growth by its slope over the run", growth_percent(warm), "%", at_most=GROWTH_PERCENT),
        Figure("s.files", "open files, last third to the first", _files_ratio(warm), "x", at_most=FILES),
        Figure("s.most", "events that waited at most", max(each.waiting for each in samples)),
    ]


def growth_percent(samples: Sequence[Sample]) -> float:
    """Of memory over all samples by least squares, as a share of its median."""
    points = [(each.at_s, each.sender_megabytes) for each in samples]
    seconds = points[-1][0] - points[0][0]
    return slope(points) * seconds / statistics.median(y for _, y in points) * 100


def panels(samples: Sequence[Sample]) -> list[Lines]:
    """Over the minutes."""
    end = samples[-1].at_s or 1.0
    ticks = [(share, f"{end * share / 60:.0f}") for share in (0, 0.5, 1)]

    def line(title: str, *series: tuple[str, list[float]]) -> Lines:
        points = [(label, [(s.at_s / end, y) for s, y in zip(samples, ys, strict=True)]) for label, ys in series]
        return Lines(title, "minutes", ticks, points)

    return [
        line(
            "Memory, MB",
            ("sender", [s.sender_megabytes for s in samples]),
            ("nats-server", [s.queue_megabytes for s in samples]),
        ),
        line("Open files of a sender", ("", [float(s.sender_files) for s in samples])),
        line("Events that wait", ("", [float(s.waiting) for s in samples])),
    ]


def _files_ratio(samples: Sequence[Sample]) -> float:
    return thirds_ratio([float(each.sender_files) for each in samples])
