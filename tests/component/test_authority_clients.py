"""Clients of other makes take what a gateway shows, before and after its CA was followed by another one."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hookline.control.authority import AHEAD, AUTHORITY_LIFE, CLOCKS_APART, Authority, Home, read, turned
from hookline.control.issuing import new_authority, new_certificate
from hookline.serving.certificate import Certificate

HOME = Home("hookline-system")
NAME = "hookline-gateway.hookline-system"


def authorities() -> Iterator[Authority]:
    """A CA that is followed by another one just now: as it was before, and as it is."""
    secret: dict[str, bytes] = {}
    now = datetime.now(UTC).replace(microsecond=0)
    for time in (now - AUTHORITY_LIFE * 2 / 3 - AHEAD - timedelta(days=1), now - AHEAD - timedelta(hours=1), now):
        begin, end = time - CLOCKS_APART, time + AUTHORITY_LIFE
        authority = turned(read(secret, HOME), time, lambda: new_authority(HOME.namespace, HOME.names(), begin, end))  # noqa: B023
        secret = authority.data()
        if authority.following is not None or authority.former:
            yield authority


def mount(folder: Path, authority: Authority) -> None:
    now = datetime.now(UTC)
    names = HOME.names_of("default")
    pair = new_certificate(authority.current, names, HOME.namespace, now - CLOCKS_APART, now + timedelta(days=90))
    (folder / "tls.crt").write_text(pair.certificate_pem())
    (folder / "tls.key").write_text(pair.key_pem())


@asynccontextmanager
async def shown(certificate: Certificate) -> AsyncIterator[int]:
    """The port of a server with this certificate."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):  # a client that only shakes hands
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=certificate.context) as server:
        yield server.sockets[0].getsockname()[1]


async def curl(port: int, bundle: Path, name: str = NAME) -> int | None:
    """Exit code; 60 is a certificate that it does not trust."""
    words = ["curl", "-sS", "--noproxy", "*", "--max-time", "10", "--cacert", str(bundle)]
    words += ["--connect-to", f"{name}:443:127.0.0.1:{port}", f"https://{name}/"]
    process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.DEVNULL)
    return await process.wait()


async def strict_python(port: int, bundle: str) -> None:
    """As Python 3.13 does it by default. Raises ssl.SSLCertVerificationError."""
    context = ssl.create_default_context(cadata=bundle)
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT | ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=NAME)
    writer.close()


async def test_clients_take_what_is_shown_before_and_after_another_ca_signs(tmp_path: Path) -> None:
    before, after = authorities()
    assert before.following is not None
    assert after.current.certificate == before.following.certificate
    mount(tmp_path, before)
    certificate = Certificate(tmp_path / "tls.crt", tmp_path / "tls.key")
    for number, authority in enumerate((before, after)):
        (tmp_path / f"{number}.crt").write_text(authority.bundle())
    stranger = new_authority(
        HOME.namespace, HOME.names(), datetime.now(UTC) - CLOCKS_APART, datetime(2100, 1, 1, tzinfo=UTC)
    )
    (tmp_path / "stranger.crt").write_text(stranger.certificate_pem())
    async with shown(certificate) as port:
        for authority in (before, after):
            mount(tmp_path, authority)
            certificate.reload()
            for number, each in enumerate((before, after)):
                assert await curl(port, tmp_path / f"{number}.crt") == 0
                await strict_python(port, each.bundle())
            assert await curl(port, tmp_path / f"{0}.crt", "hookline-gateway") == 0
            assert await curl(port, tmp_path / "stranger.crt") == 60
            assert await curl(port, tmp_path / "0.crt", "example.com") == 60
            with pytest.raises(ssl.SSLCertVerificationError):
                await strict_python(port, stranger.certificate_pem())
