"""Which Secrets a Webhook may use, and what it gets from them. What the values may be: `signing`, `certificates`.

A Secret is used only if its owner labelled it `hookline.dev/allow-webhooks: "true"`.
Otherwise whoever may write a Webhook but not read Secrets could mail himself any Secret of the namespace (the
confused deputy of GHSA-8rvj-mm4h-c258).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from hookline.resources.base import ALLOW_LABEL, ObjectMeta, Problem
from hookline.resources.reasons import WebhookReason


class SecretProblem(ValueError):
    """A Secret manifest the API server would refuse. Its text never holds a value."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.field}: {problem.message}")
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Secret:
    """A core/v1 Secret: decoded values by key."""

    namespace: str
    name: str
    labels: Mapping[str, str]
    data: Mapping[str, bytes] = field(repr=False)

    @classmethod
    def of_manifest(cls, manifest: Mapping[str, Any]) -> Self:
        """Read a manifest. `stringData` wins over `data`, as in the API server. Raises SecretProblem."""
        metadata = ObjectMeta.model_validate(manifest.get("metadata") or {})
        data = {key: _decoded(key, text) for key, text in _strings(manifest, "data").items()}
        data |= {key: text.encode() for key, text in _strings(manifest, "stringData").items()}
        return cls(metadata.namespace, metadata.name, metadata.labels, data)

    @property
    def allowed(self) -> bool:
        return self.labels.get(ALLOW_LABEL) == "true"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a Secret gives nothing: a reason, and what to do."""

    reason: WebhookReason
    message: str


Secrets = Mapping[tuple[str, str], Secret]
"""Secrets by (namespace, name)."""


def allowed_value(secrets: Secrets, namespace: str, name: str, key: str) -> bytes | Refusal:
    """The value of one key, or why there is none."""
    secret = secrets.get((namespace, name))
    if secret is None or not secret.allowed:
        # One answer for both: the operator never asks for Secrets without the label, so it cannot tell them apart.
        return Refusal(
            WebhookReason.SECRET_NOT_ALLOWED,
            f"there is no Secret {namespace}/{name} that Webhooks may use; create it with the key {key}, and its owner "
            f"allows it with: kubectl label secret -n {namespace} {name} {ALLOW_LABEL}=true",
        )
    if key not in secret.data:
        there = ", ".join(sorted(secret.data)) or "none"
        return Refusal(
            WebhookReason.SECRET_KEY_MISSING, f"Secret {namespace}/{name} has no key {key}; its keys are: {there}"
        )
    return secret.data[key]


def _strings(manifest: Mapping[str, Any], name: str) -> dict[str, str]:
    values = manifest.get(name) or {}
    if not isinstance(values, Mapping):
        raise SecretProblem(Problem((name,), "must be a mapping of keys to text"))
    for key, value in values.items():
        if not isinstance(value, str):
            raise SecretProblem(Problem((name, str(key)), "must be text; put the value in quotes"))
    return {str(key): value for key, value in values.items()}


def _decoded(key: str, text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        message = "must be base64; for plain text use stringData instead of data"
        raise SecretProblem(Problem(("data", key), message)) from None
