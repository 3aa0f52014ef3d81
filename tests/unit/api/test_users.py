"""Who asks, and whether he may."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import structlog.testing

from doubles.client_certificates import Authority, authority
from hookline.api.front_proxy import FollowedFrontProxy, FrontProxy, NotUsable, front_proxy_in
from hookline.api.status import Refused
from hookline.api.under_way import share_of
from hookline.api.users import ClusterUsers, OneToken, bearer_token
from hookline.serving.api_server import Right, User
from hookline.serving.remembered import Times, Unanswered

RIGHT = Right("list", "log.hookline.dev", "attempts", "", "team-a")
CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


def data_of(ca: Authority, **changes: str) -> dict[str, str]:
    return {
        "requestheader-client-ca-file": ca.pem,
        "requestheader-allowed-names": '["front-proxy-client"]',
        "requestheader-username-headers": '["X-Remote-User"]',
        "requestheader-uid-headers": '["X-Remote-Uid"]',
        "requestheader-group-headers": '["X-Remote-Group"]',
        "requestheader-extra-headers-prefix": '["X-Remote-Extra-"]',
        **{f"requestheader-{name.replace('_', '-')}": value for name, value in changes.items()},
    }


@dataclass
class Reviews:
    """Knows the token `good`, and that alice may list attempts in team-a."""

    away: bool = False
    may_list: bool = True
    asked: list[Any] = field(default_factory=list)

    async def user_of(self, token: str) -> User | None:
        self.asked.append(token)
        await asyncio.sleep(0)
        if self.away:
            raise Unanswered("the API server does not say")
        return User("alice", groups=("system:authenticated",)) if token == "good" else None

    async def may(self, user: User, right: Right) -> bool:
        self.asked.append((user, right))
        await asyncio.sleep(0)
        if self.away:
            raise Unanswered("the API server does not say")
        return self.may_list and (user.name, right) == ("alice", RIGHT)


@dataclass
class Setting:
    ca: Authority
    reviews: Reviews
    users: ClusterUsers
    proxy: list[FrontProxy | None]
    current: list[ssl.SSLContext]

    def scope(self, certificate: str | None = None, *headers: tuple[str, str]) -> dict[str, Any]:
        said: dict[str, Any] = {"headers": [(name.encode(), value.encode()) for name, value in headers]}
        if certificate is not None:
            said["extensions"] = {"tls": {"client_cert_chain": [certificate], "hookline.context": CONTEXT}}
        return said

    async def user(self, certificate: str | None = None, *headers: tuple[str, str]) -> User:
        return await self.users.user(self.scope(certificate, *headers))

    async def code(self, certificate: str | None = None, *headers: tuple[str, str]) -> int:
        with pytest.raises(Refused) as refused:
            await self.user(certificate, *headers)
        return refused.value.status.code


@asynccontextmanager
async def setting(times: Times | None = None, **changes: str) -> AsyncIterator[Setting]:
    ca, reviews = authority(), Reviews()
    proxy, current = [front_proxy_in(data_of(ca, **changes))], [CONTEXT]
    users = ClusterUsers(
        reviews,
        lambda: proxy[0],
        lambda context: context is current[0],
        **({"times": times} if times is not None else {}),  # type: ignore[arg-type]
    )
    async with users:
        yield Setting(ca, reviews, users, proxy, current)


ALICE = ("x-remote-user", "alice")


async def test_kube_apiserver_says_who_asks() -> None:
    async with setting() as world:
        user = await world.user(
            world.ca.issue("front-proxy-client").pem,
            ("accept", "*/*"),
            ALICE,
            ("x-remote-uid", "42"),
            ("x-remote-group", "dev"),
            ("x-remote-group", ""),
            ("x-remote-group", "system:authenticated"),
            ("x-remote-extra-scopes.example.com%2fkey", "a"),
            ("x-remote-extra-scopes.example.com%2fkey", "b"),
        )
    assert user == User("alice", "42", ("dev", "system:authenticated"), (("scopes.example.com/key", ("a", "b")),))
    assert world.reviews.asked == []


async def test_headers_count_for_nothing_without_the_certificate() -> None:
    async with setting() as world:
        assert await world.code(None, ALICE, ("x-remote-group", "system:masters")) == 401
        assert (await world.user(None, ("x-remote-user", "root"), ("authorization", "Bearer good"))).name == "alice"


@pytest.mark.parametrize(
    ("name", "days"),
    [("somebody", (-1, 1)), ("front-proxy-client", (-3, -1)), ("front-proxy-client", (1, 2)), ("", (-1, 1))],
)
async def test_a_certificate_of_another_name_or_time_says_nothing(name: str, days: tuple[float, float]) -> None:
    async with setting() as world:
        assert await world.code(world.ca.issue(name, days=days).pem, ALICE) == 401


async def test_any_name_is_right_where_the_cluster_names_none() -> None:
    async with setting(allowed_names="[]") as world:
        assert (await world.user(world.ca.issue("whoever").pem, ALICE)).name == "alice"


async def test_a_connection_that_a_former_ca_let_in_says_nothing_any_more() -> None:
    """TLS looked at the certificate when the connection began."""
    async with setting() as world:
        shown = world.ca.issue("front-proxy-client").pem
        other = authority("another-ca")
        # A CA that is added beside it changes nothing.
        world.current[0] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        world.proxy[0] = front_proxy_in({**data_of(other), "requestheader-client-ca-file": world.ca.pem + other.pem})
        assert (await world.user(shown, ALICE)).name == "alice"
        world.proxy[0] = front_proxy_in(data_of(other))
        assert await world.code(shown, ALICE) == 401
        # Of the same name, and another key.
        world.proxy[0] = front_proxy_in(data_of(authority()))
        assert await world.code(shown, ALICE) == 401
        world.proxy[0] = None
        assert await world.code(shown, ALICE) == 401


async def test_a_certificate_that_tls_let_in_by_a_chain_is_believed_while_its_context_is_in_force() -> None:
    async with setting() as world:
        between = authority("between")
        shown = between.issue("front-proxy-client").pem
        assert (await world.user(shown, ALICE)).name == "alice"
        world.current[0] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        assert await world.code(shown, ALICE) == 401


async def test_what_the_cluster_does_not_name_is_no_header_of_it() -> None:
    """Before 1.32 kube-apiserver passes on what a client sends as X-Remote-Uid."""
    async with setting(uid_headers="", username_headers='["X-Proxy-User"]', extra_headers_prefix="[]") as world:
        shown = world.ca.issue("front-proxy-client").pem
        user = await world.user(shown, ("x-proxy-user", "bob"), ALICE, ("x-remote-uid", "0"), ("x-remote-extra-a", "b"))
        assert user == User("bob", "", ("system:authenticated",))


async def test_the_certificate_without_a_user_is_nobody() -> None:
    async with setting() as world:
        assert await world.code(world.ca.issue("front-proxy-client").pem, ("x-remote-user", "")) == 401


async def test_who_is_anonymous_stays_so() -> None:
    async with setting() as world:
        shown = world.ca.issue("front-proxy-client").pem
        user = await world.user(
            shown, ("x-remote-user", "system:anonymous"), ("x-remote-group", "system:unauthenticated")
        )
        assert user.groups == ("system:unauthenticated",)


async def test_nobody_impersonates_here() -> None:
    async with setting() as world:
        for name in ("impersonate-user", "impersonate-group", "impersonate-extra-a", "impersonate-uid"):
            assert await world.code(None, ("authorization", "Bearer good"), (name, "root")) == 403


async def test_a_token_is_reviewed_once_and_its_no_is_kept() -> None:
    async with setting() as world:
        for _ in range(3):
            assert (await world.user(None, ("authorization", "Bearer good"))).name == "alice"
            assert await world.code(None, ("authorization", "bearer bad")) == 401
        assert world.reviews.asked == ["good", "bad"]


@pytest.mark.parametrize(
    "value", ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer a b", "Bearer ä", "Bearer " + "a" * 9000, "good"]
)
async def test_what_is_no_bearer_token_is_nobody_without_a_question(value: str) -> None:
    async with setting() as world:
        assert await world.code(None, ("authorization", value)) == 401
        assert world.reviews.asked == []


def test_of_two_tokens_none_counts() -> None:
    assert bearer_token([(b"authorization", b"Bearer a"), (b"authorization", b"Bearer b")]) is None


async def test_rights_are_asked_for_each_user_and_each_right() -> None:
    async with setting() as world:
        alice = await world.user(None, ("authorization", "Bearer good"))
        await world.users.check(alice, RIGHT)
        await world.users.check(alice, RIGHT)
        for user, right in (
            (alice, Right("list", "log.hookline.dev", "attempts", "", "team-b")),
            (alice, Right("list", "log.hookline.dev", "attempts", "", "")),
            (User("bob"), RIGHT),
        ):
            with pytest.raises(Refused) as refused:
                await world.users.check(user, right)
            assert refused.value.status.code == 403
        assert len([each for each in world.reviews.asked if each != "good"]) == 4


async def test_a_namespace_has_one_share_of_questions_and_each_user_of_it_one_of_that() -> None:
    """However many ServiceAccounts it makes. Nobody's name is taken for a namespace."""
    assert share_of("system:serviceaccount:team-a:one")[0] == share_of("system:serviceaccount:team-a:two")[0]
    names = ("alice", "namespace team-a", "team-a", "system:serviceaccount:", "system:serviceaccount:team-b:one", "")
    assert len({share_of(name)[0] for name in (*names, "system:serviceaccount:team-a:one")}) == len(names) + 1
    assert share_of("system:serviceaccount:team-a:one") != share_of("system:serviceaccount:team-a:two")


