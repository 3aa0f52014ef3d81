from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from doubles.resource_cases import webhook
from hookline.delivery.http.call import tls_material
from hookline.delivery.http.tls import tls_context
from hookline.events.schemas import Catalogue, EventTypeSpec
from hookline.resources.base import ALLOW_LABEL
from hookline.resources.dispatcher import Dispatcher
from hookline.resources.egress_policy import policy_of
from hookline.resources.webhook import Webhook
from hookline.routing.routes import Keys, RetiredKey, RouteState
from hookline.routing.secret import Secret
from hookline.routing.verdict import Condition, Status, Surroundings, Verdict, decide, summary, uid_of

WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="
CANARY = "canary-b10b"


def verdict(
    spec: Mapping[str, Any],
    data: Mapping[str, bytes] | None = None,
    *,
    allowed: bool = True,
    dispatcher: Mapping[str, Any] | None = None,
    labels: Mapping[str, str] | None = None,
    size_before: int = 0,
    types: Iterable[EventTypeSpec] = (),
) -> Verdict:
    allowing = {ALLOW_LABEL: "true"} if allowed else {}
    secrets = {} if data is None else {("default", "keys"): Secret("default", "keys", allowing, data)}
    fleet = Dispatcher.model_validate({"metadata": {"name": "default", "namespace": "own"}, "spec": dispatcher or {}})
    egress = fleet.spec.egress
    policy = policy_of(egress.allow_cidrs, egress.allow_ports)
    namespaces = {} if labels is None else {"default": labels}
    around = Surroundings(
        secrets,
        Catalogue(types),
        {"default": fleet},
        {"default": policy},
        namespaces,
        size_before=lambda _uid: size_before,
    )
    return decide(Webhook.model_validate(webhook(**spec)), around)


def test_a_webhook_on_a_deprecated_event_is_called_and_says_so() -> None:
    found = verdict({"event": "Old"}, types=[EventTypeSpec("Old", {}, deprecated="use New")])
    assert (found.accepted.status, found.accepted.reason) == ("True", "DeprecatedEvent")
    assert (found.ready.status, found.ready.reason) == ("True", "Ready")
    assert found.ready.message.endswith("; the event is deprecated: use New")
    assert found.route.state is RouteState.ACTIVE


def test_a_whole_webhook_is_ready_and_becomes_an_active_route() -> None:
    found = verdict(
        {"secretRef": {"name": "keys"}, "url": "https://example.com:8443/p?q=1"}, {"secret": WHSEC.encode()}
    )
    assert (found.ready.status, found.ready.reason) == ("True", "Ready")
    assert (found.route.state, found.route.event) == (RouteState.ACTIVE, "IdentityCreated")
    assert (found.route.url, found.keys.query) == ("https://example.com:8443/p", "q=1")
    assert found.keys.signing == WHSEC
    assert found.route.timeout_seconds == 15
    assert found.route.schedule_seconds[0] == 5


def test_no_secret_means_no_signature() -> None:
    found = verdict({})
    assert (found.ready.status, found.keys.signing) == ("True", None)
    assert found.ready.message.endswith("will be sent, unsigned: spec.secretRef names no Secret")
    assert (found.secrets_resolved.status, found.secrets_resolved.reason) == ("True", "Unsigned")


def test_the_header_scheme_sends_the_secret_as_it_is_and_signs_nothing() -> None:
    spec = {"secretRef": {"name": "keys"}, "signature": {"scheme": "Header", "headerName": "X-Api-Key"}}
    found = verdict(spec, {"secret": b"app key\n"})
    assert found.keys.headers == (("X-Api-Key", "app key"),)
    assert found.keys.signing is None


FIVE_HEADERS = [{"name": f"X-{number}", "value": "v" * 4000} for number in range(5)]
THIRTY_HEADERS = [{"name": f"X-{number}", "value": "v" * 4000} for number in range(30)]


