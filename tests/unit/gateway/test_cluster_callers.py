"""Who is who in a cluster, with a played API server: tests/cluster has the real one."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from doubles.account_tokens import claims, unsigned
from hookline.gateway.callers import Caller, Callers, digest_of
from hookline.gateway.cluster_callers import Account, ClusterCallers, right_to_publish
from hookline.gateway.problem import Kind, Refused
from hookline.gateway.static_tokens import StaticTokens
from hookline.routing.publisher_tokens import PublisherToken, tokens_file
from hookline.serving.api_server import Right, User
from hookline.serving.remembered import Unanswered

STATIC = "4f1c77aa90be23d5618f0c4e7a9b3d26"


@dataclass
class Reviews:
    """Knows tokens, and roles as pairs of a user's name and a namespace."""

    users: dict[str, User] = field(default_factory=dict)
    roles: set[tuple[str, str]] = field(default_factory=set)
    away: bool = False
    asked: list[str] = field(default_factory=list)

    async def user_of(self, token: str) -> User | None:
        self.asked.append("user_of")
        await asyncio.sleep(0)
        if self.away:
            raise Unanswered("the API server does not say")
        return self.users.get(token)

    async def may(self, user: User, right: Right) -> bool:
        assert right == right_to_publish(right.namespace)
        self.asked.append(f"{user.name} {right.namespace}")
        await asyncio.sleep(0)
        if self.away:
            raise Unanswered("the API server does not say")
        return (user.name, right.namespace) in self.roles


def known(reviews: Reviews, namespace: str = "team-a", **changes: Any) -> str:
    """A token that the API server knows."""
    token = unsigned(claims(namespace, **changes), salt=f"x{len(reviews.users)}")
    name = f"system:serviceaccount:{namespace}:orders"
    reviews.users[token] = User(name, "uid", (f"system:serviceaccounts:{namespace}",), (("pod", ("a",)),))
    return token


async def refusal(callers: Callers, token: str) -> Kind:
    with pytest.raises(Refused) as refused:
        await callers.caller(token)
    problem = refused.value.problem
    shown = f"{refused.value!r} {refused.value} {problem!r} {problem.body()!r} {problem.headers()!r}"
    assert len(token) < 10 or not any(part in shown for part in token.split(".") if len(part) > 9)
    return problem.kind


async def test_the_namespace_of_an_account_is_its_tenant() -> None:
    reviews = Reviews()
    token = known(reviews)
    async with ClusterCallers(reviews) as callers:
        caller = await callers.caller(token)
        assert (caller.namespace, caller.types) == ("team-a", None)
        assert caller.name == "system:serviceaccount:team-a:orders"
        await callers.caller(token)
    assert reviews.asked == ["user_of"]
    assert token not in repr(caller)


async def test_the_api_server_says_who_it_is_and_not_the_token() -> None:
    reviews = Reviews()
    token = unsigned(claims("team-b"))
    reviews.users[token] = User("system:serviceaccount:team-a:orders")
    async with ClusterCallers(reviews) as callers:
        assert (await callers.caller(token)).namespace == "team-a"


@pytest.mark.parametrize(
    "name", ["alice", "system:node:worker-1", "system:admin", "oidc:system:serviceaccount:a:b", ""]
)
async def test_another_user_is_refused_whatever_the_token_says(name: str) -> None:
    reviews = Reviews()
    token = unsigned(claims())
    reviews.users[token] = User(name)
    async with ClusterCallers(reviews) as callers:
        assert await refusal(callers, token) is Kind.UNAUTHENTICATED


async def test_what_cannot_be_a_token_is_refused_without_a_question() -> None:
    reviews = Reviews(away=True)
    async with ClusterCallers(reviews) as callers:
        for token in ("rubbish", unsigned(claims(aud="vault")), unsigned(claims(exp=1)), unsigned(claims(sub="alice"))):
            assert await refusal(callers, token) is Kind.UNAUTHENTICATED
    assert reviews.asked == []


async def test_a_forged_token_is_refused_and_asked_for_once() -> None:
    reviews = Reviews()
    async with ClusterCallers(reviews) as callers:
        assert [await refusal(callers, unsigned(claims())) for _ in range(3)] == [Kind.UNAUTHENTICATED] * 3
    assert reviews.asked == ["user_of"]


async def test_tokens_that_somebody_makes_up_keep_out_no_token_from_elsewhere() -> None:
    """Whatever namespaces they name: also that of who is kept waiting."""
    reviews = Reviews()
    async with ClusterCallers(reviews) as callers:
        flood = [
            asyncio.create_task(callers.caller(unsigned(claims(namespace), salt=f"f{number}"), "10.0.0.66"))
            for number in range(500)
            for namespace in ("team-a", f"team-{number}")
        ]
        await asyncio.sleep(0)
        assert (await callers.caller(known(reviews), "10.0.0.7")).namespace == "team-a"
        said = await asyncio.gather(*flood, return_exceptions=True)
        kinds = Counter(each.problem.kind for each in said if isinstance(each, Refused))
        assert kinds.total() == 1000
        assert kinds[Kind.UNAVAILABLE] > 800, "or this was no flood"


