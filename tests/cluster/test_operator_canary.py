"""What is secret lies in the keys of the route book and nowhere else, also when everything goes wrong."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from controlplane.kubectl import Kubectl
from controlplane.ports import free_port
from controlplane.servers import ControlPlane
from doubles.exposition import is_as_described
from doubles.installation import Installation, installed
from doubles.local import until
from doubles.receiver import TlsReceiver
from doubles.team import EVENT, Team
from hookline.routing.signing import Ed25519Key
from hookline.runtime.metrics import OperatorMetrics, SenderMetrics

pytestmark = pytest.mark.timeout(180)

Object = dict[str, Any]

CANARY = "canary-8d1f"
SIGNING = base64.b64encode(f"{CANARY}-signing-key-of-a-team".encode()).decode()
SEEDS = [f"{CANARY}-{letter * 20}".encode() for letter in "ab"]
PRIVATE, FRESH_PRIVATE = (base64.b64encode(seed).decode() for seed in SEEDS)
PUBLIC, FRESH_PUBLIC = (Ed25519Key.of_seed(seed).public for seed in SEEDS)
FRESH = base64.b64encode(f"{CANARY}-another-signing-key".encode()).decode()


def client_certificate() -> dict[str, str]:
    """Data of a Secret of type kubernetes.io/tls. The key is PKCS #8, as route books hold it."""
    issued = trustme.CA().issue_cert("sender.example.com")
    chain = b"".join(each.bytes() for each in issued.cert_chain_pems).decode()
    key = load_pem_private_key(issued.private_key_pem.bytes(), None)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return {"tls.crt": chain, "tls.key": pem.decode()}


def guarded(team: Team, name: str, **spec: Any) -> Object:
    """A Webhook with a secret in each place that may hold one."""
    found = team.webhook(
        name,
        team.path(name),
        headers=[
            {"name": "X-Literal", "value": f"{CANARY}-literal"},
            {"name": "X-Allowed", "valueFrom": {"secretKeyRef": {"name": "header", "key": "value"}}},
        ],
        tls={"caSecretRef": {"name": "receiver-ca"}, "clientCertSecretRef": {"name": "client"}},
    )
    found["spec"]["url"] += f"?token={CANARY}-query"
    found["spec"] |= spec
    return found


async def test_no_secret_is_seen_anywhere_but_in_the_keys_of_the_route_book(
    control_plane: ControlPlane, kubectl: Kubectl, namespace: str, tmp_path: Path
) -> None:
    certificate = client_certificate()
    key_lines = [line for line in certificate["tls.key"].splitlines() if "-----" not in line]
    canaries = [CANARY, SIGNING, FRESH, PRIVATE, FRESH_PRIVATE, *key_lines]
    async with (
        installed(control_plane, kubectl, tmp_path) as hookline,
        TlsReceiver("127.0.0.1", name="localhost") as receiver,
    ):
        operator = hookline.operator()
        operator.start()
        await hookline.until_sends()
        team = Team(hookline, namespace, receiver)
        receiver.answers[team.path("failing")] = 500
        await team.apply(
            team.authority(),
            team.signing("signing", f"whsec_{SIGNING}\nwhsk_{PRIVATE}\n"),
            team.secret("header", {"value": f"{CANARY}-header", "lines": f"{CANARY}\nx"}),
            team.secret("client", certificate),
            team.secret("unfit", {"secret": f"whsec_{CANARY}", "tls.crt": CANARY, "tls.key": f"é{CANARY}"}),
        )
        await all_goes_well_and_wrong(hookline, team, receiver)
        seen = await everything(hookline, team)
        assert {name: canary for name, text in seen.items() for canary in canaries if canary in text} == {}
        await keys_are_where_they_belong(hookline, canaries)


