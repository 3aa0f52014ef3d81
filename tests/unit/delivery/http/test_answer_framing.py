"""Every way in which a server may frame an answer: what counts of it, and whether its connection may be used again."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpResponseParser
from hypothesis import given, settings
from hypothesis import strategies as st

from hookline.delivery.http.answer_framing import (
    MAX_BODY_BYTES_KEPT,
    MAX_BODY_BYTES_READ,
    MAX_FRAMING_BYTES,
    MAX_HEAD_BYTES,
    MAX_INFORMATIONAL,
    MAX_STATUS_LINE_BYTES,
    BadAnswerError,
    Reading,
)

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"
SIZED = OK + b"content-length: 2\r\n\r\nok"


def read(said: bytes, *, piece_bytes: int = 0, ends: bool = False) -> Reading:
    """What is read of `said` in pieces, and then, perhaps, the end of the connection."""
    reading = Reading()
    for start in range(0, len(said), piece_bytes or len(said)):
        reading.take(said[start : start + (piece_bytes or len(said))])
    if ends:
        reading.end()
    return reading


@dataclass(frozen=True)
class Case:
    said: bytes
    status: int = 200
    body: bytes = b"ok"
    ends: bool = False
    reusable: bool = False


WHOLE = {
    "a length": Case(SIZED, reusable=True),
    "no reason": Case(b"HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok", reusable=True),
    "an empty reason": Case(b"HTTP/1.1 200 \r\ncontent-length: 2\r\n\r\nok", reusable=True),
    "a reason in Latin-1": Case(b"HTTP/1.1 200 \xfcber\r\ncontent-length: 2\r\n\r\nok", reusable=True),
    "no body": Case(b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", reusable=True),
    "204 with length 0": Case(b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n", 204, b"", reusable=True),
    "chunks": Case(CHUNKED + b"1\r\no\r\n01\r\nk\r\n0\r\n\r\n", reusable=True),
    "chunks with trailers": Case(CHUNKED + b"2\r\nok\r\n0\r\nx: y\r\n\r\n", reusable=True),
    "HTTP/1.0 that keeps alive": Case(
        b"HTTP/1.0 200 OK\r\nconnection: Keep-Alive\r\ncontent-length: 2\r\n\r\nok", reusable=True
    ),
    "a body that is no gzip": Case(
        OK + b"content-encoding: gzip\r\ncontent-length: 2\r\n\r\nok", body=b"", reusable=True
    ),
    "informational answers before it": Case(
        b"HTTP/1.1 103 Early Hints\r\ncontent-length: 9\r\n\r\n" * 2 + SIZED, reusable=True
    ),
    # More than belongs to it
    "204 with an empty chunk": Case(
        b"HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 204, b""
    ),
    "204 with a body": Case(b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nhello", 204, b""),
    "204 that only says so": Case(b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n", 204, b""),
    "304 with a body": Case(b"HTTP/1.1 304 Not Modified\r\n\r\nhello", 304, b""),
    "101": Case(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\n\r\n", 101, b""),
    "a length in characters": Case(OK + "content-length: 2\r\n\r\nüü".encode(), body="ü".encode()),
    "a line end after it": Case(SIZED + b"\r\n"),
    "a second answer": Case(SIZED + SIZED),
    "half a second answer": Case(SIZED + b"HTTP/1.1 200"),
    "chunks and more": Case(CHUNKED + b"2\r\nok\r\n0\r\n\r\nmore"),
    "two last chunks": Case(CHUNKED + b"2\r\nok\r\n0\r\n\r\n0\r\n\r\n"),
    # Said twice, or in two ways
    "length and chunks": Case(OK + b"content-length: 9\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    "one length twice": Case(OK + b"content-length: 2\r\ncontent-length: 2\r\n\r\nok"),
    "one length twice in a line": Case(OK + b"content-length: 2, 02\r\n\r\nok"),
    "chunks twice": Case(OK + b"transfer-encoding: chunked\r\ntransfer-encoding: Chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    "chunks and nothing": Case(OK + b"transfer-encoding: chunked,\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    "nothing and chunks": Case(OK + b"transfer-encoding:\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    "an encoding that is none": Case(OK + b"transfer-encoding:\r\ncontent-length: 2\r\n\r\nok"),
    "identity and a length": Case(OK + b"transfer-encoding: identity\r\ncontent-length: 2\r\n\r\nok"),
    "gzip, then chunks": Case(OK + b"transfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", body=b""),
    "chunks of HTTP/1.0": Case(
        b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    ),
    "closes": Case(OK + b"connection: x, Close\r\ncontent-length: 2\r\n\r\nok"),
    # The connection ends
    "no length": Case(OK + b"\r\nok", ends=True),
    "HTTP/1.0 without a length": Case(b"HTTP/1.0 200 OK\r\n\r\nok", ends=True),
    "chunks, then gzip": Case(OK + b"transfer-encoding: chunked, gzip\r\n\r\nok", body=b"", ends=True),
    "an unknown coding": Case(OK + b"transfer-encoding: xchunked\r\ncontent-length: 1\r\n\r\nok", body=b"", ends=True),
    # Badly written
    "bare line feeds": Case(b"HTTP/1.1 200 OK\ncontent-length: 2\n\nok"),
    "chunks with bare line feeds": Case(CHUNKED + b"2\nok\n0\n\n"),
    "chunks with extensions": Case(CHUNKED + b"1\r\no\r\n1;a=b\r\nk\r\n0;\r\n\r\n"),
    "a padded chunk size": Case(CHUNKED + b"02  \r\nok\r\n0\r\n\r\n"),
    "no line after the last chunk": Case(CHUNKED + b"2\r\nok\r\n0\r\n"),
    "a trailer that is none": Case(CHUNKED + b"2\r\nok\r\n0\r\nnonsense\r\n\r\n"),
    "a trailer that is folded": Case(CHUNKED + b"2\r\nok\r\n0\r\n x: y\r\n\r\n"),
    "a header that is none": Case(OK + b"nonsense\r\ncontent-length: 2\r\n\r\nok"),
    "a bare CR in a header": Case(OK + b"x: a\rcontent-length: 9\r\ncontent-length: 2\r\n\r\nok"),
    "a zero byte in a header": Case(OK + b"x: a\x00b\r\ncontent-length: 2\r\n\r\nok"),
    "a space before the colon": Case(OK + b"Content-Length : 2\r\n\r\nok"),
    "a folded header": Case(OK + b"content-length:\r\n\t2\r\n\r\nok"),
    "empty lines before it": Case(b"\r\n\n" + SIZED),
    "an odd informational answer before it": Case(b"HTTP/1.1 103 X\r\nnonsense\r\n\r\n" + SIZED),
    "an informational answer of HTTP/1.0 before it": Case(b"HTTP/1.0 103 X\r\n\r\n" + SIZED),
    "an informational answer that hides another": Case(b"HTTP/1.1 103 X\r\n \nHTTP/1.1 410 X\r\n\r\n" + SIZED),
    "two spaces": Case(b"HTTP/1.1  200 OK\r\ncontent-length: 2\r\n\r\nok"),
    "HTTP/1.2": Case(b"HTTP/1.2 200 OK\r\ncontent-length: 2\r\n\r\nok"),
}


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("piece_bytes", [0, 1, 7])
def test_the_status_of_an_answer_with_head_and_body_counts(name: str, piece_bytes: int) -> None:
    case = WHOLE[name]
    reading = read(case.said, piece_bytes=piece_bytes, ends=case.ends)

    assert reading.is_over
    assert (reading.status, reading.body) == (case.status, case.body)
    if piece_bytes == 0 or not case.reusable:
        assert reading.is_reusable == case.reusable


@pytest.mark.parametrize("name", [name for name, case in WHOLE.items() if not case.ends])
def test_what_follows_an_answer_later_costs_the_connection_too(name: str) -> None:
    reading = read(WHOLE[name].said)
    reading.take(b"\n")

    assert reading.is_over
    assert not reading.is_reusable
    assert reading.body == WHOLE[name].body


@pytest.mark.parametrize("name", [name for name, case in WHOLE.items() if case.reusable])
def test_no_shorter_part_of_an_answer_is_whole_and_none_is_reusable(name: str) -> None:
    said = WHOLE[name].said
    for length in range(len(said)):
        reading = read(said[:length]) if length else Reading()
        assert not reading.is_reusable
        assert not reading.is_over or b"\r\n0\r\n" in said[:length], "all of the body is there with the last chunk"


@pytest.mark.parametrize(
    ("said", "missing"),
    [
        (OK + b"content-length: 9\r\n\r\nok", "2 of the 9 bytes"),
        (CHUNKED, "last chunk"),
        (CHUNKED + b"2\r\nok", "last chunk"),
        (CHUNKED + b"2\r\nok\r\n", "last chunk"),
        (CHUNKED + b"2\r\nok\r\n0", "last chunk"),
    ],
)
def test_an_answer_that_breaks_off_is_not_whole_and_it_is_said_what_is_missing(said: bytes, missing: str) -> None:
    reading = read(said, ends=True)

    assert not reading.is_over
    assert reading.status == 200
    assert missing in reading.missing


def test_an_answer_without_a_length_lasts_until_its_connection_ends() -> None:
    reading = read(OK + b"\r\nok")

    assert not reading.is_over
    assert "stays open" in reading.missing


@pytest.mark.parametrize("said", [b"", b"\r\n", b"HT", b"HTTP/1.1 200 OK", OK, OK + b"content-length: 2\r\n"])
def test_a_head_that_breaks_off_has_no_status(said: bytes) -> None:
    reading = read(said, ends=True) if said else Reading()

    assert reading.status is None
    assert not reading.is_over


@pytest.mark.parametrize(
    "said",
    [
        b"<html>",
        b"llo" + SIZED,
        b"x\r\n" + SIZED,
        b"0\r\n\r\n",
        b"SSH-2.0-x\r\n",
        b"HTTP/2 200 OK\r\n",
        b"http/1.1 200 OK\r\n",
        b"HTTP/1.1 20 OK\r\n",
        b"HTTP/1.1 099 OK\r\n",
        b"HTTP/1.1 2000 OK\r\n",
        b"HTTP/1.1 200OK\r\n",
        b"HTTP/1.1 OK\r\n",
        b"HTTP/1.1\r\n",
        b"HTTP/1.1 200 " + b"O" * MAX_STATUS_LINE_BYTES,
        b"HTTP/1.1 200 " + b"O" * MAX_STATUS_LINE_BYTES + b"\r\n",
    ],
)
def test_what_does_not_begin_with_a_status_line_is_no_answer(said: bytes) -> None:
    with pytest.raises(BadAnswerError, match="status line"):
        read(said)


@pytest.mark.parametrize(
    "value", [b"", b"-1", b"+2", b"0x2", b"2 2", b"2\r3", b"two", b"2.0", b"2,", b"2, 3", b"9" * 19, b"\xef\xbc\x92"]
)
@pytest.mark.parametrize("status", [b"200", b"410"])
def test_a_length_that_is_none_leaves_the_status_and_no_end(value: bytes, status: bytes) -> None:
    reading = Reading()
    with pytest.raises(BadAnswerError, match="Content-Length"):
        reading.take(b"HTTP/1.1 %b X\r\ncontent-length: %b\r\n\r\nok" % (status, value))

    assert reading.status == int(status)
    assert not reading.is_over


def test_two_lengths_leave_no_end() -> None:
    with pytest.raises(BadAnswerError, match="several different"):
        read(OK + b"content-length: 2\r\ncontent-length: 3\r\n\r\nok")


@pytest.mark.parametrize(
    "chunks",
    [b"zz\r\n", b'{"a": 1}', b"-1\r\n", b"0x2\r\n", b"1\r\nok\r\n", b"2\r\nok0\r\n", b"2 2\r\n", b"\r\n", b"f" * 17],
)
@pytest.mark.parametrize("piece_bytes", [0, 1])
def test_chunks_that_cannot_be_read_are_noticed_at_once(chunks: bytes, piece_bytes: int) -> None:
    with pytest.raises(BadAnswerError, match="chunks"):
        read(CHUNKED + chunks + (b"\r\n" if chunks.startswith(b"f") else b""), piece_bytes=piece_bytes)


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        (b"content-encoding: gzip", b""),
        (b"Content-Encoding:\tidentity, BR ", b""),
        (b"content-encoding: identity\r\nx: y\r\ncontent-encoding: zstd", b""),
        (b"content-encoding:\r\n gzip", b""),
        (b"content-encoding: of-tomorrow", b""),
        (b"transfer-encoding: gzip, chunked", b""),
        (b"content-encoding: Identity", b"ok"),
        (b"content-encoding:", b"ok"),
        (b"content-encoding: utf-8", b"ok"),
    ],
)
def test_of_a_compressed_answer_nothing_is_kept_since_nobody_can_look_through_it_for_secrets(
    coding: bytes, body: bytes
) -> None:
    ending = b"\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    framing = b"" if coding.startswith(b"transfer") else b"transfer-encoding: chunked\r\n"
    reading = read(OK + framing + coding + ending)
    assert (reading.is_over, reading.body, reading.body_bytes) == (True, body, 2)


def test_headers_are_found_in_any_case_and_joined() -> None:
    reading = read(b"HTTP/1.1 503 X\r\nReTry-After:  7 \r\nretry-after: 8\r\ncontent-length: 0\r\n\r\n")

    assert reading.header(b"retry-after") == "7, 8"
    assert reading.header(b"date") is None


def test_headers_of_an_informational_answer_are_not_those_of_the_answer() -> None:
    reading = read(b"HTTP/1.1 103 X\r\nretry-after: 7\r\ntransfer-encoding: chunked\r\n\r\n" + SIZED)

    assert reading.header(b"retry-after") is None
    assert reading.is_reusable


@pytest.mark.parametrize(
    ("said", "is_cut"),
    [
        (SIZED, False),
        (OK + b"content-length: 1\r\n\r\nok", True),
        (OK + b"content-length: 3\r\n\r\nok", True),
        (OK + b"content-length: 16384\r\n\r\n" + b"x" * 16384, False),
        (OK + b"content-length: 16385\r\n\r\n" + b"x" * 16385, True),
        (CHUNKED + b"2\r\nok\r\n", True),
    ],
)
def test_it_is_known_whether_what_is_kept_ends_where_the_text_does(said: bytes, is_cut: bool) -> None:
    assert read(said).is_cut == is_cut


# Bounds


@pytest.mark.parametrize(
    ("said", "piece"),
    [
        (OK + b"\r\n", b"x" * 9000),
        (OK + b"content-length: %d\r\n\r\n" % 10**9, b"x" * 9000),
        (CHUNKED, b"1f40\r\n" + b"x" * 8000 + b"\r\n"),
        (CHUNKED, b"1\r\nx\r\n" * 100),
        (CHUNKED + b"5;", b"e" * 1000),
        (CHUNKED, b"0" * 1000),
    ],
)
def test_of_an_answer_that_is_too_long_the_status_counts_and_the_rest_is_not_read(said: bytes, piece: bytes) -> None:
    reading = read(said)
    taken = 0
    while not reading.is_over:
        reading.take(piece)
        taken += len(piece)

    assert taken <= MAX_BODY_BYTES_READ + MAX_FRAMING_BYTES + len(piece)
    assert len(reading.body) <= MAX_BODY_BYTES_KEPT
    assert reading.status == 200
    assert not reading.is_reusable


@pytest.mark.parametrize("piece_bytes", [0, 1, 4096])
def test_what_comes_after_the_bound_is_not_looked_at_however_much_comes_at_once(piece_bytes: int) -> None:
    """43,000 chunks that came with one read took 100 ms of all calls' time."""
    reading = read(CHUNKED + b"1\r\nx\r\n" * 2000 + b"no chunk\r\n", piece_bytes=piece_bytes)

    assert (reading.status, reading.is_over, reading.is_reusable) == (200, True, False)


