from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from hookline import crds, generate
from hookline.crds import KINDS, Kind

ROOT = Path(__file__).parents[2]
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.plural)


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from nodes(inner, f"{path}.{name}")
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            yield from nodes(schema[name], f"{path}[]")


def spec_nodes(kind: Kind) -> list[tuple[str, dict[str, Any]]]:
    properties = crds.root_schema(kind.model)["properties"]
    return [*nodes(properties["spec"], "spec"), *nodes(properties["status"], "status")]


def test_generated_files_are_current() -> None:
    assert generate.stale() == []


@each_kind
def test_every_field_is_described(kind: Kind) -> None:
    assert [path for path, node in spec_nodes(kind) if not path.endswith("[]") and not node.get("description")] == []


@each_kind
def test_every_string_list_map_and_number_is_bounded(kind: Kind) -> None:
    for path, node in spec_nodes(kind):
        match node.get("type"):
            case "string":
                assert "maxLength" in node or "enum" in node, path
            case "array":
                assert "maxItems" in node, path
            case "object" if "additionalProperties" in node or node.get("x-kubernetes-preserve-unknown-fields"):
                assert "maxProperties" in node, path
            case "integer" if path.startswith("spec"):
                assert {"minimum", "maximum"} <= node.keys(), path


@each_kind
def test_the_schema_is_structural(kind: Kind) -> None:
    for path, node in spec_nodes(kind):
        assert "type" in node, path
        assert not {"$ref", "anyOf", "oneOf", "title", "examples", "const", "propertyNames"} & node.keys(), path


@each_kind
def test_the_crd_has_just_the_fields_of_the_model_and_their_defaults(kind: Kind) -> None:
    spec = kind.model.model_fields["spec"].annotation
    assert isinstance(spec, type)
    assert issubclass(spec, BaseModel)
    there = crds.root_schema(kind.model)["properties"]["spec"]
    fields = {field.alias or name: field for name, field in spec.model_fields.items()}
    assert there["properties"].keys() == fields.keys()
    assert set(there.get("required", [])) == {name for name, field in fields.items() if field.is_required()}
    for name, field in fields.items():
        if isinstance(field.default, str | int | bool):
            assert there["properties"][name]["default"] == field.default


@each_kind
def test_every_cel_rule_has_a_message_that_says_what_must_be(kind: Kind) -> None:
    for path, node in nodes(crds.root_schema(kind.model)):
        for rule in node.get("x-kubernetes-validations", []):
            assert "must" in rule["message"] or "is required" in rule["message"], (path, rule)


def test_no_column_shows_a_url_because_its_query_may_be_secret() -> None:
    for kind in KINDS:
        assert not any(path.startswith(".spec.url") for _, _, path, _ in kind.columns)


def test_the_files_are_yaml_of_one_crd_each() -> None:
    for name, text in crds.crd_files().items():
        definition = yaml.safe_load(text)
        assert definition["kind"] == "CustomResourceDefinition"
        assert name == f"hookline.dev_{definition['spec']['names']['plural']}.yaml"
    assert len(list((ROOT / "crds").glob("*.yaml"))) == len(KINDS)


def test_an_unseen_webhook_is_not_taken_for_ready_by_kstatus() -> None:
    for kind in KINDS:
        status = crds.root_schema(kind.model)["properties"]["status"]
        assert status["default"]["observedGeneration"] == -1
