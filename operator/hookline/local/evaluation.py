"""From manifests in files to a route book: what the operator does in a cluster, done for one machine.

Decides what each document means, what is said of it, and what stays in force while a document is wrong: the version
before, as in a cluster, where the API server refuses the new one. Reads and writes no files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path

from pydantic import ValidationError

from hookline.events.envelope import stamp_to_the_second
from hookline.events.explain import quoted
from hookline.events.schemas import Catalogue
from hookline.local.manifests import Document, Unreadable, text
from hookline.resources.base import API_VERSION, ObjectMeta, problems_of
from hookline.resources.dispatcher import Dispatcher
from hookline.resources.eventtype import EventType
from hookline.resources.problems import Path as FieldPath
from hookline.resources.problems import Problem
from hookline.resources.reasons import ReplayReason
from hookline.resources.replay import Replay
from hookline.resources.webhook import Webhook
from hookline.routing.acceptance import accept_dispatchers, accept_types, record_of_type, type_problems
from hookline.routing.publisher_tokens import publisher_token
from hookline.routing.routes import Book, DispatcherRecord, Keys, Route, RouteState, TypeRecord, book_of, rotated
from hookline.routing.secret import Secret, SecretProblem
from hookline.routing.type_changes import compatible
from hookline.routing.verdict import Condition, Surroundings, Verdict, decide, held, record_of

_MAX_NAME_LENGTH = 253
_MAX_LISTED = 5

LEFT_ALONE = ": left alone"
"""How a finding about a document ends that is none of ours."""

_SCHEMA = ("spec", "schema")
_NOTHING = "nothing of it is in force"

Key = tuple[str, str, str]
"""Kind, namespace (empty for EventTypes) and name."""


@dataclass(frozen=True)
class Namespace:
    """What counts of a Namespace manifest: its labels, by which Dispatchers choose whom they serve."""

    labels: Mapping[str, str]


Object = Webhook | EventType | Dispatcher | Replay | Secret | Namespace


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    NOTE = "note"
    WAITING = "waiting"
    """Taken, but not delivered: something else is missing."""
    WRONG = "wrong"
    """A cluster would refuse the document."""


_BAD = (Level.WAITING, Level.WRONG)


@dataclass(frozen=True)
class Finding:
    """One line for the person who wrote a manifest."""

    file: Path
    line: int
    subject: str
    level: Level
    message: str
    field: str = ""
    key: Key | None = None
    """The object that it is about, if it is about one."""

    @property
    def about(self) -> Key | Path:
        """What must be put right when it is bad: an object, or a file as a whole."""
        return self.key or self.file

    @property
    def said(self) -> tuple[object, ...]:
        """The same for the same message: a line that moved is no news."""
        return self.file, self.subject, self.level, self.field, self.message

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
    unreadable: frozenset[Path]


@dataclass(frozen=True)
class Evaluated:
    """The route book, and what is said of each object."""

    book: Book
    findings: Sequence[Finding]


_MODELS: dict[str, type[Webhook] | type[EventType] | type[Dispatcher] | type[Replay]] = {
    "Webhook": Webhook,
    "EventType": EventType,
    "Dispatcher": Dispatcher,
    "Replay": Replay,
}


def understand(documents: Iterable[Document], unreadable: Iterable[Unreadable] = ()) -> Understood:
    """Read every document as what its kind says. Kinds that are not ours are noted and left alone."""
    unreadable = list(unreadable)
    objects: dict[Key, Known] = {}
    findings = [Finding(each.file, each.line, "file", Level.WRONG, each.message) for each in unreadable]
    refused: set[Key] = set()
    for document in documents:
        key, misspelt = _meant(document)
        if key is None:
            findings.append(
                _said(document, Level.NOTE, f"{_shown(document.kind) or 'no kind'} is not Hookline's{LEFT_ALONE}")
            )
            continue
        if key in objects:
            first = objects[key].document
            message = f"is defined a second time; the first, at {first.file}:{first.line}, counts. Keep one of them"
            findings.append(_said(document, Level.WRONG, message))
            continue
        problems = [misspelt] if misspelt else _read_into(objects, key, document)
        if problems:
            refused.add(key)
            findings += [_said(document, Level.WRONG, each.message, each.path, key) for each in problems]
    refused -= objects.keys()
    return Understood(objects, findings, frozenset(refused), frozenset(each.file for each in unreadable))


def keep_last_good(now: Understood, before: Mapping[Key, Known], gone: Iterable[Path] = ()) -> dict[Key, Known]:
    """Objects in force: those of now, and of before where the new version is refused or its file cannot be read.

    `gone` are files that may be there again at the next look, such as while an editor saves.
    """
    broken = now.unreadable | set(gone)
    kept = {key: known for key, known in before.items() if key in now.refused or known.document.file in broken}
    return {**kept, **now.objects}


def missing(path: Path) -> Finding:
    """Of a file or folder that was named and is not there."""
    return Finding(path, 1, "file", Level.WAITING, "is not there: what it held is no longer in force")


def changed_types(now: Mapping[Key, Known], in_force: Mapping[Key, Known]) -> list[Finding]:
    """What the EventTypes of now mean for those who publish and receive by the ones in force, where they differ."""
    return [
        _said(known.document, Level.NOTE, f"Compatible={found.status}, {found.reason}: {found.message}", _SCHEMA)
        for known, former in ((known, in_force.get(key)) for key, known in now.items())
        if isinstance(known.value, EventType)
        and former is not None
        and isinstance(former.value, EventType)
        and (found := _compatible(former.value, known.value)).status != "True"
    ]


def _compatible(former: EventType, new: EventType) -> Condition:
    return compatible(record_of_type(former).spec(), record_of_type(new).spec())


def with_what_stays(
    now: Understood, in_force: Mapping[Key, Known], routes_before: Mapping[str, Route], *, blind: bool
) -> list[Finding]:
    """The findings over the documents, each with what is in force instead: said once for each object and file.

    `routes_before` are those of the book, by title, and `blind` is as for `judge`.
    """
    before = [("Webhook", each.namespace, each.name) for each in routes_before.values() if each.url]
    waiting = [key for key in before if key not in in_force and (blind or key in now.refused)]
    said: set[object] = set()
    return [_with_what_stays(each, now, in_force, waiting, said) for each in now.findings]


def _with_what_stays(
    finding: Finding, now: Understood, in_force: Mapping[Key, Known], waiting: Sequence[Key], said: set[object]
) -> Finding:
    if finding.about in said or not (finding.key is None or finding.key in now.refused):
        return finding
    said.add(finding.about)
    stays = (
        _stays_of_file(finding.file, now, in_force, waiting)
        if finding.key is None
        else _stays_of_object(finding.key, in_force, waiting)
    )
    return replace(finding, message=f"{finding.message} ({stays})")


def _stays_of_file(file: Path, now: Understood, in_force: Mapping[Key, Known], waiting: Sequence[Key]) -> str:
    kept = [key for key, known in in_force.items() if known.document.file == file and key not in now.objects]
    if kept:
        return f"what it held stays in force: {_listed(kept)}"
    return f"Webhooks from before that no other file holds wait: {_listed(waiting)}" if waiting else _NOTHING


def _stays_of_object(key: Key, in_force: Mapping[Key, Known], waiting: Sequence[Key]) -> str:
    if key in in_force:
        return "the version before stays in force"
    if key[0] != "Webhook":
        return "Webhooks that need it wait"
    return "what it had waits" if key in waiting else _NOTHING


def news(before: Sequence[Finding], now: Sequence[Finding]) -> list[Finding]:
    """What a person is told after a change: what was not said before, and that what was wrong is right again."""
    said = {each.said for each in before}
    mended = {each.about for each in before if each.level in _BAD} - {each.about for each in now if each.level in _BAD}
    read_again = sorted({each.file for each in now if each.file in mended})
    return [
        *(Finding(file, 1, "file", Level.OK, "is read again") for file in read_again),
        *(each for each in now if each.level is not Level.NOTE and (each.said not in said or each.about in mended)),
    ]


def evaluate(
    objects: Mapping[Key, Known],
    *,
    allow_cidrs: Sequence[str] = (),
    refused: Iterable[Key] = (),
    blind: bool = False,
    dispatcher: str = "",
    routes_before: Mapping[str, Route] | None = None,
    keys_before: Mapping[str, Keys] | None = None,
    now_s: float = 0.0,
    one_server: bool = True,
    stream_prefix: str | None = None,
) -> Evaluated:
    """Decide every Webhook. With `dispatcher`, the book holds the Webhooks of that Dispatcher only.

    `refused` are objects of which no valid version is known, and with `blind` there is a file of which nothing is:
    Webhooks that they are, or that need them, wait with the route and the keys that they had, in `routes_before` (by
    title) and `keys_before` (by uid, in force until `now_s`, Unix time). A signing key that is replaced signs on for a
    while. With `one_server` streams have one copy, and with `stream_prefix` they have this prefix, whatever the
    Dispatcher says. Without `dispatcher`, which NATS each Dispatcher uses is judged too, as in a cluster.
    """
    before = _Before(routes_before or {}, keys_before or {})
    refused = frozenset(refused)
    findings: list[Finding] = []
    types = _types(objects, findings)
    catalogue = Catalogue([each.spec() for each in types])
    dispatchers = _dispatchers(objects, findings, may_share_nats=bool(dispatcher))
    policies = {name: _record(each, allow_cidrs, one_server=one_server).policy() for name, each in dispatchers.items()}
    around = Surroundings(
        secrets={(each.namespace, each.name): each for each in _secrets(objects)},
        catalogue=catalogue,
        dispatchers=dispatchers,
        policies=policies,
        namespace_labels=_all_labels(objects),
    )
    entries: dict[str, tuple[Route, Keys]] = {}
    for known in objects.values():
        if isinstance(known.value, Webhook):
            verdict = decide(known.value, around)
            mine = dispatcher in ("", known.value.spec.dispatcher)
            keys = rotated(before.keys.get(verdict.keys.uid), verdict.keys, now_s)
            findings.append(_webhook_finding(known, verdict, mine=mine, dispatcher=dispatcher))
            findings += [_said(known.document, Level.OK, line) for line in _public_keys(keys, now_s) if mine]
            if mine:
                in_doubt = verdict.ready.status != "True" and (blind or _needs(known.value, refused))
                title = verdict.route.title
                entries[title] = before.waiting(title) if in_doubt and title in before.routes else (verdict.route, keys)
        elif isinstance(known.value, Secret):
            findings.append(_secret_finding(known.document, known.value))
        elif isinstance(known.value, Replay):
            findings.append(_replay_finding(known, known.value, objects))
    unknown = {
        f"{namespace}/{name}" for kind, namespace, name in refused if kind == "Webhook" and _names(namespace, name)
    }
    defined = {f"{namespace}/{name}" for kind, namespace, name in objects if kind == "Webhook"}
    for title in (unknown | before.routes.keys() if blind else unknown) - defined:
        entries[title] = before.waiting(title)
    sender = dispatchers.get(dispatcher or "default") or _default_dispatcher()
    record = _record(sender, allow_cidrs, one_server=one_server)
    if stream_prefix is not None:
        record = record.model_copy(update={"stream_prefix": stream_prefix})
    return Evaluated(book_of(entries.values(), record, types), findings)


@dataclass(frozen=True)
class _Before:
    """What was in force before, also before a restart: routes by title, keys by uid."""

    routes: Mapping[str, Route]
    keys: Mapping[str, Keys] = field(repr=False)

    def waiting(self, title: str) -> tuple[Route, Keys]:
        """A Webhook that waits as it was. One that was never in force hears nothing either: its event is not known."""
        route = self.routes.get(title)
        if route is None or route.uid not in self.keys:
            return held(*title.split("/", 1))
        state = RouteState.DISABLED if route.state is RouteState.DISABLED else RouteState.HELD
        return route.model_copy(update={"state": state, "paused": False}), self.keys[route.uid]


def _names(namespace: str, name: str) -> bool:
    """Whether a refused document has names that an object may have: with others it never had anything."""
    try:
        ObjectMeta.model_validate({"namespace": namespace, "name": name})
    except ValidationError:
        return False
    return True


def _needs(webhook: Webhook, refused: frozenset[Key]) -> bool:
    """Whether a Webhook is not ready perhaps only because of a document that is refused."""
    spec, namespace = webhook.spec, webhook.metadata.namespace
    needed = {("Secret", namespace, name) for name in spec.secret_names()} | {("EventType", "", spec.event.lower())}
    return not refused.isdisjoint(needed) or any(
        kind == "Dispatcher" and name == spec.dispatcher for kind, _, name in refused
    )


_CORE = ("Secret", "Namespace")
_KINDS = (*_MODELS, *_CORE)
_WITHOUT_NAMESPACE = ("EventType", "Namespace")
_GROUP = API_VERSION.split("/", maxsplit=1)[0]


def _meant(document: Document) -> tuple[Key | None, Problem | None]:
    """The object that a document is or was meant to be, None for those of others, and what is misspelt.

    The API server refuses a kind that it does not know: to pass one over would take out the Webhook that it was.
    """
    version, kind = text(document.data.get("apiVersion")), document.kind
    group, slash, _ = version.partition("/")
    meant = next((each for each in _KINDS if each.lower() == kind.lower()), "")
    if group.lower() == _GROUP:
        meant = meant or next(iter(get_close_matches(kind, _MODELS, n=1)), "")
    elif not meant or (slash and not (meant in _MODELS and get_close_matches(group, [_GROUP], cutoff=0.75))):
        return None, None
    key = _key(document, meant or kind)
    api = "v1" if meant in _CORE else API_VERSION
    if not meant or meant != kind:
        hint = f"did you mean {meant}?" if meant else f"its kinds are {', '.join(_MODELS)}"
        return key, Problem(("kind",), f"is not a kind of {api}; {hint}")
    right = version == api if meant in _CORE else group == _GROUP
    return key, None if right else Problem(("apiVersion",), f"must be {api}; write apiVersion: {api}")


def _key(document: Document, kind: str) -> Key:
    metadata = document.data.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    namespace = "" if kind in _WITHOUT_NAMESPACE else text(metadata.get("namespace")) or "default"
    return kind, namespace, text(metadata.get("name"))


def _labels(document: Document) -> dict[str, str]:
    metadata = document.data.get("metadata")
    labels = metadata.get("labels") if isinstance(metadata, Mapping) else None
    return {text(name): text(value) for name, value in labels.items()} if isinstance(labels, Mapping) else {}


def _all_labels(objects: Mapping[Key, Known]) -> dict[str, Mapping[str, str]]:
    """Of each namespace, with the label that every cluster gives to it."""
    defined = {key[2]: known.value.labels for key, known in objects.items() if isinstance(known.value, Namespace)}
    namespaces = {namespace for _, namespace, _ in objects if namespace} | defined.keys()
    return {each: {**defined.get(each, {}), "kubernetes.io/metadata.name": each} for each in namespaces}


def _read_into(objects: dict[Key, Known], key: Key, document: Document) -> list[Problem]:
    try:
        value = _object(document, key[0])
    except ValidationError as error:
        return problems_of(error)
    except SecretProblem as error:
        return [error.problem]
    problems = _type_problems(value) if isinstance(value, EventType) else []
    if not problems:
        objects[key] = Known(value, document)
    return problems


def _object(document: Document, kind: str) -> Object:
    if kind == "Secret":
        return Secret.of_manifest(document.data)
    if kind == "Namespace":
        return Namespace(_labels(document))
    return _MODELS[kind].model_validate(dict(document.data))


def _type_problems(value: EventType) -> list[Problem]:
    reason, problems = type_problems(value)
    return [Problem(each.path, f"{reason}: {each.message}") for each in problems]


def _said(document: Document, level: Level, message: str, path: FieldPath = (), key: Key | None = None) -> Finding:
    key = key or _key(document, document.kind)
    subject = f"{_titled((document.kind, *key[1:]))}"
    return Finding(document.file, document.line_of(path), subject, level, message, Problem(path, "").field, key)


def _titled(key: Key) -> str:
    kind, namespace, name = map(_shown, key)
    return f"{kind or 'document'} {f'{namespace}/' if namespace else ''}{name or '(without a name)'}"


def _shown(name: str) -> str:
    """A name that nobody has checked yet: a terminal would obey what some hold."""
    return name if name.isprintable() and len(name) <= _MAX_NAME_LENGTH else quoted(name)


def _listed(keys: Sequence[Key]) -> str:
    shown = ", ".join(map(_titled, keys[:_MAX_LISTED]))
    return shown if len(keys) <= _MAX_LISTED else f"{shown} and {len(keys) - _MAX_LISTED} more"


def _webhook_finding(known: Known, verdict: Verdict, *, mine: bool, dispatcher: str) -> Finding:
    webhook, ready = known.value, verdict.ready
    assert isinstance(webhook, Webhook)
    if not mine:
        other = webhook.spec.dispatcher
        message = f"is for the Dispatcher {other}; this is {dispatcher}, so it is not delivered here"
        return _said(known.document, Level.NOTE, message, ("spec", "dispatcher"))
    if ready.status == "True":
        return _said(known.document, Level.OK, f"{ready.reason}: {ready.message}")
    if verdict.accepted.status == "True":
        return _said(known.document, Level.WAITING, f"{ready.reason}: {ready.message}")
    return _not_accepted(known, verdict.accepted)


def _not_accepted(known: Known, accepted: Condition) -> Finding:
    """The finding names the field itself."""
    field_path = _field_in(accepted.message)
    message = accepted.message.removeprefix(f"{Problem(field_path, '').field}: ")
    return _said(known.document, Level.WAITING, f"{accepted.reason}: {message}", field_path)


def _public_keys(keys: Keys, now_s: float) -> list[str]:
    """For receivers that verify with a public key: which one, and until when the one before."""
    return [
        f"receivers verify v1a signatures with {each.text}"
        + ("" if each.until_s is None else f", the key before, until {stamp_to_the_second(each.until_s)}")
        for each in keys.public_keys_at(now_s)
    ]


def _field_in(message: str) -> FieldPath:
    """The field that a condition's message begins with, as in `spec.url: …`."""
    name, found, _ = message.removeprefix("spec.").partition(":")
    return ("spec", name) if found and message.startswith("spec.") else ()