def test_a_webhook_that_takes_too_much_is_held_and_says_how_much_without_a_value() -> None:
    assert verdict({"headers": FIVE_HEADERS}).ready.status == "True"
    found = verdict({"headers": THIRTY_HEADERS})
    assert (found.ready.status, found.ready.reason) == ("False", "TooLarge")
    assert "98,304" in found.ready.message
    assert "vvv" not in found.ready.message
    assert (found.route.state, found.keys) == (RouteState.HELD, Keys(uid=found.route.uid))


@pytest.mark.parametrize(("before_bytes", "status"), [(200_000, "True"), (100_000, "False")])
def test_a_webhook_that_was_as_large_before_there_was_a_bound_may_stay(before_bytes: int, status: Status) -> None:
    found = verdict({"headers": THIRTY_HEADERS}, size_before=before_bytes)
    assert found.ready.status == status


def test_how_signing_keys_are_rotated_makes_no_webhook_too_large() -> None:
    keys = Keys(uid="u1", query="q", signing=WHSEC)
    retired = (RetiredKey(key=WHSEC, until_s=1),) * 4
    assert keys.size_bytes == keys.model_copy(update={"signing": None, "retired": retired}).size_bytes


def test_disabled_is_ready_and_hears_nothing() -> None:
    found = verdict({"enabled": False})
    assert (found.ready.status, found.ready.reason) == ("True", "Disabled")
    assert found.route.state is RouteState.DISABLED


@pytest.mark.parametrize(
    ("data", "allowed", "reason"),
    [
        (None, True, "SecretNotAllowed"),
        ({"secret": WHSEC.encode()}, False, "SecretNotAllowed"),
        ({"other": b""}, True, "SecretKeyMissing"),
        ({"secret": CANARY.encode()}, True, "SecretInvalid"),
        ({"secret": b"\xff"}, True, "SecretInvalid"),
    ],
)
def test_a_webhook_without_its_secret_is_held_with_the_reason_and_no_key(
    data: Mapping[str, bytes] | None, allowed: bool, reason: str
) -> None:
    found = verdict({"secretRef": {"name": "keys"}, "url": f"https://example.com/?{CANARY}"}, data, allowed=allowed)
    assert (found.secrets_resolved.status, found.secrets_resolved.reason) == ("False", reason)
    assert (found.ready.status, found.ready.reason) == ("False", reason)
    assert (found.route.state, found.route.event) == (RouteState.HELD, "IdentityCreated")
    assert found.keys == Keys(uid=found.route.uid)
    assert CANARY not in repr(found)


@pytest.mark.parametrize(
    ("key", "spec", "value"),
    [
        ("h", {"headers": [{"name": "X-A", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "h"}}}]}, b"a\nb"),
        ("ca.crt", {"tls": {"caSecretRef": {"name": "keys"}}}, b"no certificate"),
    ],
)
def test_a_secret_that_is_unfit_for_its_use_is_invalid(key: str, spec: dict[str, Any], value: bytes) -> None:
    assert verdict(spec, {key: value}).secrets_resolved.reason == "SecretInvalid"


def test_a_ca_and_a_client_certificate_come_from_secrets() -> None:
    ca = trustme.CA()
    mine = ca.issue_cert("client")
    data = {
        "ca.crt": ca.cert_pem.bytes(),
        "tls.crt": mine.cert_chain_pems[0].bytes(),
        "tls.key": mine.private_key_pem.bytes(),
    }
    spec = {"tls": {"caSecretRef": {"name": "keys"}, "clientCertSecretRef": {"name": "keys"}}}
    keys = verdict(spec, data).keys
    assert keys.ca_pem == ca.cert_pem.bytes().decode()
    assert keys.client_cert_pem
    assert keys.client_key_pem


def test_a_ca_with_a_comment_that_is_not_utf_8_is_taken_without_it() -> None:
    ca = trustme.CA().cert_pem.bytes()
    found = verdict({"tls": {"caSecretRef": {"name": "keys"}}}, {"ca.crt": b"# Certificaci\xf3n\n" + ca})
    assert found.ready.status == "True"
    assert found.keys.ca_pem == ca.decode()


