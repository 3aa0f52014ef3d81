"""The log of all Dispatchers that a file names: connects to their queues, follows the file, and tells what is missing.

One `Log` for as long as the process lives. What cannot be reached for a while is left out, so that one Dispatcher whose
queue is away hides no other; whoever asks is told so.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypeVar, cast

import structlog

from hookline.api.log import Attempt, Dead, Expired, Page, Unreadable, Waiting, Wanted
from hookline.api.object_names import place_of_attempt, place_of_message
from hookline.api.queue_log import QueueLog, Source
from hookline.api.waiting import Named
from hookline.routing.queues import MAX_FILE_BYTES, Queue, QueuesFileError, read_queues_file
from hookline.runtime.background import background
from hookline.runtime.folders import follow_folder
from hookline.runtime.tasks import Deadline, cancel, within
from hookline.stream.connection import Client, StreamUnavailable, close, connect
from hookline.stream.permissions import Role

log = structlog.get_logger(__name__)

PATIENCE_SECONDS = 15.0
"""How long all queues are waited for before the others are read without those that are missing."""

AGAIN_SECONDS = 2.0
"""After a connection that failed, before the next."""

SETTLE_SECONDS = 0.2
"""After a change: others may come with it."""

_NOT_YET = "the queues are being connected to; ask again soon"
_ANOTHER = "the log is read anew, since there are other queues; list again"
_UNFIT = re.compile(r"[^a-z0-9.-]")

T = TypeVar("T")


class Queues:
    """The connections, as the file says. An implementation of `Log`; its `run` must be running while it is asked."""

    def __init__(self, data: Path, *, names_of: Callable[[str], Named | None] = lambda _: None) -> None:
        """Indexes are kept in `data`, which is for this process alone."""
        self._data = data
        self._names_of = names_of
        self._wanted: tuple[Queue, ...] | None = None
        self._clients: dict[Queue, Client] = {}
        self._connecting: dict[Queue, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._current: QueueLog | None = None
        self._in_current: frozenset[Queue] = frozenset()
        self._problem = ""
        self._replaced = asyncio.Event()
        """Set once `current` is another one, for those who follow it."""

    @property
    def missing(self) -> Sequence[str]:
        """Dispatchers whose queues are not read now; of some of them is told what was read before."""
        behind = self._current.behind if self._current is not None else ()
        return sorted({*self._unconnected, *behind})

    @property
    def _unconnected(self) -> Sequence[str]:
        return [each.dispatcher for each in self._wanted or () if each not in self._clients]

    @property
    def clients(self) -> Mapping[str, Client]:
        """The connections that there are, by Dispatcher."""
        return {each.dispatcher: client for each, client in self._clients.items()}

    def use(self, queues: Sequence[Queue]) -> None:
        """Read these from now on."""
        if self._wanted is None or set(queues) != set(self._wanted):
            self._wanted = tuple(queues)
            self._changed.set()

    async def follow_file(self, file: Path, stop: asyncio.Event) -> None:
        """Use what the file says, until `stop`. The last good one counts while it is missing or damaged."""
        await follow_folder(file.parent, lambda: self._read(file), stop, what="queues")

    async def run(self) -> None:
        """Until cancelled."""
        try:
            patience_seconds = PATIENCE_SECONDS
            while True:
                self._changed.clear()
                self._connect()
                await self._wait_for_all(patience_seconds)
                await self._read_until_changed()
                patience_seconds = AGAIN_SECONDS
        finally:
            await cancel(self._connecting.values())
            for each in self._clients.values():
                await close(each)

    # ---- Log ---------------------------------------------------------------------------------------------------------

    async def attempts(self, namespace: str, wanted: Wanted, *, limit: int, begin: str = "") -> Page[Attempt]:
        return await self._log.attempts(namespace, wanted, limit=limit, begin=begin)

    async def until_told(self, version: str) -> None:
        await self._log.until_told(version)

    def check_attempts_of(self, dispatcher: str) -> None:
        self._log.check_attempts_of(dispatcher)

    async def attempt(self, namespace: str, name: str) -> Attempt | None:
        return await self._certain(self._log.attempt(namespace, name), name)

    async def follow_attempts(self, namespace: str, wanted: Wanted, since: str) -> AsyncIterator[Attempt]:
        """Expired once other queues are read: versions of these are others."""
        current, replaced = self._log, self._replaced
        following = cast(AsyncGenerator[Attempt, None], current.follow_attempts(namespace, wanted, since))
        ended = asyncio.create_task(replaced.wait())
        coming: asyncio.Task[Attempt] | None = None
        try:
            while True:
                coming = asyncio.ensure_future(anext(following))
                await asyncio.wait([coming, ended], return_when=asyncio.FIRST_COMPLETED)
                if not coming.done():
                    raise Expired(_ANOTHER)
                yield coming.result()
        finally:
            await cancel([ended, *([coming] if coming is not None else [])])
            await following.aclose()

    async def deliveries(self, namespace: str, wanted: Wanted, *, limit: int, begin: str = "") -> Page[Waiting]:
        return await self._log.deliveries(namespace, wanted, limit=limit, begin=begin)

    async def delivery(self, namespace: str, name: str) -> Waiting | None:
        return await self._certain(self._log.delivery(namespace, name), name)

    async def dead_letters(self, namespace: str, wanted: Wanted, *, limit: int, begin: str = "") -> Page[Dead]:
        return await self._log.dead_letters(namespace, wanted, limit=limit, begin=begin)

    async def dead_letter(self, namespace: str, name: str) -> Dead | None:
        return await self._certain(self._log.dead_letter(namespace, name), name)

    async def drop_dead_letter(self, namespace: str, name: str) -> bool:
        return bool(await self._certain(self._log.drop_dead_letter(namespace, name), name))

    async def body_of_attempt(self, namespace: str, name: str) -> bytes | None:
        return await self._certain(self._log.body_of_attempt(namespace, name), name)

    async def body_of_delivery(self, namespace: str, name: str) -> bytes | None:
        return await self._certain(self._log.body_of_delivery(namespace, name), name)

    async def body_of_dead_letter(self, namespace: str, name: str) -> bytes | None:
        return await self._certain(self._log.body_of_dead_letter(namespace, name), name)

    @property
    def _log(self) -> QueueLog:
        if self._current is None:
            raise Unreadable(_NOT_YET)
        return self._current

    async def _certain(self, finding: Awaitable[T | None], name: str) -> T | None:
        """None, or False, only if no queue can have what is called so, also none that was away when it was looked for.
        Raises Unreadable."""
        away = [each.dispatcher for each in self._wanted or () if each not in self._in_current]
        found = await finding
        is_found = found is not None and found is not False
        if is_found or not away or (place_of_attempt(name) is None and place_of_message(name) is None):
            return found
        raise Unreadable(f"it may be of a Dispatcher whose queue cannot be read now: {', '.join(away)}", soon=False)

    # ---- connections -------------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        """Begin to connect to what is wanted; what is not is given up by whoever keeps it."""
        wanted = self._wanted or ()
        for queue in wanted:
            if queue not in self._connecting:
                self._connecting[queue] = asyncio.create_task(self._keep(queue))
        for queue in [each for each in self._connecting if each not in wanted]:
            self._connecting.pop(queue).cancel()

    async def _keep(self, queue: Queue) -> None:
        """Connected for as long as it is wanted."""
        said = ""
        while True:
            closed = asyncio.Event()

            async def on_closed(closed: asyncio.Event = closed) -> None:
                closed.set()

            try:
                credentials = Path(queue.credentials) if queue.credentials else None
                client = await connect(queue.nats, name=Role.API, credentials=credentials, on_closed=on_closed)
            except StreamUnavailable as error:
                if str(error) != said:
                    said = str(error)
                    log.warning("a queue cannot be read", dispatcher=queue.dispatcher, problem=said)
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            said = ""
            self._clients[queue] = client
            self._changed.set()
            try:
                await closed.wait()
            finally:
                self._clients.pop(queue, None)
                self._changed.set()
                await close(client)

    async def _wait_for_all(self, seconds: float) -> None:
        try:
            with Deadline(seconds):
                while self._wanted is None or self._unconnected:
                    await self._changed.wait()
                    self._changed.clear()
                    self._connect()
        except TimeoutError:
            pass

    async def _read_until_changed(self) -> None:
        """Read the queues that are connected, until there are others."""
        read = set(self._clients.items())
        sources = [Source(queue.dispatcher, client, self._folder(queue)) for queue, client in read]
        if self._wanted is None or (self._wanted and not sources):
            await within(self._changed, AGAIN_SECONDS)
            return
        if self._unconnected:
            log.warning("the log is told without some queues", dispatchers=list(self._unconnected))
        current = QueueLog(sources, names_of=self._names_of)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(background(current.run()))
            self._current, self._in_current = current, frozenset(each for each, _ in read)
            replaced, self._replaced = self._replaced, asyncio.Event()
            replaced.set()
            while set(self._clients.items()) == read and self._wanted_is(read):
                await self._changed.wait()
                self._changed.clear()
                self._connect()
                await asyncio.sleep(SETTLE_SECONDS)
            self._current = None
            self._replaced.set()

    def _wanted_is(self, read: set[tuple[Queue, Client]]) -> bool:
        return {queue for queue, _ in read} <= set(self._wanted or ())

    def _folder(self, queue: Queue) -> Path:
        folder = self._data / _UNFIT.sub("_", queue.dispatcher)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder

    def _read(self, file: Path) -> None:
        try:
            with file.open("rb") as opened:
                self.use(read_queues_file(opened.read(MAX_FILE_BYTES + 1)))
            problem = ""
        except OSError as error:
            problem = f"it cannot be read ({type(error).__name__})"
        except QueuesFileError as error:
            problem = str(error)
        if problem and problem != self._problem:
            log.warning("the file of queues is not usable; the last good one counts", problem=problem)
        self._problem = problem
