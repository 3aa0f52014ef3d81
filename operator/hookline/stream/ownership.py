"""The mark of the owner in NATS: read, written once by whoever comes first, watched while an installation works.

Decides nothing: owner does. The mark is a key of a bucket, written with the revision that it replaces, so that of two
that want to, one does.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from typing import Any

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from hookline.events.envelope import stamp_to_the_second
from hookline.runtime.tasks import within
from hookline.stream import names, owner
from hookline.stream.api import NOT_FOUND, api, request
from hookline.stream.connection import QueueUnusable, StreamUnavailable, jetstream_answers
from hookline.stream.owner import UNREADABLE, Installation, Mark, NotTheOwner
from hookline.stream.streams import ensure_bucket, find

log = structlog.get_logger(__name__)

LOOK_SECONDS = 10.0
"""Between two looks at the mark. A change is mostly heard of at once."""

_KEY = f"$KV.{names.INSTALLATION_BUCKET}.owner"
_STREAM = f"KV_{names.INSTALLATION_BUCKET}"
_WRONG_LAST_SEQUENCE = 10071
_TRIES = 3


class Ownership:
    """One installation's claim over one connection."""

    def __init__(self, client: Client, me: Installation) -> None:
        self._client = client
        self._me = me
        self._wake = asyncio.Event()
        self.mark: Mark | None = None
        """Of this installation, once it is claimed."""

    def wake(self) -> None:
        """Look soon: another server may answer now."""
        self._wake.set()

    async def claim(self, *, replicas: int = 1) -> Mark:
        """Make sure that this installation is the owner. Raises QueueUnusable, StreamUnavailable, StreamRefused."""
        for _ in range(_TRIES):
            found, revision = await self._read()
            there = found
            if found in (None, UNREADABLE):
                # The mark may have been lost or written over, and the streams still say whose they are.
                there = await _mark_of_streams(self._client) or found
            wanted = self._claimed(there)
            if not self._me.id or (found == wanted and revision):
                self.mark = wanted
                if revision:
                    await ensure_bucket(self._client, names.INSTALLATION_BUCKET, replicas=replicas)
                return wanted
            await ensure_bucket(self._client, names.INSTALLATION_BUCKET, replicas=replicas)
            if await self._write(wanted, revision):
                if there is not None and there.id != wanted.id:
                    log.warning("took over the queue", former_owner=there.name, since=there.since)
                self.mark = wanted
                return wanted
        raise StreamUnavailable("the mark of the owner changes all the time; is another installation being set up?")

    async def watch(self) -> None:
        """End with QueueUnusable as soon as somebody else is the owner. For ever."""
        with jetstream_answers():
            await self._client.subscribe(_KEY, cb=self._heard)
        while True:
            await within(self._wake, LOOK_SECONDS)
            self._wake.clear()
            try:
                there, revision = await self._read()
                if there == UNREADABLE:
                    there = await self._restored(there, revision)
            except StreamUnavailable:
                continue
            if there is not None and (self.mark is None or (there.id, there.term) != (self.mark.id, self.mark.term)):
                raise QueueUnusable(owner.in_use(there))

    async def _restored(self, there: Mark, revision: int) -> Mark:
        """The mark, in place of what was written over it, if the streams are still ours; else whose they are."""
        of_streams = await _mark_of_streams(self._client)
        if (
            self.mark is None
            or of_streams is None
            or (of_streams.id, of_streams.term) != (self.mark.id, self.mark.term)
        ):
            return of_streams or there
        if await self._write(self.mark, revision):
            log.warning("the mark of the owner was written over by something that is none, and is restored")
        return self.mark

    async def _heard(self, _: Msg) -> None:
        self._wake.set()

    def _claimed(self, there: Mark | None) -> Mark:
        try:
            return owner.claimed(there, self._me, stamp_to_the_second(time.time()))
        except NotTheOwner as refused:
            raise QueueUnusable(refused.problem) from None

    async def _read(self) -> tuple[Mark | None, int]:
        """The mark and its revision; None and the revision that a first one replaces."""
        answer = await api(self._client, f"STREAM.MSG.GET.{_STREAM}", last_by_subj=_KEY)
        if answer.get("error", {}).get("code") == NOT_FOUND:
            return None, 0
        message: dict[str, Any] = answer["message"]
        value = base64.b64decode(message.get("data") or "")
        return (owner.read(value) if value else None), int(message["seq"])

    async def _write(self, mark: Mark, revision: int) -> bool:
        """Whether it stands there now: not when another one was first."""
        headers = {"Nats-Expected-Last-Subject-Sequence": str(revision)}
        said = json.loads(await request(self._client, _KEY, mark.encoded(), headers=headers))
        error = said.get("error")
        if error is None:
            return True
        if error.get("err_code") == _WRONG_LAST_SEQUENCE:
            return False
        raise StreamUnavailable(f"NATS refused to store the mark of the owner: {error.get('description')}")


async def _mark_of_streams(client: Client) -> Mark | None:
    """What the stream with the events says of its owner."""
    info = await api(client, f"STREAM.INFO.{(await find(client)).stream(names.EVENTS)}")
    metadata = info.get("config", {}).get("metadata") or {}
    if names.OWNER_ID not in metadata:
        return None
    term = metadata.get(names.OWNER_TERM, "1")
    return Mark(
        metadata[names.OWNER_ID],
        metadata.get(names.OWNER_NAME, "an installation without a name"),
        "an unknown time",
        int(term) if term.isascii() and term.isdigit() and 0 < len(term) < 10 else 1,
    )
