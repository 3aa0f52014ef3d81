"""The server against clients that mean harm, on loopback, with times of a fraction of a second."""

from __future__ import annotations

import asyncio
import errno
import json
import socket
import ssl
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
import trustme
import uvloop

from hookline.gateway.problem import MEDIA_TYPE, worded
from hookline.serving import server as module
from hookline.serving.refusal import Cut
from hookline.serving.server import Bounds, serving

EVENT_LOOP = uvloop.new_event_loop
BOUNDS = Bounds(connections=50, head_seconds=5, idle_seconds=5, handshake_seconds=5, stall_seconds=5, head_bytes=4096)
LONG = 2.0
GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"


@pytest.fixture(autouse=True)
def nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Neither uvicorn nor the event loop has anything to say."""
    yield
    assert capfd.readouterr().err == ""


class App:
    """Answers with what it got. /wait waits for `go`, /deaf reads no body, /raise-late begins an answer."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, bytes]] = []
        self.headers: list[list[tuple[bytes, bytes]]] = []
        self.began = asyncio.Event()
        self.go = asyncio.Event()
        self.gone = 0
        self.page: Callable[[Any, Any, Any], Awaitable[None]] | None = None
        """Instead of all of them."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self.page is not None:
            await self.page(scope, receive, send)
            return
        path = scope["path"]
        if path == "/deaf":
            await say(send, 401, b"no")
            return
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.gone += 1
                return
            body += message["body"]
            if not message["more_body"]:
                break
        self.seen.append((scope["method"], path, body))
        self.headers.append(scope["headers"])
        if path == "/wait":
            self.began.set()
            await self.go.wait()
        if path == "/raise":
            raise ValueError(f"secret {body!r}")
        if path == "/raise-late":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
            raise ValueError("secret")
        if path == "/large":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for _ in range(1000):
                await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
            return
        await say(send, 200, path.encode() + b" " + body)


async def say(send: Any, status: int, body: bytes) -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Client:
    """A raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The next one on the connection."""
        async with asyncio.timeout(LONG):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            return int(first.split()[1]), headers, await self.reader.readexactly(int(headers["content-length"]))

    async def rest(self) -> bytes:
        """All that comes until the server closes."""
        async with asyncio.timeout(LONG):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""

    def close(self) -> None:
        self.writer.transport.abort()


@asynccontextmanager
async def connected(port: int, tls: ssl.SSLContext | None = None, **more: Any) -> AsyncIterator[Client]:
    client = Client(*await asyncio.open_connection("127.0.0.1", port, ssl=tls, **more))
    try:
        yield client
    finally:
        client.close()


class Server:
    def __init__(self, port: int, app: App, connections: weakref.WeakSet[Any]) -> None:
        self.port = port
        self.app = app
        self.connections = connections
        """All that live, also those that the server has forgotten."""


@asynccontextmanager
async def served(
    app: App | None = None, *, tls: ssl.SSLContext | None = None, grace_seconds: float = LONG, **bounds: Any
) -> AsyncIterator[Server]:
    """Serves, and sees at the end that no task and no connection is left."""
    alive: weakref.WeakSet[Any] = weakref.WeakSet()

    class Tracked(module._Connection):
        def __init__(self, door: Any, *, full: bool) -> None:
            super().__init__(door, full=full)
            alive.add(self)

    used = app or App()
    before = asyncio.all_tasks()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_Connection", Tracked)
        more: dict[str, Any] = {"tls": tls, "bounds": replace(BOUNDS, **bounds), "grace_seconds": grace_seconds}
        async with serving(used, host="127.0.0.1", port=0, wording=worded, **more) as port:
            yield Server(port, used, alive)
        assert asyncio.all_tasks() - {asyncio.current_task()} <= before
        # Counting references is enough: the collector may be set to come seldom.
        await until(lambda: not alive)


Answer = tuple[int, dict[str, str], bytes]


async def ask(port: int, request: bytes) -> list[Answer]:
    """All answers to what is sent on one connection, until the server closes it."""
    async with connected(port) as client:
        client.send(request)
        answers: list[Answer] = []
        while True:
            try:
                answers.append(await client.answer())
            except (asyncio.IncompleteReadError, ConnectionError):
                return answers


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LONG):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def is_problem(answer: Answer, status: int) -> bool:
    """That the server, and no page, says."""
    got, headers, body = answer
    said = json.loads(body)
    return (
        (got, headers["content-type"], headers["connection"]) == (status, MEDIA_TYPE, "close")
        and said["status"] == status
        and b"Traceback" not in body
    )


LAST = b"Connection: close\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
REFUSED = {
    "both a length and chunks": POST + b"Content-Length: 5\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
    "both chunks and a length": POST + CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nabcde",
    "a list of lengths": POST + b"Content-Length: 5, 5\r\n\r\nabcde",
    "a signed length": POST + b"Content-Length: +5\r\n\r\nabcde",
    "an endless length": POST + b"Content-Length: 99999999999999999999999\r\n\r\n",
    "chunks of HTTP/1.0": b"POST / HTTP/1.0\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
    "another coding": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": POST + CHUNKED + CHUNKED + b"\r\n0\r\n\r\n",
    "a coding that ends alike": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": GET + b"Host: b\r\n\r\n",
    "a folded header": GET + b"X: a\r\n b\r\n\r\n",
    "a folded first header": b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    "a space before the colon": GET + b"Content-Length : 5\r\n\r\nabcde",
    "NUL in a value": GET + b"X: a\0b\r\n\r\n",
    "NUL in a name": GET + b"X\0: a\r\n\r\n",
    "NUL in a URL": b"GET /a\0b HTTP/1.1\r\nHost: a\r\n\r\n",
    "bytes beyond ASCII in a URL": b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    "lines that end with LF": b"GET / HTTP/1.1\nHost: a\n\n",
    "a header that ends with LF": GET + b"X: a\nY: b\r\n\r\n",
    "a header that ends with CR": GET + b"X: a\rY: b\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/0.9 by name": b"GET / HTTP/0.9\r\n\r\n",
    "HTTP/2 by name": b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
    "HTTP/2 begun": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a version that is none": b"GET / HTTP/1.9\r\nHost: a\r\n\r\n",
    "a method that is none": b"FOO / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a proxy is wanted": b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\nmore",
    "a URL without a path": b"GET http://a HTTP/1.1\r\nHost: a\r\n\r\n",
    "TLS to a server without": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    "a chunk without its size": POST + CHUNKED + b"\r\nzz\r\n",
    "a chunk of a negative size": POST + CHUNKED + b"\r\n-1\r\na\r\n",
    "a chunk that is too large for a number": POST + CHUNKED + b"\r\nfffffffffffffffff\r\na\r\n",
    "a chunk that is longer than it says": POST + CHUNKED + b"\r\n1\r\nab\r\n0\r\n\r\n",
    "chunks that end with LF": POST + CHUNKED + b"\r\n1\na\n0\n\n",
    "an extension with LF": POST + CHUNKED + b"\r\n1;a\nb\r\na\r\n0\r\n\r\n",
    "a length behind chunks": POST + CHUNKED + b"\r\n0\r\nContent-Length: 5\r\n\r\n",
}
TOO_LARGE = {
    "a URL": b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "a URL without an end": b"GET /" + b"a" * 1_000_000,
    "a header": GET + b"X: " + b"a" * 1_000_000 + b"\r\n\r\n",
    "the name of a header": GET + b"a" * 1_000_000,
    "a header of some kilobytes at once": GET + b"X: " + b"a" * 5000 + b"\r\n\r\n",
    "small headers": GET + b"a:\r\n" * 200 + b"\r\n",
    "many headers": GET + b"X: a\r\n" * 10_000 + b"\r\n",
    "empty lines": b"\r\n" * 100_000,
    "extensions of a chunk": POST + CHUNKED + b"\r\n1;" + b"a" * 1_000_000 + b"\r\na\r\n0\r\n\r\n",
    "a trailer": POST + CHUNKED + b"\r\n1\r\na\r\n0\r\nX: " + b"a" * 1_000_000,
    "trailers": POST + CHUNKED + b"\r\n1\r\na\r\n0\r\n" + b"X: a\r\n" * 10_000,
    "headers that ask for another protocol": GET + b"Connection: upgrade\r\nUpgrade: h2c\r\n" + b"X: a\r\n" * 10_000,
}
UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
SOCKET = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: YQ==\r\n"
END = GET + LAST
ANSWERED: dict[str, tuple[bytes, list[tuple[str, str, bytes]]]] = {
    "a length": (POST + b"Content-Length: 3\r\n\r\nabc" + END, [("POST", "/", b"abc"), ("GET", "/", b"")]),
    "chunks": (
        POST + CHUNKED + b"\r\n1\r\na\r\n2;x=y\r\nbc\r\n0\r\n\r\n" + END,
        [("POST", "/", b"abc"), ("GET", "/", b"")],
    ),
    "the wish for HTTP/2, with a body": (
        POST + UPGRADE + b"Content-Length: 3\r\n\r\nabc" + END,
        [("POST", "/", b"abc"), ("GET", "/", b"")],
    ),
    "the wish for HTTP/2, with chunks": (
        POST + UPGRADE + CHUNKED + b"\r\n3\r\nabc\r\n0\r\n\r\n" + END,
        [("POST", "/", b"abc"), ("GET", "/", b"")],
    ),
    "the wish for a websocket": (GET + SOCKET + b"\r\n" + END, [("GET", "/", b""), ("GET", "/", b"")]),
    "an absolute URL": (b"GET http://b/c?d HTTP/1.1\r\nHost: a\r\n" + LAST, [("GET", "/c", b"")]),
    "a star": (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n" + LAST, [("OPTIONS", "*", b"")]),
    "HTTP/1.0": (b"GET / HTTP/1.0\r\n\r\n", [("GET", "/", b"")]),
    "requests at once": ((GET + b"\r\n") * 5 + END, [("GET", "/", b"")] * 6),
    "what comes behind the last one is not": (END + GET + b"\r\n", [("GET", "/", b"")]),
    "empty lines between": (GET + b"\r\n\r\n\r\n" + END, [("GET", "/", b"")] * 2),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_can_be_read_in_two_ways_or_not_at_all_is_a_problem(name: str) -> None:
    async with served() as server:
        (answer,) = await ask(server.port, REFUSED[name])
        assert is_problem(answer, 400)
        assert server.app.seen == []


@pytest.mark.parametrize("name", TOO_LARGE)
async def test_what_has_no_end_is_too_large(name: str) -> None:
    async with served() as server:
        (answer,) = await ask(server.port, TOO_LARGE[name])
        assert is_problem(answer, 413)
        assert server.app.seen == []


@pytest.mark.parametrize("name", ANSWERED)
async def test_what_is_unusual_is_answered_in_its_order(name: str) -> None:
    request, seen = ANSWERED[name]
    async with served() as server:
        answers = await ask(server.port, request)
        assert [(200, path.encode() + b" " + body) for _, path, body in seen] == [
            (status, body) for status, _, body in answers
        ]
        assert server.app.seen == seen
        assert answers[-1][1]["connection"] == "close"


async def test_any_request_cut_into_single_bytes_is_read_alike() -> None:
    request, seen = ANSWERED["the wish for HTTP/2, with chunks"]
    async with served() as server, connected(server.port) as client:
        for at in range(len(request)):
            client.send(request[at : at + 1])
            await asyncio.sleep(0)
        await client.rest()
        assert server.app.seen == seen


async def test_head_is_answered_without_a_body() -> None:
    async with served() as server, connected(server.port) as client:
        client.send(b"HEAD /x HTTP/1.1\r\nHost: a\r\n" + LAST)
        assert (await client.rest()).endswith(b"content-length: 3\r\nconnection: close\r\n\r\n")


async def test_a_trailer_is_no_header() -> None:
    async with served() as server:
        trailer = b"\r\n1\r\na\r\n0\r\nAuthorization: Bearer x\r\n\r\n"
        await ask(server.port, POST + CHUNKED + trailer + END)
        assert server.app.seen == [("POST", "/", b"a"), ("GET", "/", b"")]
        assert b"authorization" not in [name for headers in server.app.headers for name, _ in headers]


async def test_more_requests_at_once_than_may_wait_are_refused_behind_the_answers_of_the_others() -> None:
    async with served() as server:
        *answers, last = await ask(server.port, (GET + b"\r\n") * 1000)
        assert [status for status, _, _ in answers] == [200] * (module._PIPELINED + 1)
        assert is_problem(last, 400)


@pytest.mark.parametrize("broken", [b"@@@\r\n", POST + CHUNKED + b"\r\nzz\r\n", b"GET / HTTP/1.1\r\n\r\n"])
async def test_an_answer_is_never_taken_for_that_of_another_request(broken: bytes) -> None:
    async with served() as server, connected(server.port) as client:
        client.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n" + GET + b"\r\n" + broken)
        await server.app.began.wait()
        server.app.go.set()
        assert (await client.answer())[2] == b"/wait "
        assert (await client.answer())[2] == b"/ "
        assert is_problem(await client.answer(), 400)
        assert await client.rest() == b""


async def test_a_client_is_asked_for_a_body_that_a_page_reads() -> None:
    async with served() as server, connected(server.port) as client:
        client.send(POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"abc")
        status, headers, body = await client.answer()
        assert (status, body, "connection" in headers) == (200, b"/ abc", False)


async def test_a_client_that_was_not_asked_for_its_body_is_not_kept() -> None:
    async with served() as server:
        asked = b"POST /deaf HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 40\r\n\r\n"
        ((status, headers, _),) = await ask(server.port, asked + GET + b"\r\n")
        assert (status, headers["connection"]) == (401, "close")
        assert server.app.seen == []


@pytest.mark.parametrize("close", [b"", b"Connection: close\r\n"])
async def test_a_client_that_still_sends_gets_the_answer(close: bytes) -> None:
    large = b"POST /deaf HTTP/1.1\r\nHost: a\r\n" + close + b"Content-Length: 9000000\r\n\r\n" + bytes(9_000_000)
    async with served() as server:
        answers = await ask(server.port, large + END)
        assert [status for status, _, _ in answers] == ([401] if close else [401, 200])


async def test_of_a_body_that_no_page_reads_little_is_held() -> None:
    async with served() as server, connected(server.port) as client:

        async def unread(scope: Any, receive: Any, send: Any) -> None:
            server.app.began.set()
            await server.app.go.wait()
            await say(send, 200, b"")

        server.app.page = unread
        client.send(POST + b"Content-Length: 30000000\r\n\r\n" + bytes(30_000_000))
        await server.app.began.wait()
        await until(lambda: all(each.flow.read_paused for each in server.connections))
        assert all(len(each.cycle.body) <= 256 * 1024 for each in server.connections)
        server.app.go.set()
        await client.answer()
        assert not any(each.cycle.body for each in server.connections)


async def test_a_page_that_fails_is_a_problem_without_its_words() -> None:
    async with served() as server:
        with structlog.testing.capture_logs() as logs:
            ((status, headers, body), (after, _, _)) = await ask(
                server.port, b"POST /raise HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" + END
            )
        assert (status, headers["content-type"], json.loads(body)["status"]) == (500, MEDIA_TYPE, 500)
        assert after == 200
        (line,) = logs
        assert (line["log_level"], line["error"]) == ("error", "ValueError")
        assert "test_server.py" in line["at"]
        assert "secret" not in str(line) + body.decode()
        assert "abc" not in str(line) + body.decode()


async def test_an_answer_that_fails_half_way_is_cut() -> None:
    async with served() as server:
        with structlog.testing.capture_logs() as logs:
            async with connected(server.port) as client:
                client.send(b"GET /raise-late HTTP/1.1\r\nHost: a\r\n\r\n" + GET + b"\r\n")
                assert (await client.rest()).endswith(b"content-length: 9\r\n\r\n")
        assert [line["error"] for line in logs] == ["ValueError"]


async def test_the_head_of_an_answer_without_a_length_does_not_wait_for_its_first_part() -> None:
    async with served() as server, connected(server.port) as client:

        async def page(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await server.app.go.wait()
            await send({"type": "http.response.body", "body": b"first"})

        server.app.page = page
        client.send(END)
        async with asyncio.timeout(LONG):
            assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        server.app.go.set()
        assert await client.rest() == b"5\r\nfirst\r\n0\r\n\r\n"


async def test_head_and_body_of_an_answer_are_one_write_and_what_follows_is_written_as_it_comes() -> None:
    written: list[list[bytes]] = []

    class Transport(asyncio.Transport):
        def write(self, data: Any) -> None:
            written.append([data])

        def writelines(self, list_of_data: Any) -> None:
            written.append(list(list_of_data))

    writes = module._HeadWithBody(Transport())
    for piece in (b"head", b"body", b"more"):
        writes.write(piece)
    writes.flush()
    assert written == [[b"head", b"body"], [b"more"]]


async def test_an_answer_that_its_page_cuts_is_cut_without_a_word(  # its client must see that the rest is missing
) -> None:
    async with served() as server:

        async def cut(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
            raise Cut

        server.app.page = cut
        with structlog.testing.capture_logs() as logs:
            async with connected(server.port) as client:
                client.send(GET + b"\r\n")
                assert (await client.rest()).endswith(b"4\r\nhalf\r\n")
        assert logs == []


async def test_a_page_that_says_nothing_is_a_problem() -> None:
    async with served() as server:

        async def silent(scope: Any, receive: Any, send: Any) -> None:
            pass

        server.app.page = silent
        with structlog.testing.capture_logs() as logs:
            ((status, headers, _),) = await ask(server.port, END)
        assert (status, headers["content-type"]) == (500, MEDIA_TYPE)
        assert len(logs) == 1


async def test_half_an_answer_that_is_not_read_is_cut() -> None:
    async with served(stall_seconds=0.2) as server, connected(server.port, limit=1024) as client:

        async def half(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while not next(iter(server.connections)).flow.write_paused:
                await send({"type": "http.response.body", "body": b"x" * 1000, "more_body": True})
            raise ValueError

        server.app.page = half
        with structlog.testing.capture_logs():
            client.send(END)
            await until(lambda: bool(server.connections))
            await until(lambda: not server.connections)


@pytest.mark.parametrize("begun", [b"", GET, b"\r\n", GET + b"\r\n" + GET])
async def test_a_head_that_does_not_come_is_cut(begun: bytes) -> None:
    async with served(head_seconds=0.2) as server, connected(server.port) as client:
        client.send(begun)
        if begun.startswith(GET + b"\r\n"):
            assert (await client.answer())[0] == 200
        if begun.endswith(GET):
            assert is_problem(await client.answer(), 408)
        assert await client.rest() == b""


async def test_bytes_that_come_one_by_one_prolong_nothing() -> None:
    async with served(head_seconds=0.3) as server, connected(server.port) as client:
        client.send(GET + b"\r\n")
        await client.answer()
        dribbling = asyncio.create_task(dribble(client))
        assert is_problem(await client.answer(), 408)
        dribbling.cancel()


async def test_a_kept_connection_is_closed_when_it_is_idle() -> None:
    async with served(idle_seconds=0.1) as server, connected(server.port) as client:
        client.send(GET + b"\r\n")
        await client.answer()
        assert await client.rest() == b""


async def test_the_rest_of_a_body_that_was_answered_is_not_awaited_for_ever() -> None:
    async with served(head_seconds=0.1) as server, connected(server.port) as client:
        client.send(b"POST /deaf HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\nabc")
        assert (await client.answer())[0] == 401
        dribbling = asyncio.create_task(dribble(client))
        assert await client.rest() == b""
        dribbling.cancel()


async def test_a_client_that_does_not_read_its_answer_is_cut() -> None:
    async with served(stall_seconds=0.2) as server, connected(server.port, limit=1024) as client:
        client.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        await until(lambda: bool(server.app.seen))
        await until(lambda: not server.connections)


async def test_a_client_that_reads_slowly_gets_all_of_its_answer() -> None:
    async with served(stall_seconds=0.5) as server, connected(server.port, limit=1024) as client:
        client.send(b"GET /large HTTP/1.1\r\nHost: a\r\n" + LAST)
        got = 0
        while data := await client.reader.read(1 << 20):
            got += len(data)
            if got < 1 << 20:
                await asyncio.sleep(0.05)
        assert got > 1000 * 65536


async def test_a_page_hears_that_its_client_is_gone() -> None:
    async with served() as server:
        async with connected(server.port) as client:
            client.send(POST + b"Content-Length: 3\r\n\r\na")
            await until(lambda: any(each.cycle is not None for each in server.connections))
        await until(lambda: server.app.gone == 1)


async def test_a_page_hears_that_a_client_is_gone_that_had_asked_more() -> None:
    async with served() as server:

        async def listening(scope: Any, receive: Any, send: Any) -> None:
            server.app.began.set()
            while (await receive())["type"] != "http.disconnect":
                pass
            server.app.gone += 1

        server.app.page = listening
        async with connected(server.port) as client:
            client.send((GET + b"\r\n") * 3)
            await server.app.began.wait()
        await until(lambda: server.app.gone == 1)


async def test_many_that_dribble_do_not_keep_another_one_from_being_answered() -> None:
    async with served(connections=600) as server, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(server.port)) for _ in range(500)]
        dribbling = [asyncio.create_task(dribble(each)) for each in clients]
        await until(lambda: sum(each._in_head for each in server.connections) == 500)
        ((status, _, _),) = await ask(server.port, END)
        assert status == 200
        for each in dribbling:
            each.cancel()


async def test_when_all_connections_are_in_use_the_one_that_waits_longest_is_given_up() -> None:
    async with served(connections=3) as server, AsyncExitStack() as stack:
        kept, dribbling, waits = [await stack.enter_async_context(connected(server.port)) for _ in range(3)]
        for each in (kept, waits):
            each.send((GET if each is kept else b"GET /wait HTTP/1.1\r\nHost: a\r\n") + b"\r\n")
        await kept.answer()
        dribbling.send(GET)
        await server.app.began.wait()
        assert [status for status, _, _ in await ask(server.port, END)] == [200]
        assert await dribbling.rest() == b""
        kept.send(END)
        assert (await kept.answer())[0] == 200
        server.app.go.set()
        assert (await waits.answer())[0] == 200


async def test_when_all_connections_have_requests_under_way_another_one_hears_so() -> None:
    async with served(connections=2) as server, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(server.port)) for _ in range(2)]
        for each in clients:
            each.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        await until(lambda: len(server.app.seen) == 2)
        (answer,) = await ask(server.port, END)
        assert is_problem(answer, 503)
        assert answer[1]["retry-after"] == "1"
        server.app.go.set()
        for each in clients:
            assert (await each.answer())[0] == 200
        assert [status for status, _, _ in await ask(server.port, END)] == [200]


async def test_that_all_connections_are_in_use_is_logged_once() -> None:
    async with served(connections=2) as server:
        with structlog.testing.capture_logs() as logs:
            async with AsyncExitStack() as stack:
                clients = [await stack.enter_async_context(connected(server.port)) for _ in range(6)]
                assert await clients[3].rest() == b""
        ((said, most),) = [(line["log_level"], line["most"]) for line in logs]
        assert (said, most) == ("warning", 2)


async def test_when_many_are_gone_their_memory_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    monkeypatch.setattr(module, "_MANY_GONE", 5)
    monkeypatch.setattr(module, "give_memory_back", lambda: given.append(1))
    async with served(stall_seconds=0.02) as server:
        async with AsyncExitStack() as stack:
            for _ in range(5):
                await stack.enter_async_context(connected(server.port))
            await until(lambda: len(server.connections) == 5)
        await until(lambda: bool(given))


async def test_so_many_that_they_cannot_even_hear_it_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REFUSED_AT_ONCE", 0)
    async with served(connections=1) as server, connected(server.port) as client:
        client.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        await server.app.began.wait()
        assert await ask(server.port, END) == []
        server.app.go.set()
        assert (await client.answer())[0] == 200


async def test_at_the_end_what_was_begun_is_answered_and_nothing_else() -> None:
    app = App()
    async with AsyncExitStack() as clients, AsyncExitStack() as serving_:
        server = await serving_.enter_async_context(served(app))
        waits, begun, kept, new = [await clients.enter_async_context(connected(server.port)) for _ in range(4)]
        waits.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        begun.send(GET)
        kept.send(GET + b"\r\n")
        await kept.answer()
        await app.began.wait()
        await until(lambda: sum(each._in_head for each in server.connections) == 1)
        ending = asyncio.create_task(serving_.aclose())
        assert await kept.rest() == b""
        assert await new.rest() == b""
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", server.port)
        begun.send(b"\r\n")
        status, headers, _ = await begun.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert not ending.done()
        app.go.set()
        status, headers, _ = await waits.answer()
        assert (status, headers["connection"]) == (200, "close")
        waits.send(END)
        assert await waits.rest() == b""
        await ending
    assert sorted(path for _, path, _ in app.seen) == ["/", "/", "/wait"]


async def test_at_the_end_what_takes_longer_than_the_grace_is_cut() -> None:
    app = App()
    async with AsyncExitStack() as clients:
        async with served(app, grace_seconds=0.1) as server:
            client = await clients.enter_async_context(connected(server.port))
            client.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
            await app.began.wait()
        assert await client.rest() == b""


async def test_at_the_end_the_work_for_a_client_that_is_gone_is_done() -> None:
    app = App()
    done = asyncio.Event()

    async def works(scope: Any, receive: Any, send: Any) -> None:
        app.began.set()
        await app.go.wait()
        done.set()

    app.page = works
    async with served(app) as server:
        async with connected(server.port) as client:
            client.send(GET + b"\r\n")
            await app.began.wait()
        await until(lambda: not any(each.flow and not each.transport.is_closing() for each in server.connections))
        asyncio.get_running_loop().call_later(0.05, app.go.set)
    assert done.is_set()


@pytest.fixture
def server_tls(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def client_tls(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    ca.configure_trust(context)
    return context


def serial(client: Client) -> str:
    return str(client.writer.get_extra_info("peercert")["serialNumber"])


async def test_by_tls_all_is_alike(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    async with served(tls=server_tls, head_seconds=1) as server:
        async with connected(server.port, client_tls) as client:
            client.send(POST + b"Content-Length: 3\r\n\r\nabc" + END)
            assert [(await client.answer())[2] for _ in range(2)] == [b"/ abc", b"/ "]
            assert await client.rest() == b""
        async with connected(server.port, client_tls) as client:
            client.send(REFUSED["two lengths"])
            assert is_problem(await client.answer(), 400)
        async with connected(server.port, client_tls) as client:
            client.send(
                b"POST /deaf HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 999999\r\n\r\n"
                + bytes(999_999)
            )
            assert (await client.answer())[0] == 401
        async with connected(server.port, client_tls) as client:
            client.send(GET)
            assert is_problem(await client.answer(), 408)


async def test_a_new_certificate_counts_for_new_connections(
    ca: trustme.CA, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, tmp_path: Path
) -> None:
    async with served(tls=server_tls) as server, connected(server.port, client_tls) as old:
        new = ca.issue_cert("127.0.0.1")
        chain = tmp_path / "chain.pem"
        chain.write_bytes(new.private_key_and_cert_chain_pem.bytes())
        server_tls.load_cert_chain(chain)
        async with connected(server.port, client_tls) as client:
            assert serial(client) != serial(old)
            client.send(END)
            assert (await client.answer())[0] == 200
        old.send(END)
        assert (await old.answer())[0] == 200


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01"])
async def test_a_handshake_that_does_not_end_is_cut(server_tls: ssl.SSLContext, sent: bytes) -> None:
    async with served(tls=server_tls, handshake_seconds=0.2) as server, connected(server.port) as client:
        client.send(sent)
        await client.rest()
        await until(lambda: not server.connections)


async def test_a_handshake_under_way_is_given_up_for_another_connection_and_at_the_end(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    async with AsyncExitStack() as clients:
        async with served(tls=server_tls, connections=2) as server:
            silent = [await clients.enter_async_context(connected(server.port)) for _ in range(2)]
            await until(lambda: len(server.connections) == 2)
            async with connected(server.port, client_tls) as client:
                client.send(END)
                assert (await client.answer())[0] == 200
            assert await silent[0].rest() == b""
        assert await silent[1].rest() == b""


async def test_a_port_that_is_taken_is_an_os_error_and_free_again_afterwards() -> None:
    async with served() as server:
        with pytest.raises(OSError, match="in use"):
            async with serving(App(), host="127.0.0.1", port=server.port, wording=worded):
                pass
    async with serving(App(), host="127.0.0.1", port=server.port, wording=worded) as again:
        assert again == server.port


async def test_a_name_that_is_unknown_is_an_os_error() -> None:
    with pytest.raises(OSError):
        async with serving(App(), host="no-such-host.invalid", port=0, wording=worded):
            pass


async def test_without_a_host_every_address_is_answered() -> None:
    async with serving(App(), host="", port=0, wording=worded) as port:
        for host in ("127.0.0.1", "::1") if socket.has_dualstack_ipv6() else ("127.0.0.1",):
            _, writer = await asyncio.open_connection(host, port)
            writer.close()


async def test_no_part_of_an_answer_waits_for_the_clients_word_on_whatever_event_loop() -> None:
    with await module._listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = await asyncio.get_running_loop().sock_accept(listener)
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_without_a_free_file_it_goes_on_when_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_NO_FILES_SECONDS", 0.05)
    accept, left = socket.socket.accept, iter([errno.EMFILE, errno.ENFILE, errno.ENOMEM])

    def accept_later(listener: socket.socket) -> Any:
        if number := next(left, None):
            raise OSError(number, "nothing is left")
        return accept(listener)

    monkeypatch.setattr(socket.socket, "accept", accept_later)
    async with served() as server:
        assert [status for status, _, _ in await ask(server.port, END)] == [200]
        assert next(left, None) is None


async def dribble(client: Client) -> None:
    """A head that goes on for ever."""
    client.send(GET)
    while True:
        await asyncio.sleep(0.05)
        client.send(b"a")
