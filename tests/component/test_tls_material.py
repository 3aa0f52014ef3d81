"""TLS material of somebody who wants all calls of a sender to stop: nothing interrupts what OpenSSL does with it."""

from __future__ import annotations

import pytest
import trustme

from hookline.delivery.progress import InvalidCallError
from hookline.delivery.tls import MAX_PRIVATE_KEY_BYTES, TlsMaterial, tls_context

HASHED_2_147_483_647_TIMES = b"""-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHuMFkGCSqGSIb3DQEFDTBMMCsGCSqGSIb3DQEFDDAeBAjgrNve6Q0e3wIEf///
/zAMBggqhkiG9w0CCQUAMB0GCWCGSAFlAwQBKgQQsLlkR602hiNut5KiwLOczgSB
kKZPkbAMaCa+j/PPWXuxVrjBhllMd0SZjIQrH/slTCw+UvKPXc8DehX7LKDnKIKD
D1mwf5GsmVMf4KZzxLQhI1WoQMiVZWjp3mSO5m3jZINxoFAAfR/hwxsoUvusfSag
8nj/npAbKfGfoZoXPFfcFhvy/ds1cfOYmnjnikUbhlghaSqiKcf+zZ06vOqLJhDl
mg==
-----END ENCRYPTED PRIVATE KEY-----
"""
"""`openssl pkcs8 -topk8 -iter … -passout pass:`, with the largest number: ten minutes until it is found to be wrong."""


def test_a_key_that_is_encrypted_is_refused_before_it_is_hashed() -> None:
    certificate = trustme.CA().issue_cert("sender").cert_chain_pems[0].bytes()
    with pytest.raises(InvalidCallError, match="its unencrypted PEM key"):
        tls_context(TlsMaterial(client_cert_pem=certificate, client_key_pem=HASHED_2_147_483_647_TIMES))


def test_a_key_that_takes_long_to_sign_with_is_refused() -> None:
    with pytest.raises(InvalidCallError, match="larger than 8192 bytes"):
        tls_context(TlsMaterial(client_cert_pem=b"x", client_key_pem=b"x" * (MAX_PRIVATE_KEY_BYTES + 1)))


def test_no_receiver_may_choose_a_group_that_takes_long_to_agree_in() -> None:
    ciphers = [each["name"] for each in tls_context(None).get_ciphers()]
    assert any(name.startswith("ECDHE-") for name in ciphers)
    assert any(name.startswith("TLS_") for name in ciphers)
    assert not any(name.startswith("DHE-") for name in ciphers)
