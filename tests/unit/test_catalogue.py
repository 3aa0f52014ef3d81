from __future__ import annotations

import json

import pytest
from jsonschema import Draft4Validator, FormatChecker

from hookline import catalogue
from hookline.catalogue import EVENTS, BuiltinEvent, event_named, sample_of, schema_of

ALL = {
    "IdentityCreated", "IdentityUpdated", "IdentityDeleted", "IdentityPictureUpdated",
    "IdentityRequestCreated", "IdentityRequestUpdated", "AccessGranted", "AccessRevoked",
    "CredentialCreated", "CredentialUpdated", "CredentialDeleted", "CredentialAssigned", "CredentialUnassigned",
    "VisitorCheckedIn", "VisitorCheckedOut",
    "VisitEventCreated", "VisitEventApproved", "VisitEventDenied", "VisitEventCanceled", "VisitEventExpired",
}  # fmt: skip

each_event = pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)


def test_there_are_exactly_the_20_events_of_clearid() -> None:
    assert len(EVENTS) == 20
    assert {event.name for event in EVENTS} == ALL


@each_event
def test_each_schema_is_draft_04_closed_and_named_as_clearid_names_them(event: BuiltinEvent) -> None:
    schema = schema_of(event)
    Draft4Validator.check_schema(schema)
    assert schema["$schema"] == "http://json-schema.org/draft-04/schema#"
    assert schema["title"] == f"{event.name}CallbackModel"
    assert schema["additionalProperties"] is False
    assert all(model["additionalProperties"] is False for model in schema.get("definitions", {}).values())
    assert event.schema_file_name == f"schema-{event.name.lower()}.json"
    assert schema["properties"]["AccountId"]["minLength"] == 1
    assert schema["properties"]["Ordinal"]["type"] == ["integer", "null"]


@each_event
def test_each_sample_satisfies_its_schema_and_one_more_key_does_not(event: BuiltinEvent) -> None:
    validator = Draft4Validator(schema_of(event), format_checker=FormatChecker())
    sample = sample_of(event)
    assert list(validator.iter_errors(sample)) == []
    assert sample.keys() == schema_of(event)["properties"].keys()
    assert not validator.is_valid({**sample, "EventType": event.name})


@each_event
def test_each_field_says_whether_genetec_states_it(event: BuiltinEvent) -> None:
    marks = {name: field[catalogue.PROVENANCE] for name, field in schema_of(event)["properties"].items()}
    assert set(marks.values()) <= {"sourced", "partly-sourced", "inferred"}
    if event.name != "IdentityDeleted":
        assert "inferred" in marks.values()


def test_identity_deleted_is_what_genetec_shows() -> None:
    schema = schema_of(event_named("IdentityDeleted"))
    plain = {
        name: {key: value for key, value in field.items() if key != catalogue.PROVENANCE}
        for name, field in schema["properties"].items()
    }
    assert schema["required"] == ["AccountId", "IdentityId", "DeletedBy", "DeletionDateUtc"]
    assert plain["AccountId"] == {
        "type": "string",
        "description": "The account id for which this identity is member of.",
        "minLength": 1,
    }
    assert plain["IdentityId"] == {
        "type": "string",
        "description": "A unique id to identify the identity.",
        "minLength": 1,
    }
    assert plain["ExternalId"] == {"type": ["null", "string"], "description": "External ID"}
    assert plain["Ordinal"] == {
        "type": ["integer", "null"],
        "description": "Commit ordinal in the storage.",
        "format": "int64",
    }
    assert plain["Email"]["type"] == ["null", "string"]
    assert list(plain) == [
        "AccountId", "IdentityId", "ExternalId", "Ordinal", "Email", "DeletedBy", "DeletionDateUtc",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "required"),
    [
        (
            "AccessRevoked",
            {"AccountId", "AccessId", "IdentityId", "SiteId", "LocationId", "RevokedBy", "RevocationDateUtc"},
        ),
        ("CredentialDeleted", {"AccountId", "CredentialId", "CredentialType", "DeletedBy", "DeletionDateUtc"}),
        (
            "VisitEventExpired",
            {
                "AccountId", "VisitEventId", "SiteId", "HostIdentityId", "StartDateTimeUtc", "EndDateTimeUtc",
                "ExpirationDateUtc",
            },
        ),
    ],
)  # fmt: skip
def test_required_fields_are_those_of_the_reference(name: str, required: set[str]) -> None:
    assert set(schema_of(event_named(name))["required"]) == required


def test_the_files_hold_the_text_that_the_command_prints() -> None:
    files = catalogue.schema_files()
    assert len(files) == 20
    assert json.loads(files["events/schema-identitycreated.json"]) == schema_of(event_named("IdentityCreated"))
