"""Keys and certificates of the installation's own CA: how they are made, read and held against each other.

Draws keys and serial numbers, and does no other I/O. Decides nothing about when one is made: authority does. What
cannot be read is None; nothing of it is repeated.
"""

from __future__ import annotations

import ipaddress
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hookline.routing.certificates import MAX_CERTIFICATES_BYTES

_NO_ADDRESSES = [x509.IPAddress(ipaddress.ip_network(each)) for each in ("0.0.0.0/0", "::/0")]
_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    x509.DuplicateExtension,
)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, which nothing shows."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    def certificate_pem(self) -> str:
        return pem([self.certificate])

    def key_pem(self) -> str:
        """Secret."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii")


def new_authority(namespace: str, names: Iterable[str], begin: datetime, end: datetime) -> Pair:
    """A CA that can vouch for `names`, what is below each of them, and nothing else (RFC 5280, 4.2.1.10).

    Who adds it to the trust of a whole system trusts it for these names alone. No two have one name of their own:
    clients look for an issuer by it.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    name = _name(f"Hookline CA {serial:040x}"[:32], namespace)
    permitted = [x509.DNSName(each) for each in names]
    certificate = (
        _certificate(key, serial, name, name, begin, end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.NameConstraints(permitted, _NO_ADDRESSES), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Pair(certificate, key)


def new_certificate(authority: Pair, names: Sequence[str], namespace: str, begin: datetime, end: datetime) -> Pair:
    """What a server of these names shows. It is valid within the time of the CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = authority.certificate
    begin, end = max(begin, issuer.not_valid_before_utc), min(end, issuer.not_valid_after_utc)
    certificate = (
        _certificate(key, x509.random_serial_number(), _name(names[0][:64], namespace), issuer.subject, begin, end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(each) for each in names]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return Pair(certificate, key)


def _certificate(
    key: ec.EllipticCurvePrivateKey, serial: int, subject: x509.Name, issuer: x509.Name, begin: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .serial_number(serial)
        .public_key(key.public_key())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(common: str, organization: str) -> x509.Name:
    named = ((NameOID.ORGANIZATION_NAME, organization), (NameOID.COMMON_NAME, common))
    return x509.Name([x509.NameAttribute(each, value) for each, value in named if value])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def pem(certificates: Iterable[x509.Certificate]) -> str:
    """Certificates as PEM, one after the other."""
    return "".join(each.public_bytes(Encoding.PEM).decode("ascii") for each in certificates)


def read_certificates(text: bytes) -> list[x509.Certificate]:
    """The certificates in a value; none when it cannot be read as a whole."""
    if len(text) > MAX_CERTIFICATES_BYTES:
        return []
    try:
        with warnings.catch_warnings(action="ignore"):  # of what a later version of the library refuses
            found = x509.load_pem_x509_certificates(text)
            # Parsed when they are asked for.
            _ = [(each.issuer, each.subject, each.extensions, each.not_valid_after_utc) for each in found]
    except _UNREADABLE:
        return []
    return found


def read_pair(certificates: bytes, key: bytes) -> Pair | None:
    """The one certificate and its key, or None when they are not whole or not of each other."""
    found, private = read_certificates(certificates), _read_key(key)
    if len(found) != 1 or private is None:
        return None
    try:
        fits = found[0].public_key() == private.public_key()
    except _UNREADABLE:
        return None
    return Pair(found[0], private) if fits else None


def _read_key(text: bytes) -> ec.EllipticCurvePrivateKey | None:
    try:
        key = load_pem_private_key(text, None)
    except Exception:  # noqa: BLE001  # whatever stands there: the library says it in many ways
        return None
    return key if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1) else None


def may_sign(certificate: x509.Certificate) -> bool:
    """Whether it is that of a root CA, and whole: one that somebody edited may still be read, and is not its own."""
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except (x509.ExtensionNotFound, *_UNREADABLE):
        return False
    return constraints.ca and usage.key_cert_sign and is_issued_by(certificate, certificate)


def may_vouch_for(certificate: x509.Certificate, name: str) -> bool:
    """Whether the constraints of a CA allow a name (RFC 5280, 4.2.1.10): one of its names, or below it."""
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return True
    except _UNREADABLE:
        return False
    permitted = [each.value for each in constraints.permitted_subtrees or () if isinstance(each, x509.DNSName)]
    return any(name == each or name.endswith(f".{each}") for each in permitted)


def is_issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether the authority signed it."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, *_UNREADABLE):
        return False
    return True


def names_in(certificate: x509.Certificate) -> set[str]:
    """The DNS names that it is for."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, *_UNREADABLE):
        return set()
    return set(names.get_values_for_type(x509.DNSName))
