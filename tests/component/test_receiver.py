"""The local receiver, called over real TLS."""

from __future__ import annotations

import asyncio
import base64
import gzip
import logging
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import standardwebhooks
import svix.webhooks
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from hookline.local.receiver import (
    MAX_ANSWER_TIMES,
    MAX_BODY_BYTES,
    Answer,
    ReceivedCall,
    Receiver,
    new_secret,
    parse_answer,
)
from hookline.routing.signing import HmacKey, parse_key

SECRET = "whsec_" + base64.b64encode(b"a secret to verify with, 32 bytes").decode()
OTHER_SECRET = "whsec_" + base64.b64encode(b"another one, of as many bytes...").decode()
APP_KEY = "canary-app-key-7d1f"
BODY = b'{"IdentityId": "caf\xc3\xa9"}'


@asynccontextmanager
async def receiving(**options: Any) -> AsyncIterator[tuple[Receiver, httpx.AsyncClient, list[ReceivedCall]]]:
    """A receiver, a client that trusts it, and the calls that arrived."""
    calls: list[ReceivedCall] = []
    options.setdefault("on_call", calls.append)
    async with (
        Receiver(**{"secret": SECRET, **options}) as receiver,
        httpx.AsyncClient(base_url=receiver.url, verify=trusting(receiver), timeout=10) as client,
    ):
        yield receiver, client, calls


def trusting(receiver: Receiver) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=receiver.ca_pem)


def signed(
    message_id: str = "msg_1",
    *,
    body: bytes = BODY,
    at: datetime | None = None,
    secret: str = SECRET,
) -> dict[str, str]:
    at = at or datetime.now(UTC)
    signature = standardwebhooks.Webhook(secret).sign(message_id, at, body.decode())
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": signature,
    }


async def test_a_signed_call_is_verified_and_reported_as_it_was_sent() -> None:
    before = datetime.now(UTC)
    headers = signed() | {
        "hookline-event-type": "IdentityCreated",
        "hookline-tenant": "team-a",
        "hookline-attempt": "3",
    }
    async with receiving() as (_, client, calls):
        response = await client.post("/hook%20one?key=a%2Fb&key=", content=BODY, headers=headers)

    [call] = calls
    assert response.status_code == 200
    assert (call.verified, call.reason, call.is_verified) == ("signature", "", True)
    assert (call.webhook_id, call.event_type, call.tenant, call.attempt) == ("msg_1", "IdentityCreated", "team-a", 3)
    assert call.path_and_query == "/hook%20one?key=a%2Fb&key="
    assert (call.answered, call.body) == (200, BODY)
    assert call.headers["Webhook-ID"] == "msg_1"
    assert before <= call.at <= datetime.now(UTC)


async def test_a_call_signed_by_another_library_is_verified() -> None:
    at = datetime.now(UTC)
    headers = signed(at=at) | {"webhook-signature": svix.webhooks.Webhook(SECRET).sign("msg_1", at, BODY.decode())}
    async with receiving() as (_, client, calls):
        await client.post("/", content=BODY, headers=headers)
    assert calls[0].verified == "signature"


async def test_one_right_signature_of_several_is_enough() -> None:
    headers = signed()
    headers["webhook-signature"] = f"{signed(secret=new_secret())['webhook-signature']} {headers['webhook-signature']}"
    async with receiving() as (_, client, calls):
        await client.post("/", content=BODY, headers=headers)
    assert calls[0].verified == "signature"


SEED = b"an Ed25519 seed for tests, 32 by"
PRIVATE = "whsk_" + base64.b64encode(SEED).decode()
PUBLIC = "whpk_" + base64.b64encode(Ed25519PrivateKey.from_private_bytes(SEED).public_key().public_bytes_raw()).decode()
OTHER_PUBLIC = (
    "whpk_" + base64.b64encode(Ed25519PrivateKey.from_private_bytes(b"2" * 32).public_key().public_bytes_raw()).decode()
)


def signed_by_private_key(*, at: datetime | None = None, body: bytes = BODY, both: bool = False) -> dict[str, str]:
    headers = signed(at=at, body=body)
    text = f"msg_1.{headers['webhook-timestamp']}.".encode() + body
    v1a = "v1a," + base64.b64encode(Ed25519PrivateKey.from_private_bytes(SEED).sign(text)).decode()
    return headers | {"webhook-signature": f"{headers['webhook-signature']} {v1a}" if both else v1a}


