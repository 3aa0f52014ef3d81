"""How a pod asks an API server: over TLS, with what a kubelet renews, and through whatever one may answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import structlog.testing
import trustme
from aiohttp import web

from doubles.account_tokens import claims, unsigned
from hookline.serving import api_server
from hookline.serving.api_server import MERGE, ApiServer, NoPod, Place, Right, User, allowed_in, place_of_pod, user_in
from hookline.serving.remembered import Unanswered

TOKEN = unsigned(claims())
OWN = "own-token-canary-5c1e"
YES = {
    "status": {
        "authenticated": True,
        "audiences": ["hookline"],
        "user": {"username": "system:serviceaccount:team-a:orders", "uid": "u", "groups": ["g"], "extra": {"k": ["v"]}},
    }
}
USER = User("system:serviceaccount:team-a:orders", "u", ("g",), (("k", ("v",)),))

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Played:
    """An API server that answers as a test says."""

    place: Place
    answer: Handler
    seen: list[tuple[str, str, Any]] = field(default_factory=list)
    """Path, Authorization and body of each request."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append((request.path, request.headers["Authorization"], await _sent(request)))
        return await self.answer(request)


async def _sent(request: web.Request) -> Any:
    return json.loads(await request.read() or b"null")


def says(content: object, status: int = 201) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response(content, status=status)

    return answer


def writes(content: bytes, status: int = 201, **headers: str) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=content, status=status, headers=headers)

    return answer


async def ends_early(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"Content-Length": "100"})
    await answer.prepare(request)
    await answer.write(b'{"status"')
    assert request.transport is not None
    request.transport.close()
    return answer


@pytest.fixture
async def played(tls: ssl.SSLContext, ca: trustme.CA, tmp_path: Path) -> AsyncIterator[Played]:
    place = Place("", tmp_path / "token", tmp_path / "ca.crt")
    place.token_file.write_text(f"{OWN}\n")
    place.ca_file.write_bytes(ca.cert_pem.bytes())
    made = Played(place, says(YES))
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    made.place = Place(f"https://127.0.0.1:{runner.addresses[0][1]}", place.token_file, place.ca_file)
    yield made
    await runner.cleanup()


@pytest.fixture
async def api(played: Played) -> AsyncIterator[ApiServer]:
    async with ApiServer(played.place, who="gateway", audience="hookline") as api:
        yield api


@contextlib.contextmanager
def unanswered() -> Iterator[list[str]]:
    """What the log says meanwhile; neither it nor the error holds a token."""
    told: list[str] = []
    with structlog.testing.capture_logs() as logs, pytest.raises(Unanswered) as error:
        yield told
    told += [each.get("problem", each["event"]) for each in logs]
    shown = f"{logs!r} {error.value!r} {error.value.__cause__!r} {error.getrepr(showlocals=False)}"
    assert OWN not in shown
    assert TOKEN.split(".")[1] not in shown


async def test_a_review_is_asked_for_as_this_pod_with_the_audience(played: Played, api: ApiServer) -> None:
    assert await api.user_of(TOKEN) == USER
    ((path, own, asked),) = played.seen
    assert (path, own) == ("/apis/authentication.k8s.io/v1/tokenreviews", f"Bearer {OWN}")
    assert asked["spec"] == {"token": TOKEN, "audiences": ["hookline"]}


async def test_a_right_is_asked_for_with_all_that_the_api_server_said_of_the_user(
    played: Played, api: ApiServer
) -> None:
    played.answer = says({"status": {"allowed": True}})
    assert await api.may(USER, Right("create", "hookline.dev", "events", namespace="team-b"))
    ((path, _, asked),) = played.seen
    assert path == "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    assert asked["spec"] == {
        "user": USER.name,
        "uid": "u",
        "groups": ["g"],
        "extra": {"k": ["v"]},
        "resourceAttributes": {"verb": "create", "group": "hookline.dev", "resource": "events", "namespace": "team-b"},
    }


async def test_without_an_audience_the_token_must_be_for_the_api_server_itself(played: Played) -> None:
    played.answer = says({"status": {"authenticated": True, "user": {"username": "alice"}}})
    async with ApiServer(played.place, who="api") as api:
        assert await api.user_of(TOKEN) == User("alice")
    ((_, _, asked),) = played.seen
    assert asked["spec"] == {"token": TOKEN}


