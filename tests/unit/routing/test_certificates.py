"""What a Secret may hold as certificates and keys. What is taken, OpenSSL takes; what is refused says what to write."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import ssl
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from cryptography.x509.oid import SignatureAlgorithmOID
from hypothesis import given, settings
from hypothesis import strategies as st

from doubles.keys import block, pem_of, rsa_numbers, rsa_pem, signed_in_the_way
from hookline.routing.certificates import (
    MAX_CERTIFICATES_BYTES,
    CertificateProblem,
    authorities,
    client_chain,
    client_key,
    pem,
)

CA = trustme.CA()
ONE = CA.cert_pem.bytes()
TWO = trustme.CA().cert_pem.bytes()
DER = ssl.PEM_cert_to_DER_cert(ONE.decode())


def indented(text: bytes) -> bytes:
    return b"".join(b"  " + line for line in text.splitlines(keepends=True))


@functools.cache
def rsa_key(bits: int = 2048, e: int = 65537) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(e, bits)


def certificate(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sender")])
    like = x509.load_pem_x509_certificate(ONE)
    builder = x509.CertificateBuilder().issuer_name(name).subject_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(like.not_valid_before_utc)
    builder = builder.not_valid_after(like.not_valid_after_utc)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.PEM)


@pytest.mark.parametrize(
    "value",
    [
        ONE,
        ONE.replace(b"\n", b"\r\n"),
        ONE.replace(b"\n", b"\r"),
        b"\xef\xbb\xbf" + ONE,
        b"# Certificaci\xf3n\n" + ONE,
        "# Zertifizierungsstelle für Österreich\n".encode() + ONE,
        indented(ONE),
        b"subject=CN = x\nissuer=CN = y\n" + ONE + b"trailing words",
        ONE.replace(b"BEGIN CERT", b"BEGIN X509 CERT").replace(b"END CERT", b"END X509 CERT"),
        block("CERTIFICATE", DER).replace(b"\n", b"\n\n"),
        b"-----BEGIN CERTIFICATE-----\n" + b"".join(ONE.splitlines()[1:-1]) + b"\n-----END CERTIFICATE-----",
        ONE.rstrip(b"\n"),
        ONE + pem_of(rsa_key()),
        b"\x00\x00" + ONE,
    ],
)
def test_one_ca_is_read_however_it_was_written_and_given_in_one_form(value: bytes) -> None:
    assert pem(authorities(value)).encode() == ONE


def test_all_of_several_cas_are_read_in_their_order() -> None:
    assert pem(authorities(indented(ONE) + b"old one:\n" + TWO)).encode() == ONE + TWO


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (b"", "holds no whole PEM certificate"),
        (b"no certificate", "holds no whole PEM certificate"),
        (DER, "openssl x509 -inform DER"),
        (ONE.decode().encode("utf-16"), "holds no whole PEM certificate"),
        (ONE + ONE[:200], "holds no whole PEM certificate"),
        (ONE[:-30], "holds no whole PEM certificate"),
        (block("TRUSTED CERTIFICATE", DER), "TRUSTED CERTIFICATE"),
        (block("CERTIFICATE REQUEST", DER), "holds no whole PEM certificate"),
        (pem_of(rsa_key()), "holds no whole PEM certificate"),
        (block("CERTIFICATE", DER + b"\x00"), "its certificate 1 cannot be read"),
        (ONE + block("CERTIFICATE", b"\x30\x03\x02\x01\x00"), "its certificate 2 cannot be read"),
        (ONE.replace(b"M", b"\xd0\x9c", 1), "its certificate 1 cannot be read"),
        (ONE + b" " * MAX_CERTIFICATES_BYTES, "at most 65,536 are taken"),
        (b"-----BEGIN A-----" * 3000, "holds no whole PEM certificate"),
    ],
)
def test_what_is_no_ca_is_refused_with_what_to_write(value: bytes, told: str) -> None:
    with pytest.raises(CertificateProblem, match=told):
        authorities(value)


@settings(max_examples=int(os.environ.get("FUZZ_EXAMPLES", "200")), deadline=None)
@given(
    st.sampled_from([DER, ssl.PEM_cert_to_DER_cert(CA.issue_cert("a.test").cert_chain_pems[0].bytes().decode())]),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=3),
)
def test_a_spoiled_certificate_is_refused_or_is_one_that_openssl_reads(
    der: bytes, changes: list[tuple[int, int]]
) -> None:
    spoiled = bytearray(der)
    for place, byte in changes:
        spoiled[place % len(der)] = byte
    try:
        found = authorities(block("CERTIFICATE", bytes(spoiled)))
    except CertificateProblem:
        return
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=found[0])


def test_a_certificate_of_no_known_version_is_refused() -> None:
    assert DER.count(b"\xa0\x03\x02\x01\x02") == 1
    with pytest.raises(CertificateProblem, match="certificate 1 cannot be read"):
        authorities(block("CERTIFICATE", DER.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07")))


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
@pytest.mark.parametrize(
    "key",
    [
        rsa_key(),
        rsa_key(e=3),
        rsa_key(4096),
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP521R1()),
    ],
)
def test_usual_keys_are_taken_in_each_form(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, form: PrivateFormat
) -> None:
    chain = client_chain(certificate(key) + ONE)
    parameters = block("EC PARAMETERS", bytes.fromhex("06082a8648ce3d030107"))
    assert client_key(parameters + indented(pem_of(key, form)), chain).encode() == pem_of(key)
    assert len(chain) == 2


def test_an_ed25519_key_is_taken() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    assert client_key(pem_of(key), client_chain(certificate(key)))


HONEST = rsa_numbers(rsa_key())


@pytest.mark.parametrize(
    "false",
    [
        {"d": HONEST["d"] + (HONEST["p"] - 1) * (HONEST["q"] - 1) * 2**20000},
        {"d": HONEST["d"] + 2},
        {"dmp1": 1},
        {"dmq1": 1},
        {"iqmp": 1},
        {"p": 3, "q": HONEST["n"] // 3},
        {"p": HONEST["n"], "q": 1},
        {"p": 1, "q": HONEST["n"]},
        {"p": HONEST["q"], "q": HONEST["p"]},
        {"e": 2**80 + 1},
        {"e": 1},
    ],
    ids=lambda false: "-".join(false),
)
def test_an_rsa_key_whose_numbers_do_not_belong_together_is_refused(false: dict[str, int]) -> None:
    value = rsa_pem(**(HONEST | false))
    with pytest.raises(CertificateProblem, match=r"belong together|cannot be read|not the key of"):
        client_key(value, client_chain(certificate(rsa_key())))


def test_the_key_of_16384_bits_that_stopped_a_sender_is_refused() -> None:
    huge = {"n": 2**16383 + 1, "e": 65537, "d": 2**28000 + 1, "p": 3, "q": 5, "dmp1": 1, "dmq1": 1, "iqmp": 1}
    with pytest.raises(CertificateProblem, match=r"16384 bits; write one with 2,048 to 4,096|cannot be read"):
        client_key(rsa_pem(**huge), client_chain(certificate(rsa_key())))


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (b"", "one unencrypted PEM key"),
        (pem_of(rsa_key()) * 2, "one unencrypted PEM key"),
        (ONE, "one unencrypted PEM key"),
        (
            rsa_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")),
            "without a password",
        ),
        (
            rsa_key().private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(b"x")),
            "without a password",
        ),
        (block("PRIVATE KEY", b"\x30\x00"), "cannot be read"),
        (pem_of(ec.generate_private_key(ec.SECP256K1())), "another curve"),
        (pem_of(rsa_key(e=3)), "not the key of the first certificate"),
        (pem_of(ed25519.Ed25519PrivateKey.generate()), "not the key of the first certificate"),
        (pem_of(rsa_key()) + b"#" * 8192, "at most 8,192 are taken"),
    ],
)
def test_what_is_not_the_key_is_refused_with_what_to_write(value: bytes, told: str) -> None:
    with pytest.raises(CertificateProblem, match=told):
        client_key(value, client_chain(certificate(rsa_key())))


def test_a_small_rsa_key_which_openssl_would_not_show_is_refused() -> None:
    key = rsa_key(1024)
    with pytest.raises(CertificateProblem, match="1024 bits"):
        client_key(pem_of(key), client_chain(certificate(key)))


def test_what_is_taken_as_an_authority_openssl_takes_whatever_byte_of_it_is_damaged() -> None:
    der = ssl.PEM_cert_to_DER_cert(trustme.CA().cert_pem.bytes().decode())
    for place, byte in itertools.product(range(len(der)), (0x04, 0x17, 0xFF)):
        damaged = der[:place] + bytes([byte]) + der[place + 1 :]
        with contextlib.suppress(CertificateProblem):
            for each in authorities(ssl.DER_cert_to_PEM_cert(damaged).encode()):
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=each)


EC_KEY = ec.generate_private_key(ec.SECP256R1())
WAYS = sorted(
    each.dotted_string for each in vars(SignatureAlgorithmOID).values() if isinstance(each, x509.ObjectIdentifier)
)
UNKNOWN = "1.2.3.4"
ECDSA_SHA1 = SignatureAlgorithmOID.ECDSA_WITH_SHA1.dotted_string
RSA_SHA1 = SignatureAlgorithmOID.RSA_WITH_SHA1.dotted_string


def issued(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey,
    issuer: str,
    issuer_key_id: bytes = b"",
) -> bytes:
    """A certificate of `sender`, in DER."""
    like = x509.load_pem_x509_certificate(certificate(key))
    builder = x509.CertificateBuilder().subject_name(like.subject).public_key(key.public_key())
    builder = builder.issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
    builder = builder.serial_number(1).not_valid_before(like.not_valid_before_utc)
    builder = builder.not_valid_after(like.not_valid_after_utc)
    if issuer_key_id:
        builder = builder.add_extension(x509.SubjectKeyIdentifier(b"own"), critical=False)
        builder = builder.add_extension(x509.AuthorityKeyIdentifier(issuer_key_id, None, None), critical=False)
    return builder.sign(EC_KEY, hashes.SHA256()).public_bytes(Encoding.DER)


def openssl_shows(chain: bytes, folder: Path) -> bool:
    file = folder / "chain.pem"
    file.write_bytes(chain + pem_of(EC_KEY))
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(file)
    except ssl.SSLError:
        return False
    return True


def we_take(chain: bytes) -> bool:
    try:
        return bool(client_chain(chain))
    except CertificateProblem:
        return False


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("way", [*WAYS, UNKNOWN])
@pytest.mark.parametrize("issuer", ["ca", "sender"])
def test_a_signature_that_openssl_does_not_show_is_refused(way: str, issuer: str, tmp_path: Path) -> None:
    first = block("CERTIFICATE", signed_in_the_way(issued(EC_KEY, issuer), way))
    second = block("CERTIFICATE", issued(EC_KEY, "ca")) + first
    assert we_take(first) == we_take(second)
    assert openssl_shows(second, tmp_path) or not we_take(second)


@pytest.mark.parametrize(
    ("chain", "taken"),
    [
        (issued(EC_KEY, "ca"), True),
        (signed_in_the_way(issued(EC_KEY, "ca"), ECDSA_SHA1), False),
        (signed_in_the_way(issued(EC_KEY, "sender"), ECDSA_SHA1), True),
        (signed_in_the_way(issued(EC_KEY, "sender", b"own"), ECDSA_SHA1), True),
        (signed_in_the_way(issued(EC_KEY, "sender", b"other"), ECDSA_SHA1), False),
        (signed_in_the_way(issued(EC_KEY, "sender"), RSA_SHA1), False),
        (issued(rsa_key(1024), "ca"), False),
        (issued(rsa_key(2048), "ca"), True),
        (issued(ec.generate_private_key(ec.SECP192R1()), "ca"), False),
        (issued(ed25519.Ed25519PrivateKey.generate(), "ca"), True),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_vouches_for_a_client_certificate_is_judged_as_openssl_judges_it(
    chain: bytes, taken: bool, tmp_path: Path
) -> None:
    shown = block("CERTIFICATE", issued(EC_KEY, "ca")) + block("CERTIFICATE", chain)
    assert we_take(shown) is openssl_shows(shown, tmp_path) is taken


def test_a_certificate_that_is_signed_in_an_unknown_way_is_told_with_its_number() -> None:
    unknown = block("CERTIFICATE", signed_in_the_way(issued(EC_KEY, "ca"), UNKNOWN))
    with pytest.raises(
        CertificateProblem, match=r"its certificate 2 is signed .* that OpenSSL does not know; have it issued"
    ):
        client_chain(block("CERTIFICATE", issued(EC_KEY, "ca")) + unknown)


def test_an_authority_may_be_signed_in_whatever_way_since_nobody_looks_at_that() -> None:
    ca = signed_in_the_way(issued(EC_KEY, "sender"), UNKNOWN)
    assert authorities(block("CERTIFICATE", ca)) == [ca]
