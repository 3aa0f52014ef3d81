from __future__ import annotations

import json
from typing import Any

import pytest
from typer.main import get_command

from hookline.cli.errors import WrongInput
from hookline.cli.main import app
from hookline.cli.operator import api_settings
from hookline.control.api_workload import (
    ApiHome,
    ApiSettings,
    objects,
    queues,
)
from hookline.control.https_pods import END_SECONDS, GRACE_SECONDS, HTTPS_PORT
from hookline.control.kinds import (
    API_CERTIFICATE_NAME,
    COMPONENT_LABEL,
    DEPLOYMENTS,
    DISPATCHER_LABEL,
    DISRUPTION_BUDGETS,
    NETWORK_POLICIES,
    OURS,
    SERVICES,
    Kind,
)
from hookline.control.pods import PORT, owner
from hookline.resources.dispatcher import Dispatcher, Resources
from hookline.routing.queues import read_queues_file
from unit.control.objects import OWN, Manifest, a_dispatcher

HOME = ApiHome(OWN, "hookline:1", "nats://nats:4222")
NAMESPACED = ApiHome("team", "hookline:1", "nats://nats:4222", watched="team")
SETTINGS = ApiSettings()
EDGE = {"nats": {"url": "tls://nats.example.com", "credentialsSecretRef": {"name": "account", "key": "nats.creds"}}}
OPEN = {"nats": {"url": "nats://open.example.com"}}


def made(kind: Kind, *dispatchers: Dispatcher, settings: ApiSettings = SETTINGS, home: ApiHome = HOME) -> Manifest:
    there = dispatchers or (a_dispatcher(),)
    (found,) = [manifest for each, manifest in objects(there, settings, home) if each is kind]
    return found


def pod_of(*dispatchers: Dispatcher, **more: Any) -> dict[str, Any]:
    pod: dict[str, Any] = made(DEPLOYMENTS, *dispatchers, **more)["spec"]["template"]["spec"]
    return pod


def container_of(*dispatchers: Dispatcher, **more: Any) -> dict[str, Any]:
    (container,) = pod_of(*dispatchers, **more)["containers"]
    return dict(container)


def arguments_of(*dispatchers: Dispatcher, **more: Any) -> dict[str, str]:
    command, *arguments = container_of(*dispatchers, **more)["args"]
    assert command == "api"
    return dict(zip(arguments[::2], arguments[1::2], strict=True))


def folders_of(*dispatchers: Dispatcher, **more: Any) -> dict[str, dict[str, Any]]:
    """Which volume lies in which folder."""
    pod = pod_of(*dispatchers, **more)
    volumes = {each["name"]: each for each in pod["volumes"]}
    mounts = container_of(*dispatchers, **more)["volumeMounts"]
    assert {each["name"] for each in mounts} == volumes.keys()
    return {each["mountPath"]: volumes[each["name"]] | {"readOnly": each.get("readOnly", False)} for each in mounts}


def listed(*dispatchers: Dispatcher, home: ApiHome = HOME) -> dict[str, tuple[str, str]]:
    text = queues(dispatchers, home)["data"]["queues.json"]
    return {each.dispatcher: (each.nats, each.credentials) for each in read_queues_file(text.encode())}


def test_its_deployment_comes_last_and_its_account_comes_with_the_manifests() -> None:
    kinds = [kind for kind, _ in objects([a_dispatcher()], SETTINGS, HOME)]
    assert kinds == [NETWORK_POLICIES, DISRUPTION_BUDGETS, SERVICES, DEPLOYMENTS]
    pod = pod_of()
    assert (pod["serviceAccountName"], pod["automountServiceAccountToken"]) == ("hookline-api", True)


def test_an_installation_has_it_once_and_it_is_no_dispatchers() -> None:
    for _, manifest in objects([a_dispatcher(), a_dispatcher("edge", EDGE)], SETTINGS, HOME):
        metadata = manifest["metadata"]
        assert (metadata["namespace"], metadata["name"]) == (OWN, "hookline-api")
        assert metadata["labels"][COMPONENT_LABEL] == "api"
        assert DISPATCHER_LABEL not in metadata["labels"]
        # By which the operator sees it.
        assert OURS.partition("=")[::2] in metadata["labels"].items()
        # An APIService without an answer breaks the whole cluster: it does not go with a Dispatcher.
        assert "ownerReferences" not in metadata
    assert made(DEPLOYMENTS)["spec"]["template"]["metadata"]["labels"][COMPONENT_LABEL] == "api"


