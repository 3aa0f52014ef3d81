"""The signature must be the one that independent verifiers accept, and no other."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook as StandardVerifier
from standardwebhooks import WebhookVerificationError as StandardRefusal
from svix.webhooks import Webhook as SvixVerifier
from svix.webhooks import WebhookVerificationError as SvixRefusal

from hookline.routing.signing import (
    MAX_KEY_BYTES,
    MAX_KEYS,
    MIN_KEY_BYTES,
    SEED_BYTES,
    Ed25519Key,
    HmacKey,
    SigningKeyError,
    key_of,
    parse_key,
    public_key,
    split_keys,
    standard_headers,
    valid_message_id,
)

PUBLISHED_SECRET = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PUBLISHED_PRIVATE_KEY = b"whsk_VEVTVFNJR05JTkdLRVlET05PVFVTRVRISVNGT1JBTlk="
"""Of the reference library in Go, which is the only one of them that knows v1a."""

seeds = st.binary(min_size=SEED_BYTES, max_size=SEED_BYTES)
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
    headers = standard_headers(message_id=message_id, timestamp_s=timestamp_s, body=body, keys=[HmacKey(key)])

    assert accepted(secret_of(key), headers, body) == (True, True)


@given(key=keys, other=keys, message_id=message_ids, body=bodies, other_body=bodies)
def test_independent_verifiers_refuse_what_was_not_signed(
    key: bytes, other: bytes, message_id: str, body: bytes, other_body: bytes
) -> None:
    stamp_s = now_s()
    headers = standard_headers(message_id=message_id, timestamp_s=stamp_s, body=body, keys=[HmacKey(key)])
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
    headers = standard_headers(message_id="msg_1", timestamp_s=stamp_s, body=body, keys=[HmacKey(new), HmacKey(old)])
    alone = standard_headers(message_id="msg_1", timestamp_s=stamp_s, body=body, keys=[HmacKey(new)])

    assert accepted(secret_of(new), headers, body) == (True, True)
    assert accepted(secret_of(old), headers, body) == (True, True)
    assert headers["webhook-signature"].split(" ")[0] == alone["webhook-signature"]


def test_without_keys_there_is_no_signature_header() -> None:
    stamp_s = now_s()
    headers = standard_headers(message_id="msg_1", timestamp_s=stamp_s, body=b"{}", keys=[])

    assert headers == {"webhook-id": "msg_1", "webhook-timestamp": str(stamp_s)}


@given(body=st.binary())
def test_any_bytes_can_be_signed(body: bytes) -> None:
    stamp_s = now_s()
    headers = standard_headers(message_id="msg_1", timestamp_s=stamp_s, body=body, keys=[HmacKey(b"k" * 32)])

    assert headers["webhook-signature"].startswith("v1,")


@given(key=keys, before=st.sampled_from([b"", b" ", b"\n"]), after=st.sampled_from([b"", b"\n", b"\r\n", b" \t"]))
def test_a_key_is_read_back_whatever_whitespace_a_file_left_around_it(key: bytes, before: bytes, after: bytes) -> None:
    assert parse_key(before + secret_of(key) + after) == HmacKey(key)


@pytest.mark.parametrize(
    ("secret", "problem"),
    [
        (b"", "does not start with"),
        (b"CANARYsecretsecretsecretsecretse", "does not start with"),
        (b"whpk_" + base64.b64encode(b"C" * 32), "is a public key"),
        (b"whsk_", "private key decodes to 0 bytes"),
        (b"whsk_CANARY*not*base64*", "not base64"),
        (b"whsk_" + base64.b64encode(b"C" * 31), "private key decodes to 31 bytes"),
        (b"whsk_" + base64.b64encode(b"C" * 48), "private key decodes to 48 bytes"),
        (b"whsk_" + base64.b64encode(b"C" * 64), "halves of the private key do not belong together"),
        (b"-----BEGIN PRIVATE KEY-----CANARY", "does not start with `whsec_` or `whsk_`"),
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


@given(prefix=st.sampled_from([b"whsec_", b"whsk_", b"whpk_", b""]), secret=st.binary(max_size=200))
def test_a_refusal_never_repeats_the_secret(prefix: bytes, secret: bytes) -> None:
    planted = prefix + b"CANARY-" + secret

    with pytest.raises(SigningKeyError) as caught:
        parse_key(planted)

    assert "CANARY" not in f"{caught.value!r} {caught.value.__cause__!r}"
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_the_command_that_a_refusal_names_yields_a_key() -> None:
    openssl_rand_base64_32 = base64.b64encode(bytes(range(32))) + b"\n"

    assert parse_key(b"whsec_" + openssl_rand_base64_32) == HmacKey(bytes(range(32)))
    assert isinstance(parse_key(b"whsk_" + openssl_rand_base64_32), Ed25519Key)


def private_secret_of(seed: bytes) -> bytes:
    return b"whsk_" + base64.b64encode(seed)


def verified(public: str, headers: dict[str, str], body: bytes) -> bool:
    """Whether a receiver that knows only the public key accepts the call, by the steps of the specification."""
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public.removeprefix("whpk_"), validate=True))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    for each in headers["webhook-signature"].split(" "):
        version, _, signature = each.partition(",")
        if version == "v1a":
            try:
                key.verify(base64.b64decode(signature, validate=True), signed)
            except InvalidSignature:
                continue
            return True
    return False


def test_the_test_vector_of_the_reference_library_is_reproduced_with_a_private_key() -> None:
    headers = standard_headers(
        message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp_s=1614265330,
        body=b'{"test": 2432232314}',
        keys=[parse_key(PUBLISHED_PRIVATE_KEY)],
    )

    assert headers["webhook-signature"] == (
        "v1a,tQ9V2XOqn7jL/DQenEFpqIugdBVtiMmER5mhSkXBNwM0mkATuDe6KYYUuxqtaiHeYGb7KaaBRdM5WqyeFiL8Ag=="
    )


def test_the_first_test_vector_of_rfc_8032_is_reproduced() -> None:
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    public = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    signature = bytes.fromhex(
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe2465514"
        "1438e7a100b"
    )
    key = parse_key(private_secret_of(seed))

    assert key.public == "whpk_" + base64.b64encode(public).decode()
    assert key.sign(b"") == "v1a," + base64.b64encode(signature).decode()


@given(seed=seeds, message_id=message_ids, body=st.binary(), other=st.binary())
def test_the_public_key_verifies_what_the_private_one_signed_and_nothing_else(
    seed: bytes, message_id: str, body: bytes, other: bytes
) -> None:
    key = parse_key(private_secret_of(seed))
    assert key.public is not None
    headers = standard_headers(message_id=message_id, timestamp_s=1_700_000_000, body=body, keys=[key])
    stranger = Ed25519Key.of_seed(bytes(byte ^ 1 for byte in seed))

    assert verified(key.public, headers, body)
    assert not verified(key.public, headers | {"webhook-timestamp": "1700000001"}, body)
    assert not verified(key.public, headers | {"webhook-id": message_id + "x"}, body)
    assert not verified(stranger.public, headers, body)
    if other != body:
        assert not verified(key.public, headers, other)


@given(seed=seeds)
def test_a_private_key_with_its_public_half_behind_it_is_the_same_key(seed: bytes) -> None:
    key = Ed25519Key.of_seed(seed)
    pair = seed + base64.b64decode(key.public.removeprefix("whpk_"))
    again = parse_key(private_secret_of(pair))

    assert (again.public, again.sign(b"x")) == (key.public, key.sign(b"x"))
    assert not {base64.b64encode(seed).decode(), seed.hex()} & {key.public, again.public}


@given(key=keys, seed=seeds, body=bodies)
def test_with_a_shared_and_a_private_key_each_receiver_verifies_with_what_it_has(
    key: bytes, seed: bytes, body: bytes
) -> None:
    both = [parse_key(each.encode()) for each in split_keys(secret_of(key) + b"\n" + private_secret_of(seed) + b"\n")]
    headers = standard_headers(message_id="msg_1", timestamp_s=now_s(), body=body, keys=both)

    assert [each.partition(",")[0] for each in headers["webhook-signature"].split(" ")] == ["v1", "v1a"]
    assert accepted(secret_of(key), headers, body) == (True, True)
    assert verified(Ed25519Key.of_seed(seed).public, headers, body)


def test_the_keys_of_a_secret_are_separated_by_any_whitespace_kept_in_order_and_each_counts_once() -> None:
    one, two = secret_of(b"1" * 32).decode(), private_secret_of(b"2" * 32).decode()
    assert split_keys(f" {one}\r\n\t{two}\n{one}\n".encode()) == (one, two)
    assert split_keys(two.encode()) == (two,)


def test_a_secret_holds_a_few_keys_at_most_and_none_that_is_unfit() -> None:
    several = [secret_of(bytes([number]) * 32) for number in range(MAX_KEYS + 1)]
    assert len(split_keys(b"\n".join(several[:MAX_KEYS]))) == MAX_KEYS
    with pytest.raises(SigningKeyError, match=f"holds {MAX_KEYS + 1} keys: write at most {MAX_KEYS}"):
        split_keys(b"\n".join(several))
    with pytest.raises(SigningKeyError, match="key 2 of 2, as whitespace separates them: the secret does not start"):
        split_keys(several[0] + b" CANARY")
    for empty in (b"", b" \n"):
        with pytest.raises(SigningKeyError, match="does not start with"):
            split_keys(empty)


def test_a_key_that_is_used_often_is_read_once() -> None:
    text = private_secret_of(b"once" * 8).decode()
    assert key_of(text) is key_of("".join(list(text)))
    assert public_key(text) == key_of(text).public
    assert public_key(secret_of(b"k" * 32).decode()) is None


@pytest.mark.parametrize("secret", [secret_of(b"CANARY-" * 4), private_secret_of(b"CANARY--" * 4)])
def test_the_representation_of_a_key_shows_no_secret(secret: bytes) -> None:
    shown = repr(parse_key(secret))
    assert "CANARY" not in shown
    assert secret.decode()[6:20] not in shown


@pytest.mark.parametrize("message_id", ["a", "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W", "A-b_9", "x" * 128])
def test_ordinary_message_ids_are_valid(message_id: str) -> None:
    assert valid_message_id(message_id)


@pytest.mark.parametrize("message_id", ["", "a.b", "a b", "a\n", "a\r\nx: y", "\x00", "é", "x" * 129, "a/b", "٣"])
def test_ids_that_could_be_mistaken_for_other_text_are_invalid_and_never_signed(message_id: str) -> None:
    stamp_s = now_s()
    assert not valid_message_id(message_id)
    with pytest.raises(ValueError, match="1 to 128 characters"):
        standard_headers(message_id=message_id, timestamp_s=stamp_s, body=b"", keys=[])
