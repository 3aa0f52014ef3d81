"""Which page a path is, and what the answer to a stored event looks like."""

from __future__ import annotations

import json
import tracemalloc

import httpx
import pytest

from hookline.events.builtin_events import event_named, sample_of, to_text
from hookline.events.schemas import Catalogue, EventTypeSpec
from hookline.gateway.app import Pages
from hookline.gateway.callers import OneToken
from hookline.gateway.intake import Intake
from hookline.gateway.limits import Limits
from hookline.gateway.repeats import Repeats
from hookline.stream.admission import Admission, Admitted

EVENT = "IdentityCreated"
BODY = to_text(sample_of(event_named(EVENT))).encode()
SENT = {"Authorization": "Bearer token", "Content-Type": "application/json"}


class Queue(Admission):
    """Has stored each event at once."""

    def __init__(self) -> None:
        self.catalogue = Catalogue([EventTypeSpec("order.created", {"type": "string"}, validation="Warn")])

    async def store(self, *said: object, **_: object) -> Admitted:
        return Admitted(str(said[3]))


async def ask(
    method: str, path: str, *, content: bytes = BODY, headers: dict[str, str] | None = None
) -> httpx.Response:
    intake = Intake(Queue(), Repeats())
    callers = OneToken("token", namespace="default", name="test")
    pages = Pages(lambda: intake, lambda: intake.catalogue, callers, Limits())
    transport = httpx.ASGITransport(pages.app())
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        return await client.request(method, path, content=content, headers={**SENT, **(headers or {})})


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"/v1/events/{EVENT}", 202),
        ("/v1/events/{type}", 404),
        ("/v1/events/%7Btype%7D", 404),
        ("/v1/events", 400),
        ("/v1/events/", 404),
        (f"/v1/events/{EVENT}/", 404),
        (f"/v1/events//{EVENT}", 404),
        (f"//v1/events/{EVENT}", 404),
        (f"/v1/events/{EVENT}/schema", 404),
        (f"/v1/events/{EVENT}%2Fschema", 404),
        (f"/v1/event-types/{EVENT}/schema", 405),
        ("/v1/event-types//schema", 404),
        (f"/v1/event-types/{EVENT}", 404),
        ("/v1/openapi.json", 405),
        ("/v1/openapi.json/x", 404),
        ("/v1/{type}", 404),
        ("/", 404),
    ],
)
async def test_a_path_is_one_page_or_none(path: str, status: int) -> None:
    answer = await ask("POST", path)
    assert answer.status_code == status
    if status == 404:
        kind = "unknown-type" if "type}" in path.lower() or "type%7D" in path else "not-found"
        assert answer.json()["type"].endswith(kind if "/events/" in path else "not-found")


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": 'a "quoted" \\\\ key'}, {"webhook-id": "k-1"}])
async def test_a_stored_event_is_told_as_every_other_document_is_written(headers: dict[str, str]) -> None:
    answer = await ask("POST", f"/v1/events/{EVENT}", headers=headers)
    said = answer.json()
    assert answer.content == json.dumps(said).encode() + b"\n"
    assert list(said) == ["id", "type", "namespace", "repeat"]
    assert (said["type"], said["namespace"], said["repeat"]) == (EVENT, "default", False)


async def test_a_stored_event_is_told_with_what_is_only_warned_of() -> None:
    said = (await ask("POST", "/v1/events/order.created", content=b"1")).json()
    assert [each["rule"] for each in said["warnings"]] == ["type"]


async def test_of_a_header_that_stands_there_twice_both_count_unless_two_would_be_another_meaning() -> None:
    intake = Intake(Queue(), Repeats())
    callers = OneToken("token", namespace="default", name="test")
    app = Pages(lambda: intake, lambda: intake.catalogue, callers, Limits()).app()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
        for name, status in (("tracestate", 202), ("idempotency-key", 400), ("authorization", 400)):
            twice = [*SENT.items(), (name, "a=1"), (name, "b=2")]
            answer = await client.post(f"/v1/events/{EVENT}", content=BODY, headers=twice)
            assert answer.status_code == status, name


async def test_long_paths_take_no_memory_once_they_are_answered() -> None:
    intake = Intake(Queue(), Repeats())
    site = Pages(lambda: intake, lambda: intake.catalogue, OneToken("token", namespace="a", name="b"), Limits()).app()

    async def told(_: object) -> None:
        pass

    tracemalloc.start()
    try:
        for number in range(300):
            # With this character each of them takes four bytes.
            path = f"/v1/events/{number}\N{GRINNING FACE}{'a' * 15_000}"
            scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": []}
            await site(scope, told, told)  # type: ignore[arg-type]
        assert tracemalloc.get_traced_memory()[0] < 2_000_000
    finally:
        tracemalloc.stop()
