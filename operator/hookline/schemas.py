"""Which event types there are, and whether a body or a schema is right.

Decides: the catalogue (the built-in types, and those of EventType resources), whether a body satisfies the schema of
its type, and whether an EventType's schema can be used. Pure: no network and no file is ever touched, so a `$ref` that
leaves its schema is a problem of the schema. How problems are told is in explain.py, what counts as JSON in
strictjson.py.

A schema is trusted as far as time goes: a pattern or a chain of references that takes for ever is not cut short.
EventTypes are written by administrators.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from jsonschema import FormatChecker
from jsonschema.protocols import Validator
from jsonschema.validators import (
    Draft4Validator,
    Draft6Validator,
    Draft7Validator,
    Draft201909Validator,
    Draft202012Validator,
)

from hookline.explain import BodyProblem, shortened

__all__ = [
    "EVENT_NAME_MAX_LENGTH",
    "EVENT_NAME_PATTERN",
    "BodyProblem",
    "Catalogue",
    "EventTypeSpec",
    "UnknownEvent",
    "check_schema",
]

EVENT_NAME_PATTERN = r"^[A-Za-z][A-Za-z0-9]*([.-][A-Za-z0-9]+)*$"
"""The name of an event type. Its lower case is a DNS-1123 subdomain, because it names the EventType object."""

EVENT_NAME_MAX_LENGTH = 128

_DRAFTS: dict[str, type[Validator]] = {
    "http://json-schema.org/draft-04/schema#": Draft4Validator,
    "http://json-schema.org/draft-06/schema#": Draft6Validator,
    "http://json-schema.org/draft-07/schema#": Draft7Validator,
    "https://json-schema.org/draft/2019-09/schema": Draft201909Validator,
    "https://json-schema.org/draft/2020-12/schema": Draft202012Validator,
}
_LATEST = "https://json-schema.org/draft/2020-12/schema"

# Named one by one: FormatChecker leaves out, without a word, each format whose library is not installed.
_FORMATS = FormatChecker(formats=("date", "date-time", "email", "idn-email", "ipv4", "ipv6", "uuid"))

_MAX_ERRORS = 200  # collected before they are put in order; a body of 256 KiB can have 100,000
_ENDLESS = "nests too deeply, or refers to itself without end"


@dataclass(frozen=True)
class EventTypeSpec:
    """An event type: built in, or from an EventType resource. `schema` is a JSON Schema, draft-04 or later."""

    name: str
    schema: Mapping[str, Any] = field(repr=False)
    validation: Literal["Enforce", "Warn", "Off"] = "Enforce"
    description: str = ""
    builtin: bool = False


class UnknownEvent(LookupError):
    """There is no event type of this name. `nearest` holds up to three that resemble it."""

    def __init__(self, name: str, nearest: tuple[str, ...] = ()) -> None:
        self.name = name
        self.nearest = nearest
        hint = f"; did you mean {' or '.join(nearest)}?" if nearest else "."
        super().__init__(f'There is no event type "{shortened(name)}"{hint} See them all with: hookline events list')
