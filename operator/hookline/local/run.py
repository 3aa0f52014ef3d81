"""`hookline run`: files become a route book, an embedded queue and a sender deliver by it, changes take effect at once.

Wires the parts together and decides nothing about Webhooks: evaluation does.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path

import structlog

from hookline.delivery.process import SenderProcess
from hookline.delivery.sender import Attempt
from hookline.gateway.callers import OneToken
from hookline.gateway.process import GatewayProcess
from hookline.local import book_folder, evaluation, private_files
from hookline.local.evaluation import Finding, Key, Known
from hookline.local.log_api import LocalLogApi
from hookline.local.manifests import Document, Unreadable, files_in, read
from hookline.local.nats_server import NatsServer
from hookline.routing.routes import Keys, Route
from hookline.runtime.background import background
from hookline.stream.owner import ANYBODY, Installation

log = structlog.get_logger(__name__)

LOOK_SECONDS = 0.5
"""How often the files are looked at. Looking works on every file system; being told of changes does not."""

DISPATCHER = "default"
"""The Dispatcher whose part `hookline run` plays."""


LOOPBACK = "127.0.0.1"

GATEWAY_NAMESPACE = "default"
"""For which the token of the gateway publishes, unless a request names another one."""


class GatewayPortInUse(Exception):
    """Another program listens where the gateway was to."""


class DataFolderInUse(Exception):
    """Another Hookline runs on this data folder."""


class Manifests:
    """The manifests of some files and folders, as they are now, and what was last good of them."""

    def __init__(
        self, paths: Sequence[Path], *, allow_cidrs: Sequence[str] = (), stream_prefix: str | None = None
    ) -> None:
        self._paths = paths
        self._allow_cidrs = allow_cidrs
        self._stream_prefix = stream_prefix
        self._objects: dict[Key, Known] = {}
        self._seen: object = None
        self._files: set[Path] = set()
        """Those whose content counts."""
        self._gone: set[Path] = set()
        """Of the files, those that were not there at the last look for the first time: perhaps being saved."""
        self._read_once: set[Path] = set()
        """Of the files, those of which something is known."""

    @property
    def objects(self) -> Mapping[Key, Known]:
        """What is in force of them."""
        return self._objects

    def changed(self) -> bool:
        """Whether any file differs from when this was last asked."""
        now = [_fingerprint(file) for file in files_in(self._paths)]
        changed = now != self._seen or bool(self._gone)
        self._seen = now
        return changed

    def judge(
        self,
        routes_before: Mapping[str, Route],
        keys_before: Mapping[str, Keys],
        now_s: float,
        *,
        one_server: bool = True,
    ) -> evaluation.Evaluated:
        """Read everything and decide anew.

        `routes_before` (by title) and `keys_before` (by uid, in force until `now_s`, Unix time) are those of the book.
        A file that is gone counts as deleted at the second look: an editor that saves may take it away for a moment.
        """
        files = [file for file in files_in(self._paths) if file.exists()]
        self._gone = self._files - set(files) - self._gone
        self._files = set(files) | self._gone
        documents: list[Document] = []
        unreadable: list[Unreadable] = []
        for file in files:
            good, bad = read(file)
            documents += good
            unreadable += bad
        understood = evaluation.understand(documents, unreadable)
        self._objects = evaluation.keep_last_good(understood, self._objects, self._gone)
        self._read_once = (self._read_once & self._files) | (set(files) - understood.unreadable)
        blind = not understood.unreadable <= self._read_once
        judged = evaluation.evaluate(
            self._objects,
            allow_cidrs=self._allow_cidrs,
            refused=understood.refused - self._objects.keys(),
            blind=blind,
            dispatcher=DISPATCHER,
            routes_before=routes_before,
            keys_before=keys_before,
            now_s=now_s,
            one_server=one_server,
            stream_prefix=self._stream_prefix,
        )
        missing = [evaluation.missing(path) for path in self._paths if not path.exists() and path not in self._gone]
        findings = [
            *missing,
            *evaluation.with_what_stays(understood, self._objects, routes_before, blind=blind),
            *judged.findings,
        ]
        return evaluation.Evaluated(judged.book, findings)


class LocalHookline:
    """One machine's Hookline over a data folder. `ready` is set once deliveries are made."""

    def __init__(
        self,
        manifests: Manifests,
        data: Path,
        *,
        nats_url: str | None = None,
        take_over: bool = False,
        on_attempt: Callable[[Attempt], None] = lambda _: None,
        on_findings: Callable[[Sequence[Finding]], None] = lambda _: None,
        gateway_ports: Sequence[int] = (),
        on_gateway: Callable[[str, Path], None] = lambda _, __: None,
        sync_interval: str = "always",
        grace_seconds: float = 30.0,
    ) -> None:
        """A gateway on loopback listens at the first of `gateway_ports` that can be had, 0 being any free one; without
        any there is none. `on_gateway` is told its URL and the file with its token."""
        self._manifests = manifests
        self._data = data.absolute()
        self._nats_url = nats_url
        # The embedded server is ours, whatever its mark says.
        self._take_over_from = ANYBODY if take_over or nats_url is None else ""
        self._on_attempt = on_attempt
        self._on_findings = on_findings
        self._gateway_ports = gateway_ports
        self._on_gateway = on_gateway
        self._sync_interval = sync_interval
        self._grace_seconds = grace_seconds
        self._said: list[Finding] = []
        self._sender: SenderProcess | None = None
        self._gateway: GatewayProcess | None = None
        self._log_api: LocalLogApi | None = None
        self._routes: Mapping[str, Route] = {}
        """Those in force, by uid."""
        self.ready = asyncio.Event()
        self.nats_url = ""

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until `stop`. Raises DataFolderInUse, NatsServerError, StreamUnavailable, GatewayPortInUse."""
        self._data.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _only_one(self._data):
            async with self._queue() as url:
                self.nats_url = url
                self._look(force=True)
                await self._deliver(stop)

    async def _deliver(self, stop: asyncio.Event) -> None:
        self._sender = pod = SenderProcess(
            self._book_folder,
            self.nats_url,
            installation=installation_of(self._data, self._take_over_from),
            on_attempt=self._on_attempt,
            grace_seconds=self._grace_seconds,
        )
        async with background(
            self._watch(), _pass_on(pod.ready, self.ready), self._serve_gateway(stop), self._tell_what_became(stop)
        ):
            await pod.run(stop)

    async def _tell_what_became(self, stop: asyncio.Event) -> None:
        """Of deliveries, to whoever may read a file in the data folder. They are made without this as well."""
        try:
            self._log_api = api = LocalLogApi(
                self._data, DISPATCHER, lambda: self._manifests.objects, lambda: self._routes
            )
            api.use(self.nats_url)
            await api.run(stop)
        except (OSError, ValueError) as error:
            log.warning("nobody can ask what became of deliveries", problem=f"{type(error).__name__}: {error}")

    async def _serve_gateway(self, stop: asyncio.Event) -> None:
        """Until `stop`: what was begun then is answered while the sender drains."""
        if not self._gateway_ports:
            return
        token = self._data / "gateway-token"
        word = _kept(token, lambda: secrets.token_urlsafe(32))
        callers = OneToken(word, namespace=GATEWAY_NAMESPACE, name="whoever may read the token's file")
        for port in self._gateway_ports:
            self._gateway = gateway = GatewayProcess(self.nats_url, callers, host=LOOPBACK, port=port)
            listening: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            try:
                async with background(self._say_gateway(gateway, listening, token)):
                    await gateway.run(stop, on_listening=listening.set_result)
                return
            except OSError as error:
                problem = error.strerror
        raise GatewayPortInUse(
            f"the gateway cannot listen on {LOOPBACK}:{port} ({problem}); name another port with --gateway-port, 0 for "
            "any, or use --no-gateway"
        )

    async def _say_gateway(self, gateway: GatewayProcess, listening: asyncio.Future[int], token: Path) -> None:
        """Once an event is stored at once: streams are there when the sender is ready, and the gateway knows them."""
        port = await listening
        await self.ready.wait()
        await gateway.ready.wait()
        self._on_gateway(f"http://{LOOPBACK}:{port}", token)

    @property
    def _book_folder(self) -> Path:
        return self._data / "routebook"

    @contextlib.asynccontextmanager
    async def _queue(self) -> AsyncIterator[str]:
        """The address of the queue: the one that was named, or an embedded server for as long as this runs."""
        if self._nats_url is not None:
            yield self._nats_url
            return
        server = NatsServer(self._data, sync_interval=self._sync_interval, on_moved=self._moved)
        url = await server.start()
        try:
            async with background(server.supervise()):
                yield url
        finally:
            await server.stop()

    def _moved(self, url: str) -> None:
        self.nats_url = url
        if self._sender is not None:
            self._sender.move_to(url)
        if self._gateway is not None:
            self._gateway.move_to(url)
        if self._log_api is not None:
            self._log_api.use(url)

    async def _watch(self) -> None:
        unfinished = False
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                self._look(force=unfinished)
                unfinished = False
            except OSError as error:
                if not unfinished:
                    log.warning("the manifests are not in force as they are now; trying again", problem=str(error))
                unfinished = True

    def _look(self, *, force: bool = False) -> None:
        if not self._manifests.changed() and not force:
            return
        routes, keys = book_folder.read_routes(self._book_folder), book_folder.read_keys(self._book_folder)
        judged = self._manifests.judge(routes, keys, time.time(), one_server=self._nats_url is None)
        book_folder.write(judged.book, self._book_folder)
        self._routes = {each.uid: each for each in judged.book.routes()}
        self._say(judged.findings)
        if not any(judged.book.routes()):
            log.warning("these files hold no Webhook; waiting for one")

    def _say(self, findings: Sequence[Finding]) -> None:
        """Only what is new: a person should see what the last change did."""
        new = evaluation.news(self._said, findings)
        self._said = list(findings)
        if new:
            self._on_findings(new)


def installation_of(data: Path, take_over_from: str = "") -> Installation:
    """The installation of a data folder: its id is made once and kept there."""
    id_ = _kept(data / "installation", lambda: secrets.token_hex(8))
    return Installation(id_, f"hookline run on {socket.gethostname()}", take_over_from)


def _kept(file: Path, make: Callable[[], str]) -> str:
    """A word that is made once, and kept in a file that only this user can read."""
    with contextlib.suppress(FileNotFoundError, UnicodeDecodeError):
        if word := file.read_text(encoding="ascii").strip():
            return word
    word = make()
    private_files.write(file, f"{word}\n".encode("ascii"))
    return word


async def _pass_on(happened: asyncio.Event, to: asyncio.Event) -> None:
    await happened.wait()
    to.set()


def _fingerprint(file: Path) -> tuple[str, int, int, int] | str:
    try:
        stat = file.stat()
    except OSError:
        return str(file)
    return str(file), stat.st_mtime_ns, stat.st_size, stat.st_ino


@contextlib.contextmanager
def _only_one(data: Path) -> Iterator[None]:
    """Hold the folder's lock, which the kernel releases however this process ends."""
    descriptor = os.open(data / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise DataFolderInUse(
            f"another `hookline run` uses {data}; stop it, or name another folder with --data"
        ) from None
    try:
        yield
    finally:
        os.close(descriptor)
