"""The keywords and formats of JSON Schema that jsonschema takes otherwise than the standard has them.

Decides: patterns are those of ECMA-262 (patterns.py) wherever a schema has them, `multipleOf` counts in decimals, a
`date-time` is RFC 3339 with leap seconds, and what the schema `false` refuses has a place. `uniqueItems`, `anyOf` and
`oneOf` decide as jsonschema's, in a time that does not grow with the square of the items or with all that is wrong in
them: 256 KiB took minutes. All else is jsonschema's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta
from fractions import Fraction
from itertools import islice
from typing import Any

from jsonschema import FormatChecker
from jsonschema.exceptions import ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend

from hookline.events import patterns
from hookline.events.pattern_cost import ways
from hookline.runtime.private_parts import require

# Named one by one: FormatChecker leaves out, without a word, each format whose library is not installed.
FORMATS = FormatChecker(formats=("date", "email", "idn-email", "ipv4", "ipv6"))
"""The formats that are checked."""

# RFC 3339, section 5.6.
_DATE_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d):(\d\d)(?:\.\d+)?(?:Z|([+-])([01]\d|2[0-3]):([0-5]\d))", re.ASCII | re.IGNORECASE
)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)

MAX_ERRORS_OF_A_FORM = 20
"""Collected for each schema of an `anyOf` or `oneOf`; what is told is one of them."""

_MAX_STEPS = 20_000
_MAX_WAYS = 10**8
"""Of one pattern over one text: some seconds at most."""
_STEPS_LEFT: ContextVar[list[int] | None] = ContextVar("_STEPS_LEFT", default=None)


class TooCostly(Exception):
    """A check takes too long for whoever must not be held up. It says nothing about the value."""


@contextmanager
def bounded() -> Iterator[None]:
    """Within, a check raises TooCostly rather than take time that grows with a power of the schema or the value."""
    token = _STEPS_LEFT.set([_MAX_STEPS])
    try:
        yield
    finally:
        _STEPS_LEFT.reset(token)


def matches(pattern: str, text: str) -> bool:
    """Whether the pattern matches anywhere in the text. Within `bounded` it raises TooCostly if that may take long."""
    if _STEPS_LEFT.get() is not None and ways(pattern, len(text)) > _MAX_WAYS:
        raise TooCostly
    return patterns.matches(pattern, text)


def _step() -> None:
    left = _STEPS_LEFT.get()
    if left is not None:
        left[0] -= 1
        if left[0] < 0:
            raise TooCostly


def standard(draft: type[Validator]) -> type[Validator]:
    """A draft of jsonschema, with these keywords instead of its own."""
    ours: dict[str, Any] = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
        "multipleOf": _multiple_of,
        "uniqueItems": _unique_items,
        "anyOf": _has_a_form(only_one=False),
        "oneOf": _has_a_form(only_one=True),
    }
    if "unevaluatedProperties" in draft.VALIDATORS:
        ours["unevaluatedProperties"] = _unevaluated_properties
    extended: Any = extend(draft, ours)  # type: ignore[no-untyped-call]
    require(extended, "evolve", "_resolver")
    evolve = extended.evolve

    def evolve_as_ours(self: Any, **changes: Any) -> Any:
        _step()
        # By its `$schema`, jsonschema would give an inner schema its own class.
        schema = changes.get("schema")
        if isinstance(schema, dict) and "$schema" in schema:
            changes["schema"] = {name: value for name, value in schema.items() if name != "$schema"}
        return evolve(self, **changes)

    descend = extended.descend

    def descend_as_ours(self: Any, instance: Any, schema: Any, *steps: Any, **named_steps: Any) -> Any:
        # Of what `false` refuses, jsonschema tells neither the place nor a keyword. The other one means the same: JSON
        # Schema core 2020-12, section 4.3.2.
        return descend(self, instance, {"not": {}} if schema is False else schema, *steps, **named_steps)

    extended.evolve = evolve_as_ours
    extended.descend = descend_as_ours
    checks: type[Validator] = extended
    return checks


@FORMATS.checks("date-time")
def is_date_time(value: object) -> bool:
    """Whether a string is a date and time of RFC 3339; anything but a string is none of this format's business.

    A second 60 is the last one of a day in UTC: leap seconds are inserted nowhere else.
    """
    if not isinstance(value, str):
        return True
    if (found := _DATE_TIME.fullmatch(value)) is None:
        return False
    day, minute, second, sign, hours, minutes = found.groups()
    try:
        local = datetime.fromisoformat(f"{day}T{minute}")
    except ValueError:
        return False
    if second != "60":
        return second < "60"
    behind = timedelta(hours=int(hours or 0), minutes=int(minutes or 0)) * (-1 if sign == "-" else 1)
    # A day of its own, as the first and the last one that Python knows cannot be moved.
    in_utc = datetime(2000, 1, 2, local.hour, local.minute) - behind  # noqa: DTZ001  # it is taken to UTC right here
    return (in_utc.hour, in_utc.minute) == (23, 59)


@FORMATS.checks("uuid")
def is_uuid(value: object) -> bool:
    """Whether a string is a UUID as RFC 4122 writes them; anything but a string is none of this format's business."""
    return not isinstance(value, str) or _UUID.fullmatch(value) is not None


