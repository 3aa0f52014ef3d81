from __future__ import annotations

import json
from collections import Counter

import pytest
from jsonschema import Draft4Validator, FormatChecker

from hookline.events import builtin_events
from hookline.events.builtin_events import EVENTS, BuiltinEvent, event_named, sample_of, schema_of

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
    schema = schema_of(event)
    models = schema.get("definitions", {}).values()
    marks = {
        (name, field[builtin_events.PROVENANCE])
        for each in (schema, *models)
        for name, field in each["properties"].items()
    }
    if event.name == "IdentityDeleted":
        assert marks == {
            ("AccountId", "sourced"), ("IdentityId", "sourced"), ("ExternalId", "sourced"), ("Ordinal", "sourced"),
            ("Email", "partly-sourced"), ("DeletedBy", "partly-sourced"), ("DeletionDateUtc", "partly-sourced"),
        }  # fmt: skip
    else:
        assert {mark for _, mark in marks} == {"inferred"}


@each_event
def test_each_schema_says_what_is_known_and_what_is_inferred(event: BuiltinEvent) -> None:
    description = schema_of(event)["description"]
    assert description.startswith(event.description)
    assert "set of 20 events is a third party's account" in description
    assert "the seven fields of IdentityDeleted are the only ones that Genetec publishes" in description
    named = {"IdentityCreated", "IdentityUpdated", "IdentityRequestCreated", "IdentityRequestUpdated"}
    assert ("Known from Genetec's documentation: that this event exists." in description) == (event.name in named)
    assert "Inferred" in description


@each_event
def test_each_field_and_model_has_a_description_in_words(event: BuiltinEvent) -> None:
    schema = schema_of(event)
    for each in (schema, *schema.get("definitions", {}).values()):
        assert each["description"]
        assert all(len(field["description"]) > 5 for field in each["properties"].values())


@each_event
def test_required_texts_are_not_empty_and_nullable_types_are_in_alphabetical_order(event: BuiltinEvent) -> None:
    schema = schema_of(event)
    for name, field in schema["properties"].items():
        kinds = field["type"]
        assert kinds == sorted(kinds) if isinstance(kinds, list) else isinstance(kinds, str)
        assert not (name in schema["required"] and isinstance(kinds, list))
        plain = kinds == "string" and not {"enum", "format"} & field.keys()
        assert field.get("minLength") == (1 if plain and name in schema["required"] else None)


def test_no_word_of_the_vocabulary_is_left_unused() -> None:
    known = {id(word): word.name for event in EVENTS for word in event.vocabulary.values()}
    used = {id(event.vocabulary[name]) for event in EVENTS for name in schema_of(event)["properties"]}
    guests = {"VisitorId", "FirstName", "LastName", "Email", "CompanyName"}  # words of the visitor's model, too
    assert {name for key, name in known.items() if key not in used} <= guests


