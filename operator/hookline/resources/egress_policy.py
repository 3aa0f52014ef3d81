"""Which addresses and ports a sender may call, and through which proxy.

Decides for one address at a time whether a policy allows it, and reads the policy's texts and the addresses that hide
in host names. It never resolves a name and never opens a connection: delivery/http/pool.py asks here for every DNS
answer and again for every socket.

The tables follow the IANA registries of special-purpose IPv4 and IPv6 addresses (RFC 6890 and successors) rather than
`ipaddress.is_global`, whose answers differ between patch releases of Python. An address is

- callable, if it is ordinary public unicast;
- closed, if it is private, loopback or otherwise local: a listed CIDR opens it;
- forbidden for good, if it is link-local, a cloud metadata service, multicast, unspecified, broadcast or reserved.

An IPv6 address that carries an IPv4 address (IPv4-mapped, NAT64, 6to4) is judged by the IPv4 address it leads to; one
whose interface id is that of an ISATAP tunnel (RFC 5214) by both.
"""

from __future__ import annotations

import re
import socket
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    collapse_addresses,
    ip_address,
    ip_network,
)
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class Opening(Enum):
    """What opens a network that is not public."""

    NEVER = "nothing; no list may touch it"
    NEVER_ITSELF = "nothing; a network around it may be listed, and does not open it"
    ON_ONE_MACHINE = "a list on one machine; in a cluster nothing"
    LISTED = "a list"


# The more particular rows come first: the first match names the address.
_SPECIAL = tuple(
    (ip_network(cidr), kind, opening)
    for cidr, kind, opening in (
        ("169.254.169.254/32", "the metadata service of a cloud", Opening.NEVER),
        ("169.254.170.0/24", "the metadata service of a cloud", Opening.NEVER),
        ("100.100.100.200/32", "the metadata service of a cloud", Opening.NEVER_ITSELF),
        ("168.63.129.16/32", "the host service of a cloud", Opening.NEVER_ITSELF),
        ("192.0.0.192/32", "the metadata service of a cloud", Opening.NEVER_ITSELF),
        ("fd00:ec2::/32", "the metadata service of a cloud", Opening.NEVER_ITSELF),
        ("fd20:ce::254/128", "the metadata service of a cloud", Opening.NEVER_ITSELF),
        ("169.254.0.0/16", "a link-local address", Opening.NEVER),
        ("fe80::/10", "a link-local address", Opening.NEVER),
        ("0.0.0.0/32", "the unspecified address", Opening.NEVER),
        ("::/128", "the unspecified address", Opening.NEVER),
        ("0.0.0.0/8", "an address of this host on this network", Opening.NEVER),
        ("255.255.255.255/32", "the broadcast address", Opening.NEVER_ITSELF),
        ("224.0.0.0/4", "a multicast address", Opening.NEVER),
        ("ff00::/8", "a multicast address", Opening.NEVER),
        ("240.0.0.0/4", "a reserved address", Opening.NEVER_ITSELF),
        ("192.88.99.0/24", "a withdrawn 6to4 relay address", Opening.NEVER_ITSELF),
        ("2001::/23", "an IETF protocol address", Opening.NEVER_ITSELF),
        ("127.0.0.0/8", "a loopback address", Opening.ON_ONE_MACHINE),
        ("::1/128", "a loopback address", Opening.ON_ONE_MACHINE),
        ("10.0.0.0/8", "a private address", Opening.LISTED),
        ("172.16.0.0/12", "a private address", Opening.LISTED),
        ("192.168.0.0/16", "a private address", Opening.LISTED),
        ("fc00::/7", "a private (unique local) address", Opening.LISTED),
        ("100.64.0.0/10", "a shared (carrier-grade NAT) address", Opening.LISTED),
        ("192.0.0.0/24", "an IETF protocol address", Opening.LISTED),
        ("192.0.2.0/24", "a documentation address", Opening.LISTED),
        ("198.51.100.0/24", "a documentation address", Opening.LISTED),
        ("203.0.113.0/24", "a documentation address", Opening.LISTED),
        ("2001:db8::/32", "a documentation address", Opening.LISTED),
        ("3fff::/20", "a documentation address", Opening.LISTED),
        ("198.18.0.0/15", "a benchmarking address", Opening.LISTED),
    )
)
_NEVER = (Opening.NEVER, Opening.NEVER_ITSELF)
_FORBIDDEN = tuple((network, kind) for network, kind, opening in _SPECIAL if opening in _NEVER)
_CLOSED = tuple((network, kind) for network, kind, opening in _SPECIAL if opening not in _NEVER)
_GLOBAL_UNICAST_V6 = IPv6Network("2000::/3")
"""What lies outside and is in no table is reserved: IPv4-compatible addresses, the local NAT64 prefix 64:ff9b:1::/48
(where in it an IPv4 address stands, only its network knows), site-local addresses, and what IANA has not given out."""
_MAPPED = IPv6Network("::ffff:0:0/96")
_NAT64 = IPv6Network("64:ff9b::/96")
_SIX_TO_FOUR = IPv6Network("2002::/16")
_ANY = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))
_IDEOGRAPHIC_DOTS = str.maketrans({"\u3002": ".", "\uff0e": ".", "\uff61": "."})


