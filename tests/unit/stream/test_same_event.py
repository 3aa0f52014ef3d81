"""Whether a key stands for the same event: what is asked, and what a sender answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hookline.stream.event_reader import StoredEvent
from hookline.stream.publish import Former
from hookline.stream.same_event import Question, digest_of

ASKED = {"stream": "EVENTS", "seq": 7, "id": "k1", "digest": digest_of("A.b", b"{}").hex()}


def lying(subject: str = "hookline.events.default.A.b", body: bytes = b"{}", id_: str = "k1") -> StoredEvent:
    return StoredEvent(subject, {"Hookline-Event-Id": id_}, body, 1)


def read(asked: Any) -> Question | None:
    return Question.read(json.dumps(asked).encode())


def test_a_question_arrives_as_it_was_asked() -> None:
    assert read(ASKED) == Question.of(Former("EVENTS", 7), "k1", digest_of("A.b", b"{}"))


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        (lying(), b"same"),
        (lying("hookline.large.default.A.b"), b"same"),
        (lying(body=b"{} "), b"another"),
        (lying("hookline.events.default.A"), b"another"),
        (lying(id_="k2"), None),
        (lying("hookline.events"), None),
        (None, None),
    ],
    ids=["the same", "a large one", "another body", "another type", "another event's place", "no event", "gone"],
)
def test_what_lies_there_is_the_same_another_or_not_known(stored: StoredEvent | None, said: bytes | None) -> None:
    question = read(ASKED)
    assert question is not None
    assert question.judge(stored) == said


@pytest.mark.parametrize(
    "asked",
    [
        {},
        [],
        5,
        None,
        {**ASKED, "more": 1},
        *({**ASKED, "seq": seq} for seq in (0, -1, True, 1.5, "7", 1 << 64, None)),
        *({**ASKED, "stream": stream} for stream in ("PARKED", "DEAD", "ORDERS", "EVENTS.x", "")),
        {**ASKED, "stream": []},
        {**ASKED, "id": 1},
        {**ASKED, "digest": None},
    ],
)
def test_what_is_no_question_about_an_event_is_none(asked: object) -> None:
    assert read(asked) is None


@pytest.mark.parametrize("asked", [b"", b"\xff", b"{", b"[" * 100_000])
def test_what_cannot_be_read_is_no_question(asked: bytes) -> None:
    assert Question.read(asked) is None