def test_identity_deleted_is_what_genetec_shows() -> None:
    schema = schema_of(event_named("IdentityDeleted"))
    plain = {
        name: {key: value for key, value in field.items() if key != builtin_events.PROVENANCE}
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
    assert (plain["DeletedBy"]["type"], plain["DeletedBy"]["minLength"]) == ("string", 1)
    assert (plain["DeletionDateUtc"]["type"], plain["DeletionDateUtc"]["format"]) == ("string", "date-time")
    assert schema["title"] == "IdentityDeletedCallbackModel"
    assert list(plain) == [
        "AccountId", "IdentityId", "ExternalId", "Ordinal", "Email", "DeletedBy", "DeletionDateUtc",
    ]  # fmt: skip


# Section 3 of the reference, in its own notation: `*` required, `?` may be null, neither: may be absent.
REFERENCE = {
    "IdentityCreated": "IdentityId* ExternalId? Email? FirstName* LastName* MiddleName? DisplayName? Status*"
    " IdentityType? CountryCode? Culture? CompanyName? DepartmentName? JobTitle? EmployeeNumber? CustomFields?"
    " CreatedBy* CreationDateUtc*",
    "IdentityUpdated": "IdentityId* ExternalId? Email? FirstName* LastName* MiddleName? DisplayName? Status*"
    " IdentityType? CountryCode? Culture? CompanyName? DepartmentName? JobTitle? EmployeeNumber? CustomFields?"
    " ModifiedBy* LastModificationDateUtc* ChangedProperties?",
    "IdentityPictureUpdated": "IdentityId* ExternalId? Email? PictureId? ModifiedBy* LastModificationDateUtc*",
    "IdentityRequestUpdated": "IdentityRequestId* IdentityTemplateId? IdentityTemplateName? FirstName? LastName? Email?"
    " Status* RequestedBy* Reason? CreationDateUtc* IdentityId? PreviousStatus? ReviewedBy? ReviewReason? ModifiedBy*"
    " LastModificationDateUtc*",
    "AccessGranted": "AccessId* IdentityId* ExternalId? SiteId* LocationId* TeamId? ScheduleMapId? StartDateTimeUtc?"
    " EndDateTimeUtc? ApprovedById? ApproverPrincipalType? ApprovedDateTimeUtc? Description? GrantedBy* GrantDateUtc*",
    "AccessRevoked": "AccessId* IdentityId* ExternalId? SiteId* LocationId* TeamId? ScheduleMapId? Reason? RevokedBy*"
    " RevocationDateUtc*",
    "CredentialUpdated": "CredentialId* Name? CredentialType* FormatName? Status* ActivationDateUtc? ExpirationDateUtc?"
    " CreatedBy* CreationDateUtc* IdentityId? ModifiedBy* LastModificationDateUtc*",
    "CredentialUnassigned": "CredentialId* CredentialType* IdentityId* ExternalId? Reason? UnassignedBy*"
    " UnassignmentDateUtc*",
    "VisitorCheckedOut": "VisitEventId* VisitorId* SiteId* FirstName? LastName? Email? CompanyName? HostIdentityId?"
    " RegistrationCode? DeviceObjectId? CheckedOutBy? CheckOutDateUtc* IsAutomatic",
    "VisitEventCreated": "VisitEventId* Name? SiteId* LocationIds? HostIdentityId* RequestedBy* StartDateTimeUtc*"
    " EndDateTimeUtc* TimeZoneId? Reason? Status* Visitors CreatedBy* CreationDateUtc*",
    "VisitEventDenied": "VisitEventId* Name? SiteId* HostIdentityId* StartDateTimeUtc* EndDateTimeUtc* DeniedBy*"
    " DenialReason? DenialDateUtc*",
    "VisitEventExpired": "VisitEventId* Name? SiteId* HostIdentityId* StartDateTimeUtc* EndDateTimeUtc*"
    " ExpirationDateUtc*",
}


@pytest.mark.parametrize("name", REFERENCE)
def test_fields_are_those_of_the_reference(name: str) -> None:
    schema = schema_of(event_named(name))

    def mark(field: str) -> str:
        return "*" if field in schema["required"] else "?" if "null" in schema["properties"][field]["type"] else ""

    fields = {f"{field}{mark(field)}" for field in schema["properties"]}
    assert fields == {"AccountId*", "Ordinal?", *REFERENCE[name].split()}


def test_choices_are_those_of_the_reference() -> None:
    def choices(name: str, field: str) -> object:
        return schema_of(event_named(name))["properties"][field].get("enum")

    assert choices("IdentityCreated", "Status") == ["Active", "Inactive"]
    assert choices("IdentityRequestCreated", "Status") == ["Pending", "Approved", "Denied", "Canceled", "Expired"]
    assert choices("CredentialCreated", "CredentialType") == ["Card", "Mobile", "LicensePlate", "Pin"]
    assert choices("CredentialCreated", "Status") is None


def test_visitors_are_a_list_of_closed_models() -> None:
    schema = schema_of(event_named("VisitEventCreated"))
    assert schema["properties"]["Visitors"]["items"] == {"$ref": "#/definitions/VisitorModel"}
    visitor = schema["definitions"]["VisitorModel"]
    assert visitor["required"] == ["VisitorId"]
    assert set(visitor["properties"]) == {"VisitorId", "FirstName", "LastName", "Email", "CompanyName"}


def test_a_schema_is_built_anew_each_time_so_that_nobody_can_change_the_catalogue() -> None:
    event = event_named("CredentialCreated")
    schema_of(event)["properties"]["CredentialType"]["description"] = "changed"
    assert schema_of(event)["properties"]["CredentialType"]["description"] == "Kind of credential."


def test_categories_hold_as_many_events_as_the_reference_counts() -> None:
    assert Counter(event.category for event in EVENTS) == {
        "Accesses": 2, "Identities": 4, "Identity requests": 2, "Visitors": 2, "Credentials": 5, "Visit events": 5,
    }  # fmt: skip
    assert event_named("IdentityRequestCreated").display_name == "Identity requests created"
    assert event_named("VisitorCheckedIn").display_name == "Visitor check-in"


def test_the_files_hold_pretty_json_one_for_each_event() -> None:
    files = builtin_events.schema_files()
    assert set(files) == {f"events/schema-{name.lower()}.json" for name in ALL}
    text = files["events/schema-identitycreated.json"]
    assert json.loads(text) == schema_of(event_named("IdentityCreated"))
    assert text.startswith('{\n  "$schema"')
    assert text.endswith("\n}\n")
