"""The signature must be the one that independent verifiers accept, and no other."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook as StandardVerifier
from standardwebhooks import WebhookVerificationError as StandardRefusal
from svix.webhooks import Webhook as SvixVerifier
from svix.webhooks import WebhookVerificationError as SvixRefusal

from hookline.signing import (
    MAX_KEY_BYTES,
    MIN_KEY_BYTES,
    SigningKeyError,
    parse_key,
    standard_headers,
    valid_message_id,
)

PUBLISHED_SECRET = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

keys = st.binary(min_size=MIN_KEY_BYTES, max_size=MAX_KEY_BYTES)
message_ids = st.from_regex(r"[A-Za-z0-9_-]{1,128}", fullmatch=True)
# The verifiers decode the body as UTF-8 before they check it; Hookline itself signs any bytes.
bodies = st.text().map(str.encode)


def now_s() -> int:
    """Verifiers allow five minutes: taken in each test, since a whole run may take that long."""
    return int(datetime.now(UTC).timestamp())


skews = st.integers(min_value=-120, max_value=120)


def secret_of(key: bytes) -> bytes:
    return b"whsec_" + base64.b64encode(key)


def accepted(secret: bytes, headers: dict[str, str], body: bytes) -> tuple[bool, bool]:
    """Whether `standardwebhooks` and `svix` accept the call; their JSON parsing afterwards is not asked for."""
    return (
        _accepted(StandardVerifier(secret.decode()), StandardRefusal, headers, body),
        _accepted(SvixVerifier(secret.decode()), SvixRefusal, headers, body),
    )


def _accepted(
    verifier: StandardVerifier | SvixVerifier, refusal: type[Exception], headers: dict[str, str], body: bytes
) -> bool:
    try:
        verifier.verify(body, headers)
    except refusal:
        return False
    except ValueError:
        return True
    return True


def test_the_published_test_vector_is_reproduced() -> None:
    headers = standard_headers(
        message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp_s=1614265330,
        body=b'{"test": 2432232314}',
        keys=[parse_key(PUBLISHED_SECRET)],
    )

    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@given(key=keys, message_id=message_ids, skew_s=skews, body=bodies)
def test_independent_verifiers_accept_every_call(key: bytes, message_id: str, skew_s: int, body: bytes) -> None:
    timestamp_s = now_s() + skew_s
    headers = standard_headers(message_id=message_id, timestamp_s=timestamp_s, body=body, keys=[key])

    assert accepted(secret_of(key), headers, body) == (True, True)


@given(key=keys, other=keys, message_id=message_ids, body=bodies, other_body=bodies)
def test_independent_verifiers_refuse_what_was_not_signed(
    key: bytes, other: bytes, message_id: str, body: bytes, other_body: bytes
) -> None:
    stamp_s = now_s()
    headers = standard_headers(message_id=message_id, timestamp_s=stamp_s, body=body, keys=[key])
    refused = (False, False)

    assert accepted(secret_of(key), headers | {"webhook-timestamp": str(stamp_s - 1)}, body) == refused
    assert accepted(secret_of(key), headers | {"webhook-id": message_id + "x"}, body) == refused
    if other != key:
        assert accepted(secret_of(other), headers, body) == refused
    if other_body != body:
        assert accepted(secret_of(key), headers, other_body) == refused


def test_an_old_timestamp_is_refused_though_the_signature_is_right() -> None:
    key = parse_key(PUBLISHED_SECRET)
    old_s = int((datetime.now(UTC) - timedelta(minutes=6)).timestamp())
    headers = standard_headers(message_id="msg_1", timestamp_s=old_s, body=b"{}", keys=[key])

    assert accepted(PUBLISHED_SECRET, headers, b"{}") == (False, False)


@given(new=keys, old=keys, body=bodies)
def test_during_a_rotation_both_secrets_verify_and_the_newest_comes_first(new: bytes, old: bytes, body: bytes) -> None:
    stamp_s = now_s()
    headers = standard_headers(message_id="msg_1", timestamp_s=stamp_s, body=body, keys=[new, old])
    newest = standard_headers(message_id="msg_1", timestamp_s=stamp_s, body=body, keys=[new])["webhook-signature"]

    assert accepted(secret_of(new), headers, body) == (True, True)
    assert accepted(secret_of(old), headers, body) == (True, True)
    assert headers["webhook-signature"].split(" ")[0] == newest


def test_without_keys_there_is_no_signature_header() -> None:
    stamp_s = now_s()
    headers = standard_headers(message_id="msg_1", timestamp_s=stamp_s, body=b"{}", keys=[])

    assert headers == {"webhook-id": "msg_1", "webhook-timestamp": str(stamp_s)}


@given(body=st.binary())
def test_any_bytes_can_be_signed(body: bytes) -> None:
    stamp_s = now_s()
    headers = standard_headers(message_id="msg_1", timestamp_s=stamp_s, body=body, keys=[b"k" * 32])

    assert headers["webhook-signature"].startswith("v1,")


@given(key=keys, before=st.sampled_from([b"", b" ", b"\n"]), after=st.sampled_from([b"", b"\n", b"\r\n", b" \t"]))
def test_a_key_is_read_back_whatever_whitespace_a_file_left_around_it(key: bytes, before: bytes, after: bytes) -> None:
    assert parse_key(before + secret_of(key) + after) == key


@pytest.mark.parametrize(
    ("secret", "problem"),
    [
        (b"", "does not start with"),
        (b"CANARYsecretsecretsecretsecretse", "does not start with"),
        (b"WHSEC_" + base64.b64encode(b"CANARY" * 5), "does not start with"),
        (b"whsec_", "decodes to 0 bytes"),
        (b"whsec_CANARY*not*base64*", "not base64"),
        (b"whsec_" + base64.b64encode(b"C" * 32)[:-1], "not base64"),
        (b"whsec_" + base64.b64encode(b"C" * 32) + b"AAAA", "not base64"),
        (b"whsec_" + base64.b64encode(b"CANARY" * 4)[:4] + b"\n" + base64.b64encode(b"CANARY" * 4)[4:], "not base64"),
        (b"whsec_" + base64.urlsafe_b64encode(b"\xff\xfe\xfb" * 10), "not base64"),
        ("whsec_schlüssel".encode(), "not base64"),
        (b"whsec_" + base64.b64encode(b"C" * 23), "decodes to 23 bytes"),
        (b"whsec_" + base64.b64encode(b"C" * 65), "decodes to 65 bytes"),
    ],
)
def test_what_is_no_key_is_refused_with_what_to_write(secret: bytes, problem: str) -> None:
    with pytest.raises(SigningKeyError, match=problem) as caught:
        parse_key(secret)

    assert "openssl rand -base64 32" in str(caught.value)


@given(secret=st.binary(max_size=200))
def test_a_refusal_never_repeats_the_secret(secret: bytes) -> None:
    planted = b"whsec_CANARY-" + secret

    with pytest.raises(SigningKeyError) as caught:
        parse_key(planted)

    assert "CANARY" not in f"{caught.value!r} {caught.value.__cause__!r}"
    assert caught.value.__suppress_context__


def test_the_command_that_a_refusal_names_yields_a_key() -> None:
    openssl_rand_base64_32 = base64.b64encode(bytes(range(32))) + b"\n"

    assert len(parse_key(b"whsec_" + openssl_rand_base64_32)) == 32


@pytest.mark.parametrize("message_id", ["a", "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W", "A-b_9", "x" * 128])
def test_ordinary_message_ids_are_valid(message_id: str) -> None:
    assert valid_message_id(message_id)


@pytest.mark.parametrize("message_id", ["", "a.b", "a b", "a\n", "a\r\nx: y", "\x00", "é", "x" * 129, "a/b", "٣"])
def test_ids_that_could_be_mistaken_for_other_text_are_invalid_and_never_signed(message_id: str) -> None:
    stamp_s = now_s()
    assert not valid_message_id(message_id)
    with pytest.raises(ValueError, match="1 to 128 characters"):
        standard_headers(message_id=message_id, timestamp_s=stamp_s, body=b"", keys=[])
