from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kopf._cogs.clients import api, errors

from hookline.control.kopf_reading import event_in
from hookline.control.watch import Watch
from unit.control.objects import publisher

GOOD = {"type": "MODIFIED", "object": {"metadata": {"name": "a", "uid": "u"}, "spec": {}}}
ANEW = {"type": "ERROR", "object": {"code": 410}}


def test_an_event_is_read_as_it_is() -> None:
    assert event_in(json.dumps(GOOD).encode()) == GOOD


@pytest.mark.parametrize(
    "line",
    [
        b'{"type":"MODIFIED","object":{"metadata"',
        b"",
        b"null",
        b"[]",
        b"<html>",
        b'{"type":"ERROR","object":{"code":500}}',
        b'{"type":"ERROR","object":{"code":401,"message":"Unauthorized"}}',
        b'{"type":"ERROR","object":"text"}',
        b'{"type":"ADDED","object":{}}',
        b'{"type":"ADDED","object":{"metadata":"text"}}',
        b'{"type":"ADDED","object":{"metadata":{"name":7,"uid":"u"}}}',
        b'{"type":"STRANGE","object":{"metadata":{"name":"a","uid":"u"}}}',
        b'{"type":["ADDED"],"object":{}}',
    ],
)
def test_a_line_that_is_no_event_has_the_watch_begin_anew(line: bytes) -> None:
    assert event_in(line) == ANEW


@given(st.binary(max_size=80))
def test_no_line_ends_a_watch(line: bytes) -> None:
    assert event_in(line)["type"] in ("ERROR", "ADDED", "MODIFIED", "DELETED", "BOOKMARK")


def test_kopf_reads_with_ours() -> None:
    assert Watch.__module__ == "hookline.control.watch"
    reader: Any = vars(api)["json"]
    assert reader.loads("half a line") == ANEW


class Response:
    """An answer with a Retry-After."""

    def __init__(self, after: str) -> None:
        self.status, self.headers = 429, {"Retry-After": after}

    async def json(self) -> dict[str, Any]:
        return {"kind": "Status"}

    def raise_for_status(self) -> None:
        raise aiohttp.ClientResponseError(None, (), status=429)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("after", "kept"), [("7", "7"), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("999999999", None), ("-1", None)]
)
async def test_kopf_waits_for_no_longer_than_a_number_of_seconds_says(after: str, kept: str | None) -> None:
    with pytest.raises(errors.APITooManyRequestsError) as refused:
        await errors.check_response(Response(after))  # type: ignore[arg-type]
    assert refused.value.headers.get("Retry-After") == kept


class Answer:
    """A list of one Secret, as an API server gives it."""

    def __init__(self) -> None:
        self._manifest = publisher("ci", "", data={"token": b"x" * 100_000})

    async def __aenter__(self) -> Answer:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing is open."""

    async def read(self) -> bytes:
        return json.dumps({"items": [self._manifest]}).encode()


@pytest.mark.parametrize(
    ("selector", "lean"),
    [
        ("hookline.dev%2Fpublisher%3Dtrue", True),
        ("hookline.dev%2Fca%3Dtrue", True),
        ("hookline.dev%2Fallow-webhooks%3Dtrue", False),
    ],
)
async def test_of_what_may_be_large_kopf_keeps_little_and_others_as_they_are(
    selector: str, lean: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def request(*_: object, **__: object) -> Answer:
        return Answer()

    monkeypatch.setattr(api, "request", request)
    found: Any = await api.get(f"/api/v1/secrets?labelSelector={selector}", settings=None, logger=None)  # type: ignore[arg-type]
    assert (len(json.dumps(found)) < 50_000) == lean
