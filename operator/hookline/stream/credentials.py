"""How a user of NATS proves who it is: a credentials file, with a token and the key that proves it, or a seed alone.

A file is read anew for each connection, so that a renewed one takes effect at the next one. Never kept in memory in
between, and never shown. The client's own reader loops for ever over a file without a token; this one says what is
wrong.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import nats.errors
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hookline.stream.nkeys import private_key, public_of

_PART = r"-----BEGIN {0}-----\s+(\S+)\s+-+END {0}-+"
_TOKEN = re.compile(_PART.format("NATS USER JWT"))
_SEED = re.compile(_PART.format("USER NKEY SEED"))


class CredentialsError(nats.errors.Error):
    """The file is no credentials file. The text names the file and shows nothing of it."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What one connection shows. Without a token the server knows the user by its public half."""

    token: str | None = field(repr=False)
    public: str
    _key: Ed25519PrivateKey = field(repr=False)

    def sign(self, nonce: str) -> bytes:
        """The server's nonce, signed and in base64."""
        return base64.b64encode(self._key.sign(nonce.encode()))


Prove = Callable[[], Proof]
"""Asked for each connection. Raises CredentialsError."""


def by_file(file: Path) -> Prove:
    """By a credentials file, or one that holds nothing but a seed."""

    def prove() -> Proof:
        try:
            return _read(file.read_text())
        except OSError as error:
            raise CredentialsError(f"{file} cannot be read ({type(error).__name__})") from None
        except ValueError:
            raise CredentialsError(
                f"{file} is no NATS credentials file, and no seed of a user; make one with: nsc generate creds"
            ) from None

    return prove


def by_seed(seed: str) -> Prove:
    """By a user's seed. Raises ValueError when it is none."""
    proof = _proof(None, seed)
    return lambda: proof


def _read(text: str) -> Proof:
    token, seed = _TOKEN.search(text), _SEED.search(text)
    if token is not None and seed is not None:
        return _proof(token[1], seed[1])
    return _proof(None, text.strip())


def _proof(token: str | None, seed: str) -> Proof:
    return Proof(token, public_of(seed), private_key(seed))
