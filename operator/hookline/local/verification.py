"""Whether a call that arrived is signed as Standard Webhooks 1.0.0 says: `v1` by a shared key, `v1a` by a private one.

Decides in which words a person hears why not. It shares no code with what signs, so that it can tell when that is
wrong, and never shows a secret.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping, Sequence

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from standardwebhooks import Webhook, WebhookVerificationError

TOLERANCE_SECONDS = 300
"""Between the clocks of both sides, and on the way: as the libraries of Standard Webhooks have it."""

_REASONS = {
    "Message timestamp too old": "timestamp too old",
    "Message timestamp too new": "timestamp too new",
    "Invalid Signature Headers": "webhook-timestamp is not a number",
    "No matching signature found": "signature does not match",
}


class Verifier:
    """Verifies with the keys that a receiver has: `whsec_…`, and `whpk_…` or the `whsk_…` that it belongs to.

    A call needs a signature for each of the two kinds of which there are keys, and by one of the keys of that kind.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._shared = [Webhook(key) for key in keys if key.startswith("whsec_")]
        self._public = [_public_key(key) for key in keys if not key.startswith("whsec_")]

    def problem(self, headers: Mapping[str, str], body: bytes) -> str:
        """Why the call is not signed as it should be; empty when it is."""
        if not headers.get("webhook-signature"):
            return "no signature"
        for name in ("webhook-id", "webhook-timestamp"):
            if not headers.get(name):
                return f"no {name}"
        return self._problem_of_v1(headers, body) or self._problem_of_v1a(headers, body)

    def _problem_of_v1(self, headers: Mapping[str, str], body: bytes) -> str:
        problems = [_library_problem(each, headers, body) for each in self._shared]
        return "" if "" in problems or not problems else problems[0]

    def _problem_of_v1a(self, headers: Mapping[str, str], body: bytes) -> str:
        if not self._public:
            return ""
        late = _timestamp_problem(headers["webhook-timestamp"], time.time())
        if late:
            return late
        signatures = [each[len("v1a,") :] for each in headers["webhook-signature"].split(" ") if each[:4] == "v1a,"]
        if not signatures:
            return "no v1a signature"
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode("utf-8", "surrogateescape") + body
        fits = any(_fits(key, signature, signed) for key in self._public for signature in signatures)
        return "" if fits else "v1a signature does not match"


def _public_key(text: str) -> Ed25519PublicKey:
    kind, _, encoded = text.partition("_")
    key = base64.b64decode(encoded, validate=True)
    if kind == "whsk":
        return Ed25519PrivateKey.from_private_bytes(key[:32]).public_key()
    return Ed25519PublicKey.from_public_bytes(key)


def _library_problem(secret: Webhook, headers: Mapping[str, str], body: bytes) -> str:
    try:
        secret.verify(body, dict(headers), json_parse=False)
    except WebhookVerificationError as error:
        return _REASONS.get(str(error), "signature not accepted")
    except ValueError:  # what the library lets through: no comma, no base64, a body that is not UTF-8
        return "signature is malformed or the body is not UTF-8"
    return ""


def _timestamp_problem(text: str, now_s: float) -> str:
    if not text.isascii() or not text.isdigit():
        return "webhook-timestamp is not a number"
    ahead_s = float(text) - now_s
    if abs(ahead_s) > TOLERANCE_SECONDS:
        return "timestamp too new" if ahead_s > 0 else "timestamp too old"
    return ""


def _fits(key: Ed25519PublicKey, signature: str, signed: bytes) -> bool:
    try:
        key.verify(base64.b64decode(signature, validate=True), signed)
    except (InvalidSignature, ValueError):
        return False
    return True
