"""The pages of the gateway: which request is answered by what.

Decides paths, headers and the status of an answer; what becomes of an event decides intake.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from json.encoder import encode_basestring_ascii as _quoted_ascii
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from hookline.events.context import context_problems
from hookline.events.envelope import MAX_BODY_BYTES
from hookline.events.explain import quoted
from hookline.events.schemas import Catalogue
from hookline.gateway import catalogue_pages, cloudevents, openapi
from hookline.gateway.callers import Caller, Callers, token_of
from hookline.gateway.incoming import MAX_EVENTS, Incoming, id_of_key, id_of_line
from hookline.gateway.intake import Intake, Taken, namespace_for
from hookline.gateway.limits import Limits
from hookline.gateway.media_types import NDJSON, is_json, is_ndjson, media_type
from hookline.gateway.problem import AGAIN_SECONDS, Kind, Problem, Refused, refuse, retry_after
from hookline.gateway.reading import BODY_SECONDS, read_body
from hookline.gateway.remembering import remembers_short
from hookline.runtime.tasks import Deadlines, beside

MAX_REQUEST_BYTES = 4 * 1024 * 1024
"""Of a request with many events. NATS takes them one by one."""

_AT_ONCE = 64
"""Events of one request that are on their way to the queue at once."""

_BEGIN_SECONDS = 15.0
"""After which no event of a request is begun. With the time that one may take it is less than the grace at the end."""

_NOT_BEGUN = Problem(
    Kind.UNAVAILABLE,
    "the queue was too slow for all events of this request; nothing was stored of this one",
    retry_after_seconds=AGAIN_SECONDS,
)

_QUICK_BYTES = 64 * 1024
"""Of a request that is read at once. To read a larger one may take long, so that a thread does it."""

_CLOUDEVENT_BYTES = 2 * MAX_BODY_BYTES
"""Of one CloudEvent with its envelope. Base64 makes the data a third larger."""

_MAX_BRACKETS = 100_000
"""Objects and arrays in a request with many events. To read 4 MiB of nothing else takes a second."""

_ONCE = ("authorization", "content-type", "content-encoding", "idempotency-key", "webhook-id", "hookline-namespace")
"""Headers of which a second one would be another meaning."""

_TOKENS = ("token", "access_token", "auth", "authorization", "bearer", "api_key", "apikey", "key", "secret")
"""Names under which people put tokens into URLs."""

_encoded = json.JSONEncoder().encode
"""As json.dumps, which takes longer. In ASCII: a pointer may hold names out of a body, with what a terminal would
obey."""

_METHODS = {"GET": ("GET", "HEAD"), "POST": ("POST",)}

_PATHS, _PATH_CHARACTERS = 256, 256
"""How many paths are remembered with what they mean, and how long they are at most: anybody may send others."""

_TRACE = ("traceparent", "tracestate")
"""Headers of a request that travel with its events (W3C Trace Context)."""


@dataclass(slots=True)  # not frozen, though nothing changes it, as Event
class _Request:
    """`type` is the event type in its path; empty where a path has none."""

    scope: Scope
    receive: Receive
    type: str


class Pages:
    """`intake` and `catalogue` give what there is now; `intake` raises Refused while the queue cannot be used. `tell`
    is told the word of each verdict."""

    def __init__(
        self,
        intake: Callable[[], Intake],
        catalogue: Callable[[], Catalogue],
        callers: Callers,
        limits: Limits,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._intake = intake
        self._catalogue = catalogue
        self._callers = callers
        self._limits = limits
        self._tell = tell
        self._body_times = Deadlines(BODY_SECONDS)

    def app(self) -> ASGIApp:
        pages = {
            "/v1/events/{type}": ("POST", self._bare),
            "/v1/events": ("POST", self._cloudevents),
            "/v1/event-types": ("GET", self._types),
            "/v1/event-types/{type}/schema": ("GET", self._schema),
            "/v1/event-types/{type}/sample": ("GET", self._sample),
            "/v1/openapi.json": ("GET", self._openapi),
        }
        return _Site(pages, self._tell)

    # ---- events ------------------------------------------------------------------------------------------------------

    async def _bare(self, request: _Request) -> Response:
        """One event whose body is that of the request, or one for each line."""
        headers = _headers(request)
        sent = media_type(headers.get("content-type", ""))
        if sent.startswith("application/cloudevents") or "ce-specversion" in headers:
            raise refuse(Kind.BAD_REQUEST, "CloudEvents go to POST /v1/events; here the body of the event stands alone")
        if sent and not is_json(sent) and not is_ndjson(sent):
            raise refuse(
                Kind.UNSUPPORTED_MEDIA_TYPE, f"send Content-Type: application/json, or {NDJSON} for one event a line"
            )
        if is_ndjson(sent):
            return await self._many(request, headers, _lines_of(request.type, _key(headers)))
        key = _key(headers)
        return await self._answered(
            request,
            headers,
            lambda body: [Incoming(request.type, key, body)],
            at_most_bytes=MAX_BODY_BYTES,
            one=True,
        )

    async def _cloudevents(self, request: _Request) -> Response:
        """CloudEvents: one, a batch, or one for each line."""
        headers = _headers(request)
        sent = headers.get("content-type", "")
        if is_ndjson(media_type(sent)):
            return await self._many(request, headers, _cloudevent_lines)
        is_batch = media_type(sent) == cloudevents.BATCH
        return await self._answered(
            request,
            headers,
            lambda body: cloudevents.read(sent, headers, body),
            at_most_bytes=MAX_REQUEST_BYTES if is_batch else _CLOUDEVENT_BYTES,
            one=not is_batch,
        )

    async def _many(
        self, request: _Request, headers: Mapping[str, str], read: Callable[[bytes], list[Incoming | Problem]]
    ) -> Response:
        return await self._answered(request, headers, read, at_most_bytes=MAX_REQUEST_BYTES, one=False)

    async def _answered(
        self,
        request: _Request,
        headers: Mapping[str, str],
        read: Callable[[bytes], list[Incoming | Problem]],
        *,
        at_most_bytes: int,
        one: bool,
    ) -> Response:
        """Everything but what an event is: who calls, for whom, how much at once, what the answer looks like."""
        _check_query(request)
        caller = await self._callers.caller(token_of(headers), _source(request))
        asked = headers.get("hookline-namespace")
        namespace = await namespace_for(self._callers, caller, asked) if asked else caller.namespace
        intake = self._intake()
        place = self._limits.begin(caller.namespace, time.monotonic())
        try:
            body = await read_body(
                request.receive, headers, at_most_bytes=at_most_bytes, hold=place.hold, deadlines=self._body_times
            )
            if not one and body.count(b"[") + body.count(b"{") > _MAX_BRACKETS:
                raise refuse(Kind.TOO_LARGE, f"the body has more than {_MAX_BRACKETS} objects and arrays")
            events = read(body) if len(body) <= _QUICK_BYTES or one else await beside(lambda: read(body))
            if _TRACE[0] in headers or _TRACE[1] in headers:
                trace = {name: headers[name] for name in _TRACE if name in headers}
                events = [_with_trace(each, trace) for each in events]
            place.spend(len(events), len(body))
            if one:
                # It raises Refused, which is told where all pages are called.
                taken = await intake.take(caller, namespace, _event(events[0]))
                self._tell(taken.word)
                return _Json(_stored(taken), taken.status)
            verdicts = await _take_all(intake, caller, namespace, events)
        finally:
            place.end()
        for each in verdicts:
            self._tell(each.word if isinstance(each, Taken) else each.kind.slug)
        return _said_of_all(verdicts)

    # ---- event types -------------------------------------------------------------------------------------------------

    async def _types(self, request: _Request) -> Response:
        _check_query(request)
        return Response(catalogue_pages.listed(self._catalogue()), media_type="application/json")

    async def _schema(self, request: _Request) -> Response:
        _check_query(request)
        return _file(openapi.SCHEMA_TYPE, *catalogue_pages.schema_file(self._catalogue(), request.type))

    async def _sample(self, request: _Request) -> Response:
        _check_query(request)
        return _file("application/json", *catalogue_pages.sample_file(self._catalogue(), request.type))

    async def _openapi(self, request: _Request) -> Response:
        _check_query(request)
        return Response(openapi.text(), media_type="application/json")


class _Site:
    """All pages, each with the method that it takes, by their paths. It replaces the router of Starlette, whose layers
    cost a tenth of an event's CPU and answer a bug with plain text, where the server answers with a problem."""

    def __init__(
        self, pages: Mapping[str, tuple[str, Callable[[_Request], Awaitable[Response]]]], tell: Callable[[str], None]
    ) -> None:
        """`{type}` stands in a path for any event type."""
        self._pages = {path: (_METHODS[method], page) for path, (method, page) in pages.items()}
        self._tell = tell

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, type_ = _path_and_type(scope["path"])
        methods, page = self._pages.get(path, ((), None))
        if page is None:
            answer = _problem(Problem(Kind.NOT_FOUND, "the pages are listed in /v1/openapi.json"))
        elif scope["method"] not in methods:
            allowed = ", ".join(methods)
            answer = _problem(Problem(Kind.METHOD_NOT_ALLOWED, f"this page takes {allowed}"), {"Allow": allowed})
        else:
            try:
                answer = await page(_Request(scope, receive, type_))
            except Refused as error:
                self._tell(error.problem.kind.slug)
                answer = _problem(error.problem)
            except ClientDisconnect:
                # Nobody hears the answer.
                answer = _problem(Problem(Kind.BAD_REQUEST, "the request ended before its body did"))
        await answer(scope, receive, send)


