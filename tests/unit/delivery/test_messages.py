from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from doubles.books import route
from doubles.local import SECRET
from hookline.delivery import messages
from hookline.delivery.messages import (
    Delivery,
    LastAttempt,
    MalformedDelivery,
    dead_letter,
    event_of,
    later_token,
    read,
    read_dead_letter,
    unread_letter,
)
from hookline.delivery.policy.retry import Outcome, Reason
from hookline.events import envelope
from hookline.events.context import CONTEXT_BYTES, PREFIX
from hookline.events.envelope import Event
from hookline.routing.routes import Keys
from hookline.stream import names

CANARY = "canary-dead"
EVENT = Event("evt_1", "default", "IdentityCreated", "2026-11-24T00:00:00.000+00:00", b'{"a": 1}')
ROUTE = route(url="https://example.com/p", timeout_seconds=7, schedule_seconds=(), max_concurrency=1)
KEYS = Keys(uid="u1", query=f"t={CANARY}", signing=SECRET, headers=(("X-A", CANARY),))


@given(st.integers(1, 99), st.integers(1, 10**12), st.binary(max_size=50), st.sampled_from([{}, {"subject": " é%"}]))
def test_a_stored_delivery_is_read_as_it_was(attempt: int, seq: int, body: bytes, context: dict[str, str]) -> None:
    event = Event("evt_1", "default", "order.paid", "t", body, context)
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
    # As long as it can be, and not counted where it was shorter: what a stranger wrote plainly is percent-encoded.
    context = {f"{PREFIX}a": "x" * (CONTEXT_BYTES - len(f"{PREFIX}a: \r\n"))}
    event = event_of(subject, {envelope.ID_HEADER: "i" * 128, **context}, b"", seq=2**63, stored_s=2e9)
    assert context.items() <= envelope.to_headers(event).items()
    delivery = Delivery(uid, event, 2**63, 999, 2_000_000_000, "r" * 253, 10**15 - 1)
    route = ROUTE.model_copy(update={"namespace": tenant, "name": "n" * 253})
    keys = Keys(uid=uid, query="e", signing=SECRET)
    outcome = Outcome(Reason.PROXY_UNREACHABLE, 599, "d" * 99_999, 0.0, None, b"e" * 1024)
    letter = dead_letter(delivery, "r" * 99_999, route=route, keys=keys, outcome=outcome, failed_at="2026-11-24" * 3)
    unread = unread_letter(subject, delivery.headers(), b"", "r" * 99_999, failed_at="f" * 30, place="p" * 99)
    for headers, once in ((letter.headers, letter.once), (unread.headers, unread.once)):
        size = sum(len(name) + len(value) + 4 for name, value in {**headers, "Nats-Msg-Id": once}.items())
        schedule = len("Nats-Schedule: @at 2026-11-24T00:00:00.000Z") + len("Nats-Schedule-Target: ") + 300
        assert size + schedule < envelope.ROOM_BYTES


@pytest.mark.parametrize("given_id", ["", "a.b", "a b", "é", "x" * 129])
def test_an_event_without_an_id_that_can_be_signed_gets_the_same_one_each_time(given_id: str) -> None:
    event = event_of("hookline.events.default.order.paid", {envelope.ID_HEADER: given_id}, b"", seq=7, stored_s=1.5)
    assert (event.id, event.tenant, event.type, event.time) == (
        "seq-7",
        "default",
        "order.paid",
        "1970-01-01T00:00:01.500Z",
    )


def test_a_dead_letter_has_what_a_replay_needs_and_no_secret_that_a_receiver_echoed() -> None:
    outcome = Outcome(Reason.HTTP_STATUS, 500, "answered\r\n500", 0.1, answer=f"you gave {CANARY}".encode())
    letter = dead_letter(
        Delivery("u1", EVENT, 9, 3), "ScheduleSpent", route=ROUTE, keys=KEYS, outcome=outcome, failed_at="now"
    )
    assert (letter.subject, letter.body) == ("hookline.dead.default.u1", EVENT.body)
    assert "\n" not in "".join(letter.headers.values())
    said = read_dead_letter(letter.subject, letter.headers, letter.body)
    assert (said.webhook, said.delivery) == ("default/hook", Delivery("u1", EVENT, 9, 3))
    assert said.last_attempt == LastAttempt("HTTPStatus", 500, "answered 500", b"you gave [redacted]")


