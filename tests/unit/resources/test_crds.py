from __future__ import annotations

import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from hookline import generate
from hookline.resources import crds
from hookline.resources.crds import KINDS, CrdKind
from hookline.resources.url import URL_RULES

ROOT = Path(__file__).parents[3]
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.plural)


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from nodes(inner, f"{path}.{name}")
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            yield from nodes(schema[name], f"{path}[]")


def spec_nodes(kind: CrdKind) -> list[tuple[str, dict[str, Any]]]:
    properties = crds.root_schema(kind.model)["properties"]
    return [*nodes(properties["spec"], "spec"), *nodes(properties["status"], "status")]


def test_generated_files_are_current() -> None:
    assert generate.stale() == []


@each_kind
def test_every_field_is_described(kind: CrdKind) -> None:
    assert [path for path, node in spec_nodes(kind) if not path.endswith("[]") and not node.get("description")] == []


@each_kind
def test_every_string_list_map_and_number_is_bounded(kind: CrdKind) -> None:
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
def test_the_schema_is_structural(kind: CrdKind) -> None:
    for path, node in spec_nodes(kind):
        # What takes any JSON has no type: the API server asks for one of the two.
        assert "type" in node or node.get("x-kubernetes-preserve-unknown-fields"), path
        assert not {"$ref", "anyOf", "oneOf", "title", "examples", "const", "propertyNames"} & node.keys(), path


@each_kind
def test_the_crd_has_just_the_fields_of_the_models_with_their_defaults_and_bounds(kind: CrdKind) -> None:
    properties = crds.root_schema(kind.model)["properties"]
    for name in ("spec", "status"):
        agree(properties[name], kind.model.model_fields[name], name)


def agree(there: dict[str, Any], field: FieldInfo, path: str) -> None:
    """Whether a schema says of a field what its model says, down to the last field below it."""
    default = None if field.is_required() else field.get_default()
    assert there.get("default") == to_jsonable_python(default, by_alias=True, exclude_none=True), path
    bounds_agree(there, [*field.metadata, *beside_the_type(field.annotation)], path)
    model = model_of(field.annotation)
    if model is None:
        return
    node = there.get("items", there)
    fields = {inner.alias or name: inner for name, inner in model.model_fields.items()}
    assert node["properties"].keys() == fields.keys(), path
    assert set(node.get("required", [])) == {name for name, inner in fields.items() if inner.is_required()}, path
    for name, inner in fields.items():
        agree(node["properties"][name], inner, f"{path}.{name}")


def bounds_agree(there: dict[str, Any], metadata: list[Any], path: str) -> None:
    names = {"string": "Length", "array": "Items", "object": "Properties"}
    for bound in metadata:
        for attribute, key in (("ge", "minimum"), ("le", "maximum"), ("min_length", "min"), ("max_length", "max")):
            if hasattr(bound, attribute):
                key = key if attribute in ("ge", "le") else key + names[there["type"]]
                assert there[key] == getattr(bound, attribute), (path, key)


def beside_the_type(annotation: Any) -> list[Any]:
    """What stands beside the type in `Annotated[…] | None`."""
    if typing.get_origin(annotation) is typing.Annotated:
        beside = typing.get_args(annotation)[1:]
        return [inner for each in beside for inner in (each.metadata if isinstance(each, FieldInfo) else [each])]
    optional = type(None) in typing.get_args(annotation)
    return [inner for each in typing.get_args(annotation) for inner in beside_the_type(each)] if optional else []


def model_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for each in typing.get_args(annotation) if (found := model_of(each))), None)


@each_kind
def test_no_answer_of_the_api_server_repeats_a_text_that_may_hold_a_secret(kind: CrdKind) -> None:
    text = crds.crd_files()[f"hookline.dev_{kind.plural}.yaml"]
    assert "x-hookline" not in text
    for path, node in spec_nodes(kind):
        if path in ("spec.url", "spec.headers[].value", "spec.nats.url"):
            # A rule or a pattern of a text is answered with the text; a rule of the object around it is not.
            assert not {"x-kubernetes-validations", "pattern", "enum"} & node.keys(), path


def test_the_rules_of_such_texts_are_with_the_object_around_them() -> None:
    found = dict(spec_nodes(KINDS[0]))
    rules = {
        path: [rule["rule"] for rule in found[path]["x-kubernetes-validations"] if rule.get("fieldPath") == field]
        for path, field in (("spec", ".url"), ("spec.headers[]", ".value"))
    }
    assert len(rules["spec"]) == len(URL_RULES.rules)
    assert all("self.url" in rule for rule in rules["spec"])
    assert all(rule.startswith("!has(self.value) || ") for rule in rules["spec.headers[]"])


@each_kind
def test_no_rule_has_the_reason_for_which_the_api_server_leaves_out_the_message(kind: CrdKind) -> None:
    for _, node in nodes(crds.root_schema(kind.model)):
        for rule in node.get("x-kubernetes-validations", []):
            assert rule["reason"] in ("FieldValueInvalid", "FieldValueRequired", "FieldValueForbidden"), rule


@each_kind
def test_every_cel_rule_has_a_message_that_says_what_must_be(kind: CrdKind) -> None:
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


def test_rules_of_the_keys_of_a_map_are_with_the_map() -> None:
    found = dict(spec_nodes(KINDS[2]))
    for path in ("spec.resources.limits", "spec.servedNamespaces.selector.matchLabels"):
        assert any(
            rule["rule"].startswith("self.all(key, key.matches(") for rule in found[path]["x-kubernetes-validations"]
        )


def _arrays(schema: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(schema, list):
        schema = dict(enumerate(schema))
    if isinstance(schema, dict):
        if schema.get("type") == "array":
            yield path, schema["items"]
        for key, value in schema.items():
            yield from _arrays(value, f"{path}.{key}")


@pytest.mark.parametrize("file", sorted((ROOT / "crds").glob("*.yaml")), ids=lambda file: file.stem)
def test_the_items_of_every_list_say_what_they_are(file: Path) -> None:
    found = dict(_arrays(yaml.safe_load(file.read_text()), ""))
    assert found
    assert [path for path, items in found.items() if not items.get("description")] == []
