from __future__ import annotations

from pathlib import Path

from doubles.books import route
from hookline.local import evaluation
from hookline.local.manifests import read
from hookline.local.replaying import ManifestWebhooks

MANIFESTS = """
apiVersion: hookline.dev/v1alpha1
kind: Webhook
metadata: {name: one, namespace: team-a, labels: {tier: gold}}
spec: {url: "https://example.com/", event: IdentityCreated, enabled: false}
---
apiVersion: hookline.dev/v1alpha1
kind: Webhook
metadata: {name: one, namespace: team-b}
spec: {url: "https://example.com/", event: IdentityDeleted}
---
apiVersion: hookline.dev/v1alpha1
kind: Webhook
metadata: {name: two, namespace: team-a}
spec: {url: "https://example.com/", event: IdentityDeleted, dispatcher: edge}
---
apiVersion: hookline.dev/v1alpha1
kind: Webhook
metadata: {name: new, namespace: team-a}
spec: {url: "https://example.com/", event: IdentityDeleted}
"""


async def test_webhooks_are_those_of_the_namespace_that_are_sent_for_here_with_the_uids_that_senders_know(
    tmp_path: Path,
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(MANIFESTS)
    objects = evaluation.understand(*read(file)).objects
    routes = [route(f"u-{namespace}-{name}", namespace=namespace, name=name) for namespace in ("team-a", "team-b")
              for name in ("one", "two")]  # fmt: skip
    webhooks = ManifestWebhooks(lambda: objects, lambda: routes, "default")
    (found,) = await webhooks.of("team-a")
    assert (found.name, found.uid, found.event, found.enabled) == ("one", "u-team-a-one", "IdentityCreated", False)
    assert found.labels == {"tier": "gold"}
    assert [each.uid for each in await webhooks.of("team-b", ["one"])] == ["u-team-b-one"]
    assert await webhooks.of("team-c") == []
