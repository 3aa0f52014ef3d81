"""What Argo CD shows for our resources, by the script that it runs. Lua 5.1, as in Argo CD."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from lupa import lua51  # type: ignore[import-untyped]

from hookline.resources import crds

FOLDER = Path(__file__).parents[2] / "manifests" / "argocd"


def health(status: dict[str, Any] | None, *, generation: int = 2, kind: str = "Webhook") -> str:
    runtime = lua51.LuaRuntime(unpack_returned_tuples=True, register_eval=False)
    found = {
        "kind": kind,
        "metadata": {"name": "any", "generation": generation},
        **({"status": status} if status else {}),
    }
    runtime.globals().obj = runtime.table_from(found, recursive=True)
    answer = runtime.execute((FOLDER / "health.lua").read_text())
    assert answer["message"]
    return str(answer["status"])


def looked_at(ready: str, reason: str, *, generation: int = 2) -> dict[str, Any]:
    others = [{"type": "Accepted", "status": "True", "reason": "Accepted", "message": "the spec is valid"}]
    condition = {"type": "Ready", "status": ready, "reason": reason, "message": "why"}
    return {"observedGeneration": generation, "conditions": [*others, condition]}


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        (None, "Progressing"),
        ({"observedGeneration": -1, "conditions": []}, "Progressing"),
        (looked_at("True", "Ready", generation=1), "Progressing"),
        (looked_at("False", "UnknownEvent", generation=1), "Progressing"),
        ({"observedGeneration": 2, "conditions": []}, "Progressing"),
        (looked_at("True", "Ready"), "Healthy"),
        (looked_at("True", "Disabled"), "Healthy"),
        (looked_at("False", "SecretNotAllowed"), "Degraded"),
        (looked_at("False", "InvalidSchema"), "Degraded"),
        (looked_at("False", "Pending"), "Progressing"),
        (looked_at("False", "NoSenders"), "Progressing"),
        (looked_at("False", "NoGateway"), "Progressing"),
        (looked_at("Unknown", "Pending"), "Progressing"),
        (looked_at("True", "Paused"), "Healthy"),
        (looked_at("False", "RollingOut"), "Progressing"),
        (looked_at("False", "NATSUnreachable"), "Progressing"),
        (looked_at("False", "RolloutStuck"), "Degraded"),
        (looked_at("False", "NATSInUse"), "Degraded"),
    ],
)
def test_health_follows_ready_of_this_generation(status: dict[str, Any] | None, shown: str) -> None:
    assert health(status) == shown


@pytest.mark.parametrize(
    ("conditions", "shown"),
    [
        (None, "Progressing"),
        ({"Complete": "False"}, "Progressing"),
        ({"Complete": "True"}, "Healthy"),
        ({"Complete": "False", "Failed": "True", "Stalled": "True"}, "Degraded"),
    ],
)
def test_a_replay_is_healthy_once_it_is_complete(conditions: dict[str, str] | None, shown: str) -> None:
    said = [{"type": each, "status": status, "message": "why"} for each, status in (conditions or {}).items()]
    assert health({"observedGeneration": -1, "conditions": said} if conditions else None, kind="Replay") == shown


def test_every_kind_has_this_health() -> None:
    component = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    (generator,) = component["configMapGenerator"]
    wanted = {f"resource.customizations.health.hookline.dev_{kind.model.__name__}=health.lua" for kind in crds.KINDS}
    assert set(generator["files"]) == wanted
    assert generator["behavior"] == "merge", "all else in argocd-cm must stay"
