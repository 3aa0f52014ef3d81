"""What may be asked for: the resources of log.hookline.dev/v1alpha1, their names, what can be done with them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

GROUP = "log.hookline.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

CATEGORY = "hookline"
"""`kubectl get hookline` shows all of them that have it."""


@dataclass(frozen=True, slots=True)
class Subresource:
    """What lies below an object, and the verbs that it takes."""

    name: str
    verbs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind of object, all of them in namespaces."""

    plural: str
    singular: str
    kind: str
    verbs: tuple[str, ...]
    short_names: tuple[str, ...] = ()
    subresources: tuple[Subresource, ...] = ()
    untold_verbs: tuple[str, ...] = ()
    """Those that are taken, and of which discovery says nothing.

    The namespace controller empties a namespace that is deleted of everything whose discovery says `delete`, and until
    it is empty the namespace stays, as Terminating. It should not wait for our queue, nor for the last of a hundred
    thousand dead letters that it would delete one by one, while new ones may come. kubectl asks nobody before it
    deletes.
    """
    categories: tuple[str, ...] = (CATEGORY,)


_BODY = Subresource("body", ("get",))

ATTEMPTS = Resource("attempts", "attempt", "Attempt", ("get", "list", "watch"), ("att",), (_BODY,))
DELIVERIES = Resource("deliveries", "delivery", "Delivery", ("get", "list"), (), (_BODY,))
DEAD_LETTERS = Resource(
    "deadletters",
    "deadletter",
    "DeadLetter",
    ("get", "list"),
    ("dl",),
    (_BODY, Subresource("replay", ("create",))),
    untold_verbs=("delete",),
)
WEBHOOK_TESTS = Resource("webhooktests", "webhooktest", "WebhookTest", ("create",), categories=())

RESOURCES = MappingProxyType({each.plural: each for each in (ATTEMPTS, DELIVERIES, DEAD_LETTERS, WEBHOOK_TESTS)})
"""By the word in the URL."""
