"""A workload publishes with nothing but its own ServiceAccount, and a receiver verifies the call."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from controlplane import images
from controlplane.kubectl import Kubectl
from controlplane.ports import free_port
from doubles.receiver import TlsReceiver
from e2e.cluster import SYSTEM
from e2e.team import EVENT, Team, allow_receiver, until
from hookline.events.builtin_events import event_named, sample_of
from hookline.stream.publish import Publisher

PAGE = (Path(__file__).parents[2] / "docs" / "kubernetes.md").read_text()

pytestmark = pytest.mark.timeout(400)

PRODUCER = """
import http.client, json, ssl, sys
token = open("/var/run/secrets/hookline/token").read()
trust = ssl.create_default_context(cafile="/etc/hookline/ca.crt")
for namespace in ("", "kube-public"):
    line = http.client.HTTPSConnection(sys.argv[1], context=trust, timeout=20)
    headers = {"Authorization": "Bearer " + token, "Content-Type": "application/json", "Idempotency-Key": "order-4711"}
    headers.update({"Hookline-Namespace": namespace} if namespace else {})
    line.request("POST", "/v1/events/" + sys.argv[2], sys.argv[3], headers)
    answer = line.getresponse()
    print(json.dumps([answer.status, json.load(answer)]))
"""
"""With Python's standard library alone: once for its own namespace, once for another one."""

CA: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "hookline-ca", "labels": {"hookline.dev/ca": "true"}},
}
"""As it stands in a team's Git: the operator fills it in, and the pod waits for that."""


async def test_a_pod_publishes_with_its_own_account_and_the_receiver_verifies_the_call(
    installed: Kubectl, namespace: str, receiver: TlsReceiver, publisher: Publisher
) -> None:
    allow_receiver(installed, SYSTEM)
    team = Team(installed, namespace, receiver, publisher)
    secret = team.listens("orders", "/orders")
    installed.ok("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    team.apply(CA, producer(sample_of(event_named(EVENT))))

    def ended() -> bool:
        return installed.json("get", "pod", "producer", "-n", namespace)["status"]["phase"] in ("Succeeded", "Failed")

    await until(ended, what="the end of the producer")
    said = installed.ok("logs", "producer", "-n", namespace)
    (status, stored), (other_status, problem) = map(json.loads, said.splitlines())
    assert (status, stored["id"], stored["namespace"]) == (202, "order-4711", namespace), said
    assert other_status == 403, problem
    call = await team.arrives("/orders", "order-4711")
    assert call.verified_by(secret)
    assert call.headers["hookline-tenant"] == namespace


def producer(body: Any) -> dict[str, Any]:
    """As restricted as can be, and without the token that pods have by default."""
    container = {
        "name": "main",
        "image": "hookline:0.1.0",
        "command": [images.INTERPRETER, "-c", PRODUCER],
        "args": [f"hookline-gateway.{SYSTEM}", EVENT, json.dumps(body)],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "hookline-token", "mountPath": "/var/run/secrets/hookline"},
            {"name": "hookline-ca", "mountPath": "/etc/hookline"},
        ],
    }
    token = {"serviceAccountToken": {"path": "token", "audience": "hookline"}}
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [
            {"name": "hookline-token", "projected": {"sources": [token]}},
            {
                "name": "hookline-ca",
                "configMap": {"name": "hookline-ca", "items": [{"key": "ca.crt", "path": "ca.crt"}]},
            },
        ],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "producer"}, "spec": spec}


async def test_the_documented_commands_publish_through_the_gateway(
    installed: Kubectl, namespace: str, receiver: TlsReceiver, publisher: Publisher, tmp_path: Path
) -> None:
    allow_receiver(installed, SYSTEM)
    team = Team(installed, namespace, receiver, publisher)
    secret = team.listens("orders", "/documented")
    (documented,) = re.findall(r"```sh\n(kubectl -n team-a create configmap hookline-ca\n.*?)```", PAGE, re.DOTALL)
    script = documented.replace("team-a", namespace).replace("8443", str(free_port()))
    said = await asyncio.to_thread(installed.script, script, tmp_path)
    stored = json.loads(said.splitlines()[-1])
    assert (stored["namespace"], stored["repeat"]) == (namespace, False)
    assert (await team.arrives("/documented", stored["id"])).verified_by(secret)
