"""Arbitrary bytes as answers, over a loopback connection: always one outcome, in time, with a bounded answer.

`make fuzz` runs many more examples (FUZZ_EXAMPLES).
"""

from __future__ import annotations

import asyncio
import os
import ssl

import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from doubles.raw_receiver import Line, RawReceiver
from hookline.delivery.http.answer_framing import MAX_BODY_BYTES_KEPT
from hookline.delivery.http.attempt import Caller
from hookline.delivery.http.call import Call, TlsMaterial
from hookline.delivery.policy.retry import Outcome, Reason
from hookline.resources.egress_policy import EgressPolicy, parse_cidrs

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "150"))
CA = trustme.CA()
CERTIFICATE = CA.issue_cert("127.0.0.1")
TRUST = TlsMaterial(ca_pem=CA.cert_pem.bytes())
LOCAL = EgressPolicy(parse_cidrs(["127.0.0.0/8"]))
POSSIBLE = frozenset(Reason) - {Reason.INTERNAL_ERROR, Reason.INVALID_CALL, Reason.EGRESS_REFUSED, Reason.DNS_FAILURE}

_STATUSES = [b"200", b"100", b"101", b"204", b"304", b"410", b"429", b"503", b"999"]
_STARTS = [
    b"HTTP/1.1 ",
    b"HTTP/1.0 ",
    b"HTTP/2 ",
    b" OK",
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\r",
    b": ",
    b" ",
    b"\t",
    b"\x00",
]
_HEADERS = [b"content-length: ", b"Content-Length: 5", b"transfer-encoding: chunked", b"connection: close", b"x: y\r\n"]
_BODIES = [b"0\r\n\r\n", b"5\r\nhello\r\n", b"ffffffff\r\n", b";x=y", b"-1", b"18446744073709551616", b"\x1f\x8b\x08"]
_OTHERS = [b"retry-after: ", b"content-encoding: gzip", b"upgrade: websocket", b"hello"]
_WORDS = st.sampled_from([*_STATUSES, *_STARTS, *_HEADERS, *_BODIES, *_OTHERS])
answers = st.binary(max_size=300) | st.lists(_WORDS | st.binary(max_size=8), max_size=25).map(b"".join)
wholes = st.builds(
    lambda status, lines, body: b"HTTP/1.1 %d X\r\n%b\r\n%b" % (status, b"".join(lines), body),
    st.integers(100, 999),
    st.lists(st.tuples(_WORDS, _WORDS).map(lambda pair: b"%b: %b\r\n" % pair), max_size=4),
    st.binary(max_size=50),
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(said=answers | wholes, pieces=st.integers(1, 5))
def test_any_bytes_are_an_outcome(said: bytes, pieces: int) -> None:
    outcome = asyncio.run(_outcome_of(said, pieces))

    assert outcome.reason in POSSIBLE, outcome
    assert len(outcome.answer) <= MAX_BODY_BYTES_KEPT
    assert outcome.detail.isprintable()
    assert outcome.retry_after_seconds is None or 0 <= outcome.retry_after_seconds <= 86_400
    if outcome.reason is Reason.DELIVERED:
        assert b"HTTP/1." in said


async def _outcome_of(said: bytes, pieces: int) -> Outcome:
    async def script(line: Line) -> None:
        await line.hear()
        size = max(1, len(said) // pieces)
        for at in range(0, len(said), size):
            await line.say(said[at : at + size])
            await asyncio.sleep(0)

    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    CERTIFICATE.configure_cert(server)
    caller = Caller(lambda: LOCAL)
    async with RawReceiver(server, script) as receiver:
        outcome = await asyncio.wait_for(
            caller.call(Call(f"https://127.0.0.1:{receiver.port}/", (), b"{}", 5, TRUST)), 20
        )
        await caller.aclose()
    return outcome
