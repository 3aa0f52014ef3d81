"""The signatures of a call: Standard Webhooks 1.0.0, symmetric `v1` (HMAC-SHA256) and asymmetric `v1a` (Ed25519).

Decides how the text of a Secret is read as keys, which public key belongs to a private one, and which three headers let
a receiver verify a call. It never reads a clock, and never shows a secret in an error or a representation.
"""

from __future__ import annotations

import binascii
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

HMAC_PREFIX = "whsec_"
PRIVATE_PREFIX = "whsk_"
PUBLIC_PREFIX = "whpk_"
MIN_KEY_BYTES = 24
MAX_KEY_BYTES = 64
SEED_BYTES = 32

MAX_KEYS = 4
"""Keys in one Secret. Each costs a signature for every call, and up to 92 bytes of the header."""

CACHED_KEYS = 32_768
"""Keys that are kept ready for use, 0.3 to 0.7 KB each: those of 16,000 Webhooks that sign both ways. What is beyond
is read again for each call. A key that was taken back stays in memory until others push it out, and signs nothing."""

_HOW_TO = (
    f"write `{HMAC_PREFIX}` followed by the base64 of {MIN_KEY_BYTES} to {MAX_KEY_BYTES} random bytes, "
    f'for example the output of: echo "{HMAC_PREFIX}$(openssl rand -base64 32)"'
)
_HOW_TO_PRIVATE = (
    f"write `{PRIVATE_PREFIX}` followed by the base64 of the {SEED_BYTES} bytes of an Ed25519 private key, "
    f'for example the output of: echo "{PRIVATE_PREFIX}$(openssl rand -base64 {SEED_BYTES})"'
)
MAX_MESSAGE_ID_LENGTH = 128

_MESSAGE_ID = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_MESSAGE_ID_LENGTH}}}")


class SigningKeyError(ValueError):
    """A secret is no signing key. The message says what to write and never repeats the secret."""


@dataclass(frozen=True, slots=True)
class HmacKey:
    """Signs as `v1`. Whoever verifies holds the same secret, 24 to 64 bytes."""

    secret: bytes = field(repr=False)

    public: None = field(default=None, init=False)

    def sign(self, signed: bytes) -> str:
        return "v1," + _base64(hmac.digest(self.secret, signed, "sha256"))


@dataclass(frozen=True, slots=True)
class Ed25519Key:
    """Signs as `v1a`. Whoever verifies holds only `public`, `whpk_` and the base64 of 32 bytes."""

    private: Ed25519PrivateKey = field(repr=False)
    public: str

    @classmethod
    def of_seed(cls, seed: bytes) -> Ed25519Key:
        private = Ed25519PrivateKey.from_private_bytes(seed)
        return cls(private, PUBLIC_PREFIX + _base64(private.public_key().public_bytes_raw()))

    def sign(self, signed: bytes) -> str:
        return "v1a," + _base64(self.private.sign(signed))


SigningKey = HmacKey | Ed25519Key


def parse_key(secret: bytes) -> SigningKey:
    """The key that `secret` stands for: `whsec_<base64>` or `whsk_<base64>`.

    Whitespace around the secret is dropped: `kubectl create secret --from-file` keeps the newline at the end of a file.
    The base64 is read strictly (standard alphabet, with padding), because a lenient reader here and a strict one at the
    receiver would end in two different keys. Raises SigningKeyError.
    """
    text = secret.strip()
    if text.startswith(HMAC_PREFIX.encode()):
        return _hmac_key(_decoded(text, HMAC_PREFIX, _HOW_TO))
    if text.startswith(PRIVATE_PREFIX.encode()):
        return _ed25519_key(_decoded(text, PRIVATE_PREFIX, _HOW_TO_PRIVATE))
    if text.startswith(PUBLIC_PREFIX.encode()):
        raise SigningKeyError(f"`{PUBLIC_PREFIX}` is a public key, which cannot sign: {_HOW_TO_PRIVATE}")
    raise SigningKeyError(
        f"the secret does not start with `{HMAC_PREFIX}` or `{PRIVATE_PREFIX}`: {_HOW_TO}; or, for signatures that "
        f"receivers verify with a public key, {_HOW_TO_PRIVATE}"
    )


