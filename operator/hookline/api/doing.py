"""What the API has done beside reading, over the connections that there are: see `actions`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hookline.api.log import Attempt
from hookline.api.replay.executor import Executor
from hookline.api.replay.letters import ReplayLetters
from hookline.api.test_calls import call_webhook
from hookline.stream.connection import Client


class QueueActions:
    """An implementation of `Actions`. `clients` are by Dispatcher."""

    def __init__(self, executor: Executor, clients: Callable[[], Mapping[str, Client]]) -> None:
        self._letters = ReplayLetters(executor, clients)
        self._clients = clients

    async def replay_dead_letter(self, namespace: str, name: str) -> bool:
        return await self._letters.replay_dead_letter(namespace, name)

    async def test_webhook(self, namespace: str, name: str, event_type: str) -> Attempt:
        return await call_webhook(self._clients(), namespace, name, event_type)
