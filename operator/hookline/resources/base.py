"""What all resources share: the base model, metadata, references, status, and how a wrong field is told to a person.

Decides what a field accepts together with what the API server is told about it, so that both say the same. Never
reads a file, never talks to a cluster, and never repeats a value that a person wrote: it may be a secret.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from hookline.resources.problems import Problem as Problem
from hookline.resources.problems import Refused as Refused
from hookline.resources.problems import explain
from hookline.resources.rules import TextRule

GROUP = "hookline.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
ALLOW_LABEL = "hookline.dev/allow-webhooks"
"""Webhooks may use a Secret only if its owner gave it this label with the value "true"."""
PUBLISHER_LABEL = "hookline.dev/publisher"
"""A Secret with this label and the value "true" holds a token by which events of its namespace are published."""
CA_LABEL = "hookline.dev/ca"
"""A ConfigMap `hookline-ca` with this label and the value "true" is filled with the CA of the gateways."""
EVENT_TYPES_ANNOTATION = "hookline.dev/event-types"
"""Of such a Secret: the only event types that its token may publish, with commas between them."""


class Model(BaseModel):
    """Base of everything in a manifest: unknown fields are refused, null means absent, as at the API server."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=True,
        serialize_by_alias=True,
        hide_input_in_errors=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: Any) -> Any:
        # The API server prunes nulls of fields that are not nullable before it fills in defaults; none of ours is.
        # An unknown field stays unknown, whatever its value.
        if not isinstance(data, dict):
            return data
        known = {name for key, field in cls.model_fields.items() for name in (key, field.alias)}
        return {key: value for key, value in data.items() if value is not None or key not in known}

    @classmethod
    def model_validate(
        cls,
        obj: Any,
        *,
        strict: bool | None = None,
        extra: Literal["allow", "ignore", "forbid"] | None = None,
        from_attributes: bool | None = None,
        context: Any | None = None,
        by_alias: bool | None = True,
        by_name: bool | None = False,
    ) -> Self:
        """Read a part of a manifest. Only the spelling of manifests counts: `secret_ref` is an unknown field."""
        return super().model_validate(
            obj,
            strict=strict,
            extra=extra,
            from_attributes=from_attributes,
            context=context,
            by_alias=by_alias,
            by_name=by_name,
        )


_DNS_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
DNS_NAME = TextRule(
    "must consist of lower-case letters, digits, - and ., and start and end with a letter or digit; write my-name",
    rf"{_DNS_LABEL}(\.{_DNS_LABEL})*",
)
"""RFC 1123 subdomain: the names of Kubernetes objects."""
NAMESPACE_NAME = TextRule(
    "must consist of lower-case letters, digits and -, and start and end with a letter or digit; write my-team",
    _DNS_LABEL,
)
"""RFC 1123 label."""

EventName = Annotated[
    str,
    Field(min_length=1, max_length=128, examples=["IdentityCreated"]),
    TextRule(
        "must consist of letters and digits, with single . or - between them, and start with a letter; "
        "write IdentityCreated or order.created",
        r"[A-Za-z][A-Za-z0-9]*([.-][A-Za-z0-9]+)*",
    ),
]
"""Name of an event type, in its own spelling."""

ObjectName = Annotated[str, Field(min_length=1, max_length=253, examples=["my-name"]), DNS_NAME]
SecretKey = Annotated[
    str,
    Field(min_length=1, max_length=253),
    TextRule("must consist of letters, digits, -, _ and .; write my-key", "[-._a-zA-Z0-9]+"),
]
"""A key in the data of a Secret (core/v1)."""

Flag = StrictBool
"""Not 0, 1 or "yes": the API server takes none of them."""
Count = StrictInt
"""Not "5" or true: the API server takes neither."""

ScheduleSeconds = Annotated[
    tuple[Annotated[Count, Field(ge=1, le=86400, description="One wait, in seconds; at most a day.")], ...],
    Field(
        max_length=20,
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
        examples=[[5, 300, 1800]],
    ),
]
"""Waits between attempts, in seconds."""


