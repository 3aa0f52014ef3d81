"""Whether a body satisfies a schema, quickly and without a reason.

Decides "yes" or "ask jsonschema", which alone refuses and explains. It walks a schema as jsonschema does, but makes the
validator of each inner schema once and not for each value of each body, and decides the common keywords itself, each
only where the answer is plain. All other keywords are jsonschema's own functions, so that there is nothing to disagree
on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jsonschema.protocols import Validator
from referencing.jsonschema import SchemaResource, specification_with

from hookline.events.keywords import FORMATS
from hookline.runtime.private_parts import require

Accepts = Callable[[Any], bool]
"""Takes a value as strictjson.py reads it. What is not accepted may still be right."""

_Check = tuple[frozenset[type], Accepts | None]
"""A schema: of which classes a value may be, and what else is asked of it. That is mostly nothing, and then a member of
an object costs no call."""

# Left to jsonschema: a number such as 1.0, which is an integer from draft-06 on.
_CLASSES: dict[str, tuple[type, ...]] = {
    "array": (list,),
    "boolean": (bool,),
    "integer": (int,),
    "null": (type(None),),
    "number": (int, float),
    "object": (dict,),
    "string": (str,),
}
_ALL = frozenset(each for classes in _CLASSES.values() for each in classes)


def acceptor(validator: Validator, draft_uri: str) -> Accepts:
    """For a validator that keywords.standard made of this draft, and of a schema that can be used."""
    require(type(validator), "_resolver", "_validators")
    require(type(validator._resolver), "_base_uri")  # type: ignore[attr-defined]  # noqa: SLF001
    compiler = _Compiler(specification_with(draft_uri).create_resource)
    accepts = _call(*compiler.compiled(validator))
    compiler.follow_references()
    return accepts


class _Compiler:
    def __init__(self, resource: Callable[[Any], SchemaResource]) -> None:
        self._resource = resource
        # By the identity and the base URI of the schema referred to: by an alias of YAML one may stand at two places.
        self._referred: dict[tuple[int, str], Accepts] = {}
        # To be made one after the other, as a chain of references may be long.
        self._todo: dict[tuple[int, str], Any] = {}

    def follow_references(self) -> None:
        while self._todo:
            place, validator = self._todo.popitem()
            self._referred[place] = _call(*self.compiled(validator))

    def compiled(self, validator: Any) -> _Check:
        rules = {keyword: (rule, argument) for rule, keyword, argument in validator._validators}  # noqa: SLF001  # as jsonschema does
        classes = _classes(rules.pop("type")[1]) if "type" in rules else _ALL
        checks: list[Accepts | None] = []
        if "properties" in rules or "required" in rules:
            checks.append(self._members(validator, rules))
        checks += [self._check(validator, rule, keyword, argument) for keyword, (rule, argument) in rules.items()]
        return classes, _all_of([check for check in checks if check is not None])

    def _members(self, validator: Any, rules: dict[str, Any]) -> Accepts:
        """Of an object; takes the rules that it decides out of them."""
        _, inner = rules.pop("properties", (None, {}))
        _, required = rules.pop("required", (None, ()))
        closed = rules.get("additionalProperties", (None, True))[1] is False and "patternProperties" not in rules
        if closed:
            del rules["additionalProperties"]
        members = {name: self._inner(validator, schema) for name, schema in inner.items()}
        return _members(members, frozenset(required), closed=closed)

    def _check(self, validator: Any, rule: Callable[..., Any], keyword: str, argument: Any) -> Accepts | None:
        """None where a keyword asks for nothing."""
        schema = validator.schema
        match keyword:
            case "enum":
                plain = frozenset(each for each in argument if each is None or isinstance(each, str))
                return lambda value: (value is None or type(value) is str) and value in plain
            case "minLength":
                return lambda value: type(value) is not str or len(value) >= argument
            case "maxLength":
                return lambda value: type(value) is not str or len(value) <= argument
            case "items" if isinstance(argument, dict) and "prefixItems" not in schema:
                return _items(*self._inner(validator, argument))
            case "format":
                return _format(argument)
            case "$ref":
                return self._reference(validator, argument)
        return lambda value: next(iter(rule(validator, argument, value, schema) or ()), None) is None

    def _inner(self, validator: Any, schema: Any) -> _Check:
        if isinstance(schema, bool):
            return (_ALL if schema else frozenset()), None
        resolver = validator._resolver.in_subresource(self._resource(schema))  # noqa: SLF001  # as jsonschema descends
        return self.compiled(validator.evolve(schema=schema, _resolver=resolver))

    def _reference(self, validator: Any, reference: str) -> Accepts:
        found = validator._resolver.lookup(reference)  # noqa: SLF001  # as jsonschema does
        if isinstance(found.contents, bool):
            return lambda _: found.contents
        referred, place = self._referred, (id(found.contents), found.resolver._base_uri)  # noqa: SLF001
        if place not in referred:
            self._todo[place] = validator.evolve(schema=found.contents, _resolver=found.resolver)
        return lambda value: referred[place](value)


def _classes(names: str | list[str]) -> frozenset[type]:
    return frozenset(each for name in ([names] if isinstance(names, str) else names) for each in _CLASSES[name])


def _all_of(checks: list[Accepts]) -> Accepts | None:
    if len(checks) < 2:
        return checks[0] if checks else None

    def accepts(value: Any) -> bool:
        for check in checks:  # noqa: SIM110  # all() takes twice the time, and a frame of the stack at each level
            if not check(value):
                return False
        return True

    return accepts


def _call(classes: frozenset[type], rest: Accepts | None) -> Accepts:
    return lambda value: type(value) in classes and (rest is None or rest(value))


def _format(name: str) -> Accepts | None:
    if name not in FORMATS.checkers:
        return None
    check, raises = FORMATS.checkers[name]
    return (lambda value: FORMATS.conforms(value, name)) if raises else check


def _members(members: dict[str, _Check], required: frozenset[str], *, closed: bool) -> Accepts:
    others: _Check = (frozenset(), None) if closed else (_ALL, None)

    def accepts(value: Any) -> bool:
        if type(value) is not dict:
            return True
        if not required <= value.keys():
            return False
        for name, member in value.items():
            classes, rest = members.get(name, others)
            if type(member) not in classes or (rest is not None and not rest(member)):
                return False
        return True

    return accepts


def _items(classes: frozenset[type], rest: Accepts | None) -> Accepts:
    def accepts(value: Any) -> bool:
        if type(value) is list:
            for item in value:
                if type(item) not in classes or (rest is not None and not rest(item)):
                    return False
        return True

    return accepts
