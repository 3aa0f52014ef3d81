"""What a Dispatcher and its Webhooks say while the API server refuses what is to be written: never what is not so."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import yaml

from controlplane.kubectl import Kubectl
from controlplane.servers import ControlPlane
from doubles.installation import Installation, Object, condition_of, installed
from doubles.operator_process import OperatorProcess
from doubles.receiver import TlsReceiver
from doubles.team import Team, new_secret
from doubles.waiting import eventually
from hookline.control.kinds import (
    DEPLOYMENTS,
    DISPATCHERS,
    DISRUPTION_BUDGETS,
    EVENTS,
    NETWORK_POLICIES,
    PODS,
    SERVICE_ACCOUNTS,
    SERVICES,
    Kind,
    gateway_name,
    sender_name,
)

DOCS = Path(__file__).parents[2] / "docs" / "kubernetes.md"

pytestmark = [pytest.mark.timeout(240), pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hookline(
    control_plane: ControlPlane, kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    """An installation with senders and an operator."""
    async with installed(control_plane, kubectl, tmp_path_factory.mktemp("truth")) as installation:
        installation.operator().start()
        await installation.until_sends()
        yield installation


@pytest.fixture
def operator(hookline: Installation) -> OperatorProcess:
    (process,) = hookline.operators
    assert process.running
    return process


@pytest_asyncio.fixture(loop_scope="module")
async def team(hookline: Installation, operator: OperatorProcess, namespace: str) -> AsyncIterator[Team]:
    async with TlsReceiver("127.0.0.1", name="localhost") as receiver:
        found = Team(hookline, namespace, receiver)
        await found.apply(
            found.authority(), found.signing("signing", new_secret()), found.webhook("hook", found.path("before"))
        )
        await found.until("hook", "Ready")
        yield found


async def until_dispatcher(hookline: Installation, kind: str, reason: str, *, seconds: float = 45) -> Object:
    last: Object = {}

    async def has_it() -> bool:
        found = await hookline.admin.get(DISPATCHERS, hookline.namespace, "default")
        last.clear()
        last.update(condition_of(found or {}, kind))
        return last.get("reason") == reason

    await eventually(has_it, seconds=seconds, what=lambda: f"{kind} {reason}, but {last}: {hookline.logs()[-2000:]}")
    return last


async def apply(hookline: Installation, manifest: Object) -> None:
    await hookline.kube("apply", "--server-side", "-n", hookline.namespace, "-f", "-", stdin=json.dumps(manifest))


async def fill(hookline: Installation, quota: Object, namespace: str) -> None:
    """Say that all of a quota is used, as the controller for quotas would, which does not run here."""
    full = json.dumps({"status": {"hard": quota["spec"]["hard"], "used": quota["spec"]["hard"]}})
    words = ("patch", "resourcequota", quota["metadata"]["name"], "-n", namespace, "--subresource=status")
    await hookline.kube(*words, "--type=merge", "-p", full)


def documented_quota() -> Object:
    """The example that docs/kubernetes.md has for the quota of a team."""
    (text,) = re.findall(r"```yaml\n(apiVersion: v1\nkind: ResourceQuota\n.*?)```", DOCS.read_text(), re.DOTALL)
    quota: Object = yaml.safe_load(text)
    return quota


async def patch_dispatcher(hookline: Installation, spec: Object) -> None:
    words = ("patch", "dispatcher", "default", "-n", hookline.namespace, "--type=merge", "-p")
    await hookline.kube(*words, json.dumps({"spec": spec}))


async def test_the_documented_quota_refuses_one_webhook_more_to_whoever_applies_it(
    hookline: Installation, operator: OperatorProcess, team: Team
) -> None:
    quota = documented_quota()
    quota["metadata"]["namespace"] = team.namespace
    await hookline.kube("apply", "-n", team.namespace, "-f", "-", stdin=json.dumps(quota))
    await fill(hookline, quota, team.namespace)
    with pytest.raises(RuntimeError, match=r"exceeded quota: webhooks, .*count/webhooks\.hookline\.dev=1"):
        await team.apply(team.webhook("one-more", team.path("one-more")))
    # What is there can be changed, and is delivered.
    await team.apply(team.webhook("hook", team.path("after")))
    await team.until("hook", "Ready")
    (event,) = await team.publish()
    assert await team.call(team.path("after"), event)


async def test_a_quota_that_keeps_the_book_from_being_written_is_said_and_what_was_there_goes_on(
    hookline: Installation, operator: OperatorProcess, team: Team
) -> None:
    quota: Object = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "tight"},
        "spec": {"hard": {"configmaps": "1", "secrets": "1"}},
    }
    await apply(hookline, quota)
    await fill(hookline, quota, hookline.namespace)
    try:
        # In other shards than the first one, so that objects must be made.
        for number in range(8):
            await team.apply(team.webhook(f"more-{number}", team.path(f"more-{number}")))
        said = await until_dispatcher(hookline, "BookWritten", "BookRefused")
        assert "exceeded quota" in said["message"]
        await until_dispatcher(hookline, "Ready", "BookRefused")
        refused: list[Object] = []

        async def some_are_refused() -> bool:
            refused[:] = [await team.condition(f"more-{number}", "Programmed") for number in range(8)]
            return any(each.get("reason") == "BookRefused" for each in refused)

        await eventually(some_are_refused, what=lambda: str(refused))
        assert "are the shipped roles bound" not in operator.said
        (event,) = await team.publish()
        assert await team.call(team.path("before"), event)
    finally:
        await hookline.kube("delete", "resourcequota", "tight", "-n", hookline.namespace)
    for number in range(8):
        await team.until(f"more-{number}", "Ready", seconds=90)
    await until_dispatcher(hookline, "Ready", "Ready", seconds=90)


async def test_an_immutable_object_of_the_book_is_said_and_delivering_does_not_claim_that_no_calls_are_made(
    hookline: Installation, operator: OperatorProcess, team: Team
) -> None:
    names = (await hookline.kube("get", "configmaps,secrets", "-n", hookline.namespace, "-o", "name")).split()
    parts = [each for each in names if "hookline-routes-" in each or "hookline-keys-" in each]
    for part in parts:
        await hookline.kube("patch", part, "-n", hookline.namespace, "--type=merge", "-p", '{"immutable":true}')
    try:
        await team.apply(team.webhook("hook", team.path("after")))
        programmed = await team.until("hook", "BookRefused", kind="Programmed")
        assert "immutable" in programmed["message"]
        delivering = await team.condition("hook", "Delivering")
        assert (delivering["status"], delivering["reason"]) == ("Unknown", "Pending")
        (event,) = await team.publish()
        assert await team.call(team.path("before"), event)
    finally:
        await hookline.kube("delete", *parts, "-n", hookline.namespace)
    await team.until("hook", "Ready", seconds=90)
    await hookline.settled()


async def test_requests_above_limits_are_said_of_the_generation_that_has_them(
    hookline: Installation, operator: OperatorProcess, team: Team
) -> None:
    await patch_dispatcher(hookline, {"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}})
    try:
        said = await until_dispatcher(hookline, "RolledOut", "Refused")
        assert "requests" in said["message"]
        await until_dispatcher(hookline, "Ready", "Refused")
    finally:
        await patch_dispatcher(hookline, {"resources": None})
    await until_dispatcher(hookline, "Ready", "Ready", seconds=90)


async def test_a_paused_deployment_is_not_ready_for_a_new_generation(
    hookline: Installation, operator: OperatorProcess, team: Team
) -> None:
    name = sender_name("default")
    words = ("patch", "deployment", name, "-n", hookline.namespace, "--type=merge", "-p")
    await hookline.kube(*words, json.dumps({"spec": {"paused": True}}))
    try:
        await patch_dispatcher(hookline, {"image": "hookline:other"})
        await until_dispatcher(hookline, "RolledOut", "RolloutPaused")
        await until_dispatcher(hookline, "Ready", "RolloutPaused")
        (event,) = await team.publish()
        assert await team.call(team.path("before"), event)
    finally:
        await hookline.kube(*words, json.dumps({"spec": {"paused": False}}))
    await until_dispatcher(hookline, "Ready", "Ready", seconds=90)
    deployment = await hookline.admin.get(DEPLOYMENTS, hookline.namespace, name)
    assert deployment is not None


async def test_a_gateway_that_the_api_server_refuses_is_said_and_keeps_no_webhook_from_its_events(
    hookline: Installation, operator: OperatorProcess, team: Team
) -> None:
    await patch_dispatcher(hookline, {"gateway": {"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}})
    try:
        said = await until_dispatcher(hookline, "RolledOut", "Refused")
        assert "gateway pods cannot be set up" in said["message"]
        await team.apply(team.webhook("hook", team.path("meanwhile")))
        await team.until("hook", "Ready")
        (event,) = await team.publish()
        assert await team.call(team.path("meanwhile"), event)
    finally:
        await patch_dispatcher(hookline, {"gateway": {"resources": None}})
    await until_dispatcher(hookline, "Ready", "Ready", seconds=90)


async def test_a_gateway_that_nobody_wants_has_no_pod_and_the_dispatcher_is_ready(
    hookline: Installation, operator: OperatorProcess, team: Team
) -> None:
    assert len(await gateway_pods(hookline)) == 1
    await patch_dispatcher(hookline, {"gateway": {"enabled": False}})
    try:
        said = await until_dispatcher(hookline, "GatewayAvailable", "GatewayDisabled")
        assert said["status"] == "False"
        await until_dispatcher(hookline, "Ready", "Ready")

        async def is_gone() -> bool:
            return await gateway_pods(hookline) == []

        await eventually(is_gone)
    finally:
        await patch_dispatcher(hookline, {"gateway": {"enabled": True}})
    await until_dispatcher(hookline, "GatewayAvailable", "AllGateways", seconds=90)


async def gateway_pods(hookline: Installation) -> list[Object]:
    """Those that are not going: there is no kubelet to end them."""
    pods = await hookline.admin.list_all(PODS, hookline.namespace, labels="app.kubernetes.io/component=gateway")
    return [each for each in pods if not each["metadata"].get("deletionTimestamp")]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (NETWORK_POLICIES, sender_name("default")),
        (NETWORK_POLICIES, gateway_name("default")),
        (SERVICES, gateway_name("default")),
        (DISRUPTION_BUDGETS, gateway_name("default")),
        (DEPLOYMENTS, gateway_name("default")),
    ],
    ids=lambda each: each.name if isinstance(each, Kind) else each,
)
async def test_what_others_take_away_comes_back_at_once_and_is_told(
    hookline: Installation, operator: OperatorProcess, kind: Kind, name: str
) -> None:
    await hookline.kube("delete", kind.plural, name, "-n", hookline.namespace)

    async def is_back() -> bool:
        return await hookline.admin.get(kind, hookline.namespace, name) is not None

    await eventually(is_back, seconds=30)
    what = f"{kind.name} {name}"

    async def is_told() -> bool:
        events = await hookline.admin.list_all(EVENTS, hookline.namespace)
        return any(each["reason"] == "PutBack" and what in each["note"] for each in events)

    await eventually(is_told, what=lambda: operator.said[-2000:])
    assert "put back what others took away" in operator.said


@pytest.mark.parametrize(
    ("kind", "name", "theirs"),
    [
        (SERVICES, gateway_name("default"), {"spec": {"selector": {"app.kubernetes.io/component": "theirs"}}}),
        (SERVICE_ACCOUNTS, sender_name("default"), {"automountServiceAccountToken": True}),
    ],
    ids=lambda each: each.name if isinstance(each, Kind) else "",
)
async def test_what_others_change_of_an_object_without_a_generation_is_put_back(
    hookline: Installation, operator: OperatorProcess, kind: Kind, name: str, theirs: Object
) -> None:
    before = await hookline.admin.get(kind, hookline.namespace, name)
    assert before is not None
    assert "generation" not in before["metadata"]
    words = ("patch", kind.plural, name, "-n", hookline.namespace, "--type=merge", "-p")
    await hookline.kube(*words, json.dumps(theirs))

    async def is_put_back() -> bool:
        found = await hookline.admin.get(kind, hookline.namespace, name)
        return found is not None and all(found[part] == before[part] for part in theirs)

    await eventually(is_put_back, what=lambda: operator.said[-2000:])


async def test_who_makes_the_service_a_load_balancer_keeps_that(
    hookline: Installation, operator: OperatorProcess
) -> None:
    name = gateway_name("default")
    patch = {"metadata": {"annotations": {"example.com/network": "internal"}}, "spec": {"type": "LoadBalancer"}}
    await hookline.kube("patch", "service", name, "-n", hookline.namespace, "--type=merge", "-p", json.dumps(patch))
    # The operator looks at the Service again: it puts back its selector, and nothing else.
    await hookline.kube(
        *("patch", "service", name, "-n", hookline.namespace, "--type=merge", "-p"),
        json.dumps({"spec": {"selector": {"hookline.dev/dispatcher": "other"}}}),
    )

    async def is_put_back() -> bool:
        found = await hookline.admin.get(SERVICES, hookline.namespace, name)
        return found is not None and found["spec"]["selector"]["hookline.dev/dispatcher"] == "default"

    await eventually(is_put_back)
    service = await hookline.admin.get(SERVICES, hookline.namespace, name)
    assert service is not None
    assert (service["spec"]["type"], service["metadata"]["annotations"]) == (
        "LoadBalancer",
        {"example.com/network": "internal"},
    )
