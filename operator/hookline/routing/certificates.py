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
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)
from cryptography.x509.oid import SignatureAlgorithmOID as O

MAX_CERTIFICATES_BYTES = 64 * 1024
"""Of one value of a Secret: some forty CAs. A bundle of all public ones has more than 200 KB."""
MAX_PRIVATE_KEY_BYTES = 8 * 1024
"""RSA with 4,096 bits takes 3.2 KiB as PEM."""
_RSA_BITS = range(2048, 4096 + 1)
"""Twice the bits take each handshake eight times as long. OpenSSL shows no smaller ones at our security level."""
_MAX_PUBLIC_EXPONENT_BITS = 64
"""OpenSSL blinds signatures with it. 17 bits are usual."""
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_SIGNATURES = frozenset(
    {O.RSA_WITH_SHA224, O.RSA_WITH_SHA256, O.RSA_WITH_SHA384, O.RSA_WITH_SHA512, O.RSASSA_PSS}
    | {O.RSA_WITH_SHA3_224, O.RSA_WITH_SHA3_256, O.RSA_WITH_SHA3_384, O.RSA_WITH_SHA3_512}
    | {O.ECDSA_WITH_SHA224, O.ECDSA_WITH_SHA256, O.ECDSA_WITH_SHA384, O.ECDSA_WITH_SHA512}
    | {O.DSA_WITH_SHA224, O.DSA_WITH_SHA256, O.ED25519, O.ED448}
)
"""With which a certificate may be signed that a sender shows: OpenSSL 3.0 shows no other, at our security level."""
_OLD_SIGNATURES = {
    O.RSA_WITH_MD5: rsa.RSAPublicKey,
    O.RSA_WITH_SHA1: rsa.RSAPublicKey,
    O.DSA_WITH_SHA1: dsa.DSAPublicKey,
    O.ECDSA_WITH_SHA1: ec.EllipticCurvePublicKey,
}
"""It shows these on a certificate that vouches for itself, by the kind of key with which they are made."""
_WEAK_HASHES = frozenset({"md5", "sha1"})
_EC_BITS = 224
"""At least, of each key in what a sender shows: our security level is 112 bits."""

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
    for number, each in enumerate(chain, start=1):
        if not _may_be_shown_for_its_signature(each):
            raise CertificateProblem(
                f"its certificate {number} is signed over MD5 or SHA-1, or in a way that OpenSSL does not know; have "
                "it issued with SHA-256"
            )
        # Of the first one client_key judges it.
        if number > 1 and not _may_be_shown_for_its_key(each):
            raise CertificateProblem(
                f"its certificate {number} has a key that OpenSSL does not know, or holds to be too small; write the "
                "certificates of a CA that has RSA with at least 2,048 bits, or EC"
            )
    return [each.public_bytes(Encoding.DER) for each in chain]


def client_key(value: bytes, chain: Sequence[bytes]) -> str:
    """The private key to the first certificate of `chain`, as PEM. Raises CertificateProblem."""
    key = _private_key(value)
    if isinstance(key, rsa.RSAPrivateKey):
        _judge_rsa(key)
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        _judge_ec(key)
    if _spki(key.public_key()) != _spki(_key_of(x509.load_der_x509_certificate(chain[0]))):
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


def _key_of(certificate: x509.Certificate) -> object:
    try:
        return certificate.public_key()
    except _UNREADABLE:
        return None


def _spki(key: object) -> bytes | None:
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
        return None
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _may_be_shown_for_its_signature(certificate: x509.Certificate) -> bool:
    """By the rules of OpenSSL, which gives no way to ask it without writing a file."""
    kind = certificate.signature_algorithm_oid
    if kind in _OLD_SIGNATURES:
        return _vouches_for_itself(certificate) and isinstance(_key_of(certificate), _OLD_SIGNATURES[kind])
    return kind in _SIGNATURES and (kind != O.RSASSA_PSS or _hash_name(certificate) not in ("", *_WEAK_HASHES))


def _vouches_for_itself(certificate: x509.Certificate) -> bool:
    """A root, whose signature nobody looks at. It must not name another one as its issuer."""
    own, issuer = x509.SubjectKeyIdentifier, x509.AuthorityKeyIdentifier
    extensions = {type(each.value): each.value for each in certificate.extensions}
    mine, its = extensions.get(own), extensions.get(issuer)
    if certificate.issuer != certificate.subject:
        return False
    if not isinstance(its, issuer):
        return True
    same_key = its.key_identifier is None or not isinstance(mine, own) or its.key_identifier == mine.digest
    return same_key and its.authority_cert_serial_number in (None, certificate.serial_number)


def _may_be_shown_for_its_key(certificate: x509.Certificate) -> bool:
    key = _key_of(certificate)
    if isinstance(key, rsa.RSAPublicKey | dsa.DSAPublicKey):
        return key.key_size >= _RSA_BITS[0]
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key.curve.key_size >= _EC_BITS
    return isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey)


def _hash_name(certificate: x509.Certificate) -> str:
    try:
        algorithm = certificate.signature_hash_algorithm
    except _UNREADABLE:
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
