"""A flame graph as SVG: a box for each function, as wide as its share, above the one that called it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from benchmarks.flame_parts import Parts, Stack, part_of

COLOURS = (
    *("#e8833a", "#5b9bd5", "#8e6bbf", "#c77fb5", "#d9534f", "#5cb85c", "#e5c54f"),
    *("#7fa99b", "#c69c6d", "#6fc3cf", "#a3b86c", "#d0a3a3", "#9a7b4f", "#6a7fdb", "#b0b7be"),
)
WIDTH, ROW, TEXT_WIDTH, NARROWEST = 1200, 17, 6.4, 1.2


@dataclass
class Node:
    """One function, called from the ones above it."""

    samples: int = 0
    called: dict[str, Node] = field(default_factory=dict)


def svg(stacks: Mapping[Stack, int], parts: Parts) -> str:
    """The graph of all stacks, in the colours of their parts."""
    colours = dict(zip(parts, COLOURS, strict=False))
    root = Node()
    for stack, count in stacks.items():
        node = root
        node.samples += count
        for frame in stack:
            node = node.called.setdefault(frame, Node())
            node.samples += count
    boxes = list(_boxes(root, (), 0.0, WIDTH / max(1, root.samples)))
    legend, legend_height = _legend(colours)
    height = ROW * (max((len(stack) for stack, *_ in boxes), default=0) + 1) + legend_height
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif"',
            'font-size="11" fill="#24292f">',
            f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
            *legend,
            *(
                _box(
                    stack[-1],
                    samples / root.samples,
                    x,
                    height - ROW * len(stack),
                    width,
                    colours[part_of(stack, parts)],
                )
                for stack, samples, x, width in boxes
            ),
            "</svg>",
            "",
        ]
    )


def _legend(colours: Mapping[str, str]) -> tuple[list[str], int]:
    """Its lines, and how high it is with the room below it."""
    lines: list[str] = []
    x, y = 6.0, 8
    for part, colour in colours.items():
        wide = 36 + TEXT_WIDTH * len(part)
        if x + wide > WIDTH:
            x, y = 6.0, y + ROW
        lines.append(f'<rect x="{x:.0f}" y="{y}" width="10" height="10" fill="{colour}"/>')
        lines.append(f'<text x="{x + 14:.0f}" y="{y + 9}">{escape(part)}</text>')
        x += wide
    return lines, y + 36


def _boxes(node: Node, stack: Stack, x: float, scale: float) -> Iterator[tuple[Stack, int, float, float]]:
    for frame, called in sorted(node.called.items()):
        width = called.samples * scale
        if width >= NARROWEST:
            yield (*stack, frame), called.samples, x, width
            yield from _boxes(called, (*stack, frame), x, scale)
        x += width


def _box(frame: str, share: float, x: float, y: float, width: float, colour: str) -> str:
    name = frame.rpartition(" (")[0]
    letters = int((width - 4) / TEXT_WIDTH)
    said = name if len(name) <= letters else name[: max(0, letters - 1)] + "…"
    text = f'<text x="{x + 2:.1f}" y="{y + 12}">{escape(said)}</text>' if letters > 3 else ""
    title = f"<title>{escape(frame)}: {share:.1%}</title>"
    return f'<g>{title}<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{ROW - 1}" fill="{colour}"/>{text}</g>'
