"""What delivery costs and holds, measured from outside: `hookline sender` processes, a nats-server, a TLS receiver.

    python -m benchmarks.bench [--only a,c] [--quick] [--json FILE] [--plot FILE]      (make bench)

Everything is on loopback, and bounded in count and time: about 41 minutes, eight with --quick. Figures that compare two
loads come from rounds that take turns in the same run: machines differ and are shared. Exit code 1: targets missed.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import uvloop
from benchmarks import (
    attempts_log,
    backlog,
    engines,
    fairness,
    gateway,
    isolation,
    latency,
    log_lists,
    memory,
    plot,
    pods,
    replays,
    report,
    throughput,
    whole_way,
)
from benchmarks.figures import Figure
from benchmarks.plot import Bars, Lines
from benchmarks.receiver import Receiver
from benchmarks.setting import Setting, sizes
from benchmarks.stage import Failed, say

from hookline import __version__
from hookline.stream.connection import StreamRefused, StreamUnavailable

STEPS: tuple[tuple[str, Callable[[Setting], Awaitable[list[Figure]]]], ...] = (
    ("a", throughput.measure),
    ("b", latency.measure),
    ("c", isolation.measure),
    ("de", backlog.measure),
    ("f", memory.measure),
    ("g", pods.measure),
    ("h", whole_way.measure),
    ("i", fairness.measure),
    ("j", gateway.measure),
    ("k", attempts_log.measure),
    ("l", log_lists.measure),
    ("m", replays.measure),
)
COMPARING = set("hi")
BEFORE = "da7cd7f"
"""The last commit of which each event was stored, read, and stored again as deliveries, whatever could be called."""


async def run(setting: Setting, wanted: set[str]) -> tuple[list[Figure], list[str]]:
    """Figures, and what could not be measured."""
    found: list[Figure] = []
    failed: list[str] = []
    for letters, measure in STEPS:
        if wanted & set(letters):
            began = time.monotonic()
            try:
                found += await measure(setting)
            except (Failed, StreamUnavailable, StreamRefused) as error:
                failed.append(f"({letters}) could not be measured: {error}")
            say(f"{letters}: took {time.monotonic() - began:.0f} s")
    return found, failed


def machine() -> dict[str, object]:
    """What a figure depends on."""
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    memory_kb = int(Path("/proc/meminfo").read_text().split()[1])
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_gb": round(memory_kb / 1e6),
        "load_before": os.getloadavg()[0],
        "kernel": platform.release(),
        "python": platform.python_version(),
        "hookline": __version__,
    }


def letters(text: str) -> set[str]:
    """Of --only. Raises ValueError."""
    chosen = set(text.replace(",", ""))
    if not chosen or chosen - set(report.MEASUREMENTS):
        raise ValueError(f"name some of {','.join(report.MEASUREMENTS)}")
    return chosen


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--only", type=letters, default=set(report.MEASUREMENTS), help="letters, such as a,c")
    options.add_argument("--quick", action="store_true", help="a look, with small loads and one round of each")
    options.add_argument(
        "--backlog", type=int, help="deliveries queued for the dead endpoint, events of one tenant (default 1,000,000)"
    )
    options.add_argument("--records", type=int, help="of the attempts log (default 10,000,000)")
    options.add_argument("--before", default=BEFORE, metavar="COMMIT", help=f"compared with (default {BEFORE})")
    options.add_argument("--sync-interval", default="always", help="fsync of the queue (default always, as `run`)")
    output_options(options)
    given = options.parse_args()
    facts = machine()
    with tempfile.TemporaryDirectory(prefix="hookline-bench-") as folder, Receiver() as receiver:
        setting = Setting(
            Path(folder),
            receiver,
            sizes(quick=given.quick, backlog=given.backlog, records=given.records),
            given.sync_interval,
        )
        if given.only & COMPARING:
            try:
                setting.before = engines.former(given.before, setting.folder / "engine")
            except engines.NoEngine as error:
                setting.remarks.append(f"Nothing is compared with the engine of {given.before}: {error}.")
        # Else a pause of the publisher's collector, 30 to 70 ms, is told as latency of the sender.
        gc.freeze()
        figures, failed = uvloop.run(run(setting, given.only))
    notes = [*setting.remarks, *failed]
    text = report.result(figures, report.MEASUREMENTS, facts, notes)
    print(text)
    write(given, "bench", text, report.document(figures, facts, notes), report.panels(figures, setting.curves))
    sys.exit(1 if report.missed(figures) or failed else 0)


def output_options(options: argparse.ArgumentParser) -> None:
    """Where results go besides the screen."""
    options.add_argument("--json", type=Path, metavar="FILE", help="write figures and machine there")
    options.add_argument("--plot", type=Path, metavar="FILE", help="write the plots there, as SVG")
    options.add_argument("--page", type=Path, metavar="FILE", help="put the table into this page (docs/benchmarks.md)")


def write(
    given: argparse.Namespace, name: str, text: str, document: Mapping[str, object], panels: Sequence[Lines | Bars]
) -> None:
    """To where `output_options` say."""
    if given.json:
        given.json.write_text(json.dumps(document, indent=1) + "\n")
    if given.plot and panels:
        given.plot.write_text(plot.svg(panels))
    if given.page:
        given.page.write_text(report.put_into(given.page.read_text(), name, text))


if __name__ == "__main__":
    main()
