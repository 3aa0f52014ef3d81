"""What the operator's benchmark found: as a table, as a plot (SVG), and which targets were missed.

Decides how figures look and what was promised. Measures nothing.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks import plot
from benchmarks.plot import Lines

TARGETS = {"cold_start_seconds": 120.0, "written_p99_seconds": 2.0, "peak_megabytes": 500.0}


@dataclass
class Figures:
    """Of one size."""

    webhooks: int
    cold_start_seconds: float = 0.0
    cold_start_cpu_seconds: float = 0.0
    cold_start_writes: int = 0
    peak_megabytes: float = 0.0
    settled_megabytes: float = 0.0
    changes: int = 0
    written_p50_seconds: float = 0.0
    written_p99_seconds: float = 0.0
    programmed_p50_seconds: float = 0.0
    programmed_p99_seconds: float = 0.0
    writes_per_change: float = 0.0
    writes_by_kind: dict[str, float] = field(default_factory=dict)
    kilobytes_per_change: float = 0.0
    cpu_milliseconds_per_change: float = 0.0
    idle_seconds: float = 0.0
    idle_writes: int = 0
    idle_lease_writes: int = 0
    idle_reads_per_minute: float = 0.0
    idle_cpu_percent: float = 0.0
    restart_seconds: float = 0.0
    restart_writes: int = 0


ROWS: list[tuple[str, str, Callable[[Figures], float]]] = [
    ("cold start to all programmed, s", ".1f", lambda f: f.cold_start_seconds),
    ("  CPU of it, s", ".1f", lambda f: f.cold_start_cpu_seconds),
    ("  writes for each Webhook", ".2f", lambda f: f.cold_start_writes / f.webhooks),
    ("memory at its peak, MB", ".0f", lambda f: f.peak_megabytes),
    ("memory at the end, MB", ".0f", lambda f: f.settled_megabytes),
    ("apply -> written, p50, s", ".3f", lambda f: f.written_p50_seconds),
    ("apply -> written, p99, s", ".3f", lambda f: f.written_p99_seconds),
    ("apply -> programmed, p50, s", ".3f", lambda f: f.programmed_p50_seconds),
    ("apply -> programmed, p99, s", ".3f", lambda f: f.programmed_p99_seconds),
    ("CPU for a change, ms", ".1f", lambda f: f.cpu_milliseconds_per_change),
    ("writes for a change", ".2f", lambda f: f.writes_per_change),
    ("  of the book, KB", ".1f", lambda f: f.kilobytes_per_change),
    ("idle: writes besides the Lease", ".0f", lambda f: f.idle_writes),
    ("idle: reads a minute", ".1f", lambda f: f.idle_reads_per_minute),
    ("idle: CPU of a core, %", ".1f", lambda f: f.idle_cpu_percent),
    ("restart until settled, s", ".1f", lambda f: f.restart_seconds),
    ("restart: writes", ".0f", lambda f: f.restart_writes),
]


def quantiles(values: Sequence[float]) -> tuple[float, float]:
    """p50 and p99."""
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return cuts[49], cuts[98]


def table_of_node(seconds: Sequence[float]) -> str:
    """Of changes on a real node: markdown."""
    p50, p99 = quantiles(seconds)
    rows = [("p50", p50), ("p99", p99), ("longest", max(seconds))]
    lines = [f"| apply -> first call at the new URL, {len(seconds)} changes | s |", "| --- | ---: |"]
    return "\n".join(lines + [f"| {name} | {value:.2f} |" for name, value in rows])


def table(all_figures: Sequence[Figures]) -> str:
    """Markdown."""
    lines = ["| Webhooks | " + " | ".join(f"{each.webhooks:,}" for each in all_figures) + " |"]
    lines.append("| --- |" + " ---: |" * len(all_figures))
    lines += [
        f"| {title} | " + " | ".join(f"{of(each):{form}}" for each in all_figures) + " |" for title, form, of in ROWS
    ]
    return "\n".join(lines)


def missed(all_figures: Sequence[Figures]) -> list[str]:
    """Targets that were not met, in words."""
    found = [
        f"{each.webhooks} Webhooks: {name} is {getattr(each, name):.2f}, wanted below {bound:g}"
        for each in all_figures
        for name, bound in TARGETS.items()
        if getattr(each, name) >= bound
    ]
    return found + [
        f"{each.webhooks} Webhooks: {count} writes {when}"
        for each in all_figures
        for count, when in ((each.idle_writes, "while idle"), (each.restart_writes, "after a restart"))
        if count
    ]


PANELS: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    ("CPU for one change, ms", (("cpu_milliseconds_per_change", ""),)),
    ("Writes for one change", (("writes_per_change", ""),)),
    ("Apply to written, s", (("written_p50_seconds", "p50"), ("written_p99_seconds", "p99"))),
    ("Cold start to all programmed, s", (("cold_start_seconds", ""),)),
    ("Memory at its peak, MB", (("peak_megabytes", ""),)),
    ("CPU while idle, % of a core", (("idle_cpu_percent", ""),)),
)


def svg(sizes: Sequence[Figures]) -> str:
    """The whole picture."""
    ticks = [(_share(each, sizes), f"{each.webhooks:,}") for each in sizes]

    def points(name: str) -> list[tuple[float, float]]:
        return [(_share(each, sizes), float(getattr(each, name))) for each in sizes]

    return plot.svg(
        [Lines(title, "Webhooks", ticks, [(label, points(name)) for name, label in series]) for title, series in PANELS]
    )


def _share(size: Figures, sizes: Sequence[Figures]) -> float:
    """Sizes grow tenfold, so the axis is logarithmic."""
    low, high = (math.log10(each.webhooks) for each in (sizes[0], sizes[-1]))
    return (math.log10(size.webhooks) - low) / (high - low) if high > low else 0.5
