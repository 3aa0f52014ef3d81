"""The connection to NATS: how it is made, kept and given up, and what its failures are called."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import nats.errors
import nats.js.errors
import structlog
from nats.aio.client import Client as Client
from nats.aio.client import Srv
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.aio.transport import TcpTransport

from hookline.resources.natsaddress import Login, parse_nats
from hookline.runtime.private_parts import require
from hookline.runtime.tasks import Deadline
from hookline.stream.credentials import CredentialsError, Prove, by_file
from hookline.stream.names import NOT_NEEDED_SUBJECTS, inbox_of, is_attempts, is_header, is_large, is_notice
from hookline.stream.queue_problem import QueueProblem, QueueReason

log = structlog.get_logger(__name__)

CONNECT_SECONDS = 5.0
"""How long a first connection may take before a person is told that NATS is not there."""

PING_SECONDS = 5
"""How often a server is asked whether it is there. After two answers that did not come the connection is replaced."""

CLOSE_SECONDS = 2.0
"""How long a server may take, when a connection is closed, to take what waits to be sent."""

CLOSED = "NATS ended the connection for good, as it does when credentials expire"
MOVED = "NATS is at another address now"

Happened = Callable[[], Awaitable[None]]

_REFUSES = "rejected the credentials"
_HEAD = b"NATS/1.0\r\n"
"""How the headers of a message begin; those of a status have its number before the line ends."""
_VIOLATION = re.compile(r'permissions violation for (?P<what>publish|subscription) to "(?P<subject>[^"]{1,300})"', re.I)
_WORDS = {"publish": "publish to", "subscription": "subscribe to"}
_DENIED_KEPT = 100
_LINE_BREAKS = str.maketrans({"\r": " ", "\n": " "})


class StreamUnavailable(Exception):
    """NATS did not answer in time. Nothing may be taken for stored."""


class StreamRefused(Exception):
    """NATS answered, and said no: a full stream, a missing stream, missing permissions."""


class LoginRefused(StreamUnavailable):
    """NATS rejected the credentials. It may take them later: its administrators change users and passwords in turn."""


class QueueUnusable(StreamRefused):
    """Nothing of this queue may be used by this process, and only a person can change that."""

    def __init__(self, problem: QueueProblem) -> None:
        super().__init__(problem.message)
        self.problem = problem


@contextlib.contextmanager
def jetstream_answers() -> Iterator[None]:
    """What the client raises in here because JetStream did not do what was asked is raised as StreamUnavailable."""
    try:
        yield
    except (nats.errors.Error, nats.js.errors.Error) as error:
        raise StreamUnavailable(f"JetStream does not answer ({type(error).__name__})") from None


class Heard(NamedTuple):
    """A message as it came. Of a message without headers they are empty."""

    subject: str
    reply: str
    headers: Mapping[str, str]
    body: bytes


class NotEncrypted(nats.errors.Error):
    """The address says `tls://`, and the server wants to go on without."""


class Denied(nats.errors.Error):
    """The server does not permit this user to publish what was to be said; see `denied`."""


class NotNats(nats.errors.Error):
    """What answers says something that the library cannot read."""


require(
    Client,
    "_attempt_reconnect",
    "_connect_command",
    "_connect_to_server",
    "_flush_pending",
    "_parse_header_lines",
    "_process_connect_init",
    "_process_headers",
    "_process_msg",
    "_send_command",
    "_send_publish",
)


class _Client(Client):
    """Insists on TLS where the address does, and reads and writes messages at a part of the cost.

    The library goes on in plain text when the server does not ask for TLS: whoever sits in between could read tokens
    and events. Its own reader of headers takes each line as bytes, and looks at every character of each name: 7.5 us
    against 1.8 us for the seven headers of a delivery, which passes it twice. Its writer does likewise: 6.3 us against
    2.9 us. A word to whom a message came from is written without a look at its subject, which the server itself named.
    And what `listen` hears goes from the parser to its listener, without the queue and the task of a
    subscription: 2.9 us less for each of the three messages of a delivery.
    """

    def __init__(self, *, encrypted: bool = False, prove: Prove | None = None) -> None:
        super().__init__()
        self._encrypted = encrypted
        self._prove = prove
        self._over = False
        """Whether it was closed for good: the library calls itself closed between two tries as well."""
        self.limit: Deadline | None = None
        """Of the first connection, until it is made."""
        self.refused = ""
        """What to do about the login, as long as the server refuses it."""
        self._listeners: dict[int, Callable[[Heard], None]] = {}
        self.when_back: list[Callable[[], None]] = []
        """What is to be done each time that the connection was made anew."""
        self.denied: dict[str, str] = {}
        """What the server did not permit since the connection was made: subject, and publish or subscribe."""
        self.when_denied: list[Callable[[str], None]] = []
        """What is to be done each time that it does not permit a subject that is not needed, in lower case."""

    def hand_to(self, subscription: Subscription, listener: Callable[[Heard], None]) -> None:
        """Have a subscription's messages go to `listener` straight from the parser."""
        self._listeners[subscription._id] = listener  # noqa: SLF001  # has no other name

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        listener = self._listeners.get(sid)
        if listener is None or sid not in self._subs:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        try:
            found: Mapping[str, str] = {}
            if headers and headers.startswith(_HEAD):  # None when there are none, whatever the types of the library say
                found = self._parse_header_lines(headers[len(_HEAD) :])
            elif headers:
                found = await self._process_headers(headers) or {}
            listener(Heard(subject.decode(), reply.decode(), found, data))
        except Exception as error:  # noqa: BLE001  # as the library does: one message must not end the connection
            await self._error_cb(error)

    async def _send_publish(
        self, subject: str, reply: str, payload: bytes, payload_size: int, headers: dict[str, str] | None
    ) -> None:
        if not subject:
            raise nats.errors.BadSubjectError
        if headers:
            if not all(map(str.isprintable, headers.values())):
                # As the library does: no value of a header begins another one.
                headers = {name: value.translate(_LINE_BREAKS) for name, value in headers.items()}
            lines = [f"{_header_name(name)}: {value.strip()}\r\n" for name, value in headers.items()]
            head = f"NATS/1.0\r\n{''.join(lines)}\r\n".encode()
            command = f"HPUB {subject} {reply} {len(head)} {len(head) + payload_size}\r\n".encode()
            message = b"".join((command, head, payload, b"\r\n"))
        else:
            message = b"PUB %b %b %d\r\n%b\r\n" % (subject.encode(), reply.encode(), payload_size, payload)
        await self._send_command(message)
        if self._flush_queue is not None and self._flush_queue.empty():
            await self._flush_pending()

    async def say(self, subject: str, word: bytes) -> None:
        """Like publish, for a reply subject. Raises errors of the library."""
        if self.is_connected and not self.is_draining:
            await self._send_publish(subject, "", word, len(word), None)
        else:
            await self.publish(subject, word)

    async def _attempt_reconnect(self) -> None:
        # The library waits until what is unsent was taken, which a server that is gone never does. Who sent it waits
        # for an answer, or is told by a repeat: nothing counts as said because it was written.
        self.cut()
        await super()._attempt_reconnect()

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        self._over = self._over or status == Client.CLOSED
        # The library waits here as well, for as long as it takes.
        late = asyncio.get_running_loop().call_later(CLOSE_SECONDS, self.cut)
        try:
            await super()._close(status, do_cbs)
        finally:
            late.cancel()

    def cut(self) -> None:
        """End the connection that there is, now, with what is not sent yet. Whoever waits for room waits no longer."""
        transport = self._transport
        if isinstance(transport, TcpTransport) and transport._io_writer is not None:  # noqa: SLF001  # has no other way
            transport._io_writer.transport.abort()  # noqa: SLF001
        while self._flush_queue is not None and not self._flush_queue.empty():
            waiting = self._flush_queue.get_nowait()
            if not waiting.done():
                waiting.set_result(None)

    @staticmethod
    def _parse_header_lines(raw: bytes) -> dict[str, str]:
        found: dict[str, str] = {}
        for line in raw.decode("utf-8", "replace").split("\r\n"):
            name, separator, value = line.partition(":")
            if separator:
                found[name.strip()] = value.strip()
        return found

    async def _connect_to_server(self, s: Srv) -> None:
        self._end_if_over()
        await super()._connect_to_server(s)

    def _end_if_over(self) -> None:
        # A cancellation that comes as the server refuses, or answers, is forgotten (python/cpython issue 86296). The
        # library would try on for ever: no connection would be given up, and no process that lost its NATS could end.
        if self._over or (self.limit is not None and self.limit.is_over):
            raise asyncio.CancelledError

    async def _process_connect_init(self) -> None:
        self._end_if_over()
        # Another program may have the port, also while we connect again: the library tries on after its own errors and
        # those of the network, and after any other it would never be heard of again.
        try:
            await super()._process_connect_init()
        except (OSError, TimeoutError, nats.errors.Error):
            raise
        except Exception:  # noqa: BLE001  # whatever it is
            raise NotNats from None

    def _connect_command(self) -> bytes:
        # Whichever server it is: one that another server named counts as well.
        if self._encrypted and not self._server_info.get("tls_required"):
            raise NotEncrypted
        self._complete_tls()
        if self._prove is not None and self._server_info.get("nonce"):
            # Read once for a connection: a file that is replaced in between would be proved by the key of another.
            proof = self._prove()
            token = proof.token
            self._public_nkey = proof.public
            self._user_jwt_cb = None if token is None else token.encode
            self._signature_cb = proof.sign
        return super()._connect_command()

    def _complete_tls(self) -> None:
        """Tell the reader of its transport, which the library leaves out after it changed over to TLS.

        Without it asyncio warns at the end of each connection, and reads on however much waits to be parsed.
        """
        transport = self._transport
        writer = transport._io_writer if isinstance(transport, TcpTransport) else None  # noqa: SLF001
        if writer is not None and writer.get_extra_info("sslcontext") is not None:
            writer.transport.get_protocol().connection_made(writer.transport)


