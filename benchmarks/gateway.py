"""(j) What a gateway takes: validated events per second and core, with the queue behind it and without; its latency,
what one tenant feels of another, memory of idle connections, and the cost of one check.

Without the queue each event counts as stored at once. Beside it, in turns on the same core, an empty page answers the
same requests on the same server: what is between the two is the gateway's own.

On few cores a tenant at full speed costs another one CPU and disk whatever the gateway does. The control shows how
much: the same load at a gateway and a nats-server of its own, on the same machine. What is more is of sharing one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import trustme
from benchmarks.burst import Bursts, Plan
from benchmarks.engines import PRESENT
from benchmarks.figures import Figure, in_turns, quantile, ratio_of_rounds
from benchmarks.gateway_process import EMPTY, ONE, OTHER, PLAYED, TOKENS, Server
from benchmarks.http_load import Answered, Client, Load
from benchmarks.load import new_run
from benchmarks.processes import apart, cpu_seconds, resident_megabytes
from benchmarks.setting import Setting
from benchmarks.stage import OneServer, Stage, producer, say
from jsonschema.validators import validator_for

from hookline.events import strictjson
from hookline.events.schemas import Catalogue
from hookline.gateway.catalogue_pages import sample_file
from hookline.stream.streams import Retention, ensure

TYPE = "IdentityCreated"
BODY_BYTES = 1024
AT_ONCE = 32
MOST_OF_ONE = 256
"""Requests that one tenant may have under way (gateway/limits)."""
OF_EMPTY, PER_CORE, OF_QUEUE, BESIDE = 0.5, 5000, 0.9, 1.5
OTHERS_SHARE = 0.1
"""Of what the gateway takes: the rate of the tenant that is looked at."""
PLENTY = 1_000_000
WARM_UP_SECONDS = 0.5
SETTLE_SECONDS = 1.0
CHECK_SECONDS = 0.5
MOST_WITH_TLS = 2_000
CLIENTS = 2
"""Processes that hold idle connections, each with an address of its own: ports and files are limited."""


async def measure(setting: Setting) -> list[Figure]:
    body = event_body()
    return [
        *await _without_queue(setting, body),
        *await _with_queue(setting, body),
        *await _memory(setting, body),
        *_checks(body),
    ]


def event_body() -> bytes:
    """The sample of TYPE, made BODY_BYTES long."""
    value = json.loads(sample_file(Catalogue(), TYPE)[1])
    encoded = _encoded(value)
    value["DepartmentName"] += "x" * (BODY_BYTES - len(encoded))
    return _encoded(value)


def _encoded(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _load(port: int, body: bytes, seconds: float, *, tenant: str = ONE, connections: int = AT_ONCE) -> Load:
    head = (
        f"POST /v1/events/{TYPE} HTTP/1.1\r\nHost: localhost:{port}\r\nAuthorization: Bearer {TOKENS[tenant]}\r\n"
        "Content-Type: application/json\r\nIdempotency-Key: "
    )
    return Load(port, head.encode(), body, new_run(), connections, seconds)


async def _without_queue(setting: Setting, body: bytes) -> list[Figure]:
    empty: list[float] = []
    gateway: list[float] = []
    async with AsyncExitStack() as stack:
        client = stack.enter_context(Client())
        servers = [await stack.enter_async_context(Server(kind)) for kind in (EMPTY, PLAYED)]
        for each in servers:
            await client.send(_load(each.port, body, WARM_UP_SECONDS))
            stack.enter_context(apart(each.pid, [client.pid]))
        for round_ in range(setting.sizes.rounds):
            for server, found in in_turns(list(zip(servers, (empty, gateway), strict=True)), round_):
                before = cpu_seconds(server.pid)
                load = replace(_load(server.port, body, setting.sizes.gateway_seconds), awake=True)
                answered = (await client.send(load)).only(202)
                found.append(answered.count / (cpu_seconds(server.pid) - before))
            say(f"j: per second and core: {empty[-1]:.0f} of an empty page, {gateway[-1]:.0f} events")
    return [
        Figure("j.empty", "an empty page on the same server", statistics.median(empty), "/s and core"),
        Figure(
            "j.core",
            "events without the queue in the way",
            statistics.median(gateway),
            "/s and core",
            at_least=PER_CORE,
        ),
        Figure("j.ratio", "  of the empty page", ratio_of_rounds(gateway, empty), "x", at_least=OF_EMPTY),
    ]


async def _with_queue(setting: Setting, body: bytes) -> list[Figure]:
    async with AsyncExitStack() as stack:
        on, server = await stack.enter_async_context(_installation(setting, "gateway"))
        client, other = stack.enter_context(Client()), stack.enter_context(Client())
        bursts = stack.enter_context(Bursts())
        rate, figures = await _of_queue(setting, body, on, server, [client, other], bursts)
        latency = await _latency(setting, body, rate / 2, server, client)
        _, own = await stack.enter_async_context(_installation(setting, "gateway-apart"))
        return [*figures, *latency, *await _beside(setting, body, rate * OTHERS_SHARE, server, own, client, other)]


@contextlib.asynccontextmanager
async def _installation(setting: Setting, name: str) -> AsyncIterator[tuple[Stage, Server]]:
    """A nats-server with its streams, and a gateway before it."""
    data = setting.folder / name
    data.mkdir(parents=True)
    nats = OneServer(data, sync_interval=setting.sync_interval)
    try:
        async with producer(await nats.start()) as by:
            await ensure(by.client, Retention())
            async with Server(nats.url) as server:
                yield Stage(by.client, by.publisher, PRESENT, data, setting.receiver, nats), server
    finally:
        await nats.stop()


async def _of_queue(
    setting: Setting, body: bytes, on: Stage, server: Server, clients: Sequence[Client], bursts: Bursts
) -> tuple[float, list[Figure]]:
    """How many events a second the gateway takes, and what there is to tell of it.

    From two tenants: one may not have as many under way as whoever publishes straight into the queue.
    """
    seconds = setting.sizes.gateway_seconds
    alone: list[float] = []
    through: list[float] = []

    async def from_both(for_seconds: float) -> float:
        loads = [_load(server.port, body, for_seconds, tenant=each, connections=MOST_OF_ONE) for each in (ONE, OTHER)]
        answered = await asyncio.gather(*(each.send(load) for each, load in zip(clients, loads, strict=True)))
        return sum(each.only(202).count / each.seconds for each in answered)

    await from_both(WARM_UP_SECONDS)

    async def straight() -> float:
        await bursts.ready(on, Plan([TYPE], new_run(), seconds, PLENTY, body_bytes=BODY_BYTES))
        began_s = time.monotonic()
        bursts.begin()
        confirmed = await bursts.confirmed()
        return confirmed / (time.monotonic() - began_s)

    ways: list[tuple[Callable[[], Awaitable[float]], list[float]]] = [
        (straight, alone),
        (partial(from_both, seconds), through),
    ]
    for round_ in range(setting.sizes.rounds):
        for way, found in in_turns(ways, round_):
            found.append(await way())
        say(f"j: {alone[-1]:.0f} events a second straight into the queue, {through[-1]:.0f} by the gateway")
    rate = statistics.median(through)
    return rate, [
        Figure("j.queue.alone", "straight into the queue, as publish --lines", statistics.median(alone), "/s"),
        Figure("j.queue.rate", "by the gateway into the queue", rate, "/s"),
        Figure("j.queue.ratio", "  of straight", ratio_of_rounds(through, alone), "x", at_least=OF_QUEUE),
    ]


async def _latency(setting: Setting, body: bytes, rate: float, server: Server, client: Client) -> list[Figure]:
    say(f"j: {rate:.0f} events a second")
    load = _load(server.port, body, setting.sizes.window_seconds, connections=MOST_OF_ONE)
    took = (await client.send(replace(load, per_second=rate))).only(202).took_seconds
    return [
        Figure(f"j.half.{name}", f"at half of that, {rate:.0f}/s: {name}", quantile(took, share) * 1000, "ms")
        for name, share in (("p50", 0.5), ("p99", 0.99))
    ]


async def _beside(
    setting: Setting, body: bytes, rate: float, server: Server, own: Server, client: Client, other: Client
) -> list[Figure]:
    """Of a tenant, without another one, with one beside it that sends as much as it may, and with one that does so at
    a gateway of its `own`."""
    seconds = setting.sizes.gateway_seconds
    ways: dict[str, tuple[Server | None, list[float]]] = {
        "without": (None, []),
        "beside": (server, []),
        "apart": (own, []),
    }

    async def full_speed(at: Server) -> Answered:
        return await client.send(_load(at.port, body, seconds + 2, connections=MOST_OF_ONE))

    for round_ in range(setting.sizes.p99_rounds):
        for at, found in in_turns(list(ways.values()), round_):
            full = asyncio.create_task(full_speed(at)) if at is not None else None
            await asyncio.sleep(1)
            load = _load(server.port, body, seconds, tenant=OTHER, connections=MOST_OF_ONE)
            answered = (await other.send(replace(load, per_second=rate))).only(202)
            found.append(quantile(answered.took_seconds, 0.99) * 1000)
            if full is not None:
                (await full).only(202)
        last = ", ".join(f"{found[-1]:.1f} ms {way}" for way, (_, found) in ways.items())
        say(f"j: p99 of a tenant with another at full speed: {last}")
    without, beside, apart_ = (found for _, found in ways.values())
    return [
        Figure(
            "j.beside",
            f"{rate:.0f}/s of a tenant beside one at full speed: p99, as a ratio to without",
            ratio_of_rounds(beside, without),
            "x",
            at_most=BESIDE,
        ),
        Figure("j.beside.apart", "  as a ratio to the same load apart", ratio_of_rounds(beside, apart_), "x"),
        *(
            Figure(f"j.beside.{way}.p99", f"  p99 {way} (median round)", statistics.median(found), "ms")
            for way, (_, found) in ways.items()
        ),
    ]


async def _memory(setting: Setting, body: bytes) -> list[Figure]:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    found = []
    with tempfile.TemporaryDirectory(dir=setting.folder) as folder:
        key, chain = Path(folder) / "key", Path(folder) / "chain"
        certificate.private_key_pem.write_to_path(str(key))
        for part in certificate.cert_chain_pems:
            part.write_to_path(str(chain), append=True)
        for how, tls in (("plain", None), ("TLS", (str(chain), str(key)))):
            # A handshake takes milliseconds on both sides, and memory for each is the same.
            count = min(setting.sizes.connections, MOST_WITH_TLS) if tls else setting.sizes.connections
            say(f"j: {count:,} connections, {how}")
            ca = authority.cert_pem.bytes().decode() if tls else None
            async with Server(PLAYED, tls) as server:
                grown = await _grown_bytes(server, replace(_load(server.port, body, 0), ca=ca), count)
            found.append(
                Figure(f"j.memory.{how}", f"memory of an idle connection, {how}, of {count:,}", grown / 1024, "KiB")
            )
    return found


async def _grown_bytes(server: Server, load: Load, count: int) -> float:
    """Memory for each of `count` connections that were answered once and are idle."""
    with ExitStack() as stack:
        first, *others = (stack.enter_context(Client()) for _ in range(CLIENTS + 1))
        await first.send(replace(load, connections=AT_ONCE, seconds=WARM_UP_SECONDS))
        before = resident_megabytes(server.pid)
        loads = [
            replace(load, connections=count // CLIENTS, run=new_run(), local_address=f"127.0.0.{number}")
            for number in range(2, CLIENTS + 2)
        ]
        for answered in await asyncio.gather(*(each.send(load) for each, load in zip(others, loads, strict=True))):
            answered.only(202)
        await asyncio.sleep(SETTLE_SECONDS)
        return (resident_megabytes(server.pid) - before) * 1e6 / (count // CLIENTS * CLIENTS)


def _checks(body: bytes) -> list[Figure]:
    """Of a body that is right. The first is all that a gateway does with it, the others begin with its value."""
    catalogue = Catalogue()
    schema = dict(catalogue.get(TYPE).schema)
    value, _ = strictjson.read(body)
    reference = validator_for(schema)(schema)
    found = [
        ("ours", "one check of a body of 1 KiB: reading and checking", lambda: not catalogue.check(TYPE, body)),
        ("read", "  reading alone", lambda: not strictjson.read(body)[1]),
        ("reference", "  checking alone, by the reference (jsonschema)", lambda: reference.is_valid(value)),
    ]
    compiled = _compiled(schema)
    if compiled is not None:
        found.append(("compiled", "  checking alone, by jsonschema-rs", lambda: compiled.is_valid(value)))
    return [Figure(f"j.check.{key}", title, _cost_us(check), "us") for key, title, check in found]


def _compiled(schema: dict[str, Any]) -> Any:
    """Of jsonschema-rs, if it is there: what Hookline needs does not have it."""
    try:
        import jsonschema_rs
    except ImportError:
        return None
    return jsonschema_rs.validator_for(schema)


def _cost_us(check: Callable[[], bool]) -> float:
    """CPU of one call, in the best of five parts of CHECK_SECONDS."""
    assert check()
    best = float("inf")
    for _ in range(5):
        calls, began = 0, cpu_seconds(os.getpid())
        while (spent := cpu_seconds(os.getpid()) - began) < CHECK_SECONDS / 5:
            for _ in range(50):
                check()
            calls += 50
        best = min(best, spent / calls)
    return best * 1e6
