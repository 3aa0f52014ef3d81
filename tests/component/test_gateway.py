"""The gateway over a real nats-server: what a producer sends, what it is told, what is stored."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import signal

import httpx
import pytest

from doubles import own
from doubles.gateway import OF_TEAM_A, TOKEN, gateway_at, gateway_of
from doubles.local import count
from hookline.events.builtin_events import EVENTS, event_named, sample_of, schema_of, to_text
from hookline.events.notices import NOTICES
from hookline.gateway.callers import Caller, OneToken
from hookline.gateway.intake import Intake
from hookline.gateway.limits import Bounds
from hookline.gateway.problem import MEDIA_TYPE, TYPES
from hookline.local.nats_server import NatsServer
from hookline.routing.routes import TypeRecord
from hookline.stream.connection import Client
from hookline.stream.types import write_types

EVENT = "IdentityCreated"
BODY = to_text(sample_of(event_named(EVENT))).encode()
PAGE = f"/v1/events/{EVENT}"
JSON = {"Content-Type": "application/json"}


def problem_of(answer: httpx.Response) -> tuple[int, str]:
    """Status and kind of a problem."""
    assert answer.headers["Content-Type"] == MEDIA_TYPE, answer.text
    said = answer.json()
    assert said["status"] == answer.status_code
    assert TOKEN not in answer.text
    return answer.status_code, said["type"].removeprefix(TYPES)


async def stored(queue: Client, seq: int) -> tuple[str, dict[str, str], bytes]:
    message = await queue.jetstream().get_msg(own.EVENTS, seq=seq)
    return message.subject or "", message.headers or {}, message.data or b""


async def test_an_event_is_stored_as_it_was_sent_before_it_is_confirmed(
    gateway: httpx.AsyncClient, queue: Client
) -> None:
    answer = await gateway.post(PAGE, content=BODY, headers={**JSON, "Idempotency-Key": "order-4711"})
    assert (answer.status_code, answer.json()) == (
        202,
        {"id": "order-4711", "type": EVENT, "namespace": "default", "repeat": False},
    )
    subject, headers, body = await stored(queue, 1)
    assert subject == f"hookline.events.default.{EVENT}"
    assert (headers["Hookline-Event-Id"], body) == ("order-4711", BODY)


async def test_whose_a_token_is_is_asked_with_the_address_that_it_came_from(
    queue: Client, nats_server: NatsServer
) -> None:
    """Whatever a header says."""
    sources = []

    class Listening(OneToken):
        async def caller(self, token: str, source: str = "") -> Caller:
            sources.append(source)
            return await super().caller(token, source)

    callers = Listening(TOKEN, namespace="default", name="test")
    async with gateway_of(nats_server.url, callers) as port, httpx.AsyncClient() as client:
        said = {**JSON, "Authorization": f"Bearer {TOKEN}", "X-Forwarded-For": "10.0.0.66"}
        answer = await client.post(f"http://127.0.0.1:{port}{PAGE}", content=BODY, headers=said)
    assert (answer.status_code, sources) == (202, ["127.0.0.1"])


async def test_an_event_without_a_key_is_given_an_id(gateway: httpx.AsyncClient, queue: Client) -> None:
    ids = {(await gateway.post(PAGE, content=BODY, headers=JSON)).json()["id"] for _ in range(2)}
    assert len(ids) == 2
    assert (await stored(queue, 1))[1]["Hookline-Event-Id"] in ids


@pytest.mark.parametrize("name", ["Idempotency-Key", "webhook-id"])
async def test_a_key_stores_one_event_however_often_it_is_sent(
    gateway: httpx.AsyncClient, queue: Client, name: str
) -> None:
    answers = [await gateway.post(PAGE, content=BODY, headers={**JSON, name: "k 1"}) for _ in range(3)]
    assert [each.status_code for each in answers] == [202, 200, 200]
    assert len({each.json()["id"] for each in answers}) == 1
    other = await gateway.post(PAGE, content=BODY + b" ", headers={**JSON, name: "k 1"})
    assert problem_of(other) == (409, "key-used")
    assert await count(queue, own.EVENTS) == 1


async def test_a_repeat_is_known_to_a_gateway_that_was_started_since(queue: Client, nats_server: NatsServer) -> None:
    for status in (202, 200):
        async with gateway_at(nats_server.url) as gateway:
            answer = await gateway.post(PAGE, content=BODY, headers={**JSON, "Idempotency-Key": "k1"})
            assert answer.status_code == status
    assert await count(queue, own.EVENTS) == 1


async def test_what_is_wrong_with_a_body_is_told_with_place_and_rule_and_without_a_value(
    gateway: httpx.AsyncClient, queue: Client
) -> None:
    sample = {**sample_of(event_named(EVENT)), "Email": 4711, "Ünknown": "canary-value"}
    del sample["FirstName"]
    answer = await gateway.post(PAGE, json=sample)
    assert problem_of(answer) == (422, "schema")
    found = {(each["pointer"], each["rule"]) for each in answer.json()["errors"]}
    assert ("/Email", "type") in found
    assert "4711" not in answer.text
    assert "canary-value" not in answer.text
    assert await count(queue, own.EVENTS) == 0


HOSTILE = {
    "nothing": b"",
    "duplicate key": b'{"a":1,"a":2}',
    "NaN": b'{"a":NaN}',
    "half a pair": b'{"a":"\\ud800"}',
    "BOM": b"\xef\xbb\xbf{}",
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "deep": b"[" * 10_000 + b"]" * 10_000,
    "deep and open": b"[" * 10_000,
    "digits": b'{"a":' + b"9" * 10_000 + b"}",
    "exponent": b'{"a":1e999999}',
    "not UTF-8": b'{"a":"\xff"}',
    "more": b"{} {}",
    "NUL": b'{"a":"\x00"}',
    "not JSON": b"a=1",
}


async def test_what_is_no_strict_json_is_a_bad_request(gateway: httpx.AsyncClient, queue: Client) -> None:
    told = {name: problem_of(await gateway.post(PAGE, content=body, headers=JSON)) for name, body in HOSTILE.items()}
    assert told == dict.fromkeys(HOSTILE, (400, "bad-body"))
    assert await count(queue, own.EVENTS) == 0


async def test_bodies_are_bounded_also_after_they_are_expanded(gateway: httpx.AsyncClient) -> None:
    large = json.dumps({"a": "a" * 300_000}).encode()
    assert problem_of(await gateway.post(PAGE, content=large, headers=JSON)) == (413, "too-large")
    bomb = {**JSON, "Content-Encoding": "gzip"}
    assert problem_of(await gateway.post(PAGE, content=gzip.compress(large), headers=bomb)) == (413, "too-large")
    assert (await gateway.post(PAGE, content=gzip.compress(BODY), headers=bomb)).status_code == 202


MEDIA = (415, "unsupported-media-type")
TEAM_B = {"Hookline-Namespace": "team-b"}
TWICE = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
Headers = dict[str, str] | list[tuple[str, str]]

REFUSED: dict[str, tuple[str, str, Headers, tuple[int, str]]] = {
    "no token": ("POST", PAGE, {"Authorization": ""}, (401, "unauthenticated")),
    "another token": ("POST", PAGE, {"Authorization": "Bearer x"}, (401, "unauthenticated")),
    "a token in the URL": ("POST", f"{PAGE}?access_token=canary-token", {}, (400, "token-in-query")),
    "a parameter": ("POST", f"{PAGE}?dry=1", {}, (400, "bad-request")),
    "an unknown type": ("POST", "/v1/events/IdentityCreate", {}, (404, "unknown-type")),
    "a type that only a CloudEvent may have": ("POST", f"/v1/events/com.example.{EVENT}", {}, (404, "unknown-type")),
    "an unknown page": ("GET", "/v2", {}, (404, "not-found")),
    "a page with a slash": ("POST", f"{PAGE}/", {}, (404, "not-found")),
    "a method": ("DELETE", PAGE, {}, (405, "method-not-allowed")),
    "a form": ("POST", PAGE, {"Content-Type": "application/x-www-form-urlencoded"}, MEDIA),
    "latin-1": ("POST", PAGE, {"Content-Type": "application/json; charset=latin-1"}, MEDIA),
    "brotli": ("POST", PAGE, {"Content-Encoding": "br"}, MEDIA),
    "two keys": ("POST", PAGE, {"Idempotency-Key": "a", "webhook-id": "b"}, (400, "bad-key")),
    "a key twice": ("POST", PAGE, TWICE, (400, "bad-request")),
    "no namespace": ("POST", PAGE, {"Hookline-Namespace": "Team A"}, (400, "bad-request")),
    "another's namespace": ("POST", PAGE, {**OF_TEAM_A, **TEAM_B}, (403, "forbidden")),
    "another type": ("POST", "/v1/events/AccessGranted", OF_TEAM_A, (403, "forbidden")),
    "a CloudEvent on the page of bare bodies": ("POST", PAGE, {"ce-specversion": "1.0"}, (400, "bad-request")),
}


async def test_who_is_refused_is_told_why(gateway: httpx.AsyncClient, queue: Client) -> None:
    async def told(method: str, page: str, more: Headers) -> tuple[int, str]:
        sent = {**JSON, **more} if isinstance(more, dict) else [*JSON.items(), *more]
        return problem_of(await gateway.request(method, page, content=BODY if method == "POST" else None, headers=sent))

    found = {name: await told(method, page, more) for name, (method, page, more, _) in REFUSED.items()}
    assert found == {name: why for name, (*_, why) in REFUSED.items()}
    assert await count(queue, own.EVENTS) == 0


@pytest.mark.parametrize(("page", "allowed"), [(PAGE, "POST"), ("/v1/event-types", "GET, HEAD")])
async def test_a_page_says_which_methods_it_takes(gateway: httpx.AsyncClient, page: str, allowed: str) -> None:
    answer = await gateway.request("PUT", page, content=BODY, headers=JSON)
    assert (problem_of(answer), answer.headers["Allow"]) == ((405, "method-not-allowed"), allowed)
    assert (await gateway.head(page)).status_code == (200 if "HEAD" in allowed else 405)


async def test_a_bug_of_the_gateway_is_a_problem_as_all_others_are(
    gateway: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Intake, "take", None)
    answer = await gateway.post(PAGE, content=BODY, headers=JSON)
    assert problem_of(answer) == (500, "internal")
    assert "NoneType" not in answer.text


async def test_near_names_are_told(gateway: httpx.AsyncClient) -> None:
    answer = await gateway.post("/v1/events/IdentityCreate", content=BODY, headers=JSON)
    assert EVENT in answer.json()["nearest"]


async def test_a_caller_publishes_for_its_own_namespace_and_others_that_it_may(
    gateway: httpx.AsyncClient, queue: Client
) -> None:
    own_ = await gateway.post(PAGE, content=BODY, headers={**JSON, **OF_TEAM_A})
    other = await gateway.post(PAGE, content=BODY, headers={**JSON, "Hookline-Namespace": "team-b"})
    assert [own_.json()["namespace"], other.json()["namespace"]] == ["team-a", "team-b"]
    assert (await stored(queue, 2))[0] == f"hookline.events.team-b.{EVENT}"


async def test_lines_have_a_verdict_each_and_good_ones_are_stored_whatever_the_others_are(
    gateway: httpx.AsyncClient, queue: Client
) -> None:
    line = json.dumps(sample_of(event_named(EVENT))).encode()
    headers = {"Content-Type": "application/x-ndjson", "Idempotency-Key": "job"}
    sent = b"\n".join([line, b"{", b"", line, b"{}", b""])
    answer = await gateway.post(PAGE, content=sent, headers=headers)
    assert answer.status_code == 422
    said = answer.json()
    assert (said["stored"], said["refused"]) == (2, 2)
    assert [each["status"] for each in said["events"]] == [202, 400, 202, 422]
    assert [each.get("id") for each in said["events"]] == ["job-1", None, "job-4", None]
    assert await count(queue, own.EVENTS) == 2
    again = await gateway.post(PAGE, content=b"\n".join([line, line]), headers=headers)
    assert [each["status"] for each in again.json()["events"]] == [200, 202]
    assert again.status_code == 202


async def test_too_many_lines_are_refused_as_a_whole(gateway: httpx.AsyncClient, queue: Client) -> None:
    answer = await gateway.post(PAGE, content=b"{}\n" * 1001, headers={"Content-Type": "application/x-ndjson"})
    assert problem_of(answer) == (413, "too-large")
    assert await count(queue, own.EVENTS) == 0


async def test_a_cloudevent_and_the_trace_of_a_request_travel_with_the_event(
    gateway: httpx.AsyncClient, queue: Client
) -> None:
    event = {
        "specversion": "1.0",
        "id": "1",
        "source": "/sensors",
        "type": f"com.example.{EVENT}",
        "traceparent": "of-the-event",
        "data": json.loads(BODY),
    }
    headers = {"Content-Type": "application/cloudevents+json", "traceparent": "of-the-request", "tracestate": "a=1"}
    answer = await gateway.post("/v1/events", content=json.dumps(event).encode(), headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (202, EVENT)
    _, stored_headers, body = await stored(queue, 1)
    assert json.loads(body) == json.loads(BODY)
    assert stored_headers["Hookline-Context-traceparent"] == "of-the-event"
    assert "Hookline-Context-tracestate" not in stored_headers, "it belongs to the other traceparent"
    assert stored_headers["Hookline-Context-source"] == "/sensors"


async def test_the_trace_of_a_request_travels_with_a_bare_event(gateway: httpx.AsyncClient, queue: Client) -> None:
    await gateway.post(PAGE, content=BODY, headers={**JSON, "traceparent": "00-1", "tracestate": "a=1,b=2"})
    headers = (await stored(queue, 1))[1]
    assert headers["Hookline-Context-traceparent"] == "00-1"
    assert headers["Hookline-Context-tracestate"] == "a=1,b=2"
    wrong = await gateway.post(PAGE, content=BODY, headers={**JSON, "traceparent": "canary\x01"})
    assert problem_of(wrong) == (400, "bad-request")


async def test_event_types_their_schemas_and_samples_are_there_for_everybody(gateway: httpx.AsyncClient) -> None:
    del gateway.headers["Authorization"]
    listed = (await gateway.get("/v1/event-types")).json()["eventTypes"]
    assert {each["name"] for each in listed} == {each.name for each in EVENTS} | {each.name for each in NOTICES}
    schema = await gateway.get(f"/v1/event-types/{EVENT}/schema")
    assert schema.json() == schema_of(event_named(EVENT))
    assert schema.headers["Content-Disposition"] == 'attachment; filename="schema-identitycreated.json"'
    assert (await gateway.get(f"/v1/event-types/{EVENT}/sample")).content == BODY
    assert problem_of(await gateway.get("/v1/event-types/Nothing/schema")) == (404, "unknown-type")
    assert (await gateway.get("/v1/openapi.json")).json()["openapi"].startswith("3.1")


async def test_a_type_that_is_made_later_is_taken_and_one_that_only_warns_warns(
    gateway: httpx.AsyncClient, queue: Client
) -> None:
    schema = {"type": "object", "required": ["Id"]}
    write = TypeRecord(name="order.created", description="", validation="Warn", schema_=schema)
    assert (await gateway.post("/v1/events/order.created", json={})).status_code == 404
    await write_types(queue, (write,))

    for _ in range(100):
        answer = await gateway.post("/v1/events/order.created", json={})
        if answer.status_code == 202:
            break
        await asyncio.sleep(0.1)
    assert [each["rule"] for each in answer.json()["warnings"]] == ["required"]


async def test_a_namespace_that_sends_too_much_is_told_when_to_come_again(
    queue: Client, nats_server: NatsServer
) -> None:
    async with gateway_at(nats_server.url, Bounds(events_per_second=2)) as gateway:
        headers = {"Content-Type": "application/x-ndjson"}
        line = json.dumps(sample_of(event_named(EVENT))).encode()
        assert (await gateway.post(PAGE, content=b"\n".join([line] * 10), headers=headers)).status_code == 202
        answer = await gateway.post(PAGE, content=BODY, headers=JSON)
        assert problem_of(answer) == (429, "too-many-requests")
        assert 1 <= int(answer.headers["Retry-After"]) <= 5
        other = await gateway.post(PAGE, content=BODY, headers={**JSON, **OF_TEAM_A})
        assert other.status_code == 202


async def test_while_the_queue_is_away_a_producer_is_told_in_bounded_time(
    queue: Client, nats_server: NatsServer
) -> None:
    async with gateway_at(nats_server.url) as gateway:
        assert nats_server.pid is not None
        os.kill(nats_server.pid, signal.SIGKILL)
        answer = await gateway.post(PAGE, content=BODY, headers={**JSON, "Idempotency-Key": "k1"})
        assert problem_of(answer) == (503, "unavailable")
        assert answer.json()["id"] == "k1"
        assert answer.headers["Retry-After"]