@functools.lru_cache(maxsize=256)
def _header_name(name: str) -> str:
    if not is_header(name.strip()):
        raise nats.errors.BadHeaderError(name)
    return name.strip()


def read_headers(raw: bytes) -> dict[str, str]:
    """Of a message as NATS keeps them; of a name that is there twice the last one."""
    return _Client._parse_header_lines(raw.removeprefix(_HEAD))  # noqa: SLF001  # our own


async def listen(client: Client, subject: str, listener: Callable[[Heard], None]) -> Subscription:
    """Hand each message of a subject to `listener`, which must only pass it on. Raises errors of the library."""

    async def heard(message: Msg) -> None:
        listener(Heard(message.subject, message.reply, message.headers or {}, message.data))

    subscription = await client.subscribe(subject, cb=heard, pending_msgs_limit=-1, pending_bytes_limit=-1)
    if isinstance(client, _Client):
        client.hand_to(subscription, listener)
    return subscription


def when_back(client: Client, do: Callable[[], None]) -> None:
    """Have something done each time that the connection was made anew, before its owner hears of it. For as long as
    there is the client; it must only begin things."""
    if isinstance(client, _Client):
        client.when_back.append(do)


def when_denied(client: Client, do: Callable[[str], None]) -> None:
    """Have something done with each subject of large events, or of the attempts log, that the server does not permit,
    in lower case. For as long as there is the client; it must only pass it on."""
    if isinstance(client, _Client):
        client.when_denied.append(do)


