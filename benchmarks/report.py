"""What the delivery benchmarks found: as a table, as plots, as JSON, and which targets were missed. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from benchmarks.figures import Figure
from benchmarks.plot import Bars, Lines

MEASUREMENTS = {
    "a": "Throughput",
    "b": "Latency from publishing to receiving",
    "c": "Isolation: one endpoint hangs, one refuses, one answers a byte a second",
    "d": "A backlog of a dead endpoint",
    "e": "Its recovery",
    "f": "Memory",
    "g": "Two sender pods",
    "h": "The whole way, each event on disk before it is confirmed: this engine and a former one in turns",
    "i": "Fairness: what others feel of one tenant",
    "j": "The gateway: events of 1 KiB, checked",
    "k": "The attempts log: with it and without it in turns",
    "l": "Lists out of a large attempts log",
    "m": "Replays: live events with one and without it in turns",
}


def table(figures: Sequence[Figure], titles: Mapping[str, str] = MEASUREMENTS) -> str:
    """Markdown, a heading for each measurement."""
    lines: list[str] = []
    for letter, title in titles.items():
        of = [each for each in figures if each.measurement == letter]
        if of:
            lines += ["", f"| ({letter}) {title} | | target | |", "| --- | ---: | ---: | --- |"]
            lines += [
                f"| {each.title} | {shown(each.value)} {each.unit} | {_target(each)} | {_verdict(each)} |"
                for each in of
            ]
    return "\n".join(lines[1:])


def missed(figures: Sequence[Figure]) -> list[str]:
    """Targets that were not met, in words."""
    return [
        f"({each.measurement}) {each.title.strip()}: {shown(each.value)} {each.unit}, wanted {_target(each)}"
        for each in figures
        if each.missed
    ]


def machine_line(facts: Mapping[str, object]) -> str:
    """What a figure depends on, in one line."""
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts.items())


def put_into(page: str, name: str, content: str) -> str:
    """`page` with `content` between the marks of `name`. Raises ValueError when it has none."""
    begin, end = f"<!-- {name} begins -->", f"<!-- {name} ends -->"
    before, found, rest = page.partition(begin)
    _, also, after = rest.partition(end)
    if not (found and also):
        raise ValueError(f"no marks of {name}")
    return f"{before}{begin}\n{content}\n{end}{after}"


def result(
    figures: Sequence[Figure], titles: Mapping[str, str], facts: Mapping[str, object], notes: Sequence[str]
) -> str:
    """All of a run as markdown: on which machine, the table, what a reader must know, what was missed."""
    lines = [machine_line(facts), "", table(figures, titles)]
    lines += ["", *(f"- {note}" for note in notes)] if notes else []
    misses = missed(figures)
    lines += ["", "Missed:", "", *(f"- {each}" for each in misses)] if misses else ["", "No target was missed."]
    return "\n".join(lines)


def document(figures: Sequence[Figure], facts: Mapping[str, object], remarks: Sequence[str]) -> dict[str, object]:
    """For JSON."""
    return {
        "machine": dict(facts),
        "figures": [{**asdict(each), "missed": each.missed} for each in figures],
        "missed": missed(figures),
        "remarks": list(remarks),
    }


def panels(figures: Sequence[Figure], curves: Mapping[str, Sequence[tuple[float, float]]]) -> list[Lines | Bars]:
    """Those for which there are figures."""
    by_key = {each.key: each.value for each in figures}

    def bars(title: str, bound: float | None, **labels: str) -> list[Lines | Bars]:
        found = [
            (label, by_key[key])
            for key, label in ((k.replace("_", "."), v) for k, v in labels.items())
            if key in by_key
        ]
        return [Bars(title, found, bound)] if found else []

    found: list[Lines | Bars] = []
    found += bars("(a) Deliveries per second and core", 2000, a_bare="bare", a_1_core="1", a_1000_core="1,000 Webhooks")
    found += bars("(a) As a ratio to bare", 0.4, a_1_ratio="1", a_1000_ratio="1,000 Webhooks")
    found += _latency(by_key)
    found += bars("(c) p99 beside bad ones, ratio", 1.2, c_disk_p99="queue on disk", c_memory_p99="in memory")
    found += bars("(d) Beside the backlog, ratio", 1.0, d_p99="p99 of others", d_rate="throughput")
    found += bars("(d) CPU for the backlog, % of a core", 5, d_idle="sender and nats-server")
    if len(curves.get("e", ())) > 1:
        found.append(_curve("(e) Delivered after the recovery", "s", curves["e"]))
    found += bars("(f) Memory for 1,000, MB", None, f_book="Webhooks in the book", f_lanes="idle lanes")
    found += bars("(g) Two pods, as a ratio to one", 1.8, g_free="shared cores", g_bound="a share each")
    found += bars("(j) A gateway, per second and core", None, j_empty="empty page", j_core="events")
    counts = {"1": "1", "100": "100", "2000": "2,000"}
    for key, title, bound in (("rate", "deliveries", 1.8), ("cpu", "CPU for each", 0.5), ("p50", "p50", 0.65)):
        of = {f"h_{count}_{key}": label for count, label in counts.items()}
        found += bars(f"(h) {title}, as a ratio to before", bound, **of)
    cases = {"fast": "fast", "backlog": "backlog", "large": "large", "wide": "wide", "hang": "hangs"}
    for key, title in (("few", "2 tenants"), ("many", "many tenants")):
        found += bars(f"(i) p99, {title}, ratio", 1.5, **{f"i_{key}_{case}": label for case, label in cases.items()})
    return found


def shown(value: float) -> str:
    """Counts as they are, measures with three digits that count."""
    if isinstance(value, int):
        return f"{value:,}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _latency(by_key: Mapping[str, float]) -> list[Lines | Bars]:
    names = ("p50", "p99", "p99.9")
    series = [
        (f"at {share}", [(at / 2, by_key[f"b.{share}.{name}"]) for at, name in enumerate(names)])
        for share in ("50%", "80%")
        if f"b.{share}.p50" in by_key
    ]
    ticks = [(at / 2, name) for at, name in enumerate(names)]
    return [Lines("(b) Latency, ms", "of the maximum", ticks, series)] if series else []


def _curve(title: str, axis: str, points: Sequence[tuple[float, float]]) -> Lines:
    end = points[-1][0] or 1.0
    ticks = [(share, f"{end * share:.0f}") for share in (0, 0.5, 1)]
    return Lines(title, axis, ticks, [("", [(x / end, y) for x, y in points])])


def _target(figure: Figure) -> str:
    if figure.at_least is not None:
        return f">= {figure.at_least:g}"
    return f"<= {figure.at_most:g}" if figure.at_most is not None else ""


def _verdict(figure: Figure) -> str:
    if not _target(figure):
        return ""
    return "**missed**" if figure.missed else "met"
