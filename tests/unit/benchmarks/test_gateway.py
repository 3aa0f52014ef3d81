"""The load of the gateway's benchmark: what is sent, and how answers are read."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import cast

import pytest
from benchmarks.gateway import BODY_BYTES, TYPE, event_body
from benchmarks.http_load import Answered, _Connection
from benchmarks.stage import Failed

from hookline.events.schemas import Catalogue

ANSWER = b"HTTP/1.1 202 Accepted\r\ncontent-length: 5\r\n\r\nhello"


class Sink(asyncio.Transport):
    def abort(self) -> None:
        pass


def test_the_body_is_right_and_as_long_as_is_said() -> None:
    assert len(event_body()) == BODY_BYTES
    assert Catalogue().check(TYPE, event_body()) == ()


@pytest.mark.parametrize("cut", [len(ANSWER), 1, 30, len(ANSWER) - 1])
def test_an_answer_counts_once_it_is_there_in_however_many_parts(cut: int) -> None:
    heard: list[int] = []
    connection = _Connection(lambda _, status: heard.append(status))
    connection.connection_made(Sink())
    for at in range(0, len(ANSWER), cut):
        assert heard == []
        connection.data_received(ANSWER[at : at + cut])
    assert heard == [202]


def test_a_connection_that_the_server_ends_counts_as_no_answer_and_one_that_we_end_does_not() -> None:
    heard: list[int] = []
    for ours in (False, True):
        connection = _Connection(lambda _, status: heard.append(status))
        connection.connection_made(cast(asyncio.BaseTransport, Sink()))
        if ours:
            connection.close()
        connection.connection_lost(None)
    assert heard == [0]


def test_other_answers_than_those_wanted_fail_the_measurement() -> None:
    assert Answered(statuses=Counter({202: 3})).only(202).count == 3
    for statuses in ({202: 3, 429: 1}, {0: 1}, {}):
        with pytest.raises(Failed):
            Answered(statuses=Counter(statuses)).only(202)
