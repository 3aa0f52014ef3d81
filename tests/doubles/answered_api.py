"""A double of the Kubernetes API with the log of deliveries, over plain HTTP on loopback: for commands that ask it.

It holds what it is given. `hookline run` and kubectl ask it in the same way.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

Object = dict[str, Any]

LOG = "/apis/log.hookline.dev/v1alpha1"
RESOURCES = "/apis/hookline.dev/v1alpha1"
TOKEN = "a-token-of-this-test"

_FIELDS: dict[str, Callable[[Object], object]] = {
    "webhook": lambda each: each["webhook"]["name"],
    "event": lambda each: each["event"]["id"],
    "type": lambda each: each["event"]["type"],
    "status": lambda each: each.get("status"),
    "reason": lambda each: each.get("reason"),
}


@dataclass
class Answer:
    """Said in place of what would be."""

    code: int
    reason: str = ""
    message: str = "no"
    text: str | None = None


@dataclass
class LogApi:
    """`objects` by the path of their list, `answers` by path; `on_post` makes the answer to a POST."""

    objects: dict[str, list[Object]] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    on_post: Callable[[str, Object], Object] = lambda _, body: body
    on_get: Callable[[], object] = lambda: None
    """Before each answer to a GET."""
    on_refused: Callable[[], object] = lambda: None
    """After each of `answers` that was said."""
    watched: list[list[Object]] = field(default_factory=list)
    """Events of a watch, of the first, the second and so on. After the last one it stays open."""
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    """Method, path and query of each request."""
    posted: list[tuple[str, Object]] = field(default_factory=list)
    token: str = TOKEN
    """That is asked for; "" is none. kubectl shows none where there is no TLS."""
    url: str = ""
    ended: threading.Event = field(default_factory=threading.Event)

    def add(self, plural: str, *found: Object, root: str = LOG) -> None:
        """Newest first, as a list has them."""
        for each in found:
            namespace = each["metadata"]["namespace"]
            self.objects.setdefault(f"{root}/namespaces/{namespace}/{plural}", []).append(each)
            self.objects.setdefault(f"{root}/{plural}", []).append(each)


@contextmanager
def serving(api: LogApi) -> Iterator[LogApi]:
    class Handler(_Handler):
        double = api

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    api.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield api
    finally:
        api.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()


def kubeconfig(api: LogApi, folder: Path, namespace: str = "team-a") -> Path:
    """By which kubectl asks the double."""
    file = folder / "kubeconfig"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "double", "cluster": {"server": api.url}}],
        "users": [{"name": "me", "user": {"token": TOKEN}}],
        "contexts": [{"name": "double", "context": {"cluster": "double", "user": "me", "namespace": namespace}}],
        "current-context": "double",
    }
    file.write_text(json.dumps(config))
    return file


def ago(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def attempt(name: str = "evt-1-1.7", *, namespace: str = "team-a", age_s: float = 12, **more: Any) -> Object:
    """As the API shows one that failed."""
    return {
        "apiVersion": "log.hookline.dev/v1alpha1",
        "kind": "Attempt",
        "metadata": {"name": name, "namespace": namespace, "resourceVersion": "7", "creationTimestamp": ago(age_s)},
        "webhook": {"name": "identity-created", "uid": "u1"},
        "event": {"id": "evt_1", "type": "IdentityCreated"},
        "time": ago(age_s),
        "attempt": 1,
        "status": 503,
        "reason": "HTTPStatus",
        "detail": "the receiver answered 503",
        "url": "https://receiver.example.com/hooks",
        "durationMilliseconds": 41.2,
        "phasesMilliseconds": {"lookup": 1.0, "connect": 2.0, "tls": 8.5, "firstByte": 29.0},
        "request": {"headers": {"webhook-id": "evt_1", "x-app-key": ""}, "bytes": 612},
        "answer": {"headers": {"content-type": "text/plain"}, "bytes": 9, "body": "come back", "bodyEncoding": "utf-8"},
        "next": {"follows": "Retry", "time": ago(-292)},
        "sender": "hookline-sender-1",
        "dispatcher": "default",
        **more,
    }


def delivered(name: str = "evt-2-1.8", **more: Any) -> Object:
    done: Object = {"status": 204, "reason": "Delivered", "detail": "", "next": {"follows": "Done"}}
    return attempt(name, **{**done, **more})


def waiting(name: str = "evt-1-identity-created", *, namespace: str = "team-a", **more: Any) -> Object:
    return {
        "apiVersion": "log.hookline.dev/v1alpha1",
        "kind": "Delivery",
        "metadata": {"name": name, "namespace": namespace, "creationTimestamp": ago(60)},
        "webhook": {"name": "identity-created", "uid": "u1"},
        "event": {"id": "evt_1", "type": "IdentityCreated"},
        "state": "Scheduled",
        "reason": "HTTPStatus",
        "attempt": 2,
        "next": {"time": ago(-292)},
        **more,
    }


def dead(name: str = "evt-3-identity-created", *, namespace: str = "team-a", **more: Any) -> Object:
    return {
        "apiVersion": "log.hookline.dev/v1alpha1",
        "kind": "DeadLetter",
        "metadata": {"name": name, "namespace": namespace, "creationTimestamp": ago(3600)},
        "webhook": {"name": "identity-created", "uid": "u1"},
        "event": {"id": "evt_3", "type": "IdentityCreated"},
        "reason": "ScheduleSpent",
        "detail": "ScheduleSpent: attempt 10 was the last one",
        "outcome": "HTTPStatus",
        "attempts": 10,
        **more,
    }


class _Handler(BaseHTTPRequestHandler):
    double: LogApi
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query))
        self.double.asked.append(("GET", parts.path, query))
        if self._refused(parts.path):
            return
        self.double.on_get()
        if query.get("watch") == "true":
            self._watch()
        elif (found := self.double.objects.get(parts.path)) is not None:
            self._say(200, self._page(found, query))
        elif (one := self._named(parts.path)) is not None:
            self._say(200, one)
        elif parts.path.count("/") < 4 or parts.path.rpartition("/")[2].islower():
            known = parts.path.startswith((LOG, RESOURCES))
            self._say(200, {"items": [], "metadata": {}}) if known else self._status(404, "NotFound", "not found")
        else:
            self._status(404, "NotFound", "not found")

    def do_POST(self) -> None:
        path = urlsplit(self.path).path
        body = json.loads(self._body())
        self.double.asked.append(("POST", path, {}))
        self.double.posted.append((path, body))
        if not self._refused(path):
            self._say(201, self.double.on_post(path, body))

    def do_DELETE(self) -> None:
        path = urlsplit(self.path).path
        self._body()
        self.double.asked.append(("DELETE", path, {}))
        if self._refused(path):
            return
        one = self._named(path)
        if one is None:
            self._status(404, "NotFound", f'"{path.rpartition("/")[2]}" not found')
            return
        for found in self.double.objects.values():
            if one in found:
                found.remove(one)
        self._say(200, {"kind": "Status", "apiVersion": "v1", "status": "Success"})

    def _body(self) -> bytes:
        """kubectl sends it in chunks."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def log_message(self, *_: object) -> None: ...

    def _refused(self, path: str) -> bool:
        if self.double.token and self.headers.get("Authorization") != f"Bearer {self.double.token}":
            self._status(401, "Unauthorized", "Unauthorized")
            return True
        answer = self.double.answers.get(path)
        if answer is None:
            return False
        if answer.text is not None:
            self._raw(answer.code, answer.text.encode(), "text/plain")
        else:
            self._status(answer.code, answer.reason, answer.message)
        self.double.on_refused()
        return True

    def _page(self, found: list[Object], query: dict[str, str]) -> Object:
        wanted = dict(each.split("=") for each in query.get("fieldSelector", "").split(",") if each)
        kept = [each for each in found if all(str(_FIELDS[name](each)) == value for name, value in wanted.items())]
        begin, limit = int(query.get("continue") or 0), int(query.get("limit") or 0) or len(kept)
        more = str(begin + limit) if begin + limit < len(kept) else ""
        metadata = {"resourceVersion": "7", **({"continue": more} if more else {})}
        return {"apiVersion": "v1", "kind": "List", "metadata": metadata, "items": kept[begin : begin + limit]}

    def _named(self, path: str) -> Object | None:
        plural, _, name = path.rpartition("/")
        for each in self.double.objects.get(plural, []):
            if each["metadata"]["name"] == unquote(name):
                return each
        return None

    def _watch(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Connection", "close")
        self.end_headers()
        if not self.double.watched:
            self.double.ended.wait(30)
            return
        for each in self.double.watched.pop(0):
            self.wfile.write(json.dumps(each).encode() + b"\n")
            self.wfile.flush()

    def _status(self, code: int, reason: str, message: str) -> None:
        self._say(
            code,
            {
                "kind": "Status",
                "apiVersion": "v1",
                "metadata": {},
                "status": "Failure",
                "reason": reason,
                "message": message,
                "code": code,
            },
        )

    def _say(self, code: int, found: Object) -> None:
        self._raw(code, json.dumps(found).encode(), "application/json")

    def _raw(self, code: int, content: bytes, of_type: str) -> None:
        self.send_response(code)
        self.send_header("Content-Type", of_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
