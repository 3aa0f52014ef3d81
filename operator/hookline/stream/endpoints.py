"""The bucket in which all senders keep what they know of endpoints. Plain bytes by key; `endpoint_state` reads them.

Followed as a log, by the sequence of its messages: a subscription can go deaf without a word, a look cannot. Writing
names the revision that is replaced, so that of many senders one writes and the others see it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from hookline.runtime.tasks import Deadline
from hookline.stream import names
from hookline.stream.api import NOT_FOUND, api
from hookline.stream.connection import Heard, StreamUnavailable, jetstream_answers, listen

_STREAM = f"KV_{names.ENDPOINTS_BUCKET}"
_PREFIX = f"$KV.{names.ENDPOINTS_BUCKET}."
_WRONG_LAST_SEQUENCE = 10071
_ASK_SECONDS = 5.0

MARK_SECONDS = 86_400
"""How long a mark says that an entry was removed. A sender that heard nothing for so long writes what it knew again,
and the next probe puts that right."""

BATCH = 500
"""Entries that are asked for at once."""

BATCH_FROM = 16
"""Writes since the last look from which on batches are worth it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A key as it is from `revision` on; `value` None means that it was removed."""

    key: str
    value: bytes | None
    revision: int


class EndpointBucket:
    """The bucket over one connection. `on_missing` is called when it is not there: its owner makes it anew."""

    def __init__(
        self, client: Client, *, on_missing: Callable[[], None] = lambda: None, mark_seconds: int = MARK_SECONDS
    ) -> None:
        self._client = client
        self._on_missing = on_missing
        self._mark_seconds = mark_seconds
        self._created = ""
        self._seen = 0

    async def listen(self, on_write: Callable[[], None]) -> None:
        """Be told of writes at once. Only a hint: what counts is `changes`. Raises StreamUnavailable."""

        async def heard(_: Msg) -> None:
            on_write()

        with jetstream_answers():
            await self._client.subscribe(f"{_PREFIX}>", cb=heard)

    async def changes(self) -> tuple[bool, list[Entry]]:
        """What was written since the last look, and whether all that was known before is void, the bucket being a new
        one. Raises StreamUnavailable."""
        with jetstream_answers():
            info = await self._info()
            anew = info["created"] != self._created
            if anew:
                self._created, self._seen = info["created"], 0
            last = info["state"]["last_seq"]
            entries: list[Entry] = []
            while last - self._seen > BATCH_FROM and (found := await self._batch()):
                entries += found
                self._seen = found[-1].revision
            # What a replica gave may not be all: the leader has the last word.
            while self._seen < last:
                entry = await self._next()
                if entry is not None:
                    entries.append(entry)
                self._seen = entry.revision if entry is not None else last
            return anew, entries

    async def write(self, key: str, value: bytes, *, revision: int) -> int | None:
        """Replace what has this revision (0: nothing was there ever); the new one, or None when another was first."""
        return await self._publish(key, value, {}, revision)

    async def remove(self, key: str, *, revision: int) -> int | None:
        """As write; a mark stays for a day, so that all hear of it."""
        mark = {"KV-Operation": "DEL", "Nats-TTL": f"{self._mark_seconds}s"}
        return await self._publish(key, b"", mark, revision)

    async def _publish(self, key: str, value: bytes, headers: dict[str, str], revision: int) -> int | None:
        sent = {**headers, "Nats-Expected-Last-Subject-Sequence": str(revision)}
        try:
            with jetstream_answers():
                answer = await self._client.request(f"{_PREFIX}{key}", value, timeout=_ASK_SECONDS, headers=sent)
                said = json.loads(answer.data)
        except ValueError:
            raise StreamUnavailable("JetStream gave no answer that can be read") from None
        error = said.get("error")
        if error is None:
            return int(said["seq"])
        if error.get("err_code") == _WRONG_LAST_SEQUENCE:
            # Of a mark that is gone by now nothing is left to be replaced.
            return await self._publish(key, value, headers, 0) if revision else None
        raise StreamUnavailable(f"NATS refused to store the state of an endpoint: {error.get('description')}")

    async def _info(self) -> dict[str, Any]:
        info = await api(self._client, f"STREAM.INFO.{_STREAM}")
        if info.get("error", {}).get("code") == NOT_FOUND:
            self._on_missing()
        if "error" in info:
            raise StreamUnavailable(f"the bucket {names.ENDPOINTS_BUCKET} cannot be read")
        return info

    async def _batch(self) -> list[Entry]:
        """The next entries as one of the servers has them, which may be a moment behind (ADR-31)."""
        inbox, over = self._client.new_inbox(), asyncio.get_running_loop().create_future()
        found: list[Entry] = []

        def heard(message: Heard) -> None:
            if "Status" in message.headers:
                if not over.done():
                    over.set_result(None)
                return
            key, revision = message.headers["Nats-Subject"][len(_PREFIX) :], int(message.headers["Nats-Sequence"])
            found.append(_entry(key, message.headers, message.body, revision))

        subscription = await listen(self._client, inbox, heard)
        question = {"seq": self._seen + 1, "batch": BATCH, "next_by_subj": f"{_PREFIX}>"}
        try:
            with Deadline(_ASK_SECONDS):
                await self._client.publish(f"$JS.API.DIRECT.GET.{_STREAM}", json.dumps(question).encode(), reply=inbox)
                await over
        except TimeoutError:
            raise StreamUnavailable(f"the bucket {names.ENDPOINTS_BUCKET} is not read in time") from None
        finally:
            with contextlib.suppress(nats.errors.Error):
                await subscription.unsubscribe()
        return found

    async def _next(self) -> Entry | None:
        try:
            # Asked of the leader: a replica may not have it yet.
            message = await self._client.jetstream().get_msg(
                _STREAM, seq=self._seen + 1, subject=f"{_PREFIX}>", next=True
            )
        except nats.js.errors.NotFoundError:
            return None
        assert message.subject is not None
        assert message.seq is not None
        return _entry(message.subject[len(_PREFIX) :], message.headers or {}, message.data or b"", message.seq)


def _entry(key: str, headers: Mapping[str, str], value: bytes, revision: int) -> Entry:
    removed = headers.get("KV-Operation") in ("DEL", "PURGE")
    return Entry(key, None if removed else value, revision)