@pytest.mark.parametrize(
    ("keys", "both"),
    [
        (PUBLIC, False),
        (PRIVATE, False),
        (PUBLIC, True),
        (SECRET, True),
        (f"{SECRET} {PUBLIC}", True),
        (f"{OTHER_PUBLIC} {PUBLIC}", False),
        (f"{OTHER_SECRET} {SECRET}", True),
    ],
)
async def test_a_signature_of_each_kind_of_key_is_enough(keys: str, both: bool) -> None:
    async with receiving(secret=keys) as (_, client, calls):
        await client.post("/", content=BODY, headers=signed_by_private_key(both=both))
    assert (calls[0].verified, calls[0].reason) == ("signature", "")


@pytest.mark.parametrize(
    ("keys", "headers", "reason"),
    [
        (OTHER_PUBLIC, signed_by_private_key, "v1a signature does not match"),
        (PUBLIC, lambda: signed_by_private_key(body=b"other"), "v1a signature does not match"),
        (PUBLIC, lambda: signed(), "no v1a signature"),
        (f"{SECRET} {PUBLIC}", lambda: signed(), "no v1a signature"),
        (f"{SECRET} {PUBLIC}", signed_by_private_key, "signature does not match"),
        (PUBLIC, lambda: signed_by_private_key(at=minutes(-6)), "timestamp too old"),
        (PUBLIC, lambda: signed_by_private_key(at=minutes(+6)), "timestamp too new"),
        (PUBLIC, lambda: signed_by_private_key() | {"webhook-timestamp": "noon"}, "webhook-timestamp is not a number"),
        (PUBLIC, lambda: signed_by_private_key() | {"webhook-signature": "v1a,*"}, "v1a signature does not match"),
        (PUBLIC, lambda: signed_by_private_key() | {"webhook-signature": "v1a,"}, "v1a signature does not match"),
    ],
)
async def test_what_the_private_key_did_not_sign_is_said_to_be_so(
    keys: str, headers: Callable[[], dict[str, str]], reason: str
) -> None:
    async with receiving(secret=keys) as (_, client, calls):
        await client.post("/", content=BODY, headers=headers())
    assert (calls[0].verified, calls[0].reason) == ("no", reason)


def without(name: str) -> dict[str, str]:
    return {key: value for key, value in signed().items() if key != name}


def minutes(count: int) -> datetime:
    return datetime.now(UTC) + timedelta(minutes=count)


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        (dict, "no signature"),
        (lambda: without("webhook-signature"), "no signature"),
        (lambda: signed() | {"webhook-signature": ""}, "no signature"),
        (lambda: without("webhook-id"), "no webhook-id"),
        (lambda: without("webhook-timestamp"), "no webhook-timestamp"),
        (lambda: signed(at=minutes(-6)), "timestamp too old"),
        (lambda: signed(at=minutes(+6)), "timestamp too new"),
        (lambda: signed() | {"webhook-timestamp": "noon"}, "webhook-timestamp is not a number"),
        (lambda: signed(secret=new_secret()), "signature does not match"),
        (lambda: signed(body=BODY + b" "), "signature does not match"),
        (lambda: signed("msg_2") | {"webhook-id": "msg_1"}, "signature does not match"),
        (lambda: signed() | {"webhook-signature": "v2,AAAA"}, "signature does not match"),
        (lambda: signed() | {"webhook-signature": "v1"}, "signature is malformed or the body is not UTF-8"),
        (lambda: signed() | {"webhook-signature": "v1,A"}, "signature is malformed or the body is not UTF-8"),
    ],
)
async def test_a_call_that_is_not_verified_says_why_and_is_answered_all_the_same(
    headers: Callable[[], dict[str, str]], reason: str
) -> None:
    async with receiving() as (_, client, calls):
        response = await client.post("/", content=BODY, headers=headers())
    assert (calls[0].verified, calls[0].reason) == ("no", reason)
    assert response.status_code == 200


async def test_broken_encoding_is_not_verified_but_breaks_nothing() -> None:
    headers = [(name.encode(), value.encode()) for name, value in signed().items() if name != "webhook-id"]
    async with receiving() as (_, client, calls):
        for message_id, body in ((b"msg_1", b"\xff\xfe"), (b"\xff\x80", BODY)):
            response = await client.post("/", content=body, headers=[*headers, (b"webhook-id", message_id)])
            assert response.status_code == 200
    assert [call.reason for call in calls] == ["signature is malformed or the body is not UTF-8"] * 2


