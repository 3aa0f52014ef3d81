"""Metrics of each kind of process, in the text form that Prometheus reads. The only module that imports its client.

Decides names, labels and buckets, and says what each means: docs/metrics.md is made of it. No label has a value for
each Webhook, tenant or event: with 10,000 Webhooks, one counter of attempts by reason alone would be 200,000 series in
each pod. Which endpoints fail is in the report, in the condition Delivering and in the logs. Never holds a secret or a
URL.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from itertools import accumulate

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from hookline import __version__

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, which nobody reads

_ATTEMPT_BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0)
"""Up to 30 s, the longest time that a Webhook may allow a call."""

_DELAY_BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 3600.0, 86400.0)
"""Fine where a sender that keeps up lies, some milliseconds. Then the steps at which something waits: the ack wait of a
sender that was killed (15 s), the interval between two probes (up to 5 min), a receiver that was away for hours."""

_STORE_BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Up to 5 s, after which a producer is told to come again."""

ORIGINS = ("event", "shard", "parked")
"""Where a delivery waited for its first attempt."""

_UNITS = ("seconds", "bytes")
"""What the end of a name may say, before the `_total` of a counter."""


@dataclass(frozen=True, slots=True)
class Described:
    """One metric, for people."""

    name: str
    """As it is in the text: that of a counter ends with `_total`."""
    kind: str
    labels: tuple[str, ...]
    meaning: str

    @property
    def unit(self) -> str:
        """Empty of what is only counted."""
        return next((unit for unit in _UNITS if self.name.removesuffix("_total").endswith(f"_{unit}")), "")


class Durations:
    """How long something took, by buckets. For one thread: the client's own histogram takes two locks and goes through
    all buckets below, which is ten times as much (measured)."""

    __slots__ = ("_bounds", "_counts", "_sum_seconds")

    def __init__(self, bounds_seconds: Sequence[float]) -> None:
        self._bounds = bounds_seconds
        self._counts = [0] * (len(bounds_seconds) + 1)
        self._sum_seconds = 0.0

    def observe(self, seconds: float) -> None:
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum_seconds += seconds

    def add_to(self, family: HistogramMetricFamily, labels: Sequence[str]) -> None:
        """As one series of a metric."""
        ends = [*map(str, self._bounds), "+Inf"]
        buckets = list(zip(ends, accumulate(self._counts), strict=True))
        family.add_metric(labels, buckets, self._sum_seconds)


class Counts:
    """How often something happened, by the word of a label. For one thread: the client's own counter takes a lock."""

    __slots__ = ("_counts",)

    def __init__(self, words: Iterable[str]) -> None:
        self._counts = dict.fromkeys(words, 0)

    def add(self, count: int = 1, word: str = "") -> None:
        self._counts[word] = self._counts.get(word, 0) + count

    def add_to(self, family: CounterMetricFamily) -> None:
        """All of them; of a metric without labels the only one."""
        for word, count in self._counts.items():
            family.add_metric([word] if word else [], count)


class _Collected(Collector):
    """What is put together when somebody reads it."""

    def __init__(self, collect: Callable[[], Metric], registry: CollectorRegistry) -> None:
        self._collect = collect
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        yield self._collect()


def _nothing() -> dict[str, float]:
    return {}


class _ByLabel:
    """A gauge whose label has the values that there are at the moment."""

    def __init__(self, name: str, help_: str, label: str, registry: CollectorRegistry) -> None:
        self.values: Callable[[], Mapping[str, float]] = _nothing
        self._name, self._help, self._label = name, help_, label
        _Collected(self._family, registry)

    def _family(self) -> Metric:
        family = GaugeMetricFamily(self._name, self._help, labels=[self._label])
        for value, number in self.values().items():
            family.add_metric([value], number)
        return family