HTTPS_PORT = 443

DEFAULT_PORTS = ("443", "1024-65535")
"""HTTPS, and what a receiver may take without privileges. Below lie mail, shells and directories, never receivers."""

_PORT = "(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})"
PORTS_PATTERN = f"{_PORT}(-{_PORT})?"
PROXY_PATTERN = rf"http://([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\]):{_PORT}"


@dataclass(frozen=True, slots=True)
class Proxy:
    """A forward proxy: where it listens. Its own address is no matter of the policy, an administrator named it."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Block:
    """The addresses of a network without those of others, as a NetworkPolicy tells them."""

    network: Network
    without: tuple[Network, ...] = ()


def special_networks(*openings: Opening) -> tuple[Network, ...]:
    """The networks that are not public, with these openings, or with any: each once, in order."""
    found = [network for network, _, opening in _SPECIAL if opening in (openings or Opening)]
    v4 = [network for network in found if isinstance(network, IPv4Network)]
    v6 = [network for network in found if isinstance(network, IPv6Network)]
    return (*collapse_addresses(v4), *collapse_addresses(v6))


def callable_blocks(allow_cidrs: Iterable[Network] = ()) -> Iterator[Block]:
    """What a policy with these networks lets a sender in a cluster call, for whoever filters by addresses alone.

    Interface ids (ISATAP) are the only thing that a sender looks at and this cannot say.
    """
    special = special_networks()
    v4 = [each for each in special if isinstance(each, IPv4Network)]
    yield Block(_ANY[0], tuple(v4))
    yield Block(_NAT64, tuple(map(_by_nat64, v4)))
    yield Block(_SIX_TO_FOUR, tuple(map(_by_six_to_four, v4)))
    yield Block(_GLOBAL_UNICAST_V6, _inside(_GLOBAL_UNICAST_V6, (*special, _SIX_TO_FOUR)))
    never = special_networks(*_NEVER, Opening.ON_ONE_MACHINE)
    for network in allow_cidrs:
        without = _inside(network, never)
        if isinstance(network, IPv4Network):
            yield Block(network, without)
            inside = [each for each in without if isinstance(each, IPv4Network)]
            yield Block(_by_nat64(network), tuple(map(_by_nat64, inside)))
            yield Block(_by_six_to_four(network), tuple(map(_by_six_to_four, inside)))
        elif _may_hold_v6(network):
            yield Block(network, _inside(network, (*never, _SIX_TO_FOUR)))


def anywhere() -> tuple[Block, Block]:
    """Every address but those that nothing opens in a cluster, such as metadata services: where a name may lead."""
    never = special_networks(*_NEVER, Opening.ON_ONE_MACHINE)
    v4 = [each for each in never if isinstance(each, IPv4Network)]
    carried = (*map(_by_nat64, v4), *map(_by_six_to_four, v4))
    return Block(_ANY[0], _inside(_ANY[0], never)), Block(_ANY[1], _inside(_ANY[1], (*never, *carried)))


def _inside(network: Network, others: Iterable[Network]) -> tuple[Network, ...]:
    return tuple(
        each
        for each in others
        if each.version == network.version and each != network and each.subnet_of(network)  # type: ignore[arg-type]
    )


def _may_hold_v6(network: IPv6Network) -> bool:
    """Whether listing it opens anything: else it is reserved, or judged by the IPv4 addresses that it leads to."""
    listed = [each for each in special_networks(Opening.LISTED) if isinstance(each, IPv6Network)]
    homes = (_GLOBAL_UNICAST_V6, *listed)
    return any(network.subnet_of(each) for each in homes) and not network.subnet_of(_SIX_TO_FOUR)


def _by_nat64(network: IPv4Network) -> IPv6Network:
    """RFC 6052, 2.2: the IPv4 address is the last 32 bits."""
    return IPv6Network((int(_NAT64.network_address) | int(network.network_address), 96 + network.prefixlen))


def _by_six_to_four(network: IPv4Network) -> IPv6Network:
    """RFC 3056, 2: the IPv4 address stands behind the first 16 bits."""
    return IPv6Network((int(_SIX_TO_FOUR.network_address) | int(network.network_address) << 80, 16 + network.prefixlen))


def parse_ports(texts: Iterable[str]) -> tuple[range, ...]:
    """The ports that `texts` ("443", "8000-9000") name. Raises ValueError with what to write instead."""
    return tuple(_parse_ports(text) for text in texts)


def parse_proxy(url: str) -> Proxy:
    """The proxy of a URL such as http://proxy.example:3128. Raises ValueError with what to write instead."""
    if re.fullmatch(PROXY_PATTERN, url) is None:
        raise ValueError("must be the address of an HTTP proxy with its port; write http://proxy.example.com:3128")
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return Proxy(parts.hostname, parts.port)