@remembers_short(_PATHS, _PATH_CHARACTERS)
def _path_and_type(path: str) -> tuple[str, str]:
    """A path with `{type}` in the place of its event type, and that: the third segment of those that have one.

    A path is one path: `/v1/events/` is not sent on to another one, which a POST would not follow.
    """
    segments = path.split("/")
    if len(segments) < 4 or not (type_ := segments[3]):
        return path, ""
    segments[3] = "{type}"
    return "/".join(segments), type_


def _event(event: Incoming | Problem) -> Incoming:
    """Raises Refused."""
    if isinstance(event, Problem):
        raise Refused(event)
    return event


async def _take(intake: Intake, caller: Caller, namespace: str, event: Incoming | Problem) -> Taken | Problem:
    if isinstance(event, Problem):
        return event
    try:
        return await intake.take(caller, namespace, event)
    except Refused as error:
        return error.problem


async def _take_all(
    intake: Intake, caller: Caller, namespace: str, events: list[Incoming | Problem]
) -> list[Taken | Problem]:
    """One verdict for each, in their order.

    After the first that the queue does not take in time, or when the request takes too long, none is begun any more:
    otherwise a queue that says nothing would hold the answer for its patience with one event, many times over.
    """
    if len(events) == 1:
        return [await _take(intake, caller, namespace, events[0])]
    verdicts: list[Taken | Problem | None] = [None] * len(events)
    places = asyncio.Semaphore(_AT_ONCE)
    until_s, unavailable = time.monotonic() + _BEGIN_SECONDS, False

    async def take(number: int, event: Incoming | Problem) -> None:
        nonlocal unavailable
        try:
            verdict = verdicts[number] = await _take(intake, caller, namespace, event)
            unavailable |= isinstance(verdict, Problem) and verdict.kind is Kind.UNAVAILABLE
        finally:
            places.release()

    async with asyncio.TaskGroup() as group:
        for number, event in enumerate(events):
            await places.acquire()
            if unavailable or time.monotonic() >= until_s:
                break
            group.create_task(take(number, event))
            # Checking takes up to milliseconds: other requests get their turn between two events.
            await asyncio.sleep(0)
    return [_NOT_BEGUN if each is None else each for each in verdicts]


