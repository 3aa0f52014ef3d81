"""Whose turn it is to ask, where many wait for few places: fair between groups, and in each between its parts. Pure.

Groups have their turns one after the other, however much each of them waits for, and so have the parts of a group. One
that floods takes what nobody else wants, and moves nobody else further back than one turn. What is too much goes where
most waits, the newest first: so the first question of a group finds room while any other group has two.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Hashable, Sequence
from typing import Generic, TypeAlias, TypeVar

from hookline.serving.pace import Pace

T = TypeVar("T", bound=Hashable)

Whose: TypeAlias = tuple[str, ...]
"""A group, a part of it, a part of that. As long for all who wait at one place."""


class Turns(Generic[T]):
    """Of those who wait for `at_once` places, `waiting` at most, and `waiting_of_one` of one group; at a pace, if any.

    Of several places one group never has all: who comes behind one whose questions hang finds a place.
    """

    def __init__(self, at_once: int, waiting: int, waiting_of_one: int, pace: Pace | None = None) -> None:
        self._at_once = at_once
        self._at_once_of_one = at_once - max(1, at_once // 8) if at_once > 1 else 1
        self._waiting = waiting
        self._waiting_of_one = waiting_of_one
        self._pace = pace
        self._root: _Part[T] = _Part()
        self._under_way: Counter[str] = Counter()

    @property
    def waiting(self) -> int:
        return self._root.count

    @property
    def under_way(self) -> int:
        return self._under_way.total()

    def come(self, turn: T, whose: Whose) -> T | None:
        """It waits from now on. Who has to go for it, itself perhaps, and waits no longer; None if nobody has to."""
        part = self._root
        for name in whose:
            part.count += 1
            part = part.parts.get(name) or part.parts.setdefault(name, _Part())
        part.count += 1
        part.turns[turn] = None
        if self._root.parts[whose[0]].count > self._waiting_of_one:
            return self._push_out(whose, whose[:1])
        return self._push_out(whose, ()) if self._root.count > self._waiting else None

    def leave(self, turn: T, whose: Whose) -> None:
        """It does not want its turn any more, which had not come."""
        parts = [self._root]
        for name in whose:
            parts.append(parts[-1].parts[name])
        del parts[-1].turns[turn]
        for part in parts:
            part.count -= 1
        for name, part, outer in reversed(list(zip(whose, parts[1:], parts, strict=False))):
            if not part.count:
                del outer.parts[name]

    def begin(self, now_s: float) -> T | None:
        """Whose turn it is now, and who has a place from now on; None if it is nobody's yet."""
        if self.under_way >= self._at_once or (self._pace is not None and self._pace.wait_seconds(now_s) > 0):
            return None
        # One at most is passed over: two groups cannot have as many as one may.
        name = next((each for each in self._root.parts if self._under_way[each] < self._at_once_of_one), None)
        if name is None:
            return None
        if self._pace is not None:
            self._pace.take(now_s)
        self._under_way[name] += 1
        return self._root.first(name)

    def end(self, whose: Whose) -> None:
        """Its place is free."""
        self._under_way[whose[0]] -= 1
        if not self._under_way[whose[0]]:
            del self._under_way[whose[0]]

    def wait_seconds(self, now_s: float) -> float:
        """For how long the pace lets nobody begin."""
        return self._pace.wait_seconds(now_s) if self._pace is not None and self._root.count else 0.0

    def _push_out(self, newcomer: Whose, within: Sequence[str]) -> T:
        """The newest of what has most, there. Of several with as much it is the newcomer's own."""
        way, part = list(within), self._root
        for name in within:
            part = part.parts[name]
        while part.parts:
            most = max(each.count for each in part.parts.values())
            own = newcomer[len(way)] if tuple(way) == newcomer[: len(way)] else None
            if own is None or part.parts[own].count < most:
                own = next(name for name, each in part.parts.items() if each.count == most)
            way.append(own)
            part = part.parts[own]
        turn = next(reversed(part.turns))
        self.leave(turn, tuple(way))
        return turn


class _Part(Generic[T]):
    """What waits of a group, or of a part of it: by its own parts, the one whose turn is next first."""

    __slots__ = ("count", "parts", "turns")

    def __init__(self) -> None:
        self.count = 0
        self.parts: OrderedDict[str, _Part[T]] = OrderedDict()
        self.turns: OrderedDict[T, None] = OrderedDict()
        """Of one without parts."""

    def first(self, name: str) -> T:
        """Take the next one of a part."""
        part = self.parts[name]
        turn = part.first(next(iter(part.parts))) if part.parts else part.taken()
        self.count -= 1
        if part.count:
            self.parts.move_to_end(name)
        else:
            del self.parts[name]
        return turn

    def taken(self) -> T:
        self.count -= 1
        return self.turns.popitem(last=False)[0]
