"""Whether an object in the cluster is as the operator applies it: it writes nothing that is so already. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hookline.control.kinds import Object


def holds(live: Any, wanted: Any) -> bool:
    """Whether everything that is wanted is so, whatever else the API server or others have added."""
    if isinstance(wanted, Mapping):
        return isinstance(live, Mapping) and all(holds(live.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, Sequence) and not isinstance(wanted, str):
        return isinstance(live, Sequence) and len(live) == len(wanted) and all(map(holds, live, wanted))
    return bool(live == wanted)


def holds_just(live: Object, manifest: Object) -> bool:
    """Whether a ConfigMap or Secret holds the wanted data and no more, with its labels and owner."""
    wanted = {key: value for key, value in manifest["metadata"].items() if key in ("labels", "ownerReferences")}
    return (live.get("data") or {}) == manifest["data"] and holds(live["metadata"], wanted)
