"""(f) Memory of a sender for 1,000 Webhooks in its book, and for 1,000 lanes that have delivered and are idle again."""

from __future__ import annotations

import asyncio

from benchmarks.figures import Figure
from benchmarks.load import flood
from benchmarks.processes import resident_megabytes
from benchmarks.setting import Setting
from benchmarks.stage import healthy, say, stage

SETTLE_SECONDS = 3.0
WARM_UP = 2000


async def measure(setting: Setting) -> list[Figure]:
    webhooks, lanes = setting.sizes.webhooks, setting.sizes.lanes
    entries = healthy(setting.receiver, webhooks)
    names = [route.name for route, _ in entries]
    async with stage(
        setting.folder / "memory", setting.receiver, entries[:1], sync_interval=setting.sync_interval
    ) as on:
        small = resident_megabytes(on.senders[0].pid)
        await on.end_sender(on.senders[0])
        on.write_book(entries)
        say(f"f: a book of {webhooks:,}")
        sender = await on.add_sender()
        book = resident_megabytes(sender.pid)
        # What grows once, such as buffers and connections, grows before.
        await flood(on, names[:1], WARM_UP)
        await asyncio.sleep(SETTLE_SECONDS)
        before = resident_megabytes(sender.pid)
        say(f"f: {lanes:,} lanes")
        await flood(on, names[:lanes], lanes)
        await asyncio.sleep(SETTLE_SECONDS)
        after = resident_megabytes(sender.pid)
    return [
        Figure("f.base", "memory of a sender with 1 Webhook", small, "MB"),
        Figure("f.book", "more for 1,000 Webhooks in the book", (book - small) / (webhooks - 1) * 1000, "MB"),
        Figure("f.lanes", "more for 1,000 idle lanes", (after - before) / lanes * 1000, "MB"),
    ]
