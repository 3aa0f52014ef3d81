"""What senders say to one another: which Webhooks they know, and that they are here. Nothing of it is stored.

Decides nothing: what a question without an answer means is decided in delivery/policy/deleted_webhooks, who counts as
here in delivery/policy/shares.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from hookline.stream import names
from hookline.stream.agreement import Says
from hookline.stream.connection import StreamUnavailable

MAX_POD_LENGTH = 64

MAX_SAID_LENGTH = 256
"""Of what a sender says of the streams, which is kept: five prefixes of 31 characters and four names fit."""

UIDS_IN_A_MESSAGE = 1000
"""Some 40 KiB, far below what a server takes in one message."""


class Peers:
    """All senders of one NATS, this one among them. An answer goes to everybody: whoever asks next need not."""

    def __init__(
        self, client: Client, *, knows: Callable[[str], bool], on_known: Callable[[Iterable[str]], None]
    ) -> None:
        self._client = client
        self._knows = knows
        self._on_known = on_known

    async def start(self) -> None:
        """Begin to hear and to answer. Raises StreamUnavailable."""
        with _translated():
            await self._client.subscribe(names.UNKNOWN_SUBJECT, cb=self._asked)
            await self._client.subscribe(names.KNOWN_SUBJECT, cb=self._answered)

    async def ask(self, uids: Iterable[str]) -> None:
        """Have whoever knows one of these Webhooks say so. Raises StreamUnavailable."""
        with _translated():
            await self._send(names.UNKNOWN_SUBJECT, sorted(uids))

    async def _asked(self, message: Msg) -> None:
        known = [uid for uid in _uids(message) if self._knows(uid)]
        # A lost answer only means that the question is asked again.
        with contextlib.suppress(nats.errors.Error):
            await self._send(names.KNOWN_SUBJECT, known)

    async def _answered(self, message: Msg) -> None:
        self._on_known(_uids(message))

    async def _send(self, subject: str, uids: list[str]) -> None:
        for start in range(0, len(uids), UIDS_IN_A_MESSAGE):
            await self._client.publish(subject, json.dumps(uids[start : start + UIDS_IN_A_MESSAGE]).encode())


class Presence:
    """This sender, `me`, among all of one NATS. `on_here` says whether a sender is new: it is greeted at once.

    `says` is what this one says of the streams; of a sender that says nothing of them `on_here` hears None.
    """

    def __init__(
        self,
        client: Client,
        me: str,
        *,
        says: Callable[[], Says],
        on_here: Callable[[str, Says | None], bool],
        on_left: Callable[[str], None],
    ) -> None:
        self._client = client
        self._me = me
        self._says = says
        self._on_here = on_here
        self._on_left = on_left

    async def start(self) -> None:
        """Begin to hear the others. Raises StreamUnavailable."""
        with _translated():
            await self._client.subscribe(names.HERE_SUBJECT, cb=self._heard)

    async def announce(self, *, leaving: bool = False) -> None:
        """Say to all that this sender is here, or that it goes. Raises StreamUnavailable."""
        if not self._client.is_connected:
            # Else it would be kept, and said when it is no longer true.
            raise StreamUnavailable("not connected")
        with _translated():
            said = {"pod": self._me, "leaving": leaving, "streams": self._says()._asdict()}
            await self._client.publish(names.HERE_SUBJECT, json.dumps(said).encode())

    async def _heard(self, message: Msg) -> None:
        try:
            content = json.loads(message.data)
            pod, leaving = content["pod"], bool(content["leaving"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return
        if not isinstance(pod, str) or pod == self._me or len(pod) > MAX_POD_LENGTH:
            return
        if leaving:
            self._on_left(pod)
        elif self._on_here(pod, _on_streams(content.get("streams"))):
            # A lost greeting only means that the newcomer hears of us two seconds later.
            with contextlib.suppress(StreamUnavailable):
                await self.announce()


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except nats.errors.Error as error:
        raise StreamUnavailable(f"the other senders cannot be asked ({type(error).__name__})") from None


def _on_streams(said: object) -> Says | None:
    """Anybody on this NATS may have sent it."""
    match said:
        case {"wanted": str() | None as wanted, "at": str() as at, **more}:
            if len(wanted or "") + len(at) <= MAX_SAID_LENGTH:
                return Says(wanted, at, more.get("takes_large") is True)
    return None


def _uids(message: Msg) -> list[str]:
    """Anybody on this NATS may have sent it."""
    try:
        content = json.loads(message.data)
    except (ValueError, RecursionError):
        return []
    return [each for each in content if isinstance(each, str)] if isinstance(content, list) else []
