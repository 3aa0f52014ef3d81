"""What is wrong with a manifest, told to the person who must change it.

Decides the wording: one sentence with what is wrong and what to write instead, at the path of the field as manifests
spell it. Never repeats a value that somebody wrote, because it may be a secret; the names of fields are repeated.
"""

from __future__ import annotations

import difflib
import json
import typing
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Problem:
    """One wrong field: where it is, in the spelling of the manifest, and in one sentence what to write instead."""

    path: Path
    message: str

    @property
    def field(self) -> str:
        """The path as people write it: spec.headers[0].name"""
        steps = "".join(f"[{step}]" if isinstance(step, int) else f".{_shown(step)}" for step in self.path)
        return steps.removeprefix(".")

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.path else self.message


def _shown(name: str) -> str:
    """A name that somebody wrote: a terminal would obey what some hold, and a log would break off a line."""
    return name if name.isprintable() else json.dumps(name)


class Refused(ValueError):
    """Raised by the models' own validators: problems whose paths start at the model that is being validated."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


def explain(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """All problems of a validation of `model`, in the order in which its fields were checked."""
    return [problem for each in error.errors(include_url=False) for problem in _problems(each, model)]


def _problems(error: ErrorDetails, model: type[BaseModel]) -> list[Problem]:
    path = tuple(step for step in error["loc"] if step != "[key]")
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, Refused):
        return [Problem((*path, *each.path), each.message) for each in cause.problems]
    if isinstance(cause, ValueError):
        return [Problem(path, str(cause))]
    return [Problem(path, _message(error, path, model))]


def _message(error: ErrorDetails, path: Path, model: type[BaseModel]) -> str:
    match error["type"]:
        case "missing":
            return _missing(path, model)
        case "extra_forbidden":
            return _unknown(path, model)
        case "literal_error":
            return _not_a_choice(error)
        case "int_type" if isinstance(error["input"], float):
            return "must be a whole number; write it without a decimal part"
        case other:
            template = _MESSAGES.get(other, "is not understood; see the description of the field")
            return template.format(**error.get("ctx", {}), was=_named(error["input"]))


_MESSAGES = {
    "string_type": 'must be text, not {was}; write it in quotes: "…"',
    "int_type": "must be a whole number, not {was}; write digits without quotes",
    "bool_type": "must be true or false, not {was}; write true or false without quotes",
    "tuple_type": "must be a list, not {was}; write one entry a line, each after a dash",
    "dict_type": "must be a mapping, not {was}; write its fields below it, indented, as name: value",
    "model_type": "must be a mapping, not {was}; write its fields below it, indented, as name: value",
    "invalid_key": "must have text as its name; write the name in quotes",
    "string_too_short": "must not be empty; write at least {min_length} character, or leave the field out",
    "string_too_long": "must be no longer than {max_length} characters; write a shorter text",
    "too_short": "must have at least {min_length} entries; write more of them",
    "too_long": "must have at most {max_length} entries; leave some out",
    "greater_than_equal": "must be at least {ge}; write {ge} or more",
    "less_than_equal": "must be at most {le}; write {le} or less",
}


def _missing(path: Path, model: type[BaseModel]) -> str:
    field = _field(_model_at(path[:-1], model), path[-1])
    if field is None:
        return "is required"
    example = json.dumps(field.examples[0]).strip('"') if field.examples else "…"
    return f"is required: {_clause(field.description)}; write {path[-1]}: {example}"


def _unknown(path: Path, model: type[BaseModel]) -> str:
    owner = _model_at(path[:-1], model)
    place = Problem((model.__name__, *path[:-1]), "").field
    names = [field.alias or name for name, field in owner.model_fields.items()] if owner else []
    by_letters = {_letters(name): name for name in names}
    near = difflib.get_close_matches(_letters(str(path[-1])), by_letters, n=1)
    if near:
        return f"is not a field of {place}; did you mean {by_letters[near[0]]}?"
    return f"is not a field of {place}; its fields are {', '.join(names)}"


def _not_a_choice(error: ErrorDetails) -> str:
    expected = str(error["ctx"]["expected"]).replace("'", "")
    return f"must be {expected}; write it in just this spelling"


def _letters(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


def _clause(description: str | None) -> str:
    """The first sentence of a description, to stand inside another sentence."""
    sentence = (description or "…").split(". ")[0].rstrip(".")
    return sentence if sentence[:2].isupper() else sentence[0].lower() + sentence[1:]


def _named(value: Any) -> str:
    """The kind of a value in the words of YAML, without the value."""
    match value:
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list() | tuple():
            return "a list"
        case dict():
            return "a mapping"
        case None:
            return "nothing"
        case _:
            return "a date or another kind of value"


def _model_at(path: Path, model: type[BaseModel]) -> type[BaseModel] | None:
    found: type[BaseModel] | None = model
    for step in path:
        if isinstance(step, str) and found is not None:
            field = _field(found, step)
            found = None if field is None else _model_in(field.annotation)
    return found


def _field(model: type[BaseModel] | None, alias: str | int) -> FieldInfo | None:
    fields = model.model_fields if model else {}
    return next((field for name, field in fields.items() if alias == (field.alias or name)), None)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model in `Model`, `Model | None` or `tuple[Model, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for each in typing.get_args(annotation) if (found := _model_in(each))), None)
