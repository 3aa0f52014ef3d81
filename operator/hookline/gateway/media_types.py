"""What a Content-Type says. Pure."""

from __future__ import annotations

from hookline.gateway.problem import Kind, refuse
from hookline.gateway.remembering import remembers_short

NDJSON = "application/x-ndjson"

_LINES = (NDJSON, "application/ndjson", "application/jsonl", "application/x-jsonlines")
_UTF_8 = ("utf-8", "utf8")


_REMEMBERED, _REMEMBERED_CHARACTERS = 64, 256
"""How many of them are remembered, and how long they are at most: that of a CloudEvent may be as long as its body."""


@remembers_short(_REMEMBERED, _REMEMBERED_CHARACTERS)  # nearly all producers send the same
def media_type(content_type: str) -> str:
    """Without its parameters, in small letters. Raises Refused: UNSUPPORTED_MEDIA_TYPE for a charset but UTF-8."""
    name, *parameters = content_type.split(";")
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "charset" and value.strip().strip('"').lower() not in _UTF_8:
            raise refuse(Kind.UNSUPPORTED_MEDIA_TYPE, "JSON is UTF-8 (RFC 8259); leave charset out")
    return name.strip().lower()


def is_json(name: str) -> bool:
    return name == "application/json" or (name.startswith("application/") and name.endswith("+json"))


def is_ndjson(name: str) -> bool:
    return name in _LINES
