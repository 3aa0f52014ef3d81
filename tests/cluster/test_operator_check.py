"""`hookline check` says of manifests what the operator says of them once they are in a cluster."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.kubectl import Kubectl
from controlplane.servers import ControlPlane
from doubles.command import hookline as command
from doubles.installation import Installation, condition_of, installed
from doubles.receiver import TlsReceiver
from doubles.team import Team, new_secret
from doubles.waiting import eventually
from hookline.control.kinds import DISPATCHERS, WEBHOOKS

pytestmark = pytest.mark.timeout(120)

Object = dict[str, Any]


def manifests(team: Team) -> list[Object]:
    """One of each verdict that a single team can get."""
    lines = {"name": "X-Lines", "valueFrom": {"secretKeyRef": {"name": "unfit", "key": "lines"}}}
    mistaken: dict[str, Object] = {
        "disabled": {"enabled": False},
        "private-key": {"secretRef": {"name": "private"}},
        "unknown-event": {"event": "IdentityCreate"},
        "unknown-dispatcher": {"dispatcher": "defualt"},
        "metadata-service": {"url": "https://169.254.169.254/"},
        "private": {"url": "https://10.1.2.3/"},
        "no-secret": {"secretRef": {"name": "missing"}},
        "not-allowed": {"secretRef": {"name": "kept"}},
        "no-key": {"secretRef": {"name": "signing", "key": "other"}},
        "no-signing-key": {"secretRef": {"name": "unfit"}},
        "no-header": {"headers": [lines]},
        "no-pem": {"tls": {"caSecretRef": {"name": "unfit", "key": "secret"}}},
    }
    webhooks = [team.webhook(name, "/x", **spec) for name, spec in mistaken.items()]
    return [
        team.authority(),
        team.signing("signing", new_secret()),
        team.signing("private", f"{new_secret()}\nwhsk_{'A' * 43}=\n"),
        team.signing("kept", new_secret(), allowed=False),
        team.secret("unfit", {"secret": "no key", "lines": "a\nb"}),
        team.webhook("well", "/x"),
        *webhooks,
    ]


async def test_every_verdict_is_the_same_with_and_without_a_cluster(
    control_plane: ControlPlane, kubectl: Kubectl, namespace: str, tmp_path: Path
) -> None:
    async with (
        installed(control_plane, kubectl, tmp_path, senders=False) as hookline,
        TlsReceiver("127.0.0.1", name="localhost") as receiver,
    ):
        hookline.operator().start()
        team = Team(hookline, namespace, receiver)
        written = manifests(team)
        await team.apply(*written)
        dispatcher = await default_dispatcher(hookline)
        told = await judged_by_operator(hookline, team, sum(each["kind"] == "Webhook" for each in written))
        file = tmp_path / "manifests.yaml"
        file.write_text(yaml.safe_dump_all([dispatcher, *written]))
        done = await asyncio.to_thread(command, "check", file, "--json")
        assert await told_to_receivers(hookline, team) in done.stdout.decode()
    assert {each["message"].partition(":")[0] for each in told.values()} > {"Accepted", "SecretNotAllowed"}
    assert told == judged_by_check(json.loads(done.stdout))


async def default_dispatcher(hookline: Installation) -> Object:
    """The installed one as somebody would have written it."""
    found: list[Object] = []

    async def is_there() -> bool:
        found[:] = filter(None, [await hookline.admin.get(DISPATCHERS, hookline.namespace, "default")])
        return bool(found)

    await eventually(is_there)
    names = {"name": "default", "namespace": hookline.namespace}
    return {"apiVersion": "hookline.dev/v1alpha1", "kind": "Dispatcher", "metadata": names, "spec": found[0]["spec"]}


async def told_to_receivers(hookline: Installation, team: Team) -> str:
    """The one public key in a status."""
    webhooks = await hookline.admin.list_all(WEBHOOKS, team.namespace)
    (key,) = [key["publicKey"] for each in webhooks for key in each["status"]["signingKeys"]]
    return f"receivers verify v1a signatures with {key}"


async def judged_by_operator(hookline: Installation, team: Team, count: int) -> dict[str, Object]:
    """Of each Webhook what is wrong with it first, or that nothing is."""
    told: dict[str, Object] = {}

    async def all_are_judged() -> bool:
        told.clear()
        for each in await hookline.admin.list_all(WEBHOOKS, team.namespace):
            conditions = [condition_of(each, kind) for kind in ("Accepted", "SecretsResolved")]
            if all(conditions):
                told[each["metadata"]["name"]] = first_of(conditions)
        return len(told) == count

    await eventually(all_are_judged)
    return told


def first_of(conditions: list[Object]) -> Object:
    wrong = [each for each in conditions if each["status"] != "True"]
    said = wrong[0] if wrong else {"reason": "Accepted", "message": ""}
    return {"well": not wrong, "message": f"{said['reason']}: {said['message']}"}


def judged_by_check(findings: list[Object]) -> dict[str, Object]:
    told: dict[str, Object] = {}
    for each in findings:
        kind, _, name = each["object"].partition(" ")
        if kind == "Webhook":
            well = each["level"] == "ok"
            told[name.partition("/")[2]] = {"well": well, "message": "Accepted: " if well else _with_field(each)}
    return told


def _with_field(finding: Object) -> str:
    """A condition names the field in its message, a finding beside it."""
    reason, _, words = finding["message"].partition(": ")
    return ": ".join(filter(None, [reason, finding["field"], words]))
