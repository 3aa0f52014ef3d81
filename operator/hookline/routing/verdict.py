"""What a cluster says of a Webhook, and the route that it becomes.

One pure decision for the operator, `hookline run` and `hookline check`: the conditions Accepted and SecretsResolved,
their summary Ready, and the route with its keys. Reasons and what they mean: reasons.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from hookline.events.schemas import Catalogue, UnknownEvent
from hookline.resources.base import SecretKeyRef
from hookline.resources.dispatcher import Dispatcher, DispatcherSpec
from hookline.resources.egress_policy import HTTPS_PORT, EgressPolicy, literal_address
from hookline.resources.headers import header_value_problem
from hookline.resources.reasons import WebhookReason
from hookline.resources.url import split_query
from hookline.resources.webhook import CaSecretRef, Webhook
from hookline.routing import certificates
from hookline.routing.certificates import CertificateProblem
from hookline.routing.routes import MAX_KEYS_BYTES, DispatcherRecord, Keys, Route, RouteHead, RouteState, held_route
from hookline.routing.secret import Refusal, Secrets, allowed_value
from hookline.routing.signing import SigningKeyError, split_keys

Status = Literal["True", "False", "Unknown"]

_UIDS = uuid.UUID("6f1b3c1e-6a0f-4c43-9d55-7f2f5a6c9d10")


@dataclass(frozen=True, slots=True)
class Condition:
    """One line of a status: is it so, a reason of the closed list, and a sentence that says what to do."""

    type: str
    status: Status
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided of one Webhook. `ready` sums the others up."""

    accepted: Condition
    secrets_resolved: Condition
    ready: Condition
    route: Route
    keys: Keys = field(repr=False)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a decision looks at besides the Webhook."""

    secrets: Secrets = field(repr=False)
    catalogue: Catalogue
    dispatchers: Mapping[str, Dispatcher]
    policies: Mapping[str, EgressPolicy]
    """Of each Dispatcher, by its name."""
    namespace_labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Of each namespace that is known, by its name."""
    size_before: Callable[[str], int] = lambda _uid: 0
    """How large the keys of a Webhook are that an older version took, by uid: what is there may stay."""


def uid_of(namespace: str, name: str) -> str:
    """On one machine, where no cluster gives uids: always the same for the same namespace and name."""
    return str(uuid.uuid5(_UIDS, f"{namespace}/{name}"))


def held(namespace: str, name: str) -> tuple[Route, Keys]:
    """The route of a Webhook of which nothing valid is known but its name: what it had waits, nothing new comes."""
    uid = uid_of(namespace, name)
    return held_route(RouteHead(uid=uid, namespace=namespace, name=name, generation=0, event=None)), Keys(uid=uid)


def record_of(dispatcher: Dispatcher) -> DispatcherRecord:
    """What its senders are told of a Dispatcher."""
    spec = dispatcher.spec
    return DispatcherRecord(
        allow_cidrs=tuple(spec.egress.allow_cidrs),
        allow_ports=tuple(spec.egress.allow_ports),
        proxy_url=spec.egress.proxy.url if spec.egress.proxy else None,
        events_seconds=spec.retention.events_seconds,
        parked_seconds=spec.retention.parked_seconds,
        dead_seconds=spec.retention.dead_seconds,
        attempts_enabled=spec.attempts.enabled,
        attempts_seconds=spec.attempts.max_age_seconds,
        attempts_bytes=spec.attempts.max_bytes,
        stream_replicas=spec.nats.stream_replicas,
        stream_prefix=spec.nats.stream_prefix,
    )


def decide(webhook: Webhook, around: Surroundings) -> Verdict:
    """The verdict over one Webhook. Never raises: a fault in one decision must not stop those over all others."""
    try:
        return _decide(webhook, around)
    except Exception as error:  # noqa: BLE001  # whatever stands in a Webhook or a Secret
        return _undecided(webhook, type(error).__name__)


