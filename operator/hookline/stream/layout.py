"""Under which names the streams lie, and what is done next until they lie under the names that are wanted. Pure.

A stream S is moved to T by three changes: T is made, with a subject of its own that nobody uses; S gives up our
subjects and has such a subject as well; T gets ours. Each of them may be the last that a sender makes, and any sender
goes on from what is there. Between the last two no stream takes what is published, so nothing is confirmed then. What
S still has is done from S: its consumers stay, and what was scheduled in it comes due in it (measured with
nats-server 2.14).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from hookline.stream import names


@dataclass(frozen=True, slots=True)
class Layout:
    """`present` has the prefix of the stream with our subjects, by the end of its name; `former` the names of those
    that had them. `takes_large` is whether EVENTS takes large events under their own subject."""

    present: Mapping[str, str] = field(default_factory=dict)
    former: tuple[str, ...] = ()
    takes_large: bool = False

    def stream(self, base: str) -> str:
        """The stream that takes what is stored now."""
        return f"{self.prefix(base)}{base}"

    def prefix(self, base: str) -> str:
        """Of the stream that takes what is stored now; what is not known to be there has the prefix of the others."""
        return self.present.get(base, next(iter(self.present.values()), ""))

    def former_of(self, base: str) -> tuple[str, ...]:
        return tuple(each for each in self.former if names.bears(each, base))

    def streams(self, base: str) -> tuple[str, ...]:
        """All that may hold something, the present one first."""
        return self.stream(base), *self.former_of(base)

    @property
    def at(self) -> str:
        """Names what takes what is stored now, for senders to compare."""
        return " ".join(self.stream(base) for base in names.BASES)

    def is_at(self, prefix: str) -> bool:
        """Whether all streams that have our subjects bear this prefix."""
        return all(self.present.get(base) == prefix for base in names.BASES)


def plain() -> Layout:
    """The streams without a prefix, as all were named once."""
    return _PLAIN


_PLAIN = Layout(dict.fromkeys(names.BASES, ""))


@dataclass(frozen=True, slots=True)
class Change:
    """A stream that is to be there, and to have our subjects, or none of them."""

    stream: str
    serves: bool


def goal(layout: Layout, base: str, wanted: str | None, *, may_move: bool) -> str:
    """The prefix that a stream is to have."""
    there = layout.present.get(base)
    if there is not None:
        return wanted if wanted is not None and may_move else there
    if wanted is not None:
        return wanted
    # Its subjects were given up and not taken, or it was deleted: a stream with history goes before a new one.
    former = [each.removesuffix(base) for each in layout.former_of(base)]
    others = [*layout.present.values(), *(parts[0] for each in layout.former if (parts := names.parts_of(each)))]
    return next(iter(former or others), names.OWN_PREFIX)


def changes(layout: Layout, base: str, wanted: str | None, *, may_move: bool) -> Sequence[Change]:
    """What is to be true of the streams with this end of their names, in this order. What is so already is no work."""
    aim = goal(layout, base, wanted, may_move=may_move)
    target, there = f"{aim}{base}", layout.present.get(base)
    found: list[Change] = []
    if there is not None and there != aim:
        found += [Change(target, serves=False), Change(f"{there}{base}", serves=False)]
    found.append(Change(target, serves=True))
    return [*found, *(Change(each, serves=False) for each in layout.former_of(base) if each != target)]


def moved(layout: Layout, base: str, wanted: str | None, *, may_move: bool) -> Layout:
    """What is there once these changes were made."""
    made = changes(layout, base, wanted, may_move=may_move)
    serving = next(each.stream for each in made if each.serves)
    others = {each.stream for each in made} - {serving}
    former = tuple(sorted({*(each for each in layout.former if each != serving), *others}))
    return replace(layout, present={**layout.present, base: serving.removesuffix(base)}, former=former)
