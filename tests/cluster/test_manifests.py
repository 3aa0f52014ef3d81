"""The shipped manifests on a cluster that was empty: what one apply installs, and who may do what then."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane import assets
from controlplane.kubectl import Kubectl
from controlplane.servers import ControlPlane, User
from hookline.control import api_workload, gateway_workload, workload
from hookline.control.api_workload import ApiHome, ApiSettings
from hookline.control.kinds import DEPLOYMENTS
from hookline.resources.dispatcher import Dispatcher

CHECKOUT = Path(__file__).parents[2]
OVERLAYS = {path.parent.name: path.parent for path in sorted(CHECKOUT.glob("manifests/overlays/*/kustomization.yaml"))}
SAMPLE = CHECKOUT / "manifests" / "samples" / "standard.yaml"
RESTRICTED = [f"pod-security.kubernetes.io/{mode}=restricted" for mode in ("enforce", "warn")]

OPERATOR = "system:serviceaccount:hookline-system:hookline-operator"
GATEWAY = "system:serviceaccount:hookline-system:hookline-gateway"
API = "system:serviceaccount:hookline-system:hookline-api"
NAMESPACED_API = "system:serviceaccount:hookline:hookline-api"
NAMESPACED_GATEWAY = "system:serviceaccount:hookline:hookline-gateway"
NAMESPACED_OPERATOR = "system:serviceaccount:hookline:hookline-operator"

Object = dict[str, Any]
May = Callable[..., bool]


def until(condition: Callable[[], bool], what: str, *, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def empty(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """A cluster of its own, which has never heard of Hookline; the shared one says whether there can be any."""
    programs = assets.ensure()
    users = [User(name) for name in ("editor", "viewer", "owner")]
    plane = ControlPlane(tmp_path_factory.mktemp("empty"), programs, users=users)
    plane.start()
    try:
        yield Kubectl(programs["kubectl"], plane.kubeconfig, plane.folder / "kubectl-cache")
    finally:
        plane.stop()


@pytest.fixture(scope="module")
def installed(empty: Kubectl) -> Kubectl:
    """The default install beside one for a single namespace; teams a and b, and who works in team a."""
    empty.ok("apply", "-k", OVERLAYS["default"])
    for namespace in ("team-a", "team-b", "hookline"):
        empty.ok("create", "namespace", namespace)
    empty.ok("label", "namespace", "hookline", *RESTRICTED)
    empty.ok("apply", "-k", OVERLAYS["namespaced"])
    empty.ok("wait", "--for=condition=Established", "--timeout=30s", "-f", CHECKOUT / "crds")
    for user, role in (("editor", "edit"), ("viewer", "view"), ("owner", "admin")):
        empty.ok("create", "rolebinding", user, f"--clusterrole={role}", f"--user={user}", "-n", "team-a")
        until(partial(lists_webhooks, empty, user), f"{role} has Hookline's rights")
    return empty


def lists_webhooks(kubectl: Kubectl, user: str) -> bool:
    return kubectl("get", "webhooks", "-n", "team-a", user=user).returncode == 0


@pytest.fixture
def may(installed: Kubectl) -> May:
    """`may("editor", "create", "webhooks.hookline.dev", "-n", "team-a")`: the API server's own answer."""

    def ask(who: str, *words: str) -> bool:
        answer = installed("auth", "can-i", *words, f"--as={who}")
        assert answer.stdout.strip() in ("yes", "no"), answer.stderr
        return answer.stdout.strip() == "yes"

    return ask


def built(kubectl: Kubectl, overlay: str) -> list[Object]:
    return list(yaml.safe_load_all(kubectl.ok("kustomize", OVERLAYS[overlay])))


def test_one_apply_installs_everything_on_an_empty_cluster(installed: Kubectl) -> None:
    """Client-side apply, too: its annotation holds the whole object, and has an end at 256 KiB."""
    until(lambda: len(pods(installed)) == 3, "two operators and one NATS")
    assert {name.rpartition("-")[0].partition("-operator")[0] for name in pods(installed)} == {"hookline", "nats"}


