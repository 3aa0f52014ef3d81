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


def cel(rule: str, message: str, field_path: str | None = None, reason: str = "FieldValueInvalid") -> dict[str, Any]:
    """One entry of `x-kubernetes-validations`. `field_path` is relative to the place of the rule, as in ".value"."""
    path = {} if field_path is None else {"fieldPath": field_path}
    return {"rule": rule, "message": message, "reason": reason, **path}


@dataclass(frozen=True)
class TextRule:
    """One rule of a text, as a regular expression that Python and the API server (RE2) understand alike.

    Without `refuses` the whole text must match. With `refuses` no part of it may. Use it in `Annotated[str, ...]`.
    """

    message: str
    pattern: str
    refuses: bool = False

    def holds(self, text: str) -> bool:
        if self.refuses:
            return re.search(self.pattern, text) is None
        return re.fullmatch(self.pattern, text) is not None

    def cel(self) -> dict[str, Any]:
        quoted = json.dumps(self.pattern if self.refuses else f"^(?:{self.pattern})$")
        return cel(f"{'!' if self.refuses else ''}self.matches({quoted})", self.message)

    def _checked(self, text: str) -> str:
        if not self.holds(text):
            raise ValueError(self.message)
        return text

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return with_cel(handler(schema), self.cel())


@dataclass(frozen=True, eq=False)  # compared by identity: pydantic hashes it, and the rules are dicts
class Checked:
    """A rule that takes more than a regular expression: `problem` for code, `rules` for the API server.

    `problem` returns what is wrong and what to write instead, or None. Use it in `Annotated[str, ...]`.
    """

    problem: Callable[[str], str | None]
    rules: tuple[dict[str, Any], ...]

    def _checked(self, text: str) -> str:
        problem = self.problem(text)
        if problem is not None:
            raise ValueError(problem)
        return text

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return with_cel(handler(schema), *self.rules)


def with_cel(schema: dict[str, Any], *rules: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "x-kubernetes-validations": [*schema.get("x-kubernetes-validations", []), *rules]}