def _with_trace(event: Incoming | Problem, trace: Mapping[str, str]) -> Incoming | Problem:
    """With the trace of its request, unless the event brings its own; or why what goes with it may not travel."""
    if isinstance(event, Problem) or _TRACE[0] in event.context:
        return event
    context = {**trace, **event.context}
    if problems := context_problems(context):
        where = quoted(problems[0].name) if problems[0].name else "what goes with the event"
        return Problem(Kind.BAD_REQUEST, f"{where} {problems[0].reason}", event_id=event.id)
    return replace(event, context=context)


def _lines_of(event_type: str, key: str) -> Callable[[bytes], list[Incoming | Problem]]:
    """Bodies of one type, one on each line. Of a key each line gets a part: the number of the line."""

    def read(body: bytes) -> list[Incoming | Problem]:
        return [Incoming(event_type, id_of_line(key, number), line) for number, line in _lines(body)]

    return read


def _cloudevent_lines(body: bytes) -> list[Incoming | Problem]:
    return [cloudevents.from_line(line) for _, line in _lines(body)]


def _lines(body: bytes) -> list[tuple[int, bytes]]:
    """Number and content of each line that is not blank. Raises Refused for none and for too many."""
    # Blank ones take memory as well: four million of them fit into a request.
    if body.count(b"\n") > 2 * MAX_EVENTS:
        raise refuse(Kind.TOO_LARGE, f"a request has at most {2 * MAX_EVENTS} lines; send several")
    lines = [(number, line.rstrip(b"\r")) for number, line in enumerate(body.split(b"\n"), 1) if line.strip()]
    if not lines:
        raise refuse(Kind.BAD_BODY, "the body has no line; write one JSON document on each")
    if len(lines) > MAX_EVENTS:
        raise refuse(Kind.TOO_LARGE, f"a request has at most {MAX_EVENTS} events; send several")
    return lines


