"""The bucket in which all senders keep what they know of endpoints. Plain bytes by key; delivery/breaker knows them.

Followed as a log, by the sequence of its messages: a subscription can go deaf without a word, a look cannot. Writing
names the revision that is replaced, so that of many senders one writes and the others see it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from hookline.stream import names
from hookline.stream.api import NOT_FOUND, api
from hookline.stream.connection import StreamUnavailable, jetstream_answers

_STREAM = f"KV_{names.ENDPOINTS_BUCKET}"
_PREFIX = f"$KV.{names.ENDPOINTS_BUCKET}."
_WRONG_LAST_SEQUENCE = 10071
_ASK_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Entry:
    """A key as it is from `revision` on; `value` None means that it was removed."""

    key: str
    value: bytes | None
    revision: int


class EndpointBucket:
    """The bucket over one connection. `on_missing` is called when it is not there: its owner makes it anew."""

    def __init__(self, client: Client, *, on_missing: Callable[[], None] = lambda: None) -> None:
        self._client = client
        self._on_missing = on_missing
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
            entries: list[Entry] = []
            while self._seen < info["state"]["last_seq"]:
                entry = await self._next()
                if entry is None:
                    break
                self._seen = entry.revision
                entries.append(entry)
            return anew, entries

    async def write(self, key: str, value: bytes, *, revision: int) -> int | None:
        """Replace what has this revision (0: nothing was there ever); the new one, or None when another was first."""
        return await self._publish(key, value, {}, revision)

    async def remove(self, key: str, *, revision: int) -> int | None:
        return await self._publish(key, b"", {"KV-Operation": "DEL"}, revision)

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
            return None
        raise StreamUnavailable(f"NATS refused to store the state of an endpoint: {error.get('description')}")

    async def _info(self) -> dict[str, Any]:
        info = await api(self._client, f"STREAM.INFO.{_STREAM}")
        if info.get("error", {}).get("code") == NOT_FOUND:
            self._on_missing()
        if "error" in info:
            raise StreamUnavailable(f"the bucket {names.ENDPOINTS_BUCKET} cannot be read")
        return info

    async def _next(self) -> Entry | None:
        try:
            # Asked of the leader: a replica may not have it yet.
            message = await self._client.jetstream().get_msg(
                _STREAM, seq=self._seen + 1, subject=f"{_PREFIX}>", next=True
            )
        except nats.js.errors.NotFoundError:
            return None
        removed = (message.headers or {}).get("KV-Operation") in ("DEL", "PURGE")
        assert message.subject is not None
        assert message.seq is not None
        return Entry(message.subject[len(_PREFIX) :], None if removed else message.data or b"", message.seq)
