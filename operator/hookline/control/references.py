"""Which Webhooks refer to what: found again by a Secret, an event, a Dispatcher or a namespace.

Knows what each Webhook says, and not whether anything of that name is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from typing import Any

from hookline.control.kinds import Place
from hookline.resources.webhook import Webhook

_NOBODY: frozenset[Place] = frozenset()


@dataclass
class References:
    """Places of Webhooks, by what they name. Equal to another one that finds the same."""

    _by_secret: dict[Place, set[Place]] = field(default_factory=dict, init=False)
    _by_event: dict[str, set[Place]] = field(default_factory=dict, init=False)
    _by_dispatcher: dict[str, set[Place]] = field(default_factory=dict, init=False)
    _by_namespace: dict[str, set[Place]] = field(default_factory=dict, init=False)
    _webhooks: dict[Place, Webhook | None] = field(default_factory=dict, init=False, compare=False, repr=False)

    def put(self, place: Place, webhook: Webhook | None) -> None:
        """What a Webhook says from now on. None: nothing that is valid, so that only its namespace is known."""
        self.remove(place)
        self._webhooks[place] = webhook
        for index, name in self._named(place, webhook):
            index.setdefault(name, set()).add(place)

    def remove(self, place: Place) -> None:
        """A Webhook is gone, if it was there."""
        if place not in self._webhooks:
            return
        for index, name in self._named(place, self._webhooks.pop(place)):
            index[name].discard(place)
            if not index[name]:
                del index[name]

    def of_secret(self, secret: Place) -> Set[Place]:
        """Webhooks that name a Secret of their namespace."""
        return self._by_secret.get(secret, _NOBODY)

    def of_event(self, event: str) -> Set[Place]:
        """Webhooks that hear an event."""
        return self._by_event.get(event, _NOBODY)

    def of_dispatcher(self, dispatcher: str) -> Set[Place]:
        """Webhooks that name a Dispatcher."""
        return self._by_dispatcher.get(dispatcher, _NOBODY)

    def of_namespace(self, namespace: str) -> Set[Place]:
        """Webhooks of a namespace."""
        return self._by_namespace.get(namespace, _NOBODY)

    def _named(self, place: Place, webhook: Webhook | None) -> Iterator[tuple[dict[Any, set[Place]], Any]]:
        yield self._by_namespace, place[0]
        if webhook is not None:
            spec = webhook.spec
            yield self._by_event, spec.event
            yield self._by_dispatcher, spec.dispatcher
            for name in spec.secret_names():
                yield self._by_secret, (place[0], name)