def _decide(webhook: Webhook, around: Surroundings) -> Verdict:
    accepted = _accepted(webhook, around)
    keys, refusal = _keys(webhook, around)
    resolved = _resolved(webhook, refusal)
    ready = summary(webhook, accepted, resolved)
    return Verdict(accepted, resolved, ready, _route(webhook, around, accepted, resolved), keys)


def _resolved(webhook: Webhook, refusal: Refusal | None) -> Condition:
    if refusal is not None:
        return Condition("SecretsResolved", "False", refusal.reason, refusal.message)
    if webhook.spec.secret_ref is None:
        message = (
            "calls are not signed, because spec.secretRef names no Secret: receivers cannot tell them from anybody "
            "else's. Write secretRef: {name: …}"
        )
        return Condition("SecretsResolved", "True", WebhookReason.UNSIGNED, message)
    message = "every Secret that the Webhook names is there and allowed"
    return Condition("SecretsResolved", "True", WebhookReason.RESOLVED, message)


def _undecided(webhook: Webhook, problem: str) -> Verdict:
    """What it had waits, and what is new for it too."""
    message = f"a fault in Hookline kept it from being decided ({problem}): please report it; its deliveries wait"
    accepted = Condition("Accepted", "False", WebhookReason.INTERNAL_ERROR, message)
    unknown = Condition("SecretsResolved", "Unknown", WebhookReason.INTERNAL_ERROR, message)
    route, keys = held(webhook.metadata.namespace, webhook.metadata.name)
    uid = {"uid": _uid(webhook)}
    route = route.model_copy(update={**uid, "generation": webhook.metadata.generation, "event": webhook.spec.event})
    ready = Condition("Ready", "False", WebhookReason.INTERNAL_ERROR, message)
    return Verdict(accepted, unknown, ready, route, keys.model_copy(update=uid))


def _uid(webhook: Webhook) -> str:
    metadata = webhook.metadata
    return metadata.uid or uid_of(metadata.namespace, metadata.name)


def _generation(webhook: Webhook) -> int:
    """On one machine, where no cluster counts changes: another one for another spec."""
    if webhook.metadata.uid:
        return webhook.metadata.generation
    return int.from_bytes(hashlib.sha256(webhook.spec.model_dump_json().encode()).digest()[:4])


def _accepted(webhook: Webhook, around: Surroundings) -> Condition:
    problem = _not_accepted(webhook, around)
    if problem is not None:
        return Condition("Accepted", "False", *problem)
    deprecated = around.catalogue.get(webhook.spec.event).deprecated
    if deprecated:
        return Condition("Accepted", "True", WebhookReason.DEPRECATED_EVENT, f"{_DEPRECATED}{deprecated}")
    return Condition("Accepted", "True", WebhookReason.ACCEPTED, "the spec is valid")


_DEPRECATED = "the event is deprecated: "


def _not_accepted(webhook: Webhook, around: Surroundings) -> tuple[WebhookReason, str] | None:
    spec = webhook.spec
    dispatcher = around.dispatchers.get(spec.dispatcher)
    if dispatcher is None:
        return WebhookReason.DISPATCHER_NOT_FOUND, f"spec.dispatcher: {_no_dispatcher(spec.dispatcher, around)}"
    namespace = webhook.metadata.namespace
    if not dispatcher.serves(namespace, around.namespace_labels.get(namespace, {})):
        message = (
            f"spec.dispatcher: the Dispatcher {spec.dispatcher} does not serve the namespace {namespace}; name another "
            "one, or ask its administrators to take the namespace into spec.servedNamespaces"
        )
        return WebhookReason.NAMESPACE_NOT_SERVED, message
    try:
        around.catalogue.get(spec.event)
    except UnknownEvent as error:
        return WebhookReason.UNKNOWN_EVENT, f"spec.event: {error}"
    refusal = _refusal(spec.url, around.policies[spec.dispatcher])
    if refusal is not None:
        return WebhookReason.URL_NOT_ALLOWED, f"spec.url: {refusal}"
    largest = dispatcher.spec.max_timeout_seconds
    if spec.timeout_seconds is not None and spec.timeout_seconds > largest:
        return (
            WebhookReason.TIMEOUT_TOO_LONG,
            f"spec.timeoutSeconds: the Dispatcher allows at most {largest}; write {largest} or less",
        )
    return None


