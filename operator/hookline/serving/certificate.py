"""The certificate of a server, from two files that are replaced while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from pathlib import Path

import structlog
from cryptography import x509

from hookline.runtime.tasks import unless

log = structlog.get_logger(__name__)

LOOK_SECONDS = 5.0
"""How often the files are looked at. A kubelet takes up to a minute to bring a new one anyway."""


_TRIES = 10


class Certificate:
    """What a server shows. A pair that does not fit together changes nothing: the one before is shown on."""

    def __init__(self, chain: Path, key: Path) -> None:
        """Raises OSError, of which ssl.SSLError is one, when there is none to begin with."""
        self._chain = chain
        self._key = key
        self.context = _context()
        """For connections from now on. It is another one after `trust`."""
        self.expires_s = 0.0
        """When the one that is shown ends, in Unix time."""
        self._problem = ""
        self._seen = self._fingerprint()
        self._load()

    def trust(self, client_cas: str) -> None:
        """Ask clients for a certificate of these CAs, in PEM; whoever shows none is let in as well. Nobody is asked if
        there are none. Raises OSError or ValueError for what are no certificates.

        A context of its own: out of one no CA can be taken. What was let in by the one before stays.
        """
        context = _context()
        if client_cas:
            context.load_verify_locations(cadata=client_cas)
            context.verify_mode = ssl.CERT_OPTIONAL
            # As Go does: what is trusted need not be a root.
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            # A session that is resumed would be trusted as it was when it began.
            context.num_tickets = 0
            context.options |= ssl.OP_NO_TICKET
        self._load_into(context)
        self.context = context

    async def follow(self, stop: asyncio.Event) -> None:
        """Take up other files, until `stop`. They count for connections from then on."""
        while await unless(stop, asyncio.sleep(LOOK_SECONDS)):
            self.reload()

    def reload(self) -> None:
        """Take up other files, if there are any."""
        try:
            seen = self._fingerprint()
            if seen == self._seen and not self._problem:
                return
            self._load()
            self._seen = seen
        except OSError as error:
            self._say(f"{type(error).__name__}: {error.strerror or 'it cannot be read'}")
            return
        self._problem = ""
        log.info("another certificate is shown")

    def _load(self) -> None:
        # Tried in a context of its own: of two files that do not fit together the first would be in force already.
        self._load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        for _ in range(_TRIES):
            # They may be replaced between the one and the other: then nobody would be served until the next look.
            with contextlib.suppress(OSError):
                self._load_into(self.context)
                break
        else:
            self._load_into(self.context)
        self.expires_s = _expires_s(self._chain)

    def _load_into(self, context: ssl.SSLContext) -> None:
        context.load_cert_chain(self._chain, self._key, password=_no_password)

    def _fingerprint(self) -> tuple[bytes, bytes]:
        return self._chain.read_bytes(), self._key.read_bytes()

    def _say(self, problem: str) -> None:
        if problem != self._problem:
            log.warning("the new certificate cannot be used; the one before is shown on", problem=problem)
        self._problem = problem


def _expires_s(chain: Path) -> float:
    """When the first certificate of a file ends. 0 of one that OpenSSL takes and this does not: it is shown all the
    same."""
    try:
        return x509.load_pem_x509_certificates(chain.read_bytes())[0].not_valid_after_utc.timestamp()
    except (OSError, ValueError, IndexError):
        return 0.0


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _no_password() -> str:
    """Else OpenSSL asks the terminal for it, and waits."""
    raise ssl.SSLError(0, "the key is encrypted")
