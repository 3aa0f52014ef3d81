"""A JSON Schema as parts that can be compared, whatever its draft.

Decides what the keywords of a schema are: those that its draft knows, in one spelling for all drafts, each inner schema
with its place. Never judges a value; only for schemas that can be used (schemas.check_schema).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import unquote

from hookline.events.explain import Path
from hookline.events.schemas import draft_uri, validator_of

_WITH_SIBLINGS = ("2019-09", "2020-12")
"""Drafts in which keywords beside `$ref` count, and items that are contained can be counted."""


class Document:
    def __init__(self, content: dict[str, Any]) -> None:
        uri = str(draft_uri(content))
        self.content = content
        self.draft = uri.rstrip("#")
        self.ignores_beside_reference = not any(each in uri for each in _WITH_SIBLINGS)
        self.validator = validator_of(content)
        self.known = {*self.validator.VALIDATORS, *_READ_BY_OTHERS}
        # A schema with an id of its own changes what references within it mean.
        self.has_ids = _has_ids(content)
        self.root = Schema(self, content, ())

    def resolved(self, reference: object) -> Schema | None:
        """The schema at a JSON Pointer of this document; None for references of any other sort."""
        if not isinstance(reference, str) or self.has_ids or not (reference == "#" or reference.startswith("#/")):
            return None
        node: Any = self.content
        path: list[str | int] = []
        for step in unquote(reference[1:]).split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            if isinstance(node, dict) and name in node:
                node = node[name]
                path.append(name)
            elif isinstance(node, list) and name.isascii() and name.isdigit() and int(name[:9]) < len(node):
                node = node[int(name)]
                path.append(int(name))
            else:
                return None
        return Schema(self, node, tuple(path)) if isinstance(node, dict | bool) else None


@dataclass(frozen=True, slots=True, eq=False)
class Schema:
    document: Document
    node: dict[str, Any] | bool
    path: Path

    @property
    def key(self) -> tuple[int, int]:
        return id(self.document), id(self.node)

    def at(self, *steps: str | int) -> Schema:
        node: Any = self.node
        for step in steps:
            node = node[step]
        return Schema(self.document, node, (*self.path, *steps))


Schemas: TypeAlias = tuple[Schema, ...]


@dataclass(slots=True)
class View:
    """The keywords of one schema that its draft knows, written alike for all drafts."""

    schema: Schema
    rules: dict[str, Any]
    """Whose value is no schema: numbers, texts, lists of names; `const` as an `enum` of one."""
    properties: dict[str, Schema] = field(default_factory=dict)
    patterns: dict[str, Schema] = field(default_factory=dict)
    dependent: dict[str, Schema] = field(default_factory=dict)
    lists: dict[str, Schemas] = field(default_factory=dict)
    """`allOf`, `anyOf`, `oneOf`."""
    inner: dict[str, Schema] = field(default_factory=dict)
    """Keywords that hold one schema."""
    prefix: Schemas = ()
    rest: Schema | None = None
    """Of items behind the prefix."""


# In jsonschema these are no keywords, but looked at by the one beside which they stand.
_READ_BY_OTHERS = ("then", "else", "minContains", "maxContains", "exclusiveMinimum", "exclusiveMaximum")
_OF_SCHEMAS = {"properties": "properties", "patternProperties": "patterns", "dependentSchemas": "dependent"}
_LISTS = ("allOf", "anyOf", "oneOf")
_INNER = ("additionalProperties", "propertyNames", "contains", "not", "if", "then", "else")
_UNEVALUATED = ("unevaluatedProperties", "unevaluatedItems")


def view_of(schema: Schema) -> View:
    assert isinstance(schema.node, dict)
    document = schema.document
    node = {name: value for name, value in schema.node.items() if name in document.known}
    if "$ref" in node and document.ignores_beside_reference:
        return View(schema, {"$ref": node["$ref"]})
    view = View(schema, {})
    for keyword, value in node.items():
        if keyword in _OF_SCHEMAS:
            getattr(view, _OF_SCHEMAS[keyword]).update({name: schema.at(keyword, name) for name in value})
        elif keyword in _LISTS:
            view.lists[keyword] = tuple(schema.at(keyword, index) for index in range(len(value)))
        elif keyword in _INNER or keyword in _UNEVALUATED:
            view.inner[keyword] = schema.at(keyword)
        elif keyword == "const":
            view.rules["enum"] = [value]
        elif keyword == "dependencies":
            _split_dependencies(view, value)
        elif keyword not in ("items", "prefixItems", "additionalItems", "enum"):
            view.rules[keyword] = value
    if "enum" in node:
        view.rules.setdefault("enum", node["enum"])
    _read_items(view, node)
    _read_limits(view.rules)
    return view


def _split_dependencies(view: View, value: Mapping[str, Any]) -> None:
    for name, needed in value.items():
        if isinstance(needed, list):
            view.rules.setdefault("dependentRequired", {})[name] = needed
        else:
            view.dependent[name] = view.schema.at("dependencies", name)


def _read_items(view: View, node: Mapping[str, Any]) -> None:
    items, schema = node.get("items"), view.schema
    if isinstance(items, list):
        view.prefix = tuple(schema.at("items", index) for index in range(len(items)))
        view.rest = schema.at("additionalItems") if "additionalItems" in node else None
        return
    if "prefixItems" in node:
        view.prefix = tuple(schema.at("prefixItems", index) for index in range(len(node["prefixItems"])))
    view.rest = schema.at("items") if "items" in node else None


def _read_limits(rules: dict[str, Any]) -> None:
    """In draft-04 the exclusive limits are flags."""
    for limit, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(rules.get(exclusive), bool) and rules.pop(exclusive) and limit in rules:
            rules[exclusive] = rules.pop(limit)


def contained(view: View) -> tuple[float, float | None]:
    """How many items a schema wants of the form that it asks for, at least and at most."""
    if not any(each in view.schema.document.draft for each in _WITH_SIBLINGS):
        return 1, None
    return view.rules.get("minContains", 1), view.rules.get("maxContains")


def _has_ids(content: Mapping[str, Any]) -> bool:
    todo: list[Any] = list(content.values())
    while todo:
        each = todo.pop()
        if isinstance(each, dict):
            if isinstance(each.get("$id"), str) or isinstance(each.get("id"), str):
                return True
            todo.extend(each.values())
        elif isinstance(each, list):
            todo.extend(each)
    return False
