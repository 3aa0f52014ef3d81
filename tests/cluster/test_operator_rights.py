"""The shipped roles are what the operator needs and no more, with the API server's audit log as the witness."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from controlplane.kubectl import Kubectl
from controlplane.servers import ControlPlane
from doubles.installation import ACCOUNT, Installation, api_service, installed
from doubles.receiver import TlsReceiver
from doubles.team import Team, new_secret
from doubles.waiting import eventually
from hookline.control.kinds import API_SERVICE_NAME, API_SERVICES, CA_NAME, CONFIG_MAPS

pytestmark = pytest.mark.timeout(180)

Object = dict[str, Any]
Right = tuple[str, str, str]
"""API group, resource, verb."""

EVENT_TYPE: Object = {
    "apiVersion": "hookline.dev/v1alpha1",
    "kind": "EventType",
    "metadata": {"name": "badgelost"},
    "spec": {"event": "BadgeLost", "schema": {"type": "object"}},
}
ASKING: Object = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": CA_NAME, "labels": {"hookline.dev/ca": "true"}},
}


@pytest.mark.parametrize("namespaced", [False, True], ids=["whole-cluster", "one-namespace"])
async def test_every_right_that_is_shipped_is_used_and_none_is_missing(
    control_plane: ControlPlane, kubectl: Kubectl, namespace: str, tmp_path: Path, namespaced: bool
) -> None:
    async with (
        installed(control_plane, kubectl, tmp_path, namespaced=namespaced) as hookline,
        TlsReceiver("127.0.0.1", name="localhost") as receiver,
    ):
        await hookline.alone()
        operator = hookline.operator()
        # Before the operator, which looks once a minute for one that is not there.
        async with contextlib.nullcontext() if namespaced else api_service(hookline):
            operator.start()
            await hookline.until_sends()
            await journey(hookline, Team(hookline, hookline.watched or namespace, receiver))
            if not namespaced:
                await eventually(partial(is_trusted_by_kube_apiserver, hookline))
        # A watch is told of in the audit log when it ends.
        hookline.proxy.cut_watches()
        await operator.end()
        rights = await shipped(hookline)

        async def all_are_told_of() -> bool:
            return rights <= used(hookline.audited())

        with contextlib.suppress(AssertionError):
            await eventually(all_are_told_of, seconds=5)
        asked = hookline.audited()
        assert [each for each in asked if each["responseStatus"]["code"] == 403] == []
        assert used(asked) == rights
        objects_are_asked_for_by_label(hookline, asked)
        if namespaced:
            elsewhere = [each["requestURI"] for each in asked if is_elsewhere(each, hookline.namespace)]
            assert elsewhere == []


async def journey(hookline: Installation, team: Team) -> None:
    """Something of everything that an operator does."""
    await hookline.kube("apply", "--server-side", "-f", "-", stdin=json.dumps(EVENT_TYPE))
    try:
        await team.apply(team.authority(), team.webhook("orders", team.path("orders"), event="BadgeLost"))
        await team.until("orders", "SecretNotAllowed")
        secret = new_secret()
        await team.apply(team.signing("signing", secret), team.signing("not-allowed", new_secret(), allowed=False))
        await team.until("orders", "Ready")
        (event,) = await team.publish(event="BadgeLost")
        assert (await team.call(team.path("orders"), event)).verified_by(secret)
        # The second refusal of a Webhook that was well is worth an Event.
        await team.apply(team.webhook("orders", team.path("orders"), event="BadgeLost", secret="not-allowed"))
        await team.until("orders", "SecretNotAllowed")
        await team.apply(ASKING)
        await eventually(partial(has_the_ca, hookline, team.namespace))
        await hookline.settled()
    finally:
        await hookline.kube("delete", "eventtype", "badgelost")


async def is_trusted_by_kube_apiserver(hookline: Installation) -> bool:
    found = await hookline.admin.get(API_SERVICES, None, API_SERVICE_NAME)
    return bool(found and found["spec"].get("caBundle"))


async def has_the_ca(hookline: Installation, namespace: str) -> bool:
    return "ca.crt" in ((await hookline.admin.get(CONFIG_MAPS, namespace, CA_NAME) or {}).get("data") or {})


def used(asked: Iterable[Object]) -> set[Right]:
    """What was asked for. A server-side apply that creates is a patch to the audit log, and needs both rights."""
    found: set[Right] = set()
    for each in asked:
        if "objectRef" not in each:
            continue  # what kinds there are, which everybody may ask
        target = each["objectRef"]
        resource = "/".join(part for part in (target["resource"], target.get("subresource")) if part)
        found.add((target.get("apiGroup", ""), resource, each["verb"]))
        if each["verb"] == "patch" and each["responseStatus"]["code"] == 201:
            found.add((target.get("apiGroup", ""), resource, "create"))
    return found


async def shipped(hookline: Installation) -> set[Right]:
    """What the roles that are bound to the operator's account grant."""
    bindings = json.loads(await hookline.kube("get", "rolebindings,clusterrolebindings", "-A", "-o", "json"))["items"]
    rules: list[Object] = []
    for binding in bindings:
        subjects = {(each.get("namespace"), each["name"]) for each in binding.get("subjects", [])}
        if (hookline.namespace, ACCOUNT) in subjects:
            reference = binding["roleRef"]
            words = ("get", reference["kind"], reference["name"], "-n", hookline.namespace, "-o", "json")
            rules += json.loads(await hookline.kube(*words))["rules"]
    return {
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def objects_are_asked_for_by_label(hookline: Installation, asked: Iterable[Object]) -> None:
    """No Secret is ever got, and lists and watches are of allowed ones, or of its own in the own namespace.

    Nor is a ConfigMap: of teams those are looked at that ask for the CA.
    """
    own = hookline.namespace
    labels = {
        "secrets": (["hookline.dev/allow-webhooks=true"], ["hookline.dev/publisher=true"]),
        "configmaps": (["hookline.dev/ca=true"],),
    }
    objects = [each for each in asked if each.get("objectRef", {}).get("resource") in labels]
    assert {each["verb"] for each in objects} == {"list", "watch", "patch", "create"}
    for each in objects:
        target = each["objectRef"]
        if each["verb"] in ("list", "watch"):
            selector = parse_qs(urlsplit(each["requestURI"]).query)["labelSelector"]
            ours = ["app.kubernetes.io/managed-by=hookline-operator"] if target.get("namespace") == own else []
            assert selector in (*labels[target["resource"]], ours), each["requestURI"]
        elif target["namespace"] == own:
            assert target.get("name", CA_NAME).startswith("hookline-"), each["requestURI"]
        else:
            assert (target["resource"], target["name"], each["verb"]) == ("configmaps", CA_NAME, "patch")


def is_elsewhere(event: Object, namespace: str) -> bool:
    """Whether a request is for something outside a namespace. EventTypes are in none."""
    target = event.get("objectRef")
    return bool(target and target["resource"] != "eventtypes" and target.get("namespace") != namespace)


async def test_an_editor_reaches_no_other_tenant_no_secret_that_is_not_lent_and_no_dispatcher(
    control_plane: ControlPlane, kubectl: Kubectl, namespace: str, tmp_path: Path
) -> None:
    """Alice has `edit` in one namespace. What she may write there gets her nothing of another one."""
    async with (
        installed(control_plane, kubectl, tmp_path) as hookline,
        TlsReceiver("127.0.0.1", name="localhost") as receiver,
    ):
        hookline.operator().start()
        await hookline.until_sends()
        victim, alice = Team(hookline, namespace, receiver), Team(hookline, f"{namespace}-alice", receiver, "alice")
        await hookline.kube("create", "namespace", alice.namespace)
        await hookline.kube(
            "create", "rolebinding", "alice", "--clusterrole=edit", "--user=alice", "-n", alice.namespace
        )
        await may_write_webhooks(hookline, alice)
        await victim.apply(
            victim.authority(), victim.signing("signing", new_secret()), victim.webhook("own", "/victim")
        )
        await victim.until("own", "Ready")
        own = alice.signing("own", new_secret())
        await alice.apply(alice.authority(), own, alice.signing("kept", new_secret(), allowed=False))
        await alice.apply(
            alice.webhook("hears", "/alice", secret="own"),
            alice.webhook("foreign", "/alice", secret="signing"),
            alice.webhook("unlent", "/alice", secret="kept"),
        )
        await alice.until("hears", "Ready")
        await alice.until("foreign", "SecretNotAllowed")
        await alice.until("unlent", "SecretNotAllowed")
        (event,) = await victim.publish()
        (heard,) = await alice.publish()
        await victim.call("/victim", event)
        await alice.call("/alice", heard)
        assert [each.event_id for each in receiver.at("/alice")] == [heard]
        for words in (
            ("get", "webhooks", "-n", victim.namespace),
            ("patch", "webhook", "own", "-n", victim.namespace, "--type=merge", "-p", '{"spec": {"enabled": false}}'),
            ("get", "secret", "signing", "-n", victim.namespace),
            ("get", "secrets", "-n", hookline.namespace),
            ("get", "configmaps", "-n", hookline.namespace),
            ("get", "dispatchers", "-A"),
            (
                "patch",
                "dispatcher",
                "default",
                "-n",
                hookline.namespace,
                "--type=merge",
                "-p",
                '{"spec": {"replicas": 2}}',
            ),
            ("create", "-f", "-"),
        ):
            refused = kubectl(*words, user="alice", stdin=json.dumps(EVENT_TYPE))
            assert "Forbidden" in refused.stderr, words
        await hookline.kube("delete", "namespace", alice.namespace, "--wait=false")


async def may_write_webhooks(hookline: Installation, team: Team) -> None:
    """Wait until the cluster has taken Hookline's rights into its role `edit`."""

    async def may() -> bool:
        words = ("auth", "can-i", "create", "webhooks.hookline.dev", "-n", team.namespace)
        return hookline.kubectl(*words, user=team.user).returncode == 0

    await eventually(may)
