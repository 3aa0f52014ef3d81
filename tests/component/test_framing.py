"""Answers that are framed badly, over real connections: the status counts, and no byte of one is another's answer.

tests/unit/test_answers.py has the whole table.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

import pytest

from doubles.loops import LoopFactory, on_both_loops
from doubles.raw_receiver import OK, Line, RawReceiver, Script, answering
from hookline.delivery.http.attempt import Caller
from hookline.delivery.http.call import Call, TlsMaterial
from hookline.delivery.policy.retry import Outcome, Reason
from hookline.resources.egress_policy import EgressPolicy, parse_cidrs

LOCAL = EgressPolicy(parse_cidrs(["127.0.0.0/8"]))
CHUNKED = b"transfer-encoding: chunked\r\n\r\n"


def call_to(receiver: RawReceiver, trust: TlsMaterial, *, timeout_seconds: float = 20) -> Call:
    return Call(f"https://127.0.0.1:{receiver.port}/", (), b"{}", timeout_seconds, trust)


@pytest.mark.parametrize(
    ("said", "reason", "retry_after_seconds"),
    [
        (b"HTTP/1.1 204 No Content\r\n" + CHUNKED + b"0\r\n\r\n", Reason.DELIVERED, None),
        (b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nhello", Reason.DELIVERED, None),
        ("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nüüüü".encode(), Reason.DELIVERED, None),
        (b"HTTP/1.1 200 OK\r\n" + CHUNKED + b"2\r\nok\r\n0\r\n\r\n0\r\n\r\n", Reason.DELIVERED, None),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n" + CHUNKED + b"2\r\nok\r\n0\r\n\r\n", Reason.DELIVERED, None),
        (b"HTTP/1.1 410 Gone\r\ncontent-length: 1\r\n\r\ngone", Reason.GONE, None),
        (b"HTTP/1.1 410 Gone\r\n" + CHUNKED + b"gone for good", Reason.GONE, None),
        (b"HTTP/1.1 503 X\r\nretry-after: 60\r\ncontent-length: 1\r\n\r\nbusy", Reason.HTTP_STATUS, 60),
        (b"HTTP/1.1 429 X\r\nretry-after: 60\r\ncontent-length: x\r\n\r\nbusy", Reason.TOO_MANY_REQUESTS, 60),
    ],
)
async def test_the_status_of_a_badly_framed_answer_counts_and_the_next_call_has_a_new_connection(
    caller: Caller,
    tls: ssl.SSLContext,
    trust: TlsMaterial,
    said: bytes,
    reason: Reason,
    retry_after_seconds: float | None,
) -> None:
    async with RawReceiver(tls, answering(said, OK)) as receiver:
        outcomes = [await caller.call(call_to(receiver, trust)) for _ in range(2)]

    assert (outcomes[0].reason, outcomes[0].retry_after_seconds) == (reason, retry_after_seconds)
    assert outcomes[1].answer == b"ok"
    assert [heard.connection for heard in receiver.heard] == [1, 2]


def then_ends(said: bytes) -> Script:
    async def script(line: Line) -> None:
        await line.hear()
        await line.say(said)

    return script


def then_waits(said: bytes) -> Script:
    async def script(line: Line) -> None:
        await line.hear()
        await line.say(said)
        await line.gone()

    return script


@pytest.mark.parametrize(
    ("status", "reason"), [(b"410 Gone", Reason.GONE), (b"503 Busy", Reason.HTTP_STATUS), (b"302 X", Reason.REDIRECT)]
)
@pytest.mark.parametrize("script", [then_ends, then_waits])
async def test_an_answer_that_is_no_success_counts_though_its_end_does_not_come(
    caller: Caller,
    tls: ssl.SSLContext,
    trust: TlsMaterial,
    status: bytes,
    reason: Reason,
    script: Callable[[bytes], Script],
) -> None:
    said = b"HTTP/1.1 %b\r\nretry-after: 60\r\ncontent-length: 9\r\n\r\nok" % status
    async with RawReceiver(tls, script(said)) as receiver:
        outcome = await caller.call(call_to(receiver, trust, timeout_seconds=0.3))

    assert outcome.reason is reason
    assert outcome.answer == b"ok"
    assert outcome.retry_after_seconds == 60
    assert "2 of the 9 bytes" in outcome.detail


@pytest.mark.parametrize(
    ("said", "reason", "problem"),
    [
        (b"content-length: 9\r\n\r\nok", Reason.CONNECTION_RESET, "2 of the 9 bytes"),
        (CHUNKED + b"2\r\nok\r\n", Reason.CONNECTION_RESET, "its last chunk is missing"),
        (CHUNKED + b'{"ok": true}', Reason.BAD_RESPONSE, "the chunks of the answer cannot be read"),
        (b"content-length: 2\r\ncontent-length: 3\r\n\r\nok", Reason.BAD_RESPONSE, "several different ones"),
    ],
)
async def test_a_success_whose_end_is_not_known_is_none_and_it_is_said_why(
    caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial, said: bytes, reason: Reason, problem: str
) -> None:
    async with RawReceiver(tls, then_ends(b"HTTP/1.1 200 OK\r\n" + said)) as receiver:
        outcome = await caller.call(call_to(receiver, trust))

    assert (outcome.reason, outcome.status) == (reason, 200)
    assert problem in outcome.detail


@on_both_loops
@pytest.mark.parametrize("late", [b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged", b"HTTP/1.1 20", b"\r\n"])
def test_what_came_before_a_call_and_was_not_yet_read_is_not_its_answer(
    tls: ssl.SSLContext, trust: TlsMaterial, late: bytes, loop_factory: LoopFactory
) -> None:
    """It lies in the socket, and the event loop, busy with the calls themselves, has not looked there since."""

    async def call_twice() -> tuple[list[Outcome], list[int]]:
        lines: list[Line] = []

        async def script(line: Line) -> None:
            lines.append(line)
            while await line.hear() is not None:
                await line.say(OK)

        caller = Caller(lambda: LOCAL)
        async with RawReceiver(tls, script) as receiver:
            outcomes = [await caller.call(call_to(receiver, trust))]
            await asyncio.sleep(0)
            # Written here and now, and so before the loop can read it at the other end.
            lines[0].writer.write(late)
            outcomes.append(await caller.call(call_to(receiver, trust)))
        await caller.aclose()
        return outcomes, [heard.connection for heard in receiver.heard]

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        outcomes, connections = runner.run(call_twice())

    assert [outcome.answer for outcome in outcomes] == [b"ok", b"ok"]
    assert connections == [1, 2]