def test_where_there_is_no_api_service_it_goes_with_the_last_dispatcher() -> None:
    both = a_dispatcher(), a_dispatcher("edge", EDGE)
    for metadata in (queues(both, NAMESPACED)["metadata"], made(DEPLOYMENTS, *both, home=NAMESPACED)["metadata"]):
        assert metadata["ownerReferences"] == list(map(owner, both))


def test_an_installation_without_a_dispatcher_has_it_too_and_it_reads_nothing() -> None:
    assert json.loads(queues([], HOME)["data"]["queues.json"])["queues"] == []
    assert len(objects([], SETTINGS, HOME)) == 4


def test_the_pods_are_restricted_spread_and_can_write_their_index_alone() -> None:
    pod, container = pod_of(a_dispatcher("edge", EDGE)), container_of(a_dispatcher("edge", EDGE))
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    folders = folders_of(a_dispatcher("edge", EDGE))
    (data,) = (folder for folder, volume in folders.items() if not volume["readOnly"])
    assert arguments_of()["--data"] == data
    # The node's disk is not filled by it.
    assert folders[data]["emptyDir"] == {"sizeLimit": "4Gi"}
    assert {each["topologyKey"] for each in pod["topologySpreadConstraints"]} == {
        "topology.kubernetes.io/zone",
        "kubernetes.io/hostname",
    }
    assert container["resources"]["limits"].keys() >= {"memory"}


def test_replicas_and_resources_are_what_administrators_say() -> None:
    settings = ApiSettings(5, Resources(requests={"cpu": "1"}))
    assert made(DEPLOYMENTS, settings=settings)["spec"]["replicas"] == 5
    assert container_of(settings=settings)["resources"] == {"requests": {"cpu": "1"}}
    volumes = pod_of(settings=ApiSettings(disk="9Gi"))["volumes"]
    assert [each["emptyDir"] for each in volumes if "emptyDir" in each] == [{"sizeLimit": "9Gi"}]
    assert made(DEPLOYMENTS)["spec"]["replicas"] == 2
    assert made(DEPLOYMENTS, settings=ApiSettings(0))["spec"]["replicas"] == 0


def test_its_image_is_the_operators_and_is_pulled_as_that() -> None:
    of_its_own = a_dispatcher(spec={"image": "other:2", "imagePullSecrets": [{"name": "other"}]})
    home = ApiHome(OWN, "hookline:1", pull_secrets=("registry",))
    assert container_of(of_its_own, home=home)["image"] == "hookline:1"
    assert pod_of(of_its_own, home=home)["imagePullSecrets"] == [{"name": "registry"}]


def test_kube_apiserver_reaches_it_from_anywhere_at_443_of_its_service() -> None:
    (port,) = made(SERVICES)["spec"]["ports"]
    ports = {each["name"]: each["containerPort"] for each in container_of()["ports"]}
    assert (port["port"], ports[port["targetPort"]]) == (443, HTTPS_PORT)
    policy = made(NETWORK_POLICIES)["spec"]
    assert policy["policyTypes"] == ["Ingress"]
    anybody, who_looks = policy["ingress"]
    assert anybody == {"ports": [{"protocol": "TCP", "port": HTTPS_PORT}]}
    assert [each["port"] for each in who_looks["ports"]] == [PORT]
    assert all(who_looks["from"])


def test_selectors_find_its_pods_and_those_of_no_dispatcher() -> None:
    labels = made(DEPLOYMENTS)["spec"]["template"]["metadata"]["labels"]
    found = [
        made(DEPLOYMENTS)["spec"]["selector"]["matchLabels"],
        made(DISRUPTION_BUDGETS)["spec"]["selector"]["matchLabels"],
        made(NETWORK_POLICIES)["spec"]["podSelector"]["matchLabels"],
        made(SERVICES)["spec"]["selector"],
    ]
    for selector in found:
        assert selector.items() <= labels.items()
        assert selector[COMPONENT_LABEL] == "api"


