"""The CA of an installation and the certificates that it signs: what should be, by what is and the time. Pure.

A CA is followed by another one without a gap: the next one is trusted by everybody for AHEAD before anything is signed
by it, and a former one is trusted until it ends, which nothing that it signed outlives. All times follow from what
stands in the certificates, so that every operator comes to the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509

from hookline.control.issuing import (
    Pair,
    is_issued_by,
    may_sign,
    may_vouch_for,
    names_in,
    pem,
    read_certificates,
    read_pair,
)
from hookline.control.kinds import API_NAME, CA_CERTIFICATE, gateway_name
from hookline.resources.dispatcher import Dispatcher

AUTHORITY_LIFE = timedelta(days=365)
CERTIFICATE_LIFE = timedelta(days=90)
"""Renewed after two thirds: an operator may be away for a month, and gateways go on."""

AHEAD = timedelta(days=30)
"""How long a CA is in everybody's hands before anything is signed by it: as long as a client may keep what it read."""

CLOCKS_APART = timedelta(days=1)
"""What is made counts from so long before, for clients whose clock is slow, or in a wrong zone of time."""

MOST_FORMER = 4
"""Former CAs that are kept: there is one in the course of things, and more after clocks that jumped."""

Data = Mapping[str, bytes]

CA_KEY = "ca.key"
NEXT_CERTIFICATE, NEXT_KEY = "next.crt", "next.key"
FORMER = "former.crt"
CERTIFICATE, KEY = "tls.crt", "tls.key"
"""Keys of the Secrets; those of a serving certificate are Kubernetes' own."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a Secret holds of a CA, whoever wrote it: parts that cannot be used are not there."""

    current: Pair | None = None
    following: Pair | None = None
    trusted: tuple[x509.Certificate, ...] = ()
    """Every CA certificate in it that signs or has signed."""


@dataclass(frozen=True, slots=True)
class Authority:
    """The CA: what signs, what will sign, and what signed before."""

    current: Pair
    following: Pair | None = None
    former: tuple[x509.Certificate, ...] = ()

    def bundle(self) -> str:
        """What clients are to trust, as PEM."""
        following = (self.following.certificate,) if self.following else ()
        return pem((self.current.certificate, *following, *self.former))

    def data(self) -> dict[str, bytes]:
        """What its Secret is to hold. Empty and not left out where there is nothing: an apply takes none away."""
        following = self.following
        return {
            CA_CERTIFICATE: self.current.certificate_pem().encode(),
            CA_KEY: self.current.key_pem().encode(),
            NEXT_CERTIFICATE: following.certificate_pem().encode() if following else b"",
            NEXT_KEY: following.key_pem().encode() if following else b"",
            FORMER: pem(self.former).encode(),
        }


@dataclass(frozen=True, slots=True)
class Home:
    """Where an installation is, as far as names of servers tell: they hang on it, and on nothing else."""

    namespace: str
    cluster_domain: str = "cluster.local"

    def names(self) -> list[str]:
        """What the CA may vouch for: the short name that is used inside of the namespace, and all names of Services.

        Constraints know whole subtrees only, so that a short name of another Dispatcher cannot be among them.
        """
        return [gateway_name("default"), *self._suffixes()]

    def names_of(self, dispatcher: str) -> list[str]:
        """All names by which the gateway of a Dispatcher is called in the cluster."""
        name = gateway_name(dispatcher)
        return [f"{name}.{suffix}" for suffix in self._suffixes()] + [name]

    def names_of_api(self) -> list[str]:
        """All names by which the log's API is called: kube-apiserver uses that with `.svc`."""
        return [f"{API_NAME}.{suffix}" for suffix in self._suffixes()]

    def _suffixes(self) -> list[str]:
        service = f"{self.namespace}.svc"
        return [self.namespace, service, f"{service}.{self.cluster_domain}"]


