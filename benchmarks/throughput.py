"""Signed HTTPS deliveries through the whole path, as a ratio to a bare aiohttp client in the same run.

    publish -> EVENTS -> fan-out -> DELIVERIES -> sender -> TLS receiver

One receiver process serves both. CPU is that of the measured client alone: of the bare loop's process, or of the sender
process; the queue's (nats-server) is shown beside it. Everything is on loopback and bounded: --events of 1 KiB, rounds.
A figure means nothing without the ratio: machines differ and are shared.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import multiprocessing
import multiprocessing.connection
import os
import resource
import ssl
import statistics
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import trustme
import uvloop
from aiohttp import web

from hookline.delivery.pod import Pod
from hookline.local import bookfolder
from hookline.local.nats_server import NatsServer
from hookline.routes import DispatcherRecord, Keys, Route, RouteState, book_of
from hookline.signing import parse_key, standard_headers
from hookline.stream import names
from hookline.stream.connection import connect
from hookline.stream.publish import Publisher
from hookline.stream.streams import Retention, ensure
from hookline.telemetry import set_up_logs

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="
BODY = json.dumps({"data": "x" * 1010}).encode()
CONCURRENCY = 64
LIMIT_SECONDS = 120
CONTEXT = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Figures:
    """Of one run: deliveries, wall seconds, CPU seconds of the client and of the queue."""

    deliveries: int
    seconds: float
    cpu_seconds: float
    queue_cpu_seconds: float = 0.0

    @property
    def per_second(self) -> float:
        return self.deliveries / self.seconds

    @property
    def per_core(self) -> float:
        """Deliveries per second of the client's CPU."""
        return self.deliveries / self.cpu_seconds


def receiver(pipe: multiprocessing.connection.Connection) -> None:
    """A TLS receiver that counts: sends its URL and CA, then answers each question with its count."""
    ca = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    count = 0

    async def take(request: web.Request) -> web.Response:
        nonlocal count
        await request.read()
        count += 1
        return web.Response()

    async def serve() -> None:
        app = web.Application()
        app.router.add_post("/{path:.*}", take)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        pipe.send((runner.addresses[0][1], ca.cert_pem.bytes().decode()))
        while True:
            await asyncio.sleep(0.01)
            if pipe.poll():
                if pipe.recv() == "end":
                    return
                pipe.send(count)

    uvloop.run(serve())


def bare(pipe: multiprocessing.connection.Connection, port: int, ca: str, total: int) -> None:
    """The bare client: the same signed calls by aiohttp alone."""

    async def run() -> Figures:
        context = ssl.create_default_context(cadata=ca)
        key = parse_key(SECRET.encode())
        left = iter(range(total))
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def worker() -> None:
                for _ in left:
                    signed = standard_headers(
                        message_id=f"evt_{uuid.uuid4().hex}", timestamp_s=int(time.time()), body=BODY, keys=[key]
                    )
                    headers = {"content-type": "application/json", **signed}
                    async with session.post(
                        f"https://127.0.0.1:{port}/bare", data=BODY, headers=headers, ssl=context
                    ) as answer:
                        await answer.read()

            started, cpu = time.perf_counter(), _cpu_seconds()
            await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))
            return Figures(total, time.perf_counter() - started, _cpu_seconds() - cpu)

    pipe.send(uvloop.run(run()))


def sender(pipe: multiprocessing.connection.Connection, folder: Path, url: str) -> None:
    """Hookline's sender process: says when it is ready, then its CPU time whenever asked."""

    set_up_logs(level=logging.WARNING)

    async def run() -> None:
        stop = asyncio.Event()
        pod = Pod(folder, url)
        running = asyncio.create_task(pod.run(stop))
        await pod.ready.wait()
        pipe.send("ready")
        while not stop.is_set():
            await asyncio.sleep(0.01)
            if pipe.poll():
                if pipe.recv() == "end":
                    stop.set()
                else:
                    pipe.send(_cpu_seconds())
        await running

    uvloop.run(run())


