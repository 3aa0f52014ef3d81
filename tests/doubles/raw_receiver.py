"""Servers for tests: one that shows the very bytes of each call and follows a script, one that sends TLS alerts."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@dataclass(frozen=True)
class Heard:
    """One call as it came over the wire. `connection` counts connections from 1."""

    head: bytes
    body: bytes
    connection: int

    @property
    def request_line(self) -> bytes:
        return self.head.split(b"\r\n")[0]

    @property
    def header_lines(self) -> list[bytes]:
        return self.head.split(b"\r\n")[1:]


@dataclass
class Line:
    """One connection, in the hands of a script."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    number: int
    receiver: RawReceiver

    async def hear(self) -> Heard | None:
        """The next call, recorded; None if the sender hung up."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = next(
                (
                    int(line.split(b":")[1])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length:")
                ),
                0,
            )
            heard = Heard(head.removesuffix(b"\r\n\r\n"), await self.reader.readexactly(length), self.number)
        except (asyncio.IncompleteReadError, OSError):
            return None
        self.receiver.heard.append(heard)
        return heard

    async def say(self, answer: bytes) -> None:
        self.writer.write(answer)
        await self.writer.drain()

    def reset(self) -> None:
        """Ends the connection with a TCP reset."""
        connection: socket.socket = self.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def gone(self) -> None:
        """Returns once the sender has hung up."""
        try:
            while await self.reader.read(65536):
                pass
        except OSError:
            pass


Script = Callable[[Line], Awaitable[None]]


def answering(*answers: bytes) -> Script:
    """Answers call after call on each connection; over all connections each answer once, the last one for ever."""
    left = list(answers)

    async def script(line: Line) -> None:
        while await line.hear() is not None:
            await line.say(left.pop(0) if len(left) > 1 else left[0])

    return script


@dataclass
class RawReceiver:
    """Listens on 127.0.0.1 while entered. `tls` None means plain TCP."""

    tls: ssl.SSLContext | None
    script: Script = field(default_factory=lambda: answering(OK))
    heard: list[Heard] = field(default_factory=list)
    server_names: list[str | None] = field(default_factory=list)
    port: int = 0
    connections: int = 0
    _lines: dict[asyncio.Task[None], asyncio.StreamWriter] = field(default_factory=dict)

    async def __aenter__(self) -> Self:
        if self.tls is not None:
            self.tls.sni_callback = self._note_server_name
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        lines = dict(self._lines)
        for task, writer in lines.items():
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*lines, return_exceptions=True)

    def stop_listening(self) -> None:
        """Refuses new connections. Those that are there go on."""
        self._server.close()

    def _note_server_name(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        self.server_names.append(name)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._lines[task] = writer
        self.connections += 1
        try:
            await self.script(Line(reader, writer, self.connections, self))
        except (asyncio.CancelledError, OSError):
            pass
        finally:
            del self._lines[task]
            writer.close()


@contextlib.contextmanager
def full_backlog(host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """A port whose queue of connections is full, so that the next one is neither accepted nor refused."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind((host, port))
        server.listen(0)
        for _ in range(3):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            assert client.connect_ex(server.getsockname()) in (0, errno.EINPROGRESS)
        yield server.getsockname()[1]


@contextlib.contextmanager
def strict_receiver(tls: ssl.SSLContext, *, asks_late: bool = False) -> Iterator[int]:
    """The port of a TLS server that tells a client why it refuses a handshake, and answers 200 once it accepts one.

    With `asks_late` it asks for the client's certificate once it has read the request, and answers 403 without one.
    Servers on asyncio hang up without the alert that all usual servers send, hence plain sockets in a thread.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_accept, args=(listener, tls, asks_late))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _accept(listener: socket.socket, tls: ssl.SSLContext, asks_late: bool) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        connection.settimeout(10)
        with tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False) as line:
            try:
                line.do_handshake()
                line.recv(65536)
                line.sendall(OK if not asks_late or _asked(line) else b"HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n")
            except OSError:
                _hang_up_after_alert(line)


def _asked(line: ssl.SSLSocket) -> bool:
    """Whether the client shows a certificate after the handshake (RFC 8446, 4.6.2)."""
    try:
        line.verify_client_post_handshake()
        line.sendall(b"HTTP/1.1 102 Processing\r\n\r\n")
        line.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            line.recv(65536)
    except ssl.SSLError:
        return False
    return bool(line.getpeercert(binary_form=True))


def _hang_up_after_alert(line: ssl.SSLSocket) -> None:
    # Read to the end first: closing with unread bytes sends a reset, which would overtake the alert.
    with contextlib.suppress(OSError):
        line.shutdown(socket.SHUT_WR)
        while line.recv(65536):
            pass
