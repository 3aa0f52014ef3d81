"""The CA of the gateways, their certificates and the ConfigMaps of teams, at a real API server."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from controlplane.kubectl import Kubectl
from controlplane.servers import ControlPlane
from doubles.installation import Installation, api_service, condition_of, installed
from doubles.waiting import eventually
from hookline.control.kinds import (
    API_SERVICE_NAME,
    API_SERVICES,
    CONFIG_MAPS,
    DEPLOYMENTS,
    DISPATCHERS,
    EVENTS,
    SECRETS,
)

pytestmark = pytest.mark.timeout(120)

Object = dict[str, Any]

CA, TLS, API_TLS = "hookline-ca", "hookline-gateway-tls-default", "hookline-api-tls"
ASKS = {"hookline.dev/ca": "true"}


@pytest_asyncio.fixture
async def hookline(control_plane: ControlPlane, kubectl: Kubectl, tmp_path: Path) -> AsyncIterator[Installation]:
    async with installed(control_plane, kubectl, tmp_path, senders=False) as found:
        yield found


def config_map(namespace: str, data: Any = None, name: str = CA, labels: Any = None) -> Object:
    metadata = {"name": name, "namespace": namespace, "labels": ASKS if labels is None else labels}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, **({"data": data} if data else {})}


async def apply(hookline: Installation, *manifests: Object, manager: str = "gitops") -> None:
    """As Flux does; nothing that is not in Git is touched."""
    stdin = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifests)})
    words = ("apply", "--server-side", f"--field-manager={manager}", "--force-conflicts", "-f", "-")
    await hookline.kube(*words, stdin=stdin)


async def secret(hookline: Installation, name: str) -> dict[str, bytes]:
    found = await hookline.admin.get(SECRETS, hookline.namespace, name)
    return {key: base64.b64decode(value) for key, value in (found or {}).get("data", {}).items()}


async def held(hookline: Installation, namespace: str) -> str:
    found = await hookline.admin.get(CONFIG_MAPS, namespace, CA)
    return str(((found or {}).get("data") or {}).get("ca.crt", ""))


async def until_held(hookline: Installation, namespace: str, *, before: str = "") -> str:
    """Wait until a ConfigMap has the CA that is in force, and another one than before; what it has."""
    last = ""

    async def has_it() -> bool:
        nonlocal last
        last = await held(hookline, namespace)
        own = (await secret(hookline, CA)).get("ca.crt", b"").decode()
        return last != before and bool(own) and last.startswith(own)

    await eventually(has_it, what=lambda: f"{last!r}; {hookline.logs()[-3000:]}")
    return last


async def until_shown(hookline: Installation, folder: Path, bundle: str) -> None:
    """Wait until a client that trusts the bundle, and nothing else, takes what a gateway shows."""

    async def is_taken() -> bool:
        return verified(await secret(hookline, TLS), folder, bundle, f"hookline-gateway.{hookline.namespace}.svc")

    await eventually(is_taken, what=lambda: hookline.logs()[-3000:])


def verified(shown: dict[str, bytes], folder: Path, bundle: str, name: str) -> bool:
    """Whether OpenSSL takes it, as strictly as it can."""
    (folder / "ca.crt").write_text(bundle)
    (folder / "tls.crt").write_bytes(shown.get("tls.crt", b""))
    words = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", name]
    done = subprocess.run(
        [*words, "-CAfile", folder / "ca.crt", folder / "tls.crt"], capture_output=True, text=True, check=False
    )
    return done.returncode == 0


async def reason(hookline: Installation) -> tuple[str, str]:
    found = condition_of(await hookline.admin.get(DISPATCHERS, hookline.namespace, "default") or {}, "CertificateReady")
    return found.get("reason", ""), found.get("message", "")


async def until_reason(hookline: Installation, wanted: str) -> str:
    async def is_said() -> bool:
        return (await reason(hookline))[0] == wanted

    await eventually(is_said, what=lambda: f"{wanted}: {hookline.logs()[-3000:]}")
    return (await reason(hookline))[1]


async def test_a_team_gets_the_ca_by_a_label_and_keeps_it_whatever_becomes_of_it(
    hookline: Installation, namespace: str, tmp_path: Path
) -> None:
    other = f"{namespace}-unasked"
    await hookline.kube("create", "namespace", other)
    await apply(
        hookline,
        config_map(namespace),
        config_map(other, labels={}),
        config_map(namespace, name="other"),
    )
    operator = hookline.operator()
    operator.start()
    bundle = await until_held(hookline, namespace)
    assert await until_held(hookline, hookline.namespace) == bundle
    await until_shown(hookline, tmp_path, bundle)
    await until_reason(hookline, "Issued")

    # What a repository says again changes nothing, and nothing is written.
    live = await hookline.admin.get(CONFIG_MAPS, namespace, CA)
    await apply(hookline, config_map(namespace))
    again = await hookline.admin.get(CONFIG_MAPS, namespace, CA)
    assert live is not None
    assert again is not None
    assert again["data"] == live["data"]

    # Somebody writes another one, deletes it, or asks later.
    await apply(hookline, config_map(namespace, {"ca.crt": "mine"}), manager="somebody")
    assert await until_held(hookline, namespace) == bundle
    await hookline.kube("delete", "configmap", CA, "-n", namespace)
    await apply(hookline, config_map(namespace, {"note": "ours"}))
    assert await until_held(hookline, namespace) == bundle
    assert await held(hookline, other) == ""
    await hookline.kube("label", "configmap", CA, "-n", other, "hookline.dev/ca=true")
    assert await until_held(hookline, other) == bundle
    found = await hookline.admin.get(CONFIG_MAPS, namespace, CA)
    assert found is not None
    assert found["data"]["note"] == "ours"
    assert not (await hookline.admin.get(CONFIG_MAPS, namespace, "other") or {}).get("data")

    # The CA is lost: another one at once.
    await hookline.kube("delete", "secret", CA, TLS, "-n", hookline.namespace)
    replaced = await until_held(hookline, namespace, before=bundle)
    assert bundle not in replaced
    await until_shown(hookline, tmp_path, replaced)
    assert await until_held(hookline, other) == replaced

    # Its key is damaged: another one at once, and what was shown stays trusted.
    patch = json.dumps({"data": {"ca.key": ""}})
    await hookline.kube("patch", "secret", CA, "-n", hookline.namespace, "--type=merge", "-p", patch)
    both = await until_held(hookline, namespace, before=replaced)
    assert both.endswith(replaced)
    await until_shown(hookline, tmp_path, both)
    keys = [(await secret(hookline, CA))["ca.key"], (await secret(hookline, TLS))["tls.key"]]
    assert all(key.startswith(b"-----BEGIN PRIVATE KEY-----") for key in keys)
    said = hookline.logs() + await hookline.kube("get", "events,configmaps,dispatchers", "-A", "-o", "json")
    assert "PRIVATE KEY" not in said
    assert not any(key.split()[4].decode() in said for key in keys)
    assert "Forbidden" not in hookline.logs()
    await hookline.kube("delete", "namespace", other, "--wait=false")


async def test_whoever_insists_on_another_ca_is_told_and_not_fought(hookline: Installation, namespace: str) -> None:
    hookline.operator().start()
    await apply(hookline, config_map(namespace))
    bundle = await until_held(hookline, namespace)
    mine = config_map(namespace, {"ca.crt": "mine"})
    await apply(hookline, mine)
    assert await until_held(hookline, namespace) == bundle

    async def is_told() -> bool:
        events = await hookline.admin.list_all(EVENTS, namespace)
        return [each["reason"] for each in events if each["regarding"]["name"] == CA] == ["PutBack"]

    await eventually(is_told)
    await apply(hookline, mine)
    # The operator has heard of it once it has answered for something that came later.
    await hookline.kube("delete", "secret", TLS, "-n", hookline.namespace)

    async def is_back() -> bool:
        return bool(await secret(hookline, TLS))

    await eventually(is_back)
    assert await held(hookline, namespace) == "mine"
    # A new CA is told to everybody.
    await hookline.kube("delete", "secret", CA, "-n", hookline.namespace)
    await until_held(hookline, namespace, before="mine")


async def test_a_ca_that_somebody_else_brought_is_left_alone_and_whom_nobody_serves_gets_none(
    hookline: Installation, namespace: str, tmp_path: Path
) -> None:
    dispatcher = {
        "apiVersion": "hookline.dev/v1alpha1",
        "kind": "Dispatcher",
        "metadata": {"name": "default", "namespace": hookline.namespace},
        "spec": {"servedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"hooks": "yes"}}}},
    }
    await apply(hookline, dispatcher, config_map(namespace))
    words = ("create", "secret", "generic", CA, "-n", hookline.namespace, "--from-literal=ca.crt=theirs")
    await hookline.kube(*words)
    hookline.operator().start()
    assert "delete it" in await until_reason(hookline, "NotIssued")
    assert await secret(hookline, CA) == {"ca.crt": b"theirs"}
    await hookline.kube("delete", "secret", CA, "-n", hookline.namespace)
    await until_shown(hookline, tmp_path, await until_held(hookline, hookline.namespace))
    await until_reason(hookline, "Issued")
    assert await held(hookline, namespace) == ""
    await hookline.kube("label", "namespace", namespace, "hooks=yes")
    await until_held(hookline, namespace)


async def test_kube_apiserver_trusts_what_the_logs_api_shows_whatever_becomes_of_the_ca(
    hookline: Installation, tmp_path: Path
) -> None:
    async with api_service(hookline):
        hookline.operator().start()
        first = await until_trusted(hookline, tmp_path)
        words = ("get", "apiservice", API_SERVICE_NAME, "--show-managed-fields", "-o", "json")
        live = json.loads(await hookline.kube(*words))
        # Its field, and nothing else of it.
        (owned,) = (each for each in live["metadata"]["managedFields"] if each["manager"] == "hookline")
        assert owned["fieldsV1"] == {"f:spec": {"f:caBundle": {}}}

        # What Git says again, without the field, takes nothing away: nobody fights.
        manifest = {key: live[key] for key in ("apiVersion", "kind", "spec")}
        manifest["spec"] = {key: value for key, value in live["spec"].items() if key != "caBundle"}
        manifest["metadata"] = {"name": API_SERVICE_NAME}
        await apply(hookline, manifest)
        assert await trusted_bundle(hookline) == first

        # The CA is lost, or damaged: kube-apiserver is told at once, of both where both count.
        await hookline.kube("delete", "secret", CA, "-n", hookline.namespace)
        second = await until_trusted(hookline, tmp_path, before=first)
        patch = json.dumps({"data": {"ca.key": ""}})
        await hookline.kube("patch", "secret", CA, "-n", hookline.namespace, "--type=merge", "-p", patch)
        both = await until_trusted(hookline, tmp_path, before=second)
        assert both.endswith(second)

        # Somebody writes another one: put back, once the next look comes.
        mine = json.dumps({"spec": {"caBundle": "bWluZQ=="}})
        await hookline.kube("patch", "apiservice", API_SERVICE_NAME, "--type=merge", "-p", mine)
        assert await until_trusted(hookline, tmp_path, before="mine") == both
        assert "others changed caBundle" in hookline.logs()

        # It says what people meet: no pod is ready here.
        condition = condition_of(
            await hookline.admin.get(DISPATCHERS, hookline.namespace, "default") or {}, "LogApiAvailable"
        )
        assert (condition["status"], condition["reason"]) == ("False", "NoLogApi")
        deployment = await hookline.admin.get(DEPLOYMENTS, hookline.namespace, "hookline-api")
        assert deployment is not None
        assert deployment["spec"]["template"]["spec"]["serviceAccountName"] == "hookline-api"
    assert "Forbidden" not in hookline.logs()


async def trusted_bundle(hookline: Installation) -> str:
    live = await hookline.admin.get(API_SERVICES, None, API_SERVICE_NAME) or {}
    return base64.b64decode(live.get("spec", {}).get("caBundle", "")).decode()


async def until_trusted(hookline: Installation, folder: Path, *, before: str = "", seconds: float = 30) -> str:
    """Wait until kube-apiserver is told to trust what the log's API shows by the name that it is called; the bundle."""
    bundle = ""

    async def is_trusted() -> bool:
        nonlocal bundle
        bundle = await trusted_bundle(hookline)
        shown = await secret(hookline, API_TLS)
        return bundle != before and verified(shown, folder, bundle, f"hookline-api.{hookline.namespace}.svc")

    await eventually(is_trusted, seconds=seconds, what=lambda: hookline.logs()[-3000:])
    return bundle