def split_keys(value: bytes) -> tuple[str, ...]:
    """The keys in the value of a Secret, each once and fit to sign: one or several, with whitespace between them.

    With several, a call carries a signature of each, in this order. Raises SigningKeyError.
    """
    parts = tuple(dict.fromkeys(value.split()))
    if len(parts) > MAX_KEYS:
        raise SigningKeyError(f"it holds {len(parts)} keys: write at most {MAX_KEYS}, with whitespace between them")
    for number, part in enumerate(parts or (b"",), start=1):
        try:
            parse_key(part)
        except SigningKeyError as error:
            where = f"key {number} of {len(parts)}, as whitespace separates them: " if len(parts) > 1 else ""
            raise SigningKeyError(f"{where}{error}") from None
    return tuple(part.decode("ascii") for part in parts)


@lru_cache(maxsize=CACHED_KEYS)
def key_of(text: str) -> SigningKey:
    """As parse_key, and remembered: reading a private key costs as much as a signature. Raises SigningKeyError."""
    return parse_key(text.encode())


def public_key(text: str) -> str | None:
    """The `whpk_` key that verifies what `text` signs; None for a shared secret. Raises SigningKeyError."""
    return key_of(text).public


def valid_message_id(message_id: str) -> bool:
    """Whether an id may be signed: 1 to 128 characters of `A-Z a-z 0-9 _ -`.

    The signed text is `id.timestamp.body`: an id with a dot could pass for another id and timestamp. Whitespace and
    control characters would end or split the header `webhook-id`; the rest is left out because the id is also a NATS
    message id, a file name in exports and a word in logs.
    """
    return _MESSAGE_ID.fullmatch(message_id) is not None


def standard_headers(*, message_id: str, timestamp_s: int, body: bytes, keys: Sequence[SigningKey]) -> dict[str, str]:
    """`webhook-id`, `webhook-timestamp` and, when there are keys, `webhook-signature` of one attempt.

    `timestamp_s` is the Unix time of this attempt, not of the event: receivers refuse what is older than five minutes.
    One signature per key, in the order given (newest first), separated by a space, so that a receiver can verify with
    the old or the new secret while a rotation lasts. Raises ValueError for an id that must not be signed.
    """
    if not valid_message_id(message_id):
        raise ValueError("a message id has 1 to 128 characters of A-Z a-z 0-9 _ -")
    headers = {"webhook-id": message_id, "webhook-timestamp": str(timestamp_s)}
    if keys:
        signed = b"%b.%d.%b" % (message_id.encode("ascii"), timestamp_s, body)
        headers["webhook-signature"] = " ".join([key.sign(signed) for key in keys])
    return headers


def _decoded(text: bytes, prefix: str, how_to: str) -> bytes:
    try:
        return binascii.a2b_base64(text[len(prefix) :], strict_mode=True)
    except binascii.Error:
        raise SigningKeyError(f"what follows `{prefix}` is not base64: {how_to}") from None


def _hmac_key(secret: bytes) -> HmacKey:
    if not MIN_KEY_BYTES <= len(secret) <= MAX_KEY_BYTES:
        raise SigningKeyError(f"the secret decodes to {len(secret)} bytes: {_HOW_TO}")
    return HmacKey(secret)


def _ed25519_key(pair: bytes) -> Ed25519Key:
    """Of a seed, as the reference library in Go reads it, or of the seed and its public key, as Svix writes it."""
    if len(pair) not in (SEED_BYTES, 2 * SEED_BYTES):
        raise SigningKeyError(f"the private key decodes to {len(pair)} bytes: {_HOW_TO_PRIVATE}")
    key = Ed25519Key.of_seed(pair[:SEED_BYTES])
    public = pair[SEED_BYTES:]
    if public and key.public != PUBLIC_PREFIX + _base64(public):
        raise SigningKeyError(f"the two halves of the private key do not belong together: {_HOW_TO_PRIVATE}")
    return key


def _base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode("ascii")
