from __future__ import annotations

import json

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from hookline.events import builtin_events, notices
from hookline.events.notices import NOTICES, Notice, is_reserved, sample_of, schema_of
from hookline.events.schemas import Catalogue, check_sample, check_schema, is_event_name

each_notice = pytest.mark.parametrize("notice", NOTICES, ids=lambda notice: notice.name)


@each_notice
def test_each_has_a_closed_schema_that_events_may_have_and_a_sample_that_fits(notice: Notice) -> None:
    schema, sample = schema_of(notice), sample_of(notice)
    assert is_event_name(notice.name)
    assert (check_schema(schema), check_sample(schema, sample)) == ((), ())
    validator = Draft202012Validator(schema, format_checker=FormatChecker())
    assert validator.is_valid(sample)
    assert not validator.is_valid({**sample, "url": "https://example.com"})
    assert all(not validator.is_valid({key: sample[key] for key in sample if key != left_out}) for left_out in sample)
    assert all(each["description"] for each in schema["properties"].values())


@each_notice
def test_each_is_known_to_publishers_and_webhooks_as_a_built_in_type(notice: Notice) -> None:
    known = Catalogue().get(notice.name)
    assert (known.builtin, known.sample, known.validation) == (True, sample_of(notice), "Enforce")
    assert Catalogue().check(notice.name, json.dumps(sample_of(notice)).encode()) == ()


def test_their_names_are_reserved_in_any_case_and_those_of_clearid_are_not() -> None:
    assert all(is_reserved(each.name) and is_reserved(each.name.upper()) for each in NOTICES)
    assert not any(is_reserved(each.name) for each in builtin_events.EVENTS)
    assert [is_reserved(each) for each in ("hookline.x", "HOOKLINE.", "hookline", "hookline-x", "a.hookline.x")] == [
        True, True, False, False, False,
    ]  # fmt: skip


def test_nobody_can_change_what_is_built_in() -> None:
    schema_of(NOTICES[0])["properties"].clear()
    sample_of(NOTICES[0])["webhook"].clear()
    assert schema_of(NOTICES[0])["properties"]
    assert sample_of(NOTICES[0])["webhook"]


def test_each_has_a_schema_file() -> None:
    files = notices.schema_files()
    assert json.loads(files["events/schema-hookline.endpointfailing.json"]) == schema_of(NOTICES[0])
    assert len(files) == len(NOTICES)
