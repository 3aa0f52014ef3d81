"""The Replay: deliveries of one Webhook, or of several, that are to be made once more.

Decides which fields there are, their bounds and defaults, and which of them go together. Never looks at other objects,
and never at the queue: what is found there, and what becomes of it, is decided in api/replay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from hookline.resources.base import Count, Flag, Model, ObjectName, Problem, Refused, Resource, Status
from hookline.resources.dispatcher import LabelName, LabelText
from hookline.resources.rules import Distinct, TextRule, cel

MAX_WEBHOOKS = 100
"""Of one Replay: all of them are read about in one pass."""

_ONE_OF = "must have exactly one of webhook and selector; write webhook: {name: my-name}"
_ORDER = "must be before until; write an earlier time, or a later one for until"
_EVENTS_ONLY = "must not be true unless source is Events; leave it out: dead letters are failed ones"
IMMUTABLE = "must not be changed: what was asked for is under way or done; make another Replay"

_DAY = (
    "20[0-9]{2}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))"
    "|20(0[048]|[2468][048]|[13579][26])-02-29"
)
_CLOCK = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"

Time = Annotated[
    str,
    Field(min_length=1, max_length=64, examples=["2026-11-30T14:00:00Z"]),
    TextRule("must be a time of this century, as in RFC 3339; write 2026-11-30T14:00:00Z", f"({_DAY})T{_CLOCK}"),
]
"""A point in time, RFC 3339. No day that a month does not have, so that whoever reads it never fails."""

EventId = Annotated[
    str,
    Field(min_length=1, max_length=128, description="Id of an event, as receivers see it in webhook-id."),
    TextRule("must consist of letters, digits, _ and -; write it as in webhook-id", "[A-Za-z0-9_-]+"),
]


def unix_s(time: str) -> float:
    """Of a time as it stands in a Replay: Unix time."""
    return datetime.fromisoformat(time).timestamp()


class WebhookRef(Model):
    """A Webhook of the same namespace."""

    name: ObjectName = Field(description="Name of the Webhook.")


class WebhookSelector(Model):
    """Labels of Webhooks in the same namespace."""

    match_labels: dict[LabelName, LabelText] = Field(
        min_length=1,
        max_length=16,
        description=f"Labels that a Webhook must have, all of them. At most {MAX_WEBHOOKS} Webhooks may have them.",
        examples=["{team: a}"],
        json_schema_extra={"minProperties": 1},
    )


class ReplaySpec(Model):
    """What is to be delivered once more, and how fast."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                cel("has(self.webhook) != has(self.selector)", _ONE_OF),
                cel(
                    "!has(self.since) || !has(self.until) || timestamp(self.since) < timestamp(self.until)",
                    f"`since` {_ORDER}",
                    ".since",
                ),
                cel(
                    "self.source == 'Events' || !self.onlyFailed",
                    f"`onlyFailed` {_EVENTS_ONLY}",
                    ".onlyFailed",
                    "FieldValueForbidden",
                ),
                cel("self == oldSelf", IMMUTABLE, reason="FieldValueForbidden"),
            ]
        }
    )

    webhook: WebhookRef | None = Field(default=None, description="The Webhook whose deliveries are made once more.")
    selector: WebhookSelector | None = Field(default=None, description="Several Webhooks, by their labels.")
    source: Literal["DeadLetters", "Events"] = Field(
        default="DeadLetters",
        description="DeadLetters: what was given up; each is removed once its delivery is stored. Events: what was "
        "published, also what was delivered, or published before the Webhook was there; as far back as the Dispatcher "
        "keeps events (retention.eventsSeconds).",
    )
    since: Time | None = Field(
        default=None,
        description="Only what was given up (DeadLetters) or published (Events) at this time or later, by the clock of "
        "NATS.",
    )
    until: Time | None = Field(
        default=None,
        description="Only what was given up or published before this time. Without it, what there is when the Replay "
        "begins.",
    )
    only_failed: Flag = Field(
        default=False,
        description="Of Events, only those without a successful attempt in the attempts log: also those that still "
        "wait for one, and those that the log does not reach back to (status.unknown).",
    )
    ids: Annotated[tuple[EventId, ...], Distinct()] = Field(
        default=(), max_length=500, description="Only events with these ids; without any, all."
    )
    rate_per_second: Annotated[Count, Field(ge=1, le=1000)] = Field(
        default=50,
        description="How many deliveries are stored in a second, at most. Fewer are while many of the Webhook wait.",
    )
    dry_run: Flag = Field(default=False, description="True counts what would be replayed, and replays nothing.")
    ttl_seconds_after_finished: Annotated[Count, Field(ge=0, le=31_536_000)] | None = Field(
        default=None,
        description="How long the Replay is kept after it is finished, in seconds; without it, until it is deleted.",
    )

    @model_validator(mode="after")
    def _fields_go_together(self) -> Self:
        problems = list(self._problems())
        if problems:
            raise Refused(*problems)
        return self

    def means(self, name: str, labels: Mapping[str, str]) -> bool:
        """Whether a Webhook of the same namespace is one that it is for."""
        if self.webhook is not None:
            return self.webhook.name == name
        return self.selector is not None and self.selector.match_labels.items() <= labels.items()

    def _problems(self) -> Iterator[Problem]:
        if (self.webhook is None) == (self.selector is None):
            yield Problem((), _ONE_OF)
        if self.since is not None and self.until is not None and unix_s(self.since) >= unix_s(self.until):
            yield Problem(("since",), _ORDER)
        if self.only_failed and self.source != "Events":
            yield Problem(("onlyFailed",), _EVENTS_ONLY)


