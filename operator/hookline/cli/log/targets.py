"""What a person names: a Webhook, or one attempt; and the names that a shell offers."""

from __future__ import annotations

import re
from typing import Any

import typer

from hookline.api.kinds import ATTEMPTS, GROUP, Resource
from hookline.cli.errors import Failure, WrongInput
from hookline.cli.log.api import LOG, RESOURCES, items_of, path_of
from hookline.cli.log.fields import text
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


def attempt_name(target: str) -> str | None:
    """Of `attempt/NAME`; None of anything else."""
    kind, slash, name = target.rpartition("/")
    return name if slash and is_kind(kind, ATTEMPTS) and name else None


def webhooks_offered(place: Place) -> Offered:
    """What a shell offers where a Webhook is to be named. Of any trouble: nothing, and not a word."""

    def offered(context: typer.Context, incomplete: str) -> list[str]:
        typed: dict[str, Any] = {**context.params, "request_timeout": f"{COMPLETION_SECONDS}s"}
        try:
            names = _names(session_of(place, {name: value for name, value in typed.items() if value is not None}))
        except (Failure, OSError, ValueError):
            return []
        whole = [f"webhook/{name}" for name in names if name]
        return [each for each in (*whole, *(names if incomplete else [])) if each.startswith(incomplete)]

    return offered


def _names(session: Session) -> list[str]:
    """Of Webhooks; without a cluster of those that were called lately."""
    plural, root, field = ("webhooks", RESOURCES, "metadata.name") if session.in_cluster else _CALLED
    page = session.api.get(path_of(root, session.namespace, plural), {"limit": "500"})
    return sorted({text(each, field) for each in items_of(page)})