def test_a_client_certificate_that_a_sender_would_not_take_is_refused_with_the_key_that_is_wrong() -> None:
    mine, other = trustme.CA().issue_cert("client"), trustme.CA().issue_cert("client")
    data = {"tls.crt": mine.cert_chain_pems[0].bytes(), "tls.key": other.private_key_pem.bytes()}
    found = verdict({"tls": {"clientCertSecretRef": {"name": "keys"}}}, data)
    assert found.ready.reason == "SecretInvalid"
    assert "Secret default/keys, key tls.key: it is not the key of the first certificate" in found.ready.message
    assert found.keys == Keys(uid=found.route.uid)


EVERY_SECRET = {
    "secretRef": {"name": "keys", "key": "secret"},
    "headers": [{"name": "X-A", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "header"}}}],
    "tls": {"caSecretRef": {"name": "keys"}, "clientCertSecretRef": {"name": "keys"}},
}
SECRET_KEYS = ("secret", "header", "ca.crt", "tls.crt", "tls.key")


def good_secret() -> dict[str, bytes]:
    mine = GOOD_CA.issue_cert("client")
    return {
        "secret": WHSEC.encode(),
        "header": b"value",
        "ca.crt": GOOD_CA.cert_pem.bytes(),
        "tls.crt": mine.cert_chain_pems[0].bytes(),
        "tls.key": mine.private_key_pem.bytes(),
    }


GOOD_CA = trustme.CA()
GOOD = good_secret()


@st.composite
def spoiled(draw: st.DrawFn, good: bytes) -> bytes:
    """A good value with something else at some places of it."""
    value = bytearray(good)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(value)))
        value[start : start + draw(st.integers(0, 8))] = draw(st.binary(max_size=8))
    return bytes(value)


@settings(max_examples=int(os.environ.get("FUZZ_EXAMPLES", "100")), deadline=None)
@given(st.data())
@pytest.mark.parametrize("key", SECRET_KEYS)
@pytest.mark.parametrize("scheme", [{}, {"signature": {"scheme": "Header", "headerName": "X-Key"}}])
def test_no_bytes_in_any_key_of_a_secret_stop_a_decision_and_what_is_ready_a_sender_takes(
    key: str, scheme: dict[str, Any], data: st.DataObject
) -> None:
    value = data.draw(st.one_of(st.binary(max_size=200), spoiled(GOOD[key])))
    found = verdict({**EVERY_SECRET, **scheme}, {**GOOD, key: value})
    assert found.ready.reason in {"Ready", "SecretInvalid"}
    assert len(found.ready.message) < 1024
    if found.ready.status == "True":
        material = tls_material(found.keys)
        assert material is not None
        tls_context(material)


@pytest.mark.parametrize(
    ("spec", "reason", "says"),
    [
        ({"event": "IdentityCreate"}, "UnknownEvent", "IdentityCreated"),
        ({"url": "https://10.1.2.3/"}, "URLNotAllowed", "--allow-cidr 10.1.2.3/32"),
        ({"url": "https://127.0.0.1/"}, "URLNotAllowed", "--allow-cidr"),
        ({"url": "https://example.com:25/"}, "URLNotAllowed", "spec.egress.allowPorts"),
        ({"url": "https://8.8.8.8:22/"}, "URLNotAllowed", "port 22 is not among those that may be called"),
        ({"url": "https://169.254.169.254/"}, "URLNotAllowed", ""),
        ({"timeoutSeconds": 30}, "TimeoutTooLong", "20"),
    ],
)
def test_what_is_not_accepted_says_why_and_hears_nothing_new(spec: dict[str, Any], reason: str, says: str) -> None:
    found = verdict(spec, dispatcher={"maxTimeoutSeconds": 20})
    assert (found.accepted.status, found.accepted.reason) == ("False", reason)
    assert says in found.accepted.message
    assert (found.route.state, found.route.event) == (RouteState.HELD, None)


def test_a_paused_webhook_makes_deliveries_and_lets_them_wait() -> None:
    found = verdict({"paused": True})
    assert (found.ready.status, found.ready.reason) == ("True", "Paused")
    assert (found.route.state, found.route.event) == (RouteState.HELD, "IdentityCreated")