class ReplayTarget(Model):
    """A Webhook that a Replay is for."""

    model_config = ConfigDict(extra="ignore")

    name: str = Field(max_length=253, description="Name of the Webhook.", examples=["my-name"])
    uid: str = Field(
        max_length=128,
        description="Its uid: another Webhook of this name is not meant.",
        examples=["3f1c2a9e-0000-4000-8000-000000000000"],
    )
    event: str = Field(max_length=128, description="The event type that it hears.", examples=["IdentityCreated"])
    dispatcher: str = Field(max_length=253, description="The Dispatcher that sends for it.", examples=["default"])


class ReplayPlace(Model):
    """How far one stream was read. Positions are sequences of its messages."""

    model_config = ConfigDict(extra="ignore")

    dispatcher: str = Field(max_length=253, description="The Dispatcher whose queue it is.", examples=["default"])
    stream: str = Field(max_length=255, description="Name of the stream.", examples=["HOOKLINE_DEAD"])
    created: str = Field(
        max_length=64,
        description="When the stream was made: positions of another one mean nothing.",
        examples=["2026-11-01T09:00:00Z"],
    )
    next: Count = Field(ge=0, description="What is before it is counted.", examples=[1])
    settled: Count = Field(
        ge=0,
        description="What is before it is done; what follows up to `next` is done again after a crash.",
        examples=[1],
    )
    end: Count = Field(ge=0, description="The last one: what there was when the Replay began.", examples=[9])


class ReplayStatus(Status):
    """How far a Replay is; written by `hookline api` only."""

    phase: Literal["Pending", "Running", "Complete", "Failed"] = Field(
        default="Pending", description="Where it is; the conditions Complete and Failed say why."
    )
    found: Count = Field(default=0, ge=0, description="What was asked for and is there: the sum of the next three.")
    replayed: Count = Field(
        default=0, ge=0, description="Stored to be delivered once more; of a dry run, what would be."
    )
    skipped: Count = Field(
        default=0, ge=0, description="Not to be delivered again: delivered already (onlyFailed), or no delivery at all."
    )
    failed: Count = Field(default=0, ge=0, description="Refused by the queue; a dead letter stays where it is.")
    unknown: Count = Field(
        default=0,
        ge=0,
        description="Of those that were replayed (onlyFailed), events that the attempts log does not reach back to: "
        "whether they were delivered before is not known.",
    )
    started_at: str | None = Field(
        default=None, max_length=64, description="When it began.", json_schema_extra={"format": "date-time"}
    )
    finished_at: str | None = Field(
        default=None, max_length=64, description="When it was finished.", json_schema_extra={"format": "date-time"}
    )
    webhooks: tuple[ReplayTarget, ...] = Field(
        default=(),
        max_length=MAX_WEBHOOKS,
        description="The Webhooks that it is for, as they were when it began.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    checkpoint: tuple[ReplayPlace, ...] = Field(
        default=(),
        max_length=64,
        description="How far it is, for whoever goes on after a crash.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )


class Replay(Resource):
    """A Replay has deliveries made once more: dead letters, or events by time. It runs once; its spec never changes."""

    kind: Literal["Replay"] = Field(default="Replay", description="The kind.")
    spec: ReplaySpec = Field(
        description="What is to be delivered once more, and how fast.", examples=["{webhook: {name: my-name}}"]
    )
    status: ReplayStatus = Field(default=ReplayStatus(), description="How far it is; written by `hookline api` only.")