@pytest.mark.parametrize(
    ("headers", "verified", "reason"),
    [
        (lambda: {"X-API-KEY": APP_KEY}, "header", ""),
        (lambda: {"x-api-key": APP_KEY[:-1]}, "no", "X-Api-Key does not match"),
        (lambda: {"x-api-key": ""}, "no", "X-Api-Key does not match"),
        (lambda: {"x-api-key": "cl\xe9"}, "no", "X-Api-Key does not match"),
        (dict, "no", "no signature and no X-Api-Key header"),
        (lambda: signed(), "signature", ""),
        (lambda: signed() | {"x-api-key": "wrong"}, "signature", ""),
        (lambda: signed(secret=new_secret()) | {"x-api-key": APP_KEY}, "no", "signature does not match"),
    ],
)
async def test_a_header_secret_verifies_calls_without_a_signature(
    headers: Callable[[], dict[str, str]], verified: str, reason: str
) -> None:
    sent = [(name.encode(), value.encode("latin-1")) for name, value in headers().items()]
    async with receiving(header_secret=("X-Api-Key", APP_KEY)) as (_, client, calls):
        await client.post("/", content=BODY, headers=sent)
    assert (calls[0].verified, calls[0].reason) == (verified, reason)


async def test_without_a_header_secret_no_header_verifies() -> None:
    async with receiving() as (_, client, calls):
        await client.post("/", content=BODY, headers={"x-api-key": APP_KEY})
    assert calls[0].reason == "no signature"


async def test_each_webhook_id_goes_through_the_answers_by_itself() -> None:
    answers = [parse_answer("503:2"), parse_answer("429"), parse_answer("204")]
    got: dict[str, list[int]] = {"msg_a": [], "msg_b": []}
    async with receiving(answers=answers) as (_, client, calls):
        for message_id in ["msg_a", "msg_b", "msg_a", "msg_a", "msg_b", "msg_a", "msg_b", "msg_b", "msg_a"]:
            response = await client.post("/", content=BODY, headers=signed(message_id))
            got[message_id].append(response.status_code)
    assert got == {"msg_a": [503, 503, 429, 204, 204], "msg_b": [503, 503, 429, 204]}
    assert [call.answered for call in calls if call.webhook_id == "msg_b"] == got["msg_b"]


async def test_the_last_answer_repeats_forever_whatever_its_times() -> None:
    async with receiving(answers=[Answer(500, 2)]) as (_, client, _calls):
        assert [(await client.post("/", headers=signed())).status_code for _ in range(5)] == [500] * 5


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_only_a_post_is_a_delivery(method: str) -> None:
    async with receiving() as (_, client, calls):
        response = await client.request(method, "/any/path")
    assert (response.status_code, response.headers["allow"], calls) == (405, "POST", [])


async def test_a_body_of_one_mebibyte_is_taken_and_a_larger_one_is_refused_and_reported() -> None:
    async with receiving() as (_, client, calls):
        for size in (MAX_BODY_BYTES, MAX_BODY_BYTES + 1):
            await client.post("/", content=b"a" * size, headers=signed(body=b"a" * size))
    assert [(call.answered, len(call.body), call.verified) for call in calls] == [
        (200, MAX_BODY_BYTES, "signature"),
        (413, 0, "no"),
    ]
    assert calls[1].reason == "body larger than 1048576 bytes, not read"


async def test_the_body_is_kept_byte_for_byte_even_if_it_is_called_compressed() -> None:
    body = gzip.compress(BODY)
    async with receiving() as (_, client, calls):
        await client.post("/", content=body, headers={"content-encoding": "gzip"})
    assert calls[0].body == body


@pytest.mark.parametrize("attempt", ["", "one", "-1", "1.0", "\uff19", "1" * 5000])
async def test_an_attempt_that_is_no_number_is_none(attempt: str) -> None:
    async with receiving() as (_, client, calls):
        await client.post("/", headers=[(b"hookline-attempt", attempt.encode())])
    assert calls[0].attempt is None


async def test_the_certificate_holds_for_each_name_of_this_machine_and_for_nobody_who_does_not_trust_the_ca() -> None:
    async with receiving() as (receiver, client, calls):
        port = httpx.URL(receiver.url).port
        for name in ("127.0.0.1", "localhost"):
            assert (await client.post(f"https://{name}:{port}/")).status_code == 200
        async with Receiver(secret=SECRET, on_call=calls.append) as other:
            assert other.ca_pem != receiver.ca_pem
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                await client.post(other.url)
    assert len(calls) == 2