def test_a_webhook_that_is_disabled_and_paused_is_disabled() -> None:
    found = verdict({"paused": True, "enabled": False})
    assert found.ready.reason == "Disabled"
    assert found.route.state is RouteState.DISABLED


def test_events_wait_for_a_dispatcher_that_does_not_work() -> None:
    found = verdict({"dispatcher": "edge"})
    assert (found.accepted.status, found.accepted.reason) == ("False", "DispatcherNotFound")
    assert "default" in found.accepted.message
    assert (found.route.state, found.route.event) == (RouteState.HELD, "IdentityCreated")


SELECTS = {"from": "Selector", "selector": {"matchLabels": {"team": "a"}}}


@pytest.mark.parametrize(
    ("served", "labels"),
    [({"from": "Same"}, {}), (SELECTS, {"team": "b"}), (SELECTS, {}), (SELECTS, None)],
)
def test_a_namespace_that_the_dispatcher_does_not_serve_is_refused_with_what_to_do(
    served: dict[str, Any], labels: dict[str, str] | None
) -> None:
    found = verdict({}, dispatcher={"servedNamespaces": served}, labels=labels)
    assert (found.accepted.status, found.accepted.reason) == ("False", "NamespaceNotServed")
    assert "spec.servedNamespaces" in found.accepted.message
    assert "the namespace default" in found.accepted.message
    assert (found.route.state, found.route.event) == (RouteState.HELD, None)


@pytest.mark.parametrize("served", [{}, {"from": "All"}, SELECTS])
def test_a_namespace_that_it_serves_is_accepted(served: dict[str, Any]) -> None:
    assert verdict({}, dispatcher={"servedNamespaces": served}, labels={"team": "a"}).accepted.status == "True"


def test_who_names_a_dispatcher_that_is_not_there_is_told_which_there_are_or_that_there_is_none() -> None:
    named = verdict({"dispatcher": "edge"})
    assert "write one of: default" in named.accepted.message
    alone = decide(Webhook.model_validate(webhook()), Surroundings({}, Catalogue(), {}, {}))
    assert (alone.accepted.reason, alone.route.state) == ("DispatcherNotFound", RouteState.HELD)
    assert "there is none at all" in alone.accepted.message


def condition(kind: str, status: Status, reason: str = "R") -> Condition:
    return Condition(kind, status, reason, f"about {kind}")


@pytest.mark.parametrize("enabled", [True, False])
def test_the_summary_is_the_first_part_that_is_not_true(enabled: bool) -> None:
    hook = Webhook.model_validate(webhook(enabled=enabled))
    accepted, pending = condition("Accepted", "True"), condition("Programmed", "False", "Pending")
    assert summary(hook, accepted, pending) == Condition("Ready", "False", "Pending", "about Programmed")
    assert summary(hook, condition("Accepted", "Unknown", "First"), pending).reason == "First"
    assert summary(hook, accepted).reason == ("Ready" if enabled else "Disabled")
    assert summary(hook, accepted).status == "True"


def test_a_listed_network_may_be_called() -> None:
    found = verdict({"url": "https://10.1.2.3/"}, dispatcher={"egress": {"allowCidrs": ["10.1.0.0/16"]}})
    assert found.ready.status == "True"


def test_the_schedule_and_the_timeout_of_the_webhook_win() -> None:
    found = verdict(
        {"retry": {"scheduleSeconds": []}, "timeoutSeconds": 3}, dispatcher={"retry": {"scheduleSeconds": [9]}}
    )
    assert (found.route.schedule_seconds, found.route.timeout_seconds) == ((), 3)
    assert verdict({}, dispatcher={"retry": {"scheduleSeconds": [9]}}).route.schedule_seconds == (9,)


def test_a_webhook_has_the_same_uid_each_time_and_another_than_its_neighbour() -> None:
    assert verdict({}).route.uid == verdict({"enabled": False}).route.uid == uid_of("default", "mine")
    assert uid_of("default", "mine") != uid_of("default", "other")
