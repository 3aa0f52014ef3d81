"""Certificates and private keys out of Secrets: one reader for `check`, the operator and senders.

Decides what is read as a certificate or a key, and which are refused for what each handshake would cost. What it gives
is written anew from what was parsed, so that OpenSSL reads what was judged. It judges no chain, name or date: the
handshake does. Never repeats anything of what it reads.
"""

from __future__ import annotations

import base64
import binascii
import re
import ssl
import warnings
from collections.abc import Iterable, Iterator, Sequence

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)

MAX_CERTIFICATES_BYTES = 64 * 1024
"""Of one value of a Secret: some forty CAs. A bundle of all public ones has more than 200 KB."""
MAX_PRIVATE_KEY_BYTES = 8 * 1024
"""RSA with 4,096 bits takes 3.2 KiB as PEM."""
_RSA_BITS = range(2048, 4096 + 1)
"""Twice the bits take each handshake eight times as long. OpenSSL shows no smaller ones at our security level."""
_MAX_PUBLIC_EXPONENT_BITS = 64
"""OpenSSL blinds signatures with it. 17 bits are usual."""
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_WEAK_HASHES = frozenset({"md5", "sha1"})
"""OpenSSL shows no certificate that is signed over one of these, at our security level."""

_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]{1,40})-----([^-]*(?:-[^-]+)*)-----END \1-----")
_BEGIN = re.compile(r"-----BEGIN (?:X509 )?CERTIFICATE-----")
_CERTIFICATE_LABELS = ("CERTIFICATE", "X509 CERTIFICATE")
_KEY_LABELS = ("PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY")

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class CertificateProblem(ValueError):
    """Why a value is not used, and what to write. Holds nothing of the value."""


def authorities(value: bytes) -> list[bytes]:
    """The CA certificates in a value, each as DER. Raises CertificateProblem."""
    return [each.public_bytes(Encoding.DER) for each in _certificates(value)]


def pem(certificates: Iterable[bytes]) -> str:
    """Certificates in DER as PEM, and nothing beside them."""
    return "".join(map(ssl.DER_cert_to_PEM_cert, certificates))


def client_chain(value: bytes) -> list[bytes]:
    """The certificate that a sender shows, then those that vouch for it, each as DER. Raises CertificateProblem."""
    chain = _certificates(value)
    for each in chain:
        if each.issuer != each.subject and _hash_name(each) in _WEAK_HASHES:
            raise CertificateProblem("a certificate in it is signed over MD5 or SHA-1; have it issued with SHA-256")
    return [each.public_bytes(Encoding.DER) for each in chain]


def client_key(value: bytes, chain: Sequence[bytes]) -> str:
    """The private key to the first certificate of `chain`, as PEM. Raises CertificateProblem."""
    key = _private_key(value)
    if isinstance(key, rsa.RSAPrivateKey):
        _judge_rsa(key)
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        _judge_ec(key)
    if _spki(key.public_key()) != _spki(_public_key(chain[0])):
        raise CertificateProblem(
            "it is not the key of the first certificate in tls.crt; put the sender's own certificate first there, "
            "and its key here"
        )
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii")


def _certificates(value: bytes) -> list[x509.Certificate]:
    _judge_size(value, MAX_CERTIFICATES_BYTES, "write only the certificates that are needed, such as the CA's own")
    blocks = list(_blocks(value))
    if any(label == "TRUSTED CERTIFICATE" for label, _ in blocks):
        raise CertificateProblem(
            "it holds a TRUSTED CERTIFICATE, which may forbid uses; write what `openssl x509 -in FILE` prints"
        )
    found = [body for label, body in blocks if label in _CERTIFICATE_LABELS]
    if not found or len(found) != len(_BEGIN.findall(_text(value))):
        raise CertificateProblem(
            "it holds no whole PEM certificate; write blocks from -----BEGIN CERTIFICATE----- to "
            "-----END CERTIFICATE-----, and of a file in DER what `openssl x509 -inform DER -in FILE` prints"
        )
    # OpenSSL is the stricter reader of some, such as of object identifiers.
    openssl = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return [_certificate(body, number, openssl) for number, body in enumerate(found, start=1)]


