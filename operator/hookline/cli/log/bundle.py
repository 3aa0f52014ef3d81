"""`bundle`: a file for those who help, without secrets and bodies. It says what was left out."""

from __future__ import annotations

import io
import json
import os
import tarfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import typer

from hookline import __version__
from hookline.cli.errors import NotAchieved
from hookline.cli.log.api import CORE, LOG, RESOURCES, Denied, Object, items_of, listed, path_of
from hookline.cli.log.fields import text
from hookline.cli.log.output import say
from hookline.cli.log.place import Session
from hookline.cli.log.redaction import event_summary, pod_summary, redacted, secrets_of, without_secrets
from hookline.cli.log.status import MOST, MOST_PODS, component_of, gathered, metrics_of

P = ParamSpec("P")
T = TypeVar("T")

LOG_LINES = 2000
"""Of each pod."""
NEWEST = 500
"""Attempts, and Events of each namespace."""

_OURS = {"labelSelector": "app.kubernetes.io/part-of=hookline"}
_EVENTS = "/apis/events.k8s.io/v1"
_OUR_KINDS = frozenset({"Webhook", "Dispatcher", "EventType", "Replay"})

README = """\
A support bundle of Hookline {version}, made {time} for namespace {namespace}.

What was taken out, or never asked for:
- Secrets and ConfigMaps: never asked for.
- Bodies of events and of answers, samples, JSON Schemas, CA certificates.
- Values of headers, in Webhooks and in attempts; queries and users in URLs; annotations.
- Environment, commands and volumes of pods.
- In logs, Events and messages: what looks like a secret, and what Webhooks have as header values and queries.
Look through it before you hand it on: names, URLs without their queries, and texts of your own are in it.

Not seen:
{hidden}
"""


class Bundle:
    """The files of a bundle, and what could not be seen for it."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.hidden: list[str] = []
        self.secrets: set[str] = set()

    def look(self, what: str, work: Callable[P, T], *words: P.args, **named: P.kwargs) -> T | None:
        """What `work` finds; None if it is denied, which is noted."""
        try:
            return work(*words, **named)
        except Denied as error:
            self.hidden.append(f"{what}: {error}")
            return None

    def add_json(self, name: str, found: Any) -> None:
        if found is not None:
            self.add_text(name, json.dumps(found, indent=1, sort_keys=True))

    def add_text(self, name: str, found: str | None) -> None:
        """Everything passes here: whatever is known to be secret is taken out once more."""
        if found is not None:
            self.files[name] = redacted(found, self.secrets).encode("utf-8", "backslashreplace")


def bundle(
    session: Session,
    file: Annotated[Path, typer.Argument(metavar="FILE.tar.gz", help="Where it is written.", show_default=False)],
) -> None:
    """Write what helps others to help you: versions, conditions, resources, metrics, logs, without secrets and bodies.

    Example: hookline bundle hookline.tar.gz -A
    """
    made = collected(session)
    try:
        _write(file, made.files)
    except OSError as error:
        raise NotAchieved(f"{file} cannot be written: {error.strerror}") from None
    for each in made.hidden:
        typer.echo(f"Not seen: {each}", err=True)
    say(f"{file}: {len(made.files)} files, without secrets and bodies; README.txt in it says what was taken out")


def collected(session: Session) -> Bundle:
    made, namespace = Bundle(), session.namespace
    resources: dict[str, list[Object] | None] = {}
    of_cluster = {"dispatchers": "", "eventtypes": "", "webhooks": namespace} if session.in_cluster else {}
    for plural, of in {**of_cluster, "replays": namespace}.items():
        resources[plural] = made.look(plural, _list, session, path_of(RESOURCES, of, plural))
    made.secrets = secrets_of(each for found in resources.values() for each in found or [])
    for plural, found in resources.items():
        made.add_json(f"resources/{plural}.json", None if found is None else without_secrets(found))
    for plural in ("attempts", "deliveries", "deadletters"):
        found = made.look(plural, _list, session, path_of(LOG, namespace, plural), NEWEST)
        made.add_json(f"log/{plural}.json", None if found is None else without_secrets(found))
    seen = made.look("status", gathered, session)
    made.add_json("status.json", None if seen is None else without_secrets(seen.report))
    versions: Object = {"plugin": __version__}
    if session.in_cluster:
        versions["kubernetes"] = made.look("the version of Kubernetes", session.api.get, "/version")
        _of_pods(session, made, resources.get("dispatchers") or [])
    made.add_json("versions.json", versions)
    made.add_text("README.txt", _readme(session, made.hidden))
    return made


def _of_pods(session: Session, made: Bundle, dispatchers: list[Object]) -> None:
    """Pods, logs and Events of the namespaces of Dispatchers, and Events of the person's own."""
    of_dispatchers = sorted({text(each, "metadata.namespace") for each in dispatchers} - {""})
    for namespace in of_dispatchers:
        page = made.look(f"pods of {namespace}", session.api.get, path_of(CORE, namespace, "pods"), _OURS)
        pods = items_of(page or {})[:MOST_PODS]
        made.add_json(f"pods/{namespace}.json", [pod_summary(each) for each in pods])
        for pod in pods:
            _of_pod(session, made, pod)
    for namespace in dict.fromkeys([*of_dispatchers, session.namespace]):
        found = made.look(f"Events of {namespace or 'all'}", _list, session, path_of(_EVENTS, namespace, "events"))
        ours = [each for each in found or [] if namespace in of_dispatchers or _is_ours(each)]
        made.add_json(f"events/{namespace or 'all'}.json", [event_summary(each) for each in ours[-NEWEST:]])


def _of_pod(session: Session, made: Bundle, pod: Object) -> None:
    namespace, name = text(pod, "metadata.namespace"), text(pod, "metadata.name")
    path = path_of(CORE, namespace, "pods", name, "log")
    tail = {"tailLines": str(LOG_LINES), "timestamps": "true"}
    made.add_text(f"logs/{name}.log", made.look(f"the log of pod {name}", session.api.text, path, tail))
    if component_of(pod) != "nats":
        made.add_text(f"metrics/{name}.txt", made.look(f"metrics of pod {name}", metrics_of, session, pod))


def _list(session: Session, path: str, limit: int = MOST) -> list[Object]:
    return list(listed(session.api, path, limit=limit))


def _is_ours(event: Object) -> bool:
    return text(event, "regarding.kind") in _OUR_KINDS


def _readme(session: Session, hidden: list[str]) -> str:
    return README.format(
        version=__version__,
        time=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        namespace=session.namespace or "all",
        hidden="\n".join(f"- {each}" for each in hidden) or "- nothing",
    )


def _write(file: Path, files: dict[str, bytes]) -> None:
    """For this user alone. Raises OSError."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as out, tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(f"hookline-bundle/{name}")
            entry.size, entry.mtime, entry.mode = len(content), int(time.time()), 0o600
            tar.addfile(entry, io.BytesIO(content))
