"""An application team in a test cluster: applies manifests as GitOps does, and publishes events.

Decides what its manifests look like; never acts as the operator.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from doubles.installation import Installation, condition_of
from doubles.local import all_the_while, publish, until
from doubles.receiver import Call, TlsReceiver
from doubles.waiting import eventually
from hookline.control.kinds import WEBHOOKS

Object = dict[str, Any]

EVENT = "IdentityCreated"
ALLOWED = {"hookline.dev/allow-webhooks": "true"}


def new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


class Team:
    """A team in a namespace of its own."""

    def __init__(self, installation: Installation, namespace: str, receiver: TlsReceiver, user: str = "admin") -> None:
        self._installation = installation
        self.namespace = namespace
        self.user = user
        self._receiver = receiver
        self.published: list[str] = []

    def path(self, name: str) -> str:
        """A path at the receiver that is this team's alone."""
        return f"/{self.namespace}/{name}"

    async def apply(self, *manifests: Object) -> None:
        """Server-side, by a field manager of its own."""
        words = ("apply", "--server-side", "--field-manager=gitops", "--force-conflicts", "-n", self.namespace)
        stdin = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifests)})
        await self._installation.kube(*words, "-f", "-", stdin=stdin, user=self.user)

    async def delete(self, kind: str, *names: str) -> None:
        await self._installation.kube("delete", kind, *names, "-n", self.namespace)

    async def allow(self, secret: str, *, allowed: bool) -> None:
        """Set or remove the label."""
        label = "hookline.dev/allow-webhooks" + ("=true" if allowed else "-")
        await self._installation.kube("label", "secret", secret, "-n", self.namespace, label)

    async def condition(self, webhook: str, kind: str = "Ready") -> Object:
        found = await self._installation.admin.get(WEBHOOKS, self.namespace, webhook)
        return condition_of(found or {}, kind)

    async def until(self, webhook: str, reason: str, *, kind: str = "Ready", seconds: float = 30) -> Object:
        """Wait until a condition of the newest generation has this reason; the condition."""
        last: Object = {}

        async def has_it() -> bool:
            last.clear()
            last.update(await self.condition(webhook, kind))
            return last.get("reason") == reason

        await eventually(has_it, seconds=seconds, what=lambda: f"{webhook}: {kind} {reason}, but {last}")
        return last

    async def publish(self, count: int = 1, *, event: str = EVENT) -> list[str]:
        """Events of this team; their ids."""
        assert self._installation.queue is not None
        ids = await publish(self._installation.queue, count, event=event, tenant=self.namespace)
        self.published += ids
        return ids

    async def call(self, path: str, event_id: str, *, seconds: float = 30) -> Call:
        """The call with an event at a path, once it is there."""
        found: list[Call] = []

        def arrived() -> bool:
            found[:] = [each for each in self._receiver.at(path) if each.event_id == event_id]
            return bool(found)

        await until(arrived, seconds=seconds, what=f"{event_id} at {path}")
        return found[0]

    def publishing(self, *, every_seconds: float = 0.1) -> AbstractAsyncContextManager[None]:
        """Publish events all the while."""
        return all_the_while(self.publish, every_seconds=every_seconds)

    async def missed_nothing(self, path: str, *, seconds: float = 30) -> None:
        """Wait until every event of this team has arrived at a path."""
        await until(lambda: not self.missing(path), seconds=seconds, what=f"the last events at {path}")

    def missing(self, path: str) -> set[str]:
        return set(self.published) - {each.event_id for each in self._receiver.at(path)}

    def webhook(self, name: str, path: str, *, secret: str = "signing", **spec: Any) -> Object:
        return {
            "apiVersion": "hookline.dev/v1alpha1",
            "kind": "Webhook",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {
                "event": EVENT,
                "url": self._receiver.url(path),
                "secretRef": {"name": secret},
                "tls": {"caSecretRef": {"name": "receiver-ca"}},
                # A receiver that is a test never rests for five minutes.
                "retry": {"scheduleSeconds": [1] * 20},
                **spec,
            },
        }

    def secret(self, name: str, data: Mapping[str, str], *, allowed: bool = True) -> Object:
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": self.namespace, "labels": ALLOWED if allowed else {}},
            "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
        }

    def authority(self) -> Object:
        """The Secret with the receiver's CA."""
        return self.secret("receiver-ca", {"ca.crt": self._receiver.ca_pem})

    def signing(self, name: str, secret: str, *, allowed: bool = True) -> Object:
        """A Secret to sign with."""
        return self.secret(name, {"secret": secret}, allowed=allowed)
