"""One HTTP call of a delivery: from URL, headers and body to an outcome with its reason.

Decides what a call may take (time, bytes of the answer) and names how it ended. It never raises for anything the
network or a receiver does, never retries (retry.py decides that), and never puts the query of a URL, the value of a
header, a body or a text of the receiver into a detail: the Outcome's `detail` is for logs, tables and dead letters.
"""

from __future__ import annotations

import errno
import functools
import http
import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Collection

import aiohttp

from hookline.delivery.http.answer_framing import BadAnswerError
from hookline.delivery.http.call import Call, TlsMaterial, forget_materials
from hookline.delivery.http.egress_guard import EgressRefusedError
from hookline.delivery.http.lookup import Lookup, NameServers
from hookline.delivery.http.progress import InvalidCallError, Phase, Progress
from hookline.delivery.http.target import target_of
from hookline.delivery.http.tls import TlsContexts
from hookline.delivery.http.transport import AiohttpTransport, Answer, Post, let_go
from hookline.delivery.http.tunnel import ProxyCredentials, ProxyRefusedError, ProxyUnreachableError
from hookline.delivery.policy.retry import Outcome, Reason, parse_retry_after
from hookline.resources.egress_policy import EgressPolicy
from hookline.runtime.tasks import Deadline, Deadlines

