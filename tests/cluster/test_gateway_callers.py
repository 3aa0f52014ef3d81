"""Who the gateway takes callers for, against a real API server: it may create reviews there and nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from controlplane import processes
from controlplane.kubectl import Kubectl
from controlplane.servers import ControlPlane
from doubles import account_tokens, own
from doubles.frozen import stand_still
from doubles.gateway import gateway_of
from doubles.local import SAMPLE
from doubles.waiting import eventually
from hookline.gateway.cluster_callers import ClusterCallers
from hookline.gateway.problem import Kind, Refused
from hookline.local.nats_server import NatsServer
from hookline.serving.api_server import ApiServer, Place
from hookline.serving.certificate import Certificate
from hookline.serving.remembered import Times
from hookline.stream.connection import connect
from hookline.stream.streams import Retention, ensure

QUICK = Times(refresh_seconds=0.1, fresh_seconds=0.2, refused_seconds=0.1, ask_seconds=3, failed_seconds=0.5)

MANIFESTS = Path(__file__).parents[2] / "manifests"
ROLES = [MANIFESTS / "gateway" / "cluster-role.yaml", MANIFESTS / "roles" / "publish.yaml"]


@dataclass(frozen=True)
class Cluster:
    """What a test asks of the API server, and the gateway's way to it."""

    plane: ControlPlane
    kubectl: Kubectl
    namespace: str
    place: Place

    def token(self, name: str = "default", *, audience: str = "hookline") -> str:
        wish = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": 3600, "audiences": [audience]},
        }
        path = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/{name}/token"
        return str(self.plane.request(path, wish)["status"]["token"])

    def key(self) -> rsa.RSAPrivateKey:
        """That signs all tokens of ServiceAccounts."""
        content = (self.plane.folder / "service-account.key").read_bytes()
        key = serialization.load_pem_private_key(content, None)
        assert isinstance(key, rsa.RSAPrivateKey)
        return key


@pytest.fixture
def cluster(control_plane: ControlPlane, kubectl: Kubectl, namespace: str, tmp_path: Path) -> Iterator[Cluster]:
    kubectl.ok("apply", *(word for role in ROLES for word in ("-f", role)))
    kubectl.ok("-n", namespace, "create", "serviceaccount", "gateway")
    kubectl.ok(
        *("create", "clusterrolebinding", f"gateway-{namespace}", "--clusterrole=hookline-gateway"),
        f"--serviceaccount={namespace}:gateway",
    )
    its = Place(control_plane.url, tmp_path / "token", control_plane.ca_file)
    made = Cluster(control_plane, kubectl, namespace, its)
    its.token_file.write_text(made.token("gateway", audience="https://kubernetes.default.svc.cluster.local"))
    yield made
    kubectl.ok("delete", "clusterrolebinding", f"gateway-{namespace}", "--wait=false")


@pytest.fixture
async def api(cluster: Cluster) -> AsyncIterator[ApiServer]:
    async with ApiServer(cluster.place, who="gateway", audience="hookline") as api:

        async def has_its_role() -> bool:
            return (
                "yes"
                in cluster.kubectl(
                    *("auth", "can-i", "create", "tokenreviews.authentication.k8s.io"),
                    f"--as=system:serviceaccount:{cluster.namespace}:gateway",
                ).stdout
            )

        await eventually(has_its_role, seconds=10)
        yield api


async def test_a_token_publishes_for_its_namespace_and_for_others_once_a_role_lets_it(
    cluster: Cluster, api: ApiServer
) -> None:
    async with ClusterCallers(api, times_of_rights=QUICK) as callers:
        caller = await callers.caller(cluster.token())
        assert (caller.namespace, caller.types) == (cluster.namespace, None)
        assert not await callers.may_publish_for(caller, "kube-public")

        cluster.kubectl.ok(
            *("-n", "kube-public", "create", "rolebinding", cluster.namespace, "--clusterrole=hookline-publish"),
            f"--serviceaccount={cluster.namespace}:default",
        )
        await eventually(lambda: callers.may_publish_for(caller, "kube-public"), seconds=15)
        assert not await callers.may_publish_for(caller, "kube-system")
        # By the group of all ServiceAccounts of the namespace, which the review must be told of.
        cluster.kubectl.ok(
            *("-n", "default", "create", "rolebinding", cluster.namespace, "--clusterrole=hookline-publish"),
            f"--group=system:serviceaccounts:{cluster.namespace}",
        )
        await eventually(lambda: callers.may_publish_for(caller, "default"), seconds=15)


