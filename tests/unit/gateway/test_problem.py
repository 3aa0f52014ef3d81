"""How the gateway says no."""

from __future__ import annotations

import json

import pytest

from hookline.gateway.problem import MEDIA_TYPE, TYPES, Fault, Kind, Problem


def test_a_problem_has_the_members_of_rfc_9457_and_names_places_rules_and_near_types() -> None:
    fault = Fault("/Email", "type", "must be a string, but is a number")
    said = json.loads(Problem(Kind.SCHEMA, "look", (fault,), ("A",), event_id="e1").body())
    assert said == {
        "type": f"{TYPES}schema",
        "title": "The body does not match the schema of its type",
        "status": 422,
        "detail": "look",
        "errors": [{"pointer": "/Email", "rule": "type", "detail": "must be a string, but is a number"}],
        "nearest": ["A"],
        "id": "e1",
    }


def test_what_there_is_not_is_not_said() -> None:
    assert Problem(Kind.NOT_FOUND, "look").document().keys() == {"type", "title", "status", "detail"}
    assert Problem(Kind.NOT_FOUND, "look").headers() == {"Content-Type": MEDIA_TYPE}


@pytest.mark.parametrize(("seconds", "said"), [(0.01, "1"), (1.0, "1"), (1.2, "2"), (60, "60")])
def test_retry_after_is_in_whole_seconds_and_never_too_early(seconds: float, said: str) -> None:
    assert Problem(Kind.UNAVAILABLE, "later", retry_after_seconds=seconds).headers()["Retry-After"] == said


def test_who_is_not_known_hears_how_to_say_who_he_is() -> None:
    """RFC 9110, section 15.5.2: a 401 must have it."""
    assert "WWW-Authenticate" in Problem(Kind.UNAUTHENTICATED, "who").headers()


def test_each_kind_has_a_type_of_its_own() -> None:
    assert len({kind.slug for kind in Kind}) == len(Kind)
