from __future__ import annotations

from typing import Any, cast

import pytest

from hookline.stream import inspect
from hookline.stream.connection import Client
from hookline.stream.inspect import Disk, account_disk, state_of


def answering(monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]) -> Client:
    async def ask(client: Client, what: str) -> dict[str, Any]:
        return answer

    monkeypatch.setattr(inspect, "ask", ask)
    return cast(Client, None)


@pytest.mark.parametrize(
    ("answer", "disk"),
    [
        ({"storage": 5, "limits": {"max_storage": 9}}, Disk(5, 9)),
        ({"storage": 5, "limits": {"max_storage": -1}}, Disk(5, 0)),
        ({"storage": 5}, Disk(5, 0)),
        (
            {"storage": 8, "limits": {}, "tiers": {"R3": {"storage": 6, "limits": {"max_storage": 7}}, "R1": {}}},
            Disk(6, 7),
        ),
        ({"storage": 8, "limits": {"max_storage": 9}, "tiers": {"R1": {"storage": 2}}}, Disk(8, 9)),
    ],
    ids=["bounded", "unbounded", "without-a-word", "of-a-tier", "of-other-tiers"],
)
async def test_what_an_account_uses_and_may_use(
    monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any], disk: Disk
) -> None:
    assert await account_disk(answering(monkeypatch, answer), 3) == disk


async def test_an_empty_stream_has_no_oldest_message_and_an_unbounded_one_no_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = {"messages": 0, "bytes": 0, "first_ts": "0001-01-01T00:00:00Z"}
    found = await state_of(answering(monkeypatch, {"state": state, "config": {"max_bytes": -1}}), "EVENTS")
    assert (found.messages, found.size_bytes, found.limit_bytes, found.oldest_s) == (0, 0, 0, None)
    state = {"messages": 2, "bytes": 70, "first_ts": "1970-01-01T00:01:00.5Z"}
    found = await state_of(answering(monkeypatch, {"state": state, "config": {"max_bytes": 99}}), "EVENTS")
    assert (found.messages, found.size_bytes, found.limit_bytes, found.oldest_s) == (2, 70, 99, 60.5)
