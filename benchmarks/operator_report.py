"""What the operator's benchmark found: as a table, as a plot (SVG), and which targets were missed.

Decides how figures look and what was promised. Measures nothing.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

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


WIDTH, HEIGHT, LEFT, TOP, GAP = 250, 150, 56, 44, 90
COLOURS = ("#1f6feb", "#d1570a")

PANELS: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    ("CPU for one change, ms", (("cpu_milliseconds_per_change", ""),)),
    ("Writes for one change", (("writes_per_change", ""),)),
    ("Apply to written, s", (("written_p50_seconds", "p50"), ("written_p99_seconds", "p99"))),
    ("Cold start to all programmed, s", (("cold_start_seconds", ""),)),
    ("Memory at its peak, MB", (("peak_megabytes", ""),)),
    ("CPU while idle, % of a core", (("idle_cpu_percent", ""),)),
)
COLUMNS = 3


def svg(sizes: Sequence[Figures]) -> str:
    """The whole picture."""
    rows = -(-len(PANELS) // COLUMNS)
    width, height = LEFT + COLUMNS * (WIDTH + GAP) - GAP + 24, TOP + rows * (HEIGHT + GAP) - GAP + 44
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif"',
        'font-size="12" fill="#24292f">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for number, (title, series) in enumerate(PANELS):
        row, column = divmod(number, COLUMNS)
        parts.append(f'<g transform="translate({LEFT + column * (WIDTH + GAP)} {TOP + row * (HEIGHT + GAP)})">')
        parts += _panel(title, series, sizes)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def _panel(title: str, series: Sequence[tuple[str, str]], sizes: Sequence[Figures]) -> list[str]:
    top = _round_up(max(_of(each, name) for name, _ in series for each in sizes))
    parts = [f'<text x="0" y="-22" font-weight="bold">{title}</text>']
    for step in range(3):
        y = HEIGHT - HEIGHT * step / 2
        parts.append(f'<path d="M0 {y}H{WIDTH}" stroke="#d0d7de"/>')
        parts.append(f'<text x="-6" y="{y + 4}" text-anchor="end">{top * step / 2:g}</text>')
    parts += [
        f'<text x="{_x(each, sizes)}" y="{HEIGHT + 18}" text-anchor="middle">{each.webhooks:,}</text>' for each in sizes
    ]
    parts.append(f'<text x="{WIDTH}" y="{HEIGHT + 34}" text-anchor="end" fill="#57606a">Webhooks</text>')
    for (name, label), colour in zip(series, COLOURS, strict=False):
        parts += _line([(_x(each, sizes), HEIGHT * (1 - _of(each, name) / top)) for each in sizes], label, colour)
    return parts


def _of(size: Figures, name: str) -> float:
    return float(getattr(size, name))


def _line(points: Sequence[tuple[float, float]], label: str, colour: str) -> list[str]:
    path = " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    dots = [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in points]
    x, y = points[-1]
    name = f'<text x="{x:.1f}" y="{y - 8:.1f}" text-anchor="end" fill="{colour}">{label}</text>'
    return [f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>', *dots, *([name] if label else [])]


def _x(size: Figures, sizes: Sequence[Figures]) -> float:
    """Sizes grow tenfold, so the axis is logarithmic."""
    low, high = (math.log10(each.webhooks) for each in (sizes[0], sizes[-1]))
    share = (math.log10(size.webhooks) - low) / (high - low) if high > low else 0.5
    return round(20 + share * (WIDTH - 40), 1)


def _round_up(value: float) -> float:
    """The next round number, as the end of an axis that begins at 0."""
    if value <= 0:
        return 1.0
    power: float = 10.0 ** math.floor(math.log10(value))
    return next(
        round(step * power, 10) for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * power >= value * 1.05 or step == 10
    )
