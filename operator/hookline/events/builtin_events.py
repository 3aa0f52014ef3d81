"""The 20 ClearID events: their names, the JSON Schema of each body, and one realistic sample body of each.

The table EVENTS, with vocabulary.py, is the source of truth; schemas and samples are built from it by pure functions.
Nothing here checks a body (schemas.py) or writes a file (`make generate`, cli/events.py).

What is known: a third party lists the set of 20 events; Genetec's documentation names five of them and shows the
seven fields of IdentityDeleted. All else is inferred, in the form that ClearID's schema generator (NJsonSchema) gives:
draft-04, closed objects, `minLength: 1` on required texts, nullable types as alphabetical lists. Each property says
which of this holds under PROVENANCE, each schema in its description.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from hookline.events.vocabulary import (
    ACCESS,
    APPROVER,
    CREDENTIAL,
    HOST,
    IDENTITY,
    IDENTITY_DELETED,
    IDENTITY_REQUEST,
    VISIT,
    VISITOR,
    Field,
    Model,
    Vocabulary,
)

DRAFT_04 = "http://json-schema.org/draft-04/schema#"
PROVENANCE = "x-hookline-provenance"

Category = Literal["Accesses", "Identities", "Identity requests", "Visitors", "Credentials", "Visit events"]


@dataclass(frozen=True)
class BuiltinEvent:
    """One event type of ClearID.

    `fields` lists the fields of the body in order: `Name*` is required, `Name?` may be absent or null, `Name` may be
    absent. `samples` replaces sample values of the vocabulary. `named_by_genetec`: Genetec's own pages name the event.
    """

    name: str
    category: Category
    display_name: str
    description: str
    fields: str
    vocabulary: Vocabulary
    samples: Mapping[str, Any] = field(default_factory=dict)
    named_by_genetec: bool = False

    @property
    def schema_file_name(self) -> str:
        return schema_file_name(self.name)

    @property
    def sample_file_name(self) -> str:
        return sample_file_name(self.name)


def schema_file_name(event_type: str) -> str:
    """As ClearID names the file of "Download schema"."""
    return f"schema-{event_type.lower()}.json"


def sample_file_name(event_type: str) -> str:
    return f"sample-{event_type.lower()}.json"


_PROFILE = """Email? FirstName* LastName* MiddleName? DisplayName? Status* IdentityType? CountryCode? Culture?
    CompanyName? DepartmentName? JobTitle? EmployeeNumber? CustomFields?"""
_REQUEST = """AccountId* IdentityRequestId* Ordinal? IdentityTemplateId? IdentityTemplateName? FirstName? LastName?
    Email? Status* RequestedBy* Reason? CreationDateUtc*"""
_GRANT = "AccountId* AccessId* IdentityId* ExternalId? Ordinal? SiteId* LocationId* TeamId? ScheduleMapId?"
_BADGE = """Name? CredentialType* FormatName? Status* ActivationDateUtc? ExpirationDateUtc? CreatedBy*
    CreationDateUtc*"""
_HOLDER = "AccountId* CredentialId* CredentialType* IdentityId* ExternalId? Ordinal?"
_CHECK = """AccountId* VisitEventId* VisitorId* Ordinal? SiteId* FirstName? LastName? Email? CompanyName?
    HostIdentityId? RegistrationCode? DeviceObjectId?"""
_PLANNED = "AccountId* VisitEventId* Ordinal? Name? SiteId* HostIdentityId* StartDateTimeUtc* EndDateTimeUtc*"

# fmt: off
EVENTS: tuple[BuiltinEvent, ...] = (
    BuiltinEvent(
        "IdentityCreated", "Identities", "Identity created", "An identity was created.",
        f"AccountId* IdentityId* ExternalId? Ordinal? {_PROFILE} CreatedBy* CreationDateUtc*",
        IDENTITY, named_by_genetec=True,
    ),
    BuiltinEvent(
        "IdentityUpdated", "Identities", "Identity updated", "An identity was changed; the body holds its new state.",
        f"AccountId* IdentityId* ExternalId? Ordinal? {_PROFILE} ChangedProperties? ModifiedBy*"
        " LastModificationDateUtc*",
        IDENTITY, named_by_genetec=True,
    ),
    BuiltinEvent(
        "IdentityDeleted", "Identities", "Identity deleted", "An identity was deleted.",
        "AccountId* IdentityId* ExternalId? Ordinal? Email? DeletedBy* DeletionDateUtc*",
        IDENTITY_DELETED, named_by_genetec=True,
    ),
    BuiltinEvent(
        "IdentityPictureUpdated", "Identities", "Identity picture updated", "The picture of an identity was changed.",
        "AccountId* IdentityId* ExternalId? Ordinal? Email? PictureId? ModifiedBy* LastModificationDateUtc*",
        IDENTITY,
    ),
    BuiltinEvent(
        "IdentityRequestCreated", "Identity requests", "Identity requests created", "An identity was requested.",
        _REQUEST, IDENTITY_REQUEST, named_by_genetec=True,
    ),
    BuiltinEvent(
        "IdentityRequestUpdated", "Identity requests", "Identity requests updated",
        "A request for an identity was approved, denied or otherwise changed.",
        f"{_REQUEST} IdentityId? PreviousStatus? ReviewedBy? ReviewReason? ModifiedBy* LastModificationDateUtc*",
        IDENTITY_REQUEST, {"Status": "Approved", "ModifiedBy": APPROVER}, named_by_genetec=True,
    ),
    BuiltinEvent(
        "AccessGranted", "Accesses", "Access granted", "An identity was given access to an area.",
        f"{_GRANT} StartDateTimeUtc? EndDateTimeUtc? ApprovedById? ApproverPrincipalType? ApprovedDateTimeUtc?"
        " Description? GrantedBy* GrantDateUtc*",
        ACCESS,
    ),
    BuiltinEvent(
        "AccessRevoked", "Accesses", "Access revoked", "An identity lost its access to an area.",
        f"{_GRANT} Reason? RevokedBy* RevocationDateUtc*",
        ACCESS,
    ),
    BuiltinEvent(
        "CredentialCreated", "Credentials", "Credential created", "A credential was created.",
        f"AccountId* CredentialId* Ordinal? {_BADGE}",
        CREDENTIAL,
    ),
    BuiltinEvent(
        "CredentialUpdated", "Credentials", "Credential updated", "A credential was changed.",
        f"AccountId* CredentialId* Ordinal? {_BADGE} IdentityId? ModifiedBy* LastModificationDateUtc*",
        CREDENTIAL,
    ),
    BuiltinEvent(
        "CredentialDeleted", "Credentials", "Credential deleted", "A credential was deleted.",
        "AccountId* CredentialId* Ordinal? CredentialType* IdentityId? DeletedBy* DeletionDateUtc*",
        CREDENTIAL, {"IdentityId": None},
    ),
    BuiltinEvent(
        "CredentialAssigned", "Credentials", "Credential assigned", "A credential was assigned to an identity.",
        f"{_HOLDER} AssignedBy* AssignmentDateUtc*",
        CREDENTIAL,
    ),
    BuiltinEvent(
        "CredentialUnassigned", "Credentials", "Credential unassigned", "A credential was taken from an identity.",
        f"{_HOLDER} Reason? UnassignedBy* UnassignmentDateUtc*",
        CREDENTIAL,
    ),
    BuiltinEvent(
        "VisitorCheckedIn", "Visitors", "Visitor check-in", "A visitor was checked in.",
        f"{_CHECK} CheckedInBy? CheckInDateUtc*",
        VISITOR,
    ),
    BuiltinEvent(
        "VisitorCheckedOut", "Visitors", "Visitor check-out", "A visitor was checked out.",
        f"{_CHECK} CheckedOutBy? CheckOutDateUtc* IsAutomatic",
        VISITOR,
    ),
    BuiltinEvent(
        "VisitEventCreated", "Visit events", "Visit event created", "A visit was requested.",
        "AccountId* VisitEventId* Ordinal? Name? SiteId* LocationIds? HostIdentityId* RequestedBy* StartDateTimeUtc*"
        " EndDateTimeUtc* TimeZoneId? Reason? Status* Visitors CreatedBy* CreationDateUtc*",
        VISIT, {"CreatedBy": HOST},
    ),
    BuiltinEvent(
        "VisitEventApproved", "Visit events", "Visit event approved", "A visit was approved.",
        f"{_PLANNED} ApprovedBy* ApprovalReason? ApprovalDateUtc*",
        VISIT,
    ),
    BuiltinEvent(
        "VisitEventDenied", "Visit events", "Visit event denied", "A visit was denied.",
        f"{_PLANNED} DeniedBy* DenialReason? DenialDateUtc*",
        VISIT,
    ),
    BuiltinEvent(
        "VisitEventCanceled", "Visit events", "Visit event canceled", "A visit was canceled.",
        f"{_PLANNED} CanceledBy* CancellationReason? CancellationDateUtc*",
        VISIT,
    ),
    BuiltinEvent(
        "VisitEventExpired", "Visit events", "Visit event expired", "A visit event expired.",
        f"{_PLANNED} ExpirationDateUtc*",
        VISIT,
    ),
)
# fmt: on


# ---- what is built from the table ------------------------------------------------------------------------------------

_SET_IS_THIRD_PARTY = (
    "That ClearID has this set of 20 events is a third party's account; the seven fields of IdentityDeleted are the"
    " only ones that Genetec publishes."
)
_IDENTITY_DELETED_IS_KNOWN = (
    "Known from Genetec's documentation: the title, the names of all seven fields, which of them are required, that no"
    " others are allowed; type and description of AccountId, IdentityId, ExternalId and Ordinal; the type of Email."
    " Inferred: the types of DeletedBy and DeletionDateUtc, and the descriptions of the last three fields."
)


def _provenance(event: BuiltinEvent) -> str:
    if event.name == "IdentityDeleted":
        return f"{_IDENTITY_DELETED_IS_KNOWN} {_SET_IS_THIRD_PARTY}"
    exists = "Known from Genetec's documentation: that this event exists. " if event.named_by_genetec else ""
    return (
        f"{exists}Inferred, not published by Genetec: the title and every field of this schema. {_SET_IS_THIRD_PARTY}"
    )


def _split(fields: str) -> list[tuple[str, str]]:
    """`"A* B? C"` as `[("A", "*"), ("B", "?"), ("C", "")]`."""
    return [(word.rstrip("*?"), word[-1] if word[-1] in "*?" else "") for word in fields.split()]


def _property(word: Field, mark: str) -> dict[str, Any]:
    shape = dict(word.shape)
    kind = shape.pop("type")
    built = {"type": sorted([kind, "null"]) if mark == "?" else kind, "description": word.description}
    if mark == "*" and word.shape == {"type": "string"}:
        built["minLength"] = 1
    if word.model:
        built["items"] = {"$ref": f"#/definitions/{word.model.name}"}
    return built | shape | {PROVENANCE: word.provenance}


def _object(fields: str, vocabulary: Vocabulary) -> dict[str, Any]:
    split = _split(fields)
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [name for name, mark in split if mark == "*"],
        "properties": {name: _property(vocabulary[name], mark) for name, mark in split},
    }


def _definition(model: Model) -> dict[str, Any]:
    return {"description": model.description} | _object(model.fields, model.vocabulary)


def _sample(fields: str, vocabulary: Vocabulary, samples: Mapping[str, Any]) -> dict[str, Any]:
    return {name: samples.get(name, _sample_value(vocabulary[name])) for name, _ in _split(fields)}


def _sample_value(word: Field) -> Any:
    if word.model:
        return [_sample(word.model.fields, word.model.vocabulary, {})]
    return word.sample


def event_named(name: str) -> BuiltinEvent:
    """The built-in event of exactly this name. Raises KeyError; schemas.Catalogue.get knows the nearest names."""
    return _BY_NAME[name]


def schema_of(event: BuiltinEvent) -> dict[str, Any]:
    """The JSON Schema of the event's body, a fresh dict."""
    models = [event.vocabulary[name].model for name, _ in _split(event.fields)]
    definitions = {model.name: _definition(model) for model in models if model}
    return {
        "$schema": DRAFT_04,
        "title": f"{event.name}CallbackModel",
        "description": f"{event.description} {_provenance(event)}",
        **_object(event.fields, event.vocabulary),
        **({"definitions": definitions} if definitions else {}),
    }


def sample_of(event: BuiltinEvent) -> dict[str, Any]:
    """One realistic body that satisfies the event's schema and has all of its fields. Names and ids are invented."""
    return _sample(event.fields, event.vocabulary, event.samples)


def to_text(document: Any) -> str:
    """The one JSON text of a schema or sample, for files and the command line alike: 2 spaces, a newline at the end."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def schema_files() -> dict[str, str]:
    """What `make generate` writes below schemas/: path to text, one file for each event."""
    return {f"events/{event.schema_file_name}": to_text(schema_of(event)) for event in EVENTS}


_BY_NAME = {event.name: event for event in EVENTS}