def _refusal(url: str, policy: EgressPolicy) -> str | None:
    """What can be said of a URL before its name is looked up."""
    parts = urlsplit(url)
    address = literal_address(parts.hostname or "")
    refusal = policy.refusal(address) if address is not None else None
    return refusal or policy.port_refusal(parts.port or HTTPS_PORT)


def _no_dispatcher(name: str, around: Surroundings) -> str:
    there = ", ".join(sorted(around.dispatchers))
    return f"there is no Dispatcher {name} that works; " + (
        f"write one of: {there}" if there else "there is none at all"
    )


def summary(webhook: Webhook, *parts: Condition) -> Condition:
    """The condition Ready: the first part that is not true, else that all is well."""
    for part in parts:
        if part.status != "True":
            return Condition("Ready", "False", part.reason, part.message)
    if not webhook.spec.enabled:
        message = "spec.enabled is false: no calls are made, and events of this time are not kept for later"
        return Condition("Ready", "True", WebhookReason.DISABLED, message)
    if webhook.spec.paused:
        message = "spec.paused is true: no calls are made, and deliveries wait until it is false"
        return Condition("Ready", "True", WebhookReason.PAUSED, message)
    unsigned = "" if webhook.spec.secret_ref else ", unsigned: spec.secretRef names no Secret"
    deprecated = "".join(f"; {part.message}" for part in parts if part.reason == WebhookReason.DEPRECATED_EVENT)
    message = f"{webhook.spec.event} events in namespace {webhook.metadata.namespace} will be sent{unsigned}"
    return Condition("Ready", "True", WebhookReason.READY, message + deprecated)


def _route(webhook: Webhook, around: Surroundings, accepted: Condition, resolved: Condition) -> Route:
    spec = webhook.spec
    defaults = around.dispatchers[spec.dispatcher].spec if spec.dispatcher in around.dispatchers else DispatcherSpec()
    # While its Dispatcher does not work, events wait for it instead of being nobody's.
    hears = accepted.status == "True" or accepted.reason == WebhookReason.DISPATCHER_NOT_FOUND
    is_complete = accepted.status == "True" and resolved.status == "True"
    if not spec.enabled:
        state = RouteState.DISABLED
    elif spec.paused:
        # As one whose Secret is missing: senders of any version let its deliveries wait.
        state = RouteState.HELD
    elif is_complete:
        state = RouteState.ACTIVE
    else:
        state = RouteState.HELD
    schedule = spec.retry.schedule_seconds if spec.retry is not None else defaults.retry.schedule_seconds
    return Route(
        uid=_uid(webhook),
        namespace=webhook.metadata.namespace,
        name=webhook.metadata.name,
        generation=_generation(webhook),
        state=state,
        paused=spec.paused and spec.enabled and is_complete,
        # A Webhook that is not accepted hears nothing new; what it had waits for its owner to put it right.
        event=spec.event if hears else None,
        url=split_query(spec.url)[0],
        timeout_seconds=min(spec.timeout_seconds or defaults.default_timeout_seconds, defaults.max_timeout_seconds),
        schedule_seconds=tuple(schedule),
        max_concurrency=spec.max_concurrency,
        rate_limit=(spec.rate_limit.calls, spec.rate_limit.per_seconds) if spec.rate_limit is not None else None,
    )


class _Refused(Exception):
    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


def _keys(webhook: Webhook, around: Surroundings) -> tuple[Keys, Refusal | None]:
    """Keys of a Webhook; when a Secret gives nothing, none at all: half signed is worse than waiting."""
    uid = _uid(webhook)
    try:
        keys = _Borrower(webhook, around.secrets).keys(uid)
        _judge_size(keys, around)
    except _Refused as refused:
        return Keys(uid=uid), refused.refusal
    return keys, None