def test_it_is_told_where_its_files_are_and_those_are_mounted() -> None:
    arguments, folders = arguments_of(), folders_of()
    certificate, _, chain = arguments["--tls-certificate"].rpartition("/")
    key_folder, _, key = arguments["--tls-key"].rpartition("/")
    assert (certificate, chain, key) == (key_folder, "tls.crt", "tls.key")
    # The pod waits for its certificate.
    assert folders[certificate]["secret"] == {"secretName": API_CERTIFICATE_NAME, "defaultMode": 0o440}
    folder, _, file = arguments["--queues"].rpartition("/")
    made_for_it = queues([a_dispatcher()], HOME)
    assert folders[folder]["configMap"]["name"] == made_for_it["metadata"]["name"]
    assert file in made_for_it["data"]
    assert (arguments["--listen"], arguments["--health"]) == (f":{HTTPS_PORT}", f":{PORT}")


def test_every_queue_is_listed_with_the_credentials_that_are_mounted_for_it() -> None:
    there = a_dispatcher(), a_dispatcher("edge", EDGE), a_dispatcher("open", OPEN)
    found, folders = listed(*there), folders_of(*there)
    shipped, edge = (found[name][1].rpartition("/") for name in ("default", "edge"))
    assert folders[shipped[0]]["secret"]["secretName"] == "hookline-nats-api"
    assert shipped[2] == "user.nk"
    assert folders[edge[0]]["secret"]["secretName"] == "account"
    assert edge[2] == "nats.creds"
    assert found["open"] == ("nats://open.example.com", "")


def test_a_missing_secret_of_one_queue_does_not_hide_the_others() -> None:
    folders = folders_of(a_dispatcher(), a_dispatcher("edge", EDGE))
    credentials = [each["secret"] for folder, each in folders.items() if "/nats/" in folder]
    assert [each["optional"] for each in credentials] == [True, True]


def test_another_queue_changes_no_pod_unless_it_asks_for_credentials() -> None:
    other_address = a_dispatcher("open", {"nats": {"url": "nats://elsewhere.example.com"}})
    assert pod_of(a_dispatcher(), a_dispatcher("open", OPEN)) == pod_of(a_dispatcher(), other_address)
    assert pod_of(a_dispatcher(), other_address) == pod_of(a_dispatcher())
    assert pod_of(a_dispatcher(), a_dispatcher("edge", EDGE)) != pod_of(a_dispatcher())


def test_in_an_installation_for_one_namespace_it_is_told_so() -> None:
    assert arguments_of(home=NAMESPACED)["--namespace"] == "team"
    assert "--namespace" not in arguments_of()


def test_a_pod_is_taken_from_its_service_before_it_ends_and_has_the_time_to_end() -> None:
    pod, container = pod_of(), container_of()
    seconds_before = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert seconds_before >= 5
    assert float(arguments_of()["--grace-seconds"]) == GRACE_SECONDS
    assert seconds_before + GRACE_SECONDS + END_SECONDS <= pod["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("words", [("cpu", "", "4Gi"), ("", "memory=lots", "4Gi"), ("", "", "big")])
def test_a_quantity_that_is_none_is_refused_before_anything_is_made(words: tuple[str, str, str]) -> None:
    with pytest.raises(WrongInput, match="quantities"):
        api_settings(2, *words)


def test_what_the_operator_does_without_a_flag_is_what_the_log_has_by_default() -> None:
    command = get_command(app).commands["operator"]  # type: ignore[attr-defined]
    flags = command.make_context("operator", []).params
    said = api_settings(*(flags[f"api_{each}"] for each in ("replicas", "requests", "limits", "disk")))
    assert said == ApiSettings()
    assert api_settings(1, "cpu=1, memory=1Gi", "", "1Gi").resources == Resources(
        requests={"cpu": "1", "memory": "1Gi"}
    )


def test_the_command_takes_every_argument_that_the_operator_writes() -> None:
    command = get_command(app).commands["api"]  # type: ignore[attr-defined]
    for home in (HOME, NAMESPACED):
        _, *arguments = container_of(home=home)["args"]
        values = command.make_context("api", list(arguments)).params
        assert {f"--{name.replace('_', '-')}" for name in values} >= arguments_of(home=home).keys()