def _types(objects: Mapping[Key, Known], findings: list[Finding]) -> list[TypeRecord]:
    """Those that may be used; what is said of each goes to the findings. By name, as of objects made at one time."""
    there = {key[2]: (known, known.value) for key, known in objects.items() if isinstance(known.value, EventType)}
    accepted, types = accept_types({name: there[name][1] for name in sorted(there)})
    for name, (known, value) in there.items():
        fine = f"Accepted: events of type {value.spec.event} may be published"
        findings.append(_accepted_finding(known, accepted[name], fine))
    return types


def _dispatchers(
    objects: Mapping[Key, Known], findings: list[Finding], *, may_share_nats: bool
) -> dict[str, Dispatcher]:
    """Those that work, by name; what is said of each goes to the findings.

    Each namespace is that of an installation of its own. Without a `default` there is the one that installing makes.
    """
    there = {key: (known, known.value) for key, known in objects.items() if isinstance(known.value, Dispatcher)}
    accepted: dict[Key, Condition] = {}
    for namespace in {key[1] for key in there}:
        keys = {key[2]: key for key in sorted(there) if key[1] == namespace}
        dispatchers = {name: there[key][1] for name, key in keys.items()}
        conditions = accept_dispatchers(dispatchers, may_share_nats=may_share_nats)
        accepted |= {keys[name]: condition for name, condition in conditions.items()}
    findings += [_accepted_finding(known, accepted[key], "Accepted") for key, (known, _) in there.items()]
    working = {key[2]: value for key, (_, value) in there.items() if accepted[key].status == "True"}
    return working if any(key[2] == "default" for key in there) else {"default": _default_dispatcher(), **working}


