"""TLS contexts: whom a call trusts, and as whom it shows itself.

Decides versions, authorities and client certificates, and how many contexts are kept. One context for each material
and never changed: a rotated CA or client certificate is another material, and with another context no pooled connection
of the old one is used. What may stand in a Secret is decided in certificates.
"""

from __future__ import annotations

import asyncio
import functools
import os
import re
import ssl
import tempfile
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hookline.delivery.http.call import TlsMaterial
from hookline.delivery.http.progress import InvalidCallError, Phase, current_call
from hookline.routing import certificates
from hookline.routing.certificates import CertificateProblem

MOST_CONTEXT_BYTES = 128 * 1024 * 1024
"""Of all contexts that a sender keeps: some 4,000 with one CA each."""
_PLAIN_BYTES = 16 * 1024
_BYTES_PER_PEM_BYTE = 10
_SYSTEM_BYTES = 1024 * 1024

_CIPHERS = "@SECLEVEL=2:ECDH+AESGCM:ECDH+CHACHA20:ECDH+AES:!aNULL:!eNULL:!aDSS:!SHA1:!AESCCM"
"""Those of Python less DHE, for TLS 1.2: there the receiver chooses the group, and one of 10,000 bits takes 2 s in
which no other call moves. Those of TLS 1.3 stay as they are."""


class TlsContext(ssl.SSLContext):
    """A TLS context that tells the call when its handshake starts: the only place both event loops pass."""

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        current_call.get().reach(Phase.HANDSHAKE)
        return super().wrap_bio(*args, **options)


class TlsContexts:
    """One context for each material, those that were used last. Made outside of the event loop, one after the other."""

    def __init__(self, most_bytes: int = MOST_CONTEXT_BYTES) -> None:
        self._most_bytes = most_bytes
        self._made: dict[TlsMaterial | None, TlsContext | str] = {}
        """A text says why there is none."""
        self._making: dict[TlsMaterial | None, asyncio.Future[TlsContext]] = {}
        self._maker = ThreadPoolExecutor(1, "tls")
        self._bytes = 0

    async def get(self, material: TlsMaterial | None) -> TlsContext:
        """The context for `material`. Raises InvalidCallError."""
        found = self._made.pop(material, None)
        if found is None:
            return await self._make(material)
        self._made[material] = found
        if isinstance(found, str):
            raise InvalidCallError(found)
        return found

    async def _make(self, material: TlsMaterial | None) -> TlsContext:
        making = self._making.get(material)
        if making is None:
            loop = asyncio.get_running_loop()
            making = self._making[material] = loop.run_in_executor(self._maker, tls_context, material)
            making.add_done_callback(functools.partial(self._keep, material))
        # A call that is over does not take the context from those that wait for it as well.
        return await asyncio.shield(making)

    def _keep(self, material: TlsMaterial | None, made: asyncio.Future[TlsContext]) -> None:
        del self._making[material]
        if made.cancelled():
            return
        error = made.exception()
        if error is None:
            self._made[material] = made.result()
        elif isinstance(error, InvalidCallError):
            self._made[material] = str(error)
        else:
            return
        self._bytes += _held_bytes(material)
        while self._bytes > self._most_bytes and len(self._made) > 1:
            self._drop(next(iter(self._made)))

    def keep_only(self, materials: Collection[TlsMaterial]) -> None:
        """Drop the contexts of all other materials: what left the book is not kept."""
        for material in [each for each in self._made if each is not None and each not in materials]:
            self._drop(material)

    def _drop(self, material: TlsMaterial | None) -> None:
        del self._made[material]
        self._bytes -= _held_bytes(material)

    def close(self) -> None:
        self._maker.shutdown(wait=False, cancel_futures=True)


def _held_bytes(material: TlsMaterial | None) -> int:
    """What a context holds, roughly: OpenSSL's parsed certificates take ten times their PEM."""
    if material is None:
        return _SYSTEM_BYTES
    parts = (material.ca_pem, material.client_cert_pem, material.client_key_pem)
    own_bytes = _PLAIN_BYTES + _BYTES_PER_PEM_BYTE * sum(len(part) for part in parts if part is not None)
    return own_bytes if material.ca_pem is not None or _system_folder() else own_bytes + _SYSTEM_BYTES


def tls_context(material: TlsMaterial | None) -> TlsContext:
    """The TLS context for `material`: at least TLS 1.2, host name and chain verified.

    Without a CA the authorities of the system are trusted; with one, only that CA, as with `caBundle` in Kubernetes:
    whoever names a CA does not want any public authority to be able to vouch for the receiver. An intermediate or the
    receiver's own self-signed certificate may stand in for the CA. Raises InvalidCallError, also for what the operator
    would refuse: an older one may have written the book.
    """
    context = TlsContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    # Some receivers refuse a client that offers no protocol.
    context.set_alpn_protocols(["http/1.1"])
    # In TLS 1.3 a receiver may ask for the certificate once it knows the path, as Apache does.
    context.post_handshake_auth = True
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
    folder = _system_folder()
    if folder is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(capath=folder)


def _system_folder() -> str | None:
    """From which OpenSSL reads an authority when it is needed, if there is one."""
    folder = ssl.get_default_verify_paths().capath
    return None if folder is None or "SSL_CERT_FILE" in os.environ or not _is_hashed(folder) else folder


@functools.cache
def _is_hashed(folder: str) -> bool:
    """Whether OpenSSL finds certificates in it, which it looks for by a hash of their subject."""
    return any(re.fullmatch(r"[0-9a-f]{8}\.[0-9]+", path.name) for path in Path(folder).iterdir())


def _load_authorities(context: ssl.SSLContext, ca_pem: bytes) -> None:
    try:
        # One after the other: while one is loaded no other thread runs.
        for certificate in certificates.authorities(ca_pem):
            context.load_verify_locations(cadata=certificate)
    except CertificateProblem as problem:
        raise InvalidCallError(f"the Secret named in tls.caSecretRef cannot be used: {problem}") from None


def _no_password() -> str:
    """Keeps OpenSSL from asking the terminal for one."""
    raise ValueError("the key is encrypted")


def _load_client_certificate(context: ssl.SSLContext, material: TlsMaterial) -> None:
    if material.client_cert_pem is None or material.client_key_pem is None:
        raise InvalidCallError("tls.clientCertSecretRef needs both tls.crt and tls.key")
    part = "tls.crt"
    try:
        chain = certificates.client_chain(material.client_cert_pem)
        part = "tls.key"
        key = certificates.client_key(material.client_key_pem, chain)
    except CertificateProblem as problem:
        raise InvalidCallError(f"{part} of the Secret named in tls.clientCertSecretRef: {problem}") from None
    # OpenSSL reads this from a file only; it is readable by this user alone and gone when the block ends.
    with tempfile.NamedTemporaryFile(prefix="hookline-") as file:
        file.write(f"{certificates.pem(chain)}{key}".encode("ascii"))
        file.flush()
        try:
            context.load_cert_chain(file.name, password=_no_password)
        except (ssl.SSLError, ValueError, OSError):
            raise InvalidCallError(
                "OpenSSL does not take the certificate or the key of the Secret named in tls.clientCertSecretRef; "
                "have them made anew"
            ) from None
