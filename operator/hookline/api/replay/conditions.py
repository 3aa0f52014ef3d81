"""What the status of a Replay says of how far it is, and why. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from hookline.resources.base import Condition
from hookline.resources.reasons import ReplayReason
from hookline.resources.replay import ReplayStatus

_DONE = (ReplayReason.COMPLETE, ReplayReason.DRY_RUN)


def told(status: ReplayStatus, generation: int, reason: ReplayReason, message: str, now: str) -> ReplayStatus:
    """A status with its conditions, and whether this generation is done with. `now` is RFC 3339.

    Whoever goes by kstatus (Flux) waits until the generation is observed, which it is once the Replay is finished.
    """
    before = {each.type: each for each in status.conditions}
    conditions = tuple(
        Condition(
            type=name,
            status=value,
            observed_generation=generation,
            last_transition_time=_since(before.get(name), value, now),
            reason=reason,
            message=message,
        )
        for name, value in _conditions(status.phase, reason)
    )
    observed = generation if status.phase in ("Complete", "Failed") else status.observed_generation
    return status.model_copy(update={"conditions": conditions, "observed_generation": observed})


def _conditions(phase: str, reason: ReplayReason) -> Iterator[tuple[str, Any]]:
    yield "Complete", "True" if reason in _DONE else "False"
    if phase == "Failed":
        yield from (("Failed", "True"), ("Stalled", "True"))


def _since(before: Condition | None, value: str, now: str) -> str:
    return before.last_transition_time if before is not None and before.status == value else now


def as_manifest(status: ReplayStatus) -> Mapping[str, Any]:
    """As it stands in an object."""
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)


def status_in(manifest: Mapping[str, Any]) -> ReplayStatus | None:
    """The status of an object. None of one that this version cannot read: it is left alone, for begun anew it would do
    again what another version has done."""
    try:
        return ReplayStatus.model_validate(manifest.get("status") or {})
    except ValidationError:
        return None
