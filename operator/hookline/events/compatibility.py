"""What the change of a schema means for those who publish and those who receive.

Decides which bodies the new schema may refuse although the former took them, and what receivers could rely on and no
longer can. It is a proof and no comparison of texts: a change is passed over only when it is certain that it means
nothing. What cannot be judged is said as such. Pure, and bounded: a pair of schemas that takes long is not judged.

Both questions are one: whether all that one schema takes is taken by another. For producers the former schema must lie
within the new one. For receivers the new one must lie within the former, with two differences: names that the former
schema did not have are no loss, and a property that is no longer described is one. docs/event-types.md tells it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hookline.events.explain import Path, pointer_step
from hookline.events.inclusion import Found, Proof, TooMuch, canonical
from hookline.events.schema_view import Document
from hookline.events.schemas import check_schema, draft_uri

MAX_CHANGES = 20
"""Of each sort that are told."""

_MAX_PLACE = 200
_DRAFT_04 = "http://json-schema.org/draft-04/schema"


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. `place` is a JSON Pointer into the new schema, or with `former` into the one before."""

    place: str
    message: str
    former: bool = False

    def __str__(self) -> str:
        return f"{self.place or 'the schema'}{' (of the former schema)' if self.former else ''} {self.message}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a change of a schema means; nothing at all when all three are empty."""

    refused: tuple[Change, ...] = ()
    """Bodies that were taken may be refused."""
    lost: tuple[Change, ...] = ()
    """Receivers may get what they never got, or miss what they always had."""
    unjudged: tuple[Change, ...] = ()
    """What may be one of the two."""


def compare(former: Mapping[str, Any], new: Mapping[str, Any]) -> Comparison:
    """What becomes of producers and receivers when `new` takes the place of `former`. Never raises."""
    before, after = dict(former), dict(new)
    try:
        if canonical(before) == canonical(after):
            return Comparison()
        if check_schema(before) or check_schema(after):
            return _not_judged("cannot be compared: one of the two is no schema that can be used")
        if _is_draft_04(before) != _is_draft_04(after):
            return _not_judged("cannot be compared: draft-04 and later drafts differ in what an integer is")
        refused = _within(before, after, for_receivers=False)
        lost = _within(after, before, for_receivers=True)
    except Exception as error:  # noqa: BLE001  # whatever stands in a schema
        return _not_judged(f"cannot be compared ({type(error).__name__}); write a simpler schema")
    return Comparison(
        _told(each for each in refused if each.certain),
        _told((each for each in lost if each.certain), former=True),
        _told(each for each in refused if not each.certain) or _told((e for e in lost if not e.certain), former=True),
    )


def _not_judged(message: str) -> Comparison:
    return Comparison(unjudged=(Change("", message),))


def _is_draft_04(document: Mapping[str, Any]) -> bool:
    return str(draft_uri(document)).rstrip("#") == _DRAFT_04


def _within(inner: dict[str, Any], outer: dict[str, Any], *, for_receivers: bool) -> list[Found]:
    small, large = Document(inner), Document(outer)
    try:
        return Proof(for_receivers=for_receivers).within((small.root,), large.root)
    except (TooMuch, RecursionError):
        return [Found((), "cannot be judged: the schemas are too large or too deep for it", certain=False)]


def _told(found: Iterable[Found], *, former: bool = False) -> tuple[Change, ...]:
    changes = dict.fromkeys(Change(pointer(each.path), each.message, former) for each in found)
    return tuple(sorted(changes, key=lambda each: (each.place, each.message)))[:MAX_CHANGES]


def pointer(path: Path) -> str:
    """A path as a JSON Pointer (RFC 6901), shortened, with escapes for what a terminal could obey."""
    text = "".join(pointer_step(str(step)) for step in path)
    text = text if text.isprintable() else json.dumps(text)[1:-1]
    return text if len(text) <= _MAX_PLACE else f"{text[: _MAX_PLACE // 2]}…{text[-_MAX_PLACE // 2 :]}"
