"""Writes the digests of publishers' tokens into a Secret for each Dispatcher, and tells teams what became of theirs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import structlog

from hookline.control import publishers
from hookline.control.cluster import ClusterError
from hookline.control.context import Context
from hookline.control.kinds import SECRETS, Object, Place, gateway_certificate_name, publishers_name
from hookline.control.publishers import Decided, Word
from hookline.control.status import publisher_event
from hookline.control.work_keys import GatewayTouchKey, PublisherKey, PublishersKey

log = structlog.get_logger(__name__)

LOOK_SECONDS = 0.3
"""Between two looks at all tokens, since whoever has a Secret can ask for one."""

PAUSE = 10
"""And so many times as long as the last one took: 30 ms for each 1,000 tokens."""

AGAIN_SECONDS = 10.0
"""Until an Event is tried again that could not be posted."""


class PublisherWriter:
    """The tokens of all publishers."""

    def __init__(self, context: Context, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._context = context
        self._clock = clock
        self._next_at = float("-inf")
        self._words: dict[Place, Word] = {}
        self._told: dict[Place, tuple[str, Word]] = {}
        """What was told of each Secret, and of which one of its name, by uid."""
        self._began = False

    async def reconcile(self) -> None:
        """Have every Dispatcher's Secret hold the tokens that its gateway takes. Raises ClusterError."""
        began_at = self._clock()
        if began_at < self._next_at:
            self._context.queue.add_later(PublishersKey(), self._next_at - began_at)
            return
        observed, dispatchers = self._context.observed, self._context.own_dispatchers()
        unread = self._unread()
        found = publishers.decided(
            observed.publishers.values(),
            dispatchers,
            observed.namespace_labels,
            {name: publishers.tokens_in(secret) for name, secret in unread.items()},
        )
        self._next_at = self._clock() + max(LOOK_SECONDS, PAUSE * (self._clock() - began_at))
        if not self._began:
            self._remember_accepted(found)
        wanted = {
            each.metadata.name: publishers.manifest(each, found.files[each.metadata.name]) for each in dispatchers
        }
        wanted |= {name: publishers.manifest_again(each, found.files[name]) for name, each in unread.items()}
        failed: ClusterError | None = None
        for name, manifest in wanted.items():
            try:
                await self._write(name, manifest)
            except ClusterError as error:
                failed = error
        # What may not be written yet is no news.
        self._words = {place: word for place, word in found.words.items() if not (failed and word.accepted)}
        self._told = {place: told for place, told in self._told.items() if place in found.words}
        self._context.add(PublisherKey(*place) for place in self._words if self._is_news(place))
        if failed is not None:
            raise failed

    async def tell(self, place: Place) -> None:
        """Tell the team of a Secret whether its token counts, if that is news."""
        publisher, word = self._context.observed.publishers.get(place), self._words.get(place)
        if publisher is None or word is None or not self._is_news(place):
            return
        reporter = self._context.identity.name
        event = publisher_event(publisher, word, reporter=reporter, now=self._context.now())
        if await self._context.tell(publisher, event):
            self._told[place] = publisher.uid, word
        else:
            # Unlike a resource, a Secret has no status that says the same.
            self._context.queue.add_later(PublisherKey(*place), AGAIN_SECONDS)

    async def touch(self, dispatcher: str) -> None:
        """Have kubelets refresh what the gateway pods of a Dispatcher mount."""
        await self._context.touch(self._context.observed.gateway_pods(dispatcher), self._version(dispatcher))

    def _unread(self) -> dict[str, Object]:
        """The Secrets of Dispatchers whose spec is not understood."""
        names = (name for name, seen in self._context.seen_dispatchers().items() if seen.value is None)
        found = {name: self._context.own(SECRETS, publishers_name(name)) for name in names}
        return {name: secret for name, secret in found.items() if secret is not None}

    async def _write(self, name: str, manifest: dict[str, Any]) -> None:
        written = await self._context.write_own(SECRETS, manifest)
        if written:
            log.info("publisher tokens written", dispatcher=name)
        pods, version = self._context.observed.gateway_pods(name), self._version(name)
        # A pod that was never touched has begun with what is there, unless it was written just now.
        if any(pod.touched != version and (written or pod.touched) for pod in pods):
            self._context.queue.add(GatewayTouchKey(name))

    def _version(self, dispatcher: str) -> str:
        names = publishers_name(dispatcher), gateway_certificate_name(dispatcher)
        return self._context.version_of((SECRETS, each) for each in names)

    def _remember_accepted(self, found: Decided) -> None:
        """What an operator before this one has written it has told too."""
        self._began = True
        observed = self._context.observed
        for name in found.files:
            live = self._context.own(SECRETS, publishers_name(name))
            for token in publishers.tokens_in(live):
                seen, word = observed.publishers.get(token.id), found.words.get(token.id)
                if seen is not None and seen.token == token and word is not None and word.accepted:
                    self._told[token.id] = seen.uid, word

    def _is_news(self, place: Place) -> bool:
        seen = self._context.observed.publishers.get(place)
        return seen is not None and self._told.get(place) != (seen.uid, self._words.get(place))
