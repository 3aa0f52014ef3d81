"""Which headers a Webhook may add to its calls.

Decides about one name or one value at a time; used for manifests and for values that come out of Secrets. Never
changes either, and never repeats a value.

Host, Origin, Accept-Language and Authorization are allowed: ClearID's page on webhooks names the first three as
examples. Host goes into the request as written and never moves the connection.
"""

from __future__ import annotations

from hookline.resources.rules import Checked, TextRule, cel

MAX_NAME_LENGTH = 256
MAX_VALUE_LENGTH = 4096

_OF_ONE_CONNECTION = (
    "connection",
    "expect",
    "http2-settings",
    "keep-alive",
    "te",
    "trailer",
    "trailers",
    "transfer-encoding",
    "upgrade",
)
"""Hop-by-hop headers (RFC 9110, 7.6.1) and Expect: they steer the connection and would break or smuggle requests."""

_SET_BY_HOOKLINE = (
    "accept-encoding",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "user-agent",
)
FORBIDDEN_NAMES = tuple(sorted(_OF_ONE_CONNECTION + _SET_BY_HOOKLINE))
FORBIDDEN_PREFIXES = ("hookline-", "proxy-", "svix-", "webhook-")

_TOKEN = TextRule(
    "must be a header name: letters, digits and !#$%&'*+-.^_`|~, without blank or colon; write X-My-Header",
    "[A-Za-z0-9!#$%&'*+.^_`|~-]+",
)
_FORBIDDEN_NAME = (
    "must not be a header that Hookline or the connection sets itself, nor start with "
    f"{', '.join(FORBIDDEN_PREFIXES)}; write another name, such as X-My-Header"
)
VALUE_RULE = TextRule(
    "must be visible ASCII characters with blanks between them; write it on one line, in quotes, "
    "without blank at start or end, or leave the header out when it is empty",
    "[!-~]([ \t!-~]*[!-~])?",
    confidential=True,
)


def header_name_problem(name: str) -> str | None:
    """What is wrong with a name and what to write instead, or None (token of RFC 9110, 5.6.2)."""
    if len(name) > MAX_NAME_LENGTH:
        return f"must be no longer than {MAX_NAME_LENGTH} characters; write a shorter name"
    if not _TOKEN.holds(name):
        return _TOKEN.message
    lower = name.lower()
    if lower in FORBIDDEN_NAMES or lower.startswith(FORBIDDEN_PREFIXES):
        return _FORBIDDEN_NAME
    return None


def header_value_problem(value: str) -> str | None:
    """What is wrong with a value and what to write instead, or None.

    Narrower than RFC 9110, 5.5: no empty value, which is mostly a mistake, and no obs-text, which receivers read in
    different encodings.
    """
    if len(value) > MAX_VALUE_LENGTH:
        return f"must be no longer than {MAX_VALUE_LENGTH} characters; write a shorter value"
    return None if VALUE_RULE.holds(value) else VALUE_RULE.message


def _allowed_cel() -> str:
    names = ", ".join(f"'{name}'" for name in FORBIDDEN_NAMES)
    prefixes = " || ".join(f"self.lowerAscii().startsWith('{prefix}')" for prefix in FORBIDDEN_PREFIXES)
    return f"!(self.lowerAscii() in [{names}] || {prefixes})"


NAME_RULES = Checked(header_name_problem, (_TOKEN.cel(), cel(_allowed_cel(), _FORBIDDEN_NAME)))