def _certificate(body: str, number: int, openssl: ssl.SSLContext) -> x509.Certificate:
    try:
        with warnings.catch_warnings(action="ignore"):  # of what standards forbid and OpenSSL takes
            found = x509.load_der_x509_certificate(_der(body))
            # Parsed when they are asked for.
            _ = found.issuer, found.subject, found.extensions
        openssl.load_verify_locations(cadata=found.public_bytes(Encoding.DER))
    except (*_UNREADABLE, ssl.SSLError):
        raise CertificateProblem(f"its certificate {number} cannot be read; copy it anew from its file") from None
    return found


def _private_key(value: bytes) -> PrivateKey:
    _judge_size(value, MAX_PRIVATE_KEY_BYTES, "write one key, RSA with at most 4,096 bits or EC")
    blocks = list(_blocks(value))
    if any("ENCRYPTED" in label or "ENCRYPTED" in body for label, body in blocks):
        raise CertificateProblem("it is encrypted; write the key without a password: `openssl pkey -in FILE` prints it")
    bodies = [body for label, body in blocks if label in _KEY_LABELS]
    if len(bodies) != 1:
        raise CertificateProblem("it must hold one unencrypted PEM key: a block -----BEGIN PRIVATE KEY-----")
    try:
        # Primes are not tried, which takes 0.3 s of everybody's time: _judge_rsa asks for what a call's time hangs on.
        key = load_der_private_key(_der(bodies[0]), None, unsafe_skip_rsa_key_validation=True)
    except _UNREADABLE:
        raise CertificateProblem("its PEM key cannot be read; copy it anew from its file") from None
    if not isinstance(key, PrivateKey):
        raise CertificateProblem("its key is neither RSA nor EC nor Ed25519; make one with `openssl genpkey`")
    return key


def _judge_rsa(key: rsa.RSAPrivateKey) -> None:
    if key.key_size not in _RSA_BITS:
        raise CertificateProblem(
            f"its RSA key has {key.key_size} bits; write one with {_RSA_BITS[0]:,} to {_RSA_BITS[-1]:,}"
        )
    if not _is_consistent(key.private_numbers()):
        raise CertificateProblem("the numbers of its RSA key do not belong together; make a new one")


def _is_consistent(numbers: rsa.RSAPrivateNumbers) -> bool:
    """Whether a signature takes as long as with an honest key. With other values OpenSSL signs in a slower way."""
    p, q, d = numbers.p, numbers.q, numbers.d
    n, e = numbers.public_numbers.n, numbers.public_numbers.e
    half_bits = n.bit_length() // 2
    return (
        p * q == n
        and max(p.bit_length(), q.bit_length()) <= half_bits + 32
        and 2 < e < 2**_MAX_PUBLIC_EXPONENT_BITS
        and 0 < d < n
        and e * d % (p - 1) == 1 == e * d % (q - 1)
        and numbers.dmp1 == d % (p - 1)
        and numbers.dmq1 == d % (q - 1)
        and 0 < numbers.iqmp < p
        and numbers.iqmp * q % p == 1
    )


def _judge_ec(key: ec.EllipticCurvePrivateKey) -> None:
    if not isinstance(key.curve, _CURVES):
        raise CertificateProblem("its EC key is on another curve than P-256, P-384 and P-521; make one on P-256")
    honest = ec.derive_private_key(key.private_numbers().private_value, key.curve)
    if honest.public_key() != key.public_key():
        raise CertificateProblem("the numbers of its EC key do not belong together; make a new one")


def _public_key(certificate: bytes) -> object:
    try:
        return x509.load_der_x509_certificate(certificate).public_key()
    except _UNREADABLE:
        return None


def _spki(key: object) -> bytes | None:
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
        return None
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _hash_name(certificate: x509.Certificate) -> str:
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return ""
    return algorithm.name if algorithm is not None else ""


def _judge_size(value: bytes, most: int, instead: str) -> None:
    if len(value) > most:
        raise CertificateProblem(f"it has {len(value):,} bytes, and at most {most:,} are taken; {instead}")


def _text(value: bytes) -> str:
    """What stands outside of blocks is a comment, in whatever script: no block holds more than ASCII."""
    return value.decode("ascii", "replace")


def _blocks(value: bytes) -> Iterator[tuple[str, str]]:
    """Labels and bodies of PEM blocks, wherever they begin: indented ones are what YAML makes of them."""
    for match in _BLOCK.finditer(_text(value)):
        yield match[1], match[2]


def _der(body: str) -> bytes:
    """Raises ValueError."""
    try:
        return base64.b64decode("".join(body.split()), validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