def expired(cluster: Cluster) -> str:
    header, said = account_tokens.parts(cluster.token())
    return account_tokens.signed({**said, "exp": said["iat"] - 100, "iat": said["iat"] - 7200}, cluster.key(), header)


def re_signed(cluster: Cluster) -> str:
    """As right as `expired`, but for its end: what is refused there is refused for that."""
    header, said = account_tokens.parts(cluster.token())
    return account_tokens.signed({**said, "exp": said["exp"] + 1}, cluster.key(), header)


def forged(cluster: Cluster) -> str:
    header, said = account_tokens.parts(cluster.token())
    return account_tokens.signed(said, rsa.generate_private_key(public_exponent=65537, key_size=2048), header)


def cut(cluster: Cluster) -> str:
    return cluster.token()[:-20]


def of_another_account(cluster: Cluster) -> str:
    """A right signature of what stands in another token."""
    header, said = account_tokens.parts(cluster.token())
    sub = "system:serviceaccount:kube-system:default"
    told = {**said["kubernetes.io"], "namespace": "kube-system", "serviceaccount": {"name": "default", "uid": "x"}}
    return account_tokens.signed({**said, "sub": sub, "kubernetes.io": told}, cluster.key(), header)


def for_another_audience(cluster: Cluster) -> str:
    return cluster.token(audience="vault")


def for_the_api_server(cluster: Cluster) -> str:
    return cluster.token(audience="https://kubernetes.default.svc.cluster.local")


def of_a_person(cluster: Cluster) -> str:
    return cluster.plane.token("alice")


def of_the_administrator(cluster: Cluster) -> str:
    return cluster.plane.token()


def of_a_node(cluster: Cluster) -> str:
    """Only who has the cluster's key can make it, and the API server does not look at `sub`."""
    header, said = account_tokens.parts(cluster.token())
    return account_tokens.signed({**said, "sub": "system:node:worker-1"}, cluster.key(), header)


async def test_tokens_that_are_not_right_are_nobodys_here_and_at_the_api_server(
    cluster: Cluster, api: ApiServer, capsys: pytest.CaptureFixture[str]
) -> None:
    bad: list[Callable[[Cluster], str]] = [
        *(expired, forged, cut, of_another_account, for_another_audience, for_the_api_server),
        *(of_a_person, of_the_administrator, of_a_node, lambda _: "rubbish", lambda _: "a.b.c", lambda _: "-._~+/=="),
    ]
    async with ClusterCallers(api) as callers:
        assert (await callers.caller(re_signed(cluster))).namespace == cluster.namespace
        told = []
        for make in bad:
            token = make(cluster)
            with pytest.raises(Refused) as refused:
                await callers.caller(token)
            problem = refused.value.problem
            assert (make.__name__, problem.kind) == (make.__name__, Kind.UNAUTHENTICATED)
            told.append(f"{refused.value!r} {problem!r} {problem.body()!r} {problem.headers()}")
            if make is not of_a_node:
                assert (make.__name__, await api.user_of(token)) == (make.__name__, None)
            for part in token.split("."):
                assert len(part) < 8 or part not in "".join(told)
    said = "".join(capsys.readouterr())
    assert cluster.place.token_file.read_text() not in said


async def test_the_token_of_a_deleted_account_is_refused(cluster: Cluster, api: ApiServer) -> None:
    """The API server itself knows a token for 10 s more. Ours come on top of that: `Times` has the sum."""
    async with ClusterCallers(api, times=QUICK) as callers:
        cluster.kubectl.ok("-n", cluster.namespace, "create", "serviceaccount", "leaving")
        token, staying = cluster.token("leaving"), cluster.token()
        assert (await callers.caller(token)).namespace == cluster.namespace
        cluster.kubectl.ok("-n", cluster.namespace, "delete", "serviceaccount", "leaving")

        async def is_refused() -> bool:
            try:
                await callers.caller(token)
            except Refused as error:
                return error.problem.kind is Kind.UNAUTHENTICATED
            return False

        await eventually(is_refused, seconds=20)
        assert (await callers.caller(staying)).namespace == cluster.namespace