def _judge_size(keys: Keys, around: Surroundings) -> None:
    size_bytes = keys.size_bytes
    if size_bytes <= MAX_KEYS_BYTES or size_bytes <= around.size_before(keys.uid):
        return
    message = (
        f"headers, certificates and the URL's query take {size_bytes:,} bytes together, and at most {MAX_KEYS_BYTES:,} "
        "are taken; write fewer or shorter headers, and only the CA certificates that are needed"
    )
    raise _Refused(Refusal(WebhookReason.TOO_LARGE, message))


class _Borrower:
    """Reads what one Webhook may read; raises _Refused at the first thing that is not there or not fit."""

    def __init__(self, webhook: Webhook, secrets: Secrets) -> None:
        self._spec = webhook.spec
        self._namespace = webhook.metadata.namespace
        self._secrets = secrets

    def keys(self, uid: str) -> Keys:
        certificate, private_key = self._client_certificate()
        return Keys(
            uid=uid,
            query=split_query(self._spec.url)[1],
            signing=self._signing(),
            headers=self._headers(),
            ca_pem=self._ca(),
            client_cert_pem=certificate,
            client_key_pem=private_key,
        )

    def _signing(self) -> str | None:
        ref = self._spec.secret_ref
        if ref is None or self._spec.signature.scheme != "StandardWebhooks":
            return None
        try:
            return " ".join(split_keys(self._value(ref)))
        except SigningKeyError as error:
            raise self._invalid(ref, str(error)) from None

    def _headers(self) -> tuple[tuple[str, str], ...]:
        found: list[tuple[str, str]] = []
        signature, secret_ref = self._spec.signature, self._spec.secret_ref
        if signature.scheme == "Header" and signature.header_name and secret_ref is not None:
            found.append((signature.header_name, self._header_value(secret_ref)))
        for header in self._spec.headers:
            if header.value_from is not None:
                found.append((header.name, self._header_value(header.value_from.secret_key_ref)))
            else:
                found.append((header.name, header.value or ""))
        return tuple(found)

    def _ca(self) -> str | None:
        ref = self._spec.tls.ca_secret_ref if self._spec.tls else None
        if ref is None:
            return None
        try:
            return certificates.pem(certificates.authorities(self._value(ref)))
        except CertificateProblem as problem:
            raise self._invalid(ref, str(problem)) from None

    def _client_certificate(self) -> tuple[str | None, str | None]:
        ref = self._spec.tls.client_cert_secret_ref if self._spec.tls else None
        if ref is None:
            return None, None
        part = chain_part = SecretKeyRef(name=ref.name, key="tls.crt")
        key_part = SecretKeyRef(name=ref.name, key="tls.key")
        chain_value, key_value = self._value(chain_part), self._value(key_part)
        try:
            chain = certificates.client_chain(chain_value)
            part = key_part
            return certificates.pem(chain), certificates.client_key(key_value, chain)
        except CertificateProblem as problem:
            raise self._invalid(part, str(problem)) from None

    def _header_value(self, ref: SecretKeyRef) -> str:
        text = self._text(ref).rstrip("\r\n")
        problem = header_value_problem(text)
        if problem is not None:
            raise self._invalid(ref, f"it is no header value: {problem}")
        return text

    def _text(self, ref: SecretKeyRef) -> str:
        try:
            return self._value(ref).decode()
        except UnicodeDecodeError:
            raise self._invalid(ref, "it is not UTF-8 text") from None

    def _value(self, ref: SecretKeyRef | CaSecretRef) -> bytes:
        value = allowed_value(self._secrets, self._namespace, ref.name, ref.key)
        if isinstance(value, Refusal):
            raise _Refused(value)
        return value

    def _invalid(self, ref: SecretKeyRef | CaSecretRef, why: str) -> _Refused:
        where = f"Secret {self._namespace}/{ref.name}, key {ref.key}"
        return _Refused(Refusal(WebhookReason.SECRET_INVALID, f"{where}: {why}"))
