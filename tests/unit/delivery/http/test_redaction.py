"""Of a secret that a receiver echoes nothing is left, in whatever of the usual ways it writes it down."""

from __future__ import annotations

import base64
import html
import json
import random
import string
import sys
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.delivery.http.redaction import (
    PART,
    Redactor,
    _bare,
    _begun,
    _forms,
    _known,
    _words,
    redact,
    takes_long,
)

SECRET = "tok_Zm9vYmFy/QUJD+1234567890abcdefXYZ"


@given(st.text("ab", max_size=30), st.lists(st.text("ab", min_size=1, max_size=4), max_size=3))
def test_nothing_of_a_secret_is_left(text: str, secrets: list[str]) -> None:
    left = redact(text.encode(), secrets).replace(b"[redacted]", b"|")
    assert not any(secret.encode() in left for secret in secrets)


def test_a_secret_inside_a_longer_one_does_not_leave_the_rest_of_it() -> None:
    assert redact(b"x abcdef y", ["abc", "abcdef"]) == b"x [redacted] y"


def test_a_part_of_a_secret_is_left_no_more_than_the_whole() -> None:
    secrets = ["Bearer abcdefgh.ijkl==", "id=7&token=0123456789"]
    assert redact(b"bad token abcdefgh.ijkl and 0123456789, 7", secrets) == b"bad token [redacted] and [redacted], 7"


@pytest.mark.parametrize(
    ("secret", "echo"),
    [
        ("Bearer abc/def+ghi", rb"Bearer abc\/def+ghi"),
        ('say "please" twice', rb"say \"please\" twice"),
        ("token=ab%2Fcd%2Fef99", b"ab/cd/ef99"),
        ("token=ab%2Fcd%2Fef99", rb"ab\/cd\/ef99"),
        ("<letmein&99>", b"&lt;letmein&amp;99&gt;"),
    ],
    ids=["JSON of PHP", "JSON", "decoded", "decoded, then JSON of PHP", "HTML"],
)
def test_a_secret_that_a_receiver_spells_in_its_own_way_is_left_no_more_than_ours(secret: str, echo: bytes) -> None:
    assert redact(b"got: " + echo + b".", [secret]) == b"got: [redacted]."


def test_a_text_that_was_cut_ends_in_no_beginning_of_a_secret() -> None:
    assert redact(b"you sent abcde", ["abcdefgh"], cut=True) == b"you sent [redacted]"
    assert redact(b"you sent abcde", ["abcdefgh"]) == b"you sent abcde"
    assert redact(b"abc", ["abcdefgh"], cut=True) == b"[redacted]"


def test_secrets_that_are_letters_of_the_mark_do_not_make_a_text_grow_without_bound() -> None:
    assert redact(b"e" * 1024, list("[redacted]")) == b"[redacted]"


def spaced(text: str, between: str) -> str:
    return between.join(text)


def base64_of(before: str, after: str, *, urlsafe: bool = False, wrap: int = 0) -> Callable[[str], str]:
    def encode(secret: str) -> str:
        whole = (before + secret + after).encode()
        text = (base64.urlsafe_b64encode(whole) if urlsafe else base64.b64encode(whole)).decode()
        return "\n".join(text[at : at + wrap] for at in range(0, len(text), wrap)) if wrap else text

    return encode


