"""What a list is narrowed to, as the selectors of a request say it. Pure.

Decides which fields and labels there are to select by: those by which the log can be read without reading all of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hookline.api.log import Wanted
from hookline.api.objects import LABELS
from hookline.api.status import Refused, bad_request
from hookline.api.texts import label_is_value

FIELDS = {
    "webhook": "webhook",
    "event": "event_id",
    "type": "event_type",
    "status": "status",
    "reason": "reason",
    "metadata.name": "name",
    "metadata.namespace": "namespace",
}
"""Those of a field selector, by the part of a Selection that they stand for."""

MAX_CHARACTERS = 4096
"""Of a selector."""

_ALL = Wanted()
_LABELS = {label: name for name, label in LABELS.items()}
_MAX_TERMS = 16
_TERM = re.compile(r"((?:[^\\=!,]|\\.)*)(==|!=|=)((?:[^\\=,]|\\[\\=,])*)")
_UNFIT = re.compile("[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Selection:
    """`name` and `namespace` are of the one object, the one namespace that is wanted; empty they narrow nothing."""

    wanted: Wanted = _ALL
    name: str = ""
    namespace: str = ""
    nothing: bool = False
    """Two selectors that exclude each other: no object is both."""


EVERYTHING = Selection()


def selection(field_selector: str, label_selector: str) -> Selection:
    """Raises Refused: 400."""
    wishes: dict[str, str] = {}
    nothing = False
    for name, value in [*_of_fields(field_selector), *_of_labels(label_selector)]:
        nothing |= wishes.setdefault(name, value) != value or not value
    name, namespace = wishes.pop("name", ""), wishes.pop("namespace", "")
    return Selection(Wanted(**wishes), name, namespace, nothing)


def _of_fields(selector: str) -> list[tuple[str, str]]:
    found = []
    for term in _terms(selector, "field"):
        match = _TERM.fullmatch(term)
        if match is None:
            raise Refused(bad_request("invalid field selector: each term must be FIELD=VALUE"))
        field, operator, value = match[1].strip(), match[2], re.sub(r"\\(.)", r"\1", match[3])
        if field not in FIELDS:
            raise Refused(bad_request(f"field label not supported; there are {', '.join(sorted(FIELDS))}"))
        if operator == "!=":
            raise Refused(bad_request(f"invalid field selector: {field} can be selected by = only"))
        found.append((FIELDS[field], value))
    return found


def _of_labels(selector: str) -> list[tuple[str, str]]:
    found = []
    for term in _terms(selector, "label"):
        label, value = label_is_value(term) or ("", "")
        if label not in _LABELS or not value:
            raise Refused(
                bad_request(
                    f"unable to parse the label selector: each term must be LABEL=VALUE, of {', '.join(_LABELS)}"
                )
            )
        found.append((_LABELS[label], value))
    return found


def _terms(selector: str, what: str) -> list[str]:
    if len(selector) > MAX_CHARACTERS:
        raise Refused(bad_request(f"the {what} selector has more than {MAX_CHARACTERS} characters"))
    if _UNFIT.search(selector):
        raise Refused(bad_request(f"the {what} selector has a control character"))
    terms = [each for each in _split(selector) if each.strip()]
    if len(terms) > _MAX_TERMS:
        raise Refused(bad_request(f"the {what} selector has more than {_MAX_TERMS} terms"))
    return terms


def _split(selector: str) -> list[str]:
    """At commas that no backslash takes their meaning."""
    terms, term, escaped = [], "", False
    for character in selector:
        if character == "," and not escaped:
            terms.append(term)
            term = ""
        else:
            term += character
        escaped = character == "\\" and not escaped
    return [*terms, term]
