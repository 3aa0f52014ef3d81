"""A NATS credentials file: the user's token and the key that proves it.

Read anew for each connection, so that a renewed file takes effect at the next one. Never kept in memory in between, and
never shown. The client's own reader loops for ever over a file without a token; this one says what is wrong.
"""

from __future__ import annotations

import base64
import binascii
import re
from pathlib import Path

import nats.errors
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_PART = r"-----BEGIN {0}-----\s+(\S+)\s+-+END {0}-+"
_TOKEN = re.compile(_PART.format("NATS USER JWT"))
_SEED = re.compile(_PART.format("USER NKEY SEED"))

_USER_SEED = b"\x95\x00"
"""How the seed of a user begins; in base32 as `SU`."""


class CredentialsError(nats.errors.Error):
    """The file is no credentials file. The text names the file and shows nothing of it."""


class Credentials:
    """What the client asks for when it connects."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def token(self) -> bytes:
        """The user's JWT. Raises CredentialsError."""
        return self._part(_TOKEN)

    def sign(self, nonce: str) -> bytes:
        """The server's nonce, signed and in base64. Raises CredentialsError."""
        try:
            key = _private_key(self._part(_SEED))
        except ValueError:
            raise self._unfit() from None
        return base64.b64encode(key.sign(nonce.encode()))

    def _part(self, pattern: re.Pattern[str]) -> bytes:
        try:
            found = pattern.search(self._file.read_text())
        except (OSError, ValueError) as error:
            raise CredentialsError(f"{self._file} cannot be read ({type(error).__name__})") from None
        if found is None:
            raise self._unfit()
        return found[1].encode()

    def _unfit(self) -> CredentialsError:
        return CredentialsError(f"{self._file} is no NATS credentials file; make one with: nsc generate creds")


def _private_key(seed: bytes) -> Ed25519PrivateKey:
    """The key that a user's NKey seed stands for. Raises ValueError.

    A seed is the base32, without padding, of two bytes that say what it is for, the 32 bytes of an Ed25519 private key,
    and a CRC-16 (XMODEM) over both, its low byte first.
    """
    raw = base64.b32decode(seed + b"=" * (-len(seed) % 8))
    content, checksum = raw[:-2], int.from_bytes(raw[-2:], "little")
    if len(content) != 34 or content[:2] != _USER_SEED or binascii.crc_hqx(content, 0) != checksum:
        raise ValueError("not the NKey seed of a user")
    return Ed25519PrivateKey.from_private_bytes(content[2:])
