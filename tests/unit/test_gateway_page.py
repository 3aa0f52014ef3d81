"""The examples of docs/gateway.md name what is there, and are what Kubernetes and the Dispatcher take."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import yaml

from hookline.control.gateway_workload import objects
from hookline.control.kinds import SERVICES
from hookline.resources.dispatcher import Dispatcher, DispatcherSpec
from unit.control.objects import a_dispatcher

PAGE = (Path(__file__).parents[2] / "docs" / "gateway.md").read_text()

Object = dict[str, Any]


def examples() -> dict[str, Object]:
    """By kind."""
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    return {each["kind"]: each for block in blocks for each in yaml.safe_load_all(block)}


def named_services(part: Any) -> Iterator[Object]:
    """What names a Service as that of the gateway, in whatever way its kind does."""
    if isinstance(part, dict):
        if part.get("name") == "hookline-gateway" and "metadata" not in part:
            yield part
        for key, value in part.items():
            yield from named_services(value) if key != "metadata" else ()
    elif isinstance(part, list):
        for each in part:
            yield from named_services(each)


def test_what_is_shown_of_a_dispatcher_is_taken() -> None:
    shown = examples()["Dispatcher"]
    shown["metadata"]["uid"] = "u"
    assert Dispatcher.model_validate(shown).spec.gateway.replicas == 3
    for patch in re.findall(r"patch dispatcher default .*?-p '(.*?)'", PAGE, re.DOTALL):
        DispatcherSpec.model_validate(json.loads(patch)["spec"])


def test_the_certificate_holds_the_name_by_which_each_way_in_calls_the_gateway() -> None:
    shown = examples()
    names = shown["Certificate"]["spec"]["dnsNames"]
    assert shown["BackendTLSPolicy"]["spec"]["validation"]["hostname"] in names
    annotations = shown["Ingress"]["metadata"]["annotations"]
    assert annotations["nginx.ingress.kubernetes.io/proxy-ssl-name"] in names
    (secret,) = re.findall(r'"secretRef":{"name":"(.*?)"}', PAGE)
    assert shown["Certificate"]["spec"]["secretName"] == secret


def test_every_way_in_leads_to_the_service_that_the_operator_makes() -> None:
    (service,) = [each for kind, each in objects(a_dispatcher(), image="hookline:1") if kind is SERVICES]
    (port,) = service["spec"]["ports"]
    shown = examples()
    for kind in ("HTTPRoute", "BackendTLSPolicy", "Ingress"):
        assert shown[kind]["metadata"]["namespace"] == "hookline-system"
        (found,) = named_services(shown[kind]["spec"])
        ports = found.get("port", port["port"])
        assert ports in (port["port"], {"name": port["name"]}), kind


def test_the_ingress_is_one_of_kubernetes() -> None:
    kubernetes_validate.validate(examples()["Ingress"], "1.37", strict=True)
