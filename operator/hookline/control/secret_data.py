"""The data of a Secret that the operator itself makes, in base64 as the API server has it, written and read. Pure.

Secrets of teams are read by routing/secret, which says what is wrong with them. Of our own, what somebody else damaged
is as if it were not there: it is made anew.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from hookline.control.kinds import Object, mapping_of


def encoded(data: Mapping[str, bytes]) -> dict[str, str]:
    """As it is written."""
    return {key: base64.b64encode(value).decode("ascii") for key, value in data.items()}


def decoded(secret: Object | None) -> dict[str, bytes]:
    """What a Secret holds; empty without one, and of a value that cannot be read."""
    return {key: _value(text) for key, text in mapping_of(mapping_of(secret).get("data")).items()}


def _value(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError):
        return b""
