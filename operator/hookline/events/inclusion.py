"""Whether all that one JSON Schema takes is taken by another.

Decides what keeps it from being so, with places in that other schema: nothing is found only if it is proved. What can
be proved is what follows keyword by keyword; where it does not, such as for alternatives of which just one may fit,
that is said and nothing claimed. Pure, and bounded in steps: TooMuch is raised of schemas that take more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from hookline.events import keywords, patterns
from hookline.events.explain import Path, quoted, shortened
from hookline.events.pattern_cost import ways
from hookline.events.schema_view import Schema, Schemas, View, contained, view_of
from hookline.events.schemas import UNCHECKABLE

_MAX_STEPS = 20_000
_MAX_LEVELS = 50
_MAX_WAYS = 10**6
_MAX_VALUES = 1000

_EVERY = frozenset({"null", "boolean", "integer", "fraction", "string", "array", "object"})
NUMBERS = frozenset({"integer", "fraction"})
_WORDS = {
    "array": "an array",
    "boolean": "true or false",
    "fraction": "a number with a fraction",
    "integer": "an integer",
    "null": "null",
    "number": "a number",
    "object": "an object",
    "string": "a string",
}
_KIND_OF_VALUE: tuple[tuple[type, frozenset[str]], ...] = (
    (bool, frozenset({"boolean"})),
    (int, frozenset({"integer"})),
    (float, NUMBERS),
    (str, frozenset({"string"})),
    (list, frozenset({"array"})),
    (dict, frozenset({"object"})),
)


class TooMuch(Exception):
    """The proof has taken more steps than it may."""


@dataclass(frozen=True, slots=True)
class Found:
    """What keeps one schema from lying within another: a place in that other one."""

    path: Path
    message: str
    certain: bool = True


_AT_LEAST = ("minLength", "minItems", "minProperties")
_AT_MOST = ("maxLength", "maxItems", "maxProperties")
_LIMITS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_CONCERNS = {
    **dict.fromkeys(("minLength", "maxLength", "pattern", "format"), frozenset({"string"})),
    **dict.fromkeys((*_LIMITS, "multipleOf"), NUMBERS),
    **dict.fromkeys(("minItems", "maxItems", "uniqueItems", "contains", "unevaluatedItems"), frozenset({"array"})),
    **dict.fromkeys(
        ("minProperties", "maxProperties", "required", "dependentRequired", "propertyNames", "unevaluatedProperties"),
        frozenset({"object"}),
    ),
}
"""Kinds of values that a keyword speaks of. All others it takes."""


class Proof:
    """Whether what one schema takes lies within another. Of several schemas it is meant what all of them take."""

    def __init__(self, *, for_receivers: bool) -> None:
        self.for_receivers = for_receivers
        self._left = _MAX_STEPS
        self._views: dict[tuple[int, int], View] = {}
        self._texts: dict[tuple[int, int], str | None] = {}
        self._under_way: dict[object, int] = {}
        # Proofs that lean on one that is not yet ended may not be kept.
        self._leans_on = _MAX_LEVELS
        self._proved: dict[object, list[Found]] = {}
        # Schemas are told apart by their identity, so none may go.
        self._kept: list[object] = []

    def within(self, inner: Schemas, outer: Schema) -> list[Found]:
        """What keeps that which all of `inner` take from lying within `outer`; nothing if it does."""
        self.spend(1)
        if outer.node is True or outer.node == {}:
            return []
        key = (self.for_receivers, tuple(each.key for each in inner), outer.key)
        if key in self._proved:
            return self._proved[key]
        if key in self._under_way:
            # A body is finite, and each step back to here is a step into it.
            self._leans_on = min(self._leans_on, self._under_way[key])
            return []
        level = len(self._under_way)
        if level >= _MAX_LEVELS:
            raise TooMuch
        self._kept.append((inner, outer))
        self._under_way[key] = level
        above, self._leans_on = self._leans_on, _MAX_LEVELS
        found = self._prove(inner, outer)
        del self._under_way[key]
        if found or self._leans_on >= level:
            self._proved[key] = found
            self._leans_on = above
        else:
            self._leans_on = min(above, self._leans_on)
        return found

    def _prove(self, inner: Schemas, outer: Schema) -> list[Found]:
        views = self.conjuncts(inner)
        kinds = self.kinds(views)
        if not kinds:
            return []
        if outer.node is False:
            return [self.no(outer.path, "takes nothing any more", "may be there now, and was not allowed")]
        if any(self.same(view.schema, outer) for view in views or ()):
            return []
        view = self.view_of(outer)
        values = self.values(inner, kinds)
        if values is not None and not outer.document.has_ids:
            return self._judge_values(inner, values, view)
        return _Case(self, inner, views or [], kinds, view).findings()

    # -- parts of a proof --

    def spend(self, steps: int) -> None:
        self._left -= steps
        if self._left < 0:
            raise TooMuch

    def no(self, path: Path, for_producers: str, for_receivers: str) -> Found:
        return Found(path, for_receivers if self.for_receivers else for_producers)

    def view_of(self, schema: Schema) -> View:
        if schema.key not in self._views:
            self._kept.append(schema)
            self._views[schema.key] = view_of(schema)
        view = self._views[schema.key]
        self.spend(1 + len(view.properties) // 8)
        return view

    def conjuncts(self, schemas: Schemas) -> list[View] | None:
        """Views of all schemas that hold of the same value at once; None when one of them takes nothing."""
        todo, seen, views = list(schemas), set(), []
        while todo:
            schema = todo.pop()
            if schema.node is False:
                return None
            if schema.node is True or schema.key in seen:
                continue
            seen.add(schema.key)
            view = self.view_of(schema)
            views.append(view)
            todo.extend(view.lists.get("allOf", ()))
            if "$ref" in view.rules and (target := schema.document.resolved(view.rules["$ref"])):
                todo.append(target)
        return views

    def kinds(self, views: list[View] | None, depth: int = 0) -> frozenset[str]:
        """The kinds of values that may be taken."""
        if views is None:
            return frozenset()
        kinds = _EVERY
        for view in views:
            if "type" in view.rules:
                kinds &= _kinds_of_type(view.rules["type"])
            if "enum" in view.rules:
                kinds &= frozenset().union(*map(_kinds_of_value, view.rules["enum"]))
            for keyword in ("anyOf", "oneOf"):
                if keyword in view.lists and depth < 4:  # deeper ones are taken for any kind
                    branches = ((each,) for each in view.lists[keyword])
                    found = [self.kinds(self.conjuncts(each), depth + 1) for each in branches]
                    kinds &= frozenset().union(*found)
        return kinds

    def values(self, schemas: Schemas, kinds: frozenset[str], depth: int = 0) -> list[Any] | None:
        """All values that may be taken, if they are few."""
        if kinds <= {"null", "boolean"}:
            return [None] * ("null" in kinds) + [True, False] * ("boolean" in kinds)
        for view in self.conjuncts(schemas) or ():
            if "enum" in view.rules:
                values = view.rules["enum"]
                return values if len(values) <= _MAX_VALUES else None
            for keyword in ("anyOf", "oneOf"):
                if keyword in view.lists and depth < 2:  # lists of constants stand near the top
                    found = [self.values((each,), _EVERY, depth + 1) for each in view.lists[keyword]]
                    known = [value for values in found if values is not None for value in values]
                    if None not in found and len(known) <= _MAX_VALUES:
                        return known
        return None

    def _judge_values(self, inner: Schemas, values: Iterable[Any], view: View) -> list[Found]:
        """Tries each of them. A number is tried in both spellings, as 1 and as 1.0."""
        outer = view.schema
        refused: list[Any] = []
        for value in values:
            self.spend(20)
            for spelled in _spellings(value):
                verdicts = [self._takes(each, spelled) for each in inner]
                if False not in verdicts and self._takes(outer, spelled) is not True:
                    refused.append(value)
                    break
        if not refused:
            return []
        path = (*outer.path, "enum") if "enum" in view.rules and isinstance(outer.node, dict) else outer.path
        if path != outer.path and "const" in outer.node:  # type: ignore[operator]  # a dict, as its view has rules
            path = (*outer.path, "const")
        listed = _literals(refused)
        return [self.no(path, f"no longer takes {listed}", f"may be {listed} now")]

    def _takes(self, schema: Schema, value: Any) -> bool | None:
        """Whether a schema takes a value; None if that cannot be found out quickly."""
        if schema.document.has_ids:
            return None
        try:
            with keywords.bounded():
                return schema.document.validator.evolve(schema=schema.node).is_valid(value)
        except (keywords.TooCostly, *UNCHECKABLE):
            return None

    def same(self, one: Schema, other: Schema) -> bool:
        """Whether two schemas say the same in the same words."""
        if one.key == other.key:
            return True
        text = self._text(one)
        return text is not None and one.document.draft == other.document.draft and text == self._text(other)

    def _text(self, schema: Schema) -> str | None:
        """A schema with all that it refers to; None when something of that is not found."""
        if schema.key not in self._texts:
            self._kept.append(schema)
            self._texts[schema.key] = self._whole_text(schema)
        return self._texts[schema.key]

    def _whole_text(self, schema: Schema) -> str | None:
        parts: dict[str, str] = {"": canonical(schema.node)}
        self.spend(len(parts[""]) // 500)
        todo = _references(schema.node)
        while todo:
            reference = todo.pop()
            if reference not in parts:
                target = schema.document.resolved(reference)
                if target is None:
                    return None
                parts[reference] = canonical(target.node)
                self.spend(1 + len(parts[reference]) // 500)
                todo += _references(target.node)
        return canonical(parts)

    def strictly(self, inner: Schemas, outer: Schema) -> bool:
        """Whether it lies within, with none of what receivers pass over."""
        before, self.for_receivers = self.for_receivers, False
        try:
            return not self.within(inner, outer)
        finally:
            self.for_receivers = before


class _Case:
    """One proof: of each keyword of the outer schema that it refuses nothing of what the inner ones take."""

    def __init__(self, proof: Proof, inner: Schemas, views: list[View], kinds: frozenset[str], outer: View) -> None:
        self._proof = proof
        self._inner = inner
        self._views = views
        self._kinds = kinds
        self._outer = outer
        self._path = outer.schema.path
        self._found: list[Found] = []

    def findings(self) -> list[Found]:
        rules, lists, inner = self._outer.rules, self._outer.lists, self._outer.inner
        if "type" in rules:
            self._judge_type(rules["type"])
        for keyword, rule in rules.items():
            if keyword != "type" and _CONCERNS.get(keyword, _EVERY) & self._kinds:
                self._proof.spend(1 + len(self._views) // 4)
                self._judge(keyword, rule)
        for each in lists.get("allOf", ()):
            self._found += self._proof.within(self._inner, each)
        if "anyOf" in lists:
            self._judge_any(lists["anyOf"], "anyOf")
        if "oneOf" in lists:
            self._judge_one(lists["oneOf"])
        if "object" in self._kinds:
            self._judge_object()
        if "array" in self._kinds:
            self._judge_array()
        for keyword, schema in inner.items():
            if _CONCERNS.get(keyword, _EVERY) & self._kinds:
                self._judge_inner(keyword, schema)
        return self._found

    def _no(self, keyword: str, for_producers: str, for_receivers: str) -> None:
        self._found.append(self._proof.no((*self._path, keyword), for_producers, for_receivers))

    def _unjudged(self, keyword: str) -> None:
        message = "cannot be judged: it changed, or what it applies to did"
        self._found.append(Found((*self._path, keyword), message, certain=False))

    def _rules(self, keyword: str) -> list[Any]:
        return [view.rules[keyword] for view in self._views if keyword in view.rules]

    # -- keywords whose value is no schema --

    def _judge(self, keyword: str, rule: Any) -> None:
        if keyword == "$ref":
            target = self._outer.schema.document.resolved(rule)
            if target is None:
                self._unjudged(keyword)
            else:
                self._found += self._proof.within(self._inner, target)
        elif keyword == "enum":
            self._no(
                "const" if "enum" not in self._node else keyword, "takes only these values now", "may be others now"
            )
        elif keyword == "required":
            self._judge_required(rule)
        elif keyword == "dependentRequired":
            self._judge_dependent(rule)
        elif keyword == "multipleOf":
            self._judge_multiple(rule)
        elif keyword in _AT_LEAST or keyword in _AT_MOST:
            self._judge_count(keyword, rule)
        elif keyword in _LIMITS:
            self._judge_limit(keyword, rule)
        elif keyword == "uniqueItems":
            if rule and True not in self._rules(keyword) and min(self._rules("maxItems"), default=2) > 1:
                self._no(keyword, "is asked for now", "is not asked for any more")
        elif keyword == "pattern" or (keyword == "format" and rule in keywords.FORMATS.checkers):
            if rule not in self._rules(keyword):
                self._differs(keyword)
        elif keyword not in ("format", "minContains", "maxContains"):
            self._unjudged(keyword)

    @property
    def _node(self) -> dict[str, Any]:
        node = self._outer.schema.node
        assert isinstance(node, dict)
        return node

    def _differs(self, keyword: str) -> None:
        if self._rules(keyword):
            self._no(keyword, "is another one than before", "is another one now")
        else:
            self._no(keyword, "is asked for now", "is not asked for any more")

    def _judge_type(self, rule: Any) -> None:
        taken = _kinds_of_type(rule)
        if more := self._kinds - taken:
            words = _kind_words(more)
            self._no("type", f"does not take {words} any more", f"may be {words} now")
        self._kinds &= taken

    def _judge_required(self, names: Iterable[str]) -> None:
        always = {name for each in self._rules("required") for name in each}
        for name in names:
            if name not in always:
                self._no("required", f"asks for {quoted(name)} now", f"{quoted(name)} may be missing now")

    def _judge_dependent(self, rule: Mapping[str, Sequence[str]]) -> None:
        always = {name for each in self._rules("required") for name in each}
        for name, needed in rule.items():
            there = {each for former in self._rules("dependentRequired") for each in former.get(name, ())}
            if missing := set(needed) - always - there:
                first = quoted(min(missing))
                told = (
                    f"asks for {first} beside {quoted(name)} now",
                    f"{first} may be missing beside {quoted(name)} now",
                )
                self._no("dependentRequired" if "dependentRequired" in self._node else "dependencies", *told)

    def _judge_multiple(self, rule: float) -> None:
        wanted = Fraction(repr(rule))
        integers = [Fraction(1)] if "fraction" not in self._kinds else []
        known = [*integers, *(Fraction(repr(each)) for each in self._rules("multipleOf"))]
        if not any((each / wanted).denominator == 1 for each in known):
            self._differs("multipleOf")

    def _judge_count(self, keyword: str, rule: float) -> None:
        if keyword in _AT_LEAST:
            known = [0, *self._rules(keyword)]
            if keyword == "minProperties":
                known.append(len({name for each in self._rules("required") for name in each}))
            fits, there = max(known) >= rule, max(self._rules(keyword), default=None)
        else:
            known = [*self._rules(keyword), *self._bounds(keyword)]
            fits, there = bool(known) and min(known) <= rule, min(known, default=None)
        if not fits:
            self._changed_limit(keyword, rule, there)

    def _bounds(self, keyword: str) -> list[int]:
        """What follows from a closed list of properties or items."""
        found: list[int] = []
        for view in self._views:
            closed = view.inner.get("additionalProperties")
            if keyword == "maxProperties" and closed is not None and closed.node is False and not view.patterns:
                found.append(len(view.properties))
            if keyword == "maxItems" and view.rest is not None and view.rest.node is False:
                found.append(len(view.prefix))
        return found

    def _judge_limit(self, keyword: str, rule: float) -> None:
        plain = "minimum" if "inimum" in keyword else "maximum"
        exclusive = f"exclusive{plain.capitalize()}"
        sign = 1 if plain == "minimum" else -1
        same, open_ = [sign * each for each in self._rules(plain)], [sign * each for each in self._rules(exclusive)]
        wanted = sign * rule
        if keyword == plain:
            fits = any(each >= wanted for each in (*same, *open_))
        else:
            fits = any(each > wanted for each in same) or any(each >= wanted for each in open_)
        if not fits:
            there = self._rules(keyword) or self._rules(exclusive if keyword == plain else plain)
            self._changed_limit(keyword, rule, there[0] if there else None)

    def _changed_limit(self, keyword: str, rule: float, there: float | None) -> None:
        if there is None:
            self._no(keyword, f"is {rule} now, and was not asked for", f"was {rule}, and is not asked for any more")
        else:
            self._no(keyword, f"is {rule} now, and was {there}", f"was {rule}, and is {there} now")

    # -- alternatives --

    def _judge_any(self, branches: Schemas, keyword: str) -> None:
        if self._fits_any(self._inner, branches):
            return
        split = next(
            (view.lists[each] for each in ("anyOf", "oneOf") for view in self._views if each in view.lists), ()
        )
        if not split:
            self._no(keyword, "takes less than before in each of its forms", "may have none of the former forms now")
            return
        for index, each in enumerate(split):
            inner = (each, *self._inner)
            if self._fits_any(inner, branches):
                continue
            nearest = self._proof.within(inner, branches[index]) if index < len(branches) else []
            if nearest:
                self._found += nearest
            else:
                self._no(keyword, "has lost one of its forms", "has a form more now")

    def _fits_any(self, inner: Schemas, branches: Schemas) -> bool:
        return any(not self._proof.within(inner, each) for each in branches)

    def _judge_one(self, branches: Schemas) -> None:
        """Of alternatives of which just one may fit, all must say the same, unless no two can fit at once."""
        proof = self._proof
        for view in self._views:
            there = view.lists.get("oneOf", ())
            if len(there) == len(branches) and all(map(proof.same, there, branches)):
                return
        kinds = [proof.kinds(proof.conjuncts((each,))) for each in branches]
        if sum(map(len, kinds)) == len(frozenset().union(*kinds)):
            self._judge_any(branches, "oneOf")
        else:
            self._unjudged("oneOf")

    # -- keywords that hold one schema --

    def _judge_inner(self, keyword: str, schema: Schema) -> None:
        match keyword:
            case "not":
                self._judge_not(schema)
            case "if":
                self._judge_if()
            case "contains":
                self._judge_contains(schema)
            case "propertyNames":
                there = tuple(view.inner[keyword] for view in self._views if keyword in view.inner)
                if there:
                    self._found += self._proof.within(there, schema)
                elif schema.node is not True and schema.node != {}:
                    self._differs(keyword)
            case "unevaluatedProperties" | "unevaluatedItems":
                passed_over = keyword == "unevaluatedProperties" and self._proof.for_receivers
                if not (schema.node is True or schema.node == {} or (schema.node is False and passed_over)):
                    self._unjudged(keyword)

    def _judge_not(self, schema: Schema) -> None:
        proof = self._proof
        there = [view.inner["not"] for view in self._views if "not" in view.inner]
        if any(proof.strictly((schema,), each) for each in there):
            return
        if not proof.kinds(proof.conjuncts((schema,))) & self._kinds:
            return
        if there:
            self._unjudged("not")
        else:
            self._differs("not")

    def _judge_if(self) -> None:
        mine = self._outer.inner
        for view in self._views:
            parts = [(view.inner.get(each), mine.get(each)) for each in ("if", "then", "else")]
            if all((a is None and b is None) or (a and b and self._proof.same(a, b)) for a, b in parts):
                return
        branches = [mine[each] for each in ("then", "else") if each in mine]
        if any(self._proof.within(self._inner, each) for each in branches):
            self._unjudged("if")

    def _judge_contains(self, schema: Schema) -> None:
        least, most = contained(self._outer)
        if least == 0 and most is None:
            return
        there = [view for view in self._views if "contains" in view.inner]
        for view in there:
            at_least, at_most = contained(view)
            enough = least == 0 or (at_least >= least and self._proof.strictly((view.inner["contains"],), schema))
            few = most is None or (
                at_most is not None and at_most <= most and self._proof.strictly((schema,), view.inner["contains"])
            )
            if enough and few:
                return
        if there:
            self._unjudged("contains")
        else:
            self._no("contains", "is asked for now", "is not asked for any more")

    # -- objects and arrays --

    def _judge_object(self) -> None:
        for name, schema in self._outer.properties.items():
            self._judge_property(name, schema)
        for pattern, schema in self._outer.patterns.items():
            self._judge_pattern(pattern, schema)
        for name, schema in self._outer.dependent.items():
            beside = tuple(view.dependent[name] for view in self._views if name in view.dependent)
            self._found += self._proof.within((*beside, *self._inner), schema)
        if "additionalProperties" in self._outer.inner:
            self._judge_additional(self._outer.inner["additionalProperties"])

    def _judge_property(self, name: str, schema: Schema) -> None:
        there = self._member(name)
        if self._proof.for_receivers and not self._describes(name):
            self._found.append(Found(schema.path, "is not described any more"))
        elif there:
            self._found += self._proof.within(there, schema)
        elif self._proof.within((), schema):
            self._found.append(Found(schema.path, "is checked now, and could be anything before"))

    def _describes(self, name: str) -> bool:
        return any(
            name in view.properties or any(_matches(each, name) for each in view.patterns) for view in self._views
        )

    def _member(self, name: str) -> Schemas:
        """What the inner schemas are known to ask of the property of this name."""
        found: list[Schema] = []
        self._proof.spend(1 + len(self._views) // 4)
        for view in self._views:
            said = [view.properties[name]] if name in view.properties else []
            verdicts = [(_matches(pattern, name), schema) for pattern, schema in view.patterns.items()]
            said += [schema for verdict, schema in verdicts if verdict]
            if not said and all(verdict is False for verdict, _ in verdicts) and "additionalProperties" in view.inner:
                said = [view.inner["additionalProperties"]]
            found += said
        return tuple(found)

    def _judge_pattern(self, pattern: str, schema: Schema) -> None:
        proof = self._proof
        same = tuple(view.patterns[pattern] for view in self._views if pattern in view.patterns)
        if (same and not proof.within(same, schema)) or not proof.within((), schema):
            return
        for view in self._views:
            if "additionalProperties" in view.inner and not view.patterns:
                names = [name for name in view.properties if _matches(pattern, name) is not False]
                others = proof.within((view.inner["additionalProperties"],), schema)
                if not others and not any(proof.within(self._member(name), schema) for name in names):
                    return
        if same:
            self._found += proof.within(same, schema)
        else:
            self._found.append(proof.no(schema.path, "is asked for now", "is not asked for any more"))

    def _judge_additional(self, schema: Schema) -> None:
        proof = self._proof
        if schema.node is True or (schema.node is False and proof.for_receivers):
            return
        mine = self._outer.patterns
        names = dict.fromkeys(name for view in self._views for name in view.properties)
        for name in names:
            if name in self._outer.properties or any(_matches(pattern, name) for pattern in mine):
                continue
            found = proof.within(self._member(name), schema)
            if found and schema.node is False:
                found = [Found(schema.path, f"does not take {quoted(name)} any more")]
            self._found += found
        plain = tuple(
            view.inner["additionalProperties"]
            for view in self._views
            if "additionalProperties" in view.inner and view.patterns.keys() <= mine.keys()
        )
        others = proof.within(plain, schema)
        if others and not any(self._takes_within(view, schema) for view in self._views):
            told = "does not take names that are not listed any more" if schema.node is False else ""
            self._found += [Found(schema.path, told)] if told else others

    def _takes_within(self, view: View, schema: Schema) -> bool:
        """Whether all properties that a view does not name lie within a schema, but for those of the outer patterns."""
        if "additionalProperties" not in view.inner:
            return False
        patterns = [each for pattern, each in view.patterns.items() if pattern not in self._outer.patterns]
        return not any(self._proof.within((each,), schema) for each in (view.inner["additionalProperties"], *patterns))

    def _judge_array(self) -> None:
        most = min([*self._rules("maxItems"), *self._bounds("maxItems")], default=None)
        last = max([len(self._outer.prefix), *(len(view.prefix) for view in self._views)])
        for index in range(last + 1):
            # The place behind all prefixes stands for all that follow.
            if most is not None and index >= most:
                return
            wanted = self._outer.prefix[index] if index < len(self._outer.prefix) else self._outer.rest
            if wanted is not None:
                self._found += self._proof.within(self._item(index), wanted)

    def _item(self, index: int) -> Schemas:
        self._proof.spend(1 + len(self._views) // 4)
        found = (view.prefix[index] if index < len(view.prefix) else view.rest for view in self._views)
        return tuple(each for each in found if each is not None)


# ---- values and words ------------------------------------------------------------------------------------------------


def _matches(pattern: str, name: str) -> bool | None:
    """None when it would take long to find out."""
    return patterns.matches(pattern, name) if ways(pattern, len(name)) <= _MAX_WAYS else None


def _kinds_of_type(rule: Any) -> frozenset[str]:
    names = [rule] if isinstance(rule, str) else rule
    return frozenset().union(*(NUMBERS if name == "number" else {name} for name in names))


def _kinds_of_value(value: Any) -> frozenset[str]:
    return next((kinds for kind, kinds in _KIND_OF_VALUE if isinstance(value, kind)), frozenset({"null"})) | (
        NUMBERS if type(value) is int else frozenset()
    )


def _kind_words(kinds: frozenset[str]) -> str:
    """With numbers as one kind, if all of them are meant."""
    known = (kinds - NUMBERS) | {"number"} if kinds >= NUMBERS else kinds
    return " or ".join(_WORDS[each] for each in sorted(known))


def _literals(values: Sequence[Any]) -> str:
    return shortened(", ".join(json.dumps(each, ensure_ascii=False) for each in values))


def _spellings(value: Any) -> list[Any]:
    """A value as it is, and with its whole numbers as JSON may write them too: 1 and 1.0 are equal."""
    return [value, _with_numbers(value, float), _with_numbers(value, int)]


def _with_numbers(value: Any, form: Callable[[Any], Any]) -> Any:
    if isinstance(value, dict):
        return {name: _with_numbers(inner, form) for name, inner in value.items()}
    if isinstance(value, list):
        return [_with_numbers(inner, form) for inner in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return form(value) if form(value) == value else value
        except OverflowError:
            return value
    return value


def canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _references(node: Any) -> list[str]:
    """What stands at `$ref` anywhere in a schema, also where it is none."""
    found: list[str] = []
    todo = [node]
    while todo:
        each = todo.pop()
        if isinstance(each, dict):
            if isinstance(each.get("$ref"), str):
                found.append(each["$ref"])
            todo.extend(each.values())
        elif isinstance(each, list):
            todo.extend(each)
    return found
