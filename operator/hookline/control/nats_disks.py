"""Looks how full the disks of the shipped NATS are, for the metrics. Nothing hangs on it.

The account of senders has no bound of its own there; its servers have, and only their system account tells it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog

from hookline.control.context import Context
from hookline.control.kinds import SECRETS
from hookline.control.nats_users import SECRET_NAMES, keys_of
from hookline.stream.connection import StreamUnavailable
from hookline.stream.inspect import Disk
from hookline.stream.permissions import Role
from hookline.stream.server_users import disks

log = structlog.get_logger(__name__)

LOOK_SECONDS, AGAIN_SECONDS = 60.0, 10.0
"""Between two looks, each a connection of its own: the operator has no other business with NATS. The latter while
nothing is known, as in an installation that just begins."""

Ask = Callable[[str, str], Awaitable[Mapping[str, Disk]]]


class NatsDisks:
    """Those of one NATS, as they were when they were looked at last. Without servers where NATS is somebody else's."""

    def __init__(self, context: Context, *, ask: Ask = disks) -> None:
        self._context = context
        self._ask = ask
        self._found: Mapping[str, Disk] = {}

    def used_bytes(self) -> dict[str, float]:
        """By server."""
        return {server: disk.used_bytes for server, disk in self._found.items()}

    def limit_bytes(self) -> dict[str, float]:
        """By server, of those that have a limit."""
        return {server: disk.limit_bytes for server, disk in self._found.items() if disk.limit_bytes}

    async def follow(self) -> None:
        """Look until cancelled."""
        try:
            while self._context.identity.shipped_nats:
                await self.look()
                await asyncio.sleep(LOOK_SECONDS if self._found else AGAIN_SECONDS)
        finally:
            # Another operator looks from now on.
            self._found = {}

    async def look(self) -> None:
        """Look once. What cannot be seen is not told: an old figure would look like a new one."""
        key = keys_of(self._context.own(SECRETS, SECRET_NAMES[Role.OPERATOR]))
        if key is None:
            return
        try:
            self._found = await self._ask(self._context.identity.shipped_nats, key.seed)
        except StreamUnavailable as error:
            self._found = {}
            log.debug("the servers of NATS do not say how full their disks are", problem=str(error))
        except Exception as error:  # noqa: BLE001  # the operator goes on whatever becomes of a metric
            self._found = {}
            log.error("the disks of NATS cannot be looked at: this is a bug", problem=type(error).__name__)
