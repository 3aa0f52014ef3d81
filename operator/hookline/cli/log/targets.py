"""What a person names: a Webhook, several by their labels, or one attempt; and what a shell offers there."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import typer

from hookline.api.kinds import ATTEMPTS, GROUP, Resource
from hookline.api.texts import label_is_value
from hookline.cli.errors import Failure, WrongInput
from hookline.cli.log.api import LOG, RESOURCES, Object, items_of, path_of
from hookline.cli.log.fields import text, value
from hookline.cli.log.place import Offered, Place, Session, session_of

_WEBHOOK_KINDS = frozenset({"webhook", "webhooks", "whk", "webhooks.hookline.dev", "webhook.hookline.dev"})
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")

_CALLED = ("attempts", LOG, "webhook.name")

COMPLETION_SECONDS = 2


def is_kind(word: str, resource: Resource) -> bool:
    """Whether a word before a slash names a resource of the log, as kubectl would take it or `-o name` writes it."""
    return word.removesuffix(f".{GROUP}") in (resource.plural, resource.singular, *resource.short_names)


def webhook_name(target: str) -> str:
    """Of `webhook/NAME` or `NAME`; empty of nothing. Raises WrongInput."""
    kind, slash, name = target.rpartition("/")
    if slash and kind not in _WEBHOOK_KINDS:
        raise WrongInput("a Webhook is named by webhook/NAME, or NAME alone")
    if target and not _NAME.fullmatch(name):
        raise WrongInput("the name of a Webhook is lower-case letters, digits, - and .")
    return name


def labels_of(selector: str) -> dict[str, str]:
    """Of `team=a,tier=b`: the labels that a Webhook must have, all of them. Raises WrongInput."""
    found: dict[str, str] = {}
    for term in selector.split(","):
        said = label_is_value(term)
        if said is None:
            raise WrongInput("--selector: each term must be LABEL=VALUE, as in team=a,tier=b")
        if found.setdefault(*said) != said[1]:
            raise WrongInput(f"--selector: no Webhook has two values of {said[0]}")
    return found


def attempt_name(target: str) -> str | None:
    """Of `attempt/NAME`; None of anything else."""
    kind, slash, name = target.rpartition("/")
    return name if slash and is_kind(kind, ATTEMPTS) and name else None


def webhooks_offered(place: Place) -> Offered:
    """What a shell offers where a Webhook is to be named. Of any trouble: nothing, and not a word."""

    def offered(context: typer.Context, incomplete: str) -> list[str]:
        names = _looked_up(place, context, _names)
        whole = [f"webhook/{name}" for name in names if name]
        return [each for each in (*whole, *(names if incomplete else [])) if each.startswith(incomplete)]

    return offered


def labels_offered(place: Place) -> Offered:
    """The same where several are named by their labels; for the last one of them, as those before stay."""

    def offered(context: typer.Context, incomplete: str) -> list[str]:
        before, comma, begun = incomplete.rpartition(",")
        found = _looked_up(place, context, _labels)
        return [f"{before}{comma}{each}" for each in found if each.startswith(begun)]

    return offered


def _looked_up(place: Place, context: typer.Context, look: Callable[[Session], list[str]]) -> list[str]:
    typed: dict[str, Any] = {**context.params, "request_timeout": f"{COMPLETION_SECONDS}s"}
    try:
        return look(session_of(place, {name: value for name, value in typed.items() if value is not None}))
    except (Failure, OSError, ValueError):
        return []


def _names(session: Session) -> list[str]:
    """Of Webhooks; without a cluster of those that were called lately."""
    plural, root, field = ("webhooks", RESOURCES, "metadata.name") if session.in_cluster else _CALLED
    return sorted({text(each, field) for each in _listed(session, root, plural)})


def _labels(session: Session) -> list[str]:
    """Those that Webhooks have; without a cluster nobody tells."""
    if not session.in_cluster:
        return []
    labels = [value(each, "metadata.labels") for each in _listed(session, RESOURCES, "webhooks")]
    said = {f"{name}={of_it}" for each in labels if isinstance(each, dict) for name, of_it in each.items()}
    return sorted(each for each in said if label_is_value(each) is not None)


def _listed(session: Session, root: str, plural: str) -> list[Object]:
    return items_of(session.api.get(path_of(root, session.namespace, plural), {"limit": "500"}))
