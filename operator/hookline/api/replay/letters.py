"""Single dead letters, replayed because somebody named them: found by the name that lists show."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hookline.api.actions import CannotBeDone
from hookline.api.dead_letters import row_of
from hookline.api.log import Unreadable
from hookline.api.object_names import message_name, place_of_message, stream_of
from hookline.api.replay.executor import Executor
from hookline.delivery import messages
from hookline.stream import history, names
from hookline.stream.connection import Client, StreamRefused, StreamUnavailable
from hookline.stream.publish import OutOfRoom
from hookline.stream.stored import Stored
from hookline.stream.streams import find

REPLAY = "dead-letter"
"""What such calls say in `hookline-replay`: nobody made a Replay."""


class ReplayLetters:
    """Over the connections that there are now, by Dispatcher."""

    def __init__(self, executor: Executor, clients: Callable[[], Mapping[str, Client]]) -> None:
        self._executor = executor
        self._clients = clients

    async def replay_dead_letter(self, namespace: str, name: str) -> bool:
        """Store its delivery and remove it; whether it was there. A Dispatcher that is away hides none of another.
        Raises Unreadable, CannotBeDone."""
        place, away = place_of_message(name), ""
        if place is None:
            return False
        for dispatcher, client in self._clients().items():
            try:
                stream = stream_of(place, (await find(client)).streams(names.DEAD))
                message = await history.message_at(client, stream, place.seq) if stream else None
            except (StreamUnavailable, StreamRefused) as error:
                away = away or f"it may be of Dispatcher {dispatcher}: {error}"
                continue
            if message is not None and _named(message, stream, namespace) == name:
                await self._replay(dispatcher, stream, message.seq)
                return True
        if away:
            raise Unreadable(away)
        return False

    async def _replay(self, dispatcher: str, stream: str, seq: int) -> None:
        try:
            if not await self._executor.replay_letter(dispatcher, stream, seq, REPLAY):
                raise CannotBeDone("this dead letter holds no delivery: it was no message of Hookline's; drop it")
        except (StreamUnavailable, OutOfRoom) as error:
            raise Unreadable(f"its delivery cannot be stored now: {error}") from None
        except StreamRefused as error:
            raise CannotBeDone(f"the queue does not take its delivery: {error}") from None


def _named(message: Stored, stream: str, namespace: str) -> str:
    """Its name in lists of this namespace; empty of one that is in none."""
    letter = messages.read_dead_letter(message.subject, message.headers, message.body)
    row = row_of(stream, message.seq, int(message.stored_s * 1e9), letter, len(message.body))
    if row is None or row.tenant != namespace:
        return ""
    return message_name(row.event_id, row.attempt, stream, message.seq)
