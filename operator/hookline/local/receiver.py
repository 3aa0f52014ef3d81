"""A real TLS receiver to try Hookline on: it verifies each call and answers as it was told.

Decides whether a call is verified and which status it gets. It never listens beyond 127.0.0.1, never stores or prints
a call (`on_call` does).
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import logging
import re
import secrets
import ssl
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Literal, Self

import trustme
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from hookline.local.forward import Forwarder
from hookline.local.verification import Verifier

HOST = "127.0.0.1"
MAX_BODY_BYTES = 1024 * 1024
MAX_ANSWER_TIMES = 1000

# Far above what Hookline lets a Webhook send, so that a long header is seen and verified rather than refused here.
_MAX_HEADER_BYTES = 64 * 1024
# How long calls under way may hold up `stop`; a long `delay_seconds` must not.
_SHUTDOWN_TIMEOUT_SECONDS = 1.0

_ANSWER = re.compile(r"(?P<code>[0-9]{3})(:(?P<times>[0-9]{1,4}))?")
_ATTEMPT = re.compile(r"[0-9]{1,9}")

_log = logging.getLogger(__name__)

Verification = Literal["signature", "header", "no"]


@dataclass(frozen=True)
class Answer:
    """A status code, and how many calls in a row get it: `None` is once; the last of a sequence repeats forever."""

    code: int
    times: int | None = None


ALWAYS_OK = (Answer(200),)


@dataclass(frozen=True)
class ReceivedCall:
    """One POST that arrived, and what became of it. Texts are as the caller sent them; `""` means not sent.

    `headers` is case-insensitive. `reason` says in words why `verified` is "no" and is empty otherwise.
    """

    at: datetime
    path_and_query: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    webhook_id: str
    event_type: str
    tenant: str
    attempt: int | None
    answered: int
    verified: Verification
    reason: str

    @property
    def is_verified(self) -> bool:
        return self.verified != "no"


class Receiver:
    """An HTTPS server on 127.0.0.1 with a certificate from `ca`, or from one that lives as long as this object.

    `secret` holds the signing keys (`whsec_...`, `whsk_...` or `whpk_...`), with whitespace between them;
    `header_secret` a header's name and the value expected in it, for Webhooks of the scheme `Header`. `answers` is
    applied to each webhook-id by itself. With `refuse_unverified` a call that does not verify gets 401. `forward`
    passes a call on, and its answer is the answer. `on_call` is called in the event loop once for each POST, before the
    answer is sent and before `delay_seconds` pass.
    """

    def __init__(
        self,
        *,
        secret: str,
        on_call: Callable[[ReceivedCall], None],
        header_secret: tuple[str, str] | None = None,
        port: int = 0,
        answers: Sequence[Answer] = ALWAYS_OK,
        delay_seconds: float = 0,
        ca: trustme.CA | None = None,
        refuse_unverified: bool = False,
        forward: Forwarder | None = None,
    ) -> None:
        self._signatures = Verifier(secret.split())
        self._header_secret = header_secret
        self._port = port
        self._codes = _codes(answers)
        self._delay_seconds = delay_seconds
        self._on_call = on_call
        self._calls_by_id: Counter[str] = Counter()
        self._ca = ca or trustme.CA(organization_name="Hookline throw-away CA")
        self._refuse_unverified = refuse_unverified
        self._forward = forward
        self._runner: web.AppRunner | None = None
        self._url = ""

    async def start(self) -> None:
        """Raises OSError when the port cannot be had."""
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_route("*", "/{path:.*}", self._receive)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            logger=_log,
            auto_decompress=False,  # a signature covers the bytes that were sent
            max_line_size=_MAX_HEADER_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
            shutdown_timeout=_SHUTDOWN_TIMEOUT_SECONDS,
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, self._port, ssl_context=self._tls()).start()
        self._url = f"https://{HOST}:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        if self._forward is not None:
            await self._forward.aclose()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        """`https://127.0.0.1:PORT`, without a slash at the end. Known once the receiver has started."""
        if not self._url:
            raise RuntimeError("the receiver has no address before start()")
        return self._url

    @property
    def ca_pem(self) -> str:
        """The CA certificate that a caller must trust, as PEM."""
        return self._ca.cert_pem.bytes().decode("ascii")

    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._ca.issue_cert(HOST, "::1", "localhost").configure_cert(context)
        return context

    async def _receive(self, request: web.Request) -> web.Response:
        if request.method != "POST":
            return web.Response(status=405, headers={"Allow": "POST"}, text="a delivery is a POST\n")
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            self._report(request, b"", 413, "no", f"body larger than {MAX_BODY_BYTES} bytes, not read")
            raise
        verified, reason = self._verify(request.headers, body)
        if self._refuse_unverified and verified == "no":
            answer = web.Response(status=401, text=f"{reason}\n")
        elif self._forward is not None:
            answer = await self._forward.answer(request, body)
        else:
            answer = web.Response(status=self._next_code(request.headers.get("webhook-id", "")))
        self._report(request, body, answer.status, verified, reason)
        if self._delay_seconds:
            await asyncio.sleep(self._delay_seconds)
        return answer

    def _next_code(self, webhook_id: str) -> int:
        earlier = self._calls_by_id[webhook_id]
        self._calls_by_id[webhook_id] += 1
        return self._codes[min(earlier, len(self._codes) - 1)]

    def _report(self, request: web.Request, body: bytes, answered: int, verified: Verification, reason: str) -> None:
        headers = request.headers
        attempt = headers.get("hookline-attempt", "")
        self._on_call(
            ReceivedCall(
                at=datetime.now(UTC),
                path_and_query=request.raw_path,
                headers=headers,
                body=body,
                webhook_id=headers.get("webhook-id", ""),
                event_type=headers.get("hookline-event-type", ""),
                tenant=headers.get("hookline-tenant", ""),
                attempt=int(attempt) if _ATTEMPT.fullmatch(attempt) else None,
                answered=answered,
                verified=verified,
                reason=reason,
            )
        )

    def _verify(self, headers: Mapping[str, str], body: bytes) -> tuple[Verification, str]:
        """A call with a signature stands or falls with it: a right header secret does not excuse a wrong signature."""
        if "webhook-signature" not in headers and self._header_secret is not None:
            reason = _header_problem(headers, *self._header_secret)
            return ("no", reason) if reason else ("header", "")
        reason = self._signatures.problem(headers, body)
        return ("no", reason) if reason else ("signature", "")


def parse_answer(text: str) -> Answer:
    """`CODE` or `CODE:TIMES`, such as `503:2`. Raises ValueError that says what to write."""
    match = _ANSWER.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not an answer: write CODE or CODE:TIMES, for example 200 or 503:2")
    code = int(match["code"])
    if not 200 <= code <= 599:
        raise ValueError(f"{text!r}: {code} is no final HTTP status: write a code from 200 to 599")
    if match["times"] is None:
        return Answer(code)
    times = int(match["times"])
    if not 1 <= times <= MAX_ANSWER_TIMES:
        raise ValueError(f"{text!r}: write how many calls get {code} as a number from 1 to {MAX_ANSWER_TIMES}")
    return Answer(code, times)


def new_secret() -> str:
    """A fresh signing secret: `whsec_` and the base64 of 32 random bytes."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode("ascii")


def _codes(answers: Sequence[Answer]) -> tuple[int, ...]:
    """One code for each call in turn; whatever comes after the last gets the last."""
    if not answers:
        raise ValueError("a receiver needs at least one answer, for example Answer(200)")
    *first, last = answers
    return (*(answer.code for answer in first for _ in range(answer.times or 1)), last.code)


def _header_problem(headers: Mapping[str, str], name: str, expected: str) -> str:
    """Why the header secret does not hold; empty when it does."""
    value = headers.get(name)
    if value is None:
        return f"no signature and no {name} header"
    # Bytes, because compare_digest takes only ASCII text; surrogateescape is how aiohttp decodes headers.
    if not hmac.compare_digest(value.encode("utf-8", "surrogateescape"), expected.encode()):
        return f"{name} does not match"
    return ""


def _without_request_text(record: logging.LogRecord) -> bool:
    """aiohttp's parse errors quote the request, and what they quote may be a header's secret value."""
    if record.exc_info and isinstance(record.exc_info[1], HttpProcessingError):
        record.exc_info = None
    return True


_log.addFilter(_without_request_text)
