"""Connecting to NATS with TLS and with credentials."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from nats.aio.transport import TcpTransport

from controlplane.ports import free_port
from doubles.local import until
from doubles.nats import Accounts, KeyPair, NKey, nats, tls_settings
from hookline.runtime.tasks import cancel
from hookline.stream import connection
from hookline.stream.connection import LoginRefused, StreamUnavailable, connect
from hookline.stream.credentials import CredentialsError, by_file
from hookline.stream.nkeys import public_of, seed_of

# The library drops connections of tries that failed without closing them.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:loop is closed:ResourceWarning"),
]


@pytest.fixture(autouse=True)
def dropped_connections() -> Iterator[None]:
    """Gone before the next test, which does not expect their warnings."""
    yield
    gc.collect()


async def test_a_nats_with_tls_is_trusted_by_its_ca_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ca, port = trustme.CA(), free_port()
    (tmp_path / "ca.pem").write_bytes(ca.cert_pem.bytes())
    async with nats(tmp_path / "nats", port, **tls_settings(ca, tmp_path)):
        with pytest.raises(StreamUnavailable, match="is not trusted"):
            await connect(f"tls://127.0.0.1:{port}", name="test", connect_seconds=1)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        client = await connect(f"tls://127.0.0.1:{port}", name="test")
        assert isinstance(client._transport._io_writer.get_extra_info("ssl_object"), ssl.SSLObject)  # type: ignore[union-attr]
        await client.close()


@dataclass
class Way:
    """The network before a NATS."""

    port: int = 0
    lit: list[asyncio.Event] = field(default_factory=list)

    def go_dark(self) -> None:
        """Take nothing more from the connections that there are, as a node that died. New ones work."""
        for each in self.lit:
            each.clear()


@contextlib.asynccontextmanager
async def way_to(port: int) -> AsyncIterator[Way]:
    way, tasks = Way(), set[asyncio.Task[None]]()

    async def passed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lit: asyncio.Event) -> None:
        with contextlib.suppress(OSError):
            while await lit.wait() and (piece := await reader.read(65536)):
                await lit.wait()
                writer.write(piece)
                await writer.drain()
        writer.transport.abort()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        lit = asyncio.Event()
        lit.set()
        way.lit.append(lit)
        for pair in ((reader, far_writer), (far_reader, writer)):
            tasks.add(asyncio.create_task(passed_on(*pair, lit)))

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        way.port = server.sockets[0].getsockname()[1]
        yield way
        await cancel(tasks)


@pytest.mark.parametrize("scheme", ["nats", "tls"])
async def test_a_connection_that_went_dark_is_replaced_whatever_waits_to_be_sent(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca, port = trustme.CA(), free_port()
    (tmp_path / "ca.pem").write_bytes(ca.cert_pem.bytes())
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setattr(connection, "PING_SECONDS", 0.2)
    settings = tls_settings(ca, tmp_path) if scheme == "tls" else {}
    async with nats(tmp_path / "nats", port, **settings), way_to(port) as way:
        client = await connect(f"{scheme}://127.0.0.1:{way.port}", name="test")
        way.go_dark()
        # More than the buffers of the network take, and more senders than the library's queue of them.
        sending = [asyncio.create_task(client.publish("subject", bytes(30_000))) for _ in range(1100)]
        await until(lambda: len(way.lit) == 2 and client.is_connected, seconds=15, what="a new connection")
        await client.flush()
        await asyncio.wait_for(asyncio.gather(*sending), 10)
        await client.close()


async def test_an_address_with_tls_never_goes_on_in_plain_text(tmp_path: Path) -> None:
    port = free_port()
    async with nats(tmp_path / "nats", port):
        with pytest.raises(StreamUnavailable, match="does not ask for TLS"):
            await connect(f"tls://canary@127.0.0.1:{port}", name="test", connect_seconds=1)
        assert "canary" not in (tmp_path / "nats" / "log").read_text()


STRANGERS = {
    "ssh": b"SSH-2.0-OpenSSH_9.6\r\n",
    "redis": b"-ERR unknown command\r\n",
    "no JSON": b"INFO {\r\n",
    "a list": b"INFO []\r\n",
    "a number": b'INFO {"connect_urls": 5}\r\n',
    "bad addresses": b'INFO {"connect_urls": ["[::1", "a:99999999"]}\r\n',
    "a line without end": b"x" * 300_000,
}


@contextlib.asynccontextmanager
async def stranger(port: int, greeting: bytes) -> AsyncIterator[asyncio.Event]:
    """Another program at a port. The event is set once it was called."""
    called = asyncio.Event()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            writer.write(greeting)
            await writer.drain()
            await reader.read()
        called.set()
        writer.transport.abort()

    async with await asyncio.start_server(greet, "127.0.0.1", port):
        yield called


@pytest.mark.parametrize("greeting", STRANGERS.values(), ids=STRANGERS.keys())
async def test_another_program_at_the_port_is_one_error_without_the_login(greeting: bytes) -> None:
    port = free_port()
    async with stranger(port, greeting):
        with pytest.raises(StreamUnavailable, match="does not begin as NATS does") as raised:
            await connect(f"nats://u:canary@127.0.0.1:{port}", name="test", connect_seconds=1)
    assert "canary" not in str(raised.value)


@pytest.mark.parametrize("greeting", STRANGERS.values(), ids=STRANGERS.keys())
async def test_a_connection_comes_back_after_another_program_had_the_port(greeting: bytes, tmp_path: Path) -> None:
    port = free_port()
    async with nats(tmp_path / "nats", port):
        client = await connect(f"nats://127.0.0.1:{port}", name="test")
    async with stranger(port, greeting) as called:
        await asyncio.wait_for(called.wait(), 10)
    async with nats(tmp_path / "nats", port):
        await until(lambda: client.is_connected, seconds=15, what="the connection")
        await client.flush()
        await client.close()


async def test_a_list_is_tried_until_one_answers_and_its_login_is_decoded(tmp_path: Path) -> None:
    port, dead = free_port(), free_port()
    users = {"authorization": {"users": [{"user": "a:b", "password": "p@ss/w,ord%"}]}}
    async with nats(tmp_path / "nats", port, **users):
        url = f"nats://a%3Ab:p%40ss%2Fw%2Cord%25@127.0.0.1:{dead},nats://127.0.0.1:{port}"
        client = await connect(url, name="test", connect_seconds=5)
        await client.flush()
        await client.close()


async def test_a_server_that_another_one_named_gets_the_login_too(tmp_path: Path) -> None:
    """In a cluster a client is told of the others, and goes there when its own server is gone."""
    ports, routes = [free_port(), free_port()], [free_port(), free_port()]

    def settings(index: int) -> dict[str, object]:
        listen, other = f"127.0.0.1:{routes[index]}", f"nats://127.0.0.1:{routes[1 - index]}"
        return {
            "server_name": f"s{index}",
            "authorization": {"token": "canary%2"},
            "cluster": {"name": "c", "listen": listen, "routes": [other]},
        }

    async with nats(tmp_path / "one", ports[1], **settings(1)):
        async with nats(tmp_path / "two", ports[0], **settings(0)):
            client = await connect(f"nats://canary%252@127.0.0.1:{ports[0]}", name="test")
            await until(lambda: len(client.discovered_servers) > 0, what="the other server")
        await until(lambda: client.is_connected, seconds=10, what="the other server's connection")
        await client.flush()
        await client.close()


async def test_with_tls_nothing_is_sent_to_a_server_in_plain_text_that_another_one_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca, port, heard = trustme.CA(), free_port(), bytearray()
    (tmp_path / "ca.pem").write_bytes(ca.cert_pem.bytes())
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    came = asyncio.Event()

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.set()
        writer.write(b'INFO {"server_id":"x","version":"2.14.6","max_payload":1048576,"headers":true}\r\n')
        while piece := await reader.read(1024):
            heard.extend(piece)
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        settings = {**tls_settings(ca, tmp_path), "authorization": {"token": "canary"}}
        async with nats(tmp_path / "nats", port, **settings):
            client = await connect(f"tls://canary@127.0.0.1:{port}", name="test")
            # As the server says it when another one joins its cluster.
            await client._process_info({"connect_urls": [f"127.0.0.1:{server.sockets[0].getsockname()[1]}"]})
        await asyncio.wait_for(came.wait(), 10)
        await client.close()
    assert bytes(heard) == b""


async def test_a_credentials_file_opens_the_door_and_a_renewed_one_is_read(tmp_path: Path) -> None:
    accounts, port, file = Accounts(), free_port(), tmp_path / "user.creds"
    async with nats(tmp_path / "nats", port, **accounts.settings()):
        url = f"nats://127.0.0.1:{port}"
        with pytest.raises(StreamUnavailable, match="rejected the credentials"):
            await connect(url, name="test", connect_seconds=1)
        file.write_text(Accounts().credentials())
        with pytest.raises(StreamUnavailable, match="rejected the credentials"):
            await connect(url, name="test", credentials=file, connect_seconds=1)
        file.write_text(accounts.credentials())
        client = await connect(url, name="test", credentials=file)
        assert (await client.jetstream().account_info()).streams == 0
        await client.close()


async def test_credentials_are_read_anew_for_a_reconnect(tmp_path: Path) -> None:
    accounts, port, file = Accounts(), free_port(), tmp_path / "user.creds"
    file.write_text(accounts.credentials())
    async with nats(tmp_path / "nats", port, **accounts.settings()):
        client = await connect(f"nats://127.0.0.1:{port}", name="test", credentials=file)
    await until(lambda: not client.is_connected)
    others = Accounts()
    file.write_text("half written")
    async with nats(tmp_path / "nats-2", port, **others.settings()):
        await asyncio.sleep(1)
        assert not client.is_connected
        file.write_text(others.credentials())
        await until(lambda: client.is_connected)
        await client.close()


async def test_a_server_that_ends_the_connection_for_good_is_told(tmp_path: Path) -> None:
    accounts, port, file = Accounts(), free_port(), tmp_path / "user.creds"
    file.write_text(accounts.credentials(lasts_seconds=3))
    closed = asyncio.Event()

    async def on_closed() -> None:
        closed.set()

    async with nats(tmp_path / "nats", port, **accounts.settings()):
        client = await connect(f"nats://127.0.0.1:{port}", name="test", credentials=file, on_closed=on_closed)
        await asyncio.wait_for(closed.wait(), 15)
        assert client.is_closed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "canary",
        "-----BEGIN NATS USER JWT-----\n",
        "-----BEGIN USER NKEY SEED-----\ncanary\n-----END USER NKEY SEED---",
    ],
)
async def test_a_file_that_holds_no_credentials_is_named_and_freezes_nothing(tmp_path: Path, text: str) -> None:
    accounts, port, file = Accounts(), free_port(), tmp_path / "user.creds"
    file.write_text(text)
    async with nats(tmp_path / "nats", port, **accounts.settings()):
        started = time.monotonic()
        with pytest.raises(StreamUnavailable, match=r"user\.creds is no NATS credentials file") as error:
            await connect(f"nats://127.0.0.1:{port}", name="test", credentials=file, connect_seconds=1)
        assert time.monotonic() - started < 10
        assert "canary" not in str(error.value)


def test_a_credentials_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match=r"none\.creds cannot be read \(FileNotFoundError\)"):
        by_file(tmp_path / "none.creds")()


SEED = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"
"""The example of NATS' documentation, made by its own tool together with the public form below."""
CREDENTIALS = (
    "-----BEGIN NATS USER JWT-----\ne30.e30.e30\n------END NATS USER JWT------\n"
    "-----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n"
)
PUBLIC = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"