_DEFAULT_PORTS = (range(443, 444), range(1024, 65536))


@dataclass(frozen=True)
class EgressPolicy:
    """What may be called beyond public addresses: the CIDRs that an administrator opened; on which ports; and how.

    `allow_own` says whether the sender may call addresses of the machine or pod that it runs in, where they are
    listed: on one machine receivers share its addresses, in a cluster nothing but the sender has them.
    """

    allow_cidrs: tuple[Network, ...] = ()
    allow_ports: tuple[range, ...] = _DEFAULT_PORTS
    proxy: Proxy | None = None
    allow_own: bool = False

    def refusal(self, address: str | Address) -> str | None:
        """None if `address` may be called, else a sentence: what it is, and which option opens it if one can.

        A text that is no address is refused too: what cannot be judged is not called.
        """
        parsed = _parse(address)
        if parsed is None:
            return f"{str(address)[:64]!r} is not an IP address"
        target = leads_to(parsed)
        shown = str(parsed) if target is parsed else f"{parsed} (which leads to {target})"
        return self._refused(target, shown) or self._refused_behind_tunnel(target)

    def port_refusal(self, port: int) -> str | None:
        """None if `port` may be called, else a sentence with the option that opens it."""
        if any(port in ports for ports in self.allow_ports):
            return None
        return f"port {port} is not among those that may be called; list it in spec.egress.allowPorts of the Dispatcher"

    def own_refusal(self, address: str) -> str | None:
        """What is said of an address of the sender's own machine or pod. Loopback is judged by the CIDRs alone."""
        parsed = _parse(address)
        if self.allow_own or (parsed is not None and leads_to(parsed).is_loopback):
            return None
        return f"{address} is an address of the sender itself, which is never called; no option opens it"

    def _refused(self, target: Address, shown: str) -> str | None:
        forbidden = _forbidden(target)
        if forbidden is not None:
            return f"{shown} is {forbidden}, which is never called; no option opens it"
        closed = _kind(_CLOSED, target)
        if closed is None or any(target in network for network in self.allow_cidrs):
            return None
        return f"{shown} is {closed}; to call it, start with {_option(target)}"

    def _refused_behind_tunnel(self, address: Address) -> str | None:
        inner = _behind_isatap(address)
        return self._refused(inner, f"{address} (whose tunnel leads to {inner})") if inner is not None else None


def policy_of(
    allow_cidrs: Iterable[str], allow_ports: Iterable[str], proxy_url: str | None = None, *, allow_own: bool = False
) -> EgressPolicy:
    """The policy that these texts state. Raises ValueError."""
    proxy = None if proxy_url is None else parse_proxy(proxy_url)
    return EgressPolicy(parse_cidrs(allow_cidrs), parse_ports(allow_ports), proxy, allow_own)