async def say(client: Client, subject: str, word: bytes) -> None:
    """Say a short word to whom a message came from, at the subject that it names. Raises errors of the library."""
    if isinstance(client, _Client):
        await client.say(subject, word)
    else:
        await client.publish(subject, word)


def has_jetstream(client: Client) -> bool:
    """Whether the server that is connected says that it has JetStream."""
    return bool(client._server_info.get("jetstream"))  # noqa: SLF001  # has no other name


def denied(client: Client, subject: str) -> QueueProblem | None:
    """Whether the server said that this user may not publish to a subject, or not hear answers."""
    refused = client.denied if isinstance(client, _Client) else {}
    # The library hands on what the server said in lower case.
    found = subject.lower()
    if found not in refused:
        found = subject = next((each for each in refused if each.startswith("_inbox.")), "")
    if not found:
        return None
    return QueueProblem(
        QueueReason.NATS_REFUSED,
        f"NATS does not permit this user to {refused[found]} {subject}; docs/queue.md lists what a user needs",
    )


def away(client: Client | None) -> QueueProblem:
    """Why there is no connection now."""
    if isinstance(client, _Client) and client.refused:
        return QueueProblem(QueueReason.NATS_REFUSED, client.refused)
    return QueueProblem(QueueReason.NATS_UNREACHABLE, "not connected to NATS")