class Metrics:
    """What every process says of itself. A registry of its own: nothing that a library counts gets in.

    `help_` is what Prometheus is told; `more` stands behind it in docs/metrics.md.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.described: list[Described] = []
        """In the order of docs/metrics.md."""
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        Info("hookline_build", "Version that runs.", registry=self.registry).info({"version": __version__})
        self._describe("hookline_build_info", "gauge", ("version",), "Version that runs; always 1.")
        self._ready = self._gauge(
            "hookline_ready",
            "1 while this process is ready, as /readyz says.",
            more="An operator that stands by is ready.",
        )
        self._lost_lines = self._gauge(
            "hookline_log_lines_lost",
            "Log lines that could not be written since the start.",
            more="A full disk, or a pipe that nobody reads.",
        )

    def watch_ready(self, unready: Callable[[], str | None]) -> None:
        """Ask why it is not ready, None if it is, whenever somebody reads the metrics."""
        self._ready.set_function(lambda: unready() is None)

    def watch_log(self, lost_lines: Callable[[], int]) -> None:
        """Ask this whenever somebody reads the metrics."""
        self._lost_lines.set_function(lost_lines)

    def text(self) -> bytes:
        """All of it, as /metrics gives it."""
        return generate_latest(self.registry)

    def _counter(self, name: str, help_: str, *labels: str, more: str = "") -> Counter:
        self._describe(f"{name}_total", "counter", labels, help_, more)
        return Counter(name, help_, labels, registry=self.registry)

    def _counts(
        self, name: str, help_: str, label: str = "", words: Iterable[str] = ("",), *, more: str = ""
    ) -> Counts:
        """For what happens with each delivery."""
        labels = (label,) if label else ()
        counts = Counts(words)
        self._describe(f"{name}_total", "counter", labels, help_, more)

        def family() -> Metric:
            made = CounterMetricFamily(name, help_, labels=labels)
            counts.add_to(made)
            return made

        _Collected(family, self.registry)
        return counts

    def _gauge(self, name: str, help_: str, *labels: str, more: str = "") -> Gauge:
        self._describe(name, "gauge", labels, help_, more)
        return Gauge(name, help_, labels, registry=self.registry)

    def _gauge_by(self, name: str, help_: str, label: str, *, more: str = "") -> _ByLabel:
        self._describe(name, "gauge", (label,), help_, more)
        return _ByLabel(name, help_, label, self.registry)

    def _durations(self, name: str, help_: str, bounds_seconds: Sequence[float], *, more: str = "") -> Durations:
        return self._durations_by(name, help_, bounds_seconds, "", ("",), more=more)[""]

    def _durations_by(
        self,
        name: str,
        help_: str,
        bounds_seconds: Sequence[float],
        label: str,
        words: Iterable[str],
        *,
        more: str = "",
    ) -> Mapping[str, Durations]:
        labels = (label,) if label else ()
        found = {word: Durations(bounds_seconds) for word in words}
        self._describe(name, "histogram", labels, help_, more)

        def family() -> Metric:
            made = HistogramMetricFamily(name, help_, labels=labels)
            for word, durations in found.items():
                durations.add_to(made, [word] if label else [])
            return made

        _Collected(family, self.registry)
        return found

    def _describe(self, name: str, kind: str, labels: tuple[str, ...], help_: str, more: str = "") -> None:
        self.described.append(Described(name, kind, labels, f"{help_} {more}".rstrip()))


def table(metrics: Sequence[Described]) -> str:
    """Metrics as a table in Markdown."""
    rows = [
        f"| `{each.name}` | {each.kind} | {', '.join(map('`{}`'.format, each.labels))} | {each.unit} | {each.meaning} |"
        for each in metrics
    ]
    return "\n".join(["| metric | type | labels | unit | meaning |", "| --- | --- | --- | --- | --- |", *rows])


def tables() -> list[str]:
    """Of docs/metrics.md: what all processes have, then what each kind has besides."""
    common = Metrics().described
    kinds: tuple[type[Metrics], ...] = (SenderMetrics, GatewayMetrics, ApiMetrics, OperatorMetrics)
    return [table(common), *(table(kind().described[len(common) :]) for kind in kinds)]


_STREAMS = "`events`, `deliveries`, `parked`, `backlog`, `dead` (dead letters) and `attempts` (the log of attempts)"


class SenderMetrics(Metrics):
    """Of a sender process.

    The arguments are the words that a label may take. They begin at 0, so that the first dead letter is an increase.
    """

    def __init__(
        self,
        *,
        outcomes: Iterable[str] = (),
        deaths: Iterable[str] = (),
        parkings: Iterable[str] = (),
        losses: Iterable[str] = (),
    ) -> None:
        super().__init__()
        self._attempts = self._counts(
            "hookline_attempts",
            "HTTP calls that ended, by how.",
            "reason",
            outcomes,
            more="A word of [outcomes.md](outcomes.md).",
        )
        self._attempt_seconds = self._durations(
            "hookline_attempt_duration_seconds",
            "From the name lookup to the last byte of the answer, or to the failure.",
            _ATTEMPT_BUCKETS_SECONDS,
            more="Buckets up to 30 s, the longest time that a Webhook may allow.",
        )
        self._first_attempts = self._durations_by(
            "hookline_first_attempt_delay_seconds",
            "From the storing of an event to the beginning of a delivery's first attempt, by NATS's clock.",
            _DELAY_BUCKETS_SECONDS,
            "origin",
            ORIGINS,
            more="`event`: called straight from it; `shard`: stored before, as deliveries of many Webhooks are; "
            "`parked`: its Webhook could not be called meanwhile. Of the latter two the time before the delivery was "
            "stored may be told up to a second too short. Probes and replays are left out.",
        )
        self._retries = self._counter(
            "hookline_retries", "Failed deliveries stored to be tried again.", more="A crash may repeat it."
        )
        self._dead = self._counter(
            "hookline_dead_letters",
            "Deliveries given up, by why.",
            "reason",
            more="`ScheduleSpent`, `Gone`, `WebhookGone`, `ParkedExpired`, `Malformed`, `EventGone`, `InternalError`. "
            "Counts what was stored: a crash may repeat it.",
        )
        self._parked = self._counter(
            "hookline_parked",
            "Deliveries that were parked, by why.",
            "reason",
            more="`Held` or `Disabled` as the Webhook is, `Unknown` when the sender has not loaded it yet, "
            "`UnknownFormat` when only another version can read the delivery, `Failing`, `Gone` or `Backlogged` as its "
            "endpoint is.",
        )
        self._logged = self._counter(
            "hookline_attempts_log_written",
            "Attempts that were written to the attempts log.",
            more="See [queue.md](queue.md).",
        )
        self._not_logged = self._counter(
            "hookline_attempts_log_lost",
            "Attempts that the attempts log has not, by why.",
            "reason",
            more="`Room`: more than finds room in the sender, or its namespace has there, or NATS is away; `Refused`: "
            "NATS has no room for them, or its stream takes none; `Denied`: its user has no right to "
            "`hookline.attempts.*.*`; `Foreign`: a stream of another application is in the way; `Ended`: the sender "
            "ended first; `Fault`: a fault in Hookline. The deliveries themselves were made.",
        )
        self._returned = self._counter("hookline_unparked", "Parked deliveries taken to be called.")
        self._events = self._counts("hookline_events_fanned_out", "Events whose deliveries are all done or stored.")
        self._deliveries = self._counts("hookline_deliveries_made", "Deliveries that events became.")
        self._set_aside = self._counter(
            "hookline_events_set_aside",
            "Events of tenants that had much in hand.",
            more="They are put behind those of others.",
        )
        self._expired = self._counter(
            "hookline_events_expired",
            "Events that were removed before a sender took them.",
            more="By `retention.eventsSeconds`, or by hand one by one. Each sender counts what it finds, at its start, "
            "every 10 s and after a reconnect; so several may count the same: take `max`, not `sum`. A log line says "
            "each number. What was set aside before is told by the dead letter `EventGone` instead.",
        )
        self._notices = self._counter(
            "hookline_notices",
            "Notices to tenants, by what became of them.",
            "outcome",
            more="`published`, or `lost` because there were too many or NATS did not take them: see "
            "[event-types.md](event-types.md).",
        )
        for outcome in ("published", "lost"):
            self._notices.labels(outcome)
        self._held = self._gauge("hookline_deliveries_held", "Deliveries in the hands of this process.")
        self._loads = self._counter(
            "hookline_route_book_loads", "Route books taken into force.", more="The first and each change."
        )
        self._refusals = self._counter(
            "hookline_route_book_refusals", "Times that files of the book were not usable.", more="In a new way."
        )
        self._webhooks = self._gauge("hookline_route_book_webhooks", "Webhooks in the book in force.")
        self._unread = self._gauge(
            "hookline_route_book_webhooks_not_understood",
            "Of these, held since this version does not know them.",
            more="See [upgrades](upgrades.md).",
        )
        self._endpoints = {
            "Failing": self._gauge(
                "hookline_endpoints_failing",
                "Webhooks whose calls keep failing, for all senders.",
                more="Five attempts in a row failed: their deliveries are parked, and one sender probes.",
            ),
            "Gone": self._gauge(
                "hookline_endpoints_gone",
                "Webhooks whose receiver answered 410, for all senders.",
                more="Not called until their spec changes.",
            ),
            "Backlogged": self._gauge(
                "hookline_endpoints_backlogged",
                "Webhooks whose parked deliveries are called, for all senders.",
                more="They did not keep up, or just came back.",
            ),
        }
        self._queue_problem = self._gauge(
            "hookline_queue_problem",
            "1 while the queue cannot be used.",
            "reason",
            more="A word of the condition QueueReady in [conditions.md](conditions.md).",
        )
        self._oldest = self._gauge(
            "hookline_oldest_waiting_seconds",
            "Age of a stream's oldest message.",
            "stream",
            more="Of `events` (not yet taken by a sender, or in its hands), `deliveries` (in a shard, or scheduled to "
            "be tried again), `parked` and `backlog` (events that were set aside), by NATS's clock, looked at every "
            "10 s; 0 when nothing waits. The same in all senders.",
        )
        self._messages = self._gauge(
            "hookline_stream_messages",
            "Messages of a stream, for all senders.",
            "stream",
            more=f"{_STREAMS}, looked at every 10 s. A message of `backlog` names up to 256 events, one of `attempts` "
            "holds many lines.",
        )
        self._bytes = self._gauge(
            "hookline_stream_bytes",
            "Bytes of a stream on disk, for all senders.",
            "stream",
            more="One copy of it. The streams are those of `hookline_stream_messages`.",
        )
        self._bytes_limit = self._gauge(
            "hookline_stream_limit_bytes",
            "Bytes that a stream may have; 0 without a limit of its own.",
            "stream",
            more="The same streams.",
        )
        self._disk = self._gauge(
            "hookline_queue_disk_bytes",
            "Bytes of all streams of the NATS account on disk, for all senders.",
            more="Looked at every 10 s; 0 where the NATS user may not ask for it. Other applications of the account "
            "count.",
        )
        self._disk_limit = self._gauge(
            "hookline_queue_disk_limit_bytes",
            "Bytes that the NATS account may have; 0 without a limit.",
            more="The shipped NATS bounds its servers, not the account: see `hookline_nats_disk_limit_bytes` of the "
            "operator.",
        )
        self._left = self._gauge(
            "hookline_former_streams_messages",
            "What streams that were moved still hold to be done.",
            more="0: a rollback leaves nothing behind ([upgrades](upgrades.md)). The same in all senders.",
        )
        for stream in ("events", "deliveries", "parked", "backlog"):
            self._oldest.labels(stream)
        self._connected = self._gauge("hookline_queue_connected", "1 while NATS is connected, else 0.")
        for counter, words in ((self._dead, deaths), (self._parked, parkings), (self._not_logged, losses)):
            for word in words:
                counter.labels(word)

    def attempted(self, reason: str, seconds: float) -> None:
        self._attempts.add(word=reason)
        self._attempt_seconds.observe(seconds)

    def first_attempt(self, origin: str, delay_seconds: float) -> None:
        """`origin` is a word of ORIGINS."""
        self._first_attempts[origin].observe(delay_seconds)

    def noticed(self, outcome: str) -> None:
        self._notices.labels(outcome).inc()

    def attempts_logged(self, count: int) -> None:
        self._logged.inc(count)

    def attempts_lost(self, reason: str, count: int) -> None:
        self._not_logged.labels(reason).inc(count)

    def will_retry(self) -> None:
        self._retries.inc()

    def died(self, reason: str) -> None:
        self._dead.labels(reason).inc()

    def parked(self, reason: str) -> None:
        self._parked.labels(reason).inc()

    def left_in_former(self, messages: int) -> None:
        self._left.set(messages)

    def oldest(self, stream: str, age_seconds: float) -> None:
        self._oldest.labels(stream).set(age_seconds)

    def stream(self, stream: str, *, messages: int, size_bytes: int, limit_bytes: int) -> None:
        """`limit_bytes` is 0 without one."""
        self._messages.labels(stream).set(messages)
        self._bytes.labels(stream).set(size_bytes)
        self._bytes_limit.labels(stream).set(limit_bytes)

    def disk(self, used_bytes: int, limit_bytes: int) -> None:
        """Of the account; `limit_bytes` is 0 without one."""
        self._disk.set(used_bytes)
        self._disk_limit.set(limit_bytes)

    def unparked(self) -> None:
        self._returned.inc()

    def fanned_out(self) -> None:
        self._events.add()

    def made(self, deliveries: int) -> None:
        self._deliveries.add(deliveries)

    def set_aside(self, events: int) -> None:
        self._set_aside.inc(events)

    def expired(self, events: int) -> None:
        self._expired.inc(events)

    def book_loaded(self, webhooks: int, *, unread: int = 0) -> None:
        self._loads.inc()
        self._webhooks.set(webhooks)
        self._unread.set(unread)

    def book_refused(self) -> None:
        self._refusals.inc()

    def watch(
        self,
        *,
        held: Callable[[], int],
        endpoints: Mapping[str, Callable[[], int]],
        connected: Callable[[], bool],
        queue_problems: Mapping[str, Callable[[], bool]],
    ) -> None:
        """Ask these whenever somebody reads the metrics."""
        self._held.set_function(held)
        for reason, is_so in queue_problems.items():
            self._queue_problem.labels(str(reason)).set_function(is_so)
        for kind, count in endpoints.items():
            self._endpoints[kind].set_function(count)
        self._connected.set_function(connected)


class GatewayMetrics(Metrics):
    """Of a gateway process. `verdicts` are the words that the label may take."""

    def __init__(self, *, verdicts: Iterable[str] = ()) -> None:
        super().__init__()
        self._verdicts = self._counter(
            "hookline_gateway_verdicts",
            "What producers were told, by what.",
            "verdict",
            more="Of each event, or of a request that could not be read: `stored`, `repeat`, or the end of a problem's "
            "`type` ([publishing.md](publishing.md)).",
        )
        self._store_seconds = self._durations(
            "hookline_gateway_store_duration_seconds",
            "From an event that was checked to the word that it is stored, its turn among others included.",
            _STORE_BUCKETS_SECONDS,
            more="Buckets up to 5 s, after which a producer is told to come again.",
        )
        self._requests = self._gauge("hookline_gateway_requests", "Requests under way.")
        self._body_bytes = self._gauge("hookline_gateway_body_bytes", "Bodies of these in memory.")
        self._expires = self._gauge(
            "hookline_certificate_expires_seconds",
            "When the certificate that is shown ends, in Unix time.",
            more="0 without TLS.",
        )
        self._connected = self._gauge("hookline_queue_connected", "1 while NATS is connected, else 0.")
        self._told = {word: self._verdicts.labels(word) for word in verdicts}

    def told(self, verdict: str) -> None:
        (self._told.get(verdict) or self._verdicts.labels(verdict)).inc()

    def stored(self, seconds: float) -> None:
        self._store_seconds.observe(seconds)

    def watch_certificate(self, expires_s: Callable[[], float]) -> None:
        """Ask this, which is Unix time, whenever somebody reads the metrics."""
        self._expires.set_function(expires_s)

    def watch(
        self, *, requests: Callable[[], int], body_bytes: Callable[[], int], connected: Callable[[], bool]
    ) -> None:
        """Ask these whenever somebody reads the metrics."""
        self._requests.set_function(requests)
        self._body_bytes.set_function(body_bytes)
        self._connected.set_function(connected)


class ApiMetrics(Metrics):
    """Of the process that tells what became of deliveries."""

    def __init__(self) -> None:
        super().__init__()
        self._answers = self._counter(
            "hookline_log_api_answers",
            "Requests that were answered.",
            "verb",
            "resource",
            "code",
            more="`code` is that of HTTP; a watch counts when it ends. What is no request for objects has the verb "
            "and the resource `other`.",
        )
        self._watches = self._gauge("hookline_log_api_watches", "Watches that are open.")
        self._missing = self._gauge(
            "hookline_log_api_queues_missing",
            "Queues of Dispatchers that are not read now.",
            more="What became of their deliveries, or what came since, is missing in lists, which say so.",
        )
        self._expires = self._gauge(
            "hookline_certificate_expires_seconds",
            "When the certificate that is shown ends, in Unix time.",
            more="0 without TLS.",
        )

    def answered(self, verb: str, resource: str, code: int) -> None:
        self._answers.labels(verb, resource, str(code)).inc()

    def watch_certificate(self, expires_s: Callable[[], float]) -> None:
        """Ask this, which is Unix time, whenever somebody reads the metrics."""
        self._expires.set_function(expires_s)

    def watch(self, *, watches: Callable[[], int], missing: Callable[[], int]) -> None:
        """Ask these whenever somebody reads the metrics."""
        self._watches.set_function(watches)
        self._missing.set_function(missing)


class OperatorMetrics(Metrics):
    """Of an operator process."""

    def __init__(self) -> None:
        super().__init__()
        self._requests = self._counter(
            "hookline_api_requests",
            "Requests to the API server.",
            "verb",
            "resource",
            "outcome",
            more="`outcome` is `ok` or the kind of error.",
        )
        self._depth = self._gauge("hookline_queue_depth", "Objects that wait to be looked at.")
        self._leader = self._gauge("hookline_leader", "1 in the operator that leads, 0 in the others.")
        self._no_room = self._gauge(
            "hookline_webhooks_without_room",
            "Webhooks whose newest version found no room in the route book, by what is in force instead.",
            "in_force",
            more="`before`: the version before it is called on, with its keys; `none`: it is not called.",
        )
        self._fullness = self._gauge(
            "hookline_route_book_fullness",
            "How full the fullest route book is, from 0 to 1.",
            more="Above 0.875 only namespaces that use little get room for more.",
        )
        self._disk = self._gauge_by(
            "hookline_nats_disk_bytes",
            "Bytes of all streams on the disk of a server of the shipped NATS.",
            "server",
            more="Looked at every minute by the operator that leads; without a series where NATS is somebody else's.",
        )
        self._disk_limit = self._gauge_by(
            "hookline_nats_disk_limit_bytes",
            "Bytes that a server of the shipped NATS may have on its disk.",
            "server",
            more="Its `max_file_store`. A full one refuses, and nothing is discarded.",
        )

    def request(self, verb: str, resource: str, outcome: str) -> None:
        self._requests.labels(verb, resource, outcome).inc()

    def watch(
        self,
        queue: Sized,
        *,
        leads: Callable[[], bool],
        without_room: Mapping[str, Callable[[], int]],
        fullness: Callable[[], float],
        disks: Callable[[], Mapping[str, float]] = _nothing,
        disk_limits: Callable[[], Mapping[str, float]] = _nothing,
    ) -> None:
        """Ask these whenever somebody reads the metrics."""
        self._depth.set_function(lambda: len(queue))
        self._leader.set_function(leads)
        for in_force, count in without_room.items():
            self._no_room.labels(in_force).set_function(count)
        self._fullness.set_function(fullness)
        self._disk.values = disks
        self._disk_limit.values = disk_limits
