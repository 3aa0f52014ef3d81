"""Replays beside `hookline run`: kept in its data folder, for the Webhooks of its manifests."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from hookline.api.replay.plan import WebhookSeen
from hookline.local.evaluation import Key, Known
from hookline.resources.webhook import Webhook
from hookline.routing.routes import Route


class ManifestWebhooks:
    """The Webhooks in force. An implementation of the executor's `Webhooks`."""

    def __init__(
        self, objects: Callable[[], Mapping[Key, Known]], routes: Callable[[], Iterable[Route]], dispatcher: str
    ) -> None:
        """`routes` are those that the sender serves, `dispatcher` the one whose part this machine plays."""
        self._objects = objects
        self._routes = routes
        self._dispatcher = dispatcher

    async def of(self, namespace: str, names: Collection[str] = ()) -> Sequence[WebhookSeen]:  # noqa: ARG002  # all cost no more
        uids = {each.name: each.uid for each in self._routes() if each.namespace == namespace}
        there = {key[2]: known.value for key, known in self._objects().items() if key[1] == namespace}
        return [
            WebhookSeen(
                name=name,
                uid=uids[name],
                event=webhook.spec.event,
                dispatcher=webhook.spec.dispatcher,
                enabled=webhook.spec.enabled,
                labels=webhook.metadata.labels,
            )
            for name, webhook in sorted(there.items())
            if isinstance(webhook, Webhook) and name in uids and webhook.spec.dispatcher == self._dispatcher
        ]
