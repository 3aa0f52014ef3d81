from __future__ import annotations

from typing import Any

import pytest
from typer.main import get_command

from hookline.cli.main import app
from hookline.control.gateway_workload import objects
from hookline.control.https_pods import HTTPS_PORT
from hookline.control.kinds import (
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    NETWORK_POLICIES,
    SERVICES,
    Kind,
    gateway_certificate_name,
    publishers_name,
)
from hookline.control.pods import PORT
from hookline.resources.dispatcher import Dispatcher
from hookline.serving.server import _LINGER_SECONDS, GRACE_SECONDS
from hookline.stream.connection import CLOSE_SECONDS
from unit.control.objects import Manifest, a_dispatcher


def made(dispatcher: Dispatcher, kind: Kind) -> Manifest:
    (found,) = [manifest for each, manifest in objects(dispatcher, image="hookline:1") if each is kind]
    return found


def pod_of(spec: dict[str, Any] | None = None, name: str = "default") -> dict[str, Any]:
    pod: dict[str, Any] = made(a_dispatcher(name, spec), DEPLOYMENTS)["spec"]["template"]["spec"]
    return pod


def arguments_of(spec: dict[str, Any] | None = None) -> dict[str, str]:
    command, *arguments = pod_of(spec)["containers"][0]["args"]
    assert command == "gateway"
    return dict(zip(arguments[::2], arguments[1::2], strict=True))


def files_of(spec: dict[str, Any] | None = None, name: str = "default") -> dict[str, dict[str, Any]]:
    """Which Secret lies in which folder."""
    pod = pod_of(spec, name)
    volumes = {each["name"]: each["secret"] for each in pod["volumes"]}
    return {each["mountPath"]: volumes[each["name"]] for each in pod["containers"][0]["volumeMounts"]}


def test_its_deployment_comes_last_and_it_has_no_account_of_its_own() -> None:
    """The manifests bring the account: the operator has no right to give rights."""
    kinds = [kind for kind, _ in objects(a_dispatcher(), image="hookline:1")]
    assert kinds == [NETWORK_POLICIES, DISRUPTION_BUDGETS, SERVICES, DEPLOYMENTS]
    pod = pod_of(name="edge")
    assert (pod["serviceAccountName"], pod["automountServiceAccountToken"]) == ("hookline-gateway", True)


def test_producers_reach_it_at_443_of_its_service_and_of_every_dispatcher_at_another_name() -> None:
    service = made(a_dispatcher(), SERVICES)
    (port,) = service["spec"]["ports"]
    ports = {each["name"]: each["containerPort"] for each in pod_of()["containers"][0]["ports"]}
    assert (port["port"], ports[port["targetPort"]]) == (443, HTTPS_PORT)
    assert service["metadata"]["name"] == "hookline-gateway"
    assert made(a_dispatcher("edge"), SERVICES)["metadata"]["name"] == "hookline-gateway-edge"
    labels = made(a_dispatcher(), DEPLOYMENTS)["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    # Who makes it a LoadBalancer keeps that: what is applied is ours alone.
    assert "type" not in service["spec"]


def test_everybody_may_call_it_and_it_may_call_the_api_server_wherever_that_is() -> None:
    policy = made(a_dispatcher(), NETWORK_POLICIES)["spec"]
    assert policy["policyTypes"] == ["Ingress"]
    assert {"ports": [{"protocol": "TCP", "port": HTTPS_PORT}]} in policy["ingress"]
    assert len(policy["ingress"]) == 2


def test_it_is_told_where_its_files_are_and_those_are_mounted() -> None:
    arguments, files = arguments_of(), files_of()
    certificate, _, chain = arguments["--tls-certificate"].rpartition("/")
    key_folder, _, key = arguments["--tls-key"].rpartition("/")
    assert (certificate, chain, key) == (key_folder, "tls.crt", "tls.key")
    # The pod waits for its certificate, and for nobody's tokens.
    assert files[certificate] == {"secretName": gateway_certificate_name("default"), "defaultMode": 0o440}
    folder, _, tokens = arguments["--publisher-tokens"].rpartition("/")
    assert tokens == "publisher-tokens.json"
    assert (files[folder]["secretName"], files[folder]["optional"]) == (publishers_name("default"), True)
    assert (arguments["--listen"], arguments["--health"]) == (f":{HTTPS_PORT}", f":{PORT}")


def test_a_certificate_of_others_takes_the_place_of_the_operators() -> None:
    given = {"gateway": {"tls": {"secretRef": {"name": "from-cert-manager"}}}}
    assert "from-cert-manager" in {each["secretName"] for each in files_of(given).values()}
    assert gateway_certificate_name("edge") not in {each["secretName"] for each in files_of(given, "edge").values()}
    assert gateway_certificate_name("edge") in {each["secretName"] for each in files_of({}, "edge").values()}


def test_credentials_of_nats_are_mounted_and_named_by_their_key() -> None:
    spec = {"nats": {"credentialsSecretRef": {"name": "account", "key": "nats.creds"}}}
    folder, _, file = arguments_of(spec)["--nats-credentials"].rpartition("/")
    assert (files_of(spec)[folder]["secretName"], file) == ("account", "nats.creds")
    assert "--nats-credentials" not in arguments_of()


def test_limits_of_the_dispatcher_are_the_gateways() -> None:
    limits = {"requestsAtOnce": 7, "bytesAtOnce": 9_000_000, "eventsPerSecond": 5, "bytesPerSecond": 4096}
    arguments = arguments_of({"gateway": {"limits": limits}})
    found = [arguments[f"--{each}"] for each in ("requests-at-once", "bytes-at-once")]
    assert [*found, arguments["--events-per-second"], arguments["--bytes-per-second"]] == list(
        map(str, limits.values())
    )
    assert not {"--events-per-second", "--bytes-per-second"} & arguments_of().keys()


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {
            "nats": {"credentialsSecretRef": {"name": "account"}},
            "gateway": {"limits": {"eventsPerSecond": 5, "bytesPerSecond": 4096}},
        },
    ],
)
def test_the_command_takes_every_argument_that_the_operator_writes(spec: dict[str, Any]) -> None:
    command = get_command(app).commands["gateway"]  # type: ignore[attr-defined]
    _, *arguments = pod_of(spec)["containers"][0]["args"]
    values = command.make_context("gateway", list(arguments)).params
    assert {f"--{name.replace('_', '-')}" for name in values} >= arguments_of(spec).keys()


def test_a_pod_is_taken_from_its_service_before_it_ends_and_has_the_time_to_end() -> None:
    pod = pod_of()
    (container,) = pod["containers"]
    seconds_before = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert seconds_before >= 5
    grace_seconds = float(arguments_of()["--grace-seconds"])
    assert grace_seconds == GRACE_SECONDS
    ending_seconds = _LINGER_SECONDS + CLOSE_SECONDS + 1
    assert seconds_before + grace_seconds + ending_seconds < pod["terminationGracePeriodSeconds"]


def test_another_certificate_or_token_in_its_secret_changes_no_pod_and_another_limit_does() -> None:
    assert pod_of({"gateway": {"limits": {"eventsPerSecond": 5}}}) != pod_of()
    assert pod_of({"egress": {"allowCidrs": ["10.0.0.0/8"]}}) == pod_of()