async def unavailable_once(happened: asyncio.Event, why: str) -> None:
    """Wait for what ends the use of a connection. Raises StreamUnavailable then."""
    await happened.wait()
    raise StreamUnavailable(why)


def cut(client: Client) -> None:
    """Wait for the server no longer: the connection ends as it is, and is made anew unless the client is closed."""
    if isinstance(client, _Client):
        client.cut()


async def connect(
    url: str,
    *,
    name: str,
    credentials: Path | Prove | None = None,
    connect_seconds: float = CONNECT_SECONDS,
    on_reconnect: Happened | None = None,
    on_closed: Happened | None = None,
) -> Client:
    """A connection that reconnects for ever. Raises StreamUnavailable when there is none within `connect_seconds`.

    `url` is as in natsaddress; raises its BadNatsAddress. Its login counts for every server, also for those that a
    server names: the library would decode nothing of it, and say nothing to the others.

    `on_closed` is called when the server ended it for good, as it does when credentials expire: connect anew then.
    `credentials` is read for each connection; to a server that asks for none nothing of it is shown. Answers come to
    `_INBOX.<name>.>`: a user may be permitted to hear its own and nobody else's.

    ping_interval is 5 s and not 120 s, so that a server that is frozen or gone is noticed, and its connection replaced
    after 15 s, whatever waits to be sent; max_reconnect_attempts is -1, since the client's default gives up for good
    after two minutes. flusher_queue_size is 0, without a bound: with its 1024 places taken by those who wait for room,
    the ping waits as well, and nothing is noticed.
    """
    address = parse_nats(url)
    prove = by_file(credentials) if isinstance(credentials, Path) else credentials
    client = _Client(encrypted=address.encrypted, prove=prove)
    told = _Told(client, address.shown(), on_reconnect)
    login = address.login or Login()
    client.limit = Deadline(connect_seconds)
    try:
        with client.limit:
            await client.connect(
                list(address.urls),
                user=login.user,
                password=login.password,
                token=login.token,
                name=name,
                connect_timeout=2,
                allow_reconnect=True,
                max_reconnect_attempts=-1,
                reconnect_time_wait=0.25,  # type: ignore[arg-type]  # seconds; only slept on,
                ping_interval=PING_SECONDS,
                max_outstanding_pings=2,
                flusher_queue_size=0,
                error_cb=told.error,
                disconnected_cb=told.disconnected,
                reconnected_cb=told.reconnected,
                closed_cb=on_closed,
                inbox_prefix=inbox_of(name).encode(),
            )
    except (OSError, nats.errors.Error, TimeoutError, ValueError) as error:
        with contextlib.suppress(Exception), Deadline(2):
            await client.close()
        kind = LoginRefused if client.refused else StreamUnavailable
        raise kind(told.why(error, connect_seconds)) from None
    client.limit = None
    return client