@pytest.mark.parametrize(
    "seed",
    [
        KeyPair(NKey.ACCOUNT, b"a" * 32).seed,
        PUBLIC,
        SEED[:-1],
        SEED.lower(),
        SEED[:-1] + "!",
        SEED[:20] + "A" + SEED[21:],
        "SU",
        "SUAAAAAA",
    ],
)
@pytest.mark.parametrize("text", ["{}\n", CREDENTIALS], ids=["alone", "with a token"])
def test_what_is_no_seed_of_a_user_is_refused_without_showing_it(tmp_path: Path, seed: str, text: str) -> None:
    file = tmp_path / "user.creds"
    file.write_text(text.format(seed))
    with pytest.raises(CredentialsError, match=r"user\.creds is no NATS credentials file") as error:
        by_file(file)()
    assert seed not in str(error.value)
    assert error.value.__suppress_context__


@pytest.mark.parametrize(("text", "token"), [("{}", None), ("\n {}\n", None), (CREDENTIALS, "e30.e30.e30")])
def test_a_seed_is_read_as_the_tools_of_nats_read_it(tmp_path: Path, text: str, token: str | None) -> None:
    file = tmp_path / "user.creds"
    file.write_text(text.format(SEED))
    proof = by_file(file)()
    assert (proof.token, proof.public) == (token, PUBLIC)
    public = Ed25519PublicKey.from_public_bytes(base64.b32decode(PUBLIC)[1:33])
    public.verify(base64.b64decode(proof.sign("nonce")), b"nonce")
    assert SEED not in repr(proof)


