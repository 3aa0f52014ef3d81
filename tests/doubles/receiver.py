"""A TLS receiver on an address of the caller's choice, which notes every call and what verifies it.

Unlike hookline.local.receiver it is asked afterwards which of several secrets verify a call, and listens where pods of
a test cluster reach it.
"""

from __future__ import annotations

import ssl
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import trustme
from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

from hookline.local.verification import Verifier

NAME = "receiver.example.test"


@dataclass(frozen=True)
class Call:
    """One POST."""

    path: str
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    at_s: float = field(default_factory=time.monotonic)

    @property
    def event_id(self) -> str:
        return self.headers["webhook-id"]

    def verified_by(self, secret: str) -> bool:
        """Whether it is genuine: by the independent library, or with a public key (`whpk_…`)."""
        if secret.startswith("whpk_"):
            return Verifier([secret]).problem(self.headers, self.body) == ""
        try:
            Webhook(secret).verify(self.body, self.headers)
        except WebhookVerificationError:
            return False
        return True


class TlsReceiver:
    """An HTTPS server; `calls` grows with each POST. Answers 200, or what `answers` says for a path."""

    def __init__(self, host: str, *, name: str = NAME) -> None:
        self._host = host
        self._name = name
        self._ca = trustme.CA(organization_name="Hookline test receiver")
        self._runner: web.AppRunner | None = None
        self.calls: list[Call] = []
        self.answers: dict[str, int] = {}
        self.port = 0

    @property
    def ca_pem(self) -> str:
        return self._ca.cert_pem.bytes().decode()

    def url(self, path: str) -> str:
        return f"https://{self._name}:{self.port}{path}"

    def at(self, path: str) -> list[Call]:
        """The calls of one path, in their order."""
        return [each for each in self.calls if each.path == path]

    async def __aenter__(self) -> TlsReceiver:
        app = web.Application()
        app.router.add_post("/{path:.*}", self._receive)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, 0, ssl_context=self._tls())
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _receive(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.calls.append(Call(request.path, headers, await request.read()))
        return web.Response(status=self.answers.get(request.path, 200))

    def _tls(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate = self._ca.issue_cert(self._name)
        with tempfile.TemporaryDirectory() as folder:
            pem = Path(folder) / "receiver.pem"
            certificate.private_key_and_cert_chain_pem.write_to_path(str(pem))
            context.load_cert_chain(pem)
        return context
