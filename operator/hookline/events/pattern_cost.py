"""How long a pattern may take on a text, before it is tried.

Decides an upper bound, from the pattern alone, of the ways in which an engine that goes back and tries again may walk
over a text. Whoever must not be held up, such as the operator, asks it first; see keywords.bounded. A pattern with many
ways is no wrong pattern: most take them only for texts that hardly differ from a match.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

from hookline.events.patterns import matches, problem

_TOKEN = re.compile(
    r"""(?P<open>\((?:\?(?:[:=!]|<[=!]|<[^>]*>|[a-z-]*:))?)
    |(?P<close>\))
    |(?P<either>\|)
    |(?P<times>[*+?]\??|\{(?P<least>\d+)(?P<to>,(?P<most>\d*))?\}\??)
    |(?P<again>\\(?:[1-9]\d*|k<[^>]*>))
    |(?P<atom>\\[pP]\{[^}]*\}|\\u\{[^}]*\}|\\u[\da-fA-F]{4}|\\x[\da-fA-F]{2}|\\c.|\\.|\[(?:\\.|[^\]\\])*\]|.)""",
    re.DOTALL | re.VERBOSE,
)
_MANY_NESTED = 100
_WIDE = (r"\D", r"\W", r"\S", r"\s", r"\p", r"\P", r"\u", r"\x", r"\c")
"""Escapes that may take characters outside of ASCII."""
_PLAIN = [chr(code) for code in range(128)]


def ways(pattern: str, characters: int) -> float:
    """The ways over a text of so many characters; infinite when they may grow with a power of its length.

    Of a pattern that can be used. That two parts in a row are told apart by what they take counts only where one of
    them stands first or last in a group that is repeated.
    """
    length = max(characters, 1)
    try:
        cost = _Reader(pattern, length).cost()
    except OverflowError:
        return math.inf
    return cost if pattern.startswith("^") and "|" not in pattern else cost * length


@dataclass(slots=True)
class _Group:
    branches: float = 0.0
    sequence: float = 1.0
    last: float = 1.0
    """Ways of the part that stands last, in case that it is repeated."""
    atoms: list[str] = field(default_factory=list)
    fixed: list[bool] = field(default_factory=list)
    """Of each atom whether it is taken a fixed number of times."""
    plain: bool = True
    """Whether nothing but atoms is in it, one after the other."""

    def end_part(self) -> None:
        self.sequence *= self.last
        self.last = 1.0

    def total(self) -> float:
        self.end_part()
        return self.branches + self.sequence


class _Reader:
    def __init__(self, pattern: str, length: int) -> None:
        self._tokens = _TOKEN.finditer(pattern)
        self._length = length
        self._closed: _Group | None = None
        """The group that ended just now."""

    def cost(self) -> float:
        stack = [_Group()]
        for token in self._tokens:
            group = stack[-1]
            if token["times"]:
                self._repeat(group, token)
                continue
            group.end_part()
            self._closed = None
            if token["open"]:
                stack.append(_Group())
            elif token["close"] and len(stack) > 1:
                self._closed = stack.pop()
                stack[-1].last = self._closed.total()
                stack[-1].plain = False
            elif token["either"]:
                group.branches, group.sequence, group.plain = group.branches + group.sequence, 1.0, False
            elif token["again"]:
                return math.inf
            elif token["atom"] not in ("^", "$"):
                group.atoms.append(token["atom"])
                group.fixed.append(True)
            if len(stack) > _MANY_NESTED:
                return math.inf
        return stack[0].total()

    def _repeat(self, group: _Group, token: re.Match[str]) -> None:
        least, most = self._bounds(token)
        inner, self._closed = self._closed, None
        if inner is None:
            if group.fixed:
                group.fixed[-1] = least == most
            group.last *= max(most - least + 1, 1)
        elif most <= 1:
            group.last = group.last + 1
        elif group.last == 1 or _is_told_apart(inner):
            group.last *= max(most - least + 1, 1)
        else:
            group.last = math.inf

    def _bounds(self, token: re.Match[str]) -> tuple[int, int]:
        match token["times"][0]:
            case "?":
                return 0, 1
            case "*" | "+":
                return 0, self._length
        least = min(int(token["least"]), self._length)
        if not token["to"]:
            return least, least
        return least, min(int(token["most"]), self._length) if token["most"] else self._length


def _is_told_apart(group: _Group) -> bool:
    """Whether a text is rounds of a repeated group in one way at most.

    So it is when only one part may be longer or shorter, and each round begins or ends with what is nowhere else in it.
    """
    if not group.plain or not group.atoms or group.fixed.count(False) > 1:
        return False
    (first, *after), (*before, last) = group.atoms, group.atoms
    begins = group.fixed[0] and not any(_share(first, each) for each in after)
    ends = group.fixed[-1] and not any(_share(last, each) for each in before)
    return begins or ends


def _share(one: str, other: str) -> bool:
    """Whether two atoms may take the same character. Of one that cannot stand alone nothing is known."""
    if not (_is_ascii(one) or _is_ascii(other)) or problem(one) or problem(other):
        return True
    return any(_takes(one, each) and _takes(other, each) for each in _PLAIN)


def _is_ascii(atom: str) -> bool:
    """Whether an atom surely takes characters of ASCII only."""
    return atom.isascii() and atom != "." and not atom.startswith("[^") and not any(each in atom for each in _WIDE)


def _takes(atom: str, character: str) -> bool:
    return matches(f"^(?:{atom})$", character)