async def test_a_seed_alone_opens_the_door_and_nothing_is_asked_of_it_where_there_is_none(tmp_path: Path) -> None:
    port, file = free_port(), tmp_path / "user.nk"
    file.write_text(f"{seed_of(b'a' * 32)}\n")
    user = {"nkey": public_of(seed_of(b"a" * 32))}
    async with nats(tmp_path / "nats", port):
        client = await connect(f"nats://127.0.0.1:{port}", name="test", credentials=file)
    await until(lambda: not client.is_connected)
    async with nats(tmp_path / "nats-2", port, authorization={"users": [user]}):
        await until(lambda: client.is_connected)
        await client.close()
        with pytest.raises(StreamUnavailable, match="rejected the credentials"):
            await connect(f"nats://127.0.0.1:{port}", name="test", connect_seconds=1)
        file.write_text(f"{seed_of(b'b' * 32)}\n")
        with pytest.raises(LoginRefused):
            await connect(f"nats://127.0.0.1:{port}", name="test", credentials=file, connect_seconds=1)


class Forgetful:
    """A way to a server that refuses at the moment in which the first try is given up, so that this is forgotten."""

    def __init__(self) -> None:
        self.tries = 0

    async def connect(self, *_: object, **__: object) -> None:
        self.tries += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if self.tries == 1:
                raise ConnectionRefusedError from None
            raise


async def test_a_client_that_was_closed_connects_no_more_although_that_was_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    way, port = Forgetful(), free_port()
    async with nats(tmp_path / "nats", port):
        client = await connect(f"nats://127.0.0.1:{port}", name="test")
        monkeypatch.setattr(TcpTransport, "connect", way.connect)
    await until(lambda: way.tries == 1)
    await client.close()
    reconnecting = client._reconnection_task
    assert reconnecting is not None
    await until(reconnecting.done)
    assert way.tries == 1


async def test_a_first_connection_is_given_up_in_time_although_that_was_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    way = Forgetful()
    monkeypatch.setattr(TcpTransport, "connect", way.connect)
    async with asyncio.timeout(20):
        with pytest.raises(StreamUnavailable, match="does not answer"):
            await connect("nats://127.0.0.1:1", name="test", connect_seconds=0.1)
    assert way.tries == 1
