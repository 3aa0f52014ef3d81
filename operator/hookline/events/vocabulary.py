"""The vocabulary of ClearID bodies: every field that an event may have, with its shape, description and sample.

One table per kind of event, because the same name means different things in them (`Status`, `Reason`, `Name`). Which
event has which fields, and which of them are required, is decided in builtin_events. No table here knows JSON Schema
beyond the few keywords of a field.

Sourced (Genetec's documentation of IdentityDeleted): the fields of IDENTITY_DELETED, as each of them says. Inferred:
all else, from names that ClearID shows in its REST API, its reports and its screens. Samples are invented; they tell
one story, so that a reader can follow an identity, an access or a visit through several events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Provenance = Literal["sourced", "partly-sourced", "inferred"]
"""`sourced`: Genetec's documentation shows name, type and description. `partly-sourced`: it shows the name; the
description of the schema says what else. `inferred`: it shows nothing of it."""

Vocabulary = Mapping[str, "Field"]

ADMINISTRATOR = "5d0c7e1a-93b4-4f0e-8a6b-2f7f5f0d6c11"
EMPLOYEE = "b7a1f6d2-0c58-4e7b-9d3e-6a1c2e84f930"
HOST = "e2c94b70-5a1f-4d86-b0c3-91d7a8e6f254"
APPROVER = "0f6e3d8b-72c1-4a95-8e4d-c5b9a0173f6e"

_BY = "Who {}: the id of an identity or of an integration."
_INT64 = {"type": "integer", "format": "int64"}


@dataclass(frozen=True)
class Field:
    """One word. An event adds whether the field is required and whether it may be null.

    `shape` holds JSON Schema keywords (`type`, `format`, `enum`, `items`); `model` is what the items of an array are,
    and then the sample is an array of one such object.
    """

    name: str
    shape: Mapping[str, Any]
    description: str
    sample: Any = None
    model: Model | None = None
    provenance: Provenance = "inferred"


@dataclass(frozen=True)
class Model:
    """An object inside a body. `fields` is written as in catalogue.BuiltinEvent."""

    name: str
    description: str
    fields: str
    vocabulary: Vocabulary


def _text(name: str, description: str, sample: str | None, provenance: Provenance = "inferred") -> Field:
    return Field(name, {"type": "string"}, description, sample, provenance=provenance)


def _choice(name: str, choices: tuple[str, ...], description: str, sample: str) -> Field:
    return Field(name, {"type": "string", "enum": list(choices)}, description, sample)


def _moment(name: str, description: str, sample: str, provenance: Provenance = "inferred") -> Field:
    shape = {"type": "string", "format": "date-time"}
    return Field(name, shape, f"{description} Date and time in UTC.", sample, provenance=provenance)


def _actor(name: str, action: str, sample: str | None = ADMINISTRATOR) -> Field:
    return _text(name, _BY.format(action), sample)


def _texts(name: str, description: str, sample: list[str]) -> Field:
    return Field(name, {"type": "array", "items": {"type": "string"}}, description, sample)


def _objects(name: str, model: Model, description: str) -> Field:
    return Field(name, {"type": "array"}, description, model=model)


def _vocabulary(*fields: Field) -> dict[str, Field]:
    return {field.name: field for field in fields}


_PERSON = _vocabulary(
    _text("FirstName", "First name.", "Zoë"),
    _text("LastName", "Last name.", "Lindqvist"),
    _text("Email", "Email address.", "zoe.lindqvist@example.com"),
    _text("CompanyName", "Company that the person works for.", "Contoso AB"),
)
_COMMON = _PERSON | _vocabulary(
    _text("AccountId", "The account that the event belongs to.", "contoso"),
    Field("Ordinal", _INT64, "Commit ordinal in the storage.", 482_137),
    _text("IdentityId", "A unique id to identify the identity.", EMPLOYEE),
    _text("ExternalId", "External ID", "HR-004711"),
    _text("SiteId", "The site concerned.", "9c1e4a52-6f7d-4b38-a0e9-3d5b8c2f7164"),
    _text("HostIdentityId", "The identity that receives the visitors.", HOST),
    _actor("CreatedBy", "created it"),
    _moment("CreationDateUtc", "When it was created.", "2026-03-02T08:14:05.2719384Z"),
    _actor("ModifiedBy", "made the change"),
    _moment("LastModificationDateUtc", "When it was last changed.", "2026-04-17T12:40:31.8820147Z"),
    _actor("DeletedBy", "deleted it"),
    _moment("DeletionDateUtc", "When it was deleted.", "2026-04-29T16:05:48.1093775Z"),
    _text("Reason", "The reason that was given.", "Moved to the Malmö office"),
)

_CUSTOM_FIELD = Model(
    "CustomFieldModel",
    "A field that the account added to its identities.",
    "CustomFieldType? CustomFieldName* CustomFieldValue?",
    _vocabulary(
        _text("CustomFieldType", "Type of the value.", "Text"),
        _text("CustomFieldName", "Name of the custom field.", "Cost center"),
        _text("CustomFieldValue", "The value as text.", "40-1280"),
    ),
)
IDENTITY = _COMMON | _vocabulary(
    _text("MiddleName", "Middle name.", None),
    _text("DisplayName", "Name as it is displayed.", "Zoë Lindqvist"),
    _choice("Status", ("Active", "Inactive"), "Whether the identity is active.", "Active"),
    _text("IdentityType", "Type of identity.", "Employee"),
    _text("CountryCode", "Country, ISO 3166-1 alpha-2.", "SE"),
    _text("Culture", "Language and region.", "sv-SE"),
    _text("DepartmentName", "Department.", "Facilities"),
    _text("JobTitle", "Job title.", "Site engineer"),
    _text("EmployeeNumber", "Employee number.", "004711"),
    _objects("CustomFields", _CUSTOM_FIELD, "Custom fields that have a value."),
    _texts("ChangedProperties", "Names of the properties that changed.", ["DepartmentName", "JobTitle"]),
    _text("PictureId", "Id of the new picture; null when it was removed. The image is not sent.", "7b3d90c2f5e14a68"),
)
IDENTITY_DELETED = IDENTITY | _vocabulary(
    _text("AccountId", "The account id for which this identity is member of.", "contoso", "sourced"),
    _text("IdentityId", "A unique id to identify the identity.", EMPLOYEE, "sourced"),
    _text("ExternalId", "External ID", "HR-004711", "sourced"),
    Field("Ordinal", _INT64, "Commit ordinal in the storage.", 482_137, provenance="sourced"),
    _text("Email", "Email address.", "zoe.lindqvist@example.com", "partly-sourced"),
    _text("DeletedBy", _BY.format("deleted the identity"), ADMINISTRATOR, "partly-sourced"),
    _moment("DeletionDateUtc", "When the identity was deleted.", "2026-04-29T16:05:48.1093775Z", "partly-sourced"),
)
IDENTITY_REQUEST = _COMMON | _vocabulary(
    _text("IdentityRequestId", "The request.", "c48d1f03-8b6a-4e29-97f5-b2e6d07a3c91"),
    _text("IdentityTemplateId", "The template that the identity is to follow.", "1a9f5c37-e04b-4d62-8c7e-5f3b6a8d9024"),
    _text("IdentityTemplateName", "Name of that template.", "Contractor"),
    _choice("Status", ("Pending", "Approved", "Denied", "Canceled", "Expired"), "State of the request.", "Pending"),
    _text("PreviousStatus", "State before this change.", "Pending"),
    _actor("RequestedBy", "made the request", HOST),
    _text("Reason", "Reason for the request.", "Lift maintenance until the end of June"),
    _text("IdentityId", "The identity that came out of the request, once there is one.", EMPLOYEE),
    _actor("ReviewedBy", "approved or denied the request", APPROVER),
    _text("ReviewReason", "Reason for the approval or denial.", "Training certificate checked"),
)
ACCESS = _COMMON | _vocabulary(
    _text("AccessId", "The access of one identity to one area.", "d35a7c96-1e4f-4082-b9d6-7c0e8f2b5a43"),
    _text("LocationId", "The area (location) concerned.", "4e8b2d1c-a7f9-4630-8d5e-0c6f9b3a7e28"),
    _text("TeamId", "The role (team) through which the access exists; null when it is direct.", None),
    _text("ScheduleMapId", "When the access is valid during the week.", "62f0b8e4-3c9d-4a17-b5e8-1d7a4c9f0e36"),
    _moment("StartDateTimeUtc", "Start of the access.", "2026-05-04T06:00:00Z"),
    _moment("EndDateTimeUtc", "End of the access.", "2026-06-30T18:00:00Z"),
    _text("ApprovedById", "Who approved the access.", APPROVER),
    _text("ApproverPrincipalType", "What kind of principal the approver is.", "Identity"),
    _moment("ApprovedDateTimeUtc", "When the access was approved.", "2026-04-30T09:21:44.5530212Z"),
    _text("Description", "Description of the access.", "Server room, spring inventory"),
    _actor("GrantedBy", "granted the access"),
    _moment("GrantDateUtc", "When the access was granted.", "2026-04-30T09:21:45.0076641Z"),
    _actor("RevokedBy", "revoked the access"),
    _moment("RevocationDateUtc", "When the access was revoked.", "2026-06-12T15:32:10.6641903Z"),
)
CREDENTIAL = _COMMON | _vocabulary(
    _text(
        "CredentialId",
        "The credential. Card data and PINs are never sent.",
        "a06c9e5f-4d2b-4871-9f3a-8e1b7d5c0264",
    ),
    _text("Name", "Name of the credential.", "Badge 20417"),
    _choice("CredentialType", ("Card", "Mobile", "LicensePlate", "Pin"), "Kind of credential.", "Card"),
    _text("FormatName", "Name of the card format.", "Standard 26 bits"),
    _text("Status", "State of the credential.", "Active"),
    _moment("ActivationDateUtc", "When the credential becomes valid.", "2026-03-02T00:00:00Z"),
    _moment("ExpirationDateUtc", "When the credential stops being valid.", "2028-03-01T23:59:59Z"),
    _text("IdentityId", "The identity that holds the credential.", EMPLOYEE),
    _text("Reason", "The reason that was given.", "Badge returned at reception"),
    _actor("AssignedBy", "assigned the credential"),
    _moment("AssignmentDateUtc", "When the credential was assigned.", "2026-03-02T08:20:17.3348806Z"),
    _actor("UnassignedBy", "took the credential away"),
    _moment("UnassignmentDateUtc", "When the credential was taken away.", "2026-04-29T16:01:03.9917254Z"),
)
_GUEST = _vocabulary(
    _text("VisitorId", "The visitor.", "37d8f1b5-c2e6-4094-a7d1-5b9e0f8c4a62"),
    _text("FirstName", "First name of the visitor.", "Ada"),
    _text("LastName", "Last name of the visitor.", "Okafor"),
    _text("Email", "Email address of the visitor.", "ada.okafor@example.org"),
    _text("CompanyName", "Company of the visitor.", "Fabrikam Lifts Ltd"),
)
_VISIT_EVENT_ID = _text("VisitEventId", "The visit event.", "f91b6d04-7e3c-4c58-b2a9-d8056e1f7c3a")
VISITOR = (
    _COMMON
    | _GUEST
    | _vocabulary(
        _VISIT_EVENT_ID,
        _text("RegistrationCode", "The code that the visitor shows, also as a QR code.", "R7K2-94TX"),
        _text("DeviceObjectId", "The device where the visitor was scanned.", "84c5e0a7-9b1d-4f63-8e2c-6a7d3f90b15e"),
        _actor("CheckedInBy", "checked the visitor in; null when the visitor did it", None),
        _moment("CheckInDateUtc", "When the visitor was checked in.", "2026-05-06T07:56:22.4471890Z"),
        _actor("CheckedOutBy", "checked the visitor out; null when it was automatic", HOST),
        _moment("CheckOutDateUtc", "When the visitor was checked out.", "2026-05-06T14:31:09.0265317Z"),
        Field("IsAutomatic", {"type": "boolean"}, "Whether the end of the visit or the day checked out.", False),
    )
)
_VISITOR_MODEL = Model(
    "VisitorModel",
    "A person who is invited to the visit event.",
    "VisitorId* FirstName? LastName? Email? CompanyName?",
    _GUEST,
)
VISIT = _COMMON | _vocabulary(
    _VISIT_EVENT_ID,
    _text("Name", "Name of the visit event.", "Lift inspection, building C"),
    _texts("LocationIds", "The areas that may be visited.", ["4e8b2d1c-a7f9-4630-8d5e-0c6f9b3a7e28"]),
    _actor("RequestedBy", "asked for the visit", HOST),
    _moment("StartDateTimeUtc", "Start of the visit.", "2026-05-06T08:00:00Z"),
    _moment("EndDateTimeUtc", "End of the visit.", "2026-05-06T15:00:00Z"),
    _text("TimeZoneId", "Time zone of the site.", "Europe/Stockholm"),
    _text("Reason", "Reason for the visit.", "Yearly inspection"),
    _text("Status", "State of the visit event.", "Pending"),
    _objects("Visitors", _VISITOR_MODEL, "The invited visitors."),
    _actor("ApprovedBy", "approved the visit", APPROVER),
    _text("ApprovalReason", "Reason for the approval.", "Inspector is known to us"),
    _moment("ApprovalDateUtc", "When the visit was approved.", "2026-05-04T10:12:37.1180425Z"),
    _actor("DeniedBy", "denied the visit", APPROVER),
    _text("DenialReason", "Reason for the denial.", "Building C is closed that week"),
    _moment("DenialDateUtc", "When the visit was denied.", "2026-05-04T10:12:37.1180425Z"),
    _actor("CanceledBy", "canceled the visit", HOST),
    _text("CancellationReason", "Reason for the cancellation.", "Moved to the following week"),
    _moment("CancellationDateUtc", "When the visit was canceled.", "2026-05-05T13:47:58.7702193Z"),
    _moment("ExpirationDateUtc", "When the visit event expired.", "2026-05-06T15:00:00Z"),
)
