from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from doubles.local import SECRET
from hookline import events
from hookline.delivery import delivery as deliveries
from hookline.delivery.delivery import Delivery, MalformedDelivery, call, dead_letter, event_of, later_token, read
from hookline.events import Event
from hookline.retry import Outcome, Reason
from hookline.routes import Keys, Route, RouteState
from hookline.stream import names

CANARY = "canary-dead"
EVENT = Event("evt_1", "default", "IdentityCreated", "2026-11-24T00:00:00.000+00:00", b'{"a": 1}')
ROUTE = Route(
    uid="u1",
    namespace="default",
    name="hook",
    generation=1,
    state=RouteState.ACTIVE,
    event="IdentityCreated",
    url="https://example.com/p",
    timeout_seconds=7,
    schedule_seconds=(),
    max_concurrency=1,
)
KEYS = Keys(uid="u1", query=f"t={CANARY}", signing=SECRET, headers=(("X-A", CANARY),))


@given(st.integers(1, 99), st.integers(1, 10**12), st.binary(max_size=50))
def test_a_stored_delivery_is_read_as_it_was(attempt: int, seq: int, body: bytes) -> None:
    event = Event("evt_1", "default", "order.paid", "t", body)
    delivery = Delivery("u1", event, seq, attempt)
    assert read(names.delivery_subject("u1"), delivery.headers(), body) == delivery


def test_a_message_that_is_no_delivery_is_said_to_be_none() -> None:
    with pytest.raises(MalformedDelivery):
        read("hookline.deliveries.00.u1", {}, b"")
    with pytest.raises(MalformedDelivery):
        read("hookline.deliveries.00.u1", {**Delivery("u1", EVENT, 1).headers(), "Hookline-Attempt": "x"}, b"")


def test_what_follows_from_the_largest_event_fits_where_the_event_did() -> None:
    """One that a stranger published without a header: all of them are added, and the dead letter has most."""
    tenant, uid = "t" * 63, "00000000-0000-0000-0000-000000000000"
    subject = f"hookline.events.{tenant}.{'x' * 4000}"
    event = event_of(subject, {events.ID_HEADER: "i" * 128}, b"", seq=2**63, stored_s=2e9)
    delivery = Delivery(uid, event, 2**63, 999, 2_000_000_000)
    route = ROUTE.model_copy(update={"namespace": tenant, "name": "n" * 253})
    keys = Keys(uid=uid, query="e", signing=SECRET)
    outcome = Outcome(Reason.PROXY_UNREACHABLE, 599, "d" * 99_999, 0.0, None, b"e" * 1024)
    letter = dead_letter(delivery, "r" * 99_999, route=route, keys=keys, outcome=outcome, failed_at="2026-11-24" * 3)
    unread = deliveries.unread_letter(
        subject, delivery.headers(), b"", "r" * 99_999, failed_at="f" * 30, place="p" * 99
    )
    for headers, once in ((letter.headers, letter.once), (unread.headers, unread.once)):
        size = sum(len(name) + len(value) + 4 for name, value in {**headers, "Nats-Msg-Id": once}.items())
        schedule = len("Nats-Schedule: @at 2026-11-24T00:00:00.000Z") + len("Nats-Schedule-Target: ") + 300
        assert size + schedule < events.ROOM_BYTES


@pytest.mark.parametrize("given_id", ["", "a.b", "a b", "é", "x" * 129])
def test_an_event_without_an_id_that_can_be_signed_gets_the_same_one_each_time(given_id: str) -> None:
    event = event_of("hookline.events.default.order.paid", {events.ID_HEADER: given_id}, b"", seq=7, stored_s=1.5)
    assert (event.id, event.tenant, event.type, event.time) == (
        "seq-7",
        "default",
        "order.paid",
        "1970-01-01T00:00:01.500Z",
    )


def test_a_call_is_signed_afresh_and_carries_the_users_headers_and_query() -> None:
    made = call(Delivery("u1", EVENT, 1, attempt=3), ROUTE, KEYS, now_s=1_700_000_000.9)
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
        headers = dict(call(Delivery("u1", EVENT, 1, attempt=attempt), ROUTE, keys, now_s=now_s).headers)
        signed = f"evt_1.{now_s}.".encode() + EVENT.body
        v1, v1a = headers["webhook-signature"].split(" ")
        assert headers["webhook-timestamp"] == str(now_s)
        assert v1 == Webhook(SECRET).sign("evt_1", _at(now_s), EVENT.body.decode())
        public = Ed25519PrivateKey.from_private_bytes(b"s" * 32).public_key()
        public.verify(base64.b64decode(v1a.removeprefix("v1a,")), signed)
        signatures |= {v1, v1a}
    assert len(signatures) == 4


def test_a_dead_letter_has_what_a_replay_needs_and_no_secret_that_a_receiver_echoed() -> None:
    outcome = Outcome(Reason.HTTP_STATUS, 500, "answered\r\n500", 0.1, answer=f"you gave {CANARY}".encode())
    letter = dead_letter(
        Delivery("u1", EVENT, 9, 3), "ScheduleSpent", route=ROUTE, keys=KEYS, outcome=outcome, failed_at="now"
    )
    assert (letter.subject, letter.body) == ("hookline.dead.default.u1", EVENT.body)
    assert letter.headers["Hookline-Webhook"] == "default/hook"
    assert letter.headers["Hookline-Status"] == "500"
    assert "\n" not in "".join(letter.headers.values())
    assert base64.b64decode(letter.headers["Hookline-Answer"]) == b"you gave [redacted]"


def test_a_dead_letter_has_no_beginning_of_a_secret_where_an_answer_breaks_off() -> None:
    begun = f"you gave {CANARY}"[:-3].encode()
    outcome = Outcome(Reason.CONNECTION_RESET, 200, "broke", 0.1, answer=begun, answer_is_cut=True)
    letter = dead_letter(Delivery("u1", EVENT, 9), "X", route=ROUTE, keys=KEYS, outcome=outcome, failed_at="now")

    assert base64.b64decode(letter.headers["Hookline-Answer"]) == b"you gave [redacted]"


def test_a_retry_waits_under_a_name_of_its_own_that_a_repeat_shares() -> None:
    first = Delivery("u1", EVENT, 1)
    assert later_token(first.next_attempt()) == later_token(Delivery("u1", EVENT, 1, 2))
    others = [first, Delivery("u2", EVENT, 1), Delivery("u1", EVENT, 2), first.next_attempt()]
    assert len({later_token(each) for each in others}) == 4


def test_the_user_agent_names_the_version() -> None:
    assert deliveries.USER_AGENT.startswith("Hookline/")


def _at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def test_a_time_that_is_none_counts_as_not_known() -> None:
    said = ("", "x", "-1", "٣", "9" * 400, "9" * 5000, "1700000000")
    assert [deliveries.stored_s({deliveries.STORED_HEADER: text}) for text in said] == [0] * 6 + [1_700_000_000]