def _pattern(validator: Any, pattern: str, instance: Any, _: Any) -> Iterator[ValidationError]:
    if validator.is_type(instance, "string") and not matches(pattern, instance):
        yield ValidationError("does not match")


def _pattern_properties(validator: Any, rules: Mapping[str, Any], instance: Any, _: Any) -> Iterator[ValidationError]:
    if validator.is_type(instance, "object"):
        for pattern, inner in rules.items():
            for name, value in instance.items():
                if matches(pattern, name):
                    yield from validator.descend(value, inner, path=name, schema_path=pattern)


def _additional_properties(validator: Any, rule: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if not validator.is_type(instance, "object"):
        return
    names = unknown_names(instance, schema)
    if validator.is_type(rule, "object"):
        for name in names:
            yield from validator.descend(instance[name], rule, path=name)
    elif not rule and names:
        yield ValidationError("has names that are not allowed")


def unknown_names(instance: Mapping[str, Any], schema: Mapping[str, Any]) -> list[str]:
    """The names of an object that neither `properties` nor `patternProperties` beside it speak of."""
    known, forms = schema.get("properties", {}), schema.get("patternProperties", {})
    names = (name for name in instance if name not in known)
    return [name for name in names if not any(matches(pattern, name) for pattern in forms)]


def _unevaluated_properties(validator: Any, rule: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if not validator.is_type(instance, "object"):
        return
    evaluated = _evaluated_names(validator, instance, schema)
    if any(not _fits(validator, value, rule) for name, value in instance.items() if name not in evaluated):
        yield ValidationError("has names that are not allowed")


def _evaluated_names(validator: Any, instance: Mapping[str, Any], schema: Any) -> set[str]:
    """The names of an object that a schema, or one that it applies to the same object, has looked at.

    JSON Schema core 2020-12, section 11.3; 2019-09 has the same. Dynamic references are refused by schemas.py.
    """
    if not isinstance(schema, dict):
        return set()
    names = {name for name in schema.get("properties", {}) if name in instance}
    names.update(name for name in instance if any(matches(each, name) for each in schema.get("patternProperties", {})))
    for keyword in ("additionalProperties", "unevaluatedProperties"):
        if keyword in schema:
            names.update(name for name, value in instance.items() if _fits(validator, value, schema[keyword]))
    if "$ref" in schema:
        found = validator._resolver.lookup(schema["$ref"])  # noqa: SLF001  # jsonschema's own keywords do so
        names |= _evaluated_names(
            validator.evolve(schema=found.contents, _resolver=found.resolver), instance, found.contents
        )
    for inner in _applied(validator, instance, schema):
        names |= _evaluated_names(validator, instance, inner)
    return names


def _applied(validator: Any, instance: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[Any]:
    """The schemas that hold of the same object, so that what they looked at counts."""
    for name, inner in schema.get("dependentSchemas", {}).items():
        if name in instance:
            yield inner
    for keyword in ("allOf", "anyOf", "oneOf"):
        yield from (inner for inner in schema.get(keyword, []) if _fits(validator, instance, inner))
    if "if" in schema:
        fits = _fits(validator, instance, schema["if"])
        if fits:
            yield schema["if"]
        yield schema.get("then" if fits else "else", True)


def _fits(validator: Any, value: Any, schema: Any) -> bool:
    return next(validator.descend(value, schema), None) is None


def _multiple_of(validator: Any, divisor: float, instance: Any, _: Any) -> Iterator[ValidationError]:
    # By what was written: 0.29 is no multiple of 0.01 as 64-bit floats go, and 19.99 / 0.01 is 1998.9999999999998.
    if validator.is_type(instance, "number") and (Fraction(repr(instance)) / Fraction(repr(divisor))).denominator != 1:
        yield ValidationError("is no multiple")


def _unique_items(validator: Any, rule: Any, instance: Any, _: Any) -> Iterator[ValidationError]:
    if rule and validator.is_type(instance, "array") and len(set(map(_text_of, instance))) < len(instance):
        yield ValidationError("has equal items")


def _text_of(value: Any) -> str:
    """The same text for values that are equal in JSON, as 1 and 1.0 are. Only numbers can be made to share a hash."""
    if isinstance(value, dict):
        members = sorted((json.dumps(name), _text_of(member)) for name, member in value.items())
        return f"{{{','.join(map(':'.join, members))}}}"
    if isinstance(value, list):
        return f"[{','.join(map(_text_of, value))}]"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else json.dumps(value)


def _has_a_form(*, only_one: bool) -> Any:
    def check(validator: Any, forms: list[Any], instance: Any, _: Any) -> Iterator[ValidationError]:
        # Descends from here and from no function beside: schemas.py counts on two frames for each form.
        left = enumerate(forms)
        all_errors: list[ValidationError] = []
        for index, form in left:
            errors = list(islice(validator.descend(instance, form, schema_path=index), MAX_ERRORS_OF_A_FORM))
            if not errors:
                break
            all_errors += errors
        else:
            yield ValidationError("has none of the forms", context=all_errors)
        for _index, form in left if only_one else ():
            if next(validator.descend(instance, form), None) is None:
                yield ValidationError("has several of the forms")
                return

    return check
