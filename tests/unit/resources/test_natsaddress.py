from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.resources.natsaddress import MAX_LENGTH, PATTERN, BadNatsAddress, Login, Server, parse_nats

CANARY = "hunter2"
loose = st.text("natsl:/@,.[]%?#0129 \n\u00e9", max_size=24)
hostile = st.lists(
    st.one_of(loose, st.sampled_from(["nats://", "tls://", "a:4222", "[::1]", ",", "@", f"u:{CANARY}@"]))
)


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("nats://nats", [Server("nats", 4222)]),
        ("nats://NATS.example.:1", [Server("nats.example", 1)]),
        ("nats://nats_0:65535", [Server("nats_0", 65535)]),
        ("tls://[2001:DB8:0::1]:4223", [Server("2001:db8::1", 4223)]),
        ("nats://a,nats://b:4223,nats://[::1]", [Server("a", 4222), Server("b", 4223), Server("::1", 4222)]),
    ],
)
def test_servers_and_ports_are_read(text: str, servers: list[Server]) -> None:
    address = parse_nats(text)
    assert list(address.servers) == servers
    assert address.encrypted == text.startswith("tls://")
    assert address.urls == tuple(text.split(","))
    assert address.login is None


@pytest.mark.parametrize(
    ("login", "read"),
    [
        ("token", Login(token="token")),
        ("a%40b", Login(token="a@b")),
        ("u:p", Login("u", "p")),
        ("u%3Ax:p%40ss%2Fw%2Cord%25", Login("u:x", "p@ss/w,ord%")),
        ("u:p:q", None),
        ("u:", Login("u", "")),
        ("u:p\u00e9", Login("u", "p\u00e9")),
        ("u:%C3%A9", Login("u", "\u00e9")),
        ("u:$2a!&*()=+;'~^{}", Login("u", "$2a!&*()=+;'~^{}")),
    ],
)
def test_a_login_is_decoded_and_counts_for_all(login: str, read: Login | None) -> None:
    address = parse_nats(f"nats://{login}@a:1,nats://b:2")
    assert address.login == (read or Login("u", "p:q"))
    assert address.shown() == "nats://a:1,nats://b:2"
    assert address.urls == ("nats://a:1", "nats://b:2")


def test_the_same_login_may_stand_at_each_server() -> None:
    assert parse_nats("tls://u:p@a,tls://u:%70@b").login == Login("u", "p")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "nats:// or tls://"),
        ("nats:4222", "nats:// or tls://"),
        ("127.0.0.1:4222", "nats:// or tls://"),
        ("ws://nats:80", "nats:// or tls://"),
        ("http://nats", "nats:// or tls://"),
        ("nats://", "with a host"),
        ("nats://nats:99999", "from 1 to 65535"),
        ("nats://nats:0", "from 1 to 65535"),
        ("nats://nats:", "from 1 to 65535"),
        ("nats://nats:4222:1", "from 1 to 65535"),
        ("nats://nats:\u0664", "from 1 to 65535"),
        ("nats://nats/", "without a path"),
        ("nats://::1", "with a host"),
        ("nats://[::1", "with a host"),
        ("nats://[::1%eth0]", "with a host"),
        ("nats://a, nats://b", "address 2 "),
        ("nats://a,b", "address 2 must begin"),
        ("nats://a,", "address 2 "),
        ("nats://a,tls://b", "begin alike"),
        (f"nats://u:{CANARY}@a,nats://u:other@b", "one login"),
        (f"nats://u:{CANARY}%zz@a", "percent-encoded"),
        (f"nats://u:{CANARY}%@a", "percent-encoded"),
        (f"nats://u:{CANARY}%ff@a", "percent-encoded"),
        (f"nats://u:{CANARY}@{CANARY}@a", "percent-encoded"),
        (f"nats://u:{CANARY}/x@a", "percent-encoded"),
        (f"nats://u:{CANARY},x@a", "address 1 "),
        (f"nats://:{CANARY}@a", "USER:PASSWORD"),
        ("nats://@a", "USER:PASSWORD"),
        (f"nats://u:{CANARY}@a:{CANARY}", "from 1 to 65535"),
        ("nats://" + "a" * MAX_LENGTH, "at most"),
    ],
)
def test_what_is_no_address_is_told_in_one_line_without_the_password(text: str, said: str) -> None:
    with pytest.raises(BadNatsAddress) as raised:
        parse_nats(text)
    message = str(raised.value)
    assert said in message
    assert CANARY not in message
    assert "\n" not in message


@given(hostile.map("".join))
def test_nothing_but_the_one_error_is_raised_and_no_password_is_shown(text: str) -> None:
    address, said = None, ""
    try:
        address = parse_nats(text)
    except BadNatsAddress as error:
        said = repr(error) + repr(error.__cause__)
    assert CANARY not in said + repr(address)
    if address is not None:
        assert CANARY not in address.shown()
        assert parse_nats(address.shown()).servers == address.servers


@given(st.lists(st.one_of(loose, st.sampled_from(["nats://", "tls://", "a:4222", "[::1]", ","]))).map("".join))
def test_the_api_server_takes_what_is_taken_here_and_has_no_login(text: str) -> None:
    """Its rule is PATTERN. A full match of both, so that no Dispatcher is taken that then cannot be read."""
    try:
        taken = parse_nats(text).login is None
    except BadNatsAddress:
        taken = False
    assert taken == (re.fullmatch(PATTERN, text) is not None)


@given(
    st.lists(st.from_regex("[0-9a-f]{1,4}", fullmatch=True), min_size=0, max_size=8), st.integers(0, 8), st.booleans()
)
def test_every_ipv6_address_that_the_rule_takes_is_one(groups: list[str], at: int, gap: bool) -> None:
    text = ":".join(groups) if not gap else f"{':'.join(groups[:at])}::{':'.join(groups[at:])}"
    if re.fullmatch(PATTERN, f"nats://[{text}]"):
        assert parse_nats(f"nats://[{text}]").servers[0].port == 4222
