"""What the URL of a Webhook may look like, and how it is shown.

Decides from the text alone. Never changes a URL: what was typed is what is called. Never resolves a host; which
addresses may be called is asked of egress_policy.

The rules take only what RFC 3986 allows and what all clients read alike, so that no two parsers see two hosts and no
client has to re-encode anything.
"""

from __future__ import annotations

import re

from hookline.resources.rules import Checked, TextRule

MAX_LENGTH = 2048
MAX_HOST_LENGTH = 253
"""RFC 1035, 2.3.4, without the length octets."""

_HTTPS = "[Hh][Tt][Tt][Pp][Ss]://"
_START = "[^/?]*//"
_LABEL = "[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_BYTE = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
PORT_PATTERN = "(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})"
_REST = "([/?].*)?"

_PLAIN_AUTHORITY = rf"{_HTTPS}[A-Za-z0-9._~%!$&'()*+,;=:\[\]-]*([/?][!-~]*)?"
"""URLs of which the host and the port can be judged: those that the first rules take."""

_GROUP = "[0-9A-Fa-f]{1,4}"
IPV6_PATTERN = "|".join(
    [
        f"({_GROUP}:){{7}}{_GROUP}",
        f":((:{_GROUP}){{1,7}}|:)",
        f"({_GROUP}:){{1,7}}:",
        *(f"({_GROUP}:){{1,{7 - after}}}(:{_GROUP}){{1,{after}}}" for after in range(1, 7)),
    ]
)
"""RFC 4291, 2.2, forms 1 and 2. Form 3 ends in an IPv4 address, which is written as one."""

_RULES = (
    TextRule("must start with https://; write https://host/path", f"{_HTTPS}(?s:.*)"),
    TextRule(
        "must be visible ASCII without blanks; write the host in punycode (xn--…) and other characters percent-encoded",
        "[!-~]*",
    ),
    TextRule(
        'must not hold any of " < > \\ ^ ` { | }; write them percent-encoded, such as %7B for {',
        r'["<>\\^`{|}]',
        refuses=True,
    ),
    TextRule("must not hold a fragment; leave out the # and what follows it, or write %23", "#", refuses=True),
    TextRule("must not end in an empty query; leave out the question mark", r"^[^?]*\?$", refuses=True),
    TextRule(
        "must not hold a user name or password; leave out what stands before the @ and send credentials in a header "
        "whose value comes from a Secret",
        "^[^/?]*//[^/?]*@",
        refuses=True,
    ),
    TextRule(
        "must have two hexadecimal digits after each %; write %25 for a percent sign",
        "%([^0-9A-Fa-f]|.[^0-9A-Fa-f]|.?$)",
        refuses=True,
    ),
    TextRule(
        "must have a port from 1 to 65535 without leading zeros; write https://host:8443/path, or leave out the colon",
        rf"{_START}(\[[^/?\]]*\]|[^/?:]*)(:{PORT_PATTERN})?{_REST}",
        when=_PLAIN_AUTHORITY,
    ),
    TextRule(
        "must name a host: letters, digits, - and _ with single dots between them, or an address such as 192.0.2.1 or "
        "[2001:db8::1]; write https://host/path",
        rf"{_START}({_LABEL}(\.{_LABEL})*|\[[^/?]*\])(:[^/?]*)?{_REST}",
        when=_PLAIN_AUTHORITY,
    ),
    TextRule(
        f"must not have a host longer than {MAX_HOST_LENGTH} characters; write a shorter name",
        f"^{_START}[^/?:]{{{MAX_HOST_LENGTH + 1}}}",
        refuses=True,
        when=_PLAIN_AUTHORITY,
    ),
    TextRule(
        "must have an IPv6 address between the brackets, without a zone and in hexadecimal groups; "
        "write [2001:db8::1], or an IPv4 address without brackets",
        rf"{_START}\[({IPV6_PATTERN})\](:[^/?]*)?{_REST}",
        when=rf"{_HTTPS}\[[^/?@]*{_REST}",
    ),
    TextRule(
        "must not spell an IPv4 address in another way than four decimal numbers; write 192.0.2.1",
        rf"{_START}({_BYTE}(\.{_BYTE}){{3}}|([^/?:]*\.)?[^/?:.]*[^/?:.0-9][^/?:.]*|\[[^/?]*\])?(:[^/?]*)?{_REST}",
        when=_PLAIN_AUTHORITY,
    ),
    TextRule(
        "must not spell an IPv4 address in hexadecimal; write 192.0.2.1",
        rf"^{_START}([^/?:]*\.)?0[xX][0-9A-Fa-f]*([:/?]|$)",
        refuses=True,
        when=_PLAIN_AUTHORITY,
    ),
    TextRule(
        "must not hold a . or .. between slashes, which clients resolve; write the path that it leads to",
        r"^[^/?]*//[^/?]*/([^?]*/)?(\.|%2[eE]){1,2}([/?]|$)",
        refuses=True,
    ),
)


def url_problem(url: str) -> str | None:
    """What is wrong with a URL and what to write instead, or None. Does not look at its length."""
    return next((rule.message for rule in _RULES if not rule.holds(url)), None)


URL_RULES = Checked(url_problem, tuple(rule.cel() for rule in _RULES), confidential=True)


def split_query(url: str) -> tuple[str, str]:
    """A URL without its query, and the query without its question mark."""
    base, _, query = url.partition("?")
    return base, query


def shown(url: str) -> str:
    """A URL for logs, tables and messages: query, fragment and userinfo may hold secrets and are left out."""
    visible = re.sub("//[^/?#]*@", "//…@", re.split("[?#]", url, maxsplit=1)[0])
    return f"{visible}?…" if split_query(url)[1] else visible
