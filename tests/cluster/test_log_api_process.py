"""`hookline api` as a pod runs it: over a real queue, a real kube-apiserver, and the CRDs of this version."""

from __future__ import annotations

import asyncio
import signal
import ssl
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import trustme

from controlplane.kubectl import Kubectl
from controlplane.ports import free_port
from controlplane.servers import ControlPlane
from doubles.local import SECRET
from doubles.logs import make_log, record, write
from doubles.waiting import eventually
from hookline.local.nats_server import NatsServer
from hookline.local.samples import allowed_secret, to_yaml, webhook
from hookline.routing.queues import Queue, queues_file
from hookline.stream.connection import connect

pytestmark = pytest.mark.timeout(120)

PLACED = """
import sys
from pathlib import Path
from hookline.cli import pod
from hookline.cli.main import main
from hookline.serving.api_server import Place
place = Place(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
pod.place_of_pod = lambda: place
sys.argv[1:4] = []
main()
"""
"""The command, but for the files that a kubelet puts into a pod."""


def started(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("w") as file:
        return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)


async def test_the_command_reads_its_queues_knows_webhooks_and_holds_the_lease(
    control_plane: ControlPlane, kubectl: Kubectl, namespace: str, tmp_path: Path
) -> None:
    trust = trustme.CA()
    leaf = trust.issue_cert("127.0.0.1")
    leaf.cert_chain_pems[0].write_to_path(tmp_path / "tls.crt")
    leaf.private_key_pem.write_to_path(tmp_path / "tls.key")
    (tmp_path / "token").write_text(control_plane.token())
    hook = webhook("one", url="https://example.com/", event="IdentityCreated", secret_name="signing")
    manifests = to_yaml(("", allowed_secret("signing", SECRET)), ("", hook))
    kubectl.ok("apply", "-n", namespace, "-f", "-", stdin=manifests)
    (tmp_path / "nats").mkdir()
    server = NatsServer(tmp_path / "nats")
    await server.start()
    queue = await connect(server.url, name="test")
    try:
        await make_log(queue)
        await write(queue, [record("evt_1")], tenant=namespace, webhook="one")
        (tmp_path / "queues.json").write_text(queues_file([Queue("default", server.url)]))
        port, health = free_port(), free_port()
        words = ["--queues", tmp_path / "queues.json", "--data", tmp_path / "data", "--own-namespace", namespace]
        words += ["--tls-certificate", tmp_path / "tls.crt", "--tls-key", tmp_path / "tls.key"]
        words += ["--listen", f"127.0.0.1:{port}", "--health", f"127.0.0.1:{health}", "--name", "pod-1"]
        place = [control_plane.url, tmp_path / "token", control_plane.ca_file]
        command = [sys.executable, "-c", PLACED, *map(str, [*place, "api", *words])]
        process = started(command, tmp_path / "log")
        try:
            context = ssl.create_default_context(cadata=trust.cert_pem.bytes().decode())
            bearer = {"Authorization": f"Bearer {control_plane.token()}"}
            async with httpx.AsyncClient(
                base_url=f"https://127.0.0.1:{port}", verify=context, headers=bearer
            ) as asking:
                listed: list[str] = []

                async def is_told() -> bool:
                    try:
                        answer = await asking.get(f"/apis/log.hookline.dev/v1alpha1/namespaces/{namespace}/attempts")
                    except httpx.TransportError:
                        return False
                    listed[:] = [each["event"]["id"] for each in answer.json().get("items", [])]
                    return bool(listed)

                await eventually(is_told, seconds=20, what=lambda: (tmp_path / "log").read_text())
                assert listed == ["evt_1"]
                metrics = (await asking.get(f"http://127.0.0.1:{health}/metrics")).text
                assert 'hookline_log_api_answers_total{code="200",resource="attempts",verb="list"} 1.0' in metrics
                assert "hookline_log_api_queues_missing 0.0" in metrics
                assert (await asking.get(f"http://127.0.0.1:{health}/readyz")).status_code == 200

            async def leads() -> bool:
                words = ("get", "lease", "hookline-api", "-n", namespace, "-o", "jsonpath={.spec.holderIdentity}")
                return (await asyncio.to_thread(kubectl, *words)).stdout == "pod-1"

            await eventually(leads, what=lambda: (tmp_path / "log").read_text())
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 20) == 0, (tmp_path / "log").read_text()
        finally:
            process.kill()
            process.wait()
        said = (tmp_path / "log").read_text()
        assert "warning" not in said, said
        assert control_plane.token() not in said
    finally:
        await queue.close()
        await server.stop()
