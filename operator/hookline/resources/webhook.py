"""The Webhook: one event of one namespace, sent to one URL.

Decides which fields there are, their bounds and defaults, and which of them go together. Never looks at other
objects: whether the Secret, the event type and the dispatcher exist is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from hookline.resources.base import (
    Count,
    EventName,
    Flag,
    Model,
    ObjectName,
    Problem,
    Refused,
    Resource,
    ScheduleSeconds,
    SecretKey,
    SecretKeyRef,
    SecretRef,
    Status,
)
from hookline.resources.headers import MAX_NAME_LENGTH, MAX_VALUE_LENGTH, NAME_RULES, VALUE_RULE
from hookline.resources.rules import cel
from hookline.resources.url import MAX_LENGTH, URL_RULES

HeaderName = Annotated[str, Field(min_length=1, max_length=MAX_NAME_LENGTH), NAME_RULES]

_NEEDS_SECRET = "is required when signature.scheme is Header; write secretRef: {name: my-secret}"  # noqa: S105
_NEEDS_HEADER_NAME = "is required when scheme is Header; write headerName: X-App-Key"
_NO_HEADER_NAME = "must not be set unless scheme is Header; leave it out or write scheme: Header"
_NOT_HOST = "must not be Host; write another name, such as X-App-Key"
_ONE_VALUE = "must have exactly one of value and valueFrom; write value, or valueFrom with a secretKeyRef"
_UNIQUE_NAMES = "must have a name once, whatever its case; write each header name in one entry only"
_TAKEN_NAME = "must not have the same name as signature.headerName, which carries the secret; write another name"


class Signature(Model):
    """How a receiver can tell that a call is genuine."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                cel(
                    "self.scheme != 'Header' || has(self.headerName)",
                    f"`headerName` {_NEEDS_HEADER_NAME}",
                    ".headerName",
                    "FieldValueRequired",
                ),
                cel(
                    "self.scheme == 'Header' || !has(self.headerName)",
                    f"`headerName` {_NO_HEADER_NAME}",
                    ".headerName",
                    "FieldValueForbidden",
                ),
                cel("!has(self.headerName) || self.headerName.lowerAscii() != 'host'", _NOT_HOST, ".headerName"),
            ]
        }
    )

    scheme: Literal["StandardWebhooks", "Header"] = Field(
        default="StandardWebhooks",
        description="StandardWebhooks signs each call with the Secret (webhook-signature): HMAC-SHA256 with a key "
        "whsec_…, Ed25519 with a key whsk_…. Header sends the Secret itself in the header headerName.",
    )
    header_name: HeaderName | None = Field(
        default=None, description="Header that carries the Secret; for the scheme Header only."
    )

    @model_validator(mode="after")
    def _header_name_fits_scheme(self) -> Self:
        message = None
        if self.scheme == "Header" and self.header_name is None:
            message = _NEEDS_HEADER_NAME
        elif self.scheme != "Header" and self.header_name is not None:
            message = _NO_HEADER_NAME
        elif self.header_name is not None and self.header_name.lower() == "host":
            message = _NOT_HOST
        if message is not None:
            raise Refused(Problem(("headerName",), message))
        return self


class HeaderSource(Model):
    """Where the value of a header comes from."""

    secret_key_ref: SecretKeyRef = Field(
        description="The key of a Secret that holds the value.", examples=[{"name": "my-secret", "key": "token"}]
    )


class Header(Model):
    """One header that is added to every call."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [cel("has(self.value) != has(self.valueFrom)", _ONE_VALUE)],
        }
    )

    name: HeaderName = Field(description="Name of the header; its case is kept.", examples=["X-My-Header"])
    value: Annotated[str, Field(max_length=MAX_VALUE_LENGTH), VALUE_RULE] | None = Field(
        default=None, repr=False, description="Value for all to see; what is secret belongs into a Secret (valueFrom)."
    )
    value_from: HeaderSource | None = Field(default=None, description="Value out of a Secret.")

    @model_validator(mode="after")
    def _one_value(self) -> Self:
        if (self.value is None) == (self.value_from is None):
            raise ValueError(_ONE_VALUE)
        return self


class Retry(Model):
    """When a failed call is tried again."""

    schedule_seconds: ScheduleSeconds = Field(
        description="Seconds to wait before the second attempt, the third and so on; an empty list means a single "
        "attempt. The real waits vary a little, so that receivers are not hit by many at once."
    )


class RateLimit(Model):
    """How many calls there may be in a time, over all senders."""

    calls: Annotated[Count, Field(ge=1, le=100_000)] = Field(description="How many calls.", examples=[10])
    per_seconds: Annotated[Count, Field(ge=1, le=3600)] = Field(
        default=1, description="In how many seconds. They are spread evenly over that time."
    )


class CaSecretRef(SecretRef):
    """One key of an allowed Secret in the same namespace with CA certificates in PEM form."""

    key: SecretKey = Field(default="ca.crt", description="Key in the data of the Secret.")


class Tls(Model):
    """Certificates beyond those that the sender's system trusts."""

    ca_secret_ref: CaSecretRef | None = Field(
        default=None, description="CA certificates that may have signed the receiver's, instead of the system's."
    )
    client_cert_secret_ref: SecretRef | None = Field(
        default=None, description="Secret of type kubernetes.io/tls with the certificate that the sender shows (mTLS)."
    )


