"""What kubectl and controllers find out of the API before they use it. Pure.

It is the same for everybody, and nothing in it is secret. In two forms: a document for each step of the path, and all
of it at once (aggregated discovery), which kube-apiserver asks for first.
"""

from __future__ import annotations

from typing import Any

from hookline import __version__
from hookline.api.kinds import API_VERSION, GROUP, RESOURCES, VERSION, Resource

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

_THIS = {"groupVersion": API_VERSION, "version": VERSION}


def group() -> dict[str, Any]:
    return {"kind": "APIGroup", "apiVersion": "v1", "name": GROUP, "versions": [_THIS], "preferredVersion": _THIS}


def group_list() -> dict[str, Any]:
    said = {name: value for name, value in group().items() if name not in ("kind", "apiVersion")}
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [said]}


def resource_list() -> dict[str, Any]:
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": API_VERSION,
        "resources": [entry for each in RESOURCES.values() for entry in _entries(each)],
    }


def aggregated() -> dict[str, Any]:
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": [
            {
                "metadata": {"name": GROUP},
                "versions": [
                    {
                        "version": VERSION,
                        "freshness": "Current",
                        "resources": [_discovered(each) for each in RESOURCES.values()],
                    }
                ],
            }
        ],
    }


def version() -> dict[str, Any]:
    """As kube-apiserver says its own, where programs look for it."""
    major, minor, *_ = [*__version__.split("."), "0"]
    return {"major": major, "minor": minor, "gitVersion": f"v{__version__}"}


def wants_aggregated(accept: str) -> bool:
    """Whether it is asked for before anything else that there is."""
    for clause in accept.split(","):
        media_type, *rest = (each.strip().lower() for each in clause.split(";"))
        if media_type != "application/json":
            continue
        return {"g=apidiscovery.k8s.io", "v=v2", "as=apigroupdiscoverylist"} <= set(rest)
    return False


def _entries(resource: Resource) -> list[dict[str, Any]]:
    whole = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": True,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
        **({"shortNames": list(resource.short_names)} if resource.short_names else {}),
        **({"categories": list(resource.categories)} if resource.categories else {}),
    }
    parts = [
        {
            "name": f"{resource.plural}/{each.name}",
            "singularName": "",
            "namespaced": True,
            "kind": resource.kind,
            "verbs": list(each.verbs),
        }
        for each in resource.subresources
    ]
    return [whole, *parts]


def _discovered(resource: Resource) -> dict[str, Any]:
    kind = {"group": GROUP, "version": VERSION, "kind": resource.kind}
    subresources = [
        {"subresource": each.name, "responseKind": kind, "verbs": list(each.verbs)} for each in resource.subresources
    ]
    return {
        "resource": resource.plural,
        "responseKind": kind,
        "scope": "Namespaced",
        "singularResource": resource.singular,
        "verbs": list(resource.verbs),
        **({"shortNames": list(resource.short_names)} if resource.short_names else {}),
        **({"categories": list(resource.categories)} if resource.categories else {}),
        **({"subresources": subresources} if subresources else {}),
    }