async def test_while_the_api_server_hangs_known_callers_go_on_and_unknown_ones_are_told_to_come_again(
    cluster: Cluster,
) -> None:
    pid = processes.running_pid(cluster.plane.folder, "kube-apiserver")
    assert pid is not None
    times = Times(refresh_seconds=0.1, fresh_seconds=0.2, ask_seconds=0.6, outage_seconds=600)
    async with (
        ApiServer(cluster.place, who="gateway", audience="hookline", request_seconds=0.3) as api,
        ClusterCallers(api, times=times, times_of_rights=times) as callers,
    ):
        token, other = cluster.token(), cluster.token()
        known: list[str] = []

        async def is_known() -> bool:
            # A slow machine is an API server that does not answer within 0.3 s.
            with contextlib.suppress(Refused):
                known.append((await callers.caller(token)).namespace)
            return bool(known)

        await eventually(is_known, seconds=15)
        stand_still(pid)
        try:
            ends = time.monotonic() + 0.5
            while time.monotonic() < ends:
                caller = await callers.caller(token)
                assert caller.namespace == cluster.namespace
            for asked in (callers.caller(other), callers.may_publish_for(caller, "default")):
                with pytest.raises(Refused) as refused:
                    await asked
                assert refused.value.problem.kind is Kind.UNAVAILABLE
                assert refused.value.problem.retry_after_seconds
            with pytest.raises(Refused) as refused:
                await callers.caller("rubbish")
            assert refused.value.problem.kind is Kind.UNAUTHENTICATED
        finally:
            os.kill(pid, signal.SIGCONT)
        token = other
        known.clear()
        await eventually(is_known, seconds=15)


async def test_a_gateway_without_its_role_says_no_to_nobody_and_yes_to_nobody(
    cluster: Cluster, control_plane: ControlPlane, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.place.token_file.write_text(control_plane.token("bob"))
    async with ApiServer(cluster.place, who="gateway", audience="hookline") as api, ClusterCallers(api) as callers:
        with pytest.raises(Refused) as refused:
            await callers.caller(cluster.token())
    assert refused.value.problem.kind is Kind.UNAVAILABLE
    assert "may not create reviews" in json.dumps(capsys.readouterr())


async def test_a_workload_publishes_over_tls_with_its_own_token(
    cluster: Cluster, api: ApiServer, tmp_path: Path
) -> None:
    authority = trustme.CA()
    certificate = certificate_of(authority, tmp_path)
    (tmp_path / "nats").mkdir()
    server = NatsServer(tmp_path / "nats")
    await server.start()
    queue = await connect(server.url, name="test")
    try:
        await ensure(queue, Retention())
        async with ClusterCallers(api) as callers, gateway_of(server.url, callers, certificate.context) as port:
            trust = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
            async with httpx.AsyncClient(base_url=f"https://127.0.0.1:{port}", verify=trust) as client:
                wrong = await client.post(PAGE, content=SAMPLE, headers=as_json(cluster.token(audience="another")))
                assert wrong.status_code == 401
                answer = await client.post(PAGE, content=SAMPLE, headers=as_json(cluster.token()))
                assert (answer.status_code, answer.json()["namespace"]) == (202, cluster.namespace)
        stored = await queue.jetstream().get_msg(own.EVENTS, seq=1)
        assert (stored.subject, stored.data) == (f"hookline.events.{cluster.namespace}.IdentityCreated", SAMPLE)
    finally:
        await queue.close()
        await server.stop()


PAGE = "/v1/events/IdentityCreated"


def as_json(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}


def certificate_of(authority: trustme.CA, folder: Path) -> Certificate:
    leaf = authority.issue_cert("127.0.0.1")
    leaf.cert_chain_pems[0].write_to_path(folder / "tls.crt")
    leaf.private_key_pem.write_to_path(folder / "tls.key")
    return Certificate(folder / "tls.crt", folder / "tls.key")