async def test_a_right_to_one_object_names_it(played: Played, api: ApiServer) -> None:
    played.answer = says({"status": {"allowed": False}})
    assert not await api.may(USER, Right("get", "log.hookline.dev", "attempts", "body", "team-b", "evt-1"))
    assert played.seen[0][2]["spec"]["resourceAttributes"] == {
        "verb": "get",
        "group": "log.hookline.dev",
        "resource": "attempts",
        "subresource": "body",
        "namespace": "team-b",
        "name": "evt-1",
    }


async def test_a_renewed_token_is_used_at_the_next_request(played: Played, api: ApiServer) -> None:
    await api.user_of(TOKEN)
    played.place.token_file.write_text("renewed")
    await api.user_of(TOKEN)
    assert [own for _, own, _ in played.seen] == [f"Bearer {OWN}", "Bearer renewed"]


async def test_a_renewed_ca_is_used_at_the_next_request_and_no_other_server_hears_a_token(
    played: Played, api: ApiServer, ca: trustme.CA
) -> None:
    played.place.ca_file.write_bytes(trustme.CA().cert_pem.bytes())
    with unanswered() as told:
        await api.user_of(TOKEN)
    assert told == ["it cannot be asked (ClientConnectorCertificateError)"]
    assert played.seen == []
    played.place.ca_file.write_bytes(ca.cert_pem.bytes())
    assert await api.user_of(TOKEN) == USER
    # A connection that is kept does not outlive the trust in it.
    played.place.ca_file.write_bytes(trustme.CA().cert_pem.bytes())
    with unanswered():
        await api.user_of(TOKEN)
    assert len(played.seen) == 1


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (says({}, 401), "it does not know this pod's own token (401)"),
        (says({}, 403), "the gateway's ServiceAccount may not create reviews (403); apply its ClusterRole"),
        (says(YES, 500), "it answers 500"),
        (says({}, 429), "it answers 429"),
        (writes(b"", 307, Location="/elsewhere"), "it answers 307"),
        (writes(b"{"), "its answer is not JSON"),
        (writes(b"\xff"), "its answer is not JSON"),
        (writes(b"[" * 200_000), "its answer is not JSON"),
        (writes(b" " * 1_100_000), "its answer is too long"),
        (says([]), "its answer has no status"),
        (says({"status": "yes"}), "its answer has no status"),
        (says({"status": {"authenticated": True, "audiences": ["hookline"]}}), "its answer names no user"),
        (ends_early, "it cannot be asked (ClientPayloadError)"),
    ],
)
async def test_whatever_is_no_answer_is_neither_yes_nor_no_and_told_once(
    played: Played, api: ApiServer, answer: Handler, problem: str
) -> None:
    played.answer = answer
    with unanswered() as told:
        await api.user_of(TOKEN)
    assert told == [problem]
    assert len(played.seen) == 1
    with unanswered() as told:
        await api.user_of(TOKEN)
    assert told == []
    played.answer = says(YES)
    with structlog.testing.capture_logs() as logs:
        assert await api.user_of(TOKEN) == USER
    assert [each["event"] for each in logs] == ["the API server answers the gateway again"]


@pytest.mark.parametrize("name", ["token", "ca.crt"])
async def test_a_file_that_is_missing_is_no_answer(played: Played, api: ApiServer, name: str) -> None:
    (played.place.token_file.parent / name).unlink()
    with unanswered() as told:
        await api.user_of(TOKEN)
    assert told == ["it cannot be asked (FileNotFoundError)"]


async def test_a_file_that_holds_something_else_is_no_answer(played: Played, api: ApiServer) -> None:
    played.place.token_file.write_text(f"{OWN}\r\nHost: elsewhere")
    with unanswered():
        await api.user_of(TOKEN)
    played.place.token_file.write_text(OWN)
    played.place.ca_file.write_bytes(b"\xff")
    with unanswered():
        await api.user_of(TOKEN)
    assert played.seen == []


async def test_a_kept_connection_that_was_closed_is_no_failure(played: Played, api: ApiServer) -> None:
    await api.user_of(TOKEN)

    async def close_first(request: web.Request) -> web.StreamResponse:
        played.answer = says(YES)
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    played.answer = close_first
    assert await api.user_of(TOKEN) == USER
    assert len(played.seen) == 3


