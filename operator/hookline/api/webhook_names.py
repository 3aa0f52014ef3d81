"""How Webhooks are called whose uids messages name, and why their deliveries wait, as the cluster says it.

Follows them all the time, and keeps the last that was known. What is not known is shown without a name.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

import structlog

from hookline.api.waiting import Named
from hookline.resources.base import API_VERSION
from hookline.serving.remembered import Unanswered

log = structlog.get_logger(__name__)

PAGE = 500
AGAIN_SECONDS = 1.0
"""Before they are read anew, after a watch has ended."""

REFUSED_SECONDS = 10.0
"""Before they are read anew, where that was refused."""

_WORD = re.compile(r"[A-Z][A-Za-z]{0,31}")


class Objects(Protocol):
    """kube-apiserver (`serving.api_server.ApiServer`). Each raises Unanswered."""

    async def request(
        self, method: str, path: str, *, query: Mapping[str, str] = ...
    ) -> tuple[int, dict[str, Any]]: ...

    def watch(self, path: str, **query: str) -> AsyncIterator[dict[str, Any]]: ...


class WebhookNames:
    """Those of all namespaces, or of one."""

    def __init__(self, server: Objects, namespace: str | None = None) -> None:
        self._server = server
        inside = f"/namespaces/{namespace}" if namespace else ""
        self._path = f"/apis/{API_VERSION}{inside}/webhooks"
        self._named: dict[str, Named] = {}
        self._said = ""

    def of(self, uid: str) -> Named | None:
        return self._named.get(uid)

    async def follow(self) -> None:
        """Until cancelled."""
        while True:
            try:
                version = await self._read()
                self._say("")
                async for event in self._server.watch(self._path, resourceVersion=version):
                    if event.get("type") == "ERROR":
                        break
                    self._take(event)
                await asyncio.sleep(AGAIN_SECONDS)
            except Unanswered as error:
                self._say(str(error))
                await asyncio.sleep(error.retry_after_seconds)

    async def _read(self) -> str:
        """All of them; the version of the list. Raises Unanswered."""
        found: dict[str, Named] = {}
        more: dict[str, str] = {}
        while True:
            code, said = await self._server.request("GET", self._path, query={"limit": str(PAGE), **more})
            if code != 200:
                raise Unanswered(f"the API server answers the list of Webhooks with {code}", REFUSED_SECONDS)
            found |= dict(each for each in map(named, said.get("items") or []) if each is not None)
            metadata = said.get("metadata") or {}
            if not metadata.get("continue"):
                self._named = found
                return str(metadata.get("resourceVersion", ""))
            more = {"continue": str(metadata["continue"])}

    def _take(self, event: Mapping[str, Any]) -> None:
        found = named(event.get("object"))
        if found is None or event.get("type") == "BOOKMARK":
            return
        uid, said = found
        if event.get("type") == "DELETED":
            self._named.pop(uid, None)
        else:
            self._named[uid] = said

    def _say(self, problem: str) -> None:
        if problem and problem != self._said:
            log.warning("Webhooks cannot be read now; the last known names are shown", problem=problem)
        self._said = problem


def named(manifest: Any) -> tuple[str, Named] | None:
    """The uid of a Webhook, and what is known of it; None of what is none."""
    metadata = manifest.get("metadata") if isinstance(manifest, dict) else None
    if not isinstance(metadata, dict):
        return None
    uid, namespace, name = (metadata.get(each) for each in ("uid", "namespace", "name"))
    if not (isinstance(uid, str) and isinstance(namespace, str) and isinstance(name, str)):
        return None
    return uid, Named(namespace, name, _why(manifest))


def _why(manifest: Mapping[str, Any]) -> str:
    """Why its deliveries are parked, unless its endpoint is the reason."""
    spec, status = manifest.get("spec"), manifest.get("status")
    if isinstance(spec, dict) and spec.get("enabled") is False:
        return "Disabled"
    if isinstance(spec, dict) and spec.get("paused") is True:
        return "Paused"
    conditions = status.get("conditions") if isinstance(status, dict) else None
    for each in conditions if isinstance(conditions, list) else ():
        if isinstance(each, dict) and each.get("type") == "Ready" and each.get("status") == "False":
            reason = each.get("reason")
            return reason if isinstance(reason, str) and _WORD.fullmatch(reason) else ""
    return ""
