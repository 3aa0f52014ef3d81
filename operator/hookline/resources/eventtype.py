"""The EventType: a name for events and what their bodies must look like.

Decides which fields there are and that the object is named after its event. Never checks whether `schema` is a JSON
Schema (schemas.py does) and never checks a body, not even the sample.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from hookline.resources.base import EventName, Model, Problem, Refused, Resource
from hookline.resources.rules import TextRule, cel

_NAME_RULE = "must be the lower case of spec.event, because Kubernetes allows no capitals in names"

ONE_LINE = TextRule("must be one line of text, without control characters", r"[^\x00-\x1f\x7f-\x9f]*")
"""Terminals show it, and would obey what else it held."""

NOT_OUR_OWN = TextRule(
    "must not begin with hookline., as the types of Hookline's own events do; write another name",
    "(?i)^hookline[.]",
    refuses=True,
)
"""See events/notices."""


class EventTypeSpec(Model):
    """The event type."""

    event: Annotated[EventName, NOT_OUR_OWN] = Field(
        description="Name of the event type in its own spelling; Webhooks and producers use it."
    )
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
    sample: Any = Field(
        default=None,
        description="One body of such an event, for whoever writes a receiver; at most 16 KiB as JSON. If it does not "
        "match the schema, the EventType is not accepted: one of the two is wrong.",
        examples=["{orderId: …}"],
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )
    deprecated: Annotated[str, ONE_LINE] = Field(
        default="",
        max_length=256,
        description="Why this event should no longer be used, and what to use instead. Whoever publishes it, and each "
        "Webhook on it, is told so; it is delivered as ever.",
        examples=["use OrderPlaced; ends in May 2027"],
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
