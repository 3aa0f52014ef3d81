"""Which event types there are, and whether a body or a schema is right.

Decides: the catalogue (the built-in types, and those of EventType resources), whether a body satisfies the schema of
its type, and whether an EventType's schema can be used. Pure: no network and no file is ever touched, so a `$ref` that
leaves its schema is a problem of the schema. How problems are told is in explain.py, what counts as JSON in
strictjson.py.

A schema is trusted as far as time and memory go: a pattern or a chain of references that takes for ever is not cut
short. EventTypes are written by administrators, and only who publishes holds bodies against them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import Any, Literal

from jsonschema.protocols import Validator
from jsonschema.validators import (
    Draft4Validator,
    Draft6Validator,
    Draft7Validator,
    Draft201909Validator,
    Draft202012Validator,
)
from referencing.exceptions import Unresolvable
from referencing.jsonschema import EMPTY_REGISTRY, specification_with

from hookline.events import builtin_events, keywords, notices, patterns, strictjson
from hookline.events.acceptor import Accepts, acceptor
from hookline.events.explain import (
    NEAREST_CHARACTERS,
    NO_SCHEMA,
    NOT_JSON,
    BodyProblem,
    Finding,
    Path,
    explained,
    nearest,
    quoted,
    to_problems,
)

__all__ = [
    "EVENT_NAME_MAX_LENGTH",
    "EVENT_NAME_PATTERN",
    "BodyProblem",
    "Catalogue",
    "EventTypeSpec",
    "UnknownEvent",
    "check_sample",
    "check_schema",
    "is_event_name",
]

EVENT_NAME_PATTERN = r"^[A-Za-z][A-Za-z0-9]*([.-][A-Za-z0-9]+)*$"
"""The name of an event type. Its lower case is a DNS-1123 subdomain, because it names the EventType object."""

EVENT_NAME_MAX_LENGTH = 128

_EVENT_NAME = re.compile(EVENT_NAME_PATTERN)

_UNKNOWN_NAMES = 256
"""Of which the nearest names are remembered. A producer with a wrong name sends it with each event, and to look for
near ones costs 10 ms where there are 500 types."""

MAX_SAMPLE_BYTES = 16 * 1024
"""Of a sample as JSON. It travels to every sender and publisher with its schema."""

# By their names without the empty fragment that draft-04 to draft-07 write at the end.
_DRAFTS: dict[str, type[Validator]] = {
    "http://json-schema.org/draft-04/schema": Draft4Validator,
    "http://json-schema.org/draft-06/schema": Draft6Validator,
    "http://json-schema.org/draft-07/schema": Draft7Validator,
    "https://json-schema.org/draft/2019-09/schema": Draft201909Validator,
    "https://json-schema.org/draft/2020-12/schema": Draft202012Validator,
}
_CHECKS = {uri: keywords.standard(draft) for uri, draft in _DRAFTS.items()}
_LATEST = "https://json-schema.org/draft/2020-12/schema"

_MAX_ERRORS = 200  # collected before they are put in order; a body of 256 KiB can have 100,000


# jsonschema calls itself for every level of a body and for every schema that it applies there, and its references are
# looked up in native code that ends the process when the stack of Python overflows. So no schema may come near: levels
# of a body x frames on each level = 33 x 20 = 660 of the 1,000 frames there are. A step into a body takes 3 frames, a
# schema applied at the same place 2, or what _FRAMES says of its keyword.
_MAX_FRAMES = 20
_FRAMES = {"not": 3, "if": 3}
_MAX_LEVELS = 64
_MAX_NODES = 20_000

# What jsonschema raises for schemas that mix keywords of two drafts, such as `items: true` with `additionalItems`.
UNCHECKABLE = (RecursionError, AttributeError, TypeError, ValueError)
_NOT_APPLICABLE = "cannot be applied; it may use keywords of another draft than the one it names"


@dataclass(frozen=True)
class EventTypeSpec:
    """An event type: built in, or from an EventType resource. `schema` is a JSON Schema, draft-04 or later."""

    name: str
    schema: Mapping[str, Any] = field(repr=False)
    validation: Literal["Enforce", "Warn", "Ignore"] = "Enforce"
    description: str = ""
    builtin: bool = False
    sample: Any = field(default=None, repr=False)
    """One body, of an EventType resource that has one; None without."""
    deprecated: str = ""
    """Why it should no longer be used, and what to use instead; empty as long as it should."""


class UnknownEvent(LookupError):
    """There is no event type of this name. `nearest` holds up to three that resemble it."""

    def __init__(self, name: str, nearest: tuple[str, ...] = ()) -> None:
        self.name = name
        self.nearest = nearest
        hint = f"; the nearest: {', '.join(nearest)}" if nearest else ""
        super().__init__(
            f"there is no event type {quoted(name)}{hint} (`hookline events list` shows the built-in ones)"
        )


class Catalogue:
    """The event types there are: the built-in ones and the given ones, which replace built-in ones of the same name."""

    def __init__(self, custom: Iterable[EventTypeSpec] = ()) -> None:
        self._types = {spec.name: spec for spec in (*_builtin(), *custom)}
        self._compiled: dict[str, _Compiled | Finding] = {}
        types = self._types
        self._nearest = lru_cache(_UNKNOWN_NAMES)(lambda name: nearest(name, types))

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._types))

    def __contains__(self, name: object) -> bool:
        return name in self._types

    def get(self, name: str) -> EventTypeSpec:
        """The event type of exactly this name. Raises UnknownEvent, which names what the caller may have meant."""
        if name not in self._types:
            raise UnknownEvent(name, self._nearest(name[:NEAREST_CHARACTERS]))
        return self._types[name]

    def find(self, name: str) -> EventTypeSpec | None:
        """The event type of exactly this name, if there is one."""
        return self._types.get(name)

    def check(self, name: str, body: bytes) -> tuple[BodyProblem, ...]:
        """What is wrong with a body of this type, at most ten problems. Raises UnknownEvent, and nothing else.

        What is not strict JSON is refused whatever the type says. Problems against the schema refuse under `Enforce`
        only; with `Ignore` the schema is not looked at.
        """
        spec = self.get(name)
        value, findings = strictjson.read(body)
        if findings or spec.validation == "Ignore":
            return to_problems(findings)
        findings = self._against_schema(spec, value)
        return to_problems(findings, refuses=spec.validation == "Enforce") if findings else ()

    def _against_schema(self, spec: EventTypeSpec, value: Any) -> list[Finding]:
        if spec.name not in self._compiled:
            self._compiled[spec.name] = _compile(spec)
        compiled = self._compiled[spec.name]
        if isinstance(compiled, Finding):
            return [compiled]
        try:
            if compiled.accepts(value):
                return []
            errors = islice(compiled.validator.iter_errors(value), _MAX_ERRORS)
            return [found for error in errors for found in explained(error)]
        except UNCHECKABLE:
            return [Finding((), NO_SCHEMA, f"cannot be checked: the schema of {spec.name} {_NOT_APPLICABLE}")]


def is_event_name(name: str) -> bool:
    """Whether an event type may be called so. Names of event types stand in subjects of NATS and in headers."""
    return len(name) <= EVENT_NAME_MAX_LENGTH and _EVENT_NAME.fullmatch(name) is not None


def check_schema(schema: Mapping[str, Any]) -> tuple[BodyProblem, ...]:
    """What keeps a schema from being used, at most ten problems.

    It must be JSON of a reasonable size, name a known draft (the latest when it names none), be valid against that
    draft, have regular expressions of ECMA-262, and refer only to places in itself, and not in circles that
    never step into the body. Dynamic references are refused.
    """
    document = dict(schema)
    findings = _not_json(document) or _unknown_draft(document) or _invalid(document, document)
    findings = findings or list(_Inside(document).findings()) or _not_applicable(document)
    return to_problems(findings)


def check_sample(schema: Mapping[str, Any], sample: Any) -> tuple[BodyProblem, ...]:
    """What is wrong with a sample for a schema that can be used, at most ten problems.

    It is read and held against the schema as a body is, and whatever the type does with bodies that do not match. What
    would take long is not done, and is a problem: whoever asks has more to do.
    """
    findings = _not_sample(sample)
    if findings:
        return to_problems(findings)
    value, findings = strictjson.read(_encoded(sample))
    if findings:
        return to_problems(findings)
    try:
        with keywords.bounded():
            errors = islice(validator_of(dict(schema)).iter_errors(value), _MAX_ERRORS)
            return to_problems([found for error in errors for found in explained(error)])
    except keywords.TooCostly:
        words = "takes too long to be held against the schema; write simpler patterns, or no sample"
        return to_problems([Finding((), NO_SCHEMA, words)])
    except UNCHECKABLE:
        return to_problems([Finding((), NO_SCHEMA, f"cannot be checked: the schema {_NOT_APPLICABLE}")])


def _not_sample(sample: Any) -> list[Finding]:
    """As a schema, a sample is written in YAML, which has more than JSON."""
    nodes = list(_nodes({"": sample}))
    size_is_known = len(nodes) < _MAX_NODES and all(len(path) <= _MAX_LEVELS for path, _ in nodes)
    found = ((path[1:], _beyond_json(node)) for path, node in nodes)
    if size_is_known and (beyond := [Finding(path, NOT_JSON, message) for path, message in found if message]):
        return beyond
    if not size_is_known or len(_encoded(sample)) > MAX_SAMPLE_BYTES:
        words = f"takes more than {MAX_SAMPLE_BYTES // 1024} KiB as JSON, or is very deep; write a smaller one"
        return [Finding((), NOT_JSON, words)]
    return []


def _encoded(sample: Any) -> bytes:
    return json.dumps(sample, ensure_ascii=False, separators=(",", ":")).encode()


def _builtin() -> Iterator[EventTypeSpec]:
    for event in builtin_events.EVENTS:
        yield EventTypeSpec(
            event.name,
            builtin_events.schema_of(event),
            description=event.description,
            builtin=True,
            sample=builtin_events.sample_of(event),
        )
    for notice in notices.NOTICES:
        yield EventTypeSpec(
            notice.name,
            notices.schema_of(notice),
            description=notice.description,
            builtin=True,
            sample=notices.sample_of(notice),
        )


@dataclass(frozen=True, slots=True)
class _Compiled:
    """What says quickly that a body is right, and what says what is wrong with all others."""

    accepts: Accepts
    validator: Validator


def _compile(spec: EventTypeSpec) -> _Compiled | Finding:
    """How bodies of an event type are checked, or what is said of every body because its schema cannot be used."""
    problems = check_schema(spec.schema)
    if problems:
        first = problems[0]
        message = f"cannot be checked: the schema of {spec.name} is wrong: {first.place} {first.message}"
        return Finding((), NO_SCHEMA, message)
    document = dict(spec.schema)
    validator = validator_of(document)
    return _Compiled(acceptor(validator, draft_uri(document)), validator)


# ---- schemas ---------------------------------------------------------------------------------------------------------


def draft_uri(document: Mapping[str, Any]) -> Any:
    return document.get("$schema", _LATEST)


def _draft(document: Mapping[str, Any]) -> type[Validator]:
    return _DRAFTS[draft_uri(document).rstrip("#")]


def validator_of(document: dict[str, Any]) -> Validator:
    # A registry is given, though it is empty: without one, jsonschema fetches what a schema refers to.
    checks = _CHECKS[draft_uri(document).rstrip("#")]
    return checks(document, format_checker=keywords.FORMATS, registry=EMPTY_REGISTRY)


def _nodes(document: dict[str, Any]) -> Iterator[tuple[Path, Any]]:
    """Every value in a document with its path, at most _MAX_NODES and down to one below _MAX_LEVELS."""
    todo: list[tuple[Path, Any]] = [((), document)]
    for _ in range(_MAX_NODES):
        if not todo:
            return
        path, node = todo.pop()
        yield path, node
        if len(path) <= _MAX_LEVELS and isinstance(node, dict | list):
            members: Iterable[tuple[Any, Any]] = node.items() if isinstance(node, dict) else enumerate(node)
            todo.extend(((*path, name if isinstance(name, int) else str(name)), member) for name, member in members)


def _not_json(document: dict[str, Any]) -> list[Finding]:
    """YAML has more than JSON: dates, infinite numbers, names that are not strings, and aliases that go in circles."""
    nodes = list(_nodes(document))
    if len(nodes) == _MAX_NODES:
        words = f"has {_MAX_NODES} values or more (YAML aliases count wherever they stand); write a smaller one"
        return [Finding((), NO_SCHEMA, words)]
    if any(len(path) > _MAX_LEVELS for path, _ in nodes):
        words = f"nests deeper than {_MAX_LEVELS} levels; put inner schemas under definitions"
        return [Finding((), NO_SCHEMA, words)]
    return [Finding(path, NOT_JSON, message) for path, node in nodes if (message := _beyond_json(node))]


def _beyond_json(node: Any) -> str | None:
    if isinstance(node, dict):
        if all(isinstance(name, str) for name in node):
            return next(filter(None, map(strictjson.half_a_pair, node)), None)
        return "has a name that is no string; put it in quotes"
    if isinstance(node, str):
        return strictjson.half_a_pair(node)
    if isinstance(node, float) and not math.isfinite(node):
        return "is a number that JSON does not have"
    if node is None or isinstance(node, list | int | float):
        return None
    return f"is a {type(node).__name__}, which JSON does not have; put it in quotes"


def _unknown_draft(document: dict[str, Any]) -> list[Finding]:
    uri = draft_uri(document)
    if isinstance(uri, str) and uri.rstrip("#") in _DRAFTS:
        return []
    words = f"is not a draft of JSON Schema known here; write one of {', '.join(_DRAFTS)}"
    return [Finding(("$schema",), NO_SCHEMA, words)]


def _invalid(schema: Any, document: dict[str, Any], path: Path = ()) -> list[Finding]:
    """What the draft of the document says about a schema that stands at `path` of it."""
    draft = _draft(document)
    errors = draft(draft.META_SCHEMA, registry=EMPTY_REGISTRY).iter_errors(schema)
    found = (finding for error in islice(errors, _MAX_ERRORS) for finding in explained(error))
    return [finding._replace(path=(*path, *finding.path)) for finding in found]


def _not_applicable(document: dict[str, Any]) -> list[Finding]:
    """Tries the schema on a body of each kind, for what is valid and yet more than jsonschema can do."""
    validator = validator_of(document)
    bodies: tuple[Any, ...] = ({}, [], "", 0, None)
    try:
        for body in bodies:
            validator.is_valid(body)
    except UNCHECKABLE:
        return [Finding((), NO_SCHEMA, _NOT_APPLICABLE)]
    return []


class _Inside:
    """Walks all schemas that a valid document holds or refers to, for what the schema of its draft cannot say."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self._specification = specification_with(draft_uri(document))
        self._paths = {id(node): path for path, node in _nodes(document) if isinstance(node, dict)}
        root = self._specification.create_resource(document)
        # Schemas still to visit, each with the resolver that knows its base URI.
        self._todo: list[tuple[Any, Any]] = [(document, EMPTY_REGISTRY.resolver_with_root(root))]
        # For each visited schema those that it applies at the same place of the body, with the frames that this takes.
        self._beside: dict[int, list[tuple[int, int]]] = {}

    def findings(self) -> Iterator[Finding]:
        while self._todo:
            schema, resolver = self._todo.pop()
            if id(schema) not in self._beside:
                beside = _applied_beside(schema)
                self._beside[id(schema)] = [(id(each), frames) for each, frames in beside if isinstance(each, dict)]
                yield from self._visit(schema, resolver, self._paths[id(schema)])
        yield from self._circles()

    def _visit(self, schema: dict[str, Any], resolver: Any, path: Path) -> Iterator[Finding]:
        yield from _bad_patterns(schema, path)
        if schema.get("$schema", self._document.get("$schema")) != self._document.get("$schema"):
            words = "names another draft than the top of the schema does; leave it out"
            yield Finding((*path, "$schema"), NO_SCHEMA, words)
        for keyword in ("$dynamicRef", "$recursiveRef"):
            if keyword in schema:
                yield Finding((*path, keyword), NO_SCHEMA, "is not supported; write $ref")
        if "$ref" in schema:
            yield from self._follow(schema, resolver, path)
        yield from self._enter(schema, resolver)

    def _follow(self, schema: dict[str, Any], resolver: Any, path: Path) -> Iterator[Finding]:
        try:
            found = resolver.lookup(schema["$ref"])
        except (Unresolvable, AttributeError, TypeError, ValueError):  # the last three: malformed references and ids
            words = "must refer to a place in this schema, such as #/definitions/Name; nothing is fetched"
            yield Finding((*path, "$ref"), NO_SCHEMA, words)
            return
        target = found.contents
        if not isinstance(target, dict):
            if not isinstance(target, bool):
                yield Finding((*path, "$ref"), NO_SCHEMA, "refers to something that is not a schema")
            return
        self._beside[id(schema)].append((id(target), 2))
        if id(target) not in self._beside:
            findings = _invalid(target, self._document, self._paths[id(target)])
            yield from findings
            if not findings:
                self._todo.append((target, found.resolver))

    def _enter(self, schema: dict[str, Any], resolver: Any) -> Iterator[Finding]:
        # `dependencies` apart, because the library looks at the first of them only.
        for child in (*self._specification.subresources_of(schema), *_members(schema.get("dependencies"))):
            if not isinstance(child, dict):
                continue
            try:
                self._todo.append((child, resolver.in_subresource(self._specification.create_resource(child))))
            except ValueError:
                yield Finding(self._paths[id(child)], NO_SCHEMA, "has an id that is not a URI")

    def _circles(self) -> Iterator[Finding]:
        frames: dict[int, float] = {}
        for schema in self._beside:
            if self._frames(schema, frames, 0) > _MAX_FRAMES:
                message = "refers to itself without a step into the body, or applies too many schemas at one place"
                yield Finding(self._paths[schema], NO_SCHEMA, message)
                return

    def _frames(self, schema: int, known: dict[int, float], above: int) -> float:
        """The frames that this schema takes at one place of a body; `above` is how far the search has come."""
        if above > _MAX_FRAMES:
            return math.inf
        if schema not in known:
            inner = (frames + self._frames(each, known, above + 1) for each, frames in self._beside.get(schema, []))
            known[schema] = max(inner, default=3)
        return known[schema]


def _applied_beside(schema: dict[str, Any]) -> Iterator[tuple[Any, int]]:
    """The schemas that a schema applies at the same place of the body, except by reference; and the frames for each."""
    for keyword in ("not", "if", "then", "else"):
        yield schema.get(keyword), _FRAMES.get(keyword, 2)
    for keyword in ("allOf", "anyOf", "oneOf"):
        yield from ((inner, 2) for inner in schema.get(keyword, []))
    for keyword in ("dependencies", "dependentSchemas"):
        yield from ((inner, 2) for inner in _members(schema.get(keyword)))


def _members(value: Any) -> list[Any]:
    """The values of an object. A keyword that the draft does not have may hold anything."""
    return list(value.values()) if isinstance(value, dict) else []


def _bad_patterns(schema: dict[str, Any], path: Path) -> Iterator[Finding]:
    if isinstance(pattern := schema.get("pattern"), str) and (reason := patterns.problem(pattern)):
        yield Finding((*path, "pattern"), NO_SCHEMA, reason)
    for name in schema.get("patternProperties", {}):
        if reason := patterns.problem(name):
            yield Finding((*path, "patternProperties", name), NO_SCHEMA, reason)
