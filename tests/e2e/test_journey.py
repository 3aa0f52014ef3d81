"""From `kubectl apply` to a verified call at a receiver, with the shipped manifests and real pods; then every change.

All through, a second Webhook hears every event, and at the end none of its events is missing.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable

import pytest

from controlplane.kubectl import Kubectl
from doubles.receiver import TlsReceiver
from e2e.cluster import SYSTEM
from e2e.team import Team, allow_receiver, new_secret, until
from hookline.routing.book_files import digest_of
from hookline.stream.publish import Publisher

pytestmark = pytest.mark.timeout(600)


async def test_a_webhook_from_apply_to_its_deletion_with_every_change_seen_at_the_receiver(
    installed: Kubectl, namespace: str, receiver: TlsReceiver, publisher: Publisher
) -> None:
    allow_receiver(installed, SYSTEM)
    pods_before = sender_pods(installed)
    team = Team(installed, namespace, receiver, publisher)
    first, second = new_secret(), new_secret()
    team.apply(
        team.secret("receiver-ca", {"ca.crt": receiver.ca_pem}),
        team.secret("signing", {"secret": first}),
        team.secret("witness", {"secret": first}),
        team.webhook("orders", "/v1", secret="signing"),
        team.webhook("witness", "/witness", secret="witness"),
    )
    team.ready("orders")
    team.ready("witness")
    call = await team.arrives("/v1", await team.publish())
    assert call.verified_by(first)

    # Another URL: once it is Ready, no event goes to the old one.
    team.apply(team.webhook("orders", "/v2", secret="signing"))
    await until(lambda: bool(team.condition("orders", "Programmed")), what="the new generation")
    team.ready("orders")
    assert (await team.arrives("/v2", await team.publish())).verified_by(first)
    assert len(receiver.at("/v1")) == 1

    # A rotated key: old and new sign for a while.
    team.apply(team.secret("signing", {"secret": second}))

    async def signed_by_both() -> bool:
        found = await team.arrives("/v2", await team.publish())
        assert found.verified_by(first)
        return found.verified_by(second)

    await until_true(signed_by_both, seconds=30, what="a call signed with both keys")

    # No longer allowed: deliveries wait, and arrive once it is allowed again.
    installed.ok("label", "secret", "signing", "-n", namespace, "hookline.dev/allow-webhooks-")
    await until(
        lambda: team.condition("orders", "SecretsResolved").get("reason") == "SecretNotAllowed", what="SecretNotAllowed"
    )
    held = await publish_until_it_waits(team, receiver, "/v2")
    team.apply(team.secret("signing", {"secret": second}))
    team.ready("orders")
    again = await team.arrives("/v2", held, seconds=60)
    assert again.verified_by(second)
    assert not again.verified_by(first), "a key that was taken away must not sign any more"

    # Disabled and enabled.
    team.apply(team.webhook("orders", "/v2", secret="signing", enabled=False))
    await until(lambda: team.condition("orders", "Ready").get("reason") == "Disabled", what="Disabled")
    unheard = await team.publish()
    await team.arrives("/witness", unheard)
    team.apply(team.webhook("orders", "/v2", secret="signing"))
    await until(lambda: team.condition("orders", "Ready").get("reason") == "Ready", what="Ready again")
    await team.arrives("/v2", await team.publish())
    assert unheard not in {each.event_id for each in receiver.at("/v2")}

    # Deleted: nothing comes any more, and the neighbour goes on.
    installed.ok("delete", "webhook", "orders", "-n", namespace)
    await until(lambda: not routed(installed, namespace, "orders"), what="the route to be gone")
    await wait_for_senders(installed)
    before = len(receiver.at("/v2"))
    await team.arrives("/witness", await team.publish())
    assert len(receiver.at("/v2")) == before

    for event_id in team.published:
        await team.arrives("/witness", event_id)
    assert all(each.verified_by(first) for each in receiver.at("/witness"))
    assert sender_pods(installed) == pods_before, "no change of a Webhook may restart a pod"

    # The namespace goes: its Webhooks are served no longer.
    installed.ok("delete", "namespace", namespace, "--timeout=60s", seconds=70)
    await until(lambda: not routed(installed, namespace, "witness"), what="the routes of the namespace to be gone")


async def test_every_sample_of_the_repository_is_taken_and_says_what_it_waits_for(
    installed: Kubectl, namespace: str
) -> None:
    installed.ok(
        "apply", "--server-side", "--field-manager=gitops", "-n", namespace, "-f", "manifests/samples", user="gitops"
    )

    def reasons() -> dict[str, str]:
        found: dict[str, str] = {}
        for each in installed.json("get", "webhooks", "-n", namespace)["items"]:
            conditions = each["status"].get("conditions", [])
            found[each["metadata"]["name"]] = next((c["reason"] for c in conditions if c["type"] == "Ready"), "")
        return found

    # What the samples are for: one is disabled, and one is paused.
    wanted = {"credential-updated": "Disabled", "access-granted": "Paused"}
    there = reasons().keys()
    assert wanted.keys() < there
    await until(lambda: reasons() == {name: wanted.get(name, "Ready") for name in there}, what="all samples")


def routed(kubectl: Kubectl, namespace: str, name: str) -> bool:
    """Whether any route of the book is of this Webhook."""
    maps = kubectl.json("get", "configmaps", "-n", SYSTEM, "-l", "hookline.dev/book")["items"]
    routes = [
        route
        for each in maps
        for file, text in each["data"].items()
        if file.startswith("routes-")
        for route in json.loads(text)
    ]
    return any((route["namespace"], route["name"]) == (namespace, name) for route in routes)


def sender_pods(kubectl: Kubectl) -> set[tuple[str, str, int]]:
    """Name, uid and restarts of each."""
    pods = kubectl.json("get", "pods", "-n", SYSTEM, "-l", "app.kubernetes.io/component=sender")["items"]
    return {
        (each["metadata"]["name"], each["metadata"]["uid"], each["status"]["containerStatuses"][0]["restartCount"])
        for each in pods
    }


async def wait_for_senders(kubectl: Kubectl) -> None:
    """Until every sender serves the book as it is in the cluster now."""

    def all_serve() -> bool:
        wanted = {
            name: digest
            for each in kubectl.json("get", "secrets", "-n", SYSTEM, "-l", "hookline.dev/book")["items"]
            for name, digest in digests(each["data"]).items()
        }
        return all(wanted.items() <= report(kubectl, name).items() for name, _, _ in sender_pods(kubectl))

    await until(all_serve, what="senders to serve the newest book")


def digests(data: dict[str, str]) -> dict[str, str]:
    return {name: digest_of(base64.b64decode(text)) for name, text in data.items() if name.startswith("index-")}


def report(kubectl: Kubectl, pod: str) -> dict[str, str]:
    """What a sender pod says that it serves."""
    path = f"/api/v1/namespaces/{SYSTEM}/pods/{pod}:8080/proxy/report"
    served: dict[str, str] = json.loads(kubectl.ok("get", "--raw", path))["served"]
    return served


async def until_true(ask: Callable[[], Awaitable[bool]], *, seconds: float, what: str) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not await ask():
        assert asyncio.get_running_loop().time() < deadline, f"{what}: not within {seconds:g} s"


async def publish_until_it_waits(team: Team, receiver: TlsReceiver, path: str) -> str:
    """Publish until an event does not arrive any more: senders load the change one after the other. That event's id."""
    for _ in range(20):
        event_id = await team.publish()
        await team.arrives("/witness", event_id)
        await asyncio.sleep(1)
        if event_id not in {each.event_id for each in receiver.at(path)}:
            return event_id
    raise AssertionError("events go on although the Secret is no longer allowed")
