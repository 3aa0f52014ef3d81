"""Which event types there are, and whether a body or a schema is right.

Decides: the catalogue (the built-in types, and those of EventType resources), whether a body satisfies the schema of
its type, and whether an EventType's schema can be used. Pure: no network and no file is ever touched, so a `$ref` that
leaves its schema is a problem of the schema. How problems are told is in explain.py, what counts as JSON in
strictjson.py.

A schema is trusted as far as time goes: a pattern or a chain of references that takes for ever is not cut short.
EventTypes are written by administrators.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal

import referencing.exceptions
from jsonschema import FormatChecker
from jsonschema.exceptions import SchemaError
from jsonschema.protocols import Validator
from jsonschema.validators import (
    Draft4Validator,
    Draft6Validator,
    Draft7Validator,
    Draft201909Validator,
    Draft202012Validator,
)

from jsonschema_specifications import REGISTRY

from hookline import catalogue, strictjson
from hookline.explain import BodyProblem, Finding, explained, nearest, shortened, to_problems

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


class Catalogue:
    """The event types there are: the built-in ones, and custom ones, of which one may replace a built-in one."""

    def __init__(self, custom: Iterable[EventTypeSpec] = ()) -> None:
        self._types = {event.name: event for event in [*_builtin(), *custom]}
        self._validators: dict[str, Validator] = {}

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._types))

    def get(self, name: str) -> EventTypeSpec:
        """Raises UnknownEvent, which names what the caller may have meant."""
        if name not in self._types:
            raise UnknownEvent(name, nearest(name, self._types))
        return self._types[name]

    def check(self, name: str, body: bytes) -> tuple[BodyProblem, ...]:
        """What is wrong with a body of this type, at most ten problems; empty when all is well. Raises UnknownEvent.

        What is no JSON is refused whatever the type says; the rest only by `validation: Enforce`.
        """
        event = self.get(name)
        value, findings = strictjson.read(body)
        if findings:
            return to_problems(findings)
        if event.validation == "Off":
            return ()
        return to_problems(self._breaches(event, value), refuses=event.validation == "Enforce")

    def _breaches(self, event: EventTypeSpec, value: object) -> list[Finding]:
        if event.name not in self._validators:
            self._validators[event.name] = _validator(event.schema)
        try:
            errors = islice(self._validators[event.name].iter_errors(value), _MAX_ERRORS)
            return [finding for error in errors for finding in explained(error)]
        except RecursionError:
            return [((), f"cannot be checked: its schema {_ENDLESS}")]
        except referencing.exceptions.Unresolvable:
            return [((), "cannot be checked: its schema refers to something that is not in it")]


def check_schema(schema: Mapping[str, Any]) -> tuple[BodyProblem, ...]:
    """What keeps `schema` from being used as a JSON Schema, at most ten problems."""
    draft = schema.get("$schema", _LATEST)
    if not isinstance(draft, str) or draft not in _drafts():
        known = ", ".join(_DRAFTS)
        return (BodyProblem("$.$schema", f"is not a draft of JSON Schema known here; write one of: {known}"),)
    try:
        _draft_of(schema).check_schema(schema, format_checker=_draft_of(schema).FORMAT_CHECKER)
        findings = list(_unresolvable(schema))
    except SchemaError as error:
        meta = _draft_of(schema)(_draft_of(schema).META_SCHEMA, format_checker=_draft_of(schema).FORMAT_CHECKER)
        findings = [each for breach in islice(meta.iter_errors(schema), _MAX_ERRORS) for each in explained(breach)]
        findings = findings or [(tuple(error.absolute_path), "is not understood")]
    except RecursionError:
        findings = [((), _ENDLESS)]
    return to_problems(findings)


def _builtin() -> Iterable[EventTypeSpec]:
    for event in catalogue.EVENTS:
        yield EventTypeSpec(event.name, catalogue.schema_of(event), description=event.description, builtin=True)


def _drafts() -> dict[str, type[Validator]]:
    """The drafts by their names, with and without the empty fragment at the end, since both are written."""
    return {**_DRAFTS, **{name.rstrip("#"): validator for name, validator in _DRAFTS.items()}}


def _draft_of(schema: Mapping[str, Any]) -> type[Validator]:
    return _drafts()[schema.get("$schema", _LATEST)]


def _validator(schema: Mapping[str, Any]) -> Validator:
    # The registry of the drafts alone: nothing is ever fetched.
    return _draft_of(schema)(dict(schema), format_checker=_FORMATS, registry=REGISTRY)


def _unresolvable(schema: Mapping[str, Any]) -> Iterable[Finding]:
    """Every `$ref` that does not lead to a place in the schema, or in a draft's own."""
    validator = _validator(schema)
    for path, ref in _refs(schema, ()):
        try:
            validator._resolver.lookup(ref)  # type: ignore[attr-defined] # noqa: SLF001
        except (referencing.exceptions.Unresolvable, ValueError):
            yield path, "must refer to a place in this schema, such as #/definitions/Name; nothing is ever fetched"


def _refs(value: object, path: tuple[str | int, ...]) -> Iterable[tuple[tuple[str | int, ...], str]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if name in ("$ref", "$dynamicRef") and isinstance(inner, str):
                yield (*path, name), inner
            else:
                yield from _refs(inner, (*path, str(name)))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _refs(inner, (*path, index))
