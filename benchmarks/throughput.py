"""(a) Signed HTTPS deliveries per second and per core of the sender, as a ratio to a bare aiohttp loop in the same run.

The bare loop makes the same signed calls to the same receiver, 64 at once, in a process of its own. Rounds take turns,
and so do sender and bare loop on a core that nobody else uses, where there are two: what processes on one core cost one
another would be told as the cost of a delivery, more in one round than in the next.
"""

from __future__ import annotations

import asyncio
import multiprocessing.connection
import ssl
import statistics
import time

import aiohttp
import uvloop
from benchmarks.figures import Figure
from benchmarks.load import Cost, flood, new_run
from benchmarks.processes import apart, bind, cpu_seconds
from benchmarks.receiver import CONTEXT, Receiver, event_id
from benchmarks.setting import Setting
from benchmarks.stage import BODY, SECRET, Stage, healthy, say, stage

from hookline.routing.signing import parse_key, standard_headers

WEBHOOKS = 1000
CONCURRENCY = 64
PER_CORE, OF_BARE = 2000, 0.4


async def measure(setting: Setting) -> list[Figure]:
    bare: list[Cost] = []
    one: list[Cost] = []
    many: list[Cost] = []
    entries = healthy(setting.receiver, WEBHOOKS, max_concurrency=CONCURRENCY)
    names = [route.name for route, _ in entries]
    async with stage(
        setting.folder / "throughput", setting.receiver, entries, sync_interval=setting.sync_interval
    ) as on:
        await _warm_up(on, names)
        with apart(on.senders[0].pid, [_own_pid(), on.queue_pid, setting.receiver.pid]) as core:
            for round_ in range(setting.sizes.rounds):
                say(f"a: round {round_ + 1} of {setting.sizes.rounds}, {setting.sizes.flood} deliveries each")
                bare.append(await asyncio.to_thread(_bare, setting.receiver, setting.sizes.flood, core))
                one.append(await flood(on, names[:1], setting.sizes.flood))
                many.append(await flood(on, names, setting.sizes.flood))
                say("a: per second and core: " + ", ".join(f"{of[-1].per_core:.0f}" for of in (bare, one, many)))
    setting.maximum = statistics.median(each.per_second for each in many)
    return [
        Figure("a.bare", "bare aiohttp loop", statistics.median(each.per_core for each in bare), "/s and core"),
        *_figures("1", "1 Webhook", one, bare),
        *_figures("1000", f"{WEBHOOKS:,} Webhooks", many, bare),
    ]


async def maximum(setting: Setting) -> float:
    """Deliveries per second that one sender makes here at most; measured shortly if (a) was left out."""
    if setting.maximum is None:
        entries = healthy(setting.receiver, 100)
        names = [route.name for route, _ in entries]
        async with stage(
            setting.folder / "maximum", setting.receiver, entries, sync_interval=setting.sync_interval
        ) as on:
            await _warm_up(on, names)
            setting.maximum = (await flood(on, names, setting.sizes.flood)).per_second
            say(f"the maximum is {setting.maximum:.0f} a second")
    return setting.maximum


async def _warm_up(on: Stage, names: list[str]) -> None:
    """Connections are open and caches are filled, as in a pod that has run for a minute."""
    await flood(on, names, len(names))


def _figures(key: str, title: str, costs: list[Cost], bare: list[Cost]) -> list[Figure]:
    per_core = statistics.median(each.per_core for each in costs)
    ratio = statistics.median(each.per_core / base.per_core for each, base in zip(costs, bare, strict=True))
    return [
        Figure(f"a.{key}.rate", f"{title}: deliveries", statistics.median(each.per_second for each in costs), "/s"),
        Figure(f"a.{key}.core", f"{title}: per core of the sender", per_core, "/s and core", at_least=PER_CORE),
        Figure(f"a.{key}.ratio", f"{title}: of bare", ratio, "x", at_least=OF_BARE),
        Figure(
            f"a.{key}.queue",
            f"{title}: nats-server's CPU for each",
            statistics.median(each.queue_us for each in costs),
            "us",
        ),
    ]


def _bare(receiver: Receiver, total: int, core: frozenset[int]) -> Cost:
    mine, theirs = CONTEXT.Pipe()
    run = new_run()
    client = CONTEXT.Process(target=_bare_client, args=(theirs, receiver.url("bare/0"), receiver.ca, total, run, core))
    client.start()
    cost = mine.recv()
    client.join()
    receiver.take("bare", run)
    assert isinstance(cost, Cost)
    return cost


def _bare_client(
    pipe: multiprocessing.connection.Connection, url: str, ca: str, total: int, run: str, core: frozenset[int]
) -> None:
    if core:
        bind(_own_pid(), core)

    async def work() -> Cost:
        context = ssl.create_default_context(cadata=ca)
        key = parse_key(SECRET.encode())
        left = iter(range(total))
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def worker() -> None:
                for number in left:
                    id_ = event_id(run, number, time.monotonic_ns())
                    signed = standard_headers(message_id=id_, timestamp_s=int(time.time()), body=BODY, keys=[key])
                    headers = {"content-type": "application/json", **signed}
                    async with session.post(url, data=BODY, headers=headers, ssl=context) as answer:
                        await answer.read()

            began, cpu = time.perf_counter(), cpu_seconds(_own_pid())
            await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))
            return Cost(total, time.perf_counter() - began, cpu_seconds(_own_pid()) - cpu)

    pipe.send(uvloop.run(work()))


def _own_pid() -> int:
    pid = CONTEXT.current_process().pid
    assert pid is not None
    return pid
