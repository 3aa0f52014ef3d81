"""What nats-server says to a batch of the attempts log, and what that means."""

from __future__ import annotations

import json

import pytest

from hookline.stream import names
from hookline.stream.attempts_log import Lost, NotStored, _place_in
from hookline.stream.connection import StreamUnavailable


def refusal(code: int, err_code: int) -> bytes:
    error = {"code": code, "err_code": err_code, "description": "why"}
    return json.dumps({"error": error, "stream": names.ATTEMPTS, "seq": 0}).encode()


@pytest.mark.parametrize("more", ["", ', "duplicate": true', ', "domain": "hub"'])
def test_what_was_stored_now_or_before_is_stored(more: str) -> None:
    assert _place_in(f'{{"stream":"{names.ATTEMPTS}", "seq":7{more}}}'.encode()) == 7


@pytest.mark.parametrize(
    ("code", "err_code"),
    [
        pytest.param(400, 10158, id="one of the same name is being stored"),
        pytest.param(400, 10167, id="too much waits to be stored"),
        pytest.param(503, 10008, id="temporarily unavailable"),
        pytest.param(503, 10077, id="the store failed"),
    ],
)
def test_what_is_not_known_to_be_refused_is_asked_again(code: int, err_code: int) -> None:
    with pytest.raises(StreamUnavailable):
        _place_in(refusal(code, err_code))


@pytest.mark.parametrize(
    ("code", "err_code", "full"),
    [(400, 10054, False), (400, 10109, False), (503, 10023, True), (500, 10047, True), (400, 10002, True)],
)
def test_a_refusal_is_a_loss_and_says_whether_there_is_room_for_anything(code: int, err_code: int, full: bool) -> None:
    with pytest.raises(NotStored) as refused:
        _place_in(refusal(code, err_code))
    assert (refused.value.why, refused.value.full) == (Lost.REFUSED, full)


def test_what_a_stream_of_another_application_took_is_not_in_the_log() -> None:
    with pytest.raises(NotStored) as refused:
        _place_in(b'{"stream":"OTHER","seq":1}')
    assert refused.value.why is Lost.FOREIGN


@pytest.mark.parametrize("said", [b"", b"[]", b"null", b"\xff"])
def test_an_answer_that_cannot_be_read_confirms_nothing(said: bytes) -> None:
    with pytest.raises(StreamUnavailable):
        _place_in(said)