async def test_it_listens_on_the_loopback_address_only() -> None:
    async with receiving() as (receiver, _, _calls):
        assert httpx.URL(receiver.url).host == "127.0.0.1"
        with pytest.raises(OSError):  # noqa: PT012
            _, writer = await asyncio.open_connection("127.0.0.2", httpx.URL(receiver.url).port)
            writer.close()


async def test_a_busy_port_is_an_os_error_and_a_stopped_receiver_frees_its_port() -> None:
    async with receiving() as (receiver, _, calls):
        port = httpx.URL(receiver.url).port or 0
        second = Receiver(secret=SECRET, on_call=calls.append, port=port)
        with pytest.raises(OSError):
            await second.start()
    await second.start()
    assert second.url == receiver.url
    await second.stop()
    await second.stop()


async def test_a_delay_holds_back_the_answer_but_neither_the_report_nor_the_end() -> None:
    arrived = asyncio.Event()
    async with receiving(delay_seconds=600, on_call=lambda _: arrived.set()) as (receiver, client, _):
        call = asyncio.create_task(client.post("/"))
        async with asyncio.timeout(30):
            await arrived.wait()
            assert not call.done()
            await receiver.stop()
        with pytest.raises(httpx.TransportError):
            await call


async def test_a_long_header_is_received() -> None:
    async with receiving() as (_, client, calls):
        await client.post("/", headers={"x-long": "a" * 20_000})
    assert len(calls[0].headers["x-long"]) == 20_000


async def test_no_secret_shows_in_reprs_or_in_the_log_of_a_broken_request(caplog: pytest.LogCaptureFixture) -> None:
    canary = "canary-5e1c"
    async with receiving(header_secret=("X-Api-Key", APP_KEY)) as (receiver, client, calls):
        await client.post(f"/?token={canary}", content=canary.encode(), headers={"x-api-key": canary})
        with caplog.at_level(logging.DEBUG, "hookline"):
            answer = await send_raw(receiver, f"POST / HTTP/1.1\r\nx-api-key: {canary}\x00\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.0 400")
    assert "Error handling request" in caplog.text
    shown = caplog.text + repr(calls) + repr(receiver)
    assert canary not in shown
    assert APP_KEY not in shown
    assert SECRET not in shown


async def send_raw(receiver: Receiver, request: bytes) -> bytes:
    url = httpx.URL(receiver.url)
    reader, writer = await asyncio.open_connection(url.host, url.port, ssl=trusting(receiver))
    writer.write(request)
    answer = await reader.readuntil(b"\r\n")
    writer.close()
    await writer.wait_closed()
    return answer


def test_the_address_is_unknown_before_the_start() -> None:
    receiver = Receiver(secret=SECRET, on_call=lambda _: None)
    with pytest.raises(RuntimeError, match=r"before start\(\)"):
        _ = receiver.url


def test_a_receiver_without_any_answer_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one answer"):
        Receiver(secret=SECRET, on_call=lambda _: None, answers=[])


@given(st.integers(200, 599), st.none() | st.integers(1, MAX_ANSWER_TIMES))
def test_an_answer_is_read_as_it_is_written(code: int, times: int | None) -> None:
    assert parse_answer(f"{code}" if times is None else f"{code}:{times}") == Answer(code, times)


@pytest.mark.parametrize(
    "text", ["", "ok", "99", "0200", "-200", " 200", "200\n", "200:", "200:-1", "200:1:2", "\uff12\uff10\uff10"]
)
def test_an_answer_of_another_form_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match="write CODE or CODE:TIMES, for example 200 or 503:2"):
        parse_answer(text)


@pytest.mark.parametrize("text", ["100", "199:2", "600", "999"])
def test_a_code_that_is_no_final_status_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write a code from 200 to 599"):
        parse_answer(text)


@pytest.mark.parametrize("text", ["503:0", "503:1001", "503:9999"])
def test_times_out_of_range_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a number from 1 to 1000"):
        parse_answer(text)


def test_a_new_secret_is_a_valid_signing_key_and_new_each_time() -> None:
    assert isinstance(parse_key(new_secret().encode()), HmacKey)
    assert new_secret() != new_secret()