async def hookline(
    data: Path,
    port: int,
    ca: str,
    counting: multiprocessing.connection.Connection,
    *,
    events: int,
    webhooks: int,
    sync_interval: str,
) -> Figures:
    """Publish, and wait until the receiver has everything."""
    data.mkdir()
    entries = [_webhook(number, port, ca) for number in range(webhooks)]
    bookfolder.write(book_of(entries, DispatcherRecord(allow_cidrs=("127.0.0.0/8",))), data / "book")
    server = NatsServer(data, sync_interval=sync_interval)
    url = await server.start()
    client = await connect(url, name="bench")
    await ensure(client, Retention())
    mine, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=sender, args=(theirs, data / "book", url), daemon=True)
    process.start()
    try:
        await asyncio.to_thread(mine.recv)
        before = _ask(counting)
        cpu, queue_cpu = _ask(mine), _cpu_of(server)
        started = time.perf_counter()
        await _publish(Publisher(client), events, webhooks)
        while _ask(counting) - before < events:
            if time.perf_counter() - started > LIMIT_SECONDS:
                raise SystemExit(f"only {_ask(counting) - before} of {events} arrived within {LIMIT_SECONDS} s")
            await asyncio.sleep(0.02)
        return Figures(events, time.perf_counter() - started, _ask(mine) - cpu, _cpu_of(server) - queue_cpu)
    finally:
        mine.send("end")
        await asyncio.to_thread(process.join, 20)
        await client.close()
        await server.stop()


def _webhook(number: int, port: int, ca: str) -> tuple[Route, Keys]:
    uid = str(uuid.uuid5(uuid.NAMESPACE_URL, str(number)))
    route = Route(
        uid=uid,
        namespace="default",
        name=f"hook-{number}",
        generation=1,
        state=RouteState.ACTIVE,
        event=f"Event{number}",
        url=f"https://127.0.0.1:{port}/{number}",
        timeout_seconds=30,
        schedule_seconds=(5,),
        max_concurrency=CONCURRENCY,
    )
    return route, Keys(uid=uid, signing=SECRET, ca_pem=ca)


async def _publish(publisher: Publisher, events: int, webhooks: int) -> None:
    gate = asyncio.Semaphore(500)

    async def one(number: int) -> None:
        async with gate:
            event_id = f"evt_{number}"
            subject = names.event_subject("default", f"Event{number % webhooks}")
            await publisher.store(subject, BODY, {"Hookline-Event-Id": event_id}, once=event_id)

    await asyncio.gather(*(one(number) for number in range(events)))


def _ask(pipe: multiprocessing.connection.Connection) -> float:
    pipe.send("count")
    answer: float = pipe.recv()
    return answer


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _cpu_of(server: NatsServer) -> float:
    """CPU seconds of nats-server, from /proc where there is one."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{server.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _print(name: str, figures: Figures, base: Figures | None = None) -> None:
    ratio = f"{figures.per_core / base.per_core:6.2f} of bare" if base else ""
    print(
        f"{name:<44}{figures.per_second:8.0f}/s {figures.per_core:8.0f}/s and core  {ratio}"
        f"  (queue: {figures.queue_cpu_seconds / figures.deliveries * 1e6:.0f} us CPU each)"
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--events", type=int, default=5000, help="deliveries in each measurement (default 5000)")
    options.add_argument("--rounds", type=int, default=3, help="how often all is measured (default 3)")
    options.add_argument("--sync-interval", default="always", help="fsync of the queue (default always, as `run`)")
    given = options.parse_args()
    counting, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=receiver, args=(theirs,), daemon=True)
    process.start()
    port, ca = counting.recv()
    ratios: list[float] = []
    try:
        with tempfile.TemporaryDirectory(prefix="hookline-bench-") as folder:
            for round_ in range(1, given.rounds + 1):
                print(f"round {round_} of {given.rounds}, {given.events} calls of {len(BODY)} B each", flush=True)
                mine, child = CONTEXT.Pipe()
                client = CONTEXT.Process(target=bare, args=(child, port, ca, given.events), daemon=True)
                client.start()
                base = mine.recv()
                client.join()
                _print("bare aiohttp", base)
                for webhooks in (1, 1000):
                    data = Path(folder) / f"{round_}-{webhooks}"
                    figures = uvloop.run(
                        hookline(
                            data,
                            port,
                            ca,
                            counting,
                            events=given.events,
                            webhooks=webhooks,
                            sync_interval=given.sync_interval,
                        )
                    )
                    _print(f"hookline, {webhooks} Webhooks, sync {given.sync_interval}", figures, base)
                    ratios.append(figures.per_core / base.per_core)
    finally:
        counting.send("end")
        process.join(10)
    print(f"median ratio {statistics.median(ratios):.2f}, from {min(ratios):.2f} to {max(ratios):.2f}")


if __name__ == "__main__":
    main()
