"""The body of a request as it comes in."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Mapping

import pytest
from starlette.types import Message, Receive

from hookline.gateway.problem import Kind, Refused, refuse
from hookline.gateway.reading import BODY_SECONDS, read_body
from hookline.runtime.tasks import Deadlines

GZIP = {"content-encoding": "gzip"}


def receiving(*pieces: bytes) -> Receive:
    """Of a request whose body comes in these pieces."""
    left = list(pieces)

    async def receive() -> Message:
        piece = left.pop(0) if left else b""
        return {"type": "http.request", "body": piece, "more_body": bool(left)}

    return receive


async def read(
    *pieces: bytes, headers: Mapping[str, str] | None = None, at_most_bytes: int = 1000, held: list[int] | None = None
) -> bytes:
    hold = (held if held is not None else []).append
    return await read_body(
        receiving(*pieces), headers or {}, at_most_bytes=at_most_bytes, hold=hold, deadlines=Deadlines(BODY_SECONDS)
    )


async def refusal(*pieces: bytes, headers: Mapping[str, str] | None = None, at_most_bytes: int = 1000) -> Kind:
    with pytest.raises(Refused) as error:
        await read(*pieces, headers=headers, at_most_bytes=at_most_bytes)
    return error.value.problem.kind


async def test_pieces_are_put_together_and_each_is_counted_before() -> None:
    held: list[int] = []
    assert await read(b"ab", b"", b"c", held=held) == b"abc"
    assert held == [2, 1]


async def test_what_is_too_large_is_refused_by_what_it_says_and_by_what_it_is() -> None:
    assert await refusal(headers={"content-length": "1001"}) is Kind.TOO_LARGE
    assert await refusal(headers={"content-length": "9" * 5000}) is Kind.TOO_LARGE
    assert await refusal(b"a" * 600, b"a" * 600) is Kind.TOO_LARGE
    assert await read(b"a" * 1000) == b"a" * 1000


async def test_gzip_is_expanded_in_one_member_and_in_several() -> None:
    assert await read(gzip.compress(b"abc"), headers=GZIP) == b"abc"
    assert await read(gzip.compress(b"abc") + gzip.compress(b"def"), headers=GZIP) == b"abcdef"


async def test_gzip_of_more_than_may_be_is_refused_before_it_takes_the_memory() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    held: list[int] = []
    with pytest.raises(Refused) as error:
        await read(bomb, headers=GZIP, at_most_bytes=100_000, held=held)
    assert error.value.problem.kind is Kind.TOO_LARGE
    assert sum(held) <= len(bomb)
    assert await refusal(gzip.compress(b"a" * 600) * 2, headers=GZIP) is Kind.TOO_LARGE


async def test_members_without_end_take_no_time_without_end() -> None:
    assert await refusal(gzip.compress(b"") * 10_000, headers=GZIP, at_most_bytes=1_000_000) is Kind.BAD_REQUEST


@pytest.mark.parametrize(
    "sent",
    [
        # Without the time, which would be in their names, and each worker of pytest have others.
        b"plain",
        gzip.compress(b"abc", mtime=0)[:-4],
        gzip.compress(b"abc", mtime=0)[:5],
        gzip.compress(b"abc", mtime=0) + b"more",
        zlib.compress(b"abc"),
    ],
)
async def test_what_is_no_gzip_is_a_bad_request(sent: bytes) -> None:
    assert await refusal(sent, headers=GZIP) is Kind.BAD_REQUEST


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "zstd"])
async def test_other_encodings_are_refused(encoding: str) -> None:
    assert await refusal(b"abc", headers={"content-encoding": encoding}) is Kind.UNSUPPORTED_MEDIA_TYPE


async def test_a_body_that_does_not_come_is_given_up() -> None:
    begun = receiving(b"a", b"")

    async def dribbling() -> Message:
        message = await begun()
        if not message["more_body"]:
            await asyncio.Event().wait()
        return message

    with pytest.raises(Refused) as error:
        await read_body(dribbling, {}, at_most_bytes=10, hold=lambda _: None, deadlines=Deadlines(0.01))
    assert error.value.problem.kind is Kind.TOO_SLOW


async def test_a_bound_of_memory_refuses_what_it_is_told() -> None:
    def full(_: int) -> None:
        raise refuse(Kind.TOO_MANY_REQUESTS, "full")

    with pytest.raises(Refused) as error:
        await read_body(receiving(b"a"), {}, at_most_bytes=10, hold=full, deadlines=Deadlines(BODY_SECONDS))
    assert error.value.problem.kind is Kind.TOO_MANY_REQUESTS
