"""(b) From the moment an event should be published to the receiver's hearing of it, at half and at 80 % of the maximum.

Arrivals are random and fixed beforehand (open loop); load says why.
"""

from __future__ import annotations

from benchmarks.figures import Figure, quantile
from benchmarks.load import Steady, steady
from benchmarks.setting import Setting
from benchmarks.stage import healthy, say, stage
from benchmarks.throughput import maximum

WEBHOOKS = 100
SHARES = (0.5, 0.8)
QUANTILES = ((0.5, "p50"), (0.99, "p99"), (0.999, "p99.9"))
P99_MS = 50.0


async def measure(setting: Setting) -> list[Figure]:
    rate = await maximum(setting)
    entries = healthy(setting.receiver, WEBHOOKS)
    names = [route.name for route, _ in entries]
    found: list[Figure] = []
    async with stage(setting.folder / "latency", setting.receiver, entries, sync_interval=setting.sync_interval) as on:
        for share in SHARES:
            say(f"b: {rate * share:.0f} events a second for {setting.sizes.latency_seconds:.0f} s")
            at = await steady(on, names, rate * share, setting.sizes.latency_seconds)
            found += _figures(share, rate * share, at)
            if at.missing:
                setting.remarks.append(f"b: at {share:.0%} of the maximum {at.missing} events did not come in time.")
    return found


def _figures(share: float, rate: float, at: Steady) -> list[Figure]:
    title = f"at {share:.0%} of the maximum, {rate:.0f}/s"
    return [
        Figure(
            f"b.{share:.0%}.{name}",
            f"{title}: {name}",
            quantile(at.seconds, part) * 1000,
            "ms",
            at_most=P99_MS if (share, name) == (0.5, "p99") else None,
        )
        for part, name in QUANTILES
    ]
