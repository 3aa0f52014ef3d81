"""The API server as a pod asks it: whose a token is (TokenReview), what a user may do (SubjectAccessReview), objects.

Decides how it is reached from inside a pod, and what counts as an answer. Decides nothing about callers and objects. A
token goes to the API server and nowhere else: no error holds one, nor any word of an answer.
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self, TypeVar

import aiohttp
import structlog

from hookline import __version__
from hookline.serving.remembered import Unanswered

log = structlog.get_logger(__name__)

T = TypeVar("T")

ACCOUNT_FOLDER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a kubelet puts a pod's own token and the CA of the API server, and renews both: each request reads them."""

REQUEST_SECONDS = 3.0
"""Of one request."""

CONNECTIONS = 48

WATCH_SECONDS, SILENT_SECONDS = 270, 90
"""Of one watch, and of one on which nothing comes, not even a bookmark."""

MAX_OBJECT_BYTES = 4 * 1024 * 1024
"""More than etcd takes of one."""

MAX_LIST_BYTES = 64 * 1024 * 1024
"""Of a list, which is asked for in parts."""

JSON, MERGE = "application/json", "application/merge-patch+json"

NO_QUERY: Mapping[str, str] = MappingProxyType({})

_MAX_ANSWER_BYTES = 1024 * 1024
_WHOSE = "/apis/authentication.k8s.io/v1/tokenreviews"
_MAY = "/apis/authorization.k8s.io/v1/subjectaccessreviews"


class NoPod(Exception):
    """This is no pod. The text says what is missing."""


@dataclass(frozen=True, slots=True)
class User:
    """Who has a token, as the API server says it."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Right:
    """To do something with a resource; in all namespaces if none is named. `name` is that of one object."""

    verb: str
    group: str
    resource: str
    subresource: str = ""
    namespace: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the API server is, and by what this pod is known there."""

    url: str
    token_file: Path = ACCOUNT_FOLDER / "token"
    ca_file: Path = ACCOUNT_FOLDER / "ca.crt"


def place_of_pod(environment: Mapping[str, str] = os.environ) -> Place:
    """Raises NoPod."""
    host, port = (environment.get(f"KUBERNETES_SERVICE_{each}", "") for each in ("HOST", "PORT"))
    if not host or not port:
        raise NoPod("KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set; this runs in a pod only")
    return Place(f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}")


