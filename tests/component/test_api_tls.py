"""Who comes to the log's API over TLS: kube-apiserver by its certificate, and nobody else by headers."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from cryptography.x509.oid import ExtendedKeyUsageOID

from doubles.client_certificates import Authority, Issued, authority
from doubles.played_log import PlayedLog, attempt
from doubles.waiting import eventually
from hookline.api import process as module
from hookline.api.process import ClusterApi
from hookline.serving.api_server import Right, User
from hookline.serving.certificate import Certificate
from hookline.serving.server import Bounds

LIST = "/apis/log.hookline.dev/v1alpha1/namespaces/team-a/attempts"
ALICE = {"X-Remote-User": "alice", "X-Remote-Group": "dev"}


@dataclass
class KubeApiserver:
    """What the API asks of it. Alice may list and watch, whoever has the token `alice` is she."""

    ca: Authority
    asked: list[User] = field(default_factory=list)

    async def config_map(self, namespace: str, name: str) -> Mapping[str, str] | None:
        return {
            "requestheader-client-ca-file": self.ca.pem,
            "requestheader-allowed-names": '["front-proxy-client"]',
            "requestheader-username-headers": '["X-Remote-User"]',
            "requestheader-group-headers": '["X-Remote-Group"]',
            "requestheader-extra-headers-prefix": '["X-Remote-Extra-"]',
        }

    async def user_of(self, token: str) -> User | None:
        return User(token, groups=("system:authenticated",)) if token == "alice" else None

    async def may(self, user: User, right: Right) -> bool:
        self.asked.append(user)
        return user.name == "alice"


@dataclass
class Served:
    api: ClusterApi
    kube: KubeApiserver
    log: PlayedLog
    trust: trustme.CA
    port: int
    folder: Path

    def client(self, shown: Issued | None = None, **more: Any) -> httpx.AsyncClient:
        context = ssl.create_default_context(cadata=self.trust.cert_pem.bytes().decode())
        if shown is not None:
            context.load_cert_chain(*shown.write(self.folder))
        return httpx.AsyncClient(base_url=f"https://127.0.0.1:{self.port}", verify=context, timeout=10, **more)

    async def status(self, shown: Issued | None, headers: Mapping[str, str]) -> int:
        """0 when TLS lets nobody in."""
        async with self.client(shown) as client:
            try:
                return (await client.get(LIST, headers=headers)).status_code
            except httpx.TransportError:
                return 0


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Served]:
    trust, kube, log = trustme.CA(), KubeApiserver(authority()), PlayedLog([attempt(1)])
    leaf = trust.issue_cert("127.0.0.1")
    leaf.cert_chain_pems[0].write_to_path(folder / "tls.crt")
    leaf.private_key_pem.write_to_path(folder / "tls.key")
    certificate = Certificate(folder / "tls.crt", folder / "tls.key")
    api = ClusterApi(log, kube, certificate, host="127.0.0.1", port=0, grace_seconds=2)  # type: ignore[arg-type]
    stop, port = asyncio.Event(), asyncio.get_running_loop().create_future()
    running = asyncio.create_task(api.run(stop, on_listening=port.set_result))
    try:
        found = Served(api, kube, log, trust, await port, folder)

        async def is_ready() -> bool:
            return api.process.unready() is None

        await eventually(is_ready)
        yield found
    finally:
        stop.set()
        await running


async def test_only_the_certificate_of_kube_apiserver_makes_headers_count(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        ca = api.kube.ca
        right = ca.issue("front-proxy-client")
        assert await api.status(right, ALICE) == 200
        assert api.kube.asked[-1] == User("alice", groups=("dev", "system:authenticated"))
        assert await api.status(right, {**ALICE, "X-Remote-User": "bob"}) == 403
        assert await api.status(right, {}) == 401
        matrix = {
            "none": (None, 401),
            "of another name": (ca.issue("kubelet"), 401),
            "of another ca": (authority("other").issue("front-proxy-client"), 0),
            "forged: a ca of the same name": (authority("front-proxy-ca").issue("front-proxy-client"), 0),
            "forged: it names the ca, and another one signed": (
                authority("other").issue("front-proxy-client", issuer=ca),
                0,
            ),
            "expired": (ca.issue("front-proxy-client", days=(-2, -1)), 0),
            "not yet begun": (ca.issue("front-proxy-client", days=(1, 2)), 0),
            "of a server": (ca.issue("front-proxy-client", usage=ExtendedKeyUsageOID.SERVER_AUTH), 0),
        }
        for what, (shown, status) in matrix.items():
            assert (what, await api.status(shown, ALICE)) == (what, status)
        # And a bearer of a token is who the token says, whatever headers come with it.
        bearer = {"Authorization": "Bearer alice", "X-Remote-User": "admin", "X-Remote-Group": "system:masters"}
        assert await api.status(None, bearer) == 200
        assert api.kube.asked[-1] == User("alice", groups=("system:authenticated",))


async def test_another_ca_is_asked_for_from_the_next_connection_on_and_the_former_is_believed_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hookline.api.front_proxy.LOOK_SECONDS", 0.05)
    async with served(tmp_path) as api:
        former = api.kube.ca.issue("front-proxy-client")
        async with api.client(former) as kept:
            assert (await kept.get(LIST, headers=ALICE)).status_code == 200
            api.kube.ca = authority()
            renewed = api.kube.ca.issue("front-proxy-client")

            async def is_trusted() -> bool:
                return await api.status(renewed, ALICE) == 200

            await eventually(is_trusted)
            assert (await kept.get(LIST, headers=ALICE)).status_code == 401
        assert await api.status(former, ALICE) == 0


async def test_a_watch_comes_line_by_line_and_ends_whole_with_the_process(tmp_path: Path) -> None:
    watch = {"watch": "true", "resourceVersion": "1"}
    async with (
        served(tmp_path) as api,
        api.client(api.kube.ca.issue("front-proxy-client")) as client,
        client.stream("GET", LIST, params=watch, headers=ALICE) as answer,
    ):
        assert (answer.status_code, answer.headers["transfer-encoding"]) == (200, "chunked")
        lines = answer.aiter_lines()
        for number in (2, 3):
            await api.log.add(attempt(number))
            assert json.loads(await anext(lines))["object"]["metadata"]["resourceVersion"] == str(number)
        api.api.process._api.end_watches()
        assert [each async for each in lines] == []
    assert api.log.follows == 0


async def test_who_reads_nothing_of_a_watch_is_cut_and_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "Bounds", lambda **_: Bounds(stall_seconds=0.3))
    async with served(tmp_path) as api:
        context = ssl.create_default_context(cadata=api.trust.cert_pem.bytes().decode())
        reader, writer = await asyncio.open_connection("127.0.0.1", api.port, ssl=context, limit=1024)
        request = f"GET {LIST}?watch=1&resourceVersion=1 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer alice\r\n\r\n"
        writer.write(request.encode())

        async def is_watched() -> bool:
            return api.log.follows == 1

        await eventually(is_watched)
        await api.log.add(*(attempt(number, detail="x" * 16_000) for number in range(2, 1000)))

        async def is_cut() -> bool:
            return api.log.follows == 0 and api.api.process._api.watching == 0

        await eventually(is_cut)
        writer.transport.abort()
        del reader
