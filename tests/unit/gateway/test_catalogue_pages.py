"""What the gateway says of event types that EventType resources define."""

from __future__ import annotations

import json

import pytest

from hookline.events.schemas import Catalogue, EventTypeSpec
from hookline.gateway.catalogue_pages import listed, sample_file
from hookline.gateway.problem import Refused

CATALOGUE = Catalogue(
    [
        EventTypeSpec("Old", {}, deprecated="use New", sample=["ü", {"a": 1}]),
        EventTypeSpec("New", {}),
        EventTypeSpec("IdentityCreated", {}, sample=False),
    ]
)


def test_a_deprecated_type_is_listed_as_such_and_a_sample_only_where_there_is_one() -> None:
    found = {each["name"]: each for each in json.loads(listed(CATALOGUE))["eventTypes"]}
    assert found["Old"]["deprecated"] == "use New"
    assert "deprecated" not in found["New"]
    assert {name for name in found if "sample" not in found[name]} == {"New"}


def test_the_sample_of_a_type_is_its_own_also_in_the_place_of_a_built_in_one() -> None:
    assert json.loads(sample_file(CATALOGUE, "Old")[1]) == ["ü", {"a": 1}]
    assert sample_file(CATALOGUE, "IdentityCreated") == ("sample-identitycreated.json", b"false\n")
    with pytest.raises(Refused):
        sample_file(CATALOGUE, "New")
