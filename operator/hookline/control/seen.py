"""What is kept of each object that the operator reads: resources with their problems, Secrets, pods."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from hookline.control.kinds import (
    ASKS_FOR_CA,
    CA_CERTIFICATE,
    COMPONENT_LABEL,
    DISPATCHER_LABEL,
    PUBLISHING,
    SENDER,
    TOUCHED_ANNOTATION,
    Object,
    mapping_of,
    whole,
)
from hookline.control.reading import MAX_DEPTH, TOO_DEEP
from hookline.resources.base import EVENT_TYPES_ANNOTATION, PUBLISHER_LABEL, Problem, Resource, problems_of
from hookline.routing.publisher_tokens import PublisherToken, publisher_token
from hookline.routing.secret import Secret, SecretProblem

R = TypeVar("R", bound=Resource)


@dataclass(frozen=True, slots=True)
class Seen(Generic[R]):
    """One resource. `value` is None when its spec is not valid, and `problem` says why."""

    namespace: str
    name: str
    uid: str
    generation: int
    created: str
    status: Object = field(repr=False)
    value: R | None = field(repr=False)
    problem: str = ""
    version: str = ""
    """The resourceVersion."""


@dataclass(frozen=True, slots=True)
class Publisher:
    """A Secret that is to give a token to publish with. Of what it holds no more than a digest is kept."""

    namespace: str
    name: str
    uid: str
    version: str
    """The resourceVersion."""
    created: str
    token: PublisherToken | Problem | None
    """Or what is wrong with it; None without the label."""


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod of a Dispatcher, as far as the operator talks to it."""

    name: str
    dispatcher: str
    ip: str
    ready: bool
    touched: str
    """Value of the annotation that the operator touches."""
    component: str = SENDER
    waiting: str = ""
    """What keeps a container of it from running, such as ImagePullBackOff."""


@dataclass(frozen=True, slots=True)
class Asking:
    """A ConfigMap that asks for the CA, and what it has: a digest, since it may hold anything of any size."""

    uid: str
    version: str
    """The resourceVersion."""
    digest: bytes


def digest_of(bundle: str) -> bytes:
    """Of the text of a bundle of CA certificates."""
    return hashlib.sha256(bundle.encode()).digest()


def asking_of(manifest: Object) -> Asking:
    """A ConfigMap that asks for the CA."""
    metadata, data = manifest["metadata"], manifest.get("data")
    held = data.get(CA_CERTIFICATE) if isinstance(data, Mapping) else None
    digest = digest_of(held) if isinstance(held, str) else b""
    return Asking(str(metadata.get("uid", "")), str(metadata.get("resourceVersion", "")), digest)


def lean_asking(manifest: Object) -> Object:
    """Of a ConfigMap that asks for the CA what `asking_of` needs, in 70 KiB at most."""
    held = mapping_of(manifest.get("data")).get(CA_CERTIFICATE)
    data = {CA_CERTIFICATE: held[:_LONGEST_BUNDLE]} if isinstance(held, str) else {}
    return {"metadata": _identity(mapping_of(manifest.get("metadata"))), "data": data}


def seen_of(model: type[R], manifest: Object) -> Seen[R]:
    """A resource, whether or not its spec is valid."""
    metadata = manifest["metadata"]
    value, problem = _parsed(model, {key: value for key, value in manifest.items() if key != "status"})
    return Seen(
        namespace=metadata.get("namespace", ""),
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata.get("generation", 1),
        created=str(metadata.get("creationTimestamp") or ""),
        status=status if isinstance(status := manifest.get("status"), Mapping) else {},
        value=value,
        problem=problem,
        version=metadata.get("resourceVersion", ""),
    )


def _parsed(model: type[R], manifest: Object) -> tuple[R | None, str]:
    if TOO_DEEP in manifest:
        return None, f"the object nests deeper than {MAX_DEPTH} levels; write a flatter one"
    try:
        return model.model_validate(manifest), ""
    except ValidationError as error:
        # Only where the API server did not apply the CRD's rules: an older CRD, or an older API server.
        return None, "; ".join(f"{each.field}: {each.message}" for each in problems_of(error))


