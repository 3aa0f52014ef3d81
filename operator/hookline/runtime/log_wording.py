"""Log lines for a person at a terminal. Pure. For machines `logs` writes JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping

_BEFORE = {"warning": "warning: ", "error": "error: ", "critical": "error: "}


def line_for_people(time: str, level: str, text: str, facts: Mapping[str, object]) -> str:
    """One line, which cannot steer the terminal whatever the facts hold. Facts without a value are left out."""
    shown = ", ".join(_fact(name, value) for name, value in facts.items() if value is not None and value != "")
    line = f"{time}  {_BEFORE.get(level, '')}{text}{': ' if shown else ''}{shown}"
    return printable(line)


def printable(text: str) -> str:
    """With escapes in place of what could steer a terminal."""
    return text if text.isprintable() else "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def duration(seconds: float) -> str:
    """A time as people say it, its two largest units: 334.2 is `5 min 34 s`."""
    if not math.isfinite(seconds):
        return f"{seconds} s"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    minutes, left_seconds = divmod(round(seconds), 60)
    hours, left_minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h" + (f" {left_minutes} min" if left_minutes else "")
    return f"{minutes} min" + (f" {left_seconds} s" if left_seconds else "")


def _fact(name: str, value: object) -> str:
    words = name.replace("_", " ").removesuffix("seconds").rstrip()
    if name.endswith("seconds") and isinstance(value, int | float):
        return f"{words} {duration(value)}".lstrip()
    return f"{words} {value}"
