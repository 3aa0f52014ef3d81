"""Draws the dashboard's panels from what a real Prometheus had of real processes under load, into docs/dashboard.svg.

By hand: `PYTHONPATH=tests:. .venv/bin/python -m benchmarks.dashboard PROMETHEUS [--operator HOST:PORT]`, with the
program of Debian's package. Two senders, a gateway, and receivers that are well, slow, away for a while, and gone.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import re
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import yaml
from benchmarks import plot
from benchmarks.plot import Lines

from controlplane.ports import free_port
from doubles.command import running
from doubles.gateway import TOKEN
from doubles.local import SECRET, hook, write_book
from hookline.events.builtin_events import event_named, sample_of
from hookline.gateway.callers import OneToken
from hookline.gateway.process import GatewayProcess
from hookline.local.nats_server import NatsServer
from hookline.local.receiver import Answer, ReceivedCall, Receiver
from hookline.routing.routes import RouteState
from hookline.runtime.probes import Probes

ROOT = Path(__file__).parents[1]
MONITORING = ROOT / "manifests" / "monitoring"
TYPES = ("IdentityCreated", "IdentityDeleted", "IdentityUpdated")
SECONDS, PER_SECOND, STEP_SECONDS = 300, 30, 5
RATE = "30s"
AWAY_SECONDS = (90, 150)
LABELS = {"namespace": "hookline-system", "dispatcher": "default"}


def drawn(title: str, unit: str, series: Sequence[tuple[str, Sequence[tuple[float, float]]]]) -> Lines:
    """`series` have their x in seconds since the beginning. Bytes are told in MiB."""
    factor, suffix = (1 / 2**20, " (MiB)") if unit == "bytes" else (1.0, "")
    units = {"s": " (s)", "ops": " (/s)"}
    points = [(name, [(at / SECONDS, y * factor) for at, y in each]) for name, each in series]
    ticks = [(at / SECONDS, f"{at // 60} min") for at in range(0, SECONDS + 1, 60)]
    return Lines(title + units.get(unit, suffix), "", ticks, points, legend=True)


def named(template: str, labels: Mapping[str, str]) -> str:
    """A legend, as Grafana writes it."""
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda found: labels.get(found[1], ""), template)


async def panels(prometheus: httpx.AsyncClient, began_s: float) -> list[Lines]:
    """Of those that have data."""
    found: list[Lines] = []
    for panel in json.loads((MONITORING / "dashboard.json").read_text())["panels"]:
        series: list[tuple[str, list[tuple[float, float]]]] = []
        for target in panel.get("targets", []):
            query = re.sub(r"\$namespace|\$dispatcher", ".*", target["expr"]).replace("$__rate_interval", RATE)
            span = {"start": began_s, "end": began_s + SECONDS, "step": STEP_SECONDS}
            answer = (await prometheus.get("/api/v1/query_range", params={"query": query, **span})).json()
            assert answer["status"] == "success", (panel["title"], answer)
            for each in answer["data"]["result"]:
                points = [(at - began_s, float(y)) for at, y in each["values"] if math.isfinite(float(y))]
                series += [(named(target["legendFormat"], each["metric"]), points)] if len(points) > 1 else []
        if series:
            found.append(drawn(panel["title"], panel["fieldConfig"]["defaults"]["unit"], series))
        elif panel["type"] != "row":
            print(f"no data: {panel['title']}")
    return found


@contextlib.contextmanager
def prometheus_of(program: Path, folder: Path, targets: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """Its address. `targets`: the labels of each address that it reads."""
    scrapes = [{"targets": [address], "labels": dict(labels)} for address, labels in targets.items()]
    config = {
        "global": {"scrape_interval": "2s", "evaluation_interval": "5s"},
        "rule_files": [str(folder / "rules.yaml")],
        "scrape_configs": [{"job_name": "hookline", "static_configs": scrapes}],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    rules = yaml.safe_load((MONITORING / "prometheus-rule.yaml").read_text())["spec"]
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    address = f"127.0.0.1:{free_port()}"
    words = [f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/tsdb"]
    with (folder / "prometheus.log").open("wb") as out:
        process = subprocess.Popen([program, *words, f"--web.listen-address={address}"], stdout=out, stderr=out)
    try:
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(30)


@contextlib.asynccontextmanager
async def gateway(nats_url: str) -> AsyncIterator[tuple[str, str]]:
    """Its URL, and where its metrics are."""
    process = GatewayProcess(nats_url, OneToken(TOKEN, namespace="default", name="test"), host="127.0.0.1", port=0)
    process.metrics.watch_ready(process.unready)
    probes = Probes(live=lambda: None, ready=process.unready, metrics=process.metrics.text)
    stop, port = asyncio.Event(), asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(process.run(stop, on_listening=port.set_result))
    async with probes.serving("127.0.0.1", 0) as health:
        yield f"http://127.0.0.1:{await port}", f"127.0.0.1:{health}"
        stop.set()
        await serving


async def publish(url: str, until_s: float) -> None:
    """More in the middle of each minute than at its ends, and now and then a body that is wrong."""
    bodies = {each: json.dumps(sample_of(event_named(each))).encode() for each in TYPES}
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=20, trust_env=False) as client:
        number = 0
        while time.time() < until_s:
            number += 1
            kind = TYPES[number % len(TYPES)]
            body = b"{}" if number % 50 == 0 else bodies[kind]
            await client.post(f"/v1/events/{kind}", content=body)
            await asyncio.sleep(1 / (PER_SECOND * (1 + math.sin(time.time() / 60 * math.tau) * 0.6)))


def ignore(_: ReceivedCall) -> None:
    pass


def receiver(*answers: Answer, delay_seconds: float = 0) -> Receiver:
    return Receiver(secret=SECRET, on_call=ignore, answers=answers, delay_seconds=delay_seconds, port=free_port())


async def is_away(one: Receiver) -> None:
    """Within AWAY_SECONDS nobody listens there."""
    begins, ends = AWAY_SECONDS
    await asyncio.sleep(begins)
    await one.__aexit__(None, None, None)
    await asyncio.sleep(ends - begins)
    await one.__aenter__()


async def run(program: Path, operator: str | None, folder: Path) -> str:
    (folder / "data").mkdir()
    server = NatsServer(folder / "data")
    await server.start()
    async with contextlib.AsyncExitStack() as stack:
        enter = stack.enter_async_context
        well = await enter(receiver(Answer(200), delay_seconds=0.02))
        slow = await enter(receiver(Answer(200), delay_seconds=0.3))
        away = await enter(receiver(Answer(200)))
        gone = await enter(receiver(Answer(410)))
        write_book(
            folder / "book",
            *(hook(f"well-{number}", well, event=kind) for number, kind in enumerate(TYPES)),
            hook("slow", slow, event=TYPES[0]),
            hook("away", away, event=TYPES[1], schedule_seconds=(5, 10, 20)),
            hook("gone", gone, event=TYPES[2]),
            *(hook(f"many-{number}", well, event=TYPES[0]) for number in range(4)),
            hook("held", well, event=TYPES[2], state=RouteState.HELD),
        )
        targets: dict[str, dict[str, str]] = {}
        for number in (1, 2):
            words = ("sender", "--book", folder / "book", "--nats", server.url, "--listen", "127.0.0.1:0")
            sender = stack.enter_context(running(folder / f"sender-{number}.log", *words))
            pod = {"job": "hookline-sender", "pod": f"sender-{number}"}
            targets[f"127.0.0.1:{await asyncio.to_thread(lambda each: each.port, sender)}"] = {**LABELS, **pod}
        url, health = await enter(gateway(server.url))
        targets[health] = {**LABELS, "job": "hookline-gateway", "pod": "gateway-1"}
        if operator:
            targets[operator] = {"namespace": "hookline-system", "job": "hookline-operator", "pod": "operator-1"}
        address = stack.enter_context(prometheus_of(program, folder, targets))
        client = await enter(httpx.AsyncClient(base_url=address, timeout=20, trust_env=False))
        await asyncio.sleep(10)
        began_s = time.time()
        await asyncio.gather(publish(url, began_s + SECONDS), is_away(away))
        alerts = (await client.get("/api/v1/alerts")).json()["data"]["alerts"]
        print("alerts:", sorted({(each["labels"]["alertname"], each["state"]) for each in alerts}))
        rules: list[Any] = (await client.get("/api/v1/rules")).json()["data"]["groups"]
        print("rules:", {rule["health"] for group in rules for rule in group["rules"]})
        picture = plot.svg(await panels(client, began_s))
    await server.stop()
    return picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prometheus", type=Path)
    parser.add_argument("--operator", help="HOST:PORT of the metrics of an operator that runs")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        picture = asyncio.run(run(words.prometheus, words.operator, Path(folder)))
    (ROOT / "docs" / "dashboard.svg").write_text(picture)


if __name__ == "__main__":
    main()
