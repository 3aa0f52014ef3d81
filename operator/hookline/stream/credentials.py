"""A NATS credentials file: the user's token and the key that proves it.

Read anew for each connection, so that a renewed file takes effect at the next one. Never kept in memory in between, and
never shown. The client's own reader loops for ever over a file without a token; this one says what is wrong.
"""

from __future__ import annotations

import base64
import re
from pathlib import Path

import nats.errors
import nkeys  # type: ignore[import-untyped]

_PART = r"-----BEGIN {0}-----\s+(\S+)\s+-+END {0}-+"
_TOKEN = re.compile(_PART.format("NATS USER JWT"))
_SEED = re.compile(_PART.format("USER NKEY SEED"))


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
            signature: bytes = nkeys.from_seed(bytearray(self._part(_SEED))).sign(nonce.encode())
        except (nkeys.NkeysError, ValueError):
            raise self._unfit() from None
        return base64.b64encode(signature)

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
