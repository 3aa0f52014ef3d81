"""People around a cluster: a team that applies manifests as GitOps does and publishes events, and an administrator."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from controlplane import sandbox
from controlplane.kubectl import Kubectl
from doubles.receiver import Call, TlsReceiver
from hookline.events.envelope import Event
from hookline.stream.publish import Publisher, publish_event

EVENT = "IdentityCreated"


async def until(condition: Callable[[], bool], *, seconds: float = 60, what: str) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"{what}: not within {seconds:g} s"
        await asyncio.sleep(0.1)


def new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


class Team:
    """An application team: applies manifests as GitOps does, and publishes events."""

    def __init__(self, kubectl: Kubectl, namespace: str, receiver: TlsReceiver, publisher: Publisher) -> None:
        self._kubectl = kubectl
        self._namespace = namespace
        self._receiver = receiver
        self._publisher = publisher
        self.published: list[str] = []

    def apply(self, *manifests: dict[str, Any]) -> None:
        """Server-side, by a field manager of its own."""
        listed = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        words = (
            "apply",
            "--server-side",
            "--force-conflicts",
            "--field-manager=gitops",
            "-n",
            self._namespace,
            "-f",
            "-",
        )
        self._kubectl.ok(*words, stdin=json.dumps(listed), user="gitops")

    def listens(self, name: str, path: str) -> str:
        """A Webhook that is called at a path, once it is ready; the key that signs its calls."""
        secret = new_secret()
        self.apply(
            self.secret("receiver-ca", {"ca.crt": self._receiver.ca_pem}),
            self.secret("signing", {"secret": secret}),
            self.webhook(name, path, secret="signing"),
        )
        self.ready(name)
        return secret

    def ready(self, name: str, *, reason: str = "Ready") -> None:
        """Wait as a pipeline would."""
        self._kubectl.ok("wait", f"webhook/{name}", "-n", self._namespace, "--for=condition=Ready", "--timeout=60s")
        assert self.condition(name, "Ready")["reason"] == reason

    def condition(self, name: str, kind: str) -> dict[str, Any]:
        """One condition, empty when it is not there or speaks of an older generation."""
        webhook = self._kubectl.json("get", "webhook", name, "-n", self._namespace)
        found: list[dict[str, Any]] = webhook["status"].get("conditions", [])
        generation = webhook["metadata"]["generation"]
        return next((each for each in found if each["type"] == kind and each["observedGeneration"] == generation), {})

    async def publish(self) -> str:
        """One event; its id."""
        now = datetime.now(UTC).isoformat()
        event = Event(f"evt_{uuid.uuid4().hex}", self._namespace, EVENT, now, b'{"n": 1}')
        await publish_event(self._publisher, event, patience_seconds=30)
        self.published.append(event.id)
        return event.id

    async def arrives(self, path: str, event_id: str, *, seconds: float = 30) -> Call:
        """The call with an event at a path."""
        found: list[Call] = []

        def arrived() -> bool:
            found[:] = [each for each in self._receiver.at(path) if each.event_id == event_id]
            return bool(found)

        await until(arrived, seconds=seconds, what=f"{event_id} at {path}")
        return found[0]

    def webhook(self, name: str, path: str, *, secret: str, enabled: bool = True) -> dict[str, Any]:
        return {
            "apiVersion": "hookline.dev/v1alpha1",
            "kind": "Webhook",
            "metadata": {"name": name, "namespace": self._namespace},
            "spec": {
                "event": EVENT,
                "url": self._receiver.url(path),
                "secretRef": {"name": secret},
                "tls": {"caSecretRef": {"name": "receiver-ca"}},
                "enabled": enabled,
                "retry": {"scheduleSeconds": [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]},
            },
        }

    def secret(self, name: str, data: dict[str, str], *, allowed: bool = True) -> dict[str, Any]:
        labels = {"hookline.dev/allow-webhooks": "true"} if allowed else {}
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": self._namespace, "labels": labels},
            "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
        }


def allow_receiver(kubectl: Kubectl, system: str) -> None:
    """What an administrator says of a private network that receivers are in; and wait for the pods."""
    patch = json.dumps({"spec": {"egress": {"allowCidrs": [f"{sandbox.HOST_ADDRESS}/32"]}}})
    kubectl.ok("patch", "dispatcher", "default", "-n", system, "--type=merge", f"--patch={patch}")
    kubectl.ok("wait", "dispatcher/default", "-n", system, "--for=condition=Ready", "--timeout=90s", seconds=100)