async def all_goes_well_and_wrong(hookline: Installation, team: Team, receiver: TlsReceiver) -> None:
    """A call, a rotation, an endpoint that fails, Secrets that are no keys, a URL that may not be called."""
    lines = {"name": "X-Lines", "valueFrom": {"secretKeyRef": {"name": "header", "key": "lines"}}}
    await team.apply(
        guarded(team, "well"),
        guarded(team, "failing"),
        guarded(team, "unreached", url=f"https://localhost:{free_port()}/?{CANARY}", headers=[]),
        guarded(team, "no-key", secretRef={"name": "unfit"}),
        guarded(team, "no-header", headers=[lines]),
        guarded(team, "no-pem", tls={"caSecretRef": {"name": "unfit", "key": "tls.crt"}}),
        guarded(team, "no-certificate", tls={"clientCertSecretRef": {"name": "unfit"}}),
        guarded(team, "no-address", url=f"https://127.0.0.1/?{CANARY}"),
    )
    for name in ("no-key", "no-header", "no-pem", "no-certificate"):
        await team.until(name, "SecretInvalid")
    await team.until("no-address", "URLNotAllowed")
    for name in ("well", "failing", "unreached"):
        await team.until(name, "Ready")
    (event,) = await team.publish()
    call = await team.call(team.path("well"), event)
    assert call.headers["x-allowed"] == f"{CANARY}-header"
    assert call.headers["x-literal"] == f"{CANARY}-literal"
    assert call.verified_by(f"whsec_{SIGNING}")
    assert call.verified_by(PUBLIC)
    await team.apply(team.signing("signing", f"whsec_{FRESH}\nwhsk_{FRESH_PRIVATE}\n"))
    await team.publish(10)
    for name in ("failing", "unreached"):
        await team.until(name, "EndpointFailing", kind="Delivering")
    refused = hookline.kubectl(
        "apply", "-f", "-", "-n", team.namespace, stdin=json.dumps(guarded(team, "x", url=CANARY))
    )
    assert "must start with https://" in refused.stderr
    assert CANARY not in refused.stderr
    await until(lambda: len(receiver.at(team.path("failing"))) > 5, what="failed calls")
    await hookline.settled()


async def everything(hookline: Installation, team: Team) -> dict[str, str]:
    """All texts that somebody without a right on Secrets may read, by where they are."""
    kinds = [
        "configmaps",
        "events",
        "pods",
        "deployments",
        "dispatchers",
        "leases",
        "serviceaccounts",
        "networkpolicies",
    ]
    words = ("-n", hookline.namespace, "-o", "yaml", "--show-managed-fields")
    found = {kind: await hookline.kube("get", kind, *words) for kind in kinds}
    assert EVENT in found["configmaps"], "the routes are there"
    webhooks = json.loads(await hookline.kube("get", "webhooks", "-n", team.namespace, "-o", "json"))["items"]
    shown = {each["metadata"]["name"]: each["status"]["signingKeys"] for each in webhooks}
    assert [(each["publicKey"], "until" in each) for each in shown["well"]] == [(FRESH_PUBLIC, False), (PUBLIC, True)]
    assert shown["no-key"] == []
    for each in webhooks:
        # Its spec is the team's own; what Hookline adds is not.
        del each["spec"]
        found[f"status of {each['metadata']['name']}"] = json.dumps(each)
    found["events of the team"] = await hookline.kube("get", "events", "-n", team.namespace, "-o", "yaml")
    found["the team's table"] = await hookline.kube("get", "webhooks", "-n", team.namespace, "-o", "wide")
    found["description of what is the operator's"] = await hookline.kube("describe", "all", "-n", hookline.namespace)
    found["logs"] = hookline.logs()
    assert "delivered" in found["logs"], "senders log their calls"
    found["the API server's audit log"] = "\n".join(map(json.dumps, hookline.audited()))
    (operator,) = hookline.operators
    found["the operator's metrics"] = await operator.page("/metrics")
    is_as_described(found["the operator's metrics"], OperatorMetrics)
    assert hookline.kubelet is not None
    for pod in hookline.kubelet.pods.values():
        for path in ("/metrics", "/report", "/readyz", "/livez"):
            async with httpx.AsyncClient(trust_env=False, verify=False) as client:
                found[f"{path} of a sender"] = (await client.get(f"http://{pod.ip}:8080{path}")).text
        is_as_described(found["/metrics of a sender"], SenderMetrics)
    return found


async def keys_are_where_they_belong(hookline: Installation, canaries: list[str]) -> None:
    """Each secret is in the route book, in a file of keys of a Secret of the operator's namespace."""
    found: set[str] = set()
    for each in json.loads(await hookline.kube("get", "secrets", "-n", hookline.namespace, "-o", "json"))["items"]:
        for name, value in each.get("data", {}).items():
            text = base64.b64decode(value).decode()
            held = {canary for canary in canaries if canary in text}
            assert not held or name.startswith("keys-"), (each["metadata"]["name"], name)
            found |= held
    assert found == set(canaries)