def pods(kubectl: Kubectl) -> list[str]:
    return [each["metadata"]["name"] for each in kubectl.json("get", "pods", "-n", "hookline-system")["items"]]


def test_a_second_apply_finds_nothing_to_change(installed: Kubectl) -> None:
    for overlay in ("default", "namespaced"):
        difference = installed("diff", "-k", OVERLAYS[overlay])
        assert (difference.returncode, difference.stdout) == (0, "")


@pytest.mark.parametrize("how", [[], ["--server-side", "--field-manager=gitops", "--force-conflicts"]], ids=["", "ssa"])
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_overlay_passes_a_dry_run(installed: Kubectl, overlay: str, how: list[str]) -> None:
    done = installed("apply", "--dry-run=server", *how, "-k", OVERLAYS[overlay])
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == len(built(installed, overlay))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_is_let_into_a_restricted_namespace(installed: Kubectl, overlay: str) -> None:
    """The level is enforced on pods only: a Deployment whose pods are refused is itself taken."""
    workloads = [each for each in built(installed, overlay) if each["kind"] in ("Deployment", "StatefulSet")]
    for name, pod in [*map(pod_of, workloads), *of_the_first_dispatcher(installed, overlay)]:
        done = create_pod(installed, name, pod)
        assert done == "", done


def test_a_pod_that_is_not_restricted_is_refused(installed: Kubectl) -> None:
    (deployment,) = (each for each in built(installed, "default") if each["kind"] == "Deployment")
    name, pod = pod_of(deployment)
    del pod["securityContext"]["seccompProfile"]
    assert 'violates PodSecurity "restricted' in create_pod(installed, name, pod)


def pod_of(workload_object: Object) -> tuple[str, Object]:
    spec = workload_object["spec"]["template"]["spec"]
    # Its volume claims come from the StatefulSet.
    claims = [each["metadata"]["name"] for each in workload_object["spec"].get("volumeClaimTemplates", [])]
    spec["volumes"] += [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in claims]
    spec["serviceAccountName"] = "default"
    return workload_object["metadata"]["name"], spec


def of_the_first_dispatcher(kubectl: Kubectl, overlay: str) -> Iterator[tuple[str, Object]]:
    """The pods that the operator makes of the first Dispatcher of an overlay."""
    (bootstrap,) = (each for each in built(kubectl, overlay) if each["metadata"]["name"] == "hookline-bootstrap")
    manifest = yaml.safe_load(bootstrap["data"]["dispatcher.yaml"])
    manifest["metadata"] |= {"namespace": "hookline-system", "uid": "u"}
    dispatcher = Dispatcher.model_validate(manifest)
    home = ApiHome("hookline-system", "hookline:1", "nats://nats:4222")
    objects = [part.objects(dispatcher, image="hookline:1") for part in (workload, gateway_workload)]
    objects.append(api_workload.objects([dispatcher], ApiSettings(), home))
    yield from (pod_of(made) for kind, made in chain(*objects) if kind is DEPLOYMENTS)


def create_pod(kubectl: Kubectl, name: str, spec: Object) -> str:
    """What the API server has against it, or nothing."""
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"{name}-0-try"}, "spec": spec}
    words = ("create", "--dry-run=server", "-n", "hookline-system", "-f", "-")
    return kubectl(*words, stdin=json.dumps(manifest)).stderr


def test_the_first_dispatchers_are_taken(installed: Kubectl) -> None:
    for overlay in OVERLAYS:
        (bootstrap,) = (each for each in built(installed, overlay) if each["metadata"]["name"] == "hookline-bootstrap")
        manifest = bootstrap["data"]["dispatcher.yaml"]
        installed.ok("create", "--dry-run=server", "-n", "hookline-system", "-f", "-", stdin=manifest)


def test_an_editor_has_webhooks_in_his_namespace(installed: Kubectl) -> None:
    installed.ok("apply", "-n", "team-a", "-f", SAMPLE, user="editor")
    disable = '{"spec": {"enabled": false}}'
    installed.ok("patch", "webhook", "identity-created", "-n", "team-a", "--type=merge", "-p", disable, user="editor")
    installed.ok("delete", "webhook", "identity-created", "-n", "team-a", user="editor")