def secret_of(manifest: Object) -> Secret:
    """A Secret; an empty one when it cannot be read."""
    try:
        return Secret.of_manifest(manifest)
    except (SecretProblem, ValidationError):
        metadata = manifest["metadata"]
        labels = metadata.get("labels")
        return Secret(
            metadata.get("namespace", ""), metadata["name"], labels if isinstance(labels, Mapping) else {}, {}
        )


_IDENTITY = ("namespace", "name", "uid", "resourceVersion", "creationTimestamp", "deletionTimestamp")

_LONGEST = 16_384
"""Characters of what may be a token, in base64, or a list of event types: each has fewer. Divisible by four."""


_LONGEST_BUNDLE = 65_536
"""Characters, of more than a bundle has: what is cut is another one than should be there, as the whole was."""


def lean_publisher(manifest: Object) -> Object:
    """Of the Secret of a publisher what `publisher_of` needs, in 50 KiB at most: a team may have thousands of 1 MiB.

    What is too long to be right stays wrong.
    """
    metadata = mapping_of(manifest.get("metadata"))
    labels, annotations = mapping_of(metadata.get("labels")), mapping_of(metadata.get("annotations"))
    types = annotations.get(EVENT_TYPES_ANNOTATION)
    fits = isinstance(types, str) and len(types) < _LONGEST
    return {
        "metadata": {
            **_identity(metadata),
            "labels": {key: labels[key] for key in labels.keys() & {PUBLISHER_LABEL}},
            "annotations": dict.fromkeys(annotations.keys() & {EVENT_TYPES_ANNOTATION}, types if fits else "*"),
        },
        "data": {key: str(value)[:_LONGEST] for key, value in islice(mapping_of(manifest.get("data")).items(), 2)},
    }


def _identity(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {key: metadata[key] for key in _IDENTITY if key in metadata}


_LEAN: Mapping[str, Callable[[Object], Object]] = {PUBLISHING: lean_publisher, ASKS_FOR_CA: lean_asking}


def kept_by(request: str) -> Callable[[Any], Any]:
    """What is kept of each object from the moment that it was read: teams may have thousands of 1 MiB.

    `request` are the labels by which it was asked for, or the URL with them.
    """
    return next((lean for labels, lean in _LEAN.items() if labels in request), whole)


def publisher_of(manifest: Object) -> Publisher:
    """A Secret of a publisher, whether or not it gives a token."""
    metadata = manifest["metadata"]
    annotations = metadata.get("annotations")
    return Publisher(
        namespace=metadata.get("namespace", ""),
        name=metadata["name"],
        uid=metadata["uid"],
        version=metadata.get("resourceVersion", ""),
        created=str(metadata.get("creationTimestamp") or ""),
        token=publisher_token(secret_of(manifest), annotations if isinstance(annotations, Mapping) else {}),
    )


def pod_of(manifest: Object) -> Pod:
    """A pod, with an empty `dispatcher` or `component` when its label is missing."""
    metadata, status = manifest["metadata"], manifest.get("status") or {}
    labels = metadata.get("labels") or {}
    conditions = {each.get("type"): each.get("status") for each in status.get("conditions") or []}
    return Pod(
        name=metadata["name"],
        dispatcher=labels.get(DISPATCHER_LABEL, ""),
        component=labels.get(COMPONENT_LABEL, ""),
        ip=status.get("podIP") or "",
        ready=conditions.get("Ready") == "True",
        touched=(metadata.get("annotations") or {}).get(TOUCHED_ANNOTATION, ""),
        waiting=_waiting(status),
    )


def _waiting(status: Object) -> str:
    """The words of the kubelet, but for those of an ordinary start."""
    for each in status.get("containerStatuses") or []:
        reason = ((each.get("state") or {}).get("waiting") or {}).get("reason")
        if isinstance(reason, str) and reason not in ("ContainerCreating", "PodInitializing"):
            return reason[:64]
    return ""
