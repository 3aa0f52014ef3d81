"""Hostile texts against the checks of URLs, addresses and hints: no crash, no pass, by independent oracles.

`make fuzz` runs many more examples (FUZZ_EXAMPLES).
"""

# ruff: noqa: RUF001

from __future__ import annotations

import contextlib
import os
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hookline.delivery.http.progress import InvalidCallError
from hookline.delivery.http.target import target_of
from hookline.delivery.policy.retry import MAX_RETRY_AFTER_SECONDS, parse_retry_after
from hookline.resources.egress_policy import EgressPolicy, literal_address, parse_cidrs, parse_ports, parse_proxy
from hookline.resources.url import url_problem

many = settings(max_examples=int(os.environ.get("FUZZ_EXAMPLES", "200")))
OPEN = EgressPolicy(parse_cidrs(["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"]))


def is_forbidden(address: IPv4Address | IPv6Address) -> bool:
    """What the standard library says of addresses that no Dispatcher can open."""
    inner = carried(address)
    if inner is not None:
        return is_forbidden(inner)
    return bool(
        address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified
    ) or address in (ip_address("fd00:ec2::254"), ip_address("100.100.100.200"))


def carried(address: IPv4Address | IPv6Address) -> IPv4Address | None:
    if isinstance(address, IPv4Address):
        return None
    if address in ip_network("64:ff9b::/96") or address in ip_network("::/96"):
        return IPv4Address(int(address) & 0xFFFFFFFF) if int(address) > 1 else None
    return address.ipv4_mapped or address.sixtofour or (address.teredo[0] if address.teredo else None)


inside = st.sampled_from(["127.0.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1", "127.1.2.3", "100.100.100.200"])


@st.composite
def spellings(draw: st.DrawFn) -> str:
    """An IPv4 address from inside in a spelling that some resolver takes."""
    number = int(IPv4Address(draw(inside)))
    count = draw(st.integers(1, 4))
    parts = [(number >> (24 - 8 * index)) & 0xFF for index in range(count - 1)]
    parts.append(number & ((1 << (8 * (5 - count))) - 1))
    texts = [
        draw(st.sampled_from(["{:d}", "0x{:x}", "0X{:X}", "0{:o}", "00{:o}", "0x00{:x}"])).format(part)
        for part in parts
    ]
    text = ".".join(texts) + draw(st.sampled_from(["", "."]))
    return full_width(text) if draw(st.booleans()) else text


def full_width(text: str) -> str:
    return "".join(chr(ord(each) + 0xFEE0) if "0" <= each <= "9" else each for each in text)


@st.composite
def clothed(draw: st.DrawFn) -> str:
    """An IPv4 address from inside, carried by an IPv6 address."""
    number = int(IPv4Address(draw(inside)))
    rest = draw(st.integers(0, 2**80 - 1))
    forms = [
        0xFFFF << 32 | number,
        number,
        int(IPv6Address("64:ff9b::")) | number,
        int(IPv6Address("64:ff9b:1::")) | number,
        0x2002 << 112 | number << 80 | rest,
        0x2001 << 112 | number << 64 | rest & (2**64 - 1),
        0x20010DB9 << 96 | 0x5EFE << 32 | number,
        0x2600 << 112 | 0x02005EFE << 32 | number,
    ]
    address = IPv6Address(draw(st.sampled_from(forms)))
    return draw(st.sampled_from([str(address), address.exploded, address.exploded.upper()]))


@many
@given(host=spellings())
def test_no_spelling_of_an_address_inside_passes(host: str) -> None:
    try:
        target = target_of(f"https://{host}/")
    except InvalidCallError:
        return
    assert target.literal is not None, host
    assert OPEN.refusal(target.literal) is not None


@many
@given(address=clothed())
def test_no_clothes_let_an_address_inside_pass(address: str) -> None:
    assert OPEN.refusal(address) is not None
    target = target_of(f"https://[{address}]/")
    assert target.literal == ip_address(address)


@many
@given(address=st.ip_addresses())
@example(address=ip_address("::1"))
@example(address=ip_address("fe80::1"))
def test_what_the_standard_library_forbids_never_passes(address: IPv4Address | IPv6Address) -> None:
    if is_forbidden(address):
        assert OPEN.refusal(address) is not None


_HOSTS = st.text(
    st.sampled_from("0123456789abcdefxXo.:[]%@\\/?#-_ \t\r\n\x00１２７。．｡①ａＸ\u202e\u00ad\u200b"),
    max_size=40,
)


@many
@given(host=_HOSTS | st.text(max_size=40))
@example(host="127.0.0.1#@8.8.8.8")
@example(host="8.8.8.8\\@127.0.0.1")
@example(host="[::1]%00.example.com")
def test_what_the_lookup_takes_for_an_address_is_judged_as_one(host: str) -> None:
    """The host that goes to the lookup: numeric for the system's own resolver means a literal to be judged here."""
    try:
        target = target_of(f"https://{host}")
    except InvalidCallError:
        return
    asked = target.origin.raw_host.decode("ascii")
    with contextlib.suppress(OSError, UnicodeError, ValueError):
        (record, *_) = socket.getaddrinfo(asked, 443, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        assert target.literal is not None, (host, asked)
        assert target.literal == ip_address(record[4][0])


@many
@given(url=st.text(max_size=200) | _HOSTS.map("https://{}/".format))
def test_no_text_breaks_the_check_of_urls_and_what_passes_can_be_called(url: str) -> None:
    if url_problem(url) is None and len(url) <= 2048:
        target = target_of(url)
        assert b"\r" not in target.request_line[:-2]
        assert b" " not in target.request_line[5:-11]


@many
@given(text=st.text(max_size=100))
@example(text="-1")
@example(text="9" * 5000)
@example(text="١٢٣")
@example(text="1e9")
@example(text="Fri, 31 Dec 9999 23:59:59 +9999")
@example(text="Mon, 01 Jan 0001 00:00:00 -2359")
def test_a_hint_is_none_or_within_a_day(text: str) -> None:
    for now_s in (0.0, 1.8e9, 2.5e11):
        seconds = parse_retry_after(text, now_s)
        assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER_SECONDS


@many
@given(
    text=st.from_regex(
        r"[A-Za-z]{0,9},? ?[0-9]{0,3}[ -][A-Za-z]{0,4}[ -][0-9]{0,6} "
        r"[0-9]{0,3}:[0-9]{0,3}(:[0-9]{0,3})? ?([+-][0-9]{0,5}|[A-Z]{0,4})",
        fullmatch=True,
    )
)
def test_a_date_is_none_or_within_a_day(text: str) -> None:
    seconds = parse_retry_after(text, 1.8e9)
    assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER_SECONDS


@many
@given(text=st.text(max_size=60))
def test_texts_of_a_policy_are_right_or_a_value_error(text: str) -> None:
    for read in (parse_proxy, lambda each: parse_ports([each]), lambda each: parse_cidrs([each]), literal_address):
        with contextlib.suppress(ValueError):
            read(text)


@pytest.mark.parametrize("ports", ["443", "1-65535", "8000-9000"])
def test_ranges_of_ports_hold_their_ends(ports: str) -> None:
    (found,) = parse_ports([ports])
    first, _, last = ports.partition("-")
    assert (found[0], found[-1]) == (int(first), int(last or first))