@pytest.mark.parametrize("user", ["editor", "owner"])
def test_nobody_reaches_another_team(installed: Kubectl, user: str) -> None:
    installed.ok("apply", "-n", "team-b", "-f", SAMPLE)
    for words in (
        ("apply", "-n", "team-b", "-f", SAMPLE),
        ("get", "webhooks", "-n", "team-b"),
        ("delete", "webhook", "identity-created", "-n", "team-b"),
        ("get", "secret", "identity-created-signing", "-n", "team-b"),
        ("get", "secrets", "-n", "hookline-system"),
        ("get", "configmaps", "-n", "hookline-system"),
    ):
        assert "Forbidden" in installed(*words, user=user).stderr, words


@pytest.mark.parametrize("user", ["editor", "owner"])
def test_nobody_writes_what_belongs_to_administrators(may: May, user: str) -> None:
    for verb in ("create", "update", "patch", "delete"):
        assert not may(user, verb, "dispatchers.hookline.dev", "-n", "team-a")
        assert not may(user, verb, "dispatchers.hookline.dev", "-n", "hookline-system")
        assert not may(user, verb, "eventtypes.hookline.dev")
        for kind in ("webhooks", "eventtypes", "dispatchers"):
            assert not may(user, verb, f"{kind}.hookline.dev", "--subresource=status", "-n", "team-a")
    assert may(user, "create", "webhooks.hookline.dev", "-n", "team-a")


def test_a_status_that_an_editor_writes_is_dropped(installed: Kubectl) -> None:
    forged = yaml.safe_load_all(SAMPLE.read_text())
    webhook = next(each for each in forged if each["kind"] == "Webhook") | {"status": {"observedGeneration": 99}}
    installed.ok("apply", "-n", "team-a", "-f", "-", stdin=json.dumps(webhook), user="editor")
    found = installed.json("get", "webhook", "identity-created", "-n", "team-a")
    assert found["status"]["observedGeneration"] == -1


def test_a_viewer_reads_webhooks_and_no_secrets(may: May) -> None:
    assert may("viewer", "list", "webhooks.hookline.dev", "-n", "team-a")
    assert not may("viewer", "create", "webhooks.hookline.dev", "-n", "team-a")
    assert not may("viewer", "get", "secrets", "-n", "team-a")


def test_the_operator_cannot_read_one_secret_by_name_or_touch_what_is_a_teams(may: May) -> None:
    assert may(OPERATOR, "list", "secrets", "-n", "team-a")
    for verb, what in (
        ("get", "secrets"),
        ("patch", "secrets"),
        ("create", "configmaps"),
        ("patch", "webhooks.hookline.dev"),
        ("delete", "webhooks.hookline.dev"),
        ("list", "pods"),
    ):
        assert not may(OPERATOR, verb, what, "-n", "team-a"), (verb, what)
    assert not may(OPERATOR, "delete", "secrets", "-n", "hookline-system")
    assert not may(OPERATOR, "create", "clusterrolebindings.rbac.authorization.k8s.io")


def test_the_operator_of_a_namespace_sees_nothing_else(may: May) -> None:
    assert may(NAMESPACED_OPERATOR, "list", "webhooks.hookline.dev", "-n", "hookline")
    assert may(NAMESPACED_OPERATOR, "list", "eventtypes.hookline.dev")
    for verb, what in (("list", "webhooks.hookline.dev"), ("list", "secrets"), ("create", "events.events.k8s.io")):
        assert not may(NAMESPACED_OPERATOR, verb, what, "-n", "team-a"), (verb, what)
    assert not may(NAMESPACED_OPERATOR, "patch", "eventtypes.hookline.dev", "--subresource=status")


