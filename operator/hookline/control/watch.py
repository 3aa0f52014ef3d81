"""Watches the cluster: every change of an object is handed on, nothing else is done here.

The only module that imports Kopf, and of Kopf only `on.event`: its other handlers write annotations or finalizers on
every object, and its indexes need two minutes for 5,000 objects. Kopf lives in a thread and loop of its own, because on
its way out it cancels every task of the loop that it is in.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import kopf
import structlog

from hookline.control.cluster import Access, chunk_of
from hookline.control.kinds import Kind, Object
from hookline.control.kopf_reading import guard
from hookline.resources.base import GROUP
from hookline.runtime.tasks import Deadline

log = structlog.get_logger(__name__)


SERVER_SECONDS = 270
"""The API server ends a watch after this time; a new one takes up where it was."""

CREDENTIALS_SECONDS = 300
"""Credentials are read anew this often: the token of a service account changes every hour."""

STOP_SECONDS = 10.0
"""How long Kopf may take to end; it is known to hang sometimes (kopf #1168)."""


AGAIN_SECONDS = 1.0
LONGEST_AGAIN_SECONDS = 30.0
WELL_SECONDS = 60.0
"""Before Kopf begins anew: at first, at most; and how long it must have run for the next wait to be the first again."""

guard()


@dataclass(frozen=True, slots=True)
class Watched:
    """A kind to watch, and which of its objects."""

    kind: Kind
    labels: str = ""
    ours: bool = False
    """Parts of route books, and nothing else."""


@dataclass(frozen=True, slots=True)
class News:
    """Something that a watch said of an object."""

    kind: Kind
    manifest: Object = field(repr=False)
    gone: bool
    ours: bool
    relisted: bool
    """Whether it comes from a list: the watch is new, or was broken."""


class _Forever:
    """Waits between tries after network errors: growing to a minute, with jitter, without end."""

    def __iter__(self) -> Iterator[float]:
        wait = 0.5
        while True:
            yield wait * (0.75 + random.random() / 2)
            wait = min(wait * 2, 60.0)


class _NoMemory(kopf.DiffBaseStorage):
    """Has Kopf not compare objects with what they were: nobody asks, and it copies each object four times for that."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        return None

    def store(self, **_: Any) -> None:
        """Nothing is kept."""


class Watch:
    """Watches some kinds in all namespaces, or in one. `on_news` is called in the loop that called `start`.

    Kopf ends when one of its kinds cannot be watched, such as one whose CRD was deleted. It begins anew then, after a
    while; so kinds that may vanish are watched each for itself.
    """

    def __init__(
        self,
        watched: Sequence[Watched],
        access: Callable[[], Access],
        on_news: Callable[[News], None],
        *,
        namespace: str | None,
    ) -> None:
        self._watched = watched
        self._access = access
        self._on_news = on_news
        self._namespace = namespace
        self._stop = threading.Event()
        self._end_kopf: Callable[[], object] = _nothing
        """Ends the Kopf that runs now. Called in any thread."""
        self._thread: threading.Thread | None = None
        self._ended: asyncio.Future[None] | None = None

    def start(self) -> None:
        """Begin to watch."""
        loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        self._thread = threading.Thread(target=self._run, args=(loop, self._ended), name="watch", daemon=True)
        self._thread.start()

    async def ended(self) -> None:
        """Wait until the watch ends by itself, which it should not. Raises what ended it."""
        assert self._ended is not None
        await asyncio.shield(self._ended)

    async def stop(self) -> None:
        """End the watch; a thread that does not end in time is left to die with the process."""
        self._stop.set()
        with contextlib.suppress(RuntimeError):  # Kopf's loop has ended before us
            self._end_kopf()
        if self._ended is not None:
            with contextlib.suppress(Exception), Deadline(STOP_SECONDS):
                await asyncio.shield(self._ended)

    def _run(self, loop: asyncio.AbstractEventLoop, ended: asyncio.Future[None]) -> None:
        problem: BaseException | None = None
        try:
            self._watch_on(loop)
        except BaseException as error:  # noqa: BLE001  # whatever it was must reach the other loop
            problem = error
        with contextlib.suppress(RuntimeError):  # the other loop has ended before us
            loop.call_soon_threadsafe(_conclude, ended, problem)

    def _watch_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """One Kopf after the other until `stop`."""
        failures = 0
        while not self._stop.is_set():
            began_s = time.monotonic()
            problem = "it ended by itself"
            try:
                asyncio.run(self._operator(loop))
            except Exception as error:  # noqa: BLE001  # one kind that cannot be watched must not end the process
                problem = type(error).__name__
            failures = failures + 1 if time.monotonic() - began_s < WELL_SECONDS else 1
            if not self._stop.is_set():
                wait_seconds = min(AGAIN_SECONDS * 2.0 ** (failures - 1), LONGEST_AGAIN_SECONDS)
                kinds = ", ".join(each.kind.plural for each in self._watched)
                log.warning("a watch ended; beginning anew", kinds=kinds, problem=problem, seconds=wait_seconds)
                self._stop.wait(wait_seconds)

    async def _operator(self, loop: asyncio.AbstractEventLoop) -> None:
        registry = kopf.OperatorRegistry()
        for each in self._watched:
            self._register(registry, each, loop)
        kopf.on.login(registry=registry, backoff=AGAIN_SECONDS)(self._login)
        # Kopf would wait for a flag of another kind in a thread, and Python ends no process before such threads end.
        flag = asyncio.Event()
        self._end_kopf = partial(asyncio.get_running_loop().call_soon_threadsafe, flag.set)
        if self._stop.is_set():
            flag.set()
        await kopf.operator(
            registry=registry,
            settings=self._settings(),
            clusterwide=self._namespace is None,
            namespaces=[self._namespace] if self._namespace else [],
            standalone=True,
            stop_flag=flag,
        )

    def _register(self, registry: kopf.OperatorRegistry, each: Watched, loop: asyncio.AbstractEventLoop) -> None:
        kind, ours = each.kind, each.ours
        group, _, version = kind.api_version.rpartition("/")

        async def on_event(event: kopf.RawEvent, **_: Any) -> None:
            manifest: Any = event["object"]
            news = News(kind, manifest, gone=event["type"] == "DELETED", ours=ours, relisted=event["type"] is None)
            loop.call_soon_threadsafe(self._on_news, news)

        kopf.on.event(group, version, kind.plural, id=kind.plural, registry=registry)(on_event)

    async def _login(self, **_: Any) -> kopf.ConnectionInfo:
        # A coroutine, since Kopf calls a function in a thread that the end of the process would wait for.
        access = self._access()
        return kopf.ConnectionInfo(
            server=access.server,
            ca_path=access.ca_path,
            insecure=not access.verify,
            scheme="Bearer" if access.token else None,
            token=access.token,
            certificate_path=access.certificate_path,
            private_key_path=access.private_key_path,
            expiration=datetime.now(UTC) + timedelta(seconds=CREDENTIALS_SECONDS),
        )

    def _settings(self) -> kopf.OperatorSettings:
        settings = kopf.OperatorSettings()
        settings.peering.standalone = True
        settings.scanning.disabled = True
        settings.posting.enabled = False
        settings.persistence.diffbase_storage = _NoMemory()
        # Kopf takes its own finalizer off whatever it sees. The API server lets nobody write this one.
        settings.persistence.finalizer = f"{GROUP}/nobody can write this"
        settings.watching.server_timeout = SERVER_SECONDS
        settings.watching.client_timeout = SERVER_SECONDS + 30
        settings.watching.connect_timeout = 15
        settings.watching.reconnect_backoff = 1.0
        settings.watching.chunk_size = min(chunk_of(each.kind) for each in self._watched)
        settings.networking.request_timeout = 30
        settings.networking.error_backoffs = _Forever()
        settings.queueing.idle_timeout = 1.0
        # It would kill the whole process without a word.
        settings.process.ultimate_exiting_timeout = None
        for each in self._watched:
            if each.labels:
                group, _, version = each.kind.api_version.rpartition("/")
                settings.watching.label_selectors[group, version, each.kind.plural] = each.labels
        return settings


class _Passed(logging.Handler):
    """Passes warnings of libraries on to our own log, short, and without the data of a traceback."""

    def emit(self, record: logging.LogRecord) -> None:
        log.warning("a library warns", library=record.name, problem=record.getMessage()[:300])


def pass_on_warnings() -> None:
    """Of what Kopf and others log only warnings are kept: Kopf's debug lines repeat whole objects."""
    logging.basicConfig(level=logging.WARNING, handlers=[_Passed()], force=True)
    # It says there that it is not in the main thread, which is meant.
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)


def _nothing() -> None:
    """Kopf does not run yet."""


def _conclude(ended: asyncio.Future[None], problem: BaseException | None) -> None:
    if ended.done():
        return
    if isinstance(problem, Exception):
        ended.set_exception(problem)
    else:
        ended.set_result(None)