class ApiServer:
    """Its connections; to be entered once, in the loop that asks."""

    def __init__(self, place: Place, *, who: str, audience: str = "", request_seconds: float = REQUEST_SECONDS) -> None:
        """`who` asks, a word for logs. Tokens must be made for `audience`, that of the API server itself if empty."""
        self._place = place
        self._who = who
        self._audience = audience
        self._request_seconds = request_seconds
        self._tls = _Tls(place.ca_file)
        self._session: aiohttp.ClientSession | None = None
        self._problem = ""

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS),
            timeout=aiohttp.ClientTimeout(total=self._request_seconds),
            headers={"User-Agent": f"Hookline/{__version__} {self._who}"},
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def user_of(self, token: str) -> User | None:
        """Who has a token that is made for our audience; None if it is nobody's. Raises Unanswered."""
        return await self._asked(
            _WHOSE, token_review(token, self._audience), lambda status: user_in(status, self._audience)
        )

    async def may(self, user: User, right: Right) -> bool:
        """Whether a user has a right. Raises Unanswered."""
        return await self._asked(_MAY, access_review(user, right), allowed_in)

    async def config_map(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """What a ConfigMap says; None if there is none. Raises Unanswered."""
        return await self._told(
            f"/api/v1/namespaces/{namespace}/configmaps/{name}",
            None,
            lambda answer: None if answer is None else _texts_in(answer),
            f"the {self._who}'s ServiceAccount may not read ConfigMap {namespace}/{name} (403); apply its RoleBinding",
        )

    async def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        kind: str = JSON,
        query: Mapping[str, str] = NO_QUERY,
    ) -> tuple[int, dict[str, Any]]:
        """One request about objects: the status, and the answer, a Status where it says no. Raises Unanswered where
        there is none, or one that asks to come again; a request that changes something may have done so."""
        assert self._session is not None, "to be entered before it is asked"
        try:
            async with self._session.request(
                method, f"{self._place.url}{path}", params=dict(query), **self._carrying(body, kind)
            ) as answer:
                said = json.loads(await _content(answer, MAX_LIST_BYTES))
                if answer.status == 429 or answer.status >= 500 or not isinstance(said, dict):
                    raise Unanswered(f"the API server answers {answer.status}")
                return answer.status, said
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, RecursionError, _Failed) as error:
            # By its class only: texts and members of these may hold the request.
            raise Unanswered(f"the API server cannot be asked ({type(error).__name__})") from None

    async def watch(self, path: str, **query: str) -> AsyncIterator[dict[str, Any]]:
        """The events of a watch until it ends, as it does after some minutes. Raises Unanswered where it does not
        begin, or breaks off. Bookmarks come every minute: a silent one is given up."""
        assert self._session is not None, "to be entered before it is asked"
        asked = {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(WATCH_SECONDS), **query}
        timeout = aiohttp.ClientTimeout(total=WATCH_SECONDS + 30, sock_read=SILENT_SECONDS)
        try:
            async with self._session.get(
                f"{self._place.url}{path}", params=asked, timeout=timeout, **self._carrying(None, JSON)
            ) as answer:
                if answer.status != 200:
                    raise Unanswered(f"the API server answers a watch with {answer.status}")
                async for line in _lines(answer):
                    event = json.loads(line)
                    if not isinstance(event, dict):
                        raise Unanswered("a watch brings what is no event")
                    yield event
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, RecursionError, _Failed) as error:
            raise Unanswered(f"a watch broke off ({type(error).__name__})") from None

    def _carrying(self, body: Mapping[str, Any] | None, kind: str) -> dict[str, Any]:
        return {
            "data": json.dumps(body).encode() if body is not None else None,
            "headers": {"Authorization": f"Bearer {self._own_token()}", "Content-Type": kind},
            "ssl": self._tls.context(),
            "allow_redirects": False,
        }

    async def _asked(self, path: str, question: dict[str, Any], read: Callable[[Mapping[str, Any]], T]) -> T:
        return await self._told(
            path,
            json.dumps(question).encode(),
            lambda answer: read(_status_in(answer)),
            f"the {self._who}'s ServiceAccount may not create reviews (403); apply its ClusterRole",
        )

    async def _told(self, path: str, body: bytes | None, read: Callable[[bytes | None], T], forbidden: str) -> T:
        """What the API server says, read. Tells the log when it begins to fail and when that ends."""
        try:
            answer = read(await self._answer(path, body, forbidden))
        except _Failed as error:
            self._say(str(error))
            raise Unanswered("the API server does not say now who this is, or what it may do") from None
        self._say("")
        return answer

    async def _answer(self, path: str, body: bytes | None, forbidden: str) -> bytes | None:
        try:
            try:
                return await self._sent(path, body, forbidden)
            except aiohttp.ServerDisconnectedError:
                # A kept connection whose other end was restarted. Nothing is changed by asking twice.
                return await self._sent(path, body, forbidden)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            # By its class only: texts and members of these may hold the request.
            raise _Failed(f"it cannot be asked ({type(error).__name__})") from None

    async def _sent(self, path: str, body: bytes | None, forbidden: str) -> bytes | None:
        """None of what is not there: a POST if there is a body, else a GET."""
        assert self._session is not None, "to be entered before it is asked"
        async with self._session.request(
            "GET" if body is None else "POST",
            f"{self._place.url}{path}",
            data=body,
            headers={"Authorization": f"Bearer {self._own_token()}", "Content-Type": "application/json"},
            ssl=self._tls.context(),
            allow_redirects=False,
        ) as answer:
            if answer.status == 401:
                raise _Failed("it does not know this pod's own token (401)")
            if answer.status == 403:
                raise _Failed(forbidden)
            if answer.status == 404 and body is None:
                return None
            if answer.status not in (200, 201):
                raise _Failed(f"it answers {answer.status}")
            return await _content(answer, _MAX_ANSWER_BYTES)

    def _own_token(self) -> str:
        return self._place.token_file.read_text().strip()

    def _say(self, problem: str) -> None:
        if problem != self._problem:
            self._problem = problem
            if problem:
                log.warning(
                    f"the API server does not answer the {self._who}", problem=problem, doing="known callers go on"
                )
            else:
                log.info(f"the API server answers the {self._who} again")


