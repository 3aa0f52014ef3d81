"""The signature of a call: Standard Webhooks 1.0.0, symmetric scheme `v1`.

Decides how a secret is read as a key and which three headers let a receiver verify a call. It never holds a secret
longer than a call, never reads a clock, and never shows a secret in an error.
"""

from __future__ import annotations

import binascii
import hmac
import re
from collections.abc import Sequence

KEY_PREFIX = b"whsec_"
MIN_KEY_BYTES = 24
MAX_KEY_BYTES = 64

_HOW_TO = (
    f"write `{KEY_PREFIX.decode()}` followed by the base64 of {MIN_KEY_BYTES} to {MAX_KEY_BYTES} random bytes, "
    'for example the output of: echo "whsec_$(openssl rand -base64 32)"'
)
_MESSAGE_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


class SigningKeyError(ValueError):
    """A secret is no signing key. The message says what to write and never repeats the secret."""


def parse_key(secret: bytes) -> bytes:
    """The HMAC key, 24 to 64 bytes, that `secret` (`whsec_<base64>`) stands for.

    Whitespace around the secret is dropped: `kubectl create secret --from-file` keeps the newline at the end of a file.
    The base64 is read strictly (standard alphabet, with padding), because a lenient reader here and a strict one at the
    receiver would end in two different keys. Raises SigningKeyError.
    """
    text = secret.strip()
    if not text.startswith(KEY_PREFIX):
        raise SigningKeyError(f"the secret does not start with `{KEY_PREFIX.decode()}`: {_HOW_TO}")
    try:
        key = binascii.a2b_base64(text[len(KEY_PREFIX) :], strict_mode=True)
    except binascii.Error:
        raise SigningKeyError(f"what follows `{KEY_PREFIX.decode()}` is not base64: {_HOW_TO}") from None
    if not MIN_KEY_BYTES <= len(key) <= MAX_KEY_BYTES:
        raise SigningKeyError(f"the secret decodes to {len(key)} bytes: {_HOW_TO}")
    return key


def valid_message_id(message_id: str) -> bool:
    """Whether an id may be signed: 1 to 128 characters of `A-Z a-z 0-9 _ -`.

    The signed text is `id.timestamp.body`: an id with a dot could pass for another id and timestamp. Whitespace and
    control characters would end or split the header `webhook-id`; the rest is left out because the id is also a NATS
    message id, a file name in exports and a word in logs.
    """
    return _MESSAGE_ID.fullmatch(message_id) is not None


def standard_headers(*, message_id: str, timestamp_s: int, body: bytes, keys: Sequence[bytes]) -> dict[str, str]:
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
        headers["webhook-signature"] = " ".join(_signature(key, signed) for key in keys)
    return headers


def _signature(key: bytes, signed: bytes) -> str:
    return "v1," + binascii.b2a_base64(hmac.digest(key, signed, "sha256"), newline=False).decode("ascii")
