"""Who calls the gateway in a cluster: ServiceAccounts by their tokens, and producers outside by tokens of Secrets.

Decides which of them a token is of, and who may publish for a namespace that is not its own. Keeps digests, never a
token. docs/publishing.md says what is promised.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass, field
from typing import Protocol, Self

from hookline.gateway.account_token import HOW_TO, NO_ACCOUNT, claims_of, namespace_of
from hookline.gateway.callers import Caller, digest_of
from hookline.gateway.problem import Kind, Refused, refuse
from hookline.gateway.static_tokens import StaticTokens
from hookline.resources.base import GROUP
from hookline.serving.api_server import Right, User
from hookline.serving.remembered import Answer, Bounds, Question, Remembered, Times, Unanswered

TIMES_OF_RIGHTS = Times(refused_seconds=10.0)
"""A no to another namespace is asked for again and again by whoever was not given the role: it counts longer."""

_NOBODY = (
    "the API server does not know this token: it is not of this cluster, has expired, or its ServiceAccount or pod is "
    f"gone; {HOW_TO}, and read its file anew for each request"
)


class Reviews(Protocol):
    """The API server (`serving.api_server.ApiServer`)."""

    async def user_of(self, token: str) -> User | None:
        """Who has a token that is made for Hookline; None if it is nobody's. Raises Unanswered."""

    async def may(self, user: User, right: Right) -> bool:
        """Whether a user has a right. Raises Unanswered."""


@dataclass(frozen=True, slots=True)
class Account(Caller):
    """A ServiceAccount, and the user that it is at the API server."""

    user: User = field(default=User(""), repr=False)
    key: bytes = field(default=b"", repr=False)
    """A digest of the user."""


class ClusterCallers:
    """`Callers` of a cluster; to be entered once, in the loop that asks. `static` is for nobody if None."""

    def __init__(
        self,
        reviews: Reviews,
        static: StaticTokens | None = None,
        *,
        times: Times | None = None,
        times_of_rights: Times = TIMES_OF_RIGHTS,
        bounds: Bounds | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._reviews = reviews
        self._static = static
        self._wall_clock = wall_clock
        self._accounts: Remembered[Account | str] = Remembered(times, bounds, clock=clock)
        self._rights: Remembered[bool] = Remembered(times_of_rights, bounds, clock=clock)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._accounts.close()
        await self._rights.close()

    async def caller(self, token: str, source: str = "") -> Caller:
        """Raises Refused: UNAUTHENTICATED, or UNAVAILABLE while that cannot be found out."""
        digest = digest_of(token)
        if self._static is not None and (known := self._static.caller(digest)) is not None:
            return known
        try:
            answer = await self._accounts.get(digest, lambda: self._whose(token, source))
        except Unanswered as error:
            raise _unavailable(error) from None
        if isinstance(answer, str):
            raise refuse(Kind.UNAUTHENTICATED, answer)
        return answer

    async def may_publish_for(self, caller: Caller, namespace: str) -> bool:
        """Only an account may, if the cluster's roles let it. Raises Refused: UNAVAILABLE."""
        if not isinstance(caller, Account):
            return False
        key = hashlib.sha256(caller.key + namespace.encode()).digest()
        try:
            return await self._rights.get(key, lambda: self._may(caller, namespace))
        except Unanswered as error:
            raise _unavailable(error) from None

    def _whose(self, token: str, source: str) -> Question[Account | str]:
        """Raises Refused for a token that is not worth a question."""
        try:
            claims = claims_of(token, self._wall_clock())
        except Refused:
            if self._static is not None:
                self._static.check_read()
            raise

        async def ask() -> Answer[Account | str]:
            left_seconds = claims.expires_s - self._wall_clock()
            user = await self._reviews.user_of(token)
            if user is None:
                return Answer(_NOBODY, yes=False)
            namespace = namespace_of(user.name)
            if namespace is None:
                return Answer(NO_ACCOUNT, yes=False)
            return Answer(
                Account(user.name, namespace, None, user, _key_of(user)), yes=True, lasts_seconds=left_seconds
            )

        # Anybody can write any namespace into a token. Where it comes from he cannot choose.
        return Question((source, claims.namespace), ask, group=claims.namespace)

    def _may(self, account: Account, namespace: str) -> Question[bool]:
        async def ask() -> Answer[bool]:
            may = await self._reviews.may(account.user, right_to_publish(namespace))
            return Answer(may, yes=may)

        return Question((account.namespace, account.name), ask)


def right_to_publish(namespace: str) -> Right:
    """`create` of `events.hookline.dev`, which are no objects: docs/publishing.md."""
    return Right("create", GROUP, "events", namespace=namespace)


def _unavailable(error: Unanswered) -> Refused:
    return refuse(Kind.UNAVAILABLE, str(error), retry_after_seconds=error.retry_after_seconds)


def _key_of(user: User) -> bytes:
    """Users that are told apart by any authorizer have different ones."""
    return hashlib.sha256(json.dumps(astuple(user)).encode()).digest()
