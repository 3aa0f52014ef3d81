"""What of the API a path and a method mean. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hookline.api.kinds import API_VERSION, GROUP, RESOURCES, Resource
from hookline.serving.api_server import Right

_ROOT = f"/apis/{API_VERSION}/"
_SEGMENT = re.compile("[^\x00-\x20\x7f/]{1,253}")
_NAMESPACE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}


@dataclass(frozen=True, slots=True)
class Target:
    """Objects of one kind, or one of them if it is named; those of all namespaces if none is."""

    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    @property
    def can_be(self) -> bool:
        """Whether an object may have that name."""
        return not self.name or _NAME.fullmatch(self.name) is not None

    @property
    def verbs(self) -> tuple[str, ...]:
        """Those that it takes; none of a subresource that there is not."""
        if not self.subresource:
            return (*self.resource.verbs, *self.resource.untold_verbs)
        return next((each.verbs for each in self.resource.subresources if each.name == self.subresource), ())


def target_of(path: str) -> Target | None:
    """None of a path that names no resource of ours."""
    if not path.startswith(_ROOT):
        return None
    segments = path.removeprefix(_ROOT).split("/")
    if len(segments) > 5 or not all(_SEGMENT.fullmatch(each) for each in segments):
        return None
    namespace = ""
    if segments[0] == "namespaces":
        if len(segments) < 3 or not _NAMESPACE.fullmatch(segments[1]):
            return None
        namespace, segments = segments[1], segments[2:]
    resource = RESOURCES.get(segments[0])
    if resource is None or (len(segments) > 1 and not namespace):
        return None
    return Target(resource, namespace, *segments[1:])


def verb_of(method: str, target: Target, *, watch: bool) -> str | None:
    """By which a right is named; None of a method that has none."""
    if method == "GET":
        if target.name:
            return "get"
        return "watch" if watch else "list"
    if method == "DELETE":
        return "delete" if target.name else "deletecollection"
    return _VERBS.get(method)


def right_to(verb: str, target: Target, selected_name: str = "") -> Right:
    """The right that a request needs. A list of one name needs it for that name only, as in kube-apiserver."""
    return Right(
        verb, GROUP, target.resource.plural, target.subresource, target.namespace, target.name or selected_name
    )
