from __future__ import annotations

import json
import math
from dataclasses import replace

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hookline.stream.attempt_record import (
    MAX_ANSWER_BYTES,
    MAX_BATCH_RECORDS,
    PHASES,
    AttemptRecord,
    Unheard,
    decode,
    decode_unheard,
    encode,
    encode_unheard,
)

HEADERS = {
    "content-type": "application/json",
    "webhook-id": "evt_1",
    "webhook-timestamp": "1700000000",
    "webhook-signature": "",
    "hookline-attempt": "1",
    "X-Mine": "",
}


def record(**changes: object) -> AttemptRecord:
    fields: dict[str, object] = {
        "event_id": "evt_1",
        "event_type": "IdentityCreated",
        "at_s": 1_700_000_000.123,
        "attempt": 1,
        "reason": "Delivered",
        "status": 200,
        "detail": "answered 200 OK",
        "url": "https://receiver.example.com/hooks",
        "event_seq": 7,
        "duration_s": 0.0412,
        "phases_s": {"lookup": 0.001, "connect": 0.002, "tls": 0.01, "first_byte": 0.02},
        "request_headers": HEADERS,
        "request_bytes": 1024,
        "answer_headers": {"server": "nginx", "date": "Mon, 30 Nov 2026 17:00:00 GMT"},
        "answer_bytes": 2,
        "answer": b"ok",
        "follows": "Done",
    }
    return AttemptRecord(**{**fields, **changes})  # type: ignore[arg-type]


_printable = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=40)
_word = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=40)
_seconds = st.integers(0, 10_000_000).map(lambda each: each / 1000)
_headers = st.dictionaries(_word, _printable, max_size=5)
_records = st.builds(
    AttemptRecord,
    event_id=st.sampled_from(["evt_1", "evt_2"]) | _word,
    event_type=st.sampled_from(["A", "B"]),
    at_s=_seconds,
    attempt=st.integers(1, 99),
    reason=_word,
    status=st.none() | st.integers(100, 999),
    detail=_printable,
    url=_printable,
    event_seq=st.integers(0, 2**53),
    duration_s=_seconds,
    phases_s=st.dictionaries(st.sampled_from(PHASES), _seconds),
    request_headers=_headers | st.just(HEADERS),
    request_bytes=st.integers(0, 300_000),
    answer_headers=_headers,
    answer_bytes=st.integers(0, 300_000),
    answer=st.binary(max_size=60) | st.text(max_size=40).filter(str.isascii).map(str.encode),
    follows=st.sampled_from(["", "Done", "Retry", "Dead", "Parked", "Again"]),
    next_at_s=st.none() | _seconds,
    probe=st.booleans(),
    test=st.booleans(),
    replay=_printable,
)


@settings(max_examples=40)
@given(st.lists(_records, min_size=1, max_size=6))
def test_what_is_written_is_read(records: list[AttemptRecord]) -> None:
    assert decode(encode(records)) == records


@settings(max_examples=40)
@given(st.binary(max_size=300) | st.lists(st.binary(max_size=80)).map(b"\n".join))
def test_whatever_lies_there_is_read_without_an_error(body: bytes) -> None:
    decode(body)
    decode_unheard(body)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=40)
@given(
    st.lists(st.dictionaries(st.sampled_from([*AttemptRecord.__slots__, "answer_base64", "new"]), _json), max_size=4)
)
def test_fields_of_any_kind_are_read_as_what_they_may_hold(objects: list[dict[str, object]]) -> None:
    for found in decode(b"\n".join(json.dumps(each).encode() for each in objects)):
        assert found.event_id
        assert found.attempt >= 1
        assert math.isfinite(found.at_s)
        assert found.status is None or 100 <= found.status <= 999
        texts = [found.event_id, found.event_type, found.reason, found.detail, found.url, found.follows, found.replay]
        texts += [*found.request_headers, *found.request_headers.values(), *found.answer_headers.values()]
        assert all(map(str.isprintable, texts))
        assert encode([found])


def test_a_line_says_only_what_differs_from_the_first() -> None:
    first, second = encode(
        [record(), record(event_id="evt_2", request_headers={**HEADERS, "webhook-id": "evt_2"})]
    ).split(b"\n")
    assert orjson.loads(second) == {"event_id": "evt_2"}
    assert b'"webhook-id":true' in first


def test_what_the_first_has_and_another_has_not_is_told() -> None:
    failed = record(status=None, answer=b"", answer_headers={}, phases_s={"lookup": 0.1}, reason="Unreachable")
    records = [record(), failed, record(answer=b"\xff"), record()]
    assert decode(encode(records)) == records


def test_a_field_that_only_another_version_knows_is_passed_over() -> None:
    body = orjson.dumps({**orjson.loads(encode([record()])), "new": {"a": 1}, "phases_s": {"body": 1, "lookup": 2}})
    assert decode(body) == [record(phases_s={"lookup": 2.0})]


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"1", b"null", b'{"event_id":5}', b"\xff", b"[" * 5000])
def test_a_line_that_is_no_record_costs_no_other(line: bytes) -> None:
    whole = encode([record()])
    second = record(attempt=2, request_headers={**HEADERS, "hookline-attempt": "2"})
    assert decode(b"\n".join([whole, line, b'{"attempt":2}', line])) == [record(), second]


def test_what_is_read_is_bounded_and_printable() -> None:
    said = {
        "event_id": "e" * 9999,
        "at_s": 1,
        "attempt": 1,
        "reason": "\x1b[31mRed\x00",
        "request_headers": {f"h{number}\n": "\x07" * 9999 for number in range(999)},
        "answer": "x" * 99_999,
        "next_at_s": 1e300,
    }
    (found,) = decode(orjson.dumps(said))
    assert len(found.event_id) == 256
    assert found.reason == "\ufffd[31mRed\ufffd"
    assert len(found.request_headers) == 256
    assert all(len(value) <= 2048 and value.isprintable() for value in found.request_headers.values())
    assert len(found.answer) == MAX_ANSWER_BYTES
    assert found.next_at_s is None
    assert len(decode(b"\n".join([encode([record()])] * 9999))) == 2 * MAX_BATCH_RECORDS


def test_an_answer_of_control_characters_takes_no_six_times_its_length() -> None:
    body = bytes(16 * 1024)
    line = encode([record(answer=body)])
    assert len(line) < 1.5 * len(body)
    assert decode(line)[0].answer == body


def test_counts_of_what_nobody_heard_are_read() -> None:
    counts = [Unheard("A", 3, 1.5), Unheard("", 2, 2.0)]
    assert decode_unheard(encode_unheard(counts) + b'\n{"type":1}\nx') == counts


def test_what_is_not_read_whole_says_the_same_but_for_headers_phases_and_answers() -> None:
    body = encode([record(), record(attempt=2, status=503, answer=b"later", answer_headers={})])
    short = [replace(each, phases_s={}, request_headers={}, answer_headers={}, answer=b"") for each in decode(body)]
    assert decode(body, whole=False) == short
