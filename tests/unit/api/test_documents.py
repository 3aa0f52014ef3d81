"""Discovery and OpenAPI: what kubectl and controllers find out first."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from doubles.played_log import attempt, dead, waiting
from hookline.api import discovery, openapi
from hookline.api.kinds import DEAD_LETTERS, RESOURCES
from hookline.api.objects import Entry, as_object, resource_of
from hookline.api.schemas import name_of

DOCUMENT: dict[str, Any] = json.loads(openapi.v3_text())


def refs(said: Any) -> set[str]:
    if isinstance(said, dict):
        found = {said["$ref"]} if isinstance(said.get("$ref"), str) else set()
        return found.union(*(refs(each) for each in said.values())) if said else found
    return set().union(*(refs(each) for each in said)) if isinstance(said, list) and said else set()


def test_the_document_is_one_of_openapi_3_0() -> None:
    from schemathesis.specs.openapi.definitions import OPENAPI_30_VALIDATOR  # slow to import

    # The form of extensions is not in it; kube-apiserver's own documents have the same.
    OPENAPI_30_VALIDATOR.validate(DOCUMENT)


def test_every_reference_leads_somewhere() -> None:
    assert refs(DOCUMENT) <= {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}


def test_every_operation_has_an_id_of_its_own() -> None:
    methods = [each for path in DOCUMENT["paths"].values() for each in path.values() if isinstance(each, dict)]
    ids = [each["operationId"] for each in methods]
    assert len(ids) == len(set(ids)) > 10


def test_kubectl_explain_finds_the_kind_by_the_path_of_its_list() -> None:
    """kubectl, explain/v2/templates/plaintext.tmpl."""
    for each in RESOURCES.values():
        path = DOCUMENT["paths"][f"/apis/log.hookline.dev/v1alpha1/namespaces/{{namespace}}/{each.plural}"]
        kind = (path.get("get") or path["post"])["x-kubernetes-group-version-kind"]
        assert kind in DOCUMENT["components"]["schemas"][name_of(each.kind)]["x-kubernetes-group-version-kind"]


@pytest.mark.parametrize("entry", [attempt(1), attempt(1, status=None, answer=b""), waiting(2), dead(3)])
def test_what_is_answered_is_as_it_is_described(entry: Entry) -> None:
    name = name_of(resource_of(entry).kind)
    schema = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    jsonschema.validate(as_object(entry), schema, cls=jsonschema.Draft4Validator)


def test_the_hash_of_the_document_is_that_of_what_it_says() -> None:
    (path,) = openapi.v3_root()["paths"].values()
    assert path["serverRelativeURL"].startswith(f"/openapi/v3/{openapi.PATH}?hash=")


def test_both_forms_of_discovery_say_the_same() -> None:
    (group,) = discovery.aggregated()["items"]
    (version,) = group["versions"]
    of_one = {each["resource"]: each["verbs"] for each in version["resources"]}
    of_one |= {
        f"{each['resource']}/{part['subresource']}": part["verbs"]
        for each in version["resources"]
        for part in each.get("subresources", [])
    }
    assert of_one == {each["name"]: each["verbs"] for each in discovery.resource_list()["resources"]}


def test_short_names_and_the_category_are_told() -> None:
    told = {each["name"]: each for each in discovery.resource_list()["resources"]}
    assert told["attempts"]["shortNames"] == ["att"]
    assert told["deadletters"]["shortNames"] == ["dl"]
    assert {name for name, each in told.items() if "hookline" in each.get("categories", [])} == {
        "attempts",
        "deliveries",
        "deadletters",
    }


def test_no_namespace_waits_for_us_when_it_is_deleted() -> None:
    """The namespace controller empties what discovery says `delete` of, and waits until it is empty."""
    assert not [each for each in discovery.resource_list()["resources"] if "delete" in "".join(each["verbs"])]
    assert "delete" in DEAD_LETTERS.untold_verbs


@pytest.mark.parametrize(
    ("accept", "wants"),
    [
        ("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json", True),
        ("application/json;as=APIGroupDiscoveryList;v=v2;g=apidiscovery.k8s.io", True),
        ("application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json", False),
        ("application/json", False),
        ("", False),
        (";;;,=,", False),
    ],
)
def test_all_at_once_is_told_to_who_asks_for_it(accept: str, wants: bool) -> None:
    assert discovery.wants_aggregated(accept) is wants
