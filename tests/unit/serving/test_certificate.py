"""The certificate that a gateway shows, from files that are replaced while it runs."""

from __future__ import annotations

import contextlib
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from doubles import client_certificates
from doubles.client_certificates import Issued
from hookline.serving.certificate import Certificate


def write(folder: Path, leaf: trustme.LeafCert) -> None:
    leaf.cert_chain_pems[0].write_to_path(folder / "tls.crt")
    leaf.private_key_pem.write_to_path(folder / "tls.key")


def shown_by(context: ssl.SSLContext, authority: trustme.CA) -> bytes | None:
    """The certificate that a client sees, which trusts the authority and no other."""
    trust = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trust.wrap_bio(to_client, to_server, server_hostname="gateway.test")
    server = context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (client, server):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return client.getpeercert(binary_form=True)


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def test_a_new_certificate_counts_for_connections_from_then_on(tmp_path: Path, authority: trustme.CA) -> None:
    write(tmp_path, authority.issue_cert("gateway.test"))
    certificate = Certificate(tmp_path / "tls.crt", tmp_path / "tls.key")
    first = shown_by(certificate.context, authority)
    certificate.reload()
    assert shown_by(certificate.context, authority) == first
    write(tmp_path, authority.issue_cert("gateway.test"))
    certificate.reload()
    assert shown_by(certificate.context, authority) not in (None, first)


def test_a_pair_that_comes_between_a_certificate_and_its_key_is_shown_at_once(
    tmp_path: Path, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, authority.issue_cert("gateway.test"))
    certificate = Certificate(tmp_path / "tls.crt", tmp_path / "tls.key")
    new, load = authority.issue_cert("gateway.test"), Certificate._load_into
    write(tmp_path, authority.issue_cert("gateway.test"))

    def comes_between(self: Certificate, context: ssl.SSLContext) -> None:
        if context is self.context:
            monkeypatch.setattr(Certificate, "_load_into", load)
            new.private_key_pem.write_to_path(tmp_path / "tls.key")
            try:
                load(self, context)
            finally:
                write(tmp_path, new)
        else:
            load(self, context)

    monkeypatch.setattr(Certificate, "_load_into", comes_between)
    certificate.reload()
    assert shown_by(certificate.context, authority) == ssl.PEM_cert_to_DER_cert(new.cert_chain_pems[0].bytes().decode())


@pytest.mark.parametrize("broken", ["key of another", "no certificate", "gone", "encrypted"])
def test_what_cannot_be_used_changes_nothing(tmp_path: Path, authority: trustme.CA, broken: str) -> None:
    write(tmp_path, authority.issue_cert("gateway.test"))
    certificate = Certificate(tmp_path / "tls.crt", tmp_path / "tls.key")
    first = shown_by(certificate.context, authority)
    other = authority.issue_cert("gateway.test")
    if broken == "key of another":
        other.cert_chain_pems[0].write_to_path(tmp_path / "tls.crt")
    elif broken == "no certificate":
        (tmp_path / "tls.crt").write_text("nothing")
    elif broken == "gone":
        (tmp_path / "tls.key").unlink()
    else:
        key = serialization.load_pem_private_key(other.private_key_pem.bytes(), None)
        pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        (tmp_path / "tls.key").write_bytes(
            key.private_bytes(pem, pkcs8, serialization.BestAvailableEncryption(b"word"))
        )
    certificate.reload()
    assert shown_by(certificate.context, authority) == first
    write(tmp_path, other)
    certificate.reload()
    assert shown_by(certificate.context, authority) not in (None, first)


def test_without_a_first_one_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        Certificate(tmp_path / "tls.crt", tmp_path / "tls.key")


def test_when_the_certificate_that_is_shown_ends_is_known(tmp_path: Path, authority: trustme.CA) -> None:
    ends = [datetime(2030, 1, day, tzinfo=UTC) for day in (1, 2)]
    write(tmp_path, authority.issue_cert("gateway.test", not_after=ends[0]))
    certificate = Certificate(tmp_path / "tls.crt", tmp_path / "tls.key")
    assert certificate.expires_s == ends[0].timestamp()
    write(tmp_path, authority.issue_cert("gateway.test", not_after=ends[1]))
    (tmp_path / "tls.key").write_text("half of a key")
    certificate.reload()
    assert certificate.expires_s == ends[0].timestamp()
    write(tmp_path, authority.issue_cert("gateway.test", not_after=ends[1]))
    certificate.reload()
    assert certificate.expires_s == ends[1].timestamp()


def shown_to(context: ssl.SSLContext, client: Issued | None, authority: trustme.CA, folder: Path) -> bytes | None:
    """The certificate that a server sees, which this context makes. Raises ssl.SSLError when it lets nobody in."""
    trust = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
    if client is not None:
        trust.load_cert_chain(*client.write(folder))
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = trust.wrap_bio(to_client, to_server, server_hostname="gateway.test")
    server = context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (asking, server):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return server.getpeercert(binary_form=True)


def test_clients_are_asked_for_a_certificate_of_the_cas_that_are_trusted_now(
    tmp_path: Path, authority: trustme.CA
) -> None:
    write(tmp_path, authority.issue_cert("gateway.test"))
    certificate = Certificate(tmp_path / "tls.crt", tmp_path / "tls.key")
    first, second = client_certificates.authority(), client_certificates.authority()
    mine = first.issue("front-proxy-client")
    assert shown_to(certificate.context, mine, authority, tmp_path) is None
    certificate.trust(first.pem)
    assert shown_to(certificate.context, mine, authority, tmp_path) is not None
    assert shown_to(certificate.context, None, authority, tmp_path) is None
    certificate.trust(first.pem + second.pem)
    assert shown_to(certificate.context, mine, authority, tmp_path) is not None
    certificate.trust(second.pem)
    with pytest.raises(ssl.SSLError):
        shown_to(certificate.context, mine, authority, tmp_path)
    certificate.trust("")
    assert shown_to(certificate.context, mine, authority, tmp_path) is None


def test_a_new_certificate_is_shown_by_what_asks_clients_too(tmp_path: Path, authority: trustme.CA) -> None:
    write(tmp_path, authority.issue_cert("gateway.test"))
    certificate = Certificate(tmp_path / "tls.crt", tmp_path / "tls.key")
    certificate.trust(client_certificates.authority().pem)
    first = shown_by(certificate.context, authority)
    write(tmp_path, authority.issue_cert("gateway.test"))
    certificate.reload()
    assert shown_by(certificate.context, authority) not in (None, first)


def test_what_are_no_certificates_changes_nobodys_trust(tmp_path: Path, authority: trustme.CA) -> None:
    write(tmp_path, authority.issue_cert("gateway.test"))
    certificate = Certificate(tmp_path / "tls.crt", tmp_path / "tls.key")
    before = certificate.context
    with pytest.raises((OSError, ValueError)):
        certificate.trust("rubbish")
    assert certificate.context is before
