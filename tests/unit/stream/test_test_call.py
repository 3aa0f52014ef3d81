"""What is asked for a test call, and what a sender answers: read whatever anybody may have written."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hookline.stream.test_call import MAX_BODY_BYTES, MAX_QUESTION_BYTES, Question, Serves, new_test_id

ASKED = {"uid": "u-1", "sender": "s1", "id": "test-1", "event_type": "A.b", "body": "{}"}
SAYS = {"sender": "s1", "uid": "u-1", "event_type": "A.b", "call_seconds": 15}


def read(asked: Any) -> Question | None:
    return Question.read(json.dumps(asked).encode())


def said(content: Any) -> Serves | None:
    return Serves.read(json.dumps(content).encode())


def test_a_question_and_an_answer_arrive_as_they_were_sent() -> None:
    for question in (Question(uid="u-1"), Question(webhook="team-a/hook"), Question(**ASKED)):
        assert Question.read(question.encoded()) == question
    for serves in (Serves("s1", "u-1", "", 30), Serves("s1", "u-1", "A.b", 1, "pod-1")):
        assert Serves.read(serves.encoded()) == serves


def test_fields_of_a_later_version_are_passed_over() -> None:
    assert read({**ASKED, "more": [1]}) == Question(**ASKED)
    assert said({**SAYS, "more": [1]}) == Serves("s1", "u-1", "A.b", 15)


@pytest.mark.parametrize("asked", [{}, [], 5, None, *({**ASKED, name: 1} for name in ASKED), {**ASKED, "uid": None}])
def test_what_is_no_question_is_none(asked: Any) -> None:
    assert read(asked) is None


@pytest.mark.parametrize("data", [b"", b"\xff", b"{", b"[" * 100_000, b'{"uid":"' + b"u" * MAX_QUESTION_BYTES + b'"}'])
def test_what_cannot_be_read_is_neither_question_nor_answer(data: bytes) -> None:
    assert Question.read(data) is None
    assert Serves.read(data) is None


@pytest.mark.parametrize(
    "content",
    [
        {},
        [],
        *({name: text for name, text in SAYS.items() if name != left_out} for left_out in SAYS),
        {**SAYS, "sender": ""},
        {**SAYS, "uid": "a.b"},
        {**SAYS, "pod": 1},
        *({**SAYS, "call_seconds": seconds} for seconds in (0, -1, 31, True, 1.5, "15", None)),
    ],
)
def test_who_does_not_say_that_he_serves_a_webhook_does_not_serve_it(content: Any) -> None:
    assert said(content) is None


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, ""),
        ({"id": new_test_id()}, ""),
        ({"id": "evt-1"}, "the id of a test begins with test-"),
        ({"id": "test-\r\nx: y"}, "the id of a test begins with test-"),
        ({"id": "test-" + "x" * 128}, "the id of a test begins with test-"),
        ({"event_type": ""}, "an event type is named by"),
        ({"event_type": "A\r\nx: y"}, "an event type is named by"),
        ({"body": "x" * (MAX_BODY_BYTES + 1)}, "at most 65536 bytes"),
        ({"body": "ä" * (MAX_BODY_BYTES // 2)}, ""),
        ({"body": "ä" * (MAX_BODY_BYTES // 2 + 1)}, "at most 65536 bytes"),
    ],
)
def test_a_call_has_an_id_of_tests_an_event_type_and_a_small_body(changed: dict[str, str], words: str) -> None:
    problem = Question(**{**ASKED, **changed}).problem()
    assert words in problem
    assert bool(problem) is bool(words)


def test_the_largest_body_of_escapes_fits_into_a_question() -> None:
    question = Question(**{**ASKED, "body": "\x01" * MAX_BODY_BYTES})
    assert Question.read(question.encoded()) == question
