"""Metrics of each kind of process, in the text form that Prometheus reads. The only module that imports its client.

Decides names, labels and buckets; docs/metrics.md says what each means. No label has a value for each Webhook, tenant
or event: with 10,000 Webhooks, one counter of attempts by reason alone would be 200,000 series in each pod. Which
endpoints fail is in the report, in the condition Delivering and in the logs. Never holds a secret or a URL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sized

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from hookline import __version__

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, which nobody reads

_ATTEMPT_BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0)
"""Up to 30 s, the longest time that a Webhook may allow a call."""


_STORE_BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Up to 5 s, after which a producer is told to come again."""


class Metrics:
    """What every process says of itself. A registry of its own: nothing that a library counts gets in."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        Info("hookline_build", "Version that runs.", registry=self.registry).info({"version": __version__})

        self._lost_lines = self._gauge("hookline_log_lines_lost", "Log lines that could not be written.")

    def watch_log(self, lost_lines: Callable[[], int]) -> None:
        """Ask this whenever somebody reads the metrics."""
        self._lost_lines.set_function(lost_lines)

    def text(self) -> bytes:
        """All of it, as /metrics gives it."""
        return generate_latest(self.registry)

    def _counter(self, name: str, help_: str, *labels: str) -> Counter:
        return Counter(name, help_, labels, registry=self.registry)

    def _gauge(self, name: str, help_: str, *labels: str) -> Gauge:
        return Gauge(name, help_, labels, registry=self.registry)


class SenderMetrics(Metrics):
    """Of a sender process.

    The arguments are the words that a label may take. They begin at 0, so that the first dead letter is an increase.
    """

    def __init__(
        self, *, outcomes: Iterable[str] = (), deaths: Iterable[str] = (), parkings: Iterable[str] = ()
    ) -> None:
        super().__init__()
        self._attempts = self._counter("hookline_attempts", "HTTP calls that ended, by how.", "reason")
        self._attempt_seconds = Histogram(
            "hookline_attempt_duration_seconds",
            "From the name lookup to the last byte of the answer, or to the failure.",
            buckets=_ATTEMPT_BUCKETS_SECONDS,
            registry=self.registry,
        )
        self._retries = self._counter("hookline_retries", "Failed deliveries stored to be tried again.")
        self._dead = self._counter("hookline_dead_letters", "Deliveries given up, by why.", "reason")
        self._parked = self._counter("hookline_parked", "Deliveries that were parked, by why.", "reason")
        self._returned = self._counter("hookline_unparked", "Parked deliveries taken to be called.")
        self._events = self._counter("hookline_events_fanned_out", "Events whose deliveries are all done or stored.")
        self._deliveries = self._counter("hookline_deliveries_made", "Deliveries that events became.")
        self._set_aside = self._counter("hookline_events_set_aside", "Events of tenants that had much in hand.")
        self._expired = self._counter("hookline_events_expired", "Events that were removed before a sender took them.")
        self._held = self._gauge("hookline_deliveries_held", "Deliveries in the hands of this process.")
        self._loads = self._counter("hookline_route_book_loads", "Route books taken into force.")
        self._refusals = self._counter("hookline_route_book_refusals", "Times that files of the book were not usable.")
        self._webhooks = self._gauge("hookline_route_book_webhooks", "Webhooks in the book in force.")
        self._unread = self._gauge(
            "hookline_route_book_webhooks_not_understood", "Of these, held since this version does not know them."
        )
        self._endpoints = {
            "Failing": self._gauge("hookline_endpoints_failing", "Webhooks whose calls keep failing, for all senders."),
            "Gone": self._gauge("hookline_endpoints_gone", "Webhooks whose receiver answered 410, for all senders."),
            "Backlogged": self._gauge(
                "hookline_endpoints_backlogged", "Webhooks whose parked deliveries are called, for all senders."
            ),
        }
        self._queue_problem = self._gauge("hookline_queue_problem", "1 while the queue cannot be used.", "reason")
        self._oldest = self._gauge("hookline_oldest_waiting_seconds", "Age of a stream's oldest message.", "stream")
        self._left = self._gauge(
            "hookline_former_streams_messages", "What streams that were moved still hold to be done."
        )
        for stream in ("events", "deliveries", "parked", "backlog"):
            self._oldest.labels(stream)
        self._connected = self._gauge("hookline_queue_connected", "1 while NATS is connected, else 0.")
        self._outcomes = {word: self._attempts.labels(word) for word in outcomes}
        """Found once: to look one up takes a lock and a third of the time of a call's metrics."""
        for counter, words in ((self._dead, deaths), (self._parked, parkings)):
            for word in words:
                counter.labels(word)

    def attempted(self, reason: str, seconds: float) -> None:
        (self._outcomes.get(reason) or self._attempts.labels(reason)).inc()
        self._attempt_seconds.observe(seconds)

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

    def unparked(self) -> None:
        self._returned.inc()

    def fanned_out(self) -> None:
        self._events.inc()

    def made(self, deliveries: int) -> None:
        self._deliveries.inc(deliveries)

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
        self._verdicts = self._counter("hookline_gateway_verdicts", "What producers were told, by what.", "verdict")
        self._store_seconds = Histogram(
            "hookline_gateway_store_duration_seconds",
            "From an event that was checked to the word that it is stored, its turn among others included.",
            buckets=_STORE_BUCKETS_SECONDS,
            registry=self.registry,
        )
        self._requests = self._gauge("hookline_gateway_requests", "Requests under way.")
        self._body_bytes = self._gauge("hookline_gateway_body_bytes", "Bodies of these in memory.")
        self._connected = self._gauge("hookline_queue_connected", "1 while NATS is connected, else 0.")
        self._told = {word: self._verdicts.labels(word) for word in verdicts}

    def told(self, verdict: str) -> None:
        (self._told.get(verdict) or self._verdicts.labels(verdict)).inc()

    def stored(self, seconds: float) -> None:
        self._store_seconds.observe(seconds)

    def watch(
        self, *, requests: Callable[[], int], body_bytes: Callable[[], int], connected: Callable[[], bool]
    ) -> None:
        """Ask these whenever somebody reads the metrics."""
        self._requests.set_function(requests)
        self._body_bytes.set_function(body_bytes)
        self._connected.set_function(connected)


class OperatorMetrics(Metrics):
    """Of an operator process."""

    def __init__(self) -> None:
        super().__init__()
        self._requests = self._counter(
            "hookline_api_requests", "Requests to the API server.", "verb", "resource", "outcome"
        )
        self._depth = self._gauge("hookline_queue_depth", "Objects that wait to be looked at.")
        self._leader = self._gauge("hookline_leader", "1 in the operator that leads, 0 in the others.")
        self._no_room = self._gauge(
            "hookline_webhooks_without_room",
            "Webhooks whose newest version found no room in the route book, by what is in force instead.",
            "in_force",
        )
        self._fullness = self._gauge("hookline_route_book_fullness", "How full the fullest route book is, from 0 to 1.")

    def request(self, verb: str, resource: str, outcome: str) -> None:
        self._requests.labels(verb, resource, outcome).inc()

    def watch(
        self,
        queue: Sized,
        *,
        leads: Callable[[], bool],
        without_room: Mapping[str, Callable[[], int]],
        fullness: Callable[[], float],
    ) -> None:
        """Ask these whenever somebody reads the metrics."""
        self._depth.set_function(lambda: len(queue))
        self._leader.set_function(leads)
        for in_force, count in without_room.items():
            self._no_room.labels(in_force).set_function(count)
        self._fullness.set_function(fullness)
