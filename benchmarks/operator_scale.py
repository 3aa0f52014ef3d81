"""The operator with 100, 1,000 and 10,000 Webhooks on a real API server: what it needs, and what one change costs.

    python -m benchmarks.operator_scale      (make bench-operator)

Each size has a new cluster (etcd, kube-apiserver, kube-controller-manager on loopback) with 50 Webhooks a namespace and
five a Secret. The operator is a process of its own. Senders are stand-ins that report what a kubelet would have given
them. Requests are counted in the API server's audit log. CPU is that of the operator process; all share this machine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import uvloop
from benchmarks.operator_report import Figures, missed, quantiles, svg, table
from benchmarks.operator_stage import NAMESPACE, Api, Book, Hook, Watched, following, load

from controlplane import assets
from controlplane.servers import ControlPlane, User

OPERATOR = User("operator", ("system:masters",))
COLD_LIMIT_SECONDS = 300.0
TAIL_LIMIT_SECONDS = 60.0
WRITING = ("create", "update", "patch", "delete")


class OperatorProcess:
    """`hookline operator` as it is started in a pod, but with a kubeconfig."""

    def __init__(self, folder: Path, kubeconfig: Path) -> None:
        self._log = folder / "operator.log"
        self._out = self._log.open("wb")
        words = ["operator", "--kubeconfig", str(kubeconfig), "--own-namespace", NAMESPACE, "--name", "bench"]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "hookline.cli.main", *words, "--image", "hookline:bench", "--listen", "127.0.0.1:0"],
            stdout=self._out,
            stderr=self._out,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def check(self) -> None:
        """Raise RuntimeError when it has ended."""
        if self._process.poll() is not None:
            raise RuntimeError(f"the operator ended: {self._log.read_text()[-1000:]}")

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._out.close()

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def megabytes(self, what: str) -> float:
        """Resident memory: VmRSS now, VmHWM at its peak."""
        found = re.search(rf"^{what}:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text(), re.MULTILINE)
        assert found
        return int(found[1]) * 1024 / 1e6

    def is_settled(self) -> bool:
        """Whether it has read the cluster and nothing waits."""
        ports = [line["port"] for line in map(json.loads, self._log.read_text().splitlines()) if "port" in line]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{ports[-1]}/readyz", timeout=2):
                pass
            with urllib.request.urlopen(f"http://127.0.0.1:{ports[-1]}/metrics", timeout=2) as answer:
                text = answer.read().decode()
        except (OSError, IndexError):
            return False
        return "hookline_leader 1.0" in text and "hookline_queue_depth 0.0" in text


@dataclass
class Stage:
    """One size, set up."""

    plane: ControlPlane
    api: Api
    hooks: list[Hook]
    watched: Watched
    book: Book
    check: Callable[[], None]
    folder: Path

    def requests(self, mark: int) -> Counter[tuple[str, str]]:
        """Requests of the operator since a mark: verb and resource."""
        found: Counter[tuple[str, str]] = Counter()
        for entry in self.plane.audit_since(mark):
            if entry["user"]["username"] == OPERATOR.name and "objectRef" in entry:
                ref = entry["objectRef"]
                found[entry["verb"], "/".join(filter(None, (ref["resource"], ref.get("subresource"))))] += 1
        return found

    async def until(self, what: Callable[[], bool], operator: OperatorProcess, limit_seconds: float) -> bool:
        """Whether it became so in time."""
        deadline = time.monotonic() + limit_seconds
        while not what():
            operator.check()
            self.check()
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.1)
        return True


def writes(requests: Counter[tuple[str, str]]) -> Counter[str]:
    """Writes by resource, without those of the Lease."""
    found: Counter[str] = Counter()
    for (verb, resource), count in requests.items():
        if verb in WRITING and resource != "leases":
            found[resource] += count
    return found


@contextlib.asynccontextmanager
async def stage(count: int, folder: Path) -> AsyncIterator[Stage]:
    """A cluster with `count` Webhooks, and nobody who looks at them yet."""
    folder.mkdir()
    plane = ControlPlane(folder, assets.ensure(), users=[OPERATOR])
    await asyncio.to_thread(plane.start)
    try:
        api = Api(plane)
        try:
            hooks = await load(api, count, _progress)
            watched, book = Watched(), Book()
            async with following(api, watched, book) as check:
                yield Stage(plane, api, hooks, watched, book, check, folder)
        finally:
            await api.aclose()
    finally:
        await asyncio.to_thread(plane.stop)


async def measure(count: int, folder: Path, given: argparse.Namespace) -> Figures:
    """All figures of one size."""
    figures = Figures(count)
    async with stage(count, folder) as on:
        kubeconfig = on.plane.kubeconfig(OPERATOR.name)
        operator = OperatorProcess(folder, kubeconfig)
        try:
            await cold_start(on, operator, figures)
            await idle(on, operator, figures, given.idle_seconds)
            await changes(on, operator, figures, given.rate, given.change_seconds)
            figures.settled_megabytes = operator.megabytes("VmRSS")
            figures.peak_megabytes = operator.megabytes("VmHWM")
        finally:
            operator.stop()
        await restart(on, kubeconfig, figures)
    return figures


async def cold_start(on: Stage, operator: OperatorProcess, figures: Figures) -> None:
    """From the start of the process until every Webhook is said to be served."""
    began, mark = time.monotonic(), on.plane.audit_mark()
    say("cold start")
    if not await on.until(lambda: len(on.watched.programmed) >= len(on.hooks), operator, COLD_LIMIT_SECONDS):
        raise SystemExit(
            f"{len(on.watched.programmed)} of {len(on.hooks)} programmed within {COLD_LIMIT_SECONDS:.0f} s"
        )
    figures.cold_start_seconds = max(on.watched.programmed.values()) - began
    figures.cold_start_cpu_seconds = operator.cpu_seconds()
    figures.cold_start_writes = writes(on.requests(mark)).total()
    say(f"cold start: {figures.cold_start_seconds:.1f} s")


async def idle(on: Stage, operator: OperatorProcess, figures: Figures, seconds: float) -> None:
    """While nobody changes anything."""
    # The counts in the Dispatcher's status follow ten seconds after the last write of the book.
    await asyncio.sleep(15)
    say(f"idle for {seconds:.0f} s")
    mark, cpu = on.plane.audit_mark(), operator.cpu_seconds()
    await asyncio.sleep(seconds)
    requests = on.requests(mark)
    figures.idle_seconds = seconds
    figures.idle_cpu_percent = 100 * (operator.cpu_seconds() - cpu) / seconds
    figures.idle_writes = writes(requests).total()
    figures.idle_lease_writes = sum(n for (verb, kind), n in requests.items() if verb in WRITING and kind == "leases")
    figures.idle_reads_per_minute = sum(n for (verb, _), n in requests.items() if verb not in WRITING) * 60 / seconds
    operator.check()


async def changes(on: Stage, operator: OperatorProcess, figures: Figures, rate: float, seconds: float) -> None:
    """Changes of URLs at a steady rate, whatever becomes of those before."""
    count = int(rate * seconds)
    say(f"{count} changes at {rate:g}/s")
    order = random.Random(1).sample(on.hooks, len(on.hooks))
    mark, cpu, began = on.plane.audit_mark(), operator.cpu_seconds(), time.monotonic()
    written_bytes = on.book.written_bytes
    tasks: list[asyncio.Task[_Change]] = []
    for number in range(count):
        await asyncio.sleep(began + number / rate - time.monotonic())
        hook = order[number % len(order)]
        tasks.append(asyncio.create_task(_change(on, hook, hook.url(number + 1))))
    made = [await task for task in tasks]

    def done() -> bool:
        return not on.watched.missing and all(each.key in on.watched.programmed for each in made)

    if not await on.until(done, operator, TAIL_LIMIT_SECONDS):
        raise SystemExit(f"{on.watched.missing} changes were not written within {TAIL_LIMIT_SECONDS:.0f} s")
    lasted = time.monotonic() - began
    requests = writes(on.requests(mark))
    figures.changes = count
    figures.writes_by_kind = {kind: round(n / count, 2) for kind, n in sorted(requests.items())}
    figures.writes_per_change = requests.total() / count
    figures.kilobytes_per_change = (on.book.written_bytes - written_bytes) / count / 1e3
    spent = operator.cpu_seconds() - cpu - figures.idle_cpu_percent / 100 * lasted
    figures.cpu_milliseconds_per_change = 1e3 * spent / count
    figures.written_p50_seconds, figures.written_p99_seconds = quantiles(
        [on.watched.written[each.url] - each.began for each in made]
    )
    figures.programmed_p50_seconds, figures.programmed_p99_seconds = quantiles(
        [on.watched.programmed[each.key] - each.began for each in made]
    )


@dataclass(frozen=True)
class _Change:
    url: str
    key: tuple[str, int]
    began: float


async def _change(on: Stage, hook: Hook, url: str) -> _Change:
    on.watched.expect(hook, url)
    began = time.monotonic()
    answer = await on.api.call("PATCH", hook.path, {"spec": {"url": url}})
    return _Change(url, (hook.uid, answer["metadata"]["generation"]), began)


async def restart(on: Stage, kubeconfig: Path, figures: Figures) -> None:
    """A new process over the same cluster: until it has looked at everything, and what it wrote."""
    say("restart")
    began, mark = time.monotonic(), on.plane.audit_mark()
    operator = OperatorProcess(on.folder, kubeconfig)
    try:
        if not await on.until(operator.is_settled, operator, COLD_LIMIT_SECONDS):
            raise SystemExit(f"the restarted operator did not settle within {COLD_LIMIT_SECONDS:.0f} s")
        figures.restart_seconds = time.monotonic() - began
        # The first comparison with the cluster follows two seconds after the watches began.
        await asyncio.sleep(10)
        figures.restart_writes = writes(on.requests(mark)).total()
    finally:
        operator.stop()


def say(text: str) -> None:
    print(f"  {time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def _progress(what: str, done: int, of: int) -> None:
    if done == of or done % 1000 == 0:
        say(f"{what}: {done} of {of}")


async def run(given: argparse.Namespace) -> list[Figures]:
    found = []
    with tempfile.TemporaryDirectory(prefix="hookline-bench-") as folder:
        for count in given.webhooks:
            say(f"{count} Webhooks")
            found.append(await measure(count, Path(folder) / str(count), given))
            if given.keep_log:
                (Path(folder) / str(count) / "operator.log").rename(given.keep_log / f"operator-{count}.log")
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--webhooks", type=int, nargs="+", default=[100, 1000, 10000], help="sizes")
    options.add_argument("--rate", type=float, default=20.0, help="changes a second (default 20)")
    options.add_argument("--change-seconds", type=float, default=60.0, help="how long (default 60)")
    options.add_argument("--idle-seconds", type=float, default=125.0, help="one resync is in 120 s (default 125)")
    options.add_argument("--json", type=Path, help="write all figures to this file")
    options.add_argument("--plot", type=Path, help="write the plot (SVG) to this file")
    options.add_argument("--keep-log", type=Path, help="keep the operator's logs in this folder")
    given = options.parse_args()
    if platform.system() != "Linux":
        raise SystemExit("this benchmark reads CPU and memory from /proc; run it on Linux")
    if problem := assets.unavailable():
        raise SystemExit(problem)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    figures = uvloop.run(run(given))
    print(table(figures))
    if given.json:
        facts: Any = {"cpus": os.cpu_count(), "python": platform.python_version(), "rate": given.rate}
        given.json.write_text(json.dumps({**facts, "sizes": [asdict(each) for each in figures]}, indent=1) + "\n")
    if given.plot:
        given.plot.write_text(svg(figures))
    if problems := missed(figures):
        raise SystemExit("\n".join(problems))


if __name__ == "__main__":
    main()
