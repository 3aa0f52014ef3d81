"""Private keys as no tool makes them, and ways in which people write certificates into files."""

from __future__ import annotations

import base64
import datetime
import textwrap
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat


def block(label: str, der: bytes) -> bytes:
    lines = "\n".join(textwrap.wrap(base64.b64encode(der).decode(), 64))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n".encode()


def certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    signed_by: ec.EllipticCurvePrivateKey,
    *,
    is_ca: bool = False,
    dns_names: Sequence[str] = (),
) -> bytes:
    """A certificate without key identifiers, and without the names that it is for unless they are given."""
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(_called(name)).issuer_name(_called(issuer))
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(
        now + datetime.timedelta(days=9)
    )
    if is_ca:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    if dns_names:
        listed = [x509.DNSName(each) for each in dns_names]
        builder = builder.add_extension(x509.SubjectAlternativeName(listed), critical=False)
    return builder.sign(signed_by, hashes.SHA256()).public_bytes(Encoding.PEM)


def _called(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def rsa_pem(n: int, e: int, d: int, p: int, q: int, dmp1: int, dmq1: int, iqmp: int) -> bytes:
    """An RSA key of any numbers (RFC 8017, A.1.2): libraries refuse to write most of them."""
    numbers = b"".join(_integer(each) for each in (0, n, e, d, p, q, dmp1, dmq1, iqmp))
    return block("RSA PRIVATE KEY", b"\x30" + _length(numbers) + numbers)


def rsa_numbers(key: rsa.RSAPrivateKey) -> dict[str, int]:
    numbers = key.private_numbers()
    return {
        "n": numbers.public_numbers.n,
        "e": numbers.public_numbers.e,
        **{name: getattr(numbers, name) for name in ("d", "p", "q", "dmp1", "dmq1", "iqmp")},
    }


def pem_of(key: object, form: PrivateFormat = PrivateFormat.PKCS8) -> bytes:
    pem: bytes = key.private_bytes(Encoding.PEM, form, NoEncryption())  # type: ignore[attr-defined]
    return pem


def _integer(number: int) -> bytes:
    content = number.to_bytes(number.bit_length() // 8 + 1)
    return b"\x02" + _length(content) + content


def _length(content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes([size])
    digits = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([0x80 | len(digits)]) + digits


def signed_in_the_way(der: bytes, algorithm: str) -> bytes:
    """A certificate that says it was signed in another way (an object identifier) than it was."""
    outer = _values(_values(der)[0][1])
    inner = [encoded for encoded, _ in _values(outer[0][1])]
    # RFC 5280, 4.1: version, serial number, signature. RSA's identifiers have the parameter NULL (RFC 3279, 2.2.1).
    null = b"\x05\x00" if algorithm.startswith("1.2.840.113549.") else b""
    inner[2] = said = _sequence(_identifier(algorithm) + null)
    return _sequence(_sequence(b"".join(inner)) + said + outer[2][0])


def _values(content: bytes) -> list[tuple[bytes, bytes]]:
    """The values that follow one another in DER: each as it is, and its content."""
    found, at = [], 0
    while at < len(content):
        size, start = content[at + 1], at + 2
        if size & 0x80:
            start += size & 0x7F
            size = int.from_bytes(content[at + 2 : start])
        found.append((content[at : start + size], content[start : start + size]))
        at = start + size
    return found


def _sequence(content: bytes) -> bytes:
    return b"\x30" + _length(content) + content


def _identifier(dotted: str) -> bytes:
    first, second, *others = map(int, dotted.split("."))
    content = bytes([first * 40 + second])
    for number in others:
        sevens = [number >> shift & 0x7F | 0x80 for shift in range(0, max(number.bit_length(), 1), 7)][::-1]
        content += bytes([*sevens[:-1], sevens[-1] & 0x7F])
    return b"\x06" + _length(content) + content
