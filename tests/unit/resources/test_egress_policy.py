"""No address inside may be called unless it was opened, however it is spelled."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.resources.egress_policy import Address, EgressPolicy, literal_address, parse_cidrs

PUBLIC_ONLY = EgressPolicy()
OPEN_TO_ALL = EgressPolicy((ip_network("0.0.0.0/0"), ip_network("::/0")))

addresses = st.ip_addresses()
ipv4_addresses = st.ip_addresses(v=4)
NAT64 = int(IPv6Address("64:ff9b::"))
MAPPED = int(IPv6Address("::ffff:0:0"))
SIX_TO_FOUR = int(IPv6Address("2002::"))


def judged(address: Address) -> Address:
    """What the standard library knows of addresses that carry another one."""
    if isinstance(address, IPv6Address):
        carried = address.ipv4_mapped or address.sixtofour
        if carried is None and address in ip_network("64:ff9b::/96"):
            carried = IPv4Address(int(address) & 0xFFFFFFFF)
        return carried or address
    return address


PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2a00:1450:4001:81b::200e",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2002:808:808::1",
]

CLOSED = [
    ("127.0.0.1", "a loopback address"),
    ("127.255.255.254", "a loopback address"),
    ("::1", "a loopback address"),
    ("::ffff:127.0.0.1", "a loopback address"),
    ("::ffff:7f00:1", "a loopback address"),
    ("64:ff9b::7f00:1", "a loopback address"),
    ("2002:7f00:1::", "a loopback address"),
    ("10.0.0.0", "a private address"),
    ("10.255.255.255", "a private address"),
    ("172.16.0.1", "a private address"),
    ("172.31.255.255", "a private address"),
    ("192.168.0.1", "a private address"),
    ("::ffff:10.0.0.1", "a private address"),
    ("64:ff9b::10.0.0.1", "a private address"),
    ("2002:a00:1:ffff::1", "a private address"),
    ("fc00::1", "a private (unique local) address"),
    ("fd12:3456:789a::1", "a private (unique local) address"),
    ("100.64.0.1", "a shared (carrier-grade NAT) address"),
    ("100.127.255.255", "a shared (carrier-grade NAT) address"),
    ("192.0.0.8", "an IETF protocol address"),
    ("192.0.2.1", "a documentation address"),
    ("198.51.100.7", "a documentation address"),
    ("203.0.113.9", "a documentation address"),
    ("2001:db8::1", "a documentation address"),
    ("3fff::1", "a documentation address"),
    ("198.18.0.1", "a benchmarking address"),
    ("198.19.255.255", "a benchmarking address"),
]

FORBIDDEN = [
    ("169.254.169.254", "the metadata service of a cloud"),
    ("::ffff:169.254.169.254", "the metadata service of a cloud"),
    ("::ffff:a9fe:a9fe", "the metadata service of a cloud"),
    ("64:ff9b::a9fe:a9fe", "the metadata service of a cloud"),
    ("2002:a9fe:a9fe::", "the metadata service of a cloud"),
    ("169.254.170.2", "the metadata service of a cloud"),
    ("fd00:ec2::254", "the metadata service of a cloud"),
    ("fd00:ec2::23", "the metadata service of a cloud"),
    ("fd20:ce::254", "the metadata service of a cloud"),
    ("100.100.100.200", "the metadata service of a cloud"),
    ("192.0.0.192", "the metadata service of a cloud"),
    ("168.63.129.16", "the host service of a cloud"),
    ("169.254.0.1", "a link-local address"),
    ("fe80::1", "a link-local address"),
    ("fe80::1%eth0", "a link-local address"),
    ("febf::1", "a link-local address"),
    ("0.0.0.0", "the unspecified address"),
    ("::", "the unspecified address"),
    ("::ffff:0.0.0.0", "the unspecified address"),
    ("64:ff9b::", "the unspecified address"),
    ("0.1.2.3", "an address of this host on this network"),
    ("255.255.255.255", "the broadcast address"),
    ("224.0.0.1", "a multicast address"),
    ("239.255.255.250", "a multicast address"),
    ("ff02::1", "a multicast address"),
    ("240.0.0.1", "a reserved address"),
    ("192.88.99.1", "a withdrawn 6to4 relay address"),
    ("2001::1", "an IETF protocol address"),
    ("2001:0:7f00:1::", "an IETF protocol address"),
    ("::127.0.0.1", "a reserved address"),
    ("::8.8.8.8", "a reserved address"),
    ("64:ff9b:1::7f00:1", "a reserved address"),
    ("100::1", "a reserved address"),
    ("fec0::1", "a reserved address"),
    ("5f00::1", "a reserved address"),
    ("4000::1", "a reserved address"),
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_called(address: str) -> None:
    assert PUBLIC_ONLY.refusal(address) is None


@pytest.mark.parametrize(("address", "kind"), CLOSED)
def test_local_addresses_are_refused_with_the_option_that_opens_just_them(address: str, kind: str) -> None:
    refusal = PUBLIC_ONLY.refusal(address)

    assert refusal is not None
    assert f"is {kind};" in refusal
    cidr = refusal.partition("--allow-cidr ")[2].partition(",")[0]
    assert "spec.egress.allowCidrs" in refusal
    assert EgressPolicy(parse_cidrs([cidr])).refusal(address) is None
    assert ip_network(cidr).num_addresses == 1


@pytest.mark.parametrize(("address", "kind"), FORBIDDEN)
def test_dangerous_addresses_are_refused_whatever_is_opened(address: str, kind: str) -> None:
    for policy in (PUBLIC_ONLY, OPEN_TO_ALL):
        refusal = policy.refusal(address)
        assert refusal is not None
        assert f"is {kind}, which is never called; no option opens it" in refusal


@pytest.mark.parametrize("text", ["", "localhost", "example.org", "127.1", "1.2.3.4/32", "127.0.0.1 ", "0x7f.0.0.1"])
def test_what_is_no_plain_address_is_refused(text: str) -> None:
    refusal = OPEN_TO_ALL.refusal(text)

    assert refusal is not None
    assert "is not an IP address" in refusal


@given(address=addresses)
def test_whatever_the_standard_library_does_not_call_global_is_refused_unless_opened(address: Address) -> None:
    if not judged(address).is_global:
        assert PUBLIC_ONLY.refusal(address) is not None


@given(address=addresses, prefix=st.integers(0, 32), data=st.data())
def test_an_address_outside_the_opened_networks_stays_refused(
    address: Address, prefix: int, data: st.DataObject
) -> None:
    opened = ip_network((data.draw(st.ip_addresses(v=address.version)), prefix), strict=False)
    policy = EgressPolicy((opened,))

    if judged(address) not in opened:
        assert policy.refusal(address) == PUBLIC_ONLY.refusal(address)


@given(carried=ipv4_addresses, suffix=st.integers(0, 2**80 - 1))
def test_an_address_in_ipv6_clothes_is_judged_like_the_one_inside(carried: IPv4Address, suffix: int) -> None:
    clothes: list[Address] = [
        carried,
        IPv6Address(MAPPED | int(carried)),
        IPv6Address(NAT64 | int(carried)),
        IPv6Address(SIX_TO_FOUR | int(carried) << 80 | suffix),
    ]

    for policy in (PUBLIC_ONLY, OPEN_TO_ALL, EgressPolicy(parse_cidrs(["10.0.0.0/8"]))):
        verdicts = {policy.refusal(address) is None for address in clothes}
        assert len(verdicts) == 1


@given(address=addresses)
def test_text_and_parsed_addresses_are_judged_alike(address: Address) -> None:
    assert PUBLIC_ONLY.refusal(address) == PUBLIC_ONLY.refusal(str(address))


def test_an_opened_translation_prefix_does_not_open_what_lies_behind_it() -> None:
    policy = EgressPolicy(parse_cidrs(["64:ff9b::/96"]))

    assert policy.refusal("64:ff9b::10.0.0.1") is not None


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("8.8.8.8", "8.8.8.8"),
        ("2130706433", "127.0.0.1"),
        ("017700000001", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("0X7F000001", "127.0.0.1"),
        ("0x7f.1", "127.0.0.1"),
        ("0x7f.0.0.1", "127.0.0.1"),
        ("0177.0.0.1", "127.0.0.1"),
        ("0177.0.0.01", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("127.0.1", "127.0.0.1"),
        ("0x7f.0x0.0x0.0x1", "127.0.0.1"),
        ("0", "0.0.0.0"),
        ("00", "0.0.0.0"),
        ("0.0.0.0", "0.0.0.0"),
        ("2852039166", "169.254.169.254"),
        ("0xa9fea9fe", "169.254.169.254"),
        ("0xA9.0xFE.0xA9.0xFE", "169.254.169.254"),
        ("0251.0376.0251.0376", "169.254.169.254"),
        ("169.254.43518", "169.254.169.254"),
        ("0300.0250.1", "192.168.0.1"),
        ("１２７.０.０.１", "127.0.0.1"),  # noqa: RUF001
        ("127。0。0。1", "127.0.0.1"),
        ("127．0．0．1", "127.0.0.1"),  # noqa: RUF001
        ("①②⑦.0.0.1", "127.0.0.1"),
        ("127.0.0.1.", "127.0.0.1"),
        ("2130706433.", "127.0.0.1"),
        ("[::1]", "::1"),
        ("::1", "::1"),
        ("[0:0:0:0:0:0:0:1]", "::1"),
        ("[::ffff:127.0.0.1]", "::ffff:127.0.0.1"),
        ("[::FFFF:7F00:1]", "::ffff:127.0.0.1"),
        ("[64:ff9b::7f00:1]", "64:ff9b::7f00:1"),
        ("[fe80::1%25eth0]", "fe80::1%eth0"),
        ("[fe80::1%eth0]", "fe80::1%eth0"),
    ],
)
def test_every_spelling_of_an_address_is_recognised(host: str, address: str) -> None:
    assert literal_address(host) == ip_address(address)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "localhost",
        "example.org",
        "1.example.org",
        "127.0.0.1.nip.io",
        "0xcafe.example",
        "1.2.3.4.5",
        "256.256.256.256",
        "08.0.0.1",
        "0x",
        "1..1",
        "127.0.0.1 x",
        "-1",
        "1e100.net",
        "[::1",
        "[::g]",
        "xn--1-1",
        "bücher.example",
    ],
)
def test_names_and_broken_addresses_are_left_to_the_lookup(host: str) -> None:
    assert literal_address(host) in (None, ip_address("::1"))


@given(host=st.from_regex(r"(0x[0-9a-fA-F]{1,8}|[0-9]{1,11})(\.(0x[0-9a-fA-F]{1,4}|[0-9]{1,6})){0,3}", fullmatch=True))
def test_what_the_lookup_would_take_as_an_address_is_never_taken_for_a_name(host: str) -> None:
    try:
        records = socket.getaddrinfo(host, 443, family=socket.AF_INET, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        return

    assert str(literal_address(host)) == records[0][4][0]


@given(host=st.text())
def test_no_host_is_an_error(host: str) -> None:
    literal_address(host)


def test_cidrs_are_read_with_single_addresses_and_stray_spaces() -> None:
    assert parse_cidrs([" 10.1.2.0/24", "10.1.2.3", "fd12:3456::/48", "::1", "0.0.0.0/0"]) == (
        ip_network("10.1.2.0/24"),
        ip_network("10.1.2.3/32"),
        ip_network("fd12:3456::/48"),
        ip_network("::1/128"),
        ip_network("0.0.0.0/0"),
    )


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("", "write for example 10.1.2.0/24"),
        ("localhost", "write for example 10.1.2.0/24"),
        ("10.1.2.0/33", "write for example 10.1.2.0/24"),
        ("10.1/16", "write for example 10.1.2.0/24"),
        ("fe80::1%eth0/64", "write for example 10.1.2.0/24"),
        ("10.1.2.3/24", "write 10.1.2.0/24, or a single address without a mask"),
        ("fd12:3456::1/48", "write fd12:3456::/48, or a single address without a mask"),
        ("::ffff:10.0.0.0/104", "write 10.0.0.0/8"),
        ("169.254.0.0/16", "a link-local address is never called; remove it"),
        ("169.254.169.254", "the metadata service of a cloud is never called; remove it"),
        ("fe80::/64", "a link-local address is never called; remove it"),
        ("224.0.0.0/8", "a multicast address is never called; remove it"),
    ],
)
def test_a_bad_cidr_is_refused_with_what_to_write(text: str, advice: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_cidrs(["10.0.0.0/8", text])

    assert advice in str(caught.value)


@given(text=st.text())
def test_no_text_in_a_cidr_list_is_another_error_than_value_error(text: str) -> None:
    try:
        parse_cidrs([text])
    except ValueError as error:
        assert str(error)  # noqa: PT017