async def test_an_account_that_asks_for_many_namespaces_keeps_out_no_other_one_not_even_of_its_own() -> None:
    reviews = Reviews(roles={("system:serviceaccount:team-a:quiet", "team-b")})
    loud, quiet = (
        Account(name, "team-a", None, User(name), name.encode())
        for name in ("system:serviceaccount:team-a:loud", "system:serviceaccount:team-a:quiet")
    )
    async with ClusterCallers(reviews) as callers:
        flood = [asyncio.create_task(callers.may_publish_for(loud, f"team-{number}")) for number in range(1000)]
        await asyncio.sleep(0)
        assert await callers.may_publish_for(quiet, "team-b")
        said = await asyncio.gather(*flood, return_exceptions=True)
        assert sum(isinstance(each, Refused) for each in said) > 800


async def test_an_expired_token_is_refused_also_when_it_was_known_before() -> None:
    reviews, now_s = Reviews(), [time.time()]
    token = known(reviews, exp=int(now_s[0]) + 20)
    async with ClusterCallers(reviews, clock=lambda: now_s[0], wall_clock=lambda: now_s[0]) as callers:
        await callers.caller(token)
        reviews.away = True
        now_s[0] += 21
        assert await refusal(callers, token) is Kind.UNAUTHENTICATED


async def test_while_the_api_server_is_away_known_callers_go_on_and_unknown_ones_are_not_refused_for_good() -> None:
    reviews, now_s = Reviews(), [time.time()]
    token, other = known(reviews), known(reviews)
    reviews.roles.add(("system:serviceaccount:team-a:orders", "team-b"))
    clock: Callable[[], float] = lambda: now_s[0]  # noqa: E731
    async with ClusterCallers(reviews, clock=clock, wall_clock=clock) as callers:
        caller = await callers.caller(token)
        assert await callers.may_publish_for(caller, "team-b")
        reviews.away = True
        now_s[0] += 599
        assert await callers.caller(token) == caller
        assert await callers.may_publish_for(caller, "team-b")
        assert await refusal(callers, other) is Kind.UNAVAILABLE
        with pytest.raises(Refused) as refused:
            await callers.may_publish_for(caller, "team-c")
        assert refused.value.problem.kind is Kind.UNAVAILABLE
        assert refused.value.problem.retry_after_seconds
        now_s[0] += 1
        assert await refusal(callers, token) is Kind.UNAVAILABLE


async def test_another_namespace_needs_a_role_and_is_asked_for_once_in_a_while() -> None:
    reviews = Reviews(roles={("system:serviceaccount:team-a:orders", "team-b")})
    async with ClusterCallers(reviews) as callers:
        caller = await callers.caller(known(reviews))
        for _ in range(3):
            assert await callers.may_publish_for(caller, "team-b")
            assert not await callers.may_publish_for(caller, "team-c")
        other = await callers.caller(known(reviews, "team-d"))
        assert not await callers.may_publish_for(other, "team-b")
    assert [each for each in reviews.asked if each != "user_of"] == [
        "system:serviceaccount:team-a:orders team-b",
        "system:serviceaccount:team-a:orders team-c",
        "system:serviceaccount:team-d:orders team-b",
    ]


async def test_users_that_differ_in_anything_do_not_share_an_answer() -> None:
    reviews = Reviews()
    users = [
        User("system:serviceaccount:a:b", "1", ("x",), (("k", ("v",)),)),
        User("system:serviceaccount:a:b", "2", ("x",), (("k", ("v",)),)),
        User("system:serviceaccount:a:b", "1", ("x", "y"), (("k", ("v",)),)),
        User("system:serviceaccount:a:b", "1", ("x",), (("k", ("v", "w")),)),
        User("system:serviceaccount:a:b", "1", ("x",), ()),
    ]
    async with ClusterCallers(reviews) as callers:
        for number, user in enumerate(users):
            token = unsigned(claims(), salt=f"y{number}")
            reviews.users[token] = user
            await callers.may_publish_for(await callers.caller(token), "team-b")
    assert reviews.asked.count("system:serviceaccount:a:b team-b") == len(users)


def static_tokens(file: Path) -> StaticTokens:
    file.write_bytes(tokens_file([PublisherToken(digest_of(STATIC), "team-a", "ci", frozenset({"A"}))])[0])
    static = StaticTokens(file)
    static.reload()
    return static


async def test_a_token_of_a_secret_needs_no_api_server_and_never_publishes_for_another_namespace(
    tmp_path: Path,
) -> None:
    reviews = Reviews(away=True)
    async with ClusterCallers(reviews, static_tokens(tmp_path / "file")) as callers:
        caller = await callers.caller(STATIC)
        assert caller == Caller("secret:team-a:ci", "team-a", frozenset({"A"}))
        assert not await callers.may_publish_for(caller, "team-b")
        assert await refusal(callers, STATIC[:-1] + "0") is Kind.UNAUTHENTICATED
    assert reviews.asked == []


async def test_until_the_file_is_read_what_is_not_known_is_told_to_come_again(tmp_path: Path) -> None:
    reviews = Reviews()
    token = known(reviews)
    async with ClusterCallers(reviews, StaticTokens(tmp_path / "file")) as callers:
        assert await refusal(callers, STATIC) is Kind.UNAVAILABLE
        assert (await callers.caller(token)).namespace == "team-a"


async def test_an_account_shows_no_more_than_its_name() -> None:
    reviews = Reviews()
    async with ClusterCallers(reviews) as callers:
        caller = await callers.caller(known(reviews))
    assert isinstance(caller, Account)
    assert repr(caller) == "Account(name='system:serviceaccount:team-a:orders', namespace='team-a', types=None)"
