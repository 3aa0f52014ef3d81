from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from standardwebhooks import Webhook

from doubles.books import route
from doubles.local import SECRET
from hookline.delivery.http.attempt import Caller
from hookline.delivery.http.call import USER_AGENT, call_of, shown_headers, tls_material
from hookline.events.envelope import Event
from hookline.resources.egress_policy import EgressPolicy
from hookline.routing.routes import Keys

CANARY = "canary-call"
EVENT = Event("evt_1", "default", "IdentityCreated", "2026-11-24T00:00:00.000+00:00", b'{"a": 1}')
ROUTE = route(url="https://example.com/p", timeout_seconds=7, schedule_seconds=(), max_concurrency=1)
KEYS = Keys(uid="u1", query=f"t={CANARY}", signing=SECRET, headers=(("X-A", CANARY),))


def test_a_call_is_signed_afresh_and_carries_the_users_headers_and_query() -> None:
    made = call_of(EVENT, 3, ROUTE, KEYS, now_s=1_700_000_000.9)
    headers = dict(made.headers)
    assert made.url == f"https://example.com/p?t={CANARY}"
    assert (made.body, made.timeout_seconds, made.tenant) == (EVENT.body, 7, ROUTE.namespace)
    assert headers["webhook-timestamp"] == "1700000000"
    assert headers["webhook-signature"] == Webhook(SECRET).sign("evt_1", _at(1_700_000_000), EVENT.body.decode())
    assert (headers["hookline-attempt"], headers["X-A"]) == ("3", CANARY)
    assert CANARY not in repr(made)


def test_each_attempt_is_signed_for_its_own_time_by_every_key() -> None:
    private = "whsk_" + base64.b64encode(b"s" * 32).decode()
    keys = Keys(uid="u1", signing=f"{SECRET} {private}")
    signatures = set()
    for attempt, now_s in enumerate((1_700_000_000, 1_700_000_005), start=1):
        headers = dict(call_of(EVENT, attempt, ROUTE, keys, now_s=now_s).headers)
        signed = f"evt_1.{now_s}.".encode() + EVENT.body
        v1, v1a = headers["webhook-signature"].split(" ")
        assert headers["webhook-timestamp"] == str(now_s)
        assert v1 == Webhook(SECRET).sign("evt_1", _at(now_s), EVENT.body.decode())
        public = Ed25519PrivateKey.from_private_bytes(b"s" * 32).public_key()
        public.verify(base64.b64decode(v1a.removeprefix("v1a,")), signed)
        signatures |= {v1, v1a}
    assert len(signatures) == 4


def test_only_what_is_replayed_names_its_replay() -> None:
    assert "hookline-replay" not in dict(call_of(EVENT, 1, ROUTE, KEYS, now_s=1).headers)
    assert dict(call_of(EVENT, 1, ROUTE, KEYS, now_s=1, replay="outage").headers)["hookline-replay"] == "outage"


@pytest.mark.parametrize("keys", [KEYS, Keys(uid="u1")], ids=["signed", "unsigned"])
@pytest.mark.parametrize(("replay", "test"), [("", False), ("outage", False), ("", True)])
def test_what_is_shown_of_the_headers_are_those_of_the_call_without_what_is_secret(
    keys: Keys, replay: str, test: bool
) -> None:
    sent = dict(call_of(EVENT, 3, ROUTE, keys, now_s=1_700_000_000.9, replay=replay, test=test).headers)
    shown = shown_headers(EVENT.id, EVENT.type, 3, ROUTE, keys, now_s=1_700_000_000.9, replay=replay, test=test)
    assert list(shown) == list(sent)
    secret = {"webhook-signature", "X-A"} & sent.keys()
    assert shown == {name: "" if name in secret else value for name, value in sent.items()}


def test_the_user_agent_names_the_version() -> None:
    assert USER_AGENT.startswith("Hookline/")


def _at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def test_tls_material_is_made_once_until_some_leaves_the_book() -> None:
    keys = Keys(uid="u1", ca_pem="authorities", client_cert_pem="certificate", client_key_pem=CANARY)
    made = tls_material(keys)
    assert made is not None
    assert tls_material(keys) is made
    Caller(EgressPolicy).keep_only({made})
    assert tls_material(keys) == made
    assert tls_material(keys) is not made


def test_large_tls_material_is_not_kept_beside_the_book() -> None:
    keys = Keys(uid="u1", ca_pem="a" * 64 * 1024)
    made = tls_material(keys)
    assert made is not None
    assert tls_material(keys) == made
    assert tls_material(keys) is not made
