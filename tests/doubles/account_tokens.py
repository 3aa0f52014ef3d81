"""Tokens of ServiceAccounts as a test makes them: right ones, and what a stranger would send instead."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

Claims = dict[str, Any]


def claims(namespace: str = "team-a", name: str = "orders", **changes: Any) -> Claims:
    """Of a token that looks right. A change to None takes a claim away."""
    said = {
        "iss": "https://kubernetes.default.svc.cluster.local",
        "sub": f"system:serviceaccount:{namespace}:{name}",
        "aud": ["hookline"],
        "exp": int(time.time()) + 3600,
        **changes,
    }
    return {claim: value for claim, value in said.items() if value is not None}


def unsigned(said: object, *, salt: str = "x") -> str:
    """A token with these claims and no signature that anybody made. Two with another `salt` are two tokens."""
    return f"{_part(json.dumps({'alg': 'RS256'}).encode())}.{_part(json.dumps(said).encode())}.{_part(salt.encode())}"


def signed(said: object, key: rsa.RSAPrivateKey, header: object) -> str:
    """A token with these claims that a key has signed (RS256)."""
    content = f"{_part(json.dumps(header).encode())}.{_part(json.dumps(said).encode())}"
    return f"{content}.{_part(key.sign(content.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def parts(token: str) -> tuple[Any, Claims]:
    """Header and claims."""
    header, said, _ = token.split(".")
    return json.loads(_bytes(header)), json.loads(_bytes(said))


def _part(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _bytes(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