def is_needed_by(dispatcher: Dispatcher) -> bool:
    """Whether its gateway shows a certificate of the installation's CA."""
    gateway = dispatcher.spec.gateway
    return gateway.enabled and gateway.tls.secret_ref is None


def read(data: Data, home: Home) -> Held:
    """The CA in a Secret. One that may not vouch for our names, such as that of another namespace, cannot sign."""
    current = _signing(read_pair(data.get(CA_CERTIFICATE, b""), data.get(CA_KEY, b"")), home)
    following = _signing(read_pair(data.get(NEXT_CERTIFICATE, b""), data.get(NEXT_KEY, b"")), home)
    if current is not None and following is not None and current.certificate == following.certificate:
        following = None
    found = read_certificates(data.get(CA_CERTIFICATE, b"")) + read_certificates(data.get(FORMER, b""))
    return Held(current, following, tuple(each for each in found if may_sign(each)))


def _signing(pair: Pair | None, home: Home) -> Pair | None:
    if pair is None or not may_sign(pair.certificate):
        return None
    return pair if may_vouch_for(pair.certificate, home.names_of("default")[0]) else None


def turned(held: Held, now: datetime, make: Callable[[], Pair]) -> Authority:
    """The CA as it should be now. `make` makes a new one, which begins now.

    What cannot sign now is replaced at once: by the next one, which clients have already, or else by a new one.
    """
    current, following = held.current, held.following
    if current is not None and not _is_valid(current.certificate, now):
        current = None
    if following is not None and not _is_valid(following.certificate, now):
        following = None
    if following is not None and (current is None or now >= _signs_from(following.certificate)):
        current, following = following, None
    if current is None:
        current = make()
    if following is None and now >= renewed_at(current.certificate):
        following = make()
    return Authority(current, following, _former(held, now, current, following))


def trusted(held: Held, now: datetime) -> str:
    """The bundle of a CA as its Secret has it; empty where it is to be made anew."""
    if held.current is None:
        return ""
    return Authority(held.current, held.following, _former(held, now, held.current, held.following)).bundle()


def _former(held: Held, now: datetime, *pairs: Pair | None) -> tuple[x509.Certificate, ...]:
    """Those besides `pairs` that have not ended, the last to end first."""
    known = {each.certificate for each in pairs if each is not None}
    kept = [each for each in set(held.trusted) - known if each.not_valid_after_utc > now]
    kept.sort(key=lambda each: (each.not_valid_after_utc, each.serial_number), reverse=True)
    return tuple(kept[:MOST_FORMER])


def _is_valid(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc


def _signs_from(certificate: x509.Certificate) -> datetime:
    return certificate.not_valid_before_utc + CLOCKS_APART + AHEAD


def renewed_at(certificate: x509.Certificate) -> datetime:
    """From when on there is to be another one."""
    made, ends = certificate.not_valid_before_utc + CLOCKS_APART, certificate.not_valid_after_utc
    return made + (ends - made) * 2 / 3


def serving_data(pair: Pair) -> dict[str, bytes]:
    """What the Secret of a server holds."""
    return {CERTIFICATE: pair.certificate_pem().encode(), KEY: pair.key_pem().encode()}


def serving(data: Data, issuer: Pair, names: Iterable[str], now: datetime) -> Pair | None:
    """What a Secret holds, where a server may show it on: of this CA, for these names, and not old."""
    pair = read_pair(data.get(CERTIFICATE, b""), data.get(KEY, b""))
    if pair is None or not is_issued_by(pair.certificate, issuer.certificate):
        return None
    found = pair.certificate
    if names_in(found) != set(names) or not _is_valid(found, now):
        return None
    # One that ends with its CA cannot be had for longer.
    stays = now < renewed_at(found) or found.not_valid_after_utc >= issuer.certificate.not_valid_after_utc
    return pair if stays else None


def allowed_names(issuer: Pair, names: Iterable[str]) -> list[str]:
    """Those that the CA may vouch for."""
    return [each for each in names if may_vouch_for(issuer.certificate, each)]
