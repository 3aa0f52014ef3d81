"""TLS material as contexts: made beside the event loop, bounded by bytes, and gone with the book that named it.

What somebody writes who wants all calls of a sender to stop is refused by the sender as well: an older operator may
have let it pass.
"""

from __future__ import annotations

import asyncio
import gc
import ssl
import threading
import weakref
from collections.abc import AsyncIterator

import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import rsa

from doubles.keys import block, rsa_numbers, rsa_pem
from doubles.raw_receiver import RawReceiver, answering
from hookline.delivery.http import tls
from hookline.delivery.http.attempt import Caller
from hookline.delivery.http.call import Call, TlsMaterial
from hookline.delivery.http.progress import InvalidCallError
from hookline.delivery.http.tls import TlsContexts, tls_context
from hookline.delivery.policy.retry import Reason
from hookline.resources.egress_policy import EgressPolicy, parse_cidrs

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
CA = trustme.CA()


def another() -> TlsMaterial:
    return TlsMaterial(ca_pem=trustme.CA().cert_pem.bytes())


@pytest.fixture
async def contexts() -> AsyncIterator[TlsContexts]:
    contexts = TlsContexts()
    yield contexts
    contexts.close()


def costly_keys() -> list[bytes]:
    numbers = rsa_numbers(rsa.generate_private_key(65537, 2048))
    larger = numbers["d"] + (numbers["p"] - 1) * (numbers["q"] - 1) * 2**20000
    return [HASHED_2_147_483_647_TIMES, b"x" * 9000, rsa_pem(**(numbers | {"d": larger}))]


@pytest.mark.parametrize("key", costly_keys(), ids=["encrypted", "long", "inconsistent"])
def test_a_key_that_would_take_long_is_refused_by_the_sender_too(key: bytes) -> None:
    chain = CA.issue_cert("sender").cert_chain_pems[0].bytes()
    with pytest.raises(InvalidCallError, match=r"tls\.key of the Secret named in tls\.clientCertSecretRef: "):
        tls_context(TlsMaterial(client_cert_pem=chain, client_key_pem=key))


def test_what_is_taken_from_a_secret_is_taken_by_openssl() -> None:
    sender = CA.issue_cert("sender", key_type=trustme.KeyType.RSA)
    der = ssl.PEM_cert_to_DER_cert(CA.cert_pem.bytes().decode())
    key = b"  ".join(sender.private_key_pem.bytes().splitlines(keepends=True))
    chain = b"Bag Attributes: \xff\n" + sender.cert_chain_pems[0].bytes().replace(b"\n", b"\r\n")
    context = tls_context(TlsMaterial(block("X509 CERTIFICATE", der), chain, key))
    assert context.get_ca_certs(binary_form=True) == [der]


def test_no_receiver_may_choose_a_group_that_takes_long_to_agree_in() -> None:
    ciphers = [each["name"] for each in tls_context(None).get_ciphers()]
    assert any(name.startswith("ECDHE-") for name in ciphers)
    assert any(name.startswith("TLS_") for name in ciphers)
    assert not any(name.startswith("DHE-") for name in ciphers)


async def test_a_context_is_made_once_and_beside_the_event_loop(
    contexts: TlsContexts, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, made_in = threading.Event(), []

    def slow(material: TlsMaterial | None) -> tls.TlsContext:
        made_in.append(threading.current_thread())
        assert go.wait(10)
        return tls_context(material)

    monkeypatch.setattr(tls, "tls_context", slow)
    material = another()
    impatient = asyncio.create_task(contexts.get(material))
    patient = asyncio.create_task(contexts.get(material))
    await asyncio.sleep(0)
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    go.set()

    assert await patient is await contexts.get(material)
    assert len(made_in) == 1
    assert made_in[0] is not threading.main_thread()


async def test_contexts_are_bounded_by_what_they_hold_and_the_oldest_goes_first() -> None:
    materials = [another() for _ in range(3)]
    contexts = TlsContexts(most_bytes=2 * tls._held_bytes(materials[0]) + 1000)
    first, second = [await contexts.get(each) for each in materials[:2]]
    assert await contexts.get(materials[0]) is first
    await contexts.get(materials[2])

    assert await contexts.get(materials[0]) is first
    assert await contexts.get(materials[1]) is not second
    contexts.close()


async def test_a_context_larger_than_the_bound_still_serves() -> None:
    contexts = TlsContexts(most_bytes=1)
    material = another()
    assert await contexts.get(material) is await contexts.get(material)
    contexts.close()


async def test_why_material_is_unusable_is_found_out_once(
    contexts: TlsContexts, monkeypatch: pytest.MonkeyPatch
) -> None:
    unusable = TlsMaterial(ca_pem=b"x")
    with pytest.raises(InvalidCallError) as found:
        await contexts.get(unusable)
    monkeypatch.delattr(tls, "tls_context")
    with pytest.raises(InvalidCallError, match=str(found.value)[:40]):
        await contexts.get(unusable)


async def test_material_that_left_the_book_is_held_by_nobody() -> None:
    caller = Caller(lambda: EgressPolicy(parse_cidrs(["127.0.0.0/8"])))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    CA.issue_cert("127.0.0.1").configure_cert(server)
    stays, leaves = TlsMaterial(ca_pem=CA.cert_pem.bytes()), TlsMaterial(ca_pem=CA.cert_pem.bytes() * 2)
    ended = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
    async with RawReceiver(server, answering(ended)) as receiver:
        for material in (stays, leaves):
            outcome = await caller.call(Call(f"https://127.0.0.1:{receiver.port}/", (), b"", 5, material))
            assert outcome.reason is Reason.DELIVERED
    kept, dropped = [weakref.ref(await caller._contexts.get(each)) for each in (stays, leaves)]
    caller.keep_only({stays})
    async with asyncio.timeout(10):  # the connection is being closed
        while dropped() is not None:
            await asyncio.sleep(0.01)
            gc.collect()

    assert kept() is not None
    await caller.aclose()
