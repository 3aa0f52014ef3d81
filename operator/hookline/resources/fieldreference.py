"""docs/fields.md: every field of the resources, from the schemas of their CRDs. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]

_HEAD = """# Fields

What may be written into each resource, and what its status says. `kubectl explain webhook.spec` says the same.
Required fields are marked with *. Made by `make generate` from the models; change those, not this page.
"""


def page(crds: Iterable[Schema]) -> str:
    """The whole page, one table for each kind's spec and one for its status."""
    return _HEAD + "".join(_section(crd) for crd in crds)


def _section(crd: Schema) -> str:
    kind = crd["spec"]["names"]["kind"]
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    text = f"\n## {kind}\n\n{schema.get('description', '')}\n"
    for part in ("spec", "status"):
        if part in schema["properties"]:
            rows = "\n".join(_rows(schema["properties"][part], part))
            text += f"\n| field | type | default | meaning |\n| --- | --- | --- | --- |\n{rows}\n"
    return text


def _rows(schema: Schema, path: str) -> Iterator[str]:
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        here = f"{path}.{name}"
        mark = "*" if name in required else ""
        default = _code(field["default"]) if field.get("default", "") != "" else ""
        yield f"| `{here}`{mark} | {_type(field)} | {default} | {_cell(field.get('description', ''))} |"
        yield from _rows(field, here)
        yield from _rows(field.get("items", {}), f"{here}[]")


def _type(field: Schema) -> str:
    if "enum" in field:
        return _cell(" or ".join(_code(each) for each in field["enum"]))
    if "items" in field:
        return f"list of {_type(field['items'])}"
    if field.get("x-kubernetes-int-or-string"):
        return "integer or string"
    if "additionalProperties" in field and isinstance(field["additionalProperties"], Mapping):
        return f"map of {_type(field['additionalProperties'])}"
    bounds = _bounds(field)
    return f"{field.get('type', 'any')}{f', {bounds}' if bounds else ''}"


def _bounds(field: Schema) -> str:
    low, high = field.get("minimum"), field.get("maximum")
    if low is not None and high is not None:
        return f"{low} to {high}"
    return f"at least {low}" if low is not None else f"at most {high}" if high is not None else ""


def _code(value: object) -> str:
    return f"`{json.dumps(value, ensure_ascii=False)}`" if not isinstance(value, str) else f"`{value}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
