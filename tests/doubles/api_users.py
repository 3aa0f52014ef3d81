"""Users of the API as a test has them: known by their token, with rights as a table says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hookline.api.status import Refused, forbidden, unauthorized, unavailable
from hookline.api.users import bearer_token
from hookline.serving.api_server import Right, User


@dataclass
class PlayedUsers:
    """A user's token is his name. `rights` are `user verb resource[/subresource] namespace`; root has all of them."""

    rights: set[str] = field(default_factory=set)
    away: bool = False
    gone: set[str] = field(default_factory=set)
    """Whose tokens are nobody's any more."""
    asked: list[Right] = field(default_factory=list)

    async def user(self, scope: Mapping[str, Any]) -> User:
        token = bearer_token(scope["headers"])
        if token is None or token in self.gone:
            raise Refused(unauthorized())
        return User(token)

    async def check(self, user: User, right: Right) -> None:
        self.asked.append(right)
        if self.away:
            raise Refused(unavailable("the API server does not say now who this is, or what it may do"))
        what = f"{right.resource}/{right.subresource}" if right.subresource else right.resource
        if user.name != "root" and f"{user.name} {right.verb} {what} {right.namespace}" not in self.rights:
            raise Refused(forbidden(user.name, right))
