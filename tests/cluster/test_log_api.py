"""The log's API behind a real kube-apiserver, asked by a real kubectl."""

from __future__ import annotations

import contextlib
import json
import secrets
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from controlplane.kubectl import Kubectl
from controlplane.servers import ControlPlane
from doubles import client_certificates
from doubles.client_certificates import Issued
from doubles.played_log import attempt, dead, waiting
from doubles.registered_api import API_SERVICE, NAMESPACE, SERVICE, LogApi, registered
from hookline.api import front_proxy
from hookline.api.front_proxy import FrontProxy
from hookline.api.users import _Certificates

pytestmark = pytest.mark.timeout(180)

PLUGIN = str(Path(sys.executable).with_name("kubectl-hookline"))

ROOT = "/apis/log.hookline.dev/v1alpha1"


@pytest.fixture(scope="module")
def api(control_plane: ControlPlane, kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LogApi]:
    with registered(control_plane, kubectl, tmp_path_factory.mktemp("log-api")) as api:
        until(lambda: "attempts" in kubectl("api-resources", "--api-group=log.hookline.dev").stdout)
        yield api


@pytest.fixture(scope="module", autouse=True)
def going(api: LogApi, kubectl: Kubectl) -> str:
    """A namespace that is being deleted while the other tests run. It takes the cluster ten seconds at least."""
    name = f"going-{secrets.token_hex(4)}"
    kubectl.ok("create", "namespace", name)
    api.log.letters[:] = [dead(number, name) for number in range(1, 500)]
    assert "evt-1.1" in kubectl.ok("get", "deadletters", "-n", name)
    api.log.asked.clear()
    kubectl.ok("delete", "namespace", name, "--wait=false")
    return name


@pytest.fixture
def team(api: LogApi, kubectl: Kubectl, namespace: str) -> str:
    """A namespace with something in the log: alice has `view` there, bob `edit`."""
    api.log.tried[:] = [
        attempt(1, namespace),
        attempt(2, "elsewhere"),
        attempt(3, namespace, status=200, reason="Delivered", follows="Done", next_at_s=None),
    ]
    api.log.waits[:] = [waiting(4, namespace), waiting(5, "elsewhere")]
    api.log.letters[:] = [dead(6, namespace), dead(7, "elsewhere")]
    for user, role in (("alice", "view"), ("bob", "edit")):
        kubectl.ok("-n", namespace, "create", "rolebinding", user, f"--clusterrole={role}", f"--user={user}")
    until(
        lambda: (
            may(kubectl, "alice", "list", "attempts", namespace)
            and may(kubectl, "bob", "create", "webhooktests", namespace)
        )
    )
    return namespace