# ---- requests --------------------------------------------------------------------------------------------------------


def _headers(request: _Request) -> dict[str, str]:
    """By their names in small letters. Raises Refused of one that stands there twice and may not."""
    sent = request.scope["headers"]
    found = {name.decode("latin-1"): value.decode("latin-1") for name, value in sent}
    return found if len(found) == len(sent) else _joined(sent)


def _joined(sent: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """Of headers of which one stands there more than once."""
    found: dict[str, str] = {}
    for raw_name, raw_value in sent:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if name not in found:
            found[name] = value
        elif name in _ONCE or name.startswith("ce-"):
            raise refuse(Kind.BAD_REQUEST, f"the header {name} may stand there once")
        else:
            found[name] = f"{found[name]},{value}"
    return found


def _source(request: _Request) -> str:
    """The address that it came from: of who connected, whatever a header says."""
    client = request.scope.get("client")
    return str(client[0]) if client else ""


def _key(headers: Mapping[str, str]) -> str:
    """The id that an event gets by its key; empty without one."""
    key, other = headers.get("idempotency-key"), headers.get("webhook-id")
    if key is not None and other is not None and key != other:
        raise refuse(Kind.BAD_KEY, "Idempotency-Key and webhook-id differ; send one of them")
    key = other if key is None else key
    return "" if key is None else id_of_key(key)


def _check_query(request: _Request) -> None:
    """No page has anything to ask for in its URL, and a token there would stand in logs on its way. Raises Refused."""
    sent = request.scope["query_string"]
    if not sent:  # as of nearly all, and quicker than to look for what is not there
        return
    for name, _ in parse_qsl(sent.decode("latin-1"), keep_blank_values=True):
        if name.lower() in _TOKENS:
            raise refuse(
                Kind.TOKEN_IN_QUERY,
                "a URL is written into logs on its way; send `Authorization: Bearer …`, and make a new token",
            )
        raise refuse(Kind.BAD_REQUEST, f"this page takes no parameter {quoted(name)}")


# ---- answers ---------------------------------------------------------------------------------------------------------


def _stored(verdict: Taken) -> bytes:
    """As _encoded has it, at a fifth of the cost where there is nothing but four members."""
    if verdict.warnings:
        return _line(verdict.document())
    id_, type_, namespace = map(_quoted_ascii, (verdict.id, verdict.type, verdict.namespace))
    repeat = "true" if verdict.repeat else "false"
    return f'{{"id": {id_}, "type": {type_}, "namespace": {namespace}, "repeat": {repeat}}}\n'.encode()


def _said_of_all(verdicts: list[Taken | Problem]) -> Response:
    """The status is the worst of them, so that who looks at no more than the status hears that something is missing."""
    statuses = [each.kind.status if isinstance(each, Problem) else each.status for each in verdicts]
    stored = sum(isinstance(each, Taken) for each in verdicts)
    said = {
        "stored": stored,
        "refused": len(verdicts) - stored,
        "events": [_verdict(each) for each in verdicts],
    }
    answer = _json(max(statuses) if stored < len(verdicts) else 202, said)
    waits = [each.retry_after_seconds for each in verdicts if isinstance(each, Problem) and each.retry_after_seconds]
    if waits and answer.status_code in (429, 503):
        answer.headers["Retry-After"] = retry_after(max(waits))
    return answer


def _verdict(verdict: Taken | Problem) -> dict[str, Any]:
    if isinstance(verdict, Problem):
        return {"status": verdict.kind.status, "problem": verdict.document()}
    return {"status": verdict.status, **verdict.document()}


def _json(status: int, said: Mapping[str, Any]) -> Response:
    return _Json(_line(said), status)


def _line(said: Mapping[str, Any]) -> bytes:
    return _encoded(said).encode() + b"\n"


class _Json(Response):
    """An answer whose headers are known, and not asked for one by one."""

    def __init__(self, body: bytes, status: int) -> None:
        self.status_code = status
        self.body = body
        self.background = None
        self.raw_headers = [
            (b"cache-control", b"no-store"),
            (b"content-length", b"%d" % len(body)),
            (b"content-type", b"application/json"),
        ]


def _file(content_type: str, name: str, content: bytes) -> Response:
    return Response(content, 200, {"Content-Disposition": f'attachment; filename="{name}"'}, content_type)


def _problem(problem: Problem, more: Mapping[str, str] | None = None) -> Response:
    return Response(problem.body(), problem.kind.status, {**problem.headers(), **(more or {})})
