from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from doubles.resource_cases import resource, webhook
from hookline.resources.base import Resource, problems_of
from hookline.resources.dispatcher import Dispatcher
from hookline.resources.eventtype import EventType
from hookline.resources.problems import Problem, _model_in
from hookline.resources.replay import Replay
from hookline.resources.webhook import Webhook

KINDS: dict[str, type[Resource]] = {
    "Webhook": Webhook,
    "EventType": EventType,
    "Dispatcher": Dispatcher,
    "Replay": Replay,
}


def told(manifest: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(ValidationError) as error:
        KINDS[manifest["kind"]].model_validate(manifest)
    return {problem.field: problem.message for problem in problems_of(error.value)}


def models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield model
    for field in model.model_fields.values():
        inner = _model_in(field.annotation)
        if inner is not None:
            yield from models(inner)


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ((), ""),
        (("spec",), "spec"),
        (("spec", "headers", 0, "name"), "spec.headers[0].name"),
        (("items", 2), "items[2]"),
    ],
)
def test_a_path_is_spelled_as_people_write_it(path: tuple[str | int, ...], field: str) -> None:
    problem = Problem(path, "must be so")
    assert problem.field == field
    assert str(problem) == (f"{field}: must be so" if field else "must be so")


@pytest.mark.parametrize(
    ("manifest", "field", "message"),
    [
        (webhook(timeoutSeconds=5.0), "spec.timeoutSeconds", "must be a whole number; write it without a decimal part"),
        (webhook(timeoutSeconds=True), "spec.timeoutSeconds", "must be a whole number, not true or false"),
        (webhook(enabled="true"), "spec.enabled", "must be true or false, not text"),
        (webhook(event=5), "spec.event", "must be text, not a number; write it in quotes"),
        (webhook(headers={"X": "y"}), "spec.headers", "must be a list, not a mapping"),
        (webhook(retry=[]), "spec.retry", "must be a mapping, not a list"),
        (webhook(headers=[None]), "spec.headers[0]", "must be a mapping, not nothing"),
        (webhook(signature={"scheme": "HMAC"}), "spec.signature.scheme", "must be StandardWebhooks or Header; write"),
        (webhook(event=""), "spec.event", "must not be empty"),
        (webhook(description="a" * 1025), "spec.description", "must be no longer than 1024 characters"),
        (webhook(retry={"scheduleSeconds": [1] * 21}), "spec.retry.scheduleSeconds", "must have at most 20 entries"),
        (
            resource("EventType", {"event": "A"}, "a"),
            "spec.schema",
            "is required: JSON Schema (draft-04 or later) of the body of an event; write schema: {type: object}",
        ),
        (
            resource("Dispatcher", {"resources": {"limits": {"cpu": 2}}}),
            "spec.resources.limits.cpu",
            "must be text, not a number; write it in quotes",
        ),
    ],
)
def test_a_wrong_value_is_told_by_its_kind_and_what_to_write(
    manifest: dict[str, Any], field: str, message: str
) -> None:
    found = told(manifest)
    assert message in found[field], found


def test_an_unknown_field_without_a_near_one_lists_the_fields() -> None:
    assert told(webhook(secretRef={"name": "a", "zzz": 1})) == {
        "spec.secretRef.zzz": "is not a field of Webhook.spec.secretRef; its fields are name, key"
    }


def test_an_unknown_field_is_refused_even_when_it_is_null() -> None:
    assert "spec.retires" in told(webhook(retires=None))


def test_a_known_field_that_is_null_is_absent() -> None:
    spec = Webhook.model_validate(webhook(retry=None, description=None, signature={"headerName": None})).spec
    assert (spec.retry, spec.description, spec.signature.scheme) == (None, "", "StandardWebhooks")


def test_problems_of_several_fields_come_together() -> None:
    found = told(webhook(timeoutSeconds=0, maxConcurrency=0, headers=[{"name": "TE", "value": "a\nb"}]))
    assert list(found) == [
        "spec.headers[0].name",
        "spec.headers[0].value",
        "spec.timeoutSeconds",
        "spec.maxConcurrency",
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_every_required_field_has_a_description_and_an_example_to_write(kind: str) -> None:
    for model in models(KINDS[kind]):
        for name, field in model.model_fields.items():
            if field.is_required() and name not in ("metadata",) and model.__name__ != "Condition":
                assert field.description, (model, name)
                assert field.examples, (model, name)


def test_a_problem_of_a_part_of_a_manifest_is_explained_from_there() -> None:
    with pytest.raises(ValidationError) as error:
        KINDS["Webhook"].model_fields["spec"].annotation.model_validate({"event": "A"})  # type: ignore[union-attr]
    assert [problem.field for problem in problems_of(error.value)] == ["url"]
