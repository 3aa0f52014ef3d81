"""How one rule of a field is stated: once, for the check in code and for the API server.

Decides nothing about any field; it only keeps the two statements together.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from hookline.resources.problems import Problem, Refused

_SELF = re.compile(r"\bself\b")

CONFIDENTIAL = "x-hookline-confidential"
"""Marks the schema of a text that must not come back in an answer of the API server. Not part of a CRD."""


def cel(rule: str, message: str, field_path: str | None = None, reason: str = "FieldValueInvalid") -> dict[str, Any]:
    """One entry of `x-kubernetes-validations`. `field_path` is relative to the place of the rule, as in ".value"."""
    path = {} if field_path is None else {"fieldPath": field_path}
    return {"rule": rule, "message": message, "reason": reason, **path}


@dataclass(frozen=True)
class TextRule:
    """One rule of a text, as a regular expression that Python and the API server (RE2) understand alike.

    Without `refuses` the whole text must match. With `refuses` no part of it may. With `when` the rule is for texts
    only that match this pattern as a whole, so that one mistake is not told in several ways. The API server repeats
    a refused text in its answer, unless the rule is `confidential`. Use it in `Annotated[str, ...]`.
    """

    message: str
    pattern: str
    refuses: bool = False
    when: str | None = None
    confidential: bool = False

    def holds(self, text: str) -> bool:
        if self.when is not None and re.fullmatch(self.when, text) is None:
            return True
        if self.refuses:
            return re.search(self.pattern, text) is None
        return re.fullmatch(self.pattern, text) is not None

    def cel(self) -> dict[str, Any]:
        rule = f"!{_matches(self.pattern)}" if self.refuses else _matches(f"^(?:{self.pattern})$")
        if self.when is not None:
            rule = f"!{_matches(f'^(?:{self.when})$')} || {rule}"
        return cel(rule, self.message)

    def _checked(self, text: str) -> str:
        if not self.holds(text):
            raise ValueError(self.message)
        return text

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return with_cel(handler(schema), self.cel(), confidential=self.confidential)


@dataclass(frozen=True, eq=False)  # compared by identity: pydantic hashes it, and the rules are dicts
class Checked:
    """A rule that takes more than a regular expression: `problem` for code, `rules` for the API server.

    `problem` returns what is wrong and what to write instead, or None. `confidential` as in TextRule. Use it in
    `Annotated[str, ...]`.
    """

    problem: Callable[[str], str | None]
    rules: tuple[dict[str, Any], ...]
    confidential: bool = False

    def _checked(self, text: str) -> str:
        problem = self.problem(text)
        if problem is not None:
            raise ValueError(problem)
        return text

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return with_cel(handler(schema), *self.rules, confidential=self.confidential)


@dataclass(frozen=True)
class Distinct:
    """Entries of a list must differ, in `key` if it is given: Kubernetes' list types map and set.

    Use it in `Annotated[tuple[...], ...]`.
    """

    key: str | None = None

    def _checked(self, entries: tuple[Any, ...]) -> tuple[Any, ...]:
        seen: set[Any] = set()
        for index, entry in enumerate(entries):
            identity = entry if self.key is None else getattr(entry, self.key)
            if identity in seen:
                raise Refused(Problem((index,), "must not repeat an earlier entry; leave it out"))
            seen.add(identity)
        return entries

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        if self.key is None:
            return {**handler(schema), "x-kubernetes-list-type": "set"}
        return {**handler(schema), "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [self.key]}


def with_cel(schema: dict[str, Any], *rules: dict[str, Any], confidential: bool = False) -> dict[str, Any]:
    mark = {CONFIDENTIAL: True} if confidential else {}
    return {**schema, **mark, "x-kubernetes-validations": [*schema.get("x-kubernetes-validations", []), *rules]}


def lifted(rule: dict[str, Any], name: str, *, required: bool) -> dict[str, Any]:
    """A rule of the field `name` as a rule of the object that holds it: the API server repeats no object."""
    inner = _SELF.sub(f"self.{name}", rule["rule"])
    return {**rule, "rule": inner if required else f"!has(self.{name}) || ({inner})", "fieldPath": f".{name}"}


def of_keys(names: dict[str, Any]) -> list[dict[str, Any]]:
    """The rules and bounds of a map's keys as rules of the map; a structural schema has no other place for them."""
    bounds = [
        cel(f"size(self) {sign} {names[bound]}", f"must have keys of {words} {names[bound]} characters")
        for bound, sign, words in (("minLength", ">=", "at least"), ("maxLength", "<=", "at most"))
        if bound in names
    ]
    return [
        {**rule, "rule": f"self.all(key, {_SELF.sub('key', rule['rule'])})"}
        for rule in (*bounds, *names.get("x-kubernetes-validations", []))
    ]


def _matches(pattern: str) -> str:
    return f"self.matches({json.dumps(pattern)})"
