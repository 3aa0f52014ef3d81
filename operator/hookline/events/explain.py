"""How a problem of a JSON document is told: the place in it, and what the rule asks for.

Decides the wording for each keyword of JSON Schema, which problems are shown, and how their places are written: for
people, and as a JSON Pointer for programs. Never repeats a value of the document, because bodies are personal data and
jsonschema's own messages quote them; names of fields, types and what the schema itself says are told.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, NamedTuple

from jsonschema.exceptions import ValidationError, best_match

from hookline.events.keywords import unknown_names

MAX_PROBLEMS = 10

NOT_JSON = "json"
"""The rule of what is no strict JSON. No keyword of JSON Schema is called so."""

NO_SCHEMA = "schema"
"""The rule of what keeps a schema from being used, and of a body that cannot be checked because of it."""

HALF_A_PAIR = re.compile("[\ud800-\udfff]")
"""Finds half of a surrogate pair, which is no character: it cannot be written in UTF-8."""

_MAX_QUOTED = 80
_MAX_NAME = 40
_MAX_PLACE = 200
_MAX_POINTER = 256
_MAX_FORMS = 3
_PLAIN_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_$-]*")

Path = tuple[str | int, ...]


class Finding(NamedTuple):
    """What a check found: where, the rule that is broken, and what to say. The path to a missing field has its name."""

    path: Path
    rule: str
    message: str


@dataclass(frozen=True)
class BodyProblem:
    """One thing that is wrong with a body or a schema.

    `place` is for people: a JSON path such as `$.Visitors[0].Email`, shortened, in ASCII. `pointer` says the same to
    programs, as a JSON Pointer (see `pointer`). Of a missing field `place` names the field, but `pointer` the object
    that lacks it: a pointer must lead to something (RFC 6901, section 4), and JSON Schema says the object as well
    (`instanceLocation`; core 2020-12, section 12.3.2). `rule` is the keyword of JSON Schema that is broken, or NOT_JSON
    or NO_SCHEMA. `refuses` is False where the event type only warns.
    """

    place: str
    pointer: str
    rule: str
    message: str
    refuses: bool = True


def to_problems(findings: Iterable[Finding], *, refuses: bool = True) -> tuple[BodyProblem, ...]:
    """The findings without repetition, in the order of their places, at most MAX_PROBLEMS of them."""
    found = set(findings)
    if not found:  # as of nearly all bodies
        return ()
    ordered = sorted(found, key=lambda finding: ([_order(step) for step in finding.path], finding.message))
    return tuple(_problem(finding, refuses) for finding in ordered[:MAX_PROBLEMS])


def pointer(path: Path) -> str:
    """`("Visitors", 0, "a/b")` as `/Visitors/0/a~1b`, a JSON Pointer (RFC 6901, section 3).

    It ends before the first name that makes it longer than 256 characters, or that has half of a surrogate pair, so
    that it always leads to a value that is there. Names are not made safe to print: write it as JSON in ASCII.
    """
    text = ""
    for step in map(str, path):
        longer = f"{text}{pointer_step(step)}"
        if len(longer) > _MAX_POINTER or HALF_A_PAIR.search(step):
            break
        text = longer
    return text


def pointer_step(step: str) -> str:
    """One step of a JSON Pointer, `a/b` as `/a~1b` (RFC 6901, section 3)."""
    return f"/{step.replace('~', '~0').replace('/', '~1')}"


def place(path: Path) -> str:
    """`("Visitors", 0, "Email")` as `$.Visitors[0].Email`. Long names and long paths are shortened."""
    text = "$" + "".join(map(_step, path))
    return text if len(text) <= _MAX_PLACE else f"{text[: _MAX_PLACE // 2]}…{text[-_MAX_PLACE // 2 :]}"


def quoted(text: str) -> str:
    """The text in quotes, shortened, and with escapes for all that a terminal could obey."""
    return json.dumps(shortened(text, _MAX_NAME))


def shortened(text: str, limit: int = _MAX_QUOTED) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


NEAREST_CHARACTERS = 100
"""Of a name for which near ones are looked for."""


def nearest(name: str, known: Iterable[str]) -> tuple[str, ...]:
    """Up to three of the known names that resemble this one in any case, the best first."""
    spelling = {each.lower(): each for each in known}
    return tuple(spelling[each] for each in get_close_matches(name[:NEAREST_CHARACTERS].lower(), spelling))


def explained(error: ValidationError) -> Iterator[Finding]:
    """What an error of jsonschema says about the document, in our words. One error may concern several fields."""
    best: Any = best_match([error])  # Any, because the stubs say of each attribute that it may not be set
    path, keyword = tuple(best.absolute_path), best.validator
    if keyword == "required":
        for name in best.validator_value:
            if name not in best.instance:
                yield Finding((*path, name), keyword, "is required but missing")
    elif keyword == "additionalProperties":
        for name in sorted(unknown_names(best.instance, best.schema))[:MAX_PROBLEMS]:
            yield Finding((*path, name), keyword, _unknown(name, best.schema.get("properties", {})))
    elif _is_about_a_name(best):
        yield Finding(path, "propertyNames", f"has a name that {_rule(best)}")
    else:
        yield Finding(path, keyword, _rule(best))


def _problem(finding: Finding, refuses: bool) -> BodyProblem:
    path = finding.path
    there = path[:-1] if finding.rule == "required" else path
    return BodyProblem(place(path), pointer(there), finding.rule, finding.message, refuses)


def _order(step: str | int) -> tuple[int, int | str]:
    return (0, step) if isinstance(step, int) else (1, step)


def _step(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    return f".{step}" if len(step) <= _MAX_NAME and _PLAIN_NAME.fullmatch(step) else f"[{quoted(step)}]"


def _unknown(name: str, known: Iterable[str]) -> str:
    meant = nearest(name, known)
    return f"is not a field of this schema; did you mean {meant[0]}?" if meant else "is not a field of this schema"


def _is_about_a_name(error: Any) -> bool:
    """Whether the rule stands directly in `propertyNames`, where the instance is a name and the path its object."""
    above = list(error.absolute_schema_path)[:-1]
    return above[-1:] == ["propertyNames"] and above[-2:-1] != ["properties"]


_TYPES = {
    "array": "an array",
    "boolean": "true or false",
    "integer": "an integer",
    "null": "null",
    "number": "a number",
    "object": "an object",
    "string": "a string",
}
_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "true or false"),
    ((int, float), "a number"),
    (str, "a string"),
    (list, "an array"),
    (dict, "an object"),
)
_FORMATS = {
    "date": "a date such as 2026-04-29",
    "date-time": "a date and time such as 2026-04-29T16:05:48Z",
    "email": "an email address",
    "uuid": "a UUID",
}


def _kind(value: object) -> str:
    return next((name for kind, name in _KINDS if isinstance(value, kind)), "null")


def _types(rule: str | list[str]) -> str:
    return " or ".join(_TYPES.get(name, name) for name in ([rule] if isinstance(rule, str) else rule))


def _literals(values: list[object]) -> str:
    return shortened(", ".join(json.dumps(value, ensure_ascii=False) for value in values))


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


# Only what the schema says goes into these texts: the argument is the value of the keyword, never of the document.
_RULES: dict[str, Callable[[Any], str]] = {
    "enum": lambda rule: f"must be one of {_literals(rule)}",
    "const": lambda rule: f"must be {_literals([rule])}",
    "format": lambda rule: f"must be {_FORMATS.get(rule, f'a valid {rule}')}",
    "pattern": lambda rule: f"must match the pattern {shortened(rule)}",
    "minLength": lambda rule: "must not be empty" if rule == 1 else f"must have at least {_count(rule, 'character')}",
    "maxLength": lambda rule: f"must have at most {_count(rule, 'character')}",
    "minItems": lambda rule: f"must have at least {_count(rule, 'item')}",
    "maxItems": lambda rule: f"must have at most {_count(rule, 'item')}",
    "uniqueItems": lambda _: "must not have two equal items",
    "contains": lambda _: "lacks an item of the form that the schema asks for",
    "minContains": lambda rule: f"must have at least {_count(rule, 'item')} of the form that the schema asks for",
    "maxContains": lambda rule: f"must have at most {_count(rule, 'item')} of the form that the schema asks for",
    "items": lambda _: "has more items than the schema allows",
    "additionalItems": lambda _: "has more items than the schema allows",
    "unevaluatedItems": lambda _: "has items that the schema does not allow",
    "unevaluatedProperties": lambda _: "has fields that the schema does not allow",
    "minProperties": lambda rule: f"must have at least {_count(rule, 'field')}",
    "maxProperties": lambda rule: f"must have at most {_count(rule, 'field')}",
    "dependentRequired": lambda _: "has a field that requires another one, which is missing",
    "dependencies": lambda _: "has a field that requires another one, which is missing",
    "minimum": lambda rule: f"must be at least {rule}",
    "maximum": lambda rule: f"must be at most {rule}",
    "exclusiveMinimum": lambda rule: f"must be more than {rule}",
    "exclusiveMaximum": lambda rule: f"must be less than {rule}",
    "multipleOf": lambda rule: f"must be a multiple of {rule}",
    "anyOf": lambda _: "has none of the forms that the schema allows",
    "oneOf": lambda _: "must have exactly one of the forms that the schema allows",
    "not": lambda rule: "has a form that the schema forbids" if rule else "is forbidden by the schema",
}


def _forms(errors: list[Any]) -> str:
    """What each of a few simple forms asks for; nothing when they are many, or reach into fields and items."""
    simple = all(not each.path and each.validator in {"type", *_RULES} and not each.context for each in errors)
    return "; or ".join(dict.fromkeys(map(_rule, errors))) if simple and len(errors) <= _MAX_FORMS else ""


def _rule(error: Any) -> str:
    """What the broken rule asks for, as the end of a sentence that starts with the place."""
    keyword, rule = error.validator, error.validator_value
    if keyword == "type":
        return f"must be {_types(rule)}, but is {_kind(error.instance)}"
    if keyword in ("anyOf", "oneOf") and (forms := _forms(error.context)):
        return forms
    if keyword in ("minimum", "maximum") and error.schema.get(f"exclusive{keyword.capitalize()}") is True:
        keyword = f"exclusive{keyword.capitalize()}"  # draft-04 has a flag beside the limit
    return _RULES[keyword](rule) if keyword in _RULES else f'breaks the rule "{shortened(keyword)}" of the schema'
