"""Lanes under any order of what can happen to them: nothing is lost, runs twice, or waits though it may run."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from hookline.delivery.policy.lanes import GREED, Lanes, Terms

PLACES, LONG_PLACES = 9, 4
ROUNDING_SECONDS = 1e-9
UIDS = st.sampled_from("abc")


class Model(RuleBasedStateMachine):
    """Two tenants: a and b, and c."""

    def __init__(self) -> None:
        super().__init__()
        self.lanes: Lanes[str, int] = Lanes(PLACES, LONG_PLACES)
        self.now_s = 0.0
        self.made = 0
        self.limits = dict.fromkeys("abc", 1)
        self.rates = dict.fromkeys("abc", 0.0)
        self.waiting: dict[str, list[int]] = {"a": [], "b": [], "c": []}
        self.running: dict[str, list[int]] = {"a": [], "b": [], "c": []}
        self.stretched = dict.fromkeys("abc", 0)
        """Of those that run."""

    def terms(self, uid: str) -> Terms:
        return Terms("t" if uid in "ab" else "u", self.limits[uid], self.rates[uid])

    def begun(self, items: list[int]) -> None:
        for item in items:
            uid = next(uid for uid, waiting in self.waiting.items() if item in waiting)
            assert self.waiting[uid][0] == item, "out of order"
            self.waiting[uid].remove(item)
            self.running[uid].append(item)

    @rule(uid=UIDS, pinned=st.booleans())
    def offer(self, uid: str, pinned: bool) -> None:
        self.made += 1
        if self.lanes.offer(uid, self.terms(uid), self.made, now_s=self.now_s, pinned=pinned):
            assert not self.waiting[uid], "overtaken"
            self.running[uid].append(self.made)
        else:
            self.waiting[uid].append(self.made)

    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        uids = [uid for uid, running in self.running.items() if running]
        if uids:
            uid = data.draw(st.sampled_from(uids))
            stretched = self.holding(uid) == 0 or (self.stretched[uid] > 0 and data.draw(st.booleans()))
            self.running[uid].pop()
            self.stretched[uid] -= stretched
            self.begun(self.lanes.finished(uid, self.terms(uid), now_s=self.now_s, stretched=stretched))

    @rule(uid=UIDS)
    def stretch(self, uid: str) -> None:
        long = sum(self.stretched.values())
        if self.holding(uid):
            if self.lanes.stretch(uid):
                self.stretched[uid] += 1
            else:
                tenants = sum(self.stretched[each] for each in ("ab" if uid in "ab" else "c"))
                assert tenants >= GREED * (LONG_PLACES - long), "keeps its place though there is room"
            self.begun(self.lanes.ready(self.now_s))

    def holding(self, *uids: str) -> int:
        """Places."""
        return sum(len(self.running[uid]) - self.stretched[uid] for uid in uids)

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.0, 3.0]))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    @rule(uid=UIDS, limit=st.integers(1, 5), rate=st.sampled_from([0.0, 0.5, 2.0]))
    def change(self, uid: str, limit: int, rate: float) -> None:
        self.limits[uid], self.rates[uid] = limit, rate

    @rule()
    def look(self) -> None:
        """As a sender does now and then."""
        self.lanes.sweep(self.now_s)
        for item in self.lanes.overdue(self.now_s):
            next(each for each in self.waiting.values() if item in each).remove(item)
        for uid, first in self.lanes.waiting():
            assert first == self.waiting[uid][0]
            self.lanes.change(uid, self.terms(uid))
        self.begun(self.lanes.ready(self.now_s))
        free = PLACES - self.holding(*"abc")
        held = {uid: self.holding(*("ab" if uid in "ab" else "c")) for uid in "abc"}
        for uid, waiting in self.waiting.items():
            if waiting and held[uid] < GREED * free and len(self.running[uid]) < self.limits[uid]:
                assert self.rates[uid], "waits though it may run"
                all_s, wait_s = self.lanes.wait_seconds(self.now_s), self.lanes.wait_seconds_of(uid, self.now_s)
                assert wait_s is not None, "waits though it may run"
                assert all_s is not None
                assert all_s <= wait_s <= 1 / self.rates[uid] + ROUNDING_SECONDS

    @rule(uid=UIDS)
    def evict(self, uid: str) -> None:
        assert self.lanes.evict(uid) == self.waiting[uid]
        self.waiting[uid].clear()

    @rule()
    def ask_how_long(self) -> None:
        self.lanes.wait_seconds(self.now_s)
        for uid in "abc":
            self.lanes.wait_seconds_of(uid, self.now_s)

    @rule()
    def sleep_as_long_as_told(self) -> None:
        wait_s = self.lanes.wait_seconds(self.now_s)
        if wait_s is not None:
            self.now_s += wait_s
            self.begun(self.lanes.ready(self.now_s))
            told_s = self.lanes.wait_seconds(self.now_s)
            assert told_s is None or told_s > 0

    @invariant()
    def no_more_than_allowed_run(self) -> None:
        assert self.holding(*"abc") <= PLACES
        assert sum(self.stretched.values()) <= LONG_PLACES

    def teardown(self) -> None:
        assert sorted(self.lanes.clear()) == sorted(item for each in self.waiting.values() for item in each)


Model.TestCase.settings = settings(max_examples=300, stateful_step_count=50)
TestLanes = Model.TestCase
