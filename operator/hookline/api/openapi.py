"""The API as OpenAPI describes it: by it `kubectl explain` knows the fields, and kubectl checks what it sends. Pure."""

from __future__ import annotations

import functools
import hashlib
import json
from typing import Any

from hookline import __version__
from hookline.api.kinds import API_VERSION, GROUP, RESOURCES, VERSION, WEBHOOK_TESTS, Resource
from hookline.api.schemas import META, meta_schemas, name_of, schemas

PATH = f"apis/{API_VERSION}"
"""Of this group and version, below /openapi/v3."""

_INFO = {"title": "Hookline log", "version": __version__}
_JSON = "application/json"

_NAMESPACE = {"name": "namespace", "in": "path", "required": True, "schema": {"type": "string"}}
_NAME = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}


def _query(name: str, description: str, kind: str = "string") -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": {"type": kind, "uniqueItems": True}}


_LIST = [
    _query("limit", "As many objects at most.", "integer"),
    _query("continue", "Where to go on: that of the part before."),
    _query("fieldSelector", "FIELD=VALUE, several with commas."),
    _query("labelSelector", "LABEL=VALUE, several with commas."),
    _query("resourceVersion", "Of a watch: where to go on from."),
    _query("resourceVersionMatch", "NotOlderThan."),
]
_WATCH = [
    _query("watch", "Go on with what comes, a line for each.", "boolean"),
    _query("timeoutSeconds", "After which a watch ends.", "integer"),
    _query("allowWatchBookmarks", "Whether a watch says now and then where it is.", "boolean"),
    _query("sendInitialEvents", "Whether a watch begins with what there is.", "boolean"),
]
_DRY_RUN = _query("dryRun", "All: change nothing.")
_PRETTY = _query("pretty", "Lines and indents.", "boolean")


@functools.cache
def v3_text() -> bytes:
    """The document of this group and version."""
    components: dict[str, Any] = meta_schemas()
    paths: dict[str, Any] = {}
    for resource in RESOURCES.values():
        components |= schemas(resource)
        paths |= _paths(resource)
    said = {"openapi": "3.0.0", "info": _INFO, "paths": paths, "components": {"schemas": components}}
    return json.dumps(said).encode()


@functools.cache
def v3_root() -> dict[str, Any]:
    """Which documents there are. The hash lets whoever has one already use it for ever."""
    digest = hashlib.sha512(v3_text()).hexdigest().upper()
    return {"paths": {PATH: {"serverRelativeURL": f"/openapi/v3/{PATH}?hash={digest}"}}}


def v2() -> dict[str, Any]:
    """For clients from before version 3, which know only that there is something: kube-apiserver would convert a
    document of this version, and lose half of it."""
    return {"swagger": "2.0", "info": _INFO, "paths": {}, "definitions": {}}


def _paths(resource: Resource) -> dict[str, Any]:
    root = f"/{PATH}"
    below = f"{root}/namespaces/{{namespace}}/{resource.plural}"
    if resource is WEBHOOK_TESTS:
        body = {"required": True, "content": {_JSON: {"schema": _ref(name_of(resource.kind))}}}
        post = _operation(resource, "create", "Namespaced", "post", name_of(resource.kind), 201)
        return {below: {"parameters": [_NAMESPACE, _DRY_RUN, _PRETTY], "post": {**post, "requestBody": body}}}
    watchable = _WATCH if "watch" in resource.verbs else []
    one: dict[str, Any] = {
        "parameters": [_NAME, _NAMESPACE, _PRETTY],
        "get": _operation(resource, "read", "Namespaced", "get"),
    }
    if "delete" in resource.untold_verbs:
        one["delete"] = {
            **_operation(resource, "delete", "Namespaced", "delete", f"{META}.Status"),
            "parameters": [_DRY_RUN],
        }
    listed = name_of(f"{resource.kind}List")
    return {
        f"{root}/{resource.plural}": {
            "parameters": [*_LIST, *watchable, _PRETTY],
            "get": _operation(resource, "list", "ForAllNamespaces", "list", listed),
        },
        below: {
            "parameters": [_NAMESPACE, *_LIST, *watchable, _PRETTY],
            "get": _operation(resource, "list", "Namespaced", "list", listed),
        },
        f"{below}/{{name}}": one,
        **{
            f"{below}/{{name}}/{each.name}": {
                "parameters": [_NAME, _NAMESPACE],
                **(_body(resource) if each.verbs == ("get",) else _replay(resource)),
            }
            for each in resource.subresources
        },
    }


def _body(resource: Resource) -> dict[str, Any]:
    said = _operation(resource, "readBodyOf", "Namespaced", "get")
    answer = {"description": "The body of its event.", "content": {_JSON: {"schema": {}}}}
    return {"get": {**said, "responses": {"200": answer}}}


def _replay(resource: Resource) -> dict[str, Any]:
    return {"post": _operation(resource, "replay", "Namespaced", "post", f"{META}.Status", 201)}


def _operation(
    resource: Resource, verb: str, scope: str, action: str, schema: str = "", status: int = 200
) -> dict[str, Any]:
    schema = schema or name_of(resource.kind)
    return {
        "operationId": f"{verb}{scope}{resource.kind}",
        "tags": [f"{GROUP}_{VERSION}"],
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": {"group": GROUP, "version": VERSION, "kind": resource.kind},
        "responses": {
            str(status): {"description": "OK", "content": {_JSON: {"schema": _ref(schema)}}},
            "401": {"description": "Unauthorized"},
        },
    }


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}
