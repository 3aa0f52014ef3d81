"""Which part of a process a sample of its stack counts for, and what share each part has. Pure.

A frame is `function (folder/file)`. A file of ours, or of nats-server, that no part names counts for a part of its own:
a new or renamed file is seen there, and does not swell the part of whoever called it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

Stack = tuple[str, ...]
"""Outermost function first."""

Parts = Mapping[str, tuple[str, ...]]
"""What makes a frame belong to a part; the first that fits counts. The last part also has what fits none."""


def _delivery(*names: str) -> tuple[str, ...]:
    return tuple(f"hookline/delivery/{name}.py" for name in names)


def _runtime(*names: str) -> tuple[str, ...]:
    return tuple(f"hookline/runtime/{name}.py" for name in names)


SENDER: Parts = {
    "the attempts log": (
        "hookline/stream/attempt_record.py",
        "hookline/stream/attempts_log.py",
        "hookline/delivery/http/answer_headers.py",
        "hookline/delivery/http/redaction.py",
        *_delivery("attempts_log", "recorder"),
    ),
    "HTTP and TLS": ("aiohttp/", "ssl.py", "hookline/delivery/http/"),
    "messages of NATS": ("nats/", "hookline/stream/"),
    "the log of calls": ("structlog/", *_runtime("logs", "log_wording"), "_log_attempt (hookline/cli/run.py)"),
    "metrics": ("prometheus_client/", *_runtime("metrics")),
    "signatures": ("hookline/routing/signing.py", "hmac.py"),
    "lanes, endpoints and shares": ("hookline/delivery/policy/", *_delivery("lane_key", "endpoints", "parking")),
    "events and fan-out": (
        *_delivery("fanout", "open_event", "set_aside", "backlog", "large_events"),
        "hookline/events/",
    ),
    "holding and acks": _delivery("holding", "settlement", "recently_acked", "messages"),
    "a delivery and its call": _delivery("sender", "test_call", "notices"),
    "traces": ("opentelemetry/", *_delivery("traces"), *_runtime("telemetry")),
    "the session and its book": (
        *_delivery("session", "process", "route_book", "book_changes"),
        "hookline/runtime/folders.py",
        "hookline/routing/",
    ),
    "tasks and timers of ours": _runtime("tasks", "background", "tuning", "probes", "private_parts"),
    "files of ours without a part": ("hookline/",),
    "the event loop": ("",),
}
"""Of a sender, below its event loop. What Python's library does counts for whoever called it."""

NATS: Parts = {
    "fsync": ("syscall.Fsync (", "(*File).Sync ("),
    "allocation and Go's collector": ("runtime/mgc", "runtime/malloc.go", "runtime/mwbbuf.go", "runtime/mbarrier.go"),
    "file store": (
        "server/filestore.go",
        "server/memstore.go",
        "server/store.go",
        "server/dios.go",
        "stree/",
        "avl/",
        "highwayhash/",
    ),
    "reads and writes of connections": (
        "(*client).readLoop (",
        "(*client).writeLoop (",
        "(*client).flushOutbound (",
        "(*client).flushClients (",
        "(*client).queueOutbound (",
        "(*client).flushSignal (",
        "nbPool",
        "net.(*conn).",
        "net.(*netFD).",
        "net.(*Buffers).",
    ),
    "parsing": (
        "server/parser.go",
        "(*client).processPub (",
        "(*client).processHeaderPub (",
        "server.getHeader",
        "server.sliceHeader (",
    ),
    "subjects and subscriptions": (
        "server/sublist.go",
        "gsl/",
        "(*client).processInboundMsg (",
        "(*client).processInboundClientMsg (",
        "(*client).processMsgResults (",
        "(*client).deliverMsg (",
    ),
    "JetStream: publishing": ("server/stream.go", "server/jetstream.go"),
    "JetStream: consumers and acks": ("server/consumer.go",),
    "files of nats-server without a part": ("server/",),
    "Go's scheduler": ("runtime/proc.go", "runtime/lock_futex.go", ""),
}
"""Of nats-server. What Go's library does counts for whoever called it, but allocation and waking others do not."""


def part_of(stack: Sequence[str], parts: Parts) -> str:
    """The part that a sample counts for: that of its innermost frame that is of one."""
    for frame in reversed(stack):
        for part, marks in parts.items():
            if any(mark and mark in frame for mark in marks):
                return part
    return list(parts)[-1]


def shares(stacks: Mapping[Stack, int], parts: Parts) -> dict[str, float]:
    """Of all samples, by part, 0 to 1."""
    counted: Counter[str] = Counter()
    for stack, count in stacks.items():
        counted[part_of(stack, parts)] += count
    return {part: counted[part] / max(1, sum(counted.values())) for part in parts}