@pytest.mark.parametrize("gateway", [GATEWAY, NAMESPACED_GATEWAY])
def test_a_gateway_may_ask_about_callers_and_reads_nothing(may: May, gateway: str) -> None:
    for what in ("tokenreviews.authentication.k8s.io", "subjectaccessreviews.authorization.k8s.io"):
        assert may(gateway, "create", what)
    namespace = gateway.split(":")[2]
    for verb, what in (("get", "secrets"), ("list", "secrets"), ("get", "configmaps"), ("create", "pods")):
        assert not may(gateway, verb, what, "-n", namespace), (verb, what)


@pytest.mark.parametrize("api", [API, NAMESPACED_API])
def test_the_logs_api_asks_about_callers_executes_replays_and_reads_no_secret(may: May, api: str) -> None:
    namespace = api.split(":")[2]
    team = "team-a" if api == API else namespace
    for what in ("tokenreviews.authentication.k8s.io", "subjectaccessreviews.authorization.k8s.io"):
        assert may(api, "create", what)
    for verb, what in (("watch", "webhooks"), ("watch", "replays"), ("delete", "replays")):
        assert may(api, verb, f"{what}.hookline.dev", "-n", team)
    assert may(api, "patch", "replays.hookline.dev", "--subresource=status", "-n", team)
    assert may(api, "update", "leases.coordination.k8s.io/hookline-api", "-n", namespace)
    for verb, what in (
        ("list", "secrets"),
        ("get", "secrets"),
        ("get", "configmaps"),
        ("create", "replays.hookline.dev"),
        ("patch", "webhooks.hookline.dev"),
        ("create", "pods"),
        ("impersonate", "users"),
    ):
        assert not may(api, verb, what, "-n", team), (verb, what)
    assert not may(api, "update", "leases.coordination.k8s.io/hookline-operator", "-n", namespace)
    assert may(api, "get", "configmaps/extension-apiserver-authentication", "-n", "kube-system")


def test_the_operator_changes_one_api_service_and_makes_and_deletes_none(may: May) -> None:
    ours = "apiservices.apiregistration.k8s.io/v1alpha1.log.hookline.dev"
    assert may(OPERATOR, "patch", ours)
    for verb, what in (
        ("patch", "apiservices.apiregistration.k8s.io/v1."),
        ("create", "apiservices.apiregistration.k8s.io"),
        ("delete", ours),
    ):
        assert not may(OPERATOR, verb, what), (verb, what)
    assert not may(NAMESPACED_OPERATOR, "patch", ours)


LOG = {
    "viewer": "list attempts, list deliveries, list deadletters, watch attempts",
    "editor": "create webhooktests, delete deadletters, create deadletters/replay",
    "nobody": "get attempts/body, get deliveries/body, get deadletters/body, delete attempts",
}


@pytest.mark.parametrize("user", ["viewer", "editor", "owner"])
def test_the_log_is_read_with_view_and_acted_on_with_edit_and_no_body_is_read_with_either(
    installed: Kubectl, may: May, user: str
) -> None:
    has = {"viewer": {"viewer"}, "editor": {"viewer", "editor"}, "owner": {"viewer", "editor"}}[user]
    for who, line in LOG.items():
        for right in map(str.strip, line.split(",")):
            assert in_the_log(installed, user, right, "team-a") == (who in has), right
            assert not in_the_log(installed, user, right, "team-b"), right
    assert may(user, "list", "replays.hookline.dev", "-n", "team-a")
    for verb in ("create", "patch", "delete"):
        assert may(user, verb, "replays.hookline.dev", "-n", "team-a") == (user != "viewer")
        assert not may(user, verb, "replays.hookline.dev", "--subresource=status", "-n", "team-a")


def in_the_log(kubectl: Kubectl, user: str, right: str, namespace: str) -> bool:
    """Asked as the log's API asks; `kubectl auth can-i` knows no kinds for which nobody answers."""
    verb, _, what = right.partition(" ")
    resource, _, subresource = what.partition("/")
    attributes = {"group": "log.hookline.dev", "resource": resource, "subresource": subresource}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "resourceAttributes": {**attributes, "verb": verb, "namespace": namespace}},
    }
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    answer = json.loads(kubectl.ok("create", "--raw", path, "-f", "-", stdin=json.dumps(review)))
    return bool(answer["status"]["allowed"])
