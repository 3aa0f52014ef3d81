"""NKeys: how the users of a NATS prove themselves, as nats-io/nkeys writes them. Pure.

A server knows the public half of a user alone. The seed is the private half: who has it is that user.
"""

from __future__ import annotations

import base64
import binascii

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

RAW_BYTES = 32
"""Of an Ed25519 private key: what a seed is made of."""

_USER_SEED = b"\x95\x00"
"""How the seed of a user begins; in base32 as `SU`."""
_USER = b"\xa0"
"""How the public half of a user begins; in base32 as `U`."""

_NO_KEY = "not the NKey of a user"


def seed_of(raw: bytes) -> str:
    """The seed of a user, from RAW_BYTES random bytes."""
    return _encoded(_USER_SEED + raw)


def public_of(seed: str) -> str:
    """The public half. Raises ValueError, which shows nothing of the seed."""
    return _encoded(_USER + private_key(seed).public_key().public_bytes_raw())


def is_public(text: str) -> bool:
    """Whether a text is the public half of a user: nats-server takes no file with one that is not."""
    try:
        content = _decoded(text)
    except ValueError:
        return False
    return len(content) == 1 + RAW_BYTES and content[:1] == _USER


def private_key(seed: str) -> Ed25519PrivateKey:
    """The key that a user's seed stands for. Raises ValueError, which shows nothing of it.

    A seed is the base32, without padding, of two bytes that say what it is for, the 32 bytes of an Ed25519 private key,
    and a CRC-16 (XMODEM) over both, its low byte first.
    """
    content = _decoded(seed)
    if len(content) != 2 + RAW_BYTES or content[:2] != _USER_SEED:
        raise ValueError(_NO_KEY)
    return Ed25519PrivateKey.from_private_bytes(content[2:])


def _decoded(text: str) -> bytes:
    try:
        raw = base64.b32decode(text + "=" * (-len(text) % 8))
    except ValueError:
        raise ValueError(_NO_KEY) from None
    content, checksum = raw[:-2], int.from_bytes(raw[-2:], "little")
    if binascii.crc_hqx(content, 0) != checksum:
        raise ValueError(_NO_KEY)
    return content


def _encoded(content: bytes) -> str:
    checked = content + binascii.crc_hqx(content, 0).to_bytes(2, "little")
    return base64.b32encode(checked).decode().rstrip("=")
