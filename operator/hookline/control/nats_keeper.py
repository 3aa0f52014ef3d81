"""Keeps the users of the shipped NATS as they should be, step by step: Secrets written, servers asked.

Decides nothing: nats_users does. Does nothing in an installation whose NATS is somebody else's.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from hookline.control.context import Context
from hookline.control.kinds import NATS_USERS_NAME, SECRETS
from hookline.control.nats_users import (
    SECRET_NAMES,
    AskServers,
    Rest,
    WriteKeys,
    WriteUsers,
    keys_of,
    keys_secret,
    next_step,
    users_of,
    users_secret,
)
from hookline.control.work_keys import NatsUsersKey
from hookline.stream.connection import StreamUnavailable
from hookline.stream.nkeys import RAW_BYTES, seed_of
from hookline.stream.permissions import Role
from hookline.stream.server_users import have_read

log = structlog.get_logger(__name__)

AGAIN_SECONDS = 3.0
LATEST_AGAIN_SECONDS = 30.0
"""Between two questions to servers that have not read their users yet: the first wait, and the longest."""

AskAll = Callable[[str, str, str], Awaitable[None]]


class NatsKeeper:
    """The users of one NATS."""

    def __init__(self, context: Context, *, have_read: AskAll = have_read) -> None:
        self._context = context
        self._url = context.identity.shipped_nats
        self._have_read = have_read
        self._heard = ""
        self._asked = 0
        self._said = ""

    async def reconcile(self) -> None:
        """Do what is next, and come again for what is next then. Raises ClusterError."""
        if not self._url:
            return
        keys = {role: keys_of(self._context.own(SECRETS, name)) for role, name in SECRET_NAMES.items()}
        file, password = users_of(self._context.own(SECRETS, NATS_USERS_NAME))
        step = next_step(keys, file if password else "", self._heard, self._context.now(), _new_seed)
        match step:
            case WriteKeys(role, new):
                before = keys[role]
                if before is None or before.seed != new.seed:
                    log.info("a key of the shipped NATS is in use from now on", role=role.value)
                await self._write(keys_secret(self._namespace, role, new))
            case WriteUsers(new_file):
                await self._write(users_secret(self._namespace, new_file, password or _new_password()))
            case AskServers(tag):
                operator = keys[Role.OPERATOR]
                assert operator is not None, "written before anything is asked"
                await self._ask(operator.seed, tag)
                return
            case Rest(seconds):
                self._context.queue.add_later(NatsUsersKey(), seconds)
                return
        self._context.queue.add(NatsUsersKey())

    async def _ask(self, seed: str, tag: str) -> None:
        try:
            await self._have_read(self._url, seed, tag)
        except StreamUnavailable as problem:
            self._asked += 1
            self._say(str(problem))
            wait = min(AGAIN_SECONDS * self._asked, LATEST_AGAIN_SECONDS)
            self._context.queue.add_later(NatsUsersKey(), wait)
            return
        self._heard, self._asked, self._said = tag, 0, ""
        log.info("all servers of the shipped NATS have its users")
        self._context.queue.add(NatsUsersKey())

    def _say(self, problem: str) -> None:
        """Once, however often it is met."""
        if problem != self._said:
            log.info("the users of the shipped NATS wait for its servers", problem=problem)
        self._said = problem

    async def _write(self, manifest: dict[str, Any]) -> None:
        if self._context.own(SECRETS, manifest["metadata"]["name"]) is None:
            await self._context.create_own(SECRETS, manifest)
        else:
            await self._context.write_own(SECRETS, manifest)

    @property
    def _namespace(self) -> str:
        return self._context.identity.namespace


def _new_password() -> str:
    return "".join(secrets.choice(string.ascii_lowercase) for _ in range(32))


def _new_seed() -> str:
    return seed_of(secrets.token_bytes(RAW_BYTES))
