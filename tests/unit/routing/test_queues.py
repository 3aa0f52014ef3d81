from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.routing.queues import Queue, QueuesFileError, queues_file, read_queues_file

CANARY = "canary-77ab"
DEFAULT = Queue("default", "nats://nats:4222", "/var/run/hookline/nats/default/user.nk")
EDGE = Queue("edge", "tls://nats-1.example.com,tls://nats-2.example.com")


def test_what_is_written_is_read_and_its_order_says_nothing() -> None:
    assert read_queues_file(queues_file([EDGE, DEFAULT]).encode()) == [DEFAULT, EDGE]
    assert queues_file([EDGE, DEFAULT]) == queues_file([DEFAULT, EDGE])
    assert read_queues_file(queues_file([]).encode()) == []


def test_a_field_of_a_later_version_is_ignored() -> None:
    said = json.loads(queues_file([DEFAULT]))
    said["queues"][0]["colour"] = said["colour"] = "blue"
    assert read_queues_file(json.dumps(said).encode()) == [DEFAULT]


@pytest.mark.parametrize(
    "entry",
    [
        7,
        {},
        {"dispatcher": CANARY},
        {"dispatcher": f"../{CANARY}", "nats": "nats://nats:4222"},
        {"dispatcher": "default", "nats": f"http://{CANARY}"},
        {"dispatcher": "default", "nats": 4222},
        {"dispatcher": "default", "nats": "nats://nats:4222", "credentials": [CANARY]},
    ],
)
def test_an_entry_that_is_not_understood_is_named_by_its_place_alone(entry: Any) -> None:
    content = json.dumps({"format": 1, "queues": [{"dispatcher": "first", "nats": "nats://nats"}, entry]}).encode()
    with pytest.raises(QueuesFileError, match="queue 1") as caught:
        read_queues_file(content)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "no list"),
        (b'{"format": 2, "queues": []}', "format 1"),
        (b" " * 2_000_000, "too long"),
        (queues_file([DEFAULT, DEFAULT]).encode(), "twice"),
    ],
)
def test_a_file_that_is_none_of_ours_is_refused_as_a_whole(content: bytes, words: str) -> None:
    with pytest.raises(QueuesFileError, match=words):
        read_queues_file(content)


@given(st.binary(max_size=200))
def test_whatever_stands_in_it_is_read_or_refused(content: bytes) -> None:
    try:
        read_queues_file(content)
    except QueuesFileError:
        return