@pytest.mark.parametrize("loud", ["alice", "system:serviceaccount:team-a:app-{}"])
async def test_a_flood_of_names_keeps_out_neither_another_user_nor_an_account_beside_it(loud: str) -> None:
    async with setting() as world:
        flood = [
            asyncio.create_task(world.users.check(User(loud.format(number)), replace(RIGHT, name=f"evt-{number}")))
            for number in range(1000)
        ]
        await asyncio.sleep(0)
        for quiet in ("bob", "system:serviceaccount:team-b:app", "system:serviceaccount:team-a:quiet", "x" * 10**5):
            with pytest.raises(Refused) as refused:
                await world.users.check(User(quiet), RIGHT)
            assert refused.value.status.code == 403
        said = await asyncio.gather(*flood, return_exceptions=True)
        codes = Counter(each.status.code for each in said if isinstance(each, Refused))
        assert codes.total() == 1000
        assert codes[429] > 800, "or this was no flood"


async def test_while_the_api_server_is_away_nobody_may_and_no_yes_outlives_its_time() -> None:
    times = Times(refresh_seconds=0, fresh_seconds=0, outage_seconds=0, refused_seconds=0, ask_seconds=1)
    async with setting(times) as world:
        alice = await world.user(None, ("authorization", "Bearer good"))
        await world.users.check(alice, RIGHT)
        world.reviews.away = True
        assert await world.code(None, ("authorization", "Bearer good")) == 503
        with pytest.raises(Refused) as refused:
            await world.users.check(alice, RIGHT)
        assert refused.value.status.code == 503
        world.reviews.away, world.reviews.may_list = False, False
        with pytest.raises(Refused) as refused:
            await world.users.check(alice, RIGHT)
        assert refused.value.status.code == 403