def parse_cidrs(texts: Iterable[str]) -> tuple[Network, ...]:
    """The networks that `texts` ("10.1.2.0/24", "fd12::/64", or a single address) name.

    Raises ValueError with what to write instead: not a CIDR, bits set outside the mask, an IPv4 network written as
    IPv6, or a range that can never be allowed.
    """
    return tuple(_parse_cidr(text.strip()) for text in texts)


def literal_address(host: str) -> Address | None:
    """The address that the host of a URL spells out, or None if it is a name to be looked up.

    Every spelling that `inet_aton` of this platform takes counts (decimal, octal, hexadecimal, short), because the
    lookup of such a "name" asks that very function; so do brackets, zone ids, a dot at the end, and full-width digits
    and dots.
    """
    text = host.removeprefix("[").removesuffix("]").removesuffix(".").replace("%25", "%")
    address = _parse(text)
    if address is not None:
        return address
    ascii_text = _ascii_digits(text)
    if not ascii_text or not ascii_text[0].isdigit() or any(character.isspace() for character in ascii_text):
        return None
    try:
        return IPv4Address(socket.inet_aton(ascii_text))
    except OSError:
        return None


def _ascii_digits(text: str) -> str:
    """`text` with full-width and other compatibility forms folded, as the IDNA step of a lookup folds them."""
    if text.isascii():
        return text
    folded = unicodedata.normalize("NFKC", text.translate(_IDEOGRAPHIC_DOTS))
    return folded if folded.isascii() else ""


def _parse(address: str | Address) -> Address | None:
    if not isinstance(address, str):
        return address
    try:
        return ip_address(address)
    except ValueError:
        return None


def leads_to(address: Address) -> Address:
    """The IPv4 address that an IPv6 address carries, or `address` itself."""
    if isinstance(address, IPv4Address):
        return address
    if address in _MAPPED or address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    if address in _SIX_TO_FOUR:
        return IPv4Address((int(address) >> 80) & 0xFFFFFFFF)
    return address


def _behind_isatap(address: Address) -> IPv4Address | None:
    """The IPv4 address in the interface id ::[0200]:5efe:a.b.c.d of RFC 5214, 6.1."""
    if isinstance(address, IPv6Address) and (int(address) >> 32) & 0xFFFFFFFF in (0x00005EFE, 0x02005EFE):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def _parse_ports(text: str) -> range:
    match = re.fullmatch(PORTS_PATTERN, text)
    first, last = (int(match[1]), int(match[3] or match[1])) if match else (1, 0)
    if first > last:
        raise ValueError('must be a port or a range of ports from 1 to 65535; write "443" or "8000-9000", in quotes')
    return range(first, last + 1)


def _kind(table: tuple[tuple[Network, str], ...], address: Address) -> str | None:
    return next((kind for network, kind in table if address in network), None)


def _forbidden(address: Address) -> str | None:
    kind = _kind(_FORBIDDEN, address)
    if kind is None and isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST_V6:
        return None if _kind(_CLOSED, address) else "a reserved address"
    return kind


def _option(address: Address) -> str:
    cidr = f"{address}/{address.max_prefixlen}"
    return f"--allow-cidr {cidr}, in a cluster list it in spec.egress.allowCidrs of the Dispatcher"


def _parse_cidr(text: str) -> Network:
    network = _network(text)
    if network is None:
        raise ValueError(f"{text[:64]!r} is not a CIDR: write for example 10.1.2.0/24 or fd12:3456::/48")
    if "/" in text and network.network_address != ip_address(text.partition("/")[0]):
        raise ValueError(
            f"{text!r} has bits set beyond its prefix: write {network}, or a single address without a mask"
        )
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        inner = IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))
        raise ValueError(f"{text!r} is an IPv4-mapped network: write {inner}")
    _refuse_forbidden_network(text, network)
    return network


def _network(text: str) -> Network | None:
    if "%" in text:  # a zone id belongs to an address as one machine sees it, never to a network
        return None
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def _refuse_forbidden_network(text: str, network: Network) -> None:
    for forbidden, kind in _FORBIDDEN:
        if forbidden.version == network.version and network.subnet_of(forbidden):  # type: ignore[arg-type]
            raise ValueError(f"{text!r} cannot be allowed: {kind} is never called; remove it from the list")
