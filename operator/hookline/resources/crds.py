"""CustomResourceDefinitions, made from the models: the same fields, rules, defaults and limits, said to the API server.

Decides how a model becomes a structural schema, and what `kubectl get` shows. Writes no files; generate.py does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from hookline.resources.base import GROUP, VERSION, Resource
from hookline.resources.dispatcher import Dispatcher
from hookline.resources.eventtype import EventType
from hookline.resources.replay import Replay
from hookline.resources.rules import CONFIDENTIAL, lifted, of_keys
from hookline.resources.webhook import Webhook

Schema = dict[str, Any]

_HEADER = "# Generated from the models in operator/hookline by `make generate`. Change those, not this file.\n"

# Said by pydantic for other readers; a structural schema has no place for them.
_DROPPED = {"title", "examples", "$defs"}


@dataclass(frozen=True)
class CrdKind:
    """What of a CustomResourceDefinition is not in its model."""

    model: type[Resource]
    plural: str
    short_name: str
    scope: str = "Namespaced"
    columns: tuple[tuple[str, str, str, int], ...] = ()
    """(name, type, JSON path, priority): priority 1 is shown by `-o wide` only."""
    selectable: tuple[str, ...] = field(default=())


def _condition(name: str, part: str) -> str:
    return f'.status.conditions[?(@.type=="{name}")].{part}'


_READY = (
    ("Ready", "string", _condition("Ready", "status"), 0),
    ("Reason", "string", _condition("Ready", "reason"), 0),
)
_STATUS = ("Status", "string", _condition("Ready", "message"), 1)
_AGE = ("Age", "date", ".metadata.creationTimestamp", 0)

KINDS = (
    CrdKind(
        Webhook,
        "webhooks",
        "whk",
        columns=(
            ("Event", "string", ".spec.event", 0),
            ("Enabled", "boolean", ".spec.enabled", 0),
            *_READY,
            ("Delivering", "string", _condition("Delivering", "status"), 0),
            # Not the URL: its query may hold a token.
            ("Dispatcher", "string", ".spec.dispatcher", 1),
            _STATUS,
            _AGE,
        ),
        selectable=(".spec.event", ".spec.secretRef.name"),
    ),
    CrdKind(
        EventType,
        "eventtypes",
        "whkevent",
        scope="Cluster",
        columns=(
            ("Event", "string", ".spec.event", 0),
            ("Validation", "string", ".spec.validation", 0),
            ("Deprecated", "string", ".spec.deprecated", 0),
            *_READY,
            ("Compatible", "string", _condition("Compatible", "status"), 0),
            _STATUS,
            _AGE,
        ),
        selectable=(".spec.event",),
    ),
    CrdKind(
        Dispatcher,
        "dispatchers",
        "whkdisp",
        columns=(
            ("Replicas", "integer", ".spec.replicas", 0),
            *_READY,
            ("NATS", "string", ".spec.nats.url", 1),
            _STATUS,
            _AGE,
        ),
    ),
    CrdKind(
        Replay,
        "replays",
        "rp",
        columns=(
            ("Webhook", "string", ".spec.webhook.name", 0),
            ("Source", "string", ".spec.source", 0),
            ("Phase", "string", ".status.phase", 0),
            *((name, "integer", f".status.{name.lower()}", 0) for name in ("Found", "Replayed", "Skipped", "Failed")),
            ("Unknown", "integer", ".status.unknown", 1),
            ("DryRun", "boolean", ".spec.dryRun", 1),
            ("Reason", "string", _condition("Complete", "reason"), 1),
            ("Status", "string", _condition("Complete", "message"), 1),
            _AGE,
        ),
        selectable=(".spec.webhook.name",),
    ),
)


def crd_files() -> dict[str, str]:
    """File name below crds/ to YAML text."""
    return {
        f"{GROUP}_{kind.plural}.yaml": _HEADER + yaml.safe_dump(crd(kind), sort_keys=False, width=120) for kind in KINDS
    }


def crd(kind: CrdKind) -> Schema:
    """One CustomResourceDefinition (apiextensions.k8s.io/v1)."""
    name = kind.model.__name__
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{kind.plural}.{GROUP}",
            "labels": {"app.kubernetes.io/name": "hookline", "app.kubernetes.io/part-of": "hookline"},
            # A description may hold ${…}, which Flux would take for a variable.
            "annotations": {"kustomize.toolkit.fluxcd.io/substitute": "disabled"},
        },
        "spec": {
            "group": GROUP,
            "scope": kind.scope,
            "names": {
                "kind": name,
                "listKind": f"{name}List",
                "plural": kind.plural,
                "singular": name.lower(),
                "shortNames": [kind.short_name],
                "categories": ["hookline"],
            },
            "versions": [_version(kind)],
        },
    }


def _version(kind: CrdKind) -> Schema:
    selectable = {"selectableFields": [{"jsonPath": path} for path in kind.selectable]} if kind.selectable else {}
    return {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        **selectable,
        "additionalPrinterColumns": [
            {"name": name, "type": type_, "jsonPath": path, **({"priority": priority} if priority else {})}
            for name, type_, path, priority in kind.columns
        ],
        "schema": {"openAPIV3Schema": root_schema(kind.model)},
    }


def root_schema(model: type[Resource]) -> Schema:
    """The structural schema of a kind. The API server itself knows metadata."""
    source = model.model_json_schema(by_alias=True)
    schema = _structural(source, source.get("$defs", {}))
    properties = schema["properties"]
    return {
        "type": "object",
        "description": schema["description"],
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": properties["apiVersion"]["description"]},
            "kind": {"type": "string", "description": properties["kind"]["description"]},
            # The name is said so that a rule can point to it.
            "metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 253}}},
            "spec": properties["spec"],
            "status": properties["status"],
        },
        **{key: value for key, value in schema.items() if key == "x-kubernetes-validations"},
    }


def _structural(schema: Mapping[str, Any], models: Mapping[str, Any]) -> Schema:
    """A JSON Schema of pydantic as a structural one: no references, no alternatives with null, no titles."""
    found = _without_null(_resolved(schema, models), models)
    result: Schema = {}
    rules: list[Schema] = []
    for key, value in found.items():
        if key == "properties":
            result[key] = {name: _structural(inner, models) for name, inner in value.items()}
            rules += _confidential_rules(result[key], found.get("required", []))
        elif key == "items":
            result[key] = _structural(value, models)
        elif key == "additionalProperties":
            if isinstance(value, dict):
                result[key] = _structural(value, models)
        elif key == "default":
            if value is not None:
                result[key] = _without_nulls(value)
        elif key == "type" and value == "integer":
            result |= {"type": "integer", "format": "int64"}
        elif key == "propertyNames":
            rules += of_keys(value)
        elif key == "x-kubernetes-validations":
            rules += value
        elif key not in _DROPPED:
            result[key] = value
    return {**result, "x-kubernetes-validations": rules} if rules else result


def _confidential_rules(properties: Schema, required: list[str]) -> list[Schema]:
    """Takes the rules away from properties whose texts the API server must not repeat, for the object around them."""
    rules: list[Schema] = []
    for name, inner in properties.items():
        if inner.pop(CONFIDENTIAL, False):
            own = inner.pop("x-kubernetes-validations")
            rules += [lifted(rule, name, required=name in required) for rule in own]
    return rules


def _resolved(schema: Mapping[str, Any], models: Mapping[str, Any]) -> Schema:
    """With a reference replaced by what it refers to. What stands beside it, such as a description, wins."""
    reference = schema.get("$ref")
    if reference is None:
        return dict(schema)
    beside = {key: value for key, value in schema.items() if key != "$ref"}
    return {**models[str(reference).rsplit("/", 1)[1]], **beside}


def _without_null(schema: Schema, models: Mapping[str, Any]) -> Schema:
    """Absent is how Kubernetes says null."""
    if "anyOf" not in schema:
        return schema
    (inner,) = (each for each in schema["anyOf"] if each.get("type") != "null")
    beside = {key: value for key, value in schema.items() if key != "anyOf"}
    return {**_resolved(inner, models), **beside}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [_without_nulls(inner) for inner in value]
    return value
