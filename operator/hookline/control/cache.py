"""What is known of the objects of one list and its watch, each at its newest version.

What is older never replaces what is newer, nor brings back what is gone, so that watches, lists and answers to writes
may overlap in any order. Knows nothing of what the objects are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from hookline.control.kinds import Place

V = TypeVar("V")


class Stamp(NamedTuple):
    """Which object stands at a place, and in which version."""

    uid: str
    version: int


@dataclass(frozen=True, slots=True)
class Change(Generic[V]):
    """News of one place: what was known before and what is known now, None for nothing. Its repr shows neither."""

    place: Place
    before: V | None = field(repr=False)
    now: V | None = field(repr=False)


class Cache(Generic[V]):
    """Objects by place. `read` makes what is kept of one, and is called for news only."""

    def __init__(self, read: Callable[[Any], V]) -> None:
        self._read = read
        self.values: dict[Place, V] = {}
        self._stamps: dict[Place, Stamp] = {}
        self._gone: dict[Place, int] = {}
        """Version at which an object went, as long as no list is newer."""
        self._listed = 0
        """Version of the newest whole list: what is older and was not in it is gone."""

    @property
    def remembered(self) -> int:
        """Places of which only a memory is kept: that something went, until a list says it for all."""
        return len(self._gone)

    def put(self, place: Place, stamp: Stamp, source: Any) -> Change[V] | None:
        """An object is there, or changed. None when that is known, or older than what is.

        Raises what `read` raises: then the value stays as it was, and its version counts as known.
        """
        if stamp.version <= self._known(place):
            return None
        self._gone.pop(place, None)
        self._stamps[place] = stamp
        before = self.values.get(place)
        now = self.values[place] = self._read(source)
        return Change(place, before, now)

    def end(self, place: Place, version: int) -> Change[V] | None:
        """From this version on, whatever stands at a place counts as gone. None when newer is known."""
        return None if version <= self._known(place) else self._drop(place, version)

    def remove(self, place: Place, version: int, uid: str | None = None) -> Change[V] | None:
        """An object is gone, unless another one is at its place already, or the same one came back since."""
        there = self._stamps.get(place)
        if there is None:
            self._gone[place] = max(version, self._known(place))
            return None
        if uid not in (None, there.uid) or there.version > version:
            return None
        return self._drop(place, version)

    def replace_all(self, listed: Collection[Place], version: int) -> list[Change[V]]:
        """A whole list of some version: what is neither in it nor newer is gone, whatever a watch said or missed.

        What it holds is to be put next, and then the list to be confirmed.
        """
        missing = [place for place, there in self._stamps.items() if place not in listed and there.version <= version]
        changes = [self._drop(place, version) for place in missing]
        if version >= self._listed:
            # The newest word on all of them, also on what a list before it lacked.
            self._listed = 0
            for place in listed:
                if self._gone.get(place, 0) <= version:
                    self._gone.pop(place, None)
        return changes

    def confirm(self, version: int) -> None:
        """A whole list of this version agrees with what is known: it says by itself what was gone until then."""
        self._listed = max(version, self._listed)
        for place in [place for place, gone in self._gone.items() if gone <= version]:
            del self._gone[place]

    def differs(self, listed: Mapping[Place, int], version: int | None = None) -> bool:
        """Whether a list of versions names other places or newer versions than are known.

        With the version of the list, what came after it does not count.
        """
        stamps = self._stamps.items()
        if any(place not in listed and (version is None or there.version <= version) for place, there in stamps):
            return True
        return any(self._known(place) < each for place, each in listed.items())

    def _known(self, place: Place) -> int:
        """The newest version at which something is known of a place: what was there, or that nothing was."""
        there = self._stamps.get(place)
        return there.version if there else max(self._gone.get(place, 0), self._listed)

    def _drop(self, place: Place, version: int) -> Change[V]:
        self._stamps.pop(place, None)
        self._gone[place] = version
        return Change(place, self.values.pop(place, None), None)
