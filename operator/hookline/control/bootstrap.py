"""The first Dispatchers of an installation: made once from a file, and never touched again.

`kubectl apply -k` cannot apply an object whose kind comes in the same run, so the operator makes the first one.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import structlog
import yaml

from hookline.control.cluster import Conflict
from hookline.control.context import Context
from hookline.control.kinds import DISPATCHERS
from hookline.resources.safeyaml import Loader

log = structlog.get_logger(__name__)


async def create_missing(context: Context, file: Path) -> None:
    """Create each Dispatcher of a file that does not exist, in the operator's namespace. Raises ClusterError."""
    namespace = context.identity.namespace
    there = {each["metadata"]["name"] for each in await context.cluster.list_all(DISPATCHERS, namespace)}
    for manifest in await asyncio.to_thread(_dispatchers, file):
        name = manifest["metadata"]["name"]
        if name in there:
            continue
        try:
            await context.cluster.create(
                DISPATCHERS, {"metadata": {"namespace": namespace, "name": name}, "spec": manifest.get("spec") or {}}
            )
        except Conflict:
            continue
        log.info("created a first Dispatcher; from now on it is yours to change", dispatcher=name)


def _dispatchers(file: Path) -> list[dict[str, Any]]:
    documents = yaml.load_all(file.read_text(encoding="utf-8"), Loader=Loader)
    return [each for each in documents if isinstance(each, dict) and each.get("kind") == "Dispatcher"]
