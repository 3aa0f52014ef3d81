"""Small charts as one SVG: lines over a shared x axis, and bars. Decides how figures are drawn, never what they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, TOP, GAP = 250, 150, 56, 44, 90
COLUMNS = 3
COLOURS = ("#1f6feb", "#d1570a", "#2da44e", "#8250df", "#bf3989", "#9a6700", "#57606a")
LEGEND_CHARACTERS = 50
"""In one line below a panel."""


@dataclass(frozen=True)
class Lines:
    """`ticks` and the points of each series have their x as a share of the axis, 0 to 1. Names of series stand at their
    ends, or in a legend below."""

    title: str
    axis: str
    ticks: Sequence[tuple[float, str]]
    series: Sequence[tuple[str, Sequence[tuple[float, float]]]]
    legend: bool = False


@dataclass(frozen=True)
class Bars:
    """One bar for each (label, value). `bound` is drawn across: what was promised."""

    title: str
    bars: Sequence[tuple[str, float]]
    bound: float | None = None


def svg(panels: Sequence[Lines | Bars]) -> str:
    """The whole picture."""
    rows = -(-len(panels) // COLUMNS)
    width, height = LEFT + COLUMNS * (WIDTH + GAP) - GAP + 24, TOP + rows * (HEIGHT + GAP) - GAP + 44
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif"',
        'font-size="12" fill="#24292f">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for number, panel in enumerate(panels):
        row, column = divmod(number, COLUMNS)
        parts.append(f'<g transform="translate({LEFT + column * (WIDTH + GAP)} {TOP + row * (HEIGHT + GAP)})">')
        parts += _lines(panel) if isinstance(panel, Lines) else _bars(panel)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def round_up(value: float) -> float:
    """The next round number, as the end of an axis that begins at 0."""
    if value <= 0:
        return 1.0
    power: float = 10.0 ** math.floor(math.log10(value))
    return next(
        round(step * power, 10) for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * power >= value * 1.05 or step == 10
    )


def _lines(panel: Lines) -> list[str]:
    top = round_up(max(y for _, points in panel.series for _, y in points))
    parts = _frame(panel.title, top)
    parts += [
        f'<text x="{_x(at)}" y="{HEIGHT + 18}" text-anchor="middle">{escape(text)}</text>' for at, text in panel.ticks
    ]
    parts.append(f'<text x="{WIDTH}" y="{HEIGHT + 34}" text-anchor="end" fill="#57606a">{escape(panel.axis)}</text>')
    for (label, points), colour in zip(panel.series, COLOURS, strict=False):
        at_end = "" if panel.legend else label
        parts += _line([(_x(at), HEIGHT * (1 - y / top)) for at, y in points], at_end, colour)
    return [*parts, *(_legend([label for label, _ in panel.series]) if panel.legend else [])]


def _legend(labels: Sequence[str]) -> list[str]:
    lines: list[list[str]] = [[]]
    used = 0
    for label, colour in zip(labels, COLOURS, strict=False):
        if lines[-1] and used + len(label) > LEGEND_CHARACTERS:
            lines.append([])
            used = 0
        used += len(label) + 2
        lines[-1].append(f'<tspan fill="{colour}">{escape(label)}</tspan>')
    return [
        f'<text x="0" y="{HEIGHT + 33 + 13 * number}" font-size="11">{"&#160; ".join(line)}</text>'
        for number, line in enumerate(lines)
    ]


def _bars(panel: Bars) -> list[str]:
    top = round_up(max([*(value for _, value in panel.bars), panel.bound or 0]))
    parts = _frame(panel.title, top)
    step = WIDTH / len(panel.bars)
    for number, (label, value) in enumerate(panel.bars):
        height = HEIGHT * max(value, 0) / top
        y, middle = HEIGHT - height, f'x="{step * (number + 0.5):.1f}" text-anchor="middle"'
        place = f'x="{step * (number + 0.2):.1f}" y="{y:.1f}" width="{step * 0.6:.1f}" height="{height:.1f}"'
        said = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
        parts.append(f'<rect {place} fill="{COLOURS[0]}"/>')
        parts.append(f'<text {middle} y="{y - 4:.1f}">{said}</text>')
        parts.append(f'<text {middle} y="{HEIGHT + 18}">{escape(label)}</text>')
    if panel.bound is not None:
        y = HEIGHT * (1 - panel.bound / top)
        parts.append(f'<path d="M0 {y:.1f}H{WIDTH}" stroke="{COLOURS[1]}" stroke-width="1.5" stroke-dasharray="5 3"/>')
    return parts


def _frame(title: str, top: float) -> list[str]:
    parts = [f'<text x="0" y="-22" font-weight="bold">{escape(title)}</text>']
    for step in range(3):
        y = HEIGHT - HEIGHT * step / 2
        parts.append(f'<path d="M0 {y}H{WIDTH}" stroke="#d0d7de"/>')
        parts.append(f'<text x="-6" y="{y + 4}" text-anchor="end">{top * step / 2:g}</text>')
    return parts


def _line(points: Sequence[tuple[float, float]], label: str, colour: str) -> list[str]:
    path = " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    dots = (
        [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in points] if len(points) < 12 else []
    )
    x, y = points[-1]
    name = f'<text x="{x:.1f}" y="{y - 8:.1f}" text-anchor="end" fill="{colour}">{escape(label)}</text>'
    return [f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>', *dots, *([name] if label else [])]


def _x(share: float) -> float:
    return round(20 + share * (WIDTH - 40), 1)