async def close(client: Client) -> None:
    """Give a connection up, whatever became of it."""
    # The client fails to close what was cut off while something waited to be sent.
    with contextlib.suppress(RuntimeError, OSError):
        await client.close()


class _Told:
    """What the client tells us while it connects and later."""

    def __init__(self, client: _Client, where: str, on_reconnect: Happened | None) -> None:
        self._client = client
        self._where = where
        self._on_reconnect = on_reconnect
        self._last: Exception | None = None
        self._advice = ""
        self._lost = False

    def why(self, error: Exception, seconds: float) -> str:
        """What kept us from connecting, and what to do."""
        kind = type(self._last or error).__name__
        return self._advice or (
            f"NATS does not answer at {self._where} ({kind}, after {seconds:g} s); "
            "start it with `hookline run`, or name another one with --nats"
        )

    async def error(self, error: Exception) -> None:
        self._last = error
        advice = _advice(error, self._where)
        if advice and advice != self._advice and self._lost:
            log.warning("cannot connect to NATS again; trying on", problem=advice)
        # A server that refuses us often resets the connection as well: what it said first is what helps.
        self._advice = advice or self._advice
        self._client.refused = self._advice if _REFUSES in self._advice else ""
        violation = _VIOLATION.search(str(error))
        if violation is not None:
            self._deny(violation["subject"].lower(), _WORDS[violation["what"].lower()])
        elif isinstance(error, nats.errors.Error | OSError | TimeoutError):
            log.debug("nats client", error=type(error).__name__)
        else:
            log.error("a message was not handled: this is a bug", error=type(error).__name__)

    def _deny(self, subject: str, what: str) -> None:
        if subject in NOT_NEEDED_SUBJECTS:
            return
        if is_attempts(subject):
            # Not needed either, and each Webhook has another one: the attempts log says so itself, once.
            self._tell_denied(subject)
            return
        if subject not in self._client.denied and len(self._client.denied) < _DENIED_KEPT:
            if is_large(subject):
                # One is stored as all others then.
                log.warning("NATS does not permit large events their own subject", subject=subject, needed=what)
            elif is_notice(subject):
                log.warning("NATS does not permit what tenants are told of endpoints", subject=subject, wanted=what)
            else:
                log.error("NATS does not permit something that is needed", subject=subject, needed=what)
            self._client.denied[subject] = what
        if subject in self._client.denied and is_large(subject):
            # There is another way, at once. All else is given up in its time, after the log has said why.
            self._tell_denied(subject)

    def _tell_denied(self, subject: str) -> None:
        for each in self._client.when_denied:
            each(subject)

    async def disconnected(self) -> None:
        self._lost, self._advice = True, ""
        if not self._client.is_closed:
            log.warning("lost the connection to NATS; trying again", nats=self._where)

    async def reconnected(self) -> None:
        self._client.denied.clear()
        self._client.refused = ""
        log.info("connected to NATS again", nats=self._where)
        for each in self._client.when_back:
            each()
        if self._on_reconnect is not None:
            await self._on_reconnect()


def _advice(error: Exception, where: str) -> str:
    """What to do about an error; empty when it only says that nobody answers."""
    if isinstance(error, CredentialsError):
        return str(error)
    if isinstance(error, NotNats) or "expecting INFO" in str(error) or "info message" in str(error):
        return f"what answers at {where} does not begin as NATS does; check host and port"
    if isinstance(error, NotEncrypted):
        return f"NATS at {where} does not ask for TLS; set it up there, or write nats:// if plain text is meant"
    if isinstance(error, ssl.SSLError):
        return f"NATS at {where} is not trusted ({error.reason or type(error).__name__}); check its certificate"
    if "authorization" in str(error).lower():
        return f"NATS at {where} {_REFUSES}; check the user, token or credentials file"
    return ""
