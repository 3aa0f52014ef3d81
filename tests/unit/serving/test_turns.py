"""Whose turn it is among those who wait to ask."""

from __future__ import annotations

from collections import Counter
from itertools import count

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hookline.serving.pace import Pace
from hookline.serving.turns import Turns, Whose

AT_ONCE, WAITING, OF_ONE = 3, 5, 3
GROUPS = st.sampled_from(["a", "b", "", "\ud800 '\"\x00"])


class AnyOrder(RuleBasedStateMachine):
    """Whatever comes, goes and ends in whichever order."""

    def __init__(self) -> None:
        super().__init__()
        self.turns: Turns[int] = Turns(AT_ONCE, WAITING, OF_ONE)
        self.waiting: dict[int, Whose] = {}
        self.under_way: list[Whose] = []
        self.before: dict[int, tuple[int, Counter[str]]] = {}
        """Of first questions: how many groups waited, and which have begun since."""
        self.numbers = count()

    @rule(group=GROUPS, part=st.sampled_from(["1", "2"]))
    def come(self, group: str, part: str) -> None:
        turn, others = next(self.numbers), Counter(whose[0] for whose in self.waiting.values())
        if group not in others and group not in {each[0] for each in self.under_way}:
            self.before[turn] = len(others), Counter()
        goes = self.turns.come(turn, (group, part))
        self.waiting[turn] = (group, part)
        sizes = Counter(whose[0] for whose in self.waiting.values())
        assert (goes is None) == (len(self.waiting) <= WAITING and sizes[group] <= OF_ONE)
        if goes is None:
            return
        gone = self.waiting.pop(goes)
        within = {each for each in sizes if each == group} if sizes[group] > OF_ONE else set(sizes)
        assert sizes[gone[0]] == max(sizes[each] for each in within), "it is taken from who waits for most"
        parts = Counter(each for each in [*self.waiting.values(), gone] if each[0] == gone[0])
        assert parts[gone] == max(parts.values()), "and there from who waits for most"
        assert all(each < goes for each, whose in self.waiting.items() if whose == gone), "the newest"
        if sizes[group] == 1 and max(sizes.values()) > 1:
            assert goes != turn, "a first question finds room"
        self.before.pop(goes, None)

    @precondition(lambda self: self.waiting)
    @rule(chance=st.randoms())
    def leave(self, chance: object) -> None:
        turn = chance.choice(sorted(self.waiting))  # type: ignore[attr-defined]
        self.turns.leave(turn, self.waiting.pop(turn))
        self.before.pop(turn, None)

    @rule()
    def begin(self) -> None:
        turn = self.turns.begin(0.0)
        room = AT_ONCE - len(self.under_way)
        if turn is None:
            of_one = Counter(each[0] for each in self.under_way)
            assert not room or all(of_one[whose[0]] >= AT_ONCE - 1 for whose in self.waiting.values())
            return
        assert room
        whose = self.waiting.pop(turn)
        assert not any(each < turn for each, other in self.waiting.items() if other == whose), "in their order"
        self.under_way.append(whose)
        self.before.pop(turn, None)
        for others, begun in self.before.values():
            begun[whose[0]] += 1
            assert begun[whose[0]] == 1, "no group has two turns before a first question"
            assert begun.total() <= others, "nor one that came later"

    @precondition(lambda self: self.under_way)
    @rule(chance=st.randoms())
    def end(self, chance: object) -> None:
        whose = self.under_way.pop(chance.randrange(len(self.under_way)))  # type: ignore[attr-defined]
        self.turns.end(whose)

    @invariant()
    def counts_are_right(self) -> None:
        assert (self.turns.waiting, self.turns.under_way) == (len(self.waiting), len(self.under_way))
        assert self.turns.waiting <= WAITING
        assert max(Counter(each[0] for each in self.under_way).values(), default=0) < AT_ONCE


test_any_order = AnyOrder.TestCase


@given(st.lists(st.floats(0, 0.05), min_size=1, max_size=100), st.integers(1, 20))
def test_a_pace_is_kept_whoever_waits(pauses: list[float], burst: int) -> None:
    turns: Turns[int] = Turns(1000, 1000, 1000, Pace(100, burst))
    for number in range(1000):
        turns.come(number, (f"group-{number % 7}",))
    now_s, begun = 0.0, []
    for pause in pauses:
        now_s += pause
        while turns.begin(now_s) is not None:
            begun.append(now_s)
        assert turns.wait_seconds(now_s) > 0
    assert len(begun) <= burst + 1 + now_s * 100 + 1e-6


def test_one_group_leaves_a_place_to_others() -> None:
    turns: Turns[int] = Turns(8, 100, 100)
    for number in range(50):
        turns.come(number, ("loud", ""))
    while turns.begin(0.0) is not None:
        pass
    assert turns.under_way == 7
    turns.come(50, ("quiet", ""))
    assert turns.begin(0.0) == 50


def test_who_floods_alone_has_all_turns() -> None:
    turns: Turns[int] = Turns(2, 100, 100, Pace(10, 10))
    for number in range(100):
        turns.come(number, ("loud", ""))
    begun = []
    for tenth in range(100):
        while (turn := turns.begin(tenth / 10)) is not None:
            begun.append(turn)
            turns.end(("loud", ""))
    assert begun == list(range(100))


def test_of_one_place_everybody_has_his_turn() -> None:
    turns: Turns[int] = Turns(1, 10, 10)
    for number, group in enumerate("aab"):
        turns.come(number, (group,))
    begun = []
    for _ in range(3):
        begun.append(turn := turns.begin(0.0))
        assert turns.begin(0.0) is None
        turns.end(("aab"[turn if turn is not None else 0],))
    assert begun == [0, 2, 1]
