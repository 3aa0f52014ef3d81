"""The seam to the Kubernetes API: what the commands ask of it, the paths they ask, how it says no."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Protocol
from urllib.parse import quote

from hookline.api.kinds import API_VERSION
from hookline.cli.errors import Failure, WrongInput

Object = dict[str, Any]
Params = Mapping[str, str]

EVERYTHING: Params = MappingProxyType({})
"""Narrows nothing."""

LOG = f"/apis/{API_VERSION}"
RESOURCES = "/apis/hookline.dev/v1alpha1"
CORE = "/api/v1"

PAGE_ITEMS = 500
"""Asked for at once: of attempts with answers of 16 KiB some 10 MB."""

REFUSALS = frozenset({"Forbidden", "Unauthorized", "NotFound", "BadRequest", "Invalid", "MethodNotAllowed"})
"""Reasons after which asking again is of no use."""
TRIES = 30
"""Of asking again, a second apart, when nobody answers."""


class Denied(Failure):
    """The API said no, or could not be asked. The text is for people, `reason` is the word of its Status, if any."""

    def __init__(self, message: str, *, reason: str = "", exit_code: int = 1) -> None:
        super().__init__(message)
        self.reason = reason
        self.exit_code = exit_code


class Api(Protocol):
    """Each raises Denied. Paths begin with a slash and have no query."""

    def get(self, path: str, params: Params = EVERYTHING) -> Object: ...

    def text(self, path: str, params: Params = EVERYTHING) -> str:
        """What is no JSON: metrics, logs."""

    def post(self, path: str, body: Object) -> Object: ...

    def delete(self, path: str) -> Object: ...

    def follow(self, path: str, params: Params = EVERYTHING) -> Iterator[Object]:
        """The events of a watch until the server ends it: `{"type": …, "object": …}`."""

    def current_namespace(self) -> str:
        """The one that counts when none is named."""


def object_in(content: str | bytes) -> Object | None:
    """A JSON object; None of anything else."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def path_of(root: str, namespace: str, plural: str, name: str = "", sub: str = "") -> str:
    """Of a list, an object or a subresource. A namespace of "" means all of them; then only lists can be had."""
    words = ["namespaces", namespace, plural] if namespace else [plural]
    words += [name] if name else []
    words += [sub] if sub else []
    if any(word in (".", "..") for word in words):
        raise WrongInput(f'"{namespace or name}" is no name')
    return "/".join([root, *(quote(word, safe="") for word in words)])


def selector(**fields: str) -> Params:
    """The field selector that narrows a list; an empty value narrows nothing."""
    for name, value in fields.items():
        if not value.isprintable() or set(value) & set(",=\\! "):
            raise WrongInput(f"--{name}: what was typed holds a character that none of them has")
    narrowed = ",".join(f"{name}={value}" for name, value in fields.items() if value)
    return {"fieldSelector": narrowed} if narrowed else {}


def listed(api: Api, path: str, params: Params = EVERYTHING, *, limit: int = 0) -> Iterator[Object]:
    """The objects of a list, page by page, at most `limit` of them; 0: all."""
    left, begin = limit, ""
    while True:
        wanted = min(left, PAGE_ITEMS) if limit else PAGE_ITEMS
        page = api.get(path, {**params, "limit": str(wanted), **({"continue": begin} if begin else {})})
        items = items_of(page)
        yield from items[:wanted]
        begin, left = continue_of(page), left - len(items)
        if not begin or (limit and left <= 0):
            return


def items_of(page: Object) -> list[Object]:
    items = page.get("items")
    return [each for each in items if isinstance(each, dict)] if isinstance(items, list) else []


def continue_of(page: Object) -> str:
    return _metadata(page, "continue")


def version_of(page: Object) -> str:
    return _metadata(page, "resourceVersion")


def _metadata(page: Object, name: str) -> str:
    metadata = page.get("metadata")
    value = metadata.get(name) if isinstance(metadata, dict) else None
    return value if isinstance(value, str) else ""
