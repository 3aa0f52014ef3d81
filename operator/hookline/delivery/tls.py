"""TLS contexts: whom a call trusts, and as whom it shows itself.

Decides versions, authorities and client certificates. One context for each material and never changed: a rotated CA or
client certificate is another material, and with another context no pooled connection of the old one is used.
"""

from __future__ import annotations

import functools
import os
import re
import ssl
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hookline.delivery.progress import InvalidCallError, Phase, current_call

_TLS_CONTEXTS_KEPT = 4096

_CIPHERS = "@SECLEVEL=2:ECDH+AESGCM:ECDH+CHACHA20:ECDH+AES:!aNULL:!eNULL:!aDSS:!SHA1:!AESCCM"
"""Those of Python less DHE, for TLS 1.2: there the receiver chooses the group, and one of 10,000 bits takes 2 s in
which no other call moves. Those of TLS 1.3 stay as they are."""

MAX_PRIVATE_KEY_BYTES = 8 * 1024
"""RSA with 8,192 bits takes 6.4 KiB as PEM. Each handshake signs with it, and all other calls wait meanwhile: eight
times as long for twice the bits."""


@dataclass(frozen=True, slots=True)
class TlsMaterial:
    """What a Webhook's TLS Secrets hold, as PEM. `ca_pem` replaces the system's authorities for this Webhook."""

    ca_pem: bytes | None = field(default=None, repr=False)
    client_cert_pem: bytes | None = field(default=None, repr=False)
    client_key_pem: bytes | None = field(default=None, repr=False)


class _WatchedContext(ssl.SSLContext):
    """A TLS context that tells the call when its handshake starts: the only place both event loops pass."""

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        current_call.get().phase = Phase.HANDSHAKE
        return super().wrap_bio(*args, **options)


@functools.lru_cache(maxsize=_TLS_CONTEXTS_KEPT)
def tls_context(material: TlsMaterial | None) -> ssl.SSLContext:
    """The TLS context for `material`: at least TLS 1.2, host name and chain verified.

    Without a CA the authorities of the system are trusted; with one, only that CA, as with `caBundle` in Kubernetes:
    whoever names a CA does not want any public authority to be able to vouch for the receiver. An intermediate or the
    receiver's own self-signed certificate may stand in for the CA. Raises InvalidCallError.
    """
    context = _WatchedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if material is None:
        context.load_default_certs()
    elif material.ca_pem is None:
        _trust_system(context)
    else:
        _load_authorities(context, material.ca_pem)
    if material is not None and (material.client_cert_pem is not None or material.client_key_pem is not None):
        _load_client_certificate(context, material)
    return context


def _trust_system(context: ssl.SSLContext) -> None:
    """The authorities of the system, each read from the system's folder when it is first needed.

    A context that loads them all takes 850 KB and 21 ms, a thousand Webhooks with a client certificate 850 MB.
    """
    folder = ssl.get_default_verify_paths().capath
    if folder is None or "SSL_CERT_FILE" in os.environ or not _is_hashed(folder):
        context.load_default_certs()
    else:
        context.load_verify_locations(capath=folder)


@functools.cache
def _is_hashed(folder: str) -> bool:
    """Whether OpenSSL finds certificates in it, which it looks for by a hash of their subject."""
    return any(re.fullmatch(r"[0-9a-f]{8}\.[0-9]+", path.name) for path in Path(folder).iterdir())


def _load_authorities(context: ssl.SSLContext, ca_pem: bytes) -> None:
    # OpenSSL takes ASCII only, people write comments in any script between the blocks.
    text = ca_pem.decode("ascii", "ignore")
    try:
        context.load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError):
        raise InvalidCallError(
            "the Secret named in tls.caSecretRef holds no readable certificate: it must be PEM, beginning with"
            " -----BEGIN CERTIFICATE-----"
        ) from None


def _no_password() -> str:
    """Keeps OpenSSL from asking the terminal for one, and from trying an empty one: whoever made the key says how often
    it is to be hashed, and two thousand million times would stop all calls for ten minutes."""
    raise ValueError("the key is encrypted")


def _load_client_certificate(context: ssl.SSLContext, material: TlsMaterial) -> None:
    if material.client_cert_pem is None or material.client_key_pem is None:
        raise InvalidCallError("tls.clientCertSecretRef needs both tls.crt and tls.key")
    if len(material.client_key_pem) > MAX_PRIVATE_KEY_BYTES:
        raise InvalidCallError(f"tls.key of tls.clientCertSecretRef is larger than {MAX_PRIVATE_KEY_BYTES} bytes")
    # OpenSSL reads this from a file only; it is readable by this user alone and gone when the block ends.
    with tempfile.NamedTemporaryFile(prefix="hookline-") as pem:
        pem.write(material.client_cert_pem + b"\n" + material.client_key_pem)
        pem.flush()
        try:
            context.load_cert_chain(pem.name, password=_no_password)
        except (ssl.SSLError, ValueError, OSError):
            raise InvalidCallError(
                "the Secret named in tls.clientCertSecretRef is unusable: tls.crt must be a PEM certificate and tls.key"
                " its unencrypted PEM key"
            ) from None