async def test_on_one_machine_the_token_of_the_process_may_everything_and_no_other() -> None:
    users = OneToken("secret-canary")
    user = await users.user({"headers": [(b"authorization", b"Bearer secret-canary")]})
    await users.check(user, RIGHT)
    for headers in ([], [(b"authorization", b"Bearer other")], [(b"x-remote-user", b"root")]):
        with pytest.raises(Refused) as refused:
            await users.user({"headers": headers})
        assert refused.value.status.code == 401
        assert "canary" not in repr(refused.value) + repr(vars(refused.value))


# ---- the ConfigMap ---------------------------------------------------------------------------------------------------


@dataclass
class ConfigMaps:
    data: Mapping[str, str] | None = None
    away: bool = False

    async def config_map(self, namespace: str, name: str) -> Mapping[str, str] | None:
        assert (namespace, name) == ("kube-system", "extension-apiserver-authentication")
        if self.away:
            raise Unanswered("away")
        return self.data


async def test_another_ca_is_trusted_once_the_config_map_has_it_and_the_last_good_one_until_then() -> None:
    trusted: list[str] = []
    first, second = authority(), authority()
    maps = ConfigMaps(data_of(first), away=True)
    followed = FollowedFrontProxy(maps, trusted.append)
    await followed.look()
    assert (followed.current, followed.known.is_set()) == (None, False)
    maps.away = False
    await followed.look()
    await followed.look()
    assert (trusted, followed.known.is_set()) == ([first.pem], True)
    for bad in ({**data_of(second), "requestheader-client-ca-file": "rubbish"}, data_of(second, allowed_names="{")):
        maps.data = bad
        with structlog.testing.capture_logs() as logs:
            await followed.look()
            await followed.look()
        assert [each["log_level"] for each in logs] == ["warning"]
        assert followed.current is not None
        assert followed.current.ca_pem == first.pem
    maps.data = data_of(second)
    await followed.look()
    assert trusted == [first.pem, second.pem]
    maps.data = None
    await followed.look()
    assert trusted == [first.pem, second.pem, ""]
    assert followed.current is None


@pytest.mark.parametrize(
    "value", ["{", "{}", "[1]", '"a"', "[" * 10_000, str(["a"] * 3), "[" + ",".join(['"a"'] * 65) + "]"]
)
def test_a_list_of_names_that_is_none_is_not_guessed_at(value: str) -> None:
    """An empty list would mean that any name is right."""
    with pytest.raises(NotUsable):
        front_proxy_in(data_of(authority(), allowed_names=value))


def test_an_empty_prefix_would_take_every_header_for_its_own() -> None:
    with pytest.raises(NotUsable):
        front_proxy_in(data_of(authority(), extra_headers_prefix='[""]'))
