"""From manifests in files to a route book: what the operator does in a cluster, done for one machine.

Decides what each document means, what is said of it, and what stays in force while a document is wrong: the version
before, as in a cluster, where the API server refuses the new one. Reads and writes no files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from pydantic import ValidationError

from hookline import schemas
from hookline.dispatcher import Dispatcher
from hookline.eventtype import EventType
from hookline.local.manifests import Document, Unreadable, text
from hookline.problems import Path as FieldPath
from hookline.problems import Problem
from hookline.resource import API_VERSION, problems_of
from hookline.routes import Book, DispatcherRecord, Keys, Route, TypeRecord, book_of, rotated
from hookline.schemas import Catalogue
from hookline.secret import Secret, SecretProblem
from hookline.verdict import Surroundings, Verdict, decide, held, record_of
from hookline.webhook import Webhook

LEFT_ALONE = ": left alone"
"""How a finding about a document ends that is none of ours."""

Key = tuple[str, str, str]
"""Kind, namespace (empty for EventTypes) and name."""

Object = Webhook | EventType | Dispatcher | Secret


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    NOTE = "note"
    WAITING = "waiting"
    """Taken, but not delivered: something else is missing."""
    WRONG = "wrong"
    """A cluster would refuse the document."""


@dataclass(frozen=True)
class Finding:
    """One line for the person who wrote a manifest."""

    file: Path
    line: int
    subject: str
    level: Level
    message: str
    field: str = ""

    def __str__(self) -> str:
        place = f"{self.field}: " if self.field else ""
        return f"{self.file}:{self.line}: {self.subject}: {place}{self.message}"


@dataclass(frozen=True)
class Known:
    """An object in force, and the document that says so."""

    value: Object = field(repr=False)
    document: Document


@dataclass(frozen=True)
class Understood:
    """What the documents say: objects, what is wrong with the others, and whose other versions are wrong."""

    objects: Mapping[Key, Known]
    findings: Sequence[Finding]
    refused: frozenset[Key]
    namespace_labels: Mapping[str, Mapping[str, str]]
    """Of each namespace that a document defines, by its name."""


@dataclass(frozen=True)
class Judged:
    """The route book, and what is said of each object."""

    book: Book
    findings: Sequence[Finding]


_MODELS: dict[str, type[Webhook] | type[EventType] | type[Dispatcher]] = {
    "Webhook": Webhook,
    "EventType": EventType,
    "Dispatcher": Dispatcher,
}


def understand(documents: Iterable[Document], unreadable: Iterable[Unreadable] = ()) -> Understood:
    """Read every document as what its kind says. Kinds that are not ours are noted and left alone."""
    objects: dict[Key, Known] = {}
    findings = [Finding(each.file, each.line, "file", Level.WRONG, each.message) for each in unreadable]
    refused: set[Key] = set()
    labels: dict[str, Mapping[str, str]] = {}
    for document in documents:
        key = _key(document)
        if document.kind == "Namespace" and document.data.get("apiVersion") == "v1":
            labels[key[2]] = _labels(document)
            continue
        if not _is_ours(document):
            findings.append(_said(document, Level.NOTE, f"{document.kind or 'no kind'} is not Hookline's{LEFT_ALONE}"))
            continue
        if key in objects:
            first = objects[key].document
            message = f"is defined a second time; the first is at {first.file}:{first.line}, keep one of them"
            findings.append(_said(document, Level.WRONG, message))
            continue
        problems = _read_into(objects, key, document)
        if problems:
            refused.add(key)
            findings += [_said(document, Level.WRONG, each.message, each.path) for each in problems]
    return Understood(objects, findings, frozenset(refused), labels)


def keep_last_good(now: Understood, before: Mapping[Key, Known], broken_files: Iterable[Path]) -> dict[Key, Known]:
    """Objects in force: those of now, and of before where the new version is refused or its file cannot be read."""
    broken = set(broken_files)
    kept = {key: known for key, known in before.items() if key in now.refused or known.document.file in broken}
    return {**kept, **now.objects}


def judge(
    objects: Mapping[Key, Known],
    *,
    allow_cidrs: Sequence[str] = (),
    refused: Iterable[Key] = (),
    dispatcher: str = "",
    namespace_labels: Mapping[str, Mapping[str, str]] | None = None,
    keys_before: Mapping[str, Keys] | None = None,
    now_s: float = 0.0,
    one_server: bool = True,
) -> Judged:
    """Decide every Webhook. With `dispatcher`, the book holds the Webhooks of that Dispatcher only.

    `refused` are Webhooks of which no valid version is known: the deliveries that they had wait. `keys_before`, by uid,
    are those in force until `now_s` (Unix time): a signing key that is replaced signs on for a while. With `one_server`
    streams have one copy, whatever the Dispatcher says.
    """
    before = keys_before or {}
    types, findings = _types(objects)
    catalogue = Catalogue([each.spec() for each in types])
    dispatchers = {"default": _default_dispatcher(), **_dispatchers(objects)}
    policies = {name: _record(each, allow_cidrs, one_server=one_server).policy() for name, each in dispatchers.items()}
    around = Surroundings(
        secrets={(each.namespace, each.name): each for each in _secrets(objects)},
        catalogue=catalogue,
        dispatchers=dispatchers,
        policies=policies,
        namespace_labels=_all_labels(objects, namespace_labels or {}),
    )
    entries: list[tuple[Route, Keys]] = []
    for known in objects.values():
        if isinstance(known.value, Webhook):
            verdict = decide(known.value, around)
            mine = dispatcher in ("", known.value.spec.dispatcher)
            keys = rotated(before.get(verdict.keys.uid), verdict.keys, now_s)
            findings.append(_webhook_finding(known, verdict, mine=mine, dispatcher=dispatcher))
            findings += [_said(known.document, Level.OK, line) for line in _public_keys(keys, now_s) if mine]
            if mine:
                entries.append((verdict.route, keys))
        elif not isinstance(known.value, EventType):
            findings.append(_said(known.document, Level.OK, _summary(known.value)))
    entries += [held(namespace, name) for kind, namespace, name in refused if kind == "Webhook"]
    record = _record(dispatchers[dispatcher or "default"], allow_cidrs, one_server=one_server)
    return Judged(book_of(entries, record, types), findings)


def _is_ours(document: Document) -> bool:
    version = text(document.data.get("apiVersion"))
    if document.kind == "Secret":
        return version == "v1"
    return document.kind in _MODELS and version.split("/")[0] == API_VERSION.split("/")[0]


def _key(document: Document) -> Key:
    metadata = document.data.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    namespace = "" if document.kind == "EventType" else text(metadata.get("namespace")) or "default"
    return document.kind, namespace, text(metadata.get("name"))


def _labels(document: Document) -> dict[str, str]:
    metadata = document.data.get("metadata")
    labels = metadata.get("labels") if isinstance(metadata, Mapping) else None
    return {text(name): text(value) for name, value in labels.items()} if isinstance(labels, Mapping) else {}


def _all_labels(objects: Iterable[Key], defined: Mapping[str, Mapping[str, str]]) -> dict[str, Mapping[str, str]]:
    """With the label that every cluster gives to each namespace."""
    namespaces = {namespace for _, namespace, _ in objects if namespace} | defined.keys()
    return {each: {**defined.get(each, {}), "kubernetes.io/metadata.name": each} for each in namespaces}


def _read_into(objects: dict[Key, Known], key: Key, document: Document) -> list[Problem]:
    try:
        value = _object(document)
    except ValidationError as error:
        return problems_of(error)
    except SecretProblem as error:
        return [error.problem]
    problems = _schema_problems(value) if isinstance(value, EventType) else []
    if not problems:
        objects[key] = Known(value, document)
    return problems


def _object(document: Document) -> Object:
    if document.kind == "Secret":
        return Secret.of_manifest(document.data)
    return _MODELS[document.kind].model_validate(dict(document.data))


def _schema_problems(value: EventType) -> list[Problem]:
    found = schemas.check_schema(value.spec.schema_)
    return [Problem(("spec", "schema"), f"{each.place}: {each.message}") for each in found]


def _said(document: Document, level: Level, message: str, path: FieldPath = ()) -> Finding:
    kind, namespace, name = _key(document)
    subject = f"{kind or 'document'} {f'{namespace}/' if namespace else ''}{name or '(without a name)'}"
    return Finding(document.file, document.line_of(path), subject, level, message, Problem(path, "").field)


def _webhook_finding(known: Known, verdict: Verdict, *, mine: bool, dispatcher: str) -> Finding:
    webhook, ready = known.value, verdict.ready
    assert isinstance(webhook, Webhook)
    if not mine:
        other = webhook.spec.dispatcher
        message = f"is for the Dispatcher {other}; this is {dispatcher}, so it is not delivered here"
        return _said(known.document, Level.NOTE, message, ("spec", "dispatcher"))
    if ready.status == "True":
        return _said(known.document, Level.OK, f"{ready.reason}: {ready.message}")
    path: FieldPath = ("spec", *_field_in(ready.message)) if verdict.accepted.status != "True" else ("spec",)
    if len(path) == 1:
        return _said(known.document, Level.WAITING, f"{ready.reason}: {ready.message}")
    # The finding names the field itself.
    message = ready.message.removeprefix(f"spec.{path[1]}: ")
    return _said(known.document, Level.WAITING, f"{ready.reason}: {message}", path)


def _public_keys(keys: Keys, now_s: float) -> list[str]:
    """For receivers that verify with a public key: which one, and until when the one before."""
    return [
        f"receivers verify v1a signatures with {each.text}"
        + ("" if each.until_s is None else f", the key before, until {_stamp(each.until_s)}")
        for each in keys.public_keys_at(now_s)
    ]


def _stamp(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat().replace("+00:00", "Z")


def _field_in(message: str) -> FieldPath:
    """The field that a condition's message begins with, as in `spec.url: …`."""
    name, found, _ = message.removeprefix("spec.").partition(":")
    return (name,) if found and message.startswith("spec.") else ()


