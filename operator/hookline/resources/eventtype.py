"""The EventType: a name for events and what their bodies must look like.

Decides which fields there are and that the object is named after its event. Never checks whether `schema` is a JSON
Schema (schemas.py does) and never checks a body.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from hookline.resources.base import EventName, Model, Problem, Refused, Resource
from hookline.resources.rules import cel

_NAME_RULE = "must be the lower case of spec.event, because Kubernetes allows no capitals in names"


class EventTypeSpec(Model):
    """The event type."""

    event: EventName = Field(description="Name of the event type in its own spelling; Webhooks and producers use it.")
    description: str = Field(default="", max_length=1024, description="When such an event happens, in your own words.")
    schema_: dict[str, Any] = Field(
        alias="schema",
        max_length=64,
        description="JSON Schema (draft-04 or later) of the body of an event. {} takes any JSON. Patterns are those of "
        "ECMA-262, as in JavaScript with the flag u.",
        examples=["{type: object}"],
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )
    validation: Literal["Enforce", "Warn", "Ignore"] = Field(
        default="Enforce",
        description="What happens to an event whose body does not match the schema: it is refused (Enforce), taken "
        "with a warning (Warn), or not checked at all (Ignore).",
    )


class EventType(Resource):
    """An EventType makes an event known: its name and the JSON Schema of its body."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                cel(
                    "self.metadata.name == self.spec.event.lowerAscii()",
                    f"`metadata.name` {_NAME_RULE}",
                    ".metadata.name",
                )
            ]
        }
    )

    kind: Literal["EventType"] = Field(default="EventType", description="The kind.")
    spec: EventTypeSpec = Field(description="The event type.", examples=["{event: …, schema: …}"])

    @model_validator(mode="after")
    def _named_after_event(self) -> Self:
        wanted = self.spec.event.lower()
        if self.metadata.name != wanted:
            raise Refused(Problem(("metadata", "name"), f"{_NAME_RULE}; write name: {wanted}"))
        return self