# Name lookup, TCP, the way through a proxy and TLS, together: an endpoint that is down holds a lane for so long and not
# for a whole call. Hook0 gives them 5 s of its 15.
CONNECT_TIMEOUT_SECONDS = 10.0

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FORBIDDEN_IN_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
# Headers that say how a message is framed or what becomes of the connection: only the connection may set them.
_FRAMING = frozenset(
    {"connection", "content-length", "expect", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding"}
    | {"upgrade"}
)
_UNTRUSTED_CHAIN = frozenset({18, 19, 20, 21})  # X509_V_ERR_*: self-signed, self-signed in chain, no issuer, no chain
_OTHER_NAME = frozenset({62, 63, 64})  # X509_V_ERR_HOSTNAME_MISMATCH, EMAIL_MISMATCH, IP_ADDRESS_MISMATCH
_BAD_SIGNATURE, _NOT_YET_VALID, _EXPIRED = 7, 9, 10
_BROKEN = frozenset({errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED, errno.ENOTCONN, errno.ESHUTDOWN})
_TIMEOUTS = {
    Phase.LOOKUP: Reason.CONNECT_TIMEOUT,
    Phase.CONNECT: Reason.CONNECT_TIMEOUT,
    Phase.PROXY: Reason.PROXY_UNREACHABLE,
    Phase.TUNNEL: Reason.PROXY_UNREACHABLE,
    Phase.HANDSHAKE: Reason.TLS_TIMEOUT,
    Phase.ANSWER: Reason.FIRST_BYTE_TIMEOUT,
    Phase.BODY: Reason.TIMEOUT,
}
_STAGES = {
    Phase.LOOKUP: "while the name was looked up",
    Phase.CONNECT: "while the connection was being made",
    Phase.PROXY: "while the proxy was called",
    Phase.TUNNEL: "while the proxy was asked",
    Phase.HANDSHAKE: "during the TLS handshake",
    Phase.ANSWER: "before an answer came",
    Phase.BODY: "in the middle of the answer",
}
# Parts of OpenSSL's reason codes, the more particular ones first.
_TLS_PROBLEMS = (
    ("CERTIFICATE_REQUIRED", "the receiver demands a client certificate; name one in tls.clientCertSecretRef"),
    ("ALERT_PROTOCOL_VERSION", "the receiver offers no TLS version from 1.2 on"),
    ("UNSUPPORTED_PROTOCOL", "the receiver offers no TLS version from 1.2 on"),
    ("WRONG_VERSION_NUMBER", "the receiver does not speak TLS on this port"),
    ("ALERT_HANDSHAKE_FAILURE", "the receiver refused the handshake; it may demand a client certificate"),
    ("ALERT", "the receiver refused the handshake or the client certificate"),
)


class Caller:
    """Makes calls over one pool of connections. `policy` is read at each call, so it may change at any time."""

    def __init__(
        self,
        policy: Callable[[], EgressPolicy],
        *,
        lookup: Callable[[], Lookup] = NameServers,
        proxy_credentials: ProxyCredentials | None = None,
    ) -> None:
        self._policy = policy
        self._lookup = lookup
        self._proxy_credentials = proxy_credentials
        self._transport: AiohttpTransport | None = None
        self._contexts = TlsContexts()
        self._deadlines: dict[float, Deadlines] = {}
        """By how long a call may take: whole seconds, of which there are 30 (resources/webhook)."""

    async def call(self, call: Call) -> Outcome:
        """The outcome of one call. Raises nothing but CancelledError.

        An answer with 2xx of at most 64 KiB must arrive whole within the time; of a longer one, or one in thousands of
        chunks, the status counts, the rest is not read and the connection is closed. Of any other answer the status
        counts once the head has come: no body makes a success of it, and it may ask to wait, or never to call again.
        """
        started = time.monotonic()
        progress = Progress()
        answer: Answer | None = None
        try:
            with self._deadline(call.timeout_seconds):
                answer = await self._send(call, progress)
                await answer.until_over()
        except Exception as error:  # noqa: BLE001 - whatever breaks, the delivery must get its outcome
            reason, problem = _explain(error, progress, call, answer)
            let_go(error)
            outcome = _failed(reason, problem, answer, time.monotonic() - started)
        else:
            outcome = _answered(answer, time.monotonic() - started)
        finally:
            if answer is not None:
                answer.close()
        outcome.phases_s = progress.phases_s(started + outcome.duration_seconds)
        if answer is not None:
            outcome.answer_bytes, outcome.answer_head = answer.reading.body_bytes, answer.reading.head
        return outcome

    def keep_only(self, materials: Collection[TlsMaterial]) -> None:
        """Forget all other TLS material. What a call still needs is made anew."""
        self._contexts.keep_only(materials)
        forget_materials()

    async def aclose(self) -> None:
        """Closes all connections. Calls still under way end as failed."""
        self._contexts.close()
        if self._transport is not None:
            await self._transport.aclose()

    def _deadline(self, seconds: float) -> Deadline:
        deadlines = self._deadlines.get(seconds)
        if deadlines is None:
            deadlines = self._deadlines[seconds] = Deadlines(seconds)
        return deadlines.next()

    async def _send(self, call: Call, progress: Progress) -> Answer:
        target = target_of(call.url)
        progress.authority = target.authority
        head = _head(call, target.host)
        context = await self._contexts.get(call.tls)
        connect_seconds = min(CONNECT_TIMEOUT_SECONDS, call.timeout_seconds)
        post = Post(target, head, call.body, context, connect_seconds, progress, call.tenant)
        if self._transport is None:
            self._transport = AiohttpTransport(self._policy, self._lookup(), self._proxy_credentials)
        return await self._transport.send(post)


def _head(call: Call, host: str) -> bytes:
    """The lines of a request's headers without its length, in one text that is encoded once."""
    lines = []
    for name, value in call.headers:
        # Nearly every value is printable, and this asks for it at a tenth of the cost of an expression.
        if not value.isprintable() and _FORBIDDEN_IN_VALUE.search(value) is not None:
            raise InvalidCallError(f"the value of the header {name!r} holds a line break or a control character")
        if len(name) == len("host") and name.lower() == "host":
            host = ""
        lines.append(f"{_wire_name(name)}: {value}\r\n")
    return f"{host}{''.join(lines)}".encode()


@functools.lru_cache(maxsize=4096)
def _wire_name(name: str) -> str:
    if _TOKEN.fullmatch(name) is None:
        raise InvalidCallError("a header name holds characters other than letters, digits and !#$%&'*+.^_`|~-")
    if name.lower() in _FRAMING:
        raise InvalidCallError(f"the header {name!r} belongs to the connection and cannot be set")
    return name


def _failed(reason: Reason, problem: str, answer: Answer | None, duration_seconds: float) -> Outcome:
    """Of a call that got no whole answer."""
    if answer is None:
        return Outcome(reason, None, problem, duration_seconds)
    if reason is Reason.INTERNAL_ERROR or _verdict(answer.status)[0] is Reason.DELIVERED:
        reading = answer.reading
        return Outcome(reason, answer.status, problem, duration_seconds, None, reading.body, reading.is_cut)
    return _answered(answer, duration_seconds, f"; {problem}")


def _answered(answer: Answer, duration_seconds: float, problem: str = "") -> Outcome:
    reading = answer.reading
    reason, detail = _verdict(answer.status)
    if reason is Reason.DELIVERED:
        return Outcome(reason, answer.status, detail, duration_seconds, None, reading.body, reading.is_cut)
    hint = reading.header(b"retry-after")
    retry_after_seconds = None
    if hint is not None:
        retry_after_seconds = parse_retry_after(hint, time.time(), answered=reading.header(b"date"))
    if retry_after_seconds is not None:
        detail += f"; asks to wait {retry_after_seconds:.0f} s"
    detail += problem
    return Outcome(reason, answer.status, detail, duration_seconds, retry_after_seconds, reading.body, reading.is_cut)


@functools.lru_cache(maxsize=1024)
def _verdict(status: int) -> tuple[Reason, str]:
    detail = f"answered {status} {_phrase(status)}".rstrip()
    if 200 <= status < 300:
        return Reason.DELIVERED, detail
    if 300 <= status < 400:
        return Reason.REDIRECT, f"{detail}: redirects are not followed, put the final address into spec.url"
    if status == http.HTTPStatus.GONE:
        return Reason.GONE, f"{detail}: the receiver asks never to be called again"
    if status == http.HTTPStatus.TOO_MANY_REQUESTS:
        return Reason.TOO_MANY_REQUESTS, detail
    return Reason.HTTP_STATUS, detail


def _phrase(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return ""


def _explain(error: Exception, progress: Progress, call: Call, answer: Answer | None) -> tuple[Reason, str]:
    """Reason and detail of a call that got no whole answer. Only our own texts are used: others may hold the URL."""
    refusal = progress.refusal or _refusal(error)
    if refusal is not None:
        return Reason.EGRESS_REFUSED, refusal
    if isinstance(error, ProxyUnreachableError | ProxyRefusedError):
        unreachable = isinstance(error, ProxyUnreachableError)
        return Reason.PROXY_UNREACHABLE if unreachable else Reason.PROXY_REFUSED, str(error)
    if isinstance(error, InvalidCallError):
        return Reason.INVALID_CALL, str(error)
    tls_error = next((cause for cause in (error.__cause__, error) if isinstance(cause, ssl.SSLError)), None)
    if tls_error is not None and not isinstance(tls_error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return _explain_tls(tls_error, progress, call.tls)
    reason, detail = _explain_network(error, progress)
    return reason, detail if answer is None or isinstance(
        error, BadAnswerError
    ) else f"{detail}: {answer.reading.missing}"


def _refusal(error: Exception) -> str | None:
    cause = _os_error(error)
    return str(cause) if isinstance(cause, EgressRefusedError) else None


def _os_error(error: Exception) -> Exception:
    return error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error


def _explain_tls(error: ssl.SSLError, progress: Progress, tls: TlsMaterial | None) -> tuple[Reason, str]:
    where = progress.where
    if isinstance(error, ssl.SSLCertVerificationError):
        return Reason.CERTIFICATE_INVALID, f"{where}: {_certificate_problem(error, progress.authority, tls)}"
    code = error.reason or "no reason given"
    for part, problem in _TLS_PROBLEMS:
        if part in code:
            return Reason.TLS_FAILURE, f"{where}: {problem} ({code})"
    return Reason.TLS_FAILURE, f"{where}: the TLS handshake failed ({code})"


def _certificate_problem(error: ssl.SSLCertVerificationError, authority: str, tls: TlsMaterial | None) -> str:
    if error.verify_code == _EXPIRED:
        return "a certificate of the receiver has expired; it must be renewed there"
    if error.verify_code == _NOT_YET_VALID:
        return "a certificate of the receiver is not valid yet; check the clocks of both sides"
    if error.verify_code in _OTHER_NAME and "_" in authority.partition(".")[0]:
        return (
            "the receiver's certificate does not list this name; no wildcard stands for a name with _, so use a name "
            "without it in spec.url, or have the certificate list this one in full"
        )
    if error.verify_code in _OTHER_NAME:
        return "the receiver's certificate is for another name; use a name it lists in spec.url, or have it reissued"
    own = tls is not None and tls.ca_pem is not None
    if own and error.verify_code == _BAD_SIGNATURE:
        return (
            "the receiver's certificate was signed with another key than that of the CA of this name in "
            "tls.caSecretRef; put the CA that signed it there, and of several CAs of one name without key identifiers "
            "only that one"
        )
    if error.verify_code not in _UNTRUSTED_CHAIN:
        return f"the receiver's certificate is refused ({error.verify_message})"
    if own:
        return "the receiver's certificate is not signed by the CA in tls.caSecretRef, the only one trusted here"
    return (
        "the receiver's certificate is self-signed or from an unknown authority; if it is a private one, put the"
        " authority's certificate into a Secret and name it in tls.caSecretRef"
    )


def _explain_network(error: Exception, progress: Progress) -> tuple[Reason, str]:
    cause = _os_error(error)
    number = cause.errno if isinstance(cause, OSError) else None
    where = progress.where
    if isinstance(cause, TimeoutError):
        return _explain_timeout(progress)
    if isinstance(cause, socket.gaierror) or isinstance(error, aiohttp.ClientConnectorDNSError):
        return Reason.DNS_FAILURE, f"{where}: {_lookup_problem(number)}"
    if number == errno.ECONNREFUSED:
        return Reason.CONNECTION_REFUSED, f"{where}: nobody listens on this port"
    if _is_broken(cause, number):
        return Reason.CONNECTION_RESET, f"{where}: the connection broke {_STAGES[progress.phase]}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return Reason.UNREACHABLE, f"{where}: {os.strerror(number) if number else 'no address could be reached'}"
    if isinstance(error, BadAnswerError):
        return Reason.BAD_RESPONSE, f"{where}: {error}"
    if isinstance(error, aiohttp.InvalidURL):
        return Reason.INVALID_CALL, f"{where}: write an IPv4 address as four decimal numbers"
    return Reason.INTERNAL_ERROR, f"{where}: {type(error).__name__}"


def _explain_timeout(progress: Progress) -> tuple[Reason, str]:
    reason = _TIMEOUTS[progress.phase]
    if progress.phase is Phase.PROXY:
        return reason, f"{progress.proxy}: the proxy took no connection in time"
    if progress.phase is Phase.TUNNEL:
        return reason, f"{progress.proxy}: the proxy did not answer in time when it was asked for {progress.authority}"
    return reason, f"{progress.where}: time ran out {_STAGES[progress.phase]}"


def _lookup_problem(number: int | None) -> str:
    if number == socket.EAI_AGAIN:
        return "the name could not be looked up: no name server answered"
    return "the name has no address"


def _is_broken(cause: Exception, number: int | None) -> bool:
    if isinstance(cause, ConnectionError | aiohttp.ServerDisconnectedError | ssl.SSLError) or number in _BROKEN:
        return True
    return isinstance(cause.__cause__, ConnectionError)  # aiohttp wraps a failed write
