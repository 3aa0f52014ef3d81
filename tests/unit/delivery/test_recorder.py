"""What is written of an attempt, and that no secret is in it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from doubles.books import route
from hookline.delivery.policy.retry import Outcome, Reason
from hookline.delivery.recorder import (
    ANSWER_BYTES_PER_SECOND,
    ECHO_FACTOR,
    MOST_ANSWER_BYTES,
    AnswerAllowance,
    Noted,
    Recorder,
)
from hookline.routing.routes import Keys
from hookline.stream.attempt_record import decode

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def noted(answer: bytes, *, keys: Keys | None = None, head: bytes = b"", is_cut: bool = False) -> Noted:
    outcome = Outcome(Reason.DELIVERED, 200, "answered 200 OK", 0.01, None, answer, is_cut, len(answer), head)
    keys = keys or Keys(uid="u1", signing=SECRET)
    return Noted("evt_1", "IdentityCreated", 7, 2, 1, route(), keys, outcome, 5.00049, 6.0, "Done", None)


def test_a_record_says_what_was_noted() -> None:
    record = Recorder().record(noted(b"ok", head=b"HTTP/1.1 200 OK\r\nserver: nginx\r\n\r\n"))
    assert (record.event_id, record.event_seq, record.attempt, record.at_s) == ("evt_1", 7, 1, 5.0)
    assert (record.reason, record.status, record.url) == ("Delivered", 200, route().url)
    assert (record.answer, record.answer_bytes, record.answer_headers) == (b"ok", 2, {"server": "nginx"})
    assert record.request_headers["webhook-timestamp"] == "6"
    assert record.request_headers["webhook-signature"] == ""


_changes = st.fixed_dictionaries(
    {},
    optional={
        "event_id": st.sampled_from(["evt_1", "evt_2"]),
        "event_seq": st.integers(0, 9),
        "at_s": st.sampled_from([5.0, 6.5]),
        "called_s": st.sampled_from([6.0, 7.9]),
        "body_bytes": st.integers(0, 3),
        "attempt": st.sampled_from([1, 2]),
        "follows": st.sampled_from(["Done", "Retry"]),
        "next_at_s": st.none() | st.just(9.0),
        "probe": st.booleans(),
        "replay": st.sampled_from(["", "outage"]),
    },
)
_outcomes = st.builds(
    Outcome,
    reason=st.sampled_from([Reason.DELIVERED, Reason.HTTP_STATUS]),
    status=st.none() | st.just(200),
    detail=st.sampled_from(["", "a"]),
    duration_seconds=st.sampled_from([0.0, 0.25]),
    answer=st.sampled_from([b"", b"ok", SECRET.encode()]),
    answer_bytes=st.integers(0, 2),
    answer_head=st.sampled_from([b"", b"x\r\na: 1\r\n\r\n", b"x\r\na: 2\r\nb: 1\r\n\r\n"]),
    phases_s=st.sampled_from([{}, {"first_byte": 0.25}, {"lookup": 0.5, "first_byte": 0.5}]),
)


@settings(max_examples=60)
@given(st.lists(st.tuples(_changes, _outcomes), min_size=1, max_size=4))
def test_a_batch_holds_each_record_whatever_they_have_in_common(drawn: list[tuple[dict[str, Any], Outcome]]) -> None:
    hooked, keys = route(), Keys(uid="u1", signing=SECRET)
    same = Noted("evt_1", "IdentityCreated", 7, 2, 1, hooked, keys, drawn[0][1], 5.0, 6.0, "Done", None)
    notes = [replace(same, **changes, outcome=outcome) for changes, outcome in drawn]
    recorder = Recorder()
    assert decode(recorder.batch(notes)) == [recorder.record(each) for each in notes]


def test_of_an_answer_no_secret_is_written_also_where_it_was_cut_in_the_middle_of_one() -> None:
    said = f"you sent {SECRET} and whsec_Mf".encode()
    head = f"HTTP/1.1 200 OK\r\nx: {SECRET}\r\n\r\n".encode()
    record = Recorder().record(noted(said, head=head, is_cut=True))
    assert record.answer == b"you sent [redacted] and [redacted]"
    assert record.answer_headers == {"x": "[redacted]"}


def test_an_answer_that_would_take_long_to_clear_of_secrets_is_left_out_when_there_were_many() -> None:
    recorder = Recorder()
    said = [recorder.record(noted(SECRET.encode() * 40)).answer for _ in range(60)]
    assert said[0].startswith(b"[redacted]")
    assert said[-1] == b""
    assert recorder.record(noted(b"ok")).answer == b"ok"


def test_keys_that_were_rotated_are_looked_for_at_once() -> None:
    recorder = Recorder()
    recorder.record(noted(b"ok"))
    later = noted(b"another-secret-of-later", keys=Keys(uid="u1", query="another-secret-of-later"))
    assert recorder.record(later).answer == b"[redacted]"


def test_an_allowance_grows_back_with_time() -> None:
    allowance = AnswerAllowance()
    assert allowance.take(MOST_ANSWER_BYTES, 10.0)
    assert not allowance.take(ECHO_FACTOR, 10.0)
    assert allowance.take(ANSWER_BYTES_PER_SECOND, 11.0)
    assert not allowance.take(ANSWER_BYTES_PER_SECOND, 12.0, share=0.5)
