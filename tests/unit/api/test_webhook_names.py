"""How Webhooks are called, and why their deliveries wait, as the cluster says it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from hookline.api import webhook_names as module
from hookline.api.waiting import Named
from hookline.api.webhook_names import WebhookNames, named
from hookline.runtime.tasks import cancel
from hookline.serving.remembered import Unanswered


def manifest(uid: str, name: str = "hook", spec: Any = None, reason: str = "") -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": "False", "reason": reason}] if reason else []
    metadata = {"uid": uid, "namespace": "team-a", "name": name}
    return {"metadata": metadata, "spec": spec or {}, "status": {"conditions": conditions}}


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (manifest("u"), ""),
        (manifest("u", spec={"paused": True}), "Paused"),
        (manifest("u", spec={"enabled": False, "paused": True}), "Disabled"),
        (manifest("u", reason="SecretMissing"), "SecretMissing"),
        (manifest("u", reason="rm -rf \x1b"), ""),
        ({**manifest("u"), "spec": [], "status": {"conditions": {}}}, ""),
        ({**manifest("u"), "status": {"conditions": [None, {"type": "Ready", "status": "False", "reason": 7}]}}, ""),
    ],
)
def test_why_deliveries_wait_is_what_the_webhook_says(found: dict[str, Any], why: str) -> None:
    assert named(found) == ("u", Named("team-a", "hook", why))


@pytest.mark.parametrize("found", [None, [], {}, {"metadata": None}, {"metadata": {"uid": 7, "namespace": "a"}}])
def test_what_is_no_webhook_has_no_name(found: Any) -> None:
    assert named(found) is None


class Served:
    """A list in two parts, and then one watch."""

    def __init__(self, events: list[dict[str, Any]]) -> None:
        self.events = events
        self.away = True
        self.told = asyncio.Event()

    async def request(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, Any]]:
        assert (method, path) == ("GET", "/apis/hookline.dev/v1alpha1/namespaces/team-a/webhooks")
        if self.away:
            self.away = False
            raise Unanswered("away", 0.0)
        if query and "continue" in query:
            return 200, {"items": [manifest("u2", "two")], "metadata": {"resourceVersion": "7"}}
        return 200, {"items": [manifest("u1", "one"), "rubbish"], "metadata": {"continue": "c"}}

    async def watch(self, path: str, **query: str) -> AsyncIterator[dict[str, Any]]:
        assert query == {"resourceVersion": "7"}
        for each in self.events:
            yield each
        self.told.set()
        await asyncio.Event().wait()


async def test_names_follow_what_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGAIN_SECONDS", 0.0)
    served = Served(
        [
            {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "8"}}},
            {"type": "MODIFIED", "object": manifest("u1", "one", {"paused": True})},
            {"type": "ADDED", "object": manifest("u3", "three")},
            {"type": "DELETED", "object": manifest("u2", "two")},
        ]
    )
    names = WebhookNames(served, "team-a")
    following = asyncio.create_task(names.follow())
    try:
        async with asyncio.timeout(10):
            await served.told.wait()
    finally:
        await cancel([following])
    assert names.of("u1") == Named("team-a", "one", "Paused")
    assert names.of("u2") is None
    assert names.of("u3") == Named("team-a", "three", "")
