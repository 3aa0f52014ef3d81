"""What the operator's benchmark happens on: a real API server, objects in numbers, sender pods that only report.

Decides how they look and how they are followed. Measures nothing itself, and never talks to the operator.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import yaml
from aiohttp import web

from controlplane.servers import ControlPlane
from hookline.control.kinds import (
    BOOK_LABEL,
    COMPONENT_LABEL,
    CONFIG_MAPS,
    DISPATCHERS,
    NAMESPACES,
    PODS,
    SECRETS,
    TOUCHED_ANNOTATION,
    WEBHOOKS,
    Kind,
)
from hookline.control.pods import PORT
from hookline.events.schemas import Catalogue
from hookline.local import samples
from hookline.routing.book_files import digest_of, routes_file
from hookline.routing.routes import BOOK_SHARDS, index_file, shard_of

Object = dict[str, Any]

NAMESPACE = "hookline-system"
CALLS_AT_ONCE = 32
REFRESH_SECONDS = 0.3
"""From the touch of a pod until its volume is fresh: what a kubelet needed (measured)."""

WEBHOOKS_PER_NAMESPACE = 50
WEBHOOKS_PER_SECRET = 5

_CRDS = Path(__file__).parents[1] / "crds"
_SIGNING_KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="


class Api:
    """JSON calls and watches, as somebody who may do everything."""

    def __init__(self, plane: ControlPlane) -> None:
        connector = aiohttp.TCPConnector(limit=0, ssl=ssl.create_default_context(cafile=str(plane.ca_file)))
        headers = {"Authorization": f"Bearer {plane.token()}"}
        self._session = aiohttp.ClientSession(
            plane.url, connector=connector, headers=headers, timeout=aiohttp.ClientTimeout(total=None)
        )
        self._gate = asyncio.Semaphore(CALLS_AT_ONCE)

    async def aclose(self) -> None:
        await self._session.close()

    async def call(self, method: str, path: str, body: Object | None = None, *, patch: str = "merge-patch") -> Any:
        """One call. Raises RuntimeError with the server's message when it refuses."""
        content_type = f"application/{patch}+json" if method == "PATCH" else "application/json"
        data = None if body is None else json.dumps(body).encode()
        async with (
            self._gate,
            self._session.request(method, path, data=data, headers={"Content-Type": content_type}) as answer,
        ):
            content = json.loads(await answer.read())
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {content.get('message')}")
        return content

    async def create(self, kind: Kind, manifest: Object) -> Any:
        body = {"apiVersion": kind.api_version, "kind": kind.name, **manifest}
        return await self.call("POST", kind.path(manifest["metadata"].get("namespace")), body)

    async def follow(
        self, kind: Kind, hear: Callable[[Object], None], *, namespace: str | None = None, labels: str = ""
    ) -> None:
        """Hand on each object that is there, and each new form of one, for ever. May hand on the same one again."""
        path = f"{kind.path(namespace)}?{urlencode({'labelSelector': labels} if labels else {})}"
        while True:
            listed = await self.call("GET", path)
            for each in listed["items"]:
                hear(each)
            version = listed["metadata"]["resourceVersion"]
            # The API server ends the watch of a reader that is too slow for it, as we are on a busy machine.
            while version:
                version = await self._watch(path, version, hear)

    async def _watch(self, path: str, version: str, hear: Callable[[Object], None]) -> str:
        """One watch; the version to go on from, or none when the API server has forgotten it."""
        query = urlencode({"watch": "1", "resourceVersion": version})
        async with self._session.get(f"{path}&{query}") as answer:
            async for line in _lines(answer.content):
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return ""
                version = event["object"]["metadata"]["resourceVersion"]
                if event["type"] != "DELETED":
                    hear(event["object"])
        return version


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length: those of a ConfigMap are longer than aiohttp's own reader takes."""
    rest: list[bytes] = []
    async for part in content.iter_any():
        *whole, last = part.split(b"\n")
        for line in whole:
            yield b"".join([*rest, line])
            rest = []
        rest.append(last)


@dataclass(frozen=True)
class Hook:
    """A Webhook of the benchmark."""

    namespace: str
    name: str
    uid: str

    @property
    def path(self) -> str:
        return WEBHOOKS.path(self.namespace, self.name)

    def url(self, version: int) -> str:
        """Another one for each version, and no part of that of another Webhook or version."""
        return f"https://receiver.example.com/{self.namespace}/{self.name}/v{version}"