def until(condition: Callable[[], bool], *, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(0.1)


def may(kubectl: Kubectl, user: str, verb: str, resource: str, namespace: str) -> bool:
    resource, _, part = resource.partition("/")
    words = ("auth", "can-i", verb, f"{resource}.log.hookline.dev", "-n", namespace, f"--subresource={part}")
    return kubectl(*words, user=user).stdout.strip() == "yes"


def test_kubectl_shows_everything_in_every_form(api: LogApi, kubectl: Kubectl, team: str) -> None:
    table = kubectl.ok("get", "attempts", "-n", team, user="alice")
    assert table.splitlines()[0].split() == [
        "NAME",
        "WEBHOOK",
        "EVENT",
        "ATTEMPT",
        "STATUS",
        "REASON",
        "DURATION",
        "NEXT",
        "AGE",
    ]
    assert [line.split()[0] for line in table.splitlines()[1:]] == ["evt-3-1.3", "evt-1-1.1"]
    wide = kubectl.ok("get", "att", "-n", team, "-o", "wide", user="alice")
    assert wide.splitlines()[0].split()[-3:] == ["EVENT-ID", "URL", "SENDER"]
    assert kubectl.ok("get", "attempts", "-n", team, "-o", "name", user="alice").split() == [
        "attempt.log.hookline.dev/evt-3-1.3",
        "attempt.log.hookline.dev/evt-1-1.1",
    ]
    assert kubectl.json("get", "attempt", "evt-1-1.1", "-n", team, user="alice")["status"] == 503
    assert "kind: Attempt" in kubectl.ok("get", "attempt", "evt-1-1.1", "-n", team, "-o", "yaml", user="alice")
    assert "evt-4.4" in kubectl.ok("get", "deliveries", "-n", team, user="alice")
    assert "ScheduleSpent" in kubectl.ok("get", "dl", "-n", team, user="alice")
    described = kubectl.ok("describe", "attempt", "evt-1-1.1", "-n", team, user="alice")
    assert "Duration Milliseconds:  41" in described
    both = kubectl.ok("get", "attempts,deliveries,deadletters", "-n", team, user="alice")
    assert all(each in both for each in ("evt-1-1.1", "evt-4.4", "evt-6.6"))
    everywhere = kubectl.ok("get", "attempts", "-A")
    assert everywhere.splitlines()[0].split()[0] == "NAMESPACE"
    assert "elsewhere" in everywhere
    assert "No resources found" in kubectl("get", "attempts", "-n", "kube-public").stderr


def test_selectors_narrow_and_what_cannot_be_selected_by_is_said(api: LogApi, kubectl: Kubectl, team: str) -> None:
    def names(*words: str) -> str:
        return kubectl.ok("get", "attempts", "-n", team, "-o", "name", *words, user="alice").strip()

    assert names("--field-selector", "status=200") == "attempt.log.hookline.dev/evt-3-1.3"
    assert names("--field-selector", "event=evt-1,webhook=identity-created") == "attempt.log.hookline.dev/evt-1-1.1"
    assert names("-l", "hookline.dev/reason=Delivered") == "attempt.log.hookline.dev/evt-3-1.3"
    assert names("--field-selector", "metadata.name=evt-1-1.1") == "attempt.log.hookline.dev/evt-1-1.1"
    wrong = kubectl("get", "attempts", "-n", team, "--field-selector", "spec.url=x", user="alice")
    assert "field label not supported" in wrong.stderr


def test_a_list_of_ten_thousand_is_had_in_parts_and_whole(api: LogApi, kubectl: Kubectl, team: str) -> None:
    api.log.tried[:] = [attempt(number, team) for number in range(1, 10_101)]
    for chunk in ("3000", "0"):
        listed = kubectl.ok("get", "attempts", "-n", team, f"--chunk-size={chunk}", user="alice").splitlines()[1:]
        assert (len(listed), len(set(listed))) == (10_100, 10_100), chunk


def test_kubectl_explains_each_field(api: LogApi, kubectl: Kubectl) -> None:
    until(lambda: kubectl("explain", "attempts.answer").returncode == 0)
    said = kubectl.ok("explain", "attempts.answer")
    assert "KIND:       Attempt" in said
    assert "bodyEncoding" in said
    assert "What came back" in said
    for each in ("attempts", "deliveries.next", "deadletters.reason", "webhooktests.spec.eventType"):
        assert "DESCRIPTION" in kubectl.ok("explain", each), each
    assert "phasesMilliseconds" in kubectl.ok("explain", "attempts", "--recursive")
    resources = kubectl.ok("api-resources", "--api-group=log.hookline.dev", "-o", "wide")
    assert "att " in resources
    assert "get,list,watch" in resources


def test_rights_are_plain_rbac(api: LogApi, kubectl: Kubectl, team: str) -> None:
    """Of view, of edit, of another namespace, of none."""
    read = ("get", "attempt", "evt-1-1.1", "-n", team)
    body = ("get", "--raw", f"{ROOT}/namespaces/{team}/attempts/evt-1-1.1/body")
    for user in ("alice", "bob"):
        assert kubectl(*read, user=user).returncode == 0
        assert "Forbidden" in kubectl(*body, user=user).stderr
        assert not may(kubectl, user, "get", "attempts/body", team)
        assert "Forbidden" in kubectl("get", "attempts", "-A", user=user).stderr
        assert "Forbidden" in kubectl("get", "attempts", "-n", "elsewhere", user=user).stderr
    dropped = kubectl("delete", "deadletter", "evt-6.6", "-n", team, user="alice")
    assert "Forbidden" in dropped.stderr
    for person in ("--as=of-another-namespace", "--as=of-none"):
        if person.endswith("namespace"):
            kubectl.ok(
                "-n", "kube-public", "create", "rolebinding", team, "--clusterrole=edit", "--user=of-another-namespace"
            )
        there = kubectl(person, *read).stderr
        absent = kubectl(person, "get", "attempt", "evt-9-9.9", "-n", team).stderr
        assert "Forbidden" in there
        assert there.replace("evt-1-1.1", "") == absent.replace("evt-9-9.9", "")
    kubectl.ok("-n", "kube-public", "delete", "rolebinding", team)
    kubectl.ok("-n", team, "create", "rolebinding", "bodies", "--clusterrole=hookline-bodies", "--user=bob")
    until(
        lambda: (
            "body-canary"
            in kubectl("get", "--raw", f"{ROOT}/namespaces/{team}/attempts/evt-1-1.1/body", user="bob").stdout
        )
    )


def test_who_may_edit_drops_replays_and_tests(api: LogApi, kubectl: Kubectl, team: str) -> None:
    api.log.letters.append(dead(8, team))
    uid = kubectl.json("get", "deadletter", "evt-6.6", "-n", team, user="bob")["metadata"]["uid"]
    assert uid
    assert "deleted" in kubectl.ok("delete", "deadletter", "evt-6.6", "-n", team, "--dry-run=server", user="bob")
    assert "deleted" in kubectl.ok("delete", "deadletter", "evt-6.6", "-n", team, user="bob")
    assert "NotFound" in kubectl("get", "deadletter", "evt-6.6", "-n", team, user="bob").stderr
    raw = f"{ROOT}/namespaces/{team}/deadletters/evt-8.8/replay"
    assert "Success" in kubectl.ok("create", "--raw", raw, "-f", "-", stdin="{}", user="bob")
    assert api.actions.replayed == [(team, "evt-8.8")]
    test = {"apiVersion": "log.hookline.dev/v1alpha1", "kind": "WebhookTest", "spec": {"webhook": "identity-created"}}
    said = kubectl.ok(
        "create", "--raw", f"{ROOT}/namespaces/{team}/webhooktests", "-f", "-", stdin=json.dumps(test), user="bob"
    )
    assert json.loads(said)["status"]["attempt"]["status"] == 503
    assert kubectl("patch", "attempt", "evt-1-1.1", "-n", team, "--type=merge", "-p", "{}").returncode != 0
    assert kubectl("label", "attempt", "evt-1-1.1", "-n", team, "a=b").returncode != 0


class Watching:
    """kubectl that goes on, and what it has printed."""

    def __init__(self, kubectl: Kubectl, plane: ControlPlane, *words: str, user: str = "alice") -> None:
        self.process = subprocess.Popen(
            [kubectl._program, f"--kubeconfig={plane.kubeconfig(user)}", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def end(self) -> str:
        self.process.terminate()
        return self.process.communicate(timeout=10)[0]


def test_the_plugin_does_what_kubectl_may_do(api: LogApi, kubectl: Kubectl, team: str) -> None:
    def plugin(user: str, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PLUGIN, *words, "-n", team],
            env=kubectl.environment(user),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    rows = plugin("alice", "attempts", "webhook/identity-created", "--status", "503").stdout.splitlines()
    assert [row.split()[0] for row in rows] == ["NAME", "evt-1-1.1"]
    assert "lookup 1ms, first byte 30ms" in plugin("alice", "attempts", "attempt/evt-1-1.1").stdout
    assert plugin("alice", "deliveries", "-o", "name").stdout == "delivery.log.hookline.dev/evt-4.4\n"
    seen = plugin("alice", "status")
    assert (seen.returncode, seen.stderr) == (0, "")
    assert "Dead letters: 1 (1 ScheduleSpent)" in seen.stdout
    assert "Not seen: Dispatchers (dispatchers.hookline.dev is forbidden: " in seen.stdout
    refused = plugin("alice", "dead", "drop", "evt-6.6", "--yes")
    assert refused.returncode == 1
    assert 'User "alice" cannot delete resource "deadletters"' in refused.stderr
    assert len(refused.stderr.splitlines()) == 2
    assert "cannot list" in plugin("admin", "attempts", "--as=of-another-namespace").stderr
    tested = plugin("bob", "test", "webhook/identity-created", "-o", "json")
    assert json.loads(tested.stdout)["status"]["attempt"]["event"]["type"] == "IdentityCreated"
    made = plugin("bob", "replay", "webhook/identity-created", "--since", "2h", "--dry-run", "--no-wait", "-o", "name")
    assert kubectl.json("get", made.stdout.strip(), "-n", team)["spec"]["dryRun"] is True
    assert plugin("bob", "dead", "replay", "evt-6.6").stdout == "deadletter/evt-6.6 is queued to be sent again\n"
    assert api.actions.replayed[-1] == (team, "evt-6.6")


def test_a_watch_is_a_live_tail(api: LogApi, kubectl: Kubectl, control_plane: ControlPlane, team: str) -> None:
    tail = Watching(kubectl, control_plane, "get", "attempts", "-n", team, "-w")
    one = Watching(kubectl, control_plane, "get", "attempt", "evt-1-1.1", "-n", team, "-w")
    only = Watching(kubectl, control_plane, "get", "attempts", "-n", team, "--watch-only", "-o", "name")
    try:
        assert [tail.line().split()[0] for _ in range(3)] == ["NAME", "evt-3-1.3", "evt-1-1.1"]
        assert [one.line().split()[0] for _ in range(2)] == ["NAME", "evt-1-1.1"]
        until(lambda: api.log.follows == 3)
        api.do(api.log.add(attempt(10, team), attempt(11, "elsewhere"), attempt(12, team)))
        assert [tail.line().split()[0] for _ in range(2)] == ["evt-10-1.10", "evt-12-1.12"]
        assert [only.line().strip() for _ in range(2)] == [
            "attempt.log.hookline.dev/evt-10-1.10",
            "attempt.log.hookline.dev/evt-12-1.12",
        ]
    finally:
        for each in (tail, one, only):
            each.end()
    until(lambda: api.log.follows == 0)


def test_a_watch_goes_on_over_a_restart_of_the_server(
    api: LogApi, kubectl: Kubectl, control_plane: ControlPlane, team: str
) -> None:
    """kubectl get -w ends with its watch; an informer lists no more, and goes on from the last version."""
    url = f"{control_plane.url}{ROOT}/namespaces/{team}/attempts"
    headers = {"Authorization": f"Bearer {control_plane.token('alice')}"}
    trust = ssl.create_default_context(cafile=str(control_plane.ca_file))
    seen: list[str] = []
    with httpx.Client(verify=trust, headers=headers, timeout=20) as client:
        version = client.get(url).json()["metadata"]["resourceVersion"]
        with client.stream("GET", url, params={"watch": "1", "resourceVersion": version}) as answer:
            until(lambda: api.log.follows == 1)
            api.do(api.log.add(attempt(10, team)))
            lines = answer.iter_lines()
            event = json.loads(next(lines))
            seen.append(event["object"]["metadata"]["name"])
            api.stop()
            assert list(lines) == []
        api.log.follows = 0
        api.log._news = type(api.log._news)()
        api.start()
        api.do(api.log.add(attempt(11, team)))
        rest = {"watch": "1", "resourceVersion": event["object"]["metadata"]["resourceVersion"], "timeoutSeconds": "1"}
        # kube-apiserver may have found it away, and looks again after up to 30 s, or when the APIService changes.
        kubectl.ok("annotate", "apiservice", API_SERVICE, f"hookline.dev/test={team}", "--overwrite")
        until(lambda: client.get(url).status_code == 200, seconds=60)
        with client.stream("GET", url, params=rest) as answer:
            assert answer.status_code == 200
            seen += [json.loads(line)["object"]["metadata"]["name"] for line in answer.iter_lines()]
    assert seen == ["evt-10-1.10", "evt-11-1.11"]


ALICE = {"X-Remote-User": "alice", "X-Remote-Group": "system:masters"}


def direct(api: LogApi, team: str, headers: dict[str, str], client: Issued | None, folder: Path) -> int:
    """The status that a request gets that does not come from kube-apiserver; 0 when TLS lets nobody in."""
    trust = ssl.create_default_context(cadata=api.authority.cert_pem.bytes().decode())
    if client is not None:
        trust.load_cert_chain(*client.write(folder))
    try:
        answer = httpx.get(
            f"https://127.0.0.1:{api.port}{ROOT}/namespaces/{team}/attempts", headers=headers, verify=trust, timeout=10
        )
    except (httpx.ReadError, httpx.ConnectError, httpx.RemoteProtocolError, httpx.WriteError):
        return 0
    return answer.status_code


def test_who_comes_directly_is_who_his_token_says_and_no_other(
    api: LogApi, control_plane: ControlPlane, kubectl: Kubectl, team: str, tmp_path: Path
) -> None:
    def bearer(user: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {control_plane.token(user)}"}

    assert direct(api, team, {}, None, tmp_path) == 401
    assert direct(api, team, ALICE, None, tmp_path) == 401
    assert direct(api, team, bearer("alice"), None, tmp_path) == 200
    assert direct(api, team, {"Authorization": "Bearer rubbish"}, None, tmp_path) == 401
    kubectl.ok("-n", team, "delete", "rolebinding", "bob")
    until(lambda: not may(kubectl, "bob", "list", "attempts", team))
    until(lambda: direct(api, team, {**bearer("bob"), **ALICE}, None, tmp_path) == 403)
    assert direct(api, team, {**bearer("admin"), "Impersonate-User": "alice"}, None, tmp_path) == 403
    forged = client_certificates.authority("front-proxy-ca").issue("front-proxy-client")
    assert direct(api, team, ALICE, forged, tmp_path) == 0
    # Signed by the CA of the cluster, which signs kubelets and people.
    (tmp_path / "kubelet").mkdir()
    trust = ssl.create_default_context(cadata=api.authority.cert_pem.bytes().decode())
    folder = control_plane.folder
    trust.load_cert_chain(folder / "kubelet-client.crt", folder / "kubelet-client.key")
    with pytest.raises(httpx.TransportError):
        httpx.get(f"https://127.0.0.1:{api.port}/apis", headers=ALICE, verify=trust, timeout=10)
    # kube-apiserver's own key is what makes the headers count.
    trust = ssl.create_default_context(cadata=api.authority.cert_pem.bytes().decode())
    trust.load_cert_chain(folder / "front-proxy-client.crt", folder / "front-proxy-client.key")
    said = httpx.get(
        f"https://127.0.0.1:{api.port}{ROOT}/namespaces/{team}/attempts", headers=ALICE, verify=trust, timeout=10
    )
    assert said.status_code == 200


def test_another_ca_for_kube_apiserver_itself_is_taken_up_while_requests_go_on(
    api: LogApi,
    control_plane: ControlPlane,
    kubectl: Kubectl,
    team: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As an administrator changes it: both CAs are trusted, kube-apiserver shows the certificate of the new one, the
    former one goes. Neither kube-apiserver nor the API is restarted."""
    monkeypatch.setattr(front_proxy, "LOOK_SECONDS", 0.2)
    api.stop()
    api.start()
    folder, shown = control_plane.folder, _Shown(monkeypatch)
    ca_file = folder / "front-proxy-ca.crt"
    former = ca_file.read_text()
    former_client = _copied(folder, tmp_path)
    new = client_certificates.authority("another-front-proxy-ca")
    issued = new.issue("front-proxy-client")

    def trusted() -> str:
        found = kubectl.json("get", "configmap", "extension-apiserver-authentication", "-n", "kube-system")
        return str(found["data"]["requestheader-client-ca-file"])

    until(lambda: kubectl("get", "attempts", "-n", team, user="alice").returncode == 0)
    with _asking(control_plane, f"{ROOT}/namespaces/{team}/attempts") as said:
        until(lambda: said.count(200) > 3)
        ca_file.write_text(former + new.pem)
        until(lambda: new.pem.strip() in trusted() and former.strip() in trusted(), seconds=90)
        until(lambda: direct(api, team, ALICE, issued, tmp_path) == 200)
        chain, key = issued.write(tmp_path, "new")
        (folder / "front-proxy-client.key").write_bytes(key.read_bytes())
        (folder / "front-proxy-client.crt").write_bytes(chain.read_bytes())
        until(lambda: shown.last == issued.pem, seconds=90)
        ca_file.write_text(new.pem)
        patch = json.dumps({"data": {"requestheader-client-ca-file": new.pem}})
        words = ("patch", "configmap", "extension-apiserver-authentication", "-n", "kube-system", "-p", patch)

        def has_gone() -> bool:
            """kube-apiserver adds what its file has to what is there, and takes nothing away."""
            if former.strip() in trusted():
                kubectl.ok(*words)
            time.sleep(1)
            return former.strip() not in trusted()

        until(has_gone, seconds=90)
        until(lambda: direct(api, team, ALICE, former_client, tmp_path) != 200)
        count = len(said)
        until(lambda: len(said) > count + 10)
    assert set(said) == {200}
    assert former.strip() not in trusted()


class _Shown:
    """The certificate that whoever asked last has shown."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.last = ""
        read = _Certificates.read

        def reading(certificates: _Certificates, pem: str, proxy: FrontProxy) -> Any:
            self.last = pem
            return read(certificates, pem, proxy)

        monkeypatch.setattr(_Certificates, "read", reading)


def _copied(folder: Path, to: Path) -> Issued:
    """kube-apiserver's certificate as it is now."""
    key = serialization.load_pem_private_key((folder / "front-proxy-client.key").read_bytes(), None)
    certificate = x509.load_pem_x509_certificate((folder / "front-proxy-client.crt").read_bytes())
    return Issued(certificate, cast(ec.EllipticCurvePrivateKey, key))


@contextlib.contextmanager
def _asking(plane: ControlPlane, path: str) -> Iterator[list[int]]:
    """Alice asks kube-apiserver, over one connection and over new ones, and again; the codes of all answers."""
    said: list[int] = []
    ended = threading.Event()
    trust = ssl.create_default_context(cafile=str(plane.ca_file))
    headers = {"Authorization": f"Bearer {plane.token('alice')}"}

    def ask() -> None:
        with httpx.Client(verify=trust, headers=headers, timeout=10) as kept:
            while not ended.wait(0.1):
                said.append(kept.get(f"{plane.url}{path}").status_code)
                said.append(httpx.get(f"{plane.url}{path}", verify=trust, headers=headers, timeout=10).status_code)

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        try:
            yield said
        finally:
            ended.set()
            asking.result()


def test_kubectl_without_an_api_service_reaches_it_directly(
    api: LogApi, control_plane: ControlPlane, kubectl: Kubectl, team: str, tmp_path: Path
) -> None:
    """As in an installation for one namespace, through a port-forward (docs/log-api.md)."""
    api.authority.cert_pem.write_to_path(tmp_path / "ca.crt")

    def directly(user: str, *words: str) -> subprocess.CompletedProcess[str]:
        place = [f"--server=https://127.0.0.1:{api.port}", f"--tls-server-name={SERVICE}.{NAMESPACE}.svc"]
        who = [f"--certificate-authority={tmp_path / 'ca.crt'}", f"--token={control_plane.token(user)}"]
        command = [str(kubectl._program), "--kubeconfig=/dev/null", f"--cache-dir={tmp_path}", *place, *who, *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    shown = directly("alice", "get", "att", "-n", team, "-o", "wide")
    assert [line.split()[0] for line in shown.stdout.splitlines()] == ["NAME", "evt-3-1.3", "evt-1-1.1"], shown.stderr
    assert "DESCRIPTION" in directly("alice", "explain", "attempts.answer").stdout
    assert "Forbidden" in directly("alice", "get", "attempts", "-n", "elsewhere").stderr


def test_nobody_becomes_somebody_else_by_headers_through_kube_apiserver(
    api: LogApi, control_plane: ControlPlane, team: str
) -> None:
    trust = ssl.create_default_context(cafile=str(control_plane.ca_file))
    headers = {"Authorization": f"Bearer {control_plane.token('alice')}", "X-Remote-User": "admin"}
    more = {"X-Remote-Group": "system:masters", "X-Remote-Extra-A": "b", "X-Remote-Uid": "0"}
    url = f"{control_plane.url}{ROOT}/namespaces"
    with httpx.Client(verify=trust, headers={**headers, **more}, timeout=10) as client:
        assert client.get(f"{url}/{team}/attempts").status_code == 200
        assert client.get(f"{url}/elsewhere/attempts").status_code == 403


def test_what_is_wrong_is_said_by_kubectl(api: LogApi, kubectl: Kubectl, team: str) -> None:
    missing = kubectl("get", "attempt", "no-such", "-n", team, user="alice")
    assert 'attempts.log.hookline.dev "no-such" not found' in missing.stderr
    unwatched = kubectl("get", "deliveries", "-n", team, "-w", user="alice")
    assert 'watch is not supported on resources of kind "deliveries.log.hookline.dev"' in unwatched.stderr


def test_a_namespace_that_is_deleted_waits_for_nothing_of_ours(api: LogApi, kubectl: Kubectl, going: str) -> None:
    """Neither for our queue nor for its dead letters: nobody asks us for them."""
    until(lambda: kubectl("get", "namespace", going).returncode != 0, seconds=60)
    assert going not in {namespace for namespace, _, _, _ in api.log.asked}