def test_a_body_is_read_to_its_end_up_to_a_bound() -> None:
    reading = read(OK + b"content-length: %d\r\n\r\n" % MAX_BODY_BYTES_READ + b"x" * MAX_BODY_BYTES_READ)

    assert reading.is_reusable
    assert reading.body == b"x" * MAX_BODY_BYTES_KEPT


@pytest.mark.parametrize("piece", [b"x: y\r\n", b"y" * 1000, b" z\r\n"])
def test_a_head_is_read_up_to_a_bound(piece: bytes) -> None:
    piece *= 10
    reading = read(OK + b"x: ")
    for _ in range(MAX_HEAD_BYTES // len(piece) - 1):
        reading.take(piece)

    with pytest.raises(BadAnswerError, match="head of the answer is too long"):
        reading.take(piece * 2)


def test_empty_lines_are_passed_over_up_to_the_same_bound() -> None:
    with pytest.raises(BadAnswerError, match="head of the answer is too long"):
        read(b"\r\n" * MAX_HEAD_BYTES)


@pytest.mark.parametrize("piece_bytes", [0, 5])
def test_informational_answers_are_passed_over_up_to_a_bound(piece_bytes: int) -> None:
    one = b"HTTP/1.1 102\r\n\r\n"

    assert read(one * MAX_INFORMATIONAL + SIZED, piece_bytes=piece_bytes).is_over
    with pytest.raises(BadAnswerError, match="too many informational answers"):
        read(one * (MAX_INFORMATIONAL + 1), piece_bytes=piece_bytes)


WORDS = st.sampled_from(
    b"HTTP/1.1 200 OK\r\n|HTTP/1.1 103 X\r\n|content-length: |transfer-encoding: chunked\r\n|connection: close\r\n|"
    b"x: y\r\n|\r\n|\n|\r|2|0\r\n\r\n|2\r\nok\r\n|;| |f".split(b"|")
)


@given(st.lists(WORDS | st.binary(max_size=3), max_size=20).map(b"".join), st.integers(1, 9))
def test_any_bytes_in_any_pieces_come_to_the_same(said: bytes, piece_bytes: int) -> None:
    def outcome_of(size: int) -> tuple[object, ...]:
        reading = Reading()
        try:
            for start in range(0, len(said), size):
                reading.take(said[start : start + size])
            reading.end()
        except BadAnswerError:
            return reading.status, None, False
        return reading.status, reading.body, reading.is_over

    whole, pieces = outcome_of(len(said) or 1), outcome_of(piece_bytes)
    assert whole == pieces


STATUS_LINES = (
    b"HTTP/1.1 200 OK|HTTP/1.1 200|HTTP/1.0 200 OK|HTTP/1.1 204 X|HTTP/1.1 304 X|HTTP/1.1 103 X\r\n\r\nHTTP/1.1 410 X"
)
HEADERS = (
    b"content-length: 2|content-length: 0|content-length:02|content-length : 2|content-length: 2,2|content-length2: 9|"
    b"transfer-encoding: chunked|transfer-encoding: chunked,|transfer-encoding:|transfer-encoding: chunked, gzip|"
    b"transfer-encoding: chunked;q=1|connection: close|connection: keep-alive|x: y|x:\r\n y| x: y|x: \xff|: x|x"
)
BODIES = (
    b"|ok|hello|0\r\n\r\n|2\r\nok\r\n0\r\n\r\n|02\r\nok\r\n00\r\nx: y\r\n\r\n|2;a=b\r\nok\r\n0\r\n\r\n|"
    b"2;\r\nok\r\n0\r\n\r\n|2 \r\nok\r\n0\r\n\r\n|2\nok\n0\n\n|2\r\nok\r\n0\r\nx:y\n\r\n|"
    b"2\r\nok\r\n0\r\n x: y\r\n\r\n|2\r\nok\r\n0\r\nx\r\n\r\n"
)


@settings(max_examples=500)
@given(
    st.sampled_from([b"", b"", b"\r\n"]),
    st.sampled_from(STATUS_LINES.split(b"|")),
    st.lists(st.sampled_from(HEADERS.split(b"|")), max_size=3),
    st.sampled_from(BODIES.split(b"|")),
    st.sampled_from([b"", b"", b"\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"]),
)
def test_what_leaves_a_connection_usable_is_the_same_to_another_parser(
    before: bytes, line: bytes, headers: list[bytes], body: bytes, after: bytes
) -> None:
    said = b"\r\n".join([before + line, *headers, b"", b""]) + body + after
    reading = Reading()
    with contextlib.suppress(BadAnswerError):
        reading.take(said)
    if not reading.is_reusable:
        return
    protocol = BaseProtocol(asyncio.new_event_loop())
    parser = HttpResponseParser(protocol, protocol._loop, 2**16, read_until_eof=True, auto_decompress=False)
    answers = [(head, content) for head, content in parser.feed_data(said)[0] if head.code >= 200]
    protocol._loop.close()

    [(head, content)] = answers
    assert (head.code, head.should_close) == (reading.status, False)
    assert content.is_eof()
    assert content.read_nowait() == reading.body