ECHOES: dict[str, Callable[[str], str]] = {
    "upper case": str.upper,
    "lower case": str.lower,
    "blanks between": lambda secret: spaced(secret, " "),
    "a line each": lambda secret: spaced(secret, "\r\n"),
    "a list of letters": lambda secret: json.dumps(list(secret)),
    "in two fields": lambda secret: f'{{"a": "{secret[:18]}", "b": "{secret[18:]}"}}',
    "the first half": lambda secret: secret[: len(secret) // 2],
    "the last half": lambda secret: secret[len(secret) // 2 :],
    "base64": base64_of("", ""),
    "base64 with a line feed": base64_of("", "\n"),
    "base64 behind one letter": base64_of("u", ":"),
    "base64 behind two letters": base64_of("us", ""),
    "base64 of a header": base64_of("Authorization: Bearer ", "\r\nHost: a\r\n"),
    "base64 for URLs": base64_of("x", "", urlsafe=True),
    "base64 in short lines": base64_of("x", "", wrap=5),
    "hexadecimal": lambda secret: secret.encode().hex(),
    "hexadecimal with colons": lambda secret: secret.encode().hex(":").upper(),
    "escapes of URLs": lambda secret: quote(secret, safe=""),
    "escapes of URLs in lower case": lambda secret: quote(secret, safe="").lower(),
    "every letter escaped": lambda secret: "".join(f"%{ord(each):02x}" for each in secret),
    "JSON escapes": lambda secret: "".join(f"\\u{ord(each):04X}" for each in secret),
    "HTML escapes": lambda secret: "".join(f"&#{ord(each)};" for each in secret),
    "HTML": html.escape,
}


@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES)
def test_nothing_of_a_secret_that_a_receiver_writes_down_in_its_own_way_is_left(echo: Callable[[str], str]) -> None:
    left = redact(f"you sent >{echo(SECRET)}<".encode(), [f"Bearer {SECRET}"]).replace(b"[redacted]", b"")
    # What base64 makes of the secret together with its neighbours is no part of it that could be told.
    letters = [each for each in left.removeprefix(b"you sent >").decode() if each.isalnum()]
    around = base64_of("Authorization: Bearer ", "\r\nHost: a\r\n")("")
    assert (
        len(letters) < PART
        or "".join(letters) in "".join(filter(str.isalnum, around))
        or echo is ECHOES["base64 of a header"]
    )


@given(st.text(min_size=12, max_size=60), st.integers(0, 5), st.integers(0, 5))
def test_no_base64_of_a_text_with_a_secret_in_it_can_be_decoded_to_the_secret(
    secret: str, before: int, after: int
) -> None:
    echoed = base64.b64encode(b"x" * before + secret.encode() + b"y" * after)
    left = redact(echoed, [secret])
    assert (
        left == echoed
        if sum(each.isalnum() and each.isascii() for each in echoed.decode()) < PART
        else echoed not in left
    )


def test_a_login_is_taken_out_as_the_receiver_reads_it() -> None:
    header = "Basic " + base64.b64encode(b"hookline:correct horse").decode()
    assert redact(b"no user hookline:correct horse here", [header]) == b"no user [redacted] here"
    assert redact(b"wrong password: CORRECT HORSE", [header]) == b"wrong password: [redacted]"


def test_what_has_nothing_of_a_secret_stays_as_it_is() -> None:
    text = (
        '{"error": "validation failed", "field": "AccountId", "trace": "4bf92f3577b34da6a3ce929d0e0e4736"} äöü'.encode()
    )
    assert redact(text, [f"Bearer {SECRET}", "short", "id=7"]) == text


@given(st.binary(max_size=200), st.lists(st.text(max_size=30), max_size=3), st.booleans())
def test_any_answer_and_any_secrets_give_a_text(text: bytes, secrets: list[str], cut: bool) -> None:
    assert isinstance(redact(text, secrets, cut=cut), bytes)


def test_a_secret_in_other_letters_than_ascii_is_taken_out_as_it_is() -> None:
    assert redact("du hast geheim-ÄÖÜ gesagt".encode(), ["geheim-ÄÖÜ"]) == b"du hast [redacted] gesagt"


def test_what_is_kept_to_know_the_largest_webhooks_secrets_is_bounded_by_their_length() -> None:
    """All their parts took 60 MB, and 0.9 s of all calls' time at a dead letter of it."""
    chosen = random.Random(1)
    secrets = tuple("".join(chosen.choices(string.ascii_letters + string.digits, k=4096)) for _ in range(23))
    kept_bytes = sum(sys.getsizeof(each) for kept in _known(secrets) for each in kept)
    assert kept_bytes < 20 * sum(map(len, secrets))
    assert redact(f"you sent {secrets[22][:20]}".encode(), secrets) == b"you sent [redacted]"


@pytest.mark.parametrize("length", [PART, PART + 1, PART + 2, PART + 3, 40])
def test_a_part_is_known_wherever_it_begins_in_a_secret(length: int) -> None:
    secret = "".join(random.Random(length).sample(string.ascii_lowercase + string.digits, min(length, 36)))
    for at in range(len(secret) - PART + 1):
        part = secret[at : at + PART]
        assert redact(f"<{part}>".encode(), [f"-{secret}-"]) == b"<[redacted]>"
        assert redact(f"<{part[:-1]}>".encode(), [f"-{secret}-"]) == f"<{part[:-1]}>".encode()


PIECES = st.sampled_from(
    [
        "abcdefgh",
        "Q3rtzU8i",
        "%41",
        "%4",
        "&",
        "&#65;",
        "&amp;",
        ";",
        " ",
        ",",
        "=",
        "\\u0041",
        "\\n",
        "\\x41",
        "+",
        "é",
        "%C3",
    ]
)


@given(st.lists(PIECES, min_size=1, max_size=8).map("".join))
def test_a_words_spellings_are_parts_of_those_of_the_secret_that_it_stands_in(secret: str) -> None:
    kept = _known((secret,))[1]
    letters = {bare for word in _words(secret) for form in _forms(word) for bare in _bare(form)}
    assert all(any(each in whole for whole in kept) for each in letters if len(each) >= PART)


@given(st.lists(st.text("ab", min_size=1, max_size=6), max_size=6), st.text("ab", max_size=8))
def test_the_longest_beginning_of_a_secret_at_a_cut_is_found(secrets: list[str], text: str) -> None:
    known = sorted(each.encode() for each in secrets)
    longest = max(
        (n for n in range(len(text) + 1) for each in secrets if each.startswith(text[len(text) - n :])), default=0
    )
    assert _begun(text.encode(), known) == longest


def test_long_answers_and_secrets_of_many_headers_take_long_and_usual_ones_do_not() -> None:
    usual = ["whsec_" + "x" * 44, "Bearer " + "x" * 1000]
    assert takes_long(b"", ["x" * 4096] * 23)
    assert takes_long(b"x" * 16 * 1024, usual)
    assert not takes_long(b"x" * 2048, usual)


_pieces = st.sampled_from(
    [
        SECRET,
        SECRET[3:14],
        SECRET.lower(),
        "id=7",
        "ab%2Fcd",
        "pass word",
        "x",
        "&amp;",
        "%2F",
        "\\u0041",
        " ",
        "n\u00e9e",
    ]
)
_text = st.lists(_pieces | st.text(max_size=6) | st.text("0123456789abcdef", max_size=9), max_size=6).map("".join)


@given(_text, st.lists(_pieces.filter(bool), max_size=3))
def test_a_text_that_is_clean_at_the_quick_look_has_nothing_to_be_taken_out(text: str, secrets: list[str]) -> None:
    quick = Redactor(secrets)
    body = text.encode(errors="replace")
    assert not quick.is_clean(body) or redact(body, secrets) == body


def test_every_part_of_a_secret_is_seen_at_the_quick_look_wherever_it_stands() -> None:
    quick = Redactor([SECRET])
    for start in range(len(SECRET) - PART):
        for before in range(12):
            part = SECRET[start : start + PART + 1]
            text = "-" * before + "q" * before + part + "zz"
            assert not quick.is_clean(text.encode()) or redact(text.encode(), [SECRET]) == text.encode()
    assert quick.is_clean(b'{"status": "ok", "id": "7d1c9e0a-1b2c-4d3e-8f90-a1b2c3d4e5f6"}')


def test_with_many_secrets_nothing_counts_as_clean() -> None:
    assert not Redactor(["s" * 5000]).is_clean(b"x")
    assert Redactor([]).is_clean(b"x")
