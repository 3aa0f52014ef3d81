"""What holds for the pods of senders and for those of a gateway."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from hookline.control import gateway_workload, workload
from hookline.control.kinds import (
    COMPONENT_LABEL,
    DEPLOYMENTS,
    DISPATCHER_LABEL,
    DISRUPTION_BUDGETS,
    NETWORK_POLICIES,
    Kind,
    gateway_name,
    sender_name,
)
from hookline.control.pods import PORT, owner
from hookline.resources.dispatcher import Dispatcher
from unit.control.objects import OWN, Manifest, a_dispatcher

IMAGE = "hookline:1"
NAMES: dict[str, Callable[[str], str]] = {"sender": sender_name, "gateway": gateway_name}
RESOURCES = {"resources": {"limits": {"cpu": "1"}}}

SPECS: list[dict[str, Any]] = [
    {},
    {
        "replicas": 5,
        "gateway": {"replicas": 5, **RESOURCES, "tls": {"secretRef": {"name": "certificate"}}},
        "image": "registry.example.com/hookline@sha256:0",
        "imagePullSecrets": [{"name": "registry"}],
        **RESOURCES,
        "nats": {"url": "tls://nats.example.com", "credentialsSecretRef": {"name": "account", "key": "nats.creds"}},
    },
]
each = pytest.mark.parametrize(
    ("component", "dispatcher"), [(component, a_dispatcher(spec=spec)) for component, spec in product(NAMES, SPECS)]
)
each_component = pytest.mark.parametrize("component", NAMES)


def objects(component: str, dispatcher: Dispatcher, *, stopped: bool = False) -> list[tuple[Kind, Manifest]]:
    make = workload.objects if component == "sender" else gateway_workload.objects
    return make(dispatcher, image=IMAGE, stopped=stopped)


def made(component: str, dispatcher: Dispatcher, kind: Kind) -> Manifest:
    (found,) = [manifest for each, manifest in objects(component, dispatcher) if each is kind]
    return found


def pod_of(component: str, dispatcher: Dispatcher) -> dict[str, Any]:
    spec: dict[str, Any] = made(component, dispatcher, DEPLOYMENTS)["spec"]["template"]["spec"]
    return spec


def container_of(component: str, dispatcher: Dispatcher) -> dict[str, Any]:
    (container,) = pod_of(component, dispatcher)["containers"]
    return dict(container)


@each
def test_everything_belongs_to_the_dispatcher_and_goes_with_it(component: str, dispatcher: Dispatcher) -> None:
    for _, manifest in objects(component, dispatcher):
        metadata = manifest["metadata"]
        assert (metadata["namespace"], metadata["name"]) == (OWN, NAMES[component]("default"))
        assert metadata["labels"][DISPATCHER_LABEL] == "default"
        assert metadata["labels"][COMPONENT_LABEL] == component
        (reference,) = metadata["ownerReferences"]
        assert (reference["kind"], reference["name"], reference["uid"]) == ("Dispatcher", "default", "uid-of-default")
        # The operator has no right to block an owner's deletion.
        assert reference == owner(dispatcher)
        assert reference.keys() == {"apiVersion", "kind", "name", "uid"}


# The restricted Pod Security Standard, control by control.


@each
def test_the_pods_hold_to_the_restricted_standard(component: str, dispatcher: Dispatcher) -> None:
    pod, container = pod_of(component, dispatcher), container_of(component, dispatcher)
    assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC", "initContainers", "ephemeralContainers"}
    assert {kind for volume in pod["volumes"] for kind in volume if kind != "name"} <= {
        "projected",
        "emptyDir",
        "secret",
        "configMap",
    }
    assert all("hostPort" not in port for port in container["ports"])
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert "sysctls" not in pod["securityContext"]
    security = container["securityContext"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert not security.keys() & {"privileged", "procMount", "seLinuxOptions", "runAsUser"}


@each
def test_the_root_cannot_be_written_and_nothing_of_the_cluster_is_in_the_environment(
    component: str, dispatcher: Dispatcher
) -> None:
    container = container_of(component, dispatcher)
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod_of(component, dispatcher)["enableServiceLinks"] is False
    assert not container.keys() & {"env", "envFrom"}


@each
def test_every_volume_is_mounted_and_only_a_temporary_one_can_be_written(
    component: str, dispatcher: Dispatcher
) -> None:
    mounts = {mount["name"]: mount for mount in container_of(component, dispatcher)["volumeMounts"]}
    assert mounts.keys() == {volume["name"] for volume in pod_of(component, dispatcher)["volumes"]}
    assert {name for name, mount in mounts.items() if not mount.get("readOnly")} <= {"tmp"}


@each
def test_probes_ask_what_a_restart_or_waiting_can_mend(component: str, dispatcher: Dispatcher) -> None:
    container = container_of(component, dispatcher)
    paths = {
        probe: container[probe]["httpGet"]["path"] for probe in ("livenessProbe", "readinessProbe", "startupProbe")
    }
    assert paths == {"livenessProbe": "/livez", "readinessProbe": "/readyz", "startupProbe": "/livez"}
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert {ports[container[probe]["httpGet"]["port"]] for probe in paths} == {PORT}


@each_component
def test_image_pull_secrets_replicas_and_resources_are_those_of_the_dispatcher(component: str) -> None:
    plain, dispatcher = a_dispatcher(), a_dispatcher(spec=SPECS[1])
    assert container_of(component, dispatcher)["image"] == "registry.example.com/hookline@sha256:0"
    assert pod_of(component, dispatcher)["imagePullSecrets"] == [{"name": "registry"}]
    assert made(component, dispatcher, DEPLOYMENTS)["spec"]["replicas"] == 5
    assert container_of(component, dispatcher)["resources"] == {"limits": {"cpu": "1"}}
    assert container_of(component, plain)["image"] == IMAGE
    assert "imagePullSecrets" not in pod_of(component, plain)


@each
def test_selectors_find_the_pods_and_those_of_no_other_component_or_dispatcher(
    component: str, dispatcher: Dispatcher
) -> None:
    deployment = made(component, dispatcher, DEPLOYMENTS)["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    selectors = [
        deployment["selector"]["matchLabels"],
        made(component, dispatcher, DISRUPTION_BUDGETS)["spec"]["selector"]["matchLabels"],
        made(component, dispatcher, NETWORK_POLICIES)["spec"]["podSelector"]["matchLabels"],
        *(
            spread["labelSelector"]["matchLabels"]
            for spread in pod_of(component, dispatcher)["topologySpreadConstraints"]
        ),
    ]
    for selector in selectors:
        assert selector.items() <= labels.items()
        assert selector == {DISPATCHER_LABEL: "default", COMPONENT_LABEL: component}


@each_component
def test_pods_are_spread_where_it_can_be_had_and_start_where_it_cannot(component: str) -> None:
    spread = pod_of(component, a_dispatcher())["topologySpreadConstraints"]
    assert {each["topologyKey"] for each in spread} == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
    assert {each["whenUnsatisfiable"] for each in spread} == {"ScheduleAnyway"}


@each_component
def test_one_replica_does_not_keep_a_node_from_being_drained(component: str) -> None:
    one = a_dispatcher(spec={"replicas": 1, "gateway": {"replicas": 1}})
    assert made(component, one, DISRUPTION_BUDGETS)["spec"]["maxUnavailable"] == 1


@each_component
def test_what_is_stopped_has_no_pod_and_nothing_else_changes(component: str) -> None:
    running, stopped = (objects(component, a_dispatcher(), stopped=each) for each in (False, True))
    assert stopped[-1][1]["spec"].pop("replicas") == 0
    assert running[-1][1]["spec"].pop("replicas") == 2
    assert running == stopped


@each_component
def test_only_the_operator_and_who_reads_metrics_reach_the_port_of_health(component: str) -> None:
    rules = [
        rule
        for rule in made(component, a_dispatcher(), NETWORK_POLICIES)["spec"]["ingress"]
        if PORT in [port["port"] for port in rule.get("ports", [{"port": PORT}])]
    ]
    (rule,) = rules
    assert len(rule["ports"]) == 1
    assert all(each.keys() <= {"podSelector", "namespaceSelector"} and each for each in rule["from"])
