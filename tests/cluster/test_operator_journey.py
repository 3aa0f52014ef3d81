"""From `kubectl apply` to a verified call, and every change seen at the receiver.

The operator is a process with the shipped rights, senders are processes on a real nats-server. In each test a second
Webhook, the witness, hears all events of the same team all the while, and must miss none.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from controlplane.kubectl import Kubectl
from controlplane.servers import ControlPlane
from doubles import own
from doubles.installation import DISPATCHER, Installation, condition_of, installed
from doubles.local import count, dead_letters
from doubles.receiver import TlsReceiver
from doubles.team import Team, new_secret
from doubles.waiting import eventually
from hookline.control.kinds import DISPATCHERS, EVENT_TYPES, PODS, WEBHOOKS
from hookline.local.samples import EXAMPLE_APP_KEY, EXAMPLE_SIGNING_SECRET, EXAMPLE_TOKEN

pytestmark = [pytest.mark.timeout(180), pytest.mark.asyncio(loop_scope="module")]

WEBHOOK_SAMPLES = sorted(
    each
    for each in (Path(__file__).parents[2] / "manifests" / "samples").glob("*.yaml")
    if "\nkind: Webhook\n" in each.read_text()
)

Object = dict[str, Any]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hookline(
    control_plane: ControlPlane, kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    """An installation whose sender pods stay the same, whatever the tests of this module change."""
    async with installed(control_plane, kubectl, tmp_path_factory.mktemp("journey")) as installation:
        installation.operator().start()
        await installation.until_sends()
        before = await _pods(installation)
        yield installation
        assert await _pods(installation) == before


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def receiver() -> AsyncIterator[TlsReceiver]:
    async with TlsReceiver("127.0.0.1", name="localhost") as running:
        yield running


@pytest.fixture
def secret() -> str:
    return new_secret()


@pytest_asyncio.fixture(loop_scope="module")
async def team(hookline: Installation, namespace: str, receiver: TlsReceiver, secret: str) -> Team:
    """With the Webhook `orders`, to be changed, and the witness."""
    found = Team(hookline, namespace, receiver)
    await found.apply(
        found.authority(),
        found.signing("signing", secret),
        found.signing("witness", secret),
        found.webhook("orders", f"/{namespace}/orders"),
        found.webhook("witness", f"/{namespace}/witness", secret="witness"),
    )
    await found.until("orders", "Ready")
    await found.until("witness", "Ready")
    return found


@asynccontextmanager
async def witnessed(team: Team) -> AsyncIterator[None]:
    """Events all the while; in the end the witness has heard each, and none was given up."""
    async with team.publishing():
        yield
    await team.missed_nothing(f"/{team.namespace}/witness")


async def _pods(hookline: Installation) -> set[tuple[str, str]]:
    pods = await hookline.admin.list_all(PODS, hookline.namespace)
    return {(each["metadata"]["name"], each["metadata"]["uid"]) for each in pods}


@pytest.mark.parametrize("sample", WEBHOOK_SAMPLES, ids=lambda path: path.stem)
async def test_a_sample_that_gitops_applies_becomes_ready_and_its_calls_verify(
    hookline: Installation, namespace: str, receiver: TlsReceiver, sample: Path
) -> None:
    team = Team(hookline, namespace, receiver)
    objects = list(yaml.safe_load_all(sample.read_text()))
    (webhook,) = (each for each in objects if each["kind"] == "Webhook")
    secrets = [each for each in objects if each["kind"] == "Secret"]
    path = f"/{namespace}/{sample.stem}"
    webhook["spec"] |= {"url": f"{receiver.url(path)}?a=b", "tls": {"caSecretRef": {"name": "receiver-ca"}}}
    name, spec = webhook["metadata"]["name"], webhook["spec"]
    await team.apply(webhook, *secrets, team.authority())
    await hookline.kube("wait", f"webhook/{name}", "-n", namespace, "--for=condition=Ready", "--timeout=30s")
    ready = await team.condition(name)
    if not spec["enabled"]:
        assert ready["reason"] == "Disabled"
        return
    if spec.get("paused"):
        assert ready["reason"] == "Paused"
        return
    assert ready["reason"] == "Ready"
    (event,) = await team.publish(event=spec["event"])
    call = await team.call(path, event)
    headers = {each["name"].lower(): each.get("value", EXAMPLE_TOKEN) for each in spec.get("headers", [])}
    if spec.get("signature", {}).get("scheme") == "Header":
        headers[spec["signature"]["headerName"].lower()] = EXAMPLE_APP_KEY
    else:
        seen = await hookline.admin.get(WEBHOOKS, namespace, name) or {}
        public = [each["publicKey"] for each in seen["status"].get("signingKeys", [])]
        assert all(call.verified_by(key) for key in public or [EXAMPLE_SIGNING_SECRET])
    assert headers.items() <= call.headers.items()


async def test_a_new_url_is_called_and_the_old_one_no_more(
    hookline: Installation, team: Team, receiver: TlsReceiver
) -> None:
    old, new = f"/{team.namespace}/orders", f"/{team.namespace}/elsewhere"
    async with witnessed(team):
        await team.apply(team.webhook("orders", new))
        await team.until("orders", "Programmed", kind="Programmed")
        (event,) = await team.publish()
        await team.call(new, event)
        calls = len(receiver.at(old))
        (event,) = await team.publish()
        await team.call(new, event)
    assert len(receiver.at(old)) == calls


async def test_after_a_rotation_the_old_key_signs_beside_the_new_one(
    hookline: Installation, team: Team, secret: str
) -> None:
    path, fresh = f"/{team.namespace}/orders", new_secret()
    async with witnessed(team):
        await team.apply(team.signing("signing", fresh))

        async def both_sign() -> bool:
            (event,) = await team.publish()
            call = await team.call(path, event)
            assert call.verified_by(secret), "a receiver that was not told yet must still verify"
            return call.verified_by(fresh)

        await eventually(both_sign)


async def test_without_its_label_a_secret_signs_nothing_and_what_waited_arrives_once_it_is_lent_again(
    hookline: Installation, team: Team, secret: str
) -> None:
    path = f"/{team.namespace}/orders"
    async with witnessed(team):
        await team.allow("signing", allowed=False)
        refused = await team.until("orders", "SecretNotAllowed")
        assert f"kubectl label secret -n {team.namespace} signing" in refused["message"]
        await hookline.settled()
        events = await team.publish(3)
        for event in events:
            await team.call(f"/{team.namespace}/witness", event)
        assert set(events) <= team.missing(path)
        await team.allow("signing", allowed=True)
        await team.until("orders", "Ready")
        for event in events:
            assert (await team.call(path, event)).verified_by(secret)


async def test_a_disabled_webhook_hears_nothing_until_it_is_enabled(hookline: Installation, team: Team) -> None:
    path = f"/{team.namespace}/orders"
    async with witnessed(team):
        await team.apply(team.webhook("orders", path, enabled=False))
        await team.until("orders", "Disabled")
        await team.until("orders", "Programmed", kind="Programmed")
        (unheard,) = await team.publish()
        await team.call(f"/{team.namespace}/witness", unheard)
        await team.apply(team.webhook("orders", path, enabled=True))
        await team.until("orders", "Ready")
        await team.until("orders", "Programmed", kind="Programmed")
        (heard,) = await team.publish()
        await team.call(path, heard)
    assert unheard in team.missing(path)


async def test_a_deleted_webhook_is_called_no_more(hookline: Installation, team: Team, receiver: TlsReceiver) -> None:
    path = f"/{team.namespace}/orders"
    async with witnessed(team):
        await team.delete("webhook", "orders")
        await hookline.settled()
        (unheard,) = await team.publish()
        await team.call(f"/{team.namespace}/witness", unheard)
    assert unheard in team.missing(path)


async def test_with_its_namespace_a_webhook_is_gone_and_others_go_on(
    hookline: Installation, team: Team, receiver: TlsReceiver, kubectl: Kubectl
) -> None:
    other = Team(hookline, f"{team.namespace}-b", receiver)
    await hookline.kube("create", "namespace", other.namespace)
    secret = new_secret()
    await other.apply(other.authority(), other.signing("signing", secret), other.webhook("orders", "/gone"))
    await other.until("orders", "Ready")
    async with witnessed(team):
        await hookline.kube("delete", "namespace", other.namespace, "--wait=false")

        async def is_gone() -> bool:
            return await hookline.admin.get(WEBHOOKS, other.namespace, "orders") is None

        await eventually(is_gone)
        await hookline.settled()
        calls = len(receiver.at("/gone"))
        await other.publish(2)
        (event,) = await team.publish()
        await team.call(f"/{team.namespace}/witness", event)
    assert len(receiver.at("/gone")) == calls


async def test_an_unknown_event_is_refused_with_near_names_and_heals_when_its_type_appears(
    hookline: Installation, team: Team
) -> None:
    path, event = f"/{team.namespace}/late", "IdentityCreatd"
    await team.apply(team.webhook("late", path, event=event))
    refused = await team.until("late", "UnknownEvent", kind="Accepted")
    assert "IdentityCreated" in refused["message"]
    assert (await team.condition("late", "Stalled"))["status"] == "True"
    event_type = {
        "apiVersion": "hookline.dev/v1alpha1",
        "kind": "EventType",
        "metadata": {"name": event.lower()},
        "spec": {"event": event, "schema": {"type": "object"}},
    }
    async with witnessed(team):
        try:
            await hookline.kube("apply", "--server-side", "-f", "-", stdin=json.dumps(event_type))
            await team.until("late", "Ready")
            assert await team.condition("late", "Stalled") == {}
            found = await hookline.admin.get(EVENT_TYPES, None, event.lower())
            assert condition_of(found or {}, "Ready")["status"] == "True"
            (heard,) = await team.publish(event=event)
            await team.call(path, heard)
            team.published.remove(heard)
        finally:
            await hookline.kube("delete", "eventtype", event.lower())
        await team.until("late", "UnknownEvent")


async def test_a_schema_that_is_none_is_told_on_its_event_type(hookline: Installation) -> None:
    event_type = {
        "apiVersion": "hookline.dev/v1alpha1",
        "kind": "EventType",
        "metadata": {"name": "orderpaid"},
        "spec": {"event": "OrderPaid", "schema": {"type": "objekt"}},
    }
    await hookline.kube("apply", "--server-side", "-f", "-", stdin=json.dumps(event_type))
    try:

        async def is_refused() -> bool:
            found = await hookline.admin.get(EVENT_TYPES, None, "orderpaid")
            return condition_of(found or {}, "Accepted").get("reason") == "InvalidSchema"

        await eventually(is_refused)
    finally:
        await hookline.kube("delete", "eventtype", "orderpaid")


async def test_a_schema_that_refuses_more_says_where_on_its_event_type(hookline: Installation) -> None:
    async def apply(schema: dict[str, Any], **spec: Any) -> None:
        event_type = {
            "apiVersion": "hookline.dev/v1alpha1",
            "kind": "EventType",
            "metadata": {"name": "orderpaid"},
            "spec": {"event": "OrderPaid", "schema": schema, **spec},
        }
        await hookline.kube("apply", "--server-side", "-f", "-", stdin=json.dumps(event_type))

    async def says(reason: str) -> bool:
        found = await hookline.admin.get(EVENT_TYPES, None, "orderpaid")
        return condition_of(found or {}, "Compatible").get("reason") == reason

    try:
        await apply({"type": "object"})
        await eventually(lambda: says("Compatible"))
        await apply({"type": "object", "required": ["id"]}, sample={"id": [1.5, {}]}, deprecated="use OrderPlaced")
        await eventually(lambda: says("RefusesMore"))
        found = await hookline.admin.get(EVENT_TYPES, None, "orderpaid")
        assert '/required asks for "id" now' in condition_of(found or {}, "Compatible")["message"]
        assert condition_of(found or {}, "Ready")["status"] == "True"
        listed = (await hookline.kube("get", "eventtype", "orderpaid")).splitlines()
        assert {"DEPRECATED", "COMPATIBLE"} <= set(listed[0].split())
        assert "use OrderPlaced" in listed[1]
    finally:
        await hookline.kube("delete", "eventtype", "orderpaid")


async def test_a_dispatcher_that_does_not_serve_a_namespace_refuses_its_webhooks_with_the_reason(
    hookline: Installation, team: Team, receiver: TlsReceiver
) -> None:
    path = f"/{team.namespace}/orders"
    await hookline.kube("label", "namespace", team.namespace, f"served={team.namespace}")
    stranger = Team(hookline, f"{team.namespace}-b", receiver)
    await hookline.kube("create", "namespace", stranger.namespace)
    own = {"from": "Selector", "selector": {"matchLabels": {"served": team.namespace}}}
    try:
        async with witnessed(team):
            await change_dispatcher(hookline, {"servedNamespaces": own})
            secrets = (stranger.authority(), stranger.signing("signing", new_secret()))
            await stranger.apply(*secrets, stranger.webhook("orders", "/stranger"))
            refused = await stranger.until("orders", "NamespaceNotServed")
            assert "does not serve the namespace" in refused["message"]
            await hookline.kube("label", "namespace", stranger.namespace, f"served={team.namespace}")
            await stranger.until("orders", "Ready")
            (event,) = await stranger.publish()
            await stranger.call("/stranger", event)
            await hookline.kube("label", "namespace", stranger.namespace, "served-")
            await stranger.until("orders", "NamespaceNotServed")
            await hookline.settled()
            (unheard,) = await stranger.publish()
            (event,) = await team.publish()
            await team.call(path, event)
    finally:
        await change_dispatcher(hookline, {"servedNamespaces": {"from": "All", "selector": None}})
        await hookline.kube("delete", "namespace", stranger.namespace, "--wait=false")
    assert unheard in stranger.missing("/stranger")


async def test_a_second_dispatcher_on_the_same_nats_is_refused_and_disturbs_nobody(
    hookline: Installation, team: Team
) -> None:
    second: Object = {**DISPATCHER, "metadata": {"name": "second", "namespace": hookline.namespace}}
    async with witnessed(team):
        await hookline.kube("apply", "--server-side", "-f", "-", stdin=json.dumps(second))
        try:

            async def is_refused() -> bool:
                found = await hookline.admin.get(DISPATCHERS, hookline.namespace, "second")
                return condition_of(found or {}, "Accepted").get("reason") == "NATSInUse"

            await eventually(is_refused)
            await team.apply(team.webhook("lost", "/lost", dispatcher="second"))
            refused = await team.until("lost", "DispatcherNotFound")
            assert "write one of: default" in refused["message"]
            (event,) = await team.publish()
            await team.call(f"/{team.namespace}/orders", event)
        finally:
            await hookline.kube("delete", "dispatcher", "second", "-n", hookline.namespace)


async def test_a_webhook_that_loses_its_secret_is_told_of_by_an_event(hookline: Installation, team: Team) -> None:
    # A Webhook that is seen before its Secret says so, too.
    before = await events_about_orders(hookline, team, 0)
    await team.delete("secret", "signing")
    await team.until("orders", "SecretNotAllowed")
    told = await events_about_orders(hookline, team, len(before) + 1)
    assert Counter(told) - Counter(before) == Counter([("Warning", "SecretNotAllowed")])


async def test_an_endpoint_that_fails_and_is_well_again_is_told_of_by_one_event_each_also_by_a_new_operator(
    hookline: Installation, team: Team, receiver: TlsReceiver
) -> None:
    path = f"/{team.namespace}/orders"
    receiver.answers[path] = 500
    await team.publish(10)
    failing = await team.until("orders", "EndpointFailing", kind="Delivering")
    told_of = ("EndpointFailing", "Delivering")
    assert await events_about_orders(hookline, team, 1, told_of) == [("Warning", "EndpointFailing")]
    (operator,) = hookline.operators
    await operator.end()
    operator.start()
    # Once this is ready, the new operator has looked at everything and heard the senders.
    await team.apply(team.webhook("later", f"/{team.namespace}/later"))
    await team.until("later", "Ready")
    since = failing["lastTransitionTime"]
    assert (await team.condition("orders", "Delivering"))["lastTransitionTime"] == since
    del receiver.answers[path]
    await team.until("orders", "Delivering", kind="Delivering", seconds=60)
    told = await events_about_orders(hookline, team, 2, told_of)
    assert sorted(told) == [("Normal", "Delivering"), ("Warning", "EndpointFailing")]
    await team.missed_nothing(path)


async def events_about_orders(
    hookline: Installation, team: Team, count: int, reasons: Collection[str] = ()
) -> list[tuple[str, str]]:
    """Type and reason of each Event about the Webhook `orders`, with these reasons or any, once there are so many."""
    found: list[Object] = []

    async def are_told() -> bool:
        listed = await hookline.kube("get", "events", "-n", team.namespace, "-o", "json")
        about = [each for each in json.loads(listed)["items"] if each["involvedObject"]["name"] == "orders"]
        found[:] = [each for each in about if not reasons or each["reason"] in reasons]
        return len(found) >= count

    await eventually(are_told)
    return [(each["type"], each["reason"]) for each in found]


async def test_no_delivery_was_given_up_but_those_of_deleted_webhooks(hookline: Installation) -> None:
    assert hookline.queue is not None
    letters = await dead_letters(hookline.queue) if await count(hookline.queue, own.DEAD) else []
    assert {each.word for each in letters} <= {"WebhookGone"}


async def change_dispatcher(hookline: Installation, spec: Object) -> None:
    patch = json.dumps({"spec": spec})
    words = ("patch", "dispatcher", "default", "-n", hookline.namespace, "--type=merge", f"--patch={patch}")
    await hookline.kube(*words)
