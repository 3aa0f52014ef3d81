"""When streams may be moved to other names, who moves what they still hold, and when events may be stored that not all
versions know. Pure: the time is an argument.

Senders of a version that knows one name only would find their streams gone, so all that are here must have said that
they want the same names. One that knows no subject of large events would leave them where they are. Never moves
anything: streams and mover do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

SETTLE_SECONDS = 3.0
"""For so long all must have said the same. Whoever is here answers a newcomer at once, and speaks every 2 s."""

REMOVE_SECONDS = 30.0
"""For so long all must have said the same before an empty stream is removed: another sender must not be about to move
back to it, and to have events stored there."""


STALE_SECONDS = 6.0
"""A sender that has not looked for so long, as one that was frozen, knows nothing of the others. They may have moved
the streams meanwhile, and have forgotten it after 7 s. Looks are 2 s apart."""


class Says(NamedTuple):
    """What a sender says of the streams: which prefix it is told that they should have (None: the one that they have),
    which ones it stores in, and whether it takes large events from a subject of their own."""

    wanted: str | None
    at: str
    takes_large: bool = False


@dataclass(slots=True)
class _Agreed:
    what: object = None
    since_s: float | None = None

    def look(self, what: object, *, all_say_so: bool, now_s: float) -> None:
        if not all_say_so or what != self.what:
            self.what, self.since_s = what, None
        if all_say_so and self.since_s is None:
            self.since_s = now_s

    def lasts(self, what: object, seconds: float, now_s: float) -> bool:
        return self.since_s is not None and what == self.what and now_s - self.since_s >= seconds


class Agreement:
    """What the senders of one NATS say of its streams, `me` among them."""

    def __init__(self, me: str) -> None:
        self._me = me
        self._said: dict[str, Says | None] = {}
        self._wanted = _Agreed()
        self._all = _Agreed()
        self._large = _Agreed()
        self._first = False
        self._looked_s = -math.inf

    def heard(self, pod: str, says: Says | None) -> None:
        """None of a sender that knows nothing of prefixes."""
        self._said[pod] = says

    def look(self, here: tuple[str, ...], mine: Says, now_s: float) -> None:
        """Those that count as here, this sender among them, and what it says itself."""
        if not self._is_fresh(now_s):
            self._wanted, self._all, self._large = _Agreed(), _Agreed(), _Agreed()
        self._looked_s = now_s
        self._said = {pod: self._said.get(pod) for pod in here if pod != self._me}
        others = self._said.values()
        same_aim = all(each is not None and each.wanted == mine.wanted for each in others)
        self._wanted.look(mine.wanted, all_say_so=same_aim, now_s=now_s)
        self._all.look(mine, all_say_so=all(each == mine for each in others), now_s=now_s)
        know_large = all(each is not None and each.takes_large for each in others)
        self._large.look(True, all_say_so=know_large, now_s=now_s)
        self._first = min(here) == self._me

    @property
    def all_want_the_same(self) -> bool:
        """Whether all that were here at the last look are told the same prefix."""
        return self._wanted.since_s is not None

    def may_move(self, wanted: str | None, now_s: float) -> bool:
        """Whether streams may be moved to the prefix that is wanted now."""
        return self._is_fresh(now_s) and self._wanted.lasts(wanted, SETTLE_SECONDS, now_s)

    def take_large(self, now_s: float) -> bool | None:
        """Whether large events may be stored under their own subject: not while anybody is here who does not know it.
        None: that is not known yet, and all stays as it is."""
        if not self._is_fresh(now_s):
            return None
        if self._large.since_s is None:
            return False
        return True if self._large.lasts(True, SETTLE_SECONDS, now_s) else None

    def may_empty(self, mine: Says, now_s: float) -> bool:
        """Whether this sender, and no other, moves what former streams still hold: all store in the new ones."""
        return self._first and self._is_fresh(now_s) and self._all.lasts(mine, SETTLE_SECONDS, now_s)

    def may_remove(self, mine: Says, now_s: float) -> bool:
        """Whether this sender removes former streams that are empty."""
        return self._first and self._is_fresh(now_s) and self._all.lasts(mine, REMOVE_SECONDS, now_s)

    def _is_fresh(self, now_s: float) -> bool:
        return now_s - self._looked_s <= STALE_SECONDS
