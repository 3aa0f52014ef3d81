"""The egress matrix: hosts and names that must never be reached, and those that must be, each with why.

A host of the first tables is called with a listener on every address of this machine, which must see no connection.
`OPEN` is the most that a Dispatcher can open; the strictest and the most open policy must both refuse.
"""

# ruff: noqa: RUF001

from __future__ import annotations

from doubles.name_server import Answer

REFUSED_HOSTS: dict[str, list[str]] = {
    "loopback, IPv4": [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "127.0.1",
        "127.255.255.254",
        "2130706433",
        "2130706433.",
        "017700000001",
        "0177.0.0.1",
        "0177.0.0.01",
        "0x7f000001",
        "0X7F000001",
        "0x7f.1",
        "0x7f.0.0.1",
        "0x7f.0x0.0x0.0x1",
        "0x7f.0.1",
        "１２７.０.０.１",
        "127。0。0。1",
        "127．0．0．1",
        "127｡0｡0｡1",
        "①②⑦.⓪.⓪.①",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "ｌocalhost",
    ],
    "loopback, IPv6": [
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[0000:0000:0000:0000:0000:0000:0000:0001]",
        "[::0.0.0.1]",
        "[::ffff:127.0.0.1]",
        "[::FFFF:7F00:1]",
        "[0:0:0:0:0:ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[::7f00:1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b::127.0.0.1]",
        "[64:ff9b:1::7f00:1]",
        "[64:ff9b:1:7f00:0:100::]",
        "[2002:7f00:1::]",
        "[2002:7f00:1::1]",
        "[2001:0:7f00:1::]",
        "[2001:470:1:2:0:5efe:127.0.0.1]",
        "[2001:470:1:2:200:5efe:7f00:1]",
        "[::1%25lo]",
        "[::1%lo]",
    ],
    "unspecified": [
        "0",
        "00",
        "0x0",
        "0.0.0.0",
        "0.0",
        "0.0.0.0.",
        "0.1.2.3",
        "[::]",
        "[0:0:0:0:0:0:0:0]",
        "[::ffff:0.0.0.0]",
        "[64:ff9b::]",
        "[2002::1]",
    ],
    "link-local and metadata": [
        "169.254.169.254",
        "169.254.169.254.",
        "2852039166",
        "0xa9fea9fe",
        "0xA9.0xFE.0xA9.0xFE",
        "0251.0376.0251.0376",
        "169.254.43518",
        "169.16689662",
        "169.254.170.2",
        "169.254.0.1",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:a9fe:a9fe::]",
        "[2001:470:1:2:0:5efe:a9fe:a9fe]",
        "[fd00:ec2::254]",
        "[fd20:ce::254]",
        "[fe80::1]",
        "[fe80::1%25eth0]",
        "[fe80::a9fe:a9fe]",
        "[febf::1]",
    ],
    "multicast, broadcast, reserved": [
        "224.0.0.1",
        "239.255.255.250",
        "255.255.255.255",
        "240.0.0.1",
        "4026531841",
        "192.88.99.1",
        "[ff02::1]",
        "[ff05::2]",
        "[::ffff:224.0.0.1]",
        "[fec0::1]",
        "[100::1]",
        "[5f00::1]",
    ],
}
"""Refused whatever is opened, as far as a Dispatcher can open anything."""

PRIVATE_HOSTS = [
    "10.0.0.1",
    "10.255.255.255",
    "167772161",
    "0x0a000001",
    "012.0.0.1",
    "172.16.0.1",
    "172.31.255.254",
    "192.168.1.1",
    "0300.0250.1",
    "3232235777",
    "100.64.0.1",
    "192.0.0.8",
    "198.18.0.1",
    "203.0.113.9",
    "[fc00::1]",
    "[fd12:3456:789a::1]",
    "[::ffff:10.0.0.1]",
    "[64:ff9b::10.0.0.1]",
    "[2002:a00:1::1]",
    "[2001:470:1:2:0:5efe:10.0.0.1]",
    "[2001:db8::1]",
]
"""Refused until they are listed."""

OPEN = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "192.0.0.0/24", "198.18.0.0/15")

REFUSED_NAMES: dict[str, list[Answer]] = {
    "loopback.test": [["127.0.0.1"]],
    "loopback6.test": [["::1"]],
    "both.test": [["127.0.0.1", "::1"]],
    "metadata.test": [["169.254.169.254"]],
    "metadata6.test": [["fd00:ec2::254"]],
    "linklocal6.test": [["fe80::1"]],
    "unspecified.test": [["0.0.0.0"]],
    "unspecified6.test": [["::"]],
    "multicast.test": [["224.0.0.1"]],
    "mapped.test": [["::ffff:127.0.0.1"]],
    "nat64.test": [["64:ff9b::7f00:1"]],
    "sixtofour.test": [["2002:7f00:1::"]],
    "teredo.test": [["2001:0:7f00:1::"]],
    "isatap.test": [["2001:470:1:2:0:5efe:127.0.0.1"]],
    "first-is-bad.test": [["127.0.0.1", "127.0.0.2"]],
    "last-is-bad.test": [[*(f"8.8.{n}.1" for n in range(20)), "169.254.169.254"]],
    "one-family-is-bad.test": [["8.8.8.8", "::1"]],
    "alias.test": [["loopback.test."]],
    "alias-of-alias.test": [["alias.test."]],
    "alias-of-metadata.test": [["metadata.test."]],
    "alias-of-localhost.test": [["localhost."]],
    "too-many.test": [[f"8.{n // 256}.{n % 256}.1" for n in range(70)]],
    "nothing.test": [[]],
    "servfail.test": ["broken"],
}
"""Answers of a name server that lead nowhere good."""

REBINDING: dict[str, list[Answer]] = {
    "rebind-loopback.test": [["127.0.0.2"], ["127.0.0.1"]],
    "rebind-metadata.test": [["127.0.0.2"], ["169.254.169.254"]],
    "rebind-alias.test": [["127.0.0.2"], ["loopback.test."]],
    "rebind-one-of-two.test": [["127.0.0.2"], ["127.0.0.2", "127.0.0.1"]],
    "rebind-private.test": [["127.0.0.2"], ["10.0.0.1", "127.0.0.2"]],
}
"""Names that lead to an opened address (127.0.0.2) at first and then inside."""

ALLOWED_NAMES: dict[str, list[Answer]] = {
    "plain.test": [["127.0.0.2"]],
    "several.test": [["127.0.0.2", "127.0.0.3", "127.0.0.4"]],
    "chain.test": [["chain-2.test."]],
    "chain-2.test": [["chain-3.test."]],
    "chain-3.test": [["127.0.0.2"]],
    "only-six.test": [["::1"]],
    "two-families.test": [["127.0.0.2", "::1"]],
    "first-is-dead.test": [["127.0.0.9", "127.0.0.2"]],
}
"""With 127.0.0.2/31, .4, .9 and ::1 opened. Nobody listens on 127.0.0.9."""

ALLOWED_HOSTS = ["127.0.0.2", "127.0.0.3", "[::1]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.2]"]

ALLOWED_CIDRS = ("127.0.0.2/31", "127.0.0.4/32", "127.0.0.9/32", "::1/128")