def token_review(token: str, audience: str = "") -> dict[str, Any]:
    """The question whose a token is."""
    return {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token, **({"audiences": [audience]} if audience else {})},
    }


def access_review(user: User, right: Right) -> dict[str, Any]:
    """The question whether a user has a right."""
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": user.name,
            "uid": user.uid,
            "groups": list(user.groups),
            "extra": {name: list(values) for name, values in user.extra},
            "resourceAttributes": {name: value for name, value in asdict(right).items() if value},
        },
    }


def user_in(status: Mapping[str, Any], audience: str = "") -> User | None:
    """Of a TokenReview that asked for an audience, or for that of the API server.

    An API server that knows nothing of audiences names none: its yes means that the token is for the API server.
    """
    user, audiences = status.get("user"), status.get("audiences")
    if status.get("authenticated") is not True:
        return None
    if audience and (not isinstance(audiences, list) or audience not in audiences):
        return None
    if not isinstance(user, dict) or not isinstance(user.get("username"), str):
        raise _Failed("its answer names no user")
    extra = user.get("extra") or {}
    return User(
        user["username"],
        str(user.get("uid") or ""),
        tuple(map(str, user.get("groups") or ())),
        tuple((str(name), tuple(map(str, extra[name] or ()))) for name in sorted(extra)),
    )


def allowed_in(status: Mapping[str, Any]) -> bool:
    """Of a SubjectAccessReview."""
    return status.get("allowed") is True and status.get("denied") is not True


class _Failed(Exception):
    """There is no answer. The text is for the log."""


async def _content(answer: aiohttp.ClientResponse, most: int) -> bytes:
    content = bytearray()
    async for part in answer.content.iter_any():
        content += part
        if len(content) > most:
            raise _Failed("its answer is too long")
    return bytes(content)


async def _lines(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """aiohttp's own lines have at most 64 KiB, and an object may have more."""
    rest = bytearray()
    async for part in answer.content.iter_any():
        rest += part
        *lines, last = rest.split(b"\n")
        rest = last
        if len(rest) > MAX_OBJECT_BYTES:
            raise _Failed("an object is too long")
        for line in lines:
            if line.strip():
                yield bytes(line)
    if rest.strip():
        raise _Failed("it ends within an object")


def _status_in(answer: bytes | None) -> Mapping[str, Any]:
    return _member(answer, "status")


def _texts_in(answer: bytes | None) -> Mapping[str, str]:
    return {str(name): str(value) for name, value in _member(answer, "data").items()}


def _member(answer: bytes | None, name: str) -> Mapping[str, Any]:
    try:
        said = json.loads(answer or b"")
    except (ValueError, RecursionError):
        raise _Failed("its answer is not JSON") from None
    found = said.get(name) if isinstance(said, dict) else None
    if not isinstance(found, dict):
        raise _Failed(f"its answer has no {name}")
    return found


@dataclass(slots=True)
class _Tls:
    """The trust in one CA file, made anew when that has changed. Connections of the one before are not used again."""

    _file: Path
    _content: bytes = field(default=b"", repr=False)
    _context: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        """Raises OSError or ValueError for a file that cannot be read, or holds no certificate."""
        content = self._file.read_bytes()
        if self._context is None or content != self._content:
            self._context = ssl.create_default_context(cadata=content.decode())
            self._content = content
        return self._context