def _types(objects: Mapping[Key, Known]) -> tuple[list[TypeRecord], list[Finding]]:
    types: list[TypeRecord] = []
    findings: list[Finding] = []
    for known in objects.values():
        if isinstance(known.value, EventType):
            spec = known.value.spec
            types.append(
                TypeRecord(
                    name=spec.event, description=spec.description, validation=spec.validation, schema_=spec.schema_
                )
            )
            findings.append(_said(known.document, Level.OK, f"Accepted: events of type {spec.event} may be published"))
    return types, findings


def _dispatchers(objects: Mapping[Key, Known]) -> dict[str, Dispatcher]:
    return {each.value.metadata.name: each.value for each in objects.values() if isinstance(each.value, Dispatcher)}


def _secrets(objects: Mapping[Key, Known]) -> list[Secret]:
    return [each.value for each in objects.values() if isinstance(each.value, Secret)]


def _summary(value: Object) -> str:
    if isinstance(value, Secret):
        return "lent to Webhooks" if value.lent else "not lent to Webhooks (it has no such label): not used"
    return "Accepted"


def _default_dispatcher() -> Dispatcher:
    manifest = {"apiVersion": API_VERSION, "kind": "Dispatcher", "metadata": {"name": "default"}, "spec": {}}
    return Dispatcher.model_validate(manifest)


def _record(dispatcher: Dispatcher, allow_cidrs: Sequence[str], *, one_server: bool) -> DispatcherRecord:
    record = record_of(dispatcher)
    return record.model_copy(
        update={
            "allow_cidrs": (*record.allow_cidrs, *allow_cidrs),
            # Receivers on this machine share its addresses.
            "allow_own": True,
            **({"stream_replicas": 1} if one_server else {}),
        }
    )
