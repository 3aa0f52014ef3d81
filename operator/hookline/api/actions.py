"""What the API has others do: a dead letter sent again, a test call."""

from __future__ import annotations

from typing import Protocol

from hookline.api.log import Attempt, Unreadable


class NoSuchWebhook(Exception):
    """There is none of that name in the namespace."""


class CannotBeDone(Exception):
    """What was asked for makes no sense as things are. The text is for people."""


class Actions(Protocol):
    """Each raises Unreadable when it cannot be done now, CannotBeDone when it never can."""

    async def replay_dead_letter(self, namespace: str, name: str) -> bool:
        """Send it again, now; whether it was there."""

    async def test_webhook(self, namespace: str, name: str, event_type: str) -> Attempt:
        """Send the sample of an event type, the Webhook's own if it is empty, and wait for what comes back. Raises
        NoSuchWebhook."""


class NoActions:
    """Of a process that can do neither."""

    async def replay_dead_letter(self, namespace: str, name: str) -> bool:  # noqa: ARG002
        raise Unreadable("this process cannot replay")

    async def test_webhook(self, namespace: str, name: str, event_type: str) -> Attempt:  # noqa: ARG002
        raise Unreadable("this process cannot make test calls")