def _accepted_finding(known: Known, accepted: Condition, fine: str) -> Finding:
    return _said(known.document, Level.OK, fine) if accepted.status == "True" else _not_accepted(known, accepted)


def _secrets(objects: Mapping[Key, Known]) -> list[Secret]:
    return [each.value for each in objects.values() if isinstance(each.value, Secret)]


def _secret_finding(document: Document, secret: Secret) -> Finding:
    token = publisher_token(secret, document.data["metadata"].get("annotations") or {})
    if isinstance(token, Problem):
        return _said(document, Level.WAITING, f"no gateway takes its token: {token.message}", token.path)
    uses = [
        *(["allowed for Webhooks"] if secret.allowed else []),
        *([f"a token to publish with for {token.namespace}, in a cluster"] if token is not None else []),
    ]
    return _said(document, Level.OK, "; ".join(uses) or "not allowed for Webhooks (it has no such label): not used")


def _replay_finding(known: Known, replay: Replay, objects: Mapping[Key, Known]) -> Finding:
    """Of one file nothing is replayed: it says what a cluster would do, where somebody makes it on purpose."""
    spec, namespace = replay.spec, replay.metadata.namespace
    webhooks = [
        each.value
        for key, each in objects.items()
        if isinstance(each.value, Webhook) and key[1] == namespace and spec.means(key[2], each.value.metadata.labels)
    ]
    if not webhooks:
        message = f"{ReplayReason.WEBHOOK_NOT_FOUND}: these files hold no such Webhook in its namespace"
        return _said(known.document, Level.WAITING, message)
    return _said(known.document, Level.OK, "is valid; a cluster runs it, here `hookline replay` does")


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