class ObjectMeta(Model):
    """The part of Kubernetes' metadata that Hookline reads; the rest is ignored."""

    model_config = ConfigDict(extra="ignore")

    name: ObjectName = Field(description="Name of the object, unique in its namespace.")
    namespace: Annotated[str, Field(min_length=1, max_length=63), NAMESPACE_NAME] = Field(
        default="default", description="Namespace of the object."
    )
    uid: str | None = Field(default=None, description="Identity that the cluster gave to the object.")
    generation: Count = Field(default=1, ge=0, description="Counts the changes of the spec.")
    labels: dict[str, str] = Field(default={}, description="Labels.")
    annotations: dict[str, str] = Field(default={}, description="Annotations.")


class SecretRef(Model):
    """A Secret in the same namespace, allowed by the label `hookline.dev/allow-webhooks: "true"`."""

    model_config = ConfigDict(json_schema_extra={"x-kubernetes-map-type": "atomic"})

    name: ObjectName = Field(description="Name of the Secret.", examples=["my-secret"])


class SecretKeyRef(SecretRef):
    """One key of a Secret in the same namespace, allowed by the label `hookline.dev/allow-webhooks: "true"`."""

    key: SecretKey = Field(default="secret", description="Key in the data of the Secret.")


class Condition(Model):
    """One aspect of the state, in the form of Kubernetes' metav1.Condition."""

    model_config = ConfigDict(extra="ignore")

    type: str = Field(max_length=316, description="Name of the condition, in CamelCase.")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether the condition holds.")
    observed_generation: Count | None = Field(
        default=None, ge=0, description="The metadata.generation that the condition speaks about."
    )
    last_transition_time: str = Field(
        max_length=64,
        description="When the status of the condition changed last.",
        json_schema_extra={"format": "date-time"},
    )
    reason: str = Field(
        min_length=1,
        max_length=1024,
        description="One word, in CamelCase, for programs; docs/conditions.md lists all.",
        pattern="^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
    )
    message: str = Field(max_length=32768, description="A sentence for people: what is so, and what to do about it.")


class Status(Model):
    """What Hookline found; written by the operator only."""

    model_config = ConfigDict(extra="ignore")

    # -1 rather than absent: kstatus (Flux, kpt, kubectl wait tools) takes an object without conditions for ready.
    observed_generation: Count = Field(
        default=-1, ge=-1, description="The metadata.generation that was last looked at; -1 before the first look."
    )
    conditions: tuple[Condition, ...] = Field(
        default=(),
        max_length=16,
        description="The aspects of the state, by type.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )


class Resource(Model):
    """Base of all kinds. A subclass adds `kind` and `spec`."""

    api_version: Literal["hookline.dev/v1alpha1"] = Field(
        default="hookline.dev/v1alpha1", description="Group and version of the kind."
    )
    metadata: ObjectMeta = Field(description="Name, namespace, labels and annotations.")
    status: Status = Field(default=Status(), description="What Hookline found; written by the operator only.")

    @field_validator("status", mode="wrap")
    @classmethod
    def _status_is_output(cls, value: Any, validate: ValidatorFunctionWrapHandler) -> Status:
        # The API server drops the status of what people apply, so what stands there cannot make a manifest wrong.
        try:
            found = validate(value)
        except ValidationError:
            found = cls.model_fields["status"].default
        assert isinstance(found, Status)
        return found


def problems_of(error: ValidationError) -> list[Problem]:
    """All problems of a manifest, in the order of its fields. Nothing that was written as a value is repeated."""
    return explain(error, _models()[error.title])


def _models(base: type[Model] = Model) -> dict[str, type[Model]]:
    """Every model by its name, which is the title of its ValidationErrors."""
    found = {base.__name__: base}
    for model in base.__subclasses__():
        found |= _models(model)
    return found