def test_a_dead_letter_has_no_beginning_of_a_secret_where_an_answer_breaks_off() -> None:
    begun = f"you gave {CANARY}"[:-3].encode()
    outcome = Outcome(Reason.CONNECTION_RESET, 200, "broke", 0.1, answer=begun, answer_is_cut=True)
    letter = dead_letter(Delivery("u1", EVENT, 9), "X", route=ROUTE, keys=KEYS, outcome=outcome, failed_at="now")
    said = read_dead_letter(letter.subject, letter.headers, letter.body)
    assert said.last_attempt is not None
    assert said.last_attempt.answer == b"you gave [redacted]"


def test_a_retry_waits_under_a_name_of_its_own_that_a_repeat_shares() -> None:
    first = Delivery("u1", EVENT, 1)
    assert later_token(first.next_attempt()) == later_token(Delivery("u1", EVENT, 1, 2))
    others = [first, Delivery("u2", EVENT, 1), Delivery("u1", EVENT, 2), first.next_attempt()]
    assert len({later_token(each) for each in others}) == 4


def test_what_is_replayed_has_other_names_than_what_was_delivered_before_and_keeps_them_in_retries() -> None:
    first = Delivery("u1", EVENT, 1, stored_s=5)
    replayed = [replace(first, replay=name, replayed_ms=at_ms) for name in ("a", "b") for at_ms in (1000, 2000)]
    assert len({each.once for each in (first, *replayed)}) == 5
    assert len({later_token(each.next_attempt()) for each in (first, *replayed)}) == 5
    again = read(names.delivery_subject("u1"), replayed[0].next_attempt().headers(), EVENT.body)
    assert again == replayed[0].next_attempt()


def test_what_is_replayed_has_its_schedule_before_it_however_old_its_event_is() -> None:
    delivery = Delivery("u1", EVENT, 1, stored_s=5)
    assert messages.began_s(delivery.headers()) == 5
    assert messages.began_s(replace(delivery, replay="a", replayed_ms=7_500).headers()) == 7.5
    assert messages.began_s({}) == 0


@pytest.mark.parametrize("name", ["", "A", "a b", "-a", "a\r\nx: y", "é", "a" * 254, "a."])
def test_a_replay_whose_name_cannot_be_one_is_none(name: str) -> None:
    headers = {**Delivery("u1", EVENT, 1).headers(), "Hookline-Replay": name, "Hookline-Replayed": "5"}
    assert read(names.delivery_subject("u1"), headers, EVENT.body) == Delivery("u1", EVENT, 1)


def test_a_time_that_is_none_counts_as_not_known() -> None:
    said = ("", "x", "-1", "٣", "9" * 400, "9" * 5000, "1700000000")
    assert [messages.stored_s({messages.STORED_HEADER: text}) for text in said] == [0] * 6 + [1_700_000_000]


TOKENS = st.from_regex(r"[A-Za-z0-9-]{1,40}", fullmatch=True)
TENANTS = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)
TYPES = st.from_regex(r"[A-Za-z0-9]{1,20}", fullmatch=True)
CONTEXTS = st.dictionaries(st.text("az09", min_size=1), st.text("a%é ", max_size=20), max_size=3)
EVENTS = st.builds(Event, TOKENS, TENANTS, TYPES, st.text(), st.binary(max_size=50), CONTEXTS)
REPLAYS = st.from_regex(r"[a-z0-9]([-a-z0-9.]{0,20}[a-z0-9])?", fullmatch=True)
_PARTS = (TOKENS, EVENTS, st.integers(1, 2**63), st.integers(1, 99), st.integers(0, 10**12 - 1))
DELIVERIES = (st.builds(Delivery, *_PARTS) | st.builds(Delivery, *_PARTS, REPLAYS, st.integers(0, 10**15 - 1))).filter(
    lambda each: each.uid != names.UNREAD
)
OUTCOMES = st.builds(
    Outcome,
    st.sampled_from(Reason),
    st.none() | st.integers(100, 999),
    st.text(max_size=2000),
    st.just(0.1),
    st.none(),
    st.binary(max_size=2000),
)


