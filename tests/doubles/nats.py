"""A nats-server with settings of the test's own, and accounts whose users prove themselves by credentials files."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import enum
import hashlib
import json
import secrets
import shutil
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trustme
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


@contextlib.asynccontextmanager
async def nats(folder: Path, port: int, **settings: Any) -> AsyncIterator[None]:
    """A nats-server with JetStream at `port`, until the body ends."""
    folder.mkdir(exist_ok=True)
    common = {"listen": f"127.0.0.1:{port}", "jetstream": {"store_dir": str(folder)}, "log_file": str(folder / "log")}
    (folder / "nats.conf").write_text(json.dumps({**common, **settings}))
    binary = shutil.which("nats-server", path=str(Path(sys.executable).parent)) or "nats-server"
    process = await asyncio.create_subprocess_exec(binary, "--config", str(folder / "nats.conf"))
    try:
        await _until_listening(port, folder / "log")
        yield
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 15)


def tls_settings(ca: trustme.CA, folder: Path) -> dict[str, object]:
    """For a nats-server at 127.0.0.1 with a certificate of `ca`."""
    certificate = ca.issue_cert("127.0.0.1")
    (folder / "cert.pem").write_bytes(certificate.cert_chain_pems[0].bytes())
    (folder / "key.pem").write_bytes(certificate.private_key_pem.bytes())
    return {"tls": {"cert_file": str(folder / "cert.pem"), "key_file": str(folder / "key.pem")}}


async def _until_listening(port: int, log: Path) -> None:
    deadline = time.monotonic() + 15
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            assert time.monotonic() < deadline, log.read_text() if log.exists() else "nats-server did not start"
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return


_SEED = 18 << 3


class NKey(enum.IntEnum):
    """What an NKey is for: the byte that its public form begins with."""

    OPERATOR = 14 << 3
    ACCOUNT = 0
    USER = 20 << 3


@dataclass(frozen=True)
class KeyPair:
    """An NKey with its private half."""

    use: NKey
    _raw: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    @property
    def public(self) -> str:
        return _encoded(bytes([self.use]) + self._private.public_key().public_bytes_raw())

    @property
    def seed(self) -> str:
        return _encoded(bytes([_SEED | self.use >> 5, (self.use & 31) << 3]) + self._raw)

    def sign(self, data: bytes) -> bytes:
        return self._private.sign(data)

    @property
    def _private(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self._raw)


def _encoded(raw: bytes) -> str:
    checked = raw + binascii.crc_hqx(raw, 0).to_bytes(2, "little")
    return base64.b32encode(checked).decode().rstrip("=")


@dataclass
class Accounts:
    """An operator with a system account and one account for Hookline, as a NATS with decentralized JWTs has them."""

    _operator: KeyPair = field(default_factory=lambda: KeyPair(NKey.OPERATOR))
    _system: KeyPair = field(default_factory=lambda: KeyPair(NKey.ACCOUNT))
    _account: KeyPair = field(default_factory=lambda: KeyPair(NKey.ACCOUNT))

    def settings(self) -> dict[str, object]:
        """For nats-server."""
        limits = {"subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "conn": -1, "leaf": -1}
        storage = {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1, "wildcards": True}
        system = {"type": "account", "version": 2, "limits": {**limits, "wildcards": True}}
        account = {"type": "account", "version": 2, "limits": {**limits, **storage}}
        operator = {"type": "operator", "version": 2, "system_account": self._system.public}
        return {
            "operator": _token(self._operator, self._operator, operator),
            "system_account": self._system.public,
            "resolver": "MEMORY",
            "resolver_preload": {
                self._system.public: _token(self._operator, self._system, system),
                self._account.public: _token(self._operator, self._account, account),
            },
        }

    def credentials(
        self, *, lasts_seconds: float = 3600, publish: Sequence[str] = (">",), subscribe: Sequence[str] = (">",)
    ) -> str:
        """The text of a credentials file of a new user, who may publish and subscribe to these subjects."""
        user = KeyPair(NKey.USER)
        may = {"pub": {"allow": list(publish)}, "sub": {"allow": list(subscribe)}}
        claims = {"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1, **may}
        token = _token(self._account, user, claims, expires_s=int(time.time() + lasts_seconds))
        return (
            f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\nKeep it secret.\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"
        )


def _token(issuer: KeyPair, subject: KeyPair, claims: Mapping[str, object], *, expires_s: int | None = None) -> str:
    body: dict[str, object] = {
        "iat": int(time.time()),
        "iss": issuer.public,
        "sub": subject.public,
        "name": str(claims["type"]),
        "nats": claims,
    }
    if expires_s is not None:
        body["exp"] = expires_s
    body["jti"] = base64.b32encode(hashlib.sha256(json.dumps(body).encode()).digest()).decode().rstrip("=")
    signed = f"{_base64({'typ': 'JWT', 'alg': 'ed25519-nkey'})}.{_base64(body)}"
    return f"{signed}.{base64.urlsafe_b64encode(issuer.sign(signed.encode())).decode().rstrip('=')}"


def _base64(value: Mapping[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")