async def load(api: Api, count: int, progress: Callable[[str, int, int], None]) -> list[Hook]:
    """Everything that is there before the operator comes: CRDs, namespaces, Secrets, Webhooks, a Dispatcher."""
    await _apply_crds(api)
    namespaces = [f"team-{number:03}" for number in range(-(-count // WEBHOOKS_PER_NAMESPACE))]
    await _all("namespaces", [_namespace(api, name) for name in (NAMESPACE, *namespaces)], progress)
    # Two pods, so that "all senders serve it" means more than one.
    dispatcher = {"metadata": {"namespace": NAMESPACE, "name": "default"}, "spec": {"replicas": 2}}
    await api.create(DISPATCHERS, dispatcher)
    secrets = [
        samples.allowed_secret(f"key-{number}", _SIGNING_KEY, namespace=namespace)
        for namespace in namespaces
        for number in range(WEBHOOKS_PER_NAMESPACE // WEBHOOKS_PER_SECRET)
    ]
    await _all("Secrets", [api.create(SECRETS, each) for each in secrets], progress)
    events = Catalogue().names()
    return await _all("Webhooks", [_webhook(api, namespaces, number, events) for number in range(count)], progress)


async def _all(what: str, works: list[Any], progress: Callable[[str, int, int], None]) -> list[Any]:
    done = 0

    async def one(work: Awaitable[Any]) -> Any:
        nonlocal done
        found = await work
        done += 1
        progress(what, done, len(works))
        return found

    return await asyncio.gather(*map(one, works))


async def _apply_crds(api: Api) -> None:
    root = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    for file in sorted(_CRDS.glob("*.yaml")):
        await api.call("POST", root, yaml.safe_load(file.read_text(encoding="utf-8")))
    for kind in (WEBHOOKS, DISPATCHERS):
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(RuntimeError, ValueError):
                    await api.call("GET", kind.path())
                    break
                await asyncio.sleep(0.1)


async def _namespace(api: Api, name: str) -> None:
    await api.create(NAMESPACES, {"metadata": {"name": name}})


async def _webhook(api: Api, namespaces: list[str], number: int, events: tuple[str, ...]) -> Hook:
    namespace, place = namespaces[number // WEBHOOKS_PER_NAMESPACE], number % WEBHOOKS_PER_NAMESPACE
    hook = Hook(namespace, f"hook-{place}", "")
    manifest = samples.webhook(
        hook.name,
        url=hook.url(0),
        event=events[number % len(events)],
        namespace=namespace,
        secret_name=f"key-{place // WEBHOOKS_PER_SECRET}",
        headers=[{"name": "X-Team", "value": namespace}],
    )
    answer = await api.create(WEBHOOKS, manifest)
    return Hook(namespace, hook.name, answer["metadata"]["uid"])


@dataclass
class Book:
    """The route book as a sender would find it: per shard the index whose routes and keys are there as well."""

    on_shard: Callable[[int, str], None] = lambda _number, _routes: None
    served: dict[str, str] = field(default_factory=dict)
    """Digest by index file, of shards that are whole."""
    writes: int = 0
    written_bytes: int = 0
    _files: dict[str, bytes] = field(default_factory=dict)
    _versions: dict[tuple[bool, str], str] = field(default_factory=dict)

    def hear(self, manifest: Object) -> None:
        """A ConfigMap or Secret of the book."""
        metadata = manifest["metadata"]
        place = ("type" in manifest, metadata["name"])
        if self._versions.get(place) == metadata["resourceVersion"]:
            return
        self._versions[place] = metadata["resourceVersion"]
        decode = base64.b64decode if "type" in manifest else str.encode
        files = {name: decode(content) for name, content in (manifest.get("data") or {}).items()}
        self.writes += 1
        self.written_bytes += sum(map(len, files.values()))
        self._files |= files
        for number in {int(name[-7:-5]) for name in files if name[-7:-5].isdecimal()}:
            self._look(number)

    def _look(self, number: int) -> None:
        index, routes = self._files.get(index_file(number)), self._files.get(routes_file(number))
        if index is not None and routes is not None and json.loads(index)["routes"] == digest_of(routes):
            self.served[index_file(number)] = digest_of(index)
            self.on_shard(number, routes.decode())


class Senders:
    """Stands in for kubelets and senders: pods are Ready at once, and report the book of their last refresh."""

    _addresses: Iterator[str] = (f"127.211.{third}.{last}" for third in range(256) for last in range(1, 255))

    def __init__(self, api: Api, book: Book) -> None:
        self._api = api
        self._book = book
        self._touched: dict[str, str] = {}
        self._served: dict[str, dict[str, str]] = {}
        self._runners: list[web.AppRunner] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def hear(self, pod: Object) -> None:
        """A sender pod."""
        name = pod["metadata"]["name"]
        if name not in self._served:
            self._served[name] = {}
            self._do(self._start(name))
        touched = (pod["metadata"].get("annotations") or {}).get(TOUCHED_ANNOTATION, "")
        if touched != self._touched.get(name):
            self._touched[name] = touched
            self._do(self._refresh(name))

    async def aclose(self) -> None:
        for runner in self._runners:
            await runner.cleanup()

    def _do(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _start(self, name: str) -> None:
        async def report(_: web.Request) -> web.Response:
            return web.json_response({"served": self._served[name], "failing": []})

        app = web.Application()
        app.router.add_get("/report", report)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        self._runners.append(runner)
        ip = await _listen(runner, self._addresses)
        conditions = [{"type": "Ready", "status": "True"}]
        status = {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": conditions}
        await self._api.call("PATCH", PODS.path(NAMESPACE, name, "status"), {"status": status})

    async def _refresh(self, name: str) -> None:
        await asyncio.sleep(REFRESH_SECONDS)
        self._served[name] = dict(self._book.served)


async def _listen(runner: web.AppRunner, addresses: Iterator[str]) -> str:
    for ip in addresses:
        with contextlib.suppress(OSError):
            await web.TCPSite(runner, ip, PORT).start()
            return ip
    raise RuntimeError(f"no address of 127.211.0.0/16 has port {PORT} free")


class Watched:
    """When what became of which change: of the route book in the cluster, and of the Webhooks' status."""

    def __init__(self) -> None:
        self.programmed: dict[tuple[str, int], float] = {}
        """When senders were said to serve it, by uid and generation of the Webhook."""
        self.written: dict[str, float] = {}
        """When it stood in the route book, by URL."""
        self._expected: dict[int, set[str]] = {}

    def expect(self, hook: Hook, url: str) -> None:
        """Note when this URL comes into the book."""
        self._expected.setdefault(shard_of(hook.uid, BOOK_SHARDS), set()).add(url)

    @property
    def missing(self) -> int:
        return sum(map(len, self._expected.values()))

    def hear_webhook(self, manifest: Object) -> None:
        uid = manifest["metadata"]["uid"]
        for each in (manifest.get("status") or {}).get("conditions") or []:
            if each["type"] == "Programmed" and each["status"] == "True":
                self.programmed.setdefault((uid, each["observedGeneration"]), time.monotonic())

    def hear_shard(self, number: int, routes: str) -> None:
        expected = self._expected.get(number, set())
        for url in [url for url in expected if f'"{url}"' in routes]:
            self.written[url] = time.monotonic()
            expected.discard(url)


@contextlib.asynccontextmanager
async def following(api: Api, watched: Watched, book: Book) -> AsyncIterator[Callable[[], None]]:
    """Keep all of it up to date, with senders at work. Gives a check that raises when a watch has ended."""
    senders = Senders(api, book)
    book.on_shard = watched.hear_shard
    works: Iterable[Awaitable[None]] = (
        api.follow(WEBHOOKS, watched.hear_webhook),
        api.follow(CONFIG_MAPS, book.hear, namespace=NAMESPACE, labels=BOOK_LABEL),
        api.follow(SECRETS, book.hear, namespace=NAMESPACE, labels=BOOK_LABEL),
        api.follow(PODS, senders.hear, namespace=NAMESPACE, labels=f"{COMPONENT_LABEL}=sender"),
    )
    tasks = [asyncio.ensure_future(each) for each in works]

    def check() -> None:
        for task in tasks:
            if task.done():
                task.result()

    try:
        yield check
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await senders.aclose()
