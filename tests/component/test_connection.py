"""Connecting to NATS with TLS and with credentials."""

from __future__ import annotations

import asyncio
import gc
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from doubles.local import until
from doubles.nats import Accounts, free_port, nats
from hookline.stream.connection import StreamUnavailable, connect
from hookline.stream.credentials import Credentials, CredentialsError

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


def tls_settings(ca: trustme.CA, folder: Path) -> dict[str, object]:
    certificate = ca.issue_cert("127.0.0.1")
    (folder / "cert.pem").write_bytes(certificate.cert_chain_pems[0].bytes())
    (folder / "key.pem").write_bytes(certificate.private_key_pem.bytes())
    return {"tls": {"cert_file": str(folder / "cert.pem"), "key_file": str(folder / "key.pem")}}


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


async def test_an_address_with_tls_never_goes_on_in_plain_text(tmp_path: Path) -> None:
    port = free_port()
    async with nats(tmp_path / "nats", port):
        with pytest.raises(StreamUnavailable, match="does not ask for TLS"):
            await connect(f"tls://canary@127.0.0.1:{port}", name="test", connect_seconds=1)
        assert "canary" not in (tmp_path / "nats" / "log").read_text()


async def test_a_credentials_file_opens_the_door_and_a_renewed_one_is_read(tmp_path: Path) -> None:
    accounts, port, file = Accounts(), free_port(), tmp_path / "user.creds"
    async with nats(tmp_path / "nats", port, **accounts.settings()):
        url = f"nats://127.0.0.1:{port}"
        with pytest.raises(StreamUnavailable, match="refuses who we say we are"):
            await connect(url, name="test", connect_seconds=1)
        file.write_text(Accounts().credentials())
        with pytest.raises(StreamUnavailable, match="refuses who we say we are"):
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
        Credentials(tmp_path / "none.creds").token()


def test_a_signature_is_of_the_seed_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "user.creds"
    file.write_text(Accounts().credentials())
    credentials = Credentials(file)
    assert credentials.sign("nonce") == credentials.sign("nonce") != credentials.sign("other")
    assert credentials.token().count(b".") == 2
