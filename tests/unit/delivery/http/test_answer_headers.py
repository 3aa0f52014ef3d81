from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.delivery.http.answer_headers import MAX_HEADERS, MAX_VALUE_CHARACTERS, HeadReader
from hookline.delivery.http.redaction import Redactor

SECRET = "whsec_canary-4f8a91b2c3"


def read(*lines: bytes, secrets: tuple[str, ...] = (SECRET,)) -> Mapping[str, str]:
    head = b"\r\n".join([b"HTTP/1.1 200 OK", *lines]) + b"\r\n\r\n"
    return HeadReader(Redactor(secrets)).read(head)


def test_headers_are_read_as_they_came_by_names_in_lower_case() -> None:
    date = b"Date: Mon, 30 Nov 2026 17:32:43 GMT"
    assert read(b"Server: nginx", date, b"X-A:  1 ", b"x-a: 2") == {
        "server": "nginx",
        "date": "Mon, 30 Nov 2026 17:32:43 GMT",
        "x-a": "1, 2",
    }


@pytest.mark.parametrize(
    "name",
    [
        "Set-Cookie",
        "Authorization",
        "Proxy-Authorization",
        "Authentication-Info",
        "X-Api-Key",
        "X-Auth",
        "X-CSRF-Token",
    ],
)
def test_a_value_that_is_the_secret_of_whoever_called_there_is_left_out(name: str) -> None:
    assert read(f"{name}: of-others".encode()) == {name.lower(): ""}


def test_a_challenge_is_kept() -> None:
    assert read(b'WWW-Authenticate: Bearer realm="x"') == {"www-authenticate": 'Bearer realm="x"'}


def test_an_address_is_kept_without_its_query_and_login() -> None:
    said = read(
        b"Location: https://u:p@b.example/x?sig=1#f", b"Link: <https://b.example/?t=1>; rel=next, </y?z>; rel=a"
    )
    assert said == {"location": "https://b.example/x", "link": "<https://b.example/>; rel=next, </y>; rel=a"}


@pytest.mark.parametrize(
    "line",
    [
        f"x-echo: you sent {SECRET}!",
        f"x-echo: {SECRET[4:16]}",
        f"x-{SECRET}: 1",
        f"date: {SECRET}",
        f"Date: Mon, 30 Nov 2026 17:32:43 GMT {SECRET}",
    ],
)
def test_no_secret_is_left_in_a_value_or_a_name(line: str) -> None:
    for found in (
        read(line.encode()),
        HeadReader(Redactor([SECRET])).read(f"x\r\n{line}\r\n\r\n".encode(), lambda _: False),
    ):
        assert "4f8a91b2" not in str(found)


def test_what_may_not_be_looked_through_is_left_out_and_the_rest_is_not() -> None:
    head = f"HTTP/1.1 200 OK\r\nx-echo: {SECRET}\r\nserver: nginx\r\n\r\n".encode()
    reader = HeadReader(Redactor([SECRET]))
    assert reader.read(head, lambda _: False) == {"server": "nginx"}
    assert reader.read(head) == {"x-echo": "[redacted]", "server": "nginx"}


def test_a_head_that_comes_again_is_read_alike_and_another_one_is_not() -> None:
    reader = HeadReader(Redactor([SECRET]))
    one, other = (f"HTTP/1.1 200 OK\r\nx-id: {number}\r\nserver: nginx\r\n\r\n".encode() for number in (1, 2))
    told = [reader.read(head) for head in (one, one, other, one)]
    assert told == [{"x-id": number, "server": "nginx"} for number in "1121"]


@pytest.mark.parametrize(
    "lines",
    [
        lambda number: [b"x-%d: %s" % (number, b"a" * 3_900)],
        lambda number: [b"x-%d: %s" % (number // 2, b"a" * 3_900)],
        lambda number: [b"x-%d-%d: %s" % (number // 2, each, b"a" * 400) for each in range(9)],
        lambda number: [b"server: nginx", b"content-length: 2", b"vary: accept", b"x-request-id: %032x" % number],
    ],
    ids=["long", "each twice", "many", "usual"],
)
def test_what_is_remembered_of_a_receivers_lines_has_a_bound(lines: Callable[[int], list[bytes]]) -> None:
    reader = HeadReader(Redactor([SECRET]))
    tracemalloc.start()
    try:
        for number in range(60):
            assert reader.read(b"\r\n".join([b"HTTP/1.1 200 OK", *lines(number)]) + b"\r\n\r\n")
        assert tracemalloc.get_traced_memory()[0] < 8 * 1024
    finally:
        tracemalloc.stop()


def test_a_line_that_was_cut_is_left_out() -> None:
    assert HeadReader(Redactor([SECRET])).read(b"HTTP/1.1 200 OK\r\na: 1\r\nb: whsec_can") == {"a": "1"}


@given(st.lists(st.binary(max_size=40), max_size=80))
def test_whatever_a_receiver_says_is_few_short_and_printable(lines: list[bytes]) -> None:
    found = read(*lines, *(b"n%d: %s" % (number, b"v" * 999) for number in range(99)))
    assert len(found) <= MAX_HEADERS
    assert all(name.isprintable() and value.isprintable() for name, value in found.items())
    assert all(len(value) <= MAX_VALUE_CHARACTERS for value in found.values())