async def test_a_server_that_is_gone_or_hangs_is_no_answer(played: Played) -> None:
    async def hang(_: web.Request) -> web.StreamResponse:
        await hung.wait()
        return web.Response()

    hung = asyncio.Event()
    played.answer = hang
    async with ApiServer(played.place, who="gateway", request_seconds=0.1) as api:
        with unanswered() as told:
            await api.user_of(TOKEN)
    assert told == ["it cannot be asked (TimeoutError)"]
    hung.set()
    gone = Place("https://127.0.0.1:1", played.place.token_file, played.place.ca_file)
    async with ApiServer(gone, who="gateway") as api:
        with unanswered() as told:
            await api.user_of(TOKEN)
    assert told == ["it cannot be asked (ClientConnectorError)"]


@pytest.mark.parametrize(
    "status",
    [
        {},
        {"authenticated": False, "audiences": ["hookline"], "user": {"username": "a"}},
        {"authenticated": "true", "audiences": ["hookline"], "user": {"username": "a"}},
        {"authenticated": True, "user": {"username": "a"}},
        {"authenticated": True, "audiences": None, "user": {"username": "a"}},
        {"authenticated": True, "audiences": "hookline", "user": {"username": "a"}},
        {"authenticated": True, "audiences": ["https://kubernetes.default.svc"], "user": {"username": "a"}},
    ],
)
def test_a_yes_that_is_not_for_our_audience_is_a_no(status: dict[str, Any]) -> None:
    assert user_in(status, "hookline") is None


@pytest.mark.parametrize("status", [{}, {"allowed": False}, {"allowed": "true"}, {"allowed": True, "denied": True}])
def test_what_is_not_allowed_in_so_many_words_is_not(status: dict[str, Any]) -> None:
    assert not allowed_in(status)


def test_the_place_of_the_api_server_is_that_of_the_pod() -> None:
    pod = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    assert place_of_pod(pod).url == "https://10.96.0.1:443"
    assert place_of_pod({**pod, "KUBERNETES_SERVICE_HOST": "fd00::1"}).url == "https://[fd00::1]:443"
    with pytest.raises(NoPod, match="KUBERNETES_SERVICE_HOST"):
        place_of_pod({})


async def test_an_object_is_asked_for_and_what_the_api_server_refuses_is_told_as_it_is(
    played: Played, api: ApiServer
) -> None:
    played.answer = says({"kind": "Status", "reason": "Conflict"}, 409)
    assert await api.request("PATCH", "/apis/x/status", {"a": 1}, kind=MERGE, query={"fieldManager": "us"}) == (
        409,
        {"kind": "Status", "reason": "Conflict"},
    )
    assert played.seen == [("/apis/x/status", f"Bearer {OWN}", {"a": 1})]


@pytest.mark.parametrize(
    "answer",
    [says({}, 500), says({}, 429), says([], 200), writes(b"{", 200), writes(b"[" * 100_000, 200), ends_early],
    ids=["500", "429", "list", "not JSON", "deep", "ends early"],
)
async def test_what_is_no_answer_about_an_object_is_none(played: Played, api: ApiServer, answer: Handler) -> None:
    played.answer = answer
    with unanswered():
        await api.request("GET", "/apis/x")
    with unanswered():
        async for _ in api.watch("/apis/x"):
            pass


async def test_events_of_a_watch_come_as_they_are_written_however_long_a_line_is(
    played: Played, api: ApiServer
) -> None:
    events = [{"type": "ADDED", "object": {"a": "x" * 200_000}}, {"type": "BOOKMARK"}]
    lines = b"".join(json.dumps(each).encode() + b"\n" for each in events)

    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.query["watch"] == "true"
        response = web.StreamResponse()
        await response.prepare(request)
        for start in range(0, len(lines), 70_000):
            await response.write(lines[start : start + 70_000])
        return response

    played.answer = answer
    assert [each async for each in api.watch("/apis/x", resourceVersion="7")] == events


async def test_an_event_without_an_end_is_not_kept_in_memory_for_ever(
    played: Played, api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_server, "MAX_OBJECT_BYTES", 1000)
    played.answer = writes(b"{" * 5000, 200)
    with unanswered():
        async for _ in api.watch("/apis/x"):
            pass
