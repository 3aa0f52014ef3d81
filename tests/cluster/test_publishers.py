"""Tokens that teams make for producers outside of the cluster: from their Secret to what a gateway takes."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from controlplane.kubectl import Kubectl
from controlplane.servers import ControlPlane
from doubles.installation import Installation, installed
from doubles.waiting import eventually
from hookline.control.kinds import EVENTS, SECRETS
from hookline.gateway.callers import Caller, digest_of
from hookline.gateway.static_tokens import StaticTokens

pytestmark = pytest.mark.timeout(120)

Object = dict[str, Any]

LABEL = "hookline.dev/publisher"
TYPES = "hookline.dev/event-types"
OF_GATEWAY = "hookline-publishers-default"


class Gateway:
    """What a gateway pod knows of the tokens, and the team whose they are."""

    def __init__(self, hookline: Installation, namespace: str, folder: Path) -> None:
        self.hookline = hookline
        self.namespace = namespace
        self._file = folder / "publisher-tokens.json"
        self._tokens = StaticTokens(self._file)

    async def caller(self, token: str) -> Caller | None:
        """Who has a token, by the Secret as it is now."""
        found = await self.hookline.admin.get(SECRETS, self.hookline.namespace, OF_GATEWAY)
        for text in (found or {}).get("data", {}).values():
            self._file.write_bytes(base64.b64decode(text))
        self._tokens.reload()
        return self._tokens.caller(digest_of(token))

    async def until(self, token: str, *, counts: bool) -> Caller | None:
        last: list[Caller | None] = [None]

        async def is_so() -> bool:
            last[0] = await self.caller(token)
            return (last[0] is not None) == counts

        await eventually(is_so, what=lambda: f"counts: {counts}; {self.hookline.logs()[-3000:]}")
        return last[0]

    async def make(self, name: str, data: Mapping[str, bytes], *, labelled: bool = True, types: str = "") -> None:
        labels = {LABEL: "true"} if labelled else {}
        annotations = {TYPES: types} if types else {}
        metadata = {"name": name, "namespace": self.namespace, "labels": labels, "annotations": annotations}
        encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
        manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": encoded}
        await asyncio.to_thread(self.hookline.plane.request, SECRETS.path(self.namespace), manifest)

    async def change(self, name: str, **metadata: Object) -> None:
        await self.hookline.admin.merge(SECRETS, self.namespace, name, {"metadata": metadata})

    async def events(self, name: str) -> list[Object]:
        found = await self.hookline.admin.list_all(EVENTS, self.namespace)
        return [each for each in found if each["regarding"] | {"kind": "Secret", "name": name} == each["regarding"]]

    async def until_told(self, name: str, words: str) -> None:
        async def told() -> bool:
            return any(words in each["note"] for each in await self.events(name))

        await eventually(told, what=lambda: f"{words}: {self.hookline.logs()[-3000:]}")


async def test_a_token_counts_while_its_secret_is_there_with_its_label_and_for_the_types_that_it_names(
    control_plane: ControlPlane, kubectl: Kubectl, namespace: str, tmp_path: Path
) -> None:
    async with installed(control_plane, kubectl, tmp_path, senders=False) as hookline:
        hookline.operator().start()
        team = Gateway(hookline, namespace, tmp_path)
        token, other = secrets.token_hex(32), secrets.token_hex(32)
        await team.make("ci", {"token": token.encode()}, labelled=False)
        await team.make("other", {"token": other.encode()})
        assert await team.until(other, counts=True) == Caller(f"secret:{namespace}:other", namespace)
        assert await team.caller(token) is None, "it has no label"
        await team.change("ci", labels={LABEL: "true"})
        await team.until(token, counts=True)
        await team.until_told("ci", "events of any type are published")
        shown = await hookline.kube("events", "--for", "secret/ci", "-n", namespace)
        assert "PublisherAccepted" in shown

        await team.change("ci", annotations={TYPES: "order.paid"})

        async def is_limited() -> bool:
            caller = await team.caller(token)
            return caller is not None and caller.types == frozenset({"order.paid"})

        await eventually(is_limited)
        await team.change("ci", annotations={TYPES: "*"})
        await team.until(token, counts=False)
        await team.until_told("ci", "must be names of event types")
        await team.change("ci", annotations={TYPES: None})
        await team.until(token, counts=True)

        await team.change("ci", labels={LABEL: None})
        await team.until(token, counts=False)
        await hookline.admin.delete(SECRETS, namespace, "other")
        await team.until(other, counts=False)


async def test_what_is_hostile_is_told_harms_nobody_and_no_token_is_seen_anywhere(
    control_plane: ControlPlane, kubectl: Kubectl, namespace: str, tmp_path: Path
) -> None:
    canary = f"canary-{secrets.token_hex(16)}"
    async with installed(control_plane, kubectl, tmp_path, senders=False) as hookline:
        hookline.operator().start()
        team = Gateway(hookline, namespace, tmp_path)
        await team.make("large", {"token": canary.encode() + b"\x00\xff" * 500_000})
        await team.make("many", {f"{canary}-{n}": b"" for n in range(3000)})
        await team.make("guessed", {"token": canary[:10].encode()})
        await team.make("lines", {"token": f"{canary}\n{canary}".encode()})
        await team.make("types", {"token": f"types-{canary}".encode()}, types=f"{canary}!")
        await team.make("ci", {"token": canary.encode()})
        await team.until(canary, counts=True)
        refused = {"large": "header", "many": "the one key", "guessed": "guessed", "lines": "header"}
        for name, words in {**refused, "types": "names of event types"}.items():
            await team.until_told(name, words)
            assert {each["reason"] for each in await team.events(name)} == {"PublisherRefused"}
        await team.until_told("ci", "events of any type")
        seen = await everything(team)
        assert [name for name, text in seen.items() if canary in text] == []


async def everything(team: Gateway) -> dict[str, str]:
    """All that Hookline says, by where it says it."""
    hookline = team.hookline
    found = {
        kind: await hookline.kube("get", kind, "-n", hookline.namespace, "-o", "yaml", "--show-managed-fields")
        for kind in ("configmaps", "secrets", "events", "dispatchers", "deployments", "leases")
    }
    own = json.loads(await hookline.kube("get", "secret", OF_GATEWAY, "-n", hookline.namespace, "-o", "json"))
    found["what gateways read"] = "".join(base64.b64decode(each).decode() for each in own["data"].values())
    found["the team's events"] = await hookline.kube("get", "events", "-n", team.namespace, "-o", "yaml")
    found["logs"] = hookline.logs()
    found["the audit log"] = "\n".join(map(json.dumps, hookline.audited()))
    (operator,) = hookline.operators
    found["metrics"] = await operator.page("/metrics")
    assert "publisher tokens written" in found["logs"]
    return found
