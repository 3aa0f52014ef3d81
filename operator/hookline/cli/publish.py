"""`hookline publish`: one event, or one for each line, checked against its schema and stored in the queue."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from hookline.cli.common import NatsOrOwn, OwnData, default_data, nats_address, run_loop
from hookline.cli.errors import NotAchieved, WrongInput
from hookline.events.envelope import MAX_BODY_BYTES, valid_tenant
from hookline.events.explain import shortened
from hookline.events.notices import PREFIX, is_reserved
from hookline.events.schemas import BodyProblem, UnknownEvent
from hookline.events.strictjson import begins_only
from hookline.events.strictjson import read as read_json
from hookline.routing.routes import Audience
from hookline.routing.signing import MAX_MESSAGE_ID_LENGTH, valid_message_id
from hookline.runtime import telemetry
from hookline.runtime.background import background
from hookline.runtime.logs import set_up_logs
from hookline.runtime.tuning import collect_seldom
from hookline.stream.admission import Admission, Admitted
from hookline.stream.audience import ask_audience
from hookline.stream.connection import StreamRefused, StreamUnavailable, close, connect
from hookline.stream.permissions import PUBLISH_NAME
from hookline.stream.publish_room import PublishRoom

READ_AHEAD = 64
"""Lines that are read and wait for their turn."""

LINE_NUMBER_CHARACTERS = 12
"""With --lines: of an id, kept free for what is added to it."""


@dataclass(slots=True)
class _Tally:
    published: int = 0
    repeated: int = 0
    refused: int = 0


def publish(
    event: Annotated[str, typer.Argument(help="Event type, such as IdentityCreated.", show_default=False)],
    file: Annotated[str, typer.Argument(help="File with the JSON body, or - for standard input.", show_default=False)],
    tenant: Annotated[str, typer.Option(help="The namespace whose Webhooks hear it.")] = "default",
    event_id: Annotated[
        str | None,
        typer.Option(
            "--id",
            help="Id of the event: publishing it again within two minutes stores nothing. "
            "With --lines the ids are ID-1, ID-2, …",
            show_default="a new one",
        ),
    ] = None,
    lines: Annotated[bool, typer.Option("--lines", help="One JSON body on each line.")] = False,
    nats: NatsOrOwn = None,
    nats_credentials: Annotated[
        Path | None,
        typer.Option(envvar="HOOKLINE_NATS_CREDENTIALS", help="NATS credentials file, or a seed."),
    ] = None,
    data: OwnData = None,
    wait_seconds: Annotated[float, typer.Option(min=0, max=3600, help="How long to wait for NATS.")] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object for each event.")] = False,
) -> None:
    """Publish an event. It counts as published only when the queue has it on disk.

    Example: hookline events sample IdentityCreated | hookline publish IdentityCreated -
    """
    if not valid_tenant(tenant):
        raise WrongInput("--tenant must be a namespace: lower-case letters, digits and -, at most 63 characters")
    if is_reserved(event):
        raise WrongInput(
            f"events of types that begin with {PREFIX} are published by Hookline itself; take another type"
        )
    _check_id(event_id, lines=lines)
    set_up_logs()
    telemetry.set_up("hookline-publish")
    job = _Job(event, tenant, event_id, nats_credentials, wait_seconds, as_json)
    with _opened(file) as source:
        run_loop(job.run(source, nats_address(nats, data or default_data()), lines=lines))


def _check_id(event_id: str | None, *, lines: bool) -> None:
    if event_id is None:
        return
    longest = MAX_MESSAGE_ID_LENGTH - (LINE_NUMBER_CHARACTERS if lines else 0)
    if not valid_message_id(event_id) or len(event_id) > longest:
        why = " with --lines, which adds - and the number of the line" if lines else ""
        raise WrongInput(f"--id must be 1 to {longest} letters, digits, - or _{why}")


class _Job:
    """What one call of the command does."""

    def __init__(
        self,
        event: str,
        tenant: str,
        event_id: str | None,
        credentials: Path | None,
        wait_seconds: float,
        as_json: bool,
    ) -> None:
        self._type = event
        self._tenant = tenant
        self._id = event_id
        self._credentials = credentials
        self._wait_seconds = wait_seconds
        self._as_json = as_json
        self._tally = _Tally()
        self._under_way = 0
        self._room = PublishRoom()
        self._bar: Progress | None = None
        self._console = Console(stderr=True)

    async def run(self, source: BinaryIO, url: str, *, lines: bool) -> None:
        client = await connect(
            url, name=PUBLISH_NAME, credentials=self._credentials, connect_seconds=self._wait_seconds
        )
        try:
            self._client, self._admission = client, await Admission.at(client)
            self._known_type()
            self._say_deprecated()
            if lines:
                collect_seldom()
                async with background(self._admission.follow()):
                    await self._publish_lines(source)
            else:
                await self._publish_one(source.read(MAX_BODY_BYTES + 1))
        finally:
            await close(client)

    def _known_type(self) -> None:
        try:
            self._admission.catalogue.get(self._type)
        except UnknownEvent as error:
            raise WrongInput(str(error)) from None

    def _say_deprecated(self) -> None:
        why = self._admission.catalogue.get(self._type).deprecated
        if why:
            # With escapes for all that a terminal could obey: anybody on this NATS may have written it.
            self._warn(f"warning: {self._type} is deprecated: {json.dumps(shortened(why))}")

    async def _publish_one(self, body: bytes) -> None:
        problems = self._problems(body)
        if problems:
            several = "; for one event for each line, add --lines" if _is_lines(body) else ""
            raise WrongInput("; ".join(f"{each.place}: {each.message}" for each in problems) + several)
        stored = await self._store(self._id or "", body)
        if stored is None:
            raise WrongInput(_ANOTHER)
        audience = await self._ask_audience()
        if self._as_json:
            self._say_json(stored, {"webhooks": asdict(audience) if audience else None})
        else:
            done = "published" if stored.new else "already there"
            known = f"  {audience}" if audience else ""
            typer.echo(f"{done}  {self._type}  {stored.id}  tenant {self._tenant}{known}")

    async def _publish_lines(self, source: BinaryIO) -> None:
        """Good lines are published whatever the others are; bad ones are named at once and counted at the end.

        The first that NATS refuses ends it at once, however long the input is silent. So does a first line that only
        begins a document: one that stands on several lines would be refused line by line, and in parts be published.
        """
        first = True
        try:
            with self._progress() as self._bar:
                async with asyncio.TaskGroup() as group:
                    async for number, line in _lines(source):
                        if first and begins_only(line):
                            raise WrongInput(_SEVERAL_LINES.format(number=number))
                        first = False
                        await self._room.enter(len(line))
                        task = group.create_task(self._publish_line(number, line))
                        task.add_done_callback(partial(self._left, len(line)))
                        self._under_way += 1
        except ExceptionGroup as failures:
            raise self._stopped(failures.exceptions[0]) from None
        self._sum_up(await self._ask_audience())

    def _left(self, body_bytes: int, _: object) -> None:
        self._room.leave(body_bytes)

    def _stopped(self, error: Exception) -> Exception:
        if not isinstance(error, StreamUnavailable | StreamRefused):
            return error
        confirmed, unconfirmed = self._tally.published + self._tally.repeated, self._under_way
        return NotAchieved(f"stopped after {confirmed} confirmed events, {unconfirmed} more are not confirmed: {error}")

    async def _publish_line(self, number: int, line: bytes) -> None:
        await self._judge_line(number, line)
        self._under_way -= 1
        if self._bar:
            self._bar.update(self._bar.task_ids[0], completed=self._done)

    async def _judge_line(self, number: int, line: bytes) -> None:
        problems = self._problems(line)
        if problems:
            self._tally.refused += 1
            for each in problems:
                self._warn(f"line {number}: {each.place}: {each.message}")
            return
        stored = await self._store(f"{self._id}-{number}" if self._id else "", line)
        if stored is None:
            self._tally.refused += 1
            self._warn(f"line {number}: {_ANOTHER}")
        elif self._as_json:
            self._say_json(stored, {})

    async def _store(self, event_id: str, body: bytes) -> Admitted | None:
        """None when another event has this id."""
        sent_s = time.monotonic()
        stored = await self._admission.store(
            self._tenant, self._type, body, event_id, patience_seconds=self._wait_seconds
        )
        self._room.confirmed(sent_s)
        if await self._admission.is_another(stored, self._type, body):
            return None
        self._tally.published += stored.new
        self._tally.repeated += not stored.new
        return stored

    async def _ask_audience(self) -> Audience | None:
        return await ask_audience(self._client, self._tenant, self._type)

    def _say_json(self, stored: Admitted, more: Mapping[str, object]) -> None:
        said = {"id": stored.id, "event": self._type, "tenant": self._tenant, "new": stored.new, **more}
        typer.echo(json.dumps(said))

    def _problems(self, body: bytes) -> tuple[BodyProblem, ...]:
        """What refuses a body. What its type only warns of is said and left at that."""
        self._known_type()
        judged = self._admission.judge(self._type, body)
        for each in judged.warnings:
            self._warn(f"warning: {each.place}: {each.message}")
        return judged.refusals

    def _warn(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    @property
    def _done(self) -> int:
        return self._tally.published + self._tally.repeated + self._tally.refused

    def _progress(self) -> AbstractContextManager[Progress | None]:
        """A progress bar for a person who watches."""
        if not self._console.is_terminal:
            return nullcontext()
        progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
        )
        progress.add_task(self._type, total=None)
        return progress

    def _sum_up(self, audience: Audience | None) -> None:
        tally = self._tally
        if not self._as_json:
            known = f", {audience}" if audience else ""
            typer.echo(f"published {tally.published}, already there {tally.repeated}, refused {tally.refused}{known}")
        if tally.refused:
            lines = "1 line was" if tally.refused == 1 else f"{tally.refused} lines were"
            raise WrongInput(f"{lines} refused; the others are published")


_ANOTHER = "another event was published with this id a short while ago; nothing was stored, so take another --id"

_SEVERAL_LINES = (
    "line {number} only begins a JSON document, and nothing was published: --lines takes one on each line; leave it "
    "out for a single document, or write each on a line of its own, such as with `jq -c .`"
)


def _is_lines(body: bytes) -> bool:
    """Whether a body looks like several events, one on each line."""
    first, _, rest = body.lstrip().partition(b"\n")
    return bool(rest.strip()) and not read_json(first)[1]


def _opened(name: str) -> AbstractContextManager[BinaryIO]:
    if name == "-":
        return nullcontext(sys.stdin.buffer)
    try:
        return Path(name).open("rb")
    except OSError as error:
        raise WrongInput(f"{name} cannot be read: {error.strerror}") from None


async def _lines(source: BinaryIO) -> AsyncIterator[tuple[int, bytes]]:
    """Number and content of each line that is not blank. Read in a thread: a pipe may be silent for long.

    It is a daemon with a reader of its own: nobody waits for it at the end.
    """
    lines: asyncio.Queue[tuple[int, bytes] | OSError | None] = asyncio.Queue()
    room, loop = threading.Semaphore(READ_AHEAD), asyncio.get_running_loop()

    def hand_over(what: tuple[int, bytes] | OSError | None) -> None:
        room.acquire()
        # No coroutine: nobody would await it once the loop has ended, and Python says so on stderr.
        loop.call_soon_threadsafe(lines.put_nowait, what)

    threading.Thread(target=_read, args=(source, hand_over), daemon=True).start()
    while (line := await lines.get()) is not None:
        room.release()
        if isinstance(line, OSError):
            raise WrongInput(f"the input cannot be read: {line.strerror}")
        yield line


def _read(source: BinaryIO, hand_over: Callable[[tuple[int, bytes] | OSError | None], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended
        try:
            number = 0
            with open(source.fileno(), "rb", closefd=False) as reader:  # a descriptor, not a path
                while line := _line(reader):
                    number += 1
                    if line.strip():
                        hand_over((number, line.rstrip(b"\r\n")))
        except OSError as error:
            hand_over(error)
        hand_over(None)


def _line(source: BinaryIO) -> bytes:
    """The next line; of one that is too long, as much as shows that it is."""
    line = source.readline(MAX_BODY_BYTES + 2)
    rest = line
    while rest and not rest.endswith(b"\n"):
        rest = source.readline(MAX_BODY_BYTES)
    return line