class WebhookSpec(Model):
    """What is to be sent where, and how."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                cel(
                    "self.signature.scheme != 'Header' || has(self.secretRef)",
                    f"`secretRef` {_NEEDS_SECRET}",
                    ".secretRef",
                    "FieldValueRequired",
                ),
                cel(
                    "!has(self.signature.headerName) || self.headers.all(h, "
                    "h.name.lowerAscii() != self.signature.headerName.lowerAscii())",
                    f"a header {_TAKEN_NAME}",
                    ".headers",
                ),
            ]
        }
    )

    enabled: Flag = Field(
        default=True,
        description="False switches the Webhook off: events of that time are not delivered, not even later. To keep "
        "them, use paused.",
    )
    paused: Flag = Field(
        default=False,
        description="True lets deliveries wait: no calls are made, and events of that time are delivered, in publish "
        "order, once it is false again. What waits for longer than retention.parkedSeconds of the Dispatcher becomes a "
        "dead letter.",
    )
    description: str = Field(default="", max_length=1024, description="What the Webhook is for, in your own words.")
    url: Annotated[str, Field(min_length=1, max_length=MAX_LENGTH), URL_RULES] = Field(
        repr=False,
        description="Where to POST: https only (in any case), called just as typed, port and query included.",
        examples=["https://host/path"],
    )
    event: EventName = Field(description="The event type to send; exactly one.")
    secret_ref: SecretKeyRef | None = Field(
        default=None, description="Secret to sign calls with, or to send; without it calls are not signed."
    )
    signature: Signature = Field(default=Signature(), description="How the Secret is used.")
    headers: tuple[Header, ...] = Field(
        default=(),
        max_length=32,
        description="Headers that are added to every call.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "x-kubernetes-validations": [
                cel(
                    "self.all(h, self.exists_one(o, o.name.lowerAscii() == h.name.lowerAscii()))",
                    _UNIQUE_NAMES,
                )
            ],
        },
    )
    timeout_seconds: Annotated[Count, Field(ge=1, le=30)] | None = Field(
        default=None,
        description="Longest time for one whole call, in seconds; the default and the upper limit come from the "
        "Dispatcher.",
    )
    retry: Retry | None = Field(default=None, description="Retry schedule; without it the Dispatcher's holds.")
    max_concurrency: Annotated[Count, Field(ge=1, le=1000)] = Field(
        default=10, description="How many calls may be under way to this URL at once, over all senders."
    )
    rate_limit: RateLimit | None = Field(
        default=None, description="How often this URL may be called; without it, as often as maxConcurrency allows."
    )
    tls: Tls | None = Field(default=None, description="Certificates to trust and to show.")
    dispatcher: ObjectName = Field(
        default="default", description="The Dispatcher that sends for this Webhook; it must serve the namespace."
    )

    @model_validator(mode="after")
    def _fields_go_together(self) -> Self:
        problems = [*self._missing_secret(), *self._clashing_headers()]
        if problems:
            raise Refused(*problems)
        return self

    def secret_names(self) -> set[str]:
        """Names of the Secrets that the Webhook needs."""
        refs: list[SecretRef | None] = [self.secret_ref]
        refs += [header.value_from.secret_key_ref for header in self.headers if header.value_from]
        if self.tls is not None:
            refs += [self.tls.ca_secret_ref, self.tls.client_cert_secret_ref]
        return {ref.name for ref in refs if ref is not None}

    def _missing_secret(self) -> Iterator[Problem]:
        if self.signature.scheme == "Header" and self.secret_ref is None:
            yield Problem(("secretRef",), _NEEDS_SECRET)

    def _clashing_headers(self) -> Iterator[Problem]:
        secret_header = (self.signature.header_name or "").lower()
        seen: set[str] = set()
        for index, header in enumerate(self.headers):
            name = header.name.lower()
            if name in seen:
                yield Problem(("headers", index, "name"), _UNIQUE_NAMES)
            if name == secret_header:
                yield Problem(("headers", index, "name"), _TAKEN_NAME)
            seen.add(name)


class SigningKey(Model):
    """A public key with which receivers can verify calls."""

    model_config = ConfigDict(extra="ignore")

    public_key: str = Field(
        max_length=64,
        description="whpk_ and the base64 of an Ed25519 public key: verifies the signatures v1a.",
        examples=["whpk_…"],
    )
    until: str | None = Field(
        default=None,
        max_length=64,
        description="Set once the private key was replaced: until then it signs beside its successor.",
        json_schema_extra={"format": "date-time"},
    )


class WebhookStatus(Status):
    """What Hookline found, and what receivers may know."""

    signing_keys: tuple[SigningKey, ...] = Field(
        default=(),
        max_length=16,
        description="Public keys of the private keys (whsk_) that sign calls now. Shared secrets (whsec_) have none.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["publicKey"]},
    )


class Webhook(Resource):
    """A Webhook sends every event of one type in its namespace to one URL, as a signed HTTPS call."""

    kind: Literal["Webhook"] = Field(default="Webhook", description="The kind.")
    spec: WebhookSpec = Field(description="What is to be sent where, and how.", examples=["{event: …, url: …}"])
    status: WebhookStatus = Field(
        default=WebhookStatus(), description="What Hookline found; written by the operator only."
    )