@given(DELIVERIES, st.text(max_size=2000), st.none() | OUTCOMES, st.booleans())
def test_a_dead_letter_is_read_as_it_was_written(
    delivery: Delivery, reason: str, outcome: Outcome | None, known: bool
) -> None:
    letter = dead_letter(
        delivery, reason, route=ROUTE if known else None, keys=None, outcome=outcome, failed_at="2026-11-24"
    )
    said = read_dead_letter(letter.subject, letter.headers, letter.body)
    assert said.delivery == delivery
    assert (said.tenant, said.uid, said.event_id) == (delivery.event.tenant, delivery.uid, delivery.event.id)
    assert (said.reason, said.failed_at, said.found_at) == (" ".join(reason.split())[:1024], "2026-11-24", "")
    assert said.webhook == ("default/hook" if known else "")
    assert said.last_attempt == (
        LastAttempt(outcome.reason, outcome.status, " ".join(outcome.detail.split())[:1024], outcome.answer[:1024])
        if outcome is not None
        else None
    )


@given(DELIVERIES, st.dictionaries(st.sampled_from(["Hookline-Event-Id", "Hookline-Later"]), st.text()))
def test_a_message_that_could_not_be_handled_is_read_with_where_it_was_found(
    delivery: Delivery, changes: dict[str, str]
) -> None:
    subject, headers = names.parked_subject(delivery.uid), {**delivery.headers(), **changes}
    letter = unread_letter(subject, headers, b"body", "Malformed: odd", failed_at="now", place="1")
    said = read_dead_letter(letter.subject, letter.headers, letter.body)
    assert (said.found_at, said.word, said.uid, said.tenant) == (
        subject,
        "Malformed",
        delivery.uid,
        delivery.event.tenant,
    )
    assert (said.event_id, said.body) == (headers["Hookline-Event-Id"], b"body")
    assert headers.items() <= said.headers.items()


def test_a_header_that_cannot_be_written_again_keeps_no_message_out_of_dead() -> None:
    headers = {"": "a", "b c": "d", "e\n": "f", "é": "g", "Hookline-Later": "h"}
    letter = unread_letter("hookline.parked.u1", headers, b"", "Malformed: x", failed_at="now", place="1")
    assert letter.headers.keys() & headers.keys() == {"Hookline-Later"}


def test_the_context_of_an_event_is_kept_with_what_another_version_reads_and_what_nobody_can() -> None:
    context = {"Hookline-Context-traceparent": "00-1", "Hookline-Context-Other Case": "x"}
    kept = {"Hookline-Context-traceparent": "00-1"}
    assert messages.as_stored(context) == kept
    letter = unread_letter("hookline.parked.u1", context, b"", "Malformed: x", failed_at="now", place="1")
    assert kept.items() <= letter.headers.items()


def test_a_dead_event_names_no_webhook_by_its_type() -> None:
    letter = unread_letter(
        "hookline.events.team-a.IdentityCreated", {}, b"", "InternalError: X", failed_at="", place=""
    )
    said = read_dead_letter(letter.subject, letter.headers, letter.body)
    assert (said.uid, said.tenant, said.delivery, said.webhook) == ("", "", None, "")


WRITTEN = dead_letter(
    Delivery("u1", EVENT, 1, 2, 3),
    "Gone: x",
    route=ROUTE,
    keys=None,
    outcome=Outcome(Reason.GONE, 410, "d", 0.1),
    failed_at="now",
).headers
HOSTILE = st.text() | st.sampled_from(["", "-1", "1e3", "²²²", "9" * 5000, "=", "AAA", "hookline.events", "hookline."])


@given(
    st.text() | st.builds("hookline.dead.{}.{}".format, st.text(), st.text()),
    st.dictionaries(st.sampled_from([*WRITTEN, "Hookline-Subject", "Hookline-Format", "X"]), HOSTILE),
    st.binary(max_size=20),
)
@example("", {"Hookline-Status": "²²²"}, b"")
@example("hookline.dead.", {"Hookline-Answer": "é"}, b"")
def test_whatever_stands_in_dead_is_read(subject: str, changes: dict[str, str], body: bytes) -> None:
    for headers in (changes, {**WRITTEN, **changes}):
        said = read_dead_letter(subject, headers, body)
        assert said.body == body
        assert said.last_attempt is None or said.last_attempt.status in (None, *range(1000))


def test_the_subject_of_a_dead_letter_names_a_webhook_only_as_hookline_writes_it() -> None:
    assert names.of_dead("hookline.dead.team-a.u1") == ("team-a", "u1")
    assert names.of_dead("hookline.dead.unread.unread") == ("", "")
    assert names.of_dead("xhookline.dead.team-a.u1") == ("", "")
    assert names.of_dead("hookline.dead.team-a.u1.more") == ("team-a", "")
