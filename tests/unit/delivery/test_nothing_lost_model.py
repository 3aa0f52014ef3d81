"""Two senders, the queue and receivers, under any order of answers, refusals, lost words, crashes and ends: an event is
acked only once each of its deliveries has been made, or lies in a stream, and nothing is called twice without a cause.

The senders are real ones; the queue, the receivers and time are played.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from doubles.books import route
from doubles.played_queue import Called, How, Kept, PlayedQueue, Pod, StillLoop, route_of, stand_still
from hookline.routing.routes import Keys, book_of
from hookline.stream import names

HEARD_BY = {"for.one": ["u1"], "for.two": ["u2", "u3"], "for.five": ["u4", "u5", "u6", "u7", "u8"]}
"""The last is heard by too many to be called from."""

TIMEOUT_SECONDS = 5
ANY = st.integers(0, 20)
PODS = st.integers(0, 1)


class NothingLost(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.loop = StillLoop()
        stand_still(self.patch, self.loop)

    @initialize(concurrency=st.sampled_from([1, 3]), slow=st.sampled_from(["u1", "u2", "u2", "u5"]))
    def begin(self, concurrency: int, slow: str) -> None:
        routes = [
            route(
                uid,
                event=event,
                url=f"https://example.com/{uid}",
                timeout_seconds=TIMEOUT_SECONDS,
                schedule_seconds=(2,),
                max_concurrency=concurrency,
            )
            for event, uids in HEARD_BY.items()
            for uid in uids
        ]
        self.queue = PlayedQueue(self.loop, book_of((each, Keys(uid=each.uid)) for each in routes))
        self.pods = [Pod(self.queue), Pod(self.queue)]
        self.published: dict[str, Kept] = {}
        self.delivered: set[tuple[str, str]] = set()
        self.endpoint_is_slow(0, slow)

    @rule(
        event=st.sampled_from(["for.one", "for.two", *HEARD_BY]),
        is_large=st.sampled_from([False, False, True]),
        pod=PODS,
        taken=st.sampled_from([True, True, False]),
    )
    def publish(self, event: str, is_large: bool, pod: int, taken: bool) -> None:
        event_id = f"evt_{len(self.published)}"
        kept = self.published[event_id] = self.queue.publish(event_id, event, is_large=is_large)
        if taken:
            self.pods[pod].take(kept)

    @precondition(lambda self: self.queue.free())
    @rule(pod=PODS)
    def take(self, pod: int) -> None:
        for kept in self.queue.free():
            self.pods[pod].take(kept)

    @precondition(lambda self: any(pod.asked for pod in self.pods))
    @rule(which=ANY, how=st.sampled_from([None, None, None, *How]))
    def answer(self, which: int, how: How | None) -> None:
        """One, or all that one sender has asked for."""
        asked = [(pod, each) for pod in self.pods for each in pod.asked]
        pod, each = asked[which % len(asked)]
        if how is None:
            pod.answer_all()
        else:
            pod.answer(each, how)

    @precondition(lambda self: any(pod.calls for pod in self.pods))
    @rule(which=ANY, status=st.sampled_from([200, 200, 500, 410]))
    def respond(self, which: int, status: int) -> None:
        calls = [(pod, each) for pod in self.pods for each in pod.calls]
        self.respond_to(*calls[which % len(calls)], status)

    def respond_to(self, pod: Pod, called: Called, status: int) -> None:
        if status == 200:
            self.delivered.add((called.uid, called.event_id))
        pod.respond(called, status)

    @rule(seconds=st.sampled_from([1.5, 1.5, 0.25, 3.0, 25.0]))
    def go_on(self, seconds: float) -> None:
        self.queue.go_on(seconds)

    @rule(
        fault=st.sampled_from(["crash", "end", "end of NATS", "ack wait", "words", "slow", "well"]), pod=PODS, which=ANY
    )
    def disturb(self, fault: str, pod: int, which: int) -> None:
        one = self.pods[pod]
        if fault == "crash":
            one.die()
        elif fault.startswith("end"):
            one.drain(1.0, answers=fault == "end")
        elif fault == "ack wait":
            # Of a sender that is frozen, or of what could not be stored.
            for kept in self.queue.in_hand():
                if kept.seq % 3 == which % 3:
                    self.queue.ack_wait_passes(kept)
        elif fault == "words":
            one.flush(lost=bool(which % 2))
            one.words_leave = not one.words_leave
        elif fault == "slow":
            self.endpoint_is_slow(pod, f"u{which % 5 + 1}")
        else:
            self.endpoints_are_well(pod)
        if one.gone:
            self.pods[pod] = Pod(self.queue)

    def endpoint_is_slow(self, pod: int, uid: str) -> None:
        one = self.pods[pod]
        one.endpoints.turn_backlogged(route_of(self.queue.book, uid), "Slow")
        self.loop.call_soon(one.sender.park_waiting, uid)
        self.loop.settle()

    def endpoints_are_well(self, pod: int) -> None:
        for uid, _ in list(self.pods[pod].endpoints.states()):
            self.pods[pod].endpoints.forget(uid)

    @invariant()
    def nothing_is_lost(self) -> None:
        for event_id, kept in self.published.items():
            if kept.acked():
                for uid in HEARD_BY[names.event_of(kept.subject)[1]]:
                    assert (uid, event_id) in self.delivered or self.queue.keeps(uid, event_id), (uid, event_id)

    @invariant()
    def nothing_is_repeated_without_a_cause(self) -> None:
        made = Counter((each.uid, each.event_id, each.attempt) for each in self.queue.called)
        repeated = {event_id for (_, event_id, _), times in made.items() if times > 1}
        assert not repeated - self.queue.disturbed, repeated

    def teardown(self) -> None:
        try:
            if hasattr(self, "queue"):
                self.get_well()
                self.nothing_is_lost()
        finally:
            self.loop.end()
            self.patch.undo()

    def get_well(self) -> None:
        """The queue does what it is asked for, receivers answer, and what nobody works on comes again: all is done."""
        for number in range(40):
            for pod in self.pods:
                for called in list(pod.calls):
                    self.respond_to(pod, called, 200)
                pod.answer_all()
                pod.flush()
                self.endpoints_are_well(self.pods.index(pod))
            if not self.queue.in_hand() and not self.queue.free() and not self.queue.later:
                break
            if number % 4 == 3:
                for kept in self.queue.in_hand():
                    self.queue.ack_wait_passes(kept)
            for kept in self.queue.free():
                # The one that had it: another one would make up for what that one has forgotten.
                (kept.last if kept.last in self.pods else self.pods[0]).take(kept)
            self.queue.go_on(1.0)
        left = [*self.queue.in_hand(), *self.queue.free(), *self.queue.later]
        assert not left, "each event ends"
        assert not any(pod.sender.held for pod in self.pods)


NothingLost.TestCase.settings = settings(
    max_examples=80, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestNothingLost: Any = NothingLost.TestCase
