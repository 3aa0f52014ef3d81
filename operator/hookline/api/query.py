"""What a request asks for, as its URL and its Accept header say it: the options of lists and watches. Pure.

Every value is hostile: its length, its type and its meaning are judged here, in the words of kube-apiserver where
clients act on them.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from urllib.parse import parse_qsl

from hookline.api.selectors import EVERYTHING, Selection, selection
from hookline.api.status import Refused, bad_request, expired, invalid, not_acceptable

MAX_LIST_SECONDS = 2**31
_MAX_PARAMETERS = 64
_MAX_VERSION_CHARACTERS = 1024
_MAX_CONTINUE_CHARACTERS = 4096
_MAX_ACCEPT_CHARACTERS = 4096
_MAX_INTEGER_DIGITS = 19

NOT_OLDER_THAN, EXACT = "NotOlderThan", "Exact"

OFFERED = (
    "application/json, application/json;as=Table;g=meta.k8s.io;v=v1, "
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1, "
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
)


class Form(Enum):
    """In which form objects are wanted."""

    OBJECT = "object"
    TABLE = "Table"
    PARTIAL = "PartialObjectMetadata"


@dataclass(frozen=True, slots=True)
class Options:
    """Of one request. What it does not say is as the default."""

    selection: Selection = EVERYTHING
    limit: int = 0
    """As many objects at most; 0 is no limit."""
    begin: str = ""
    """Where a list goes on."""
    version: str = ""
    """resourceVersion; of a list that goes on that of its beginning."""
    watch: bool = False
    timeout_seconds: int | None = None
    bookmarks: bool = False
    initial_events: bool = False
    """Of a watch: what there is comes first."""
    initial_events_end: bool = False
    """And a bookmark says when that was all."""
    dry_run: bool = False
    pretty: bool = False
    include: str = "Metadata"
    """What of an object stands in the row of a table."""


def parameters(query: bytes) -> dict[str, str]:
    """Of a URL, each once: of two the first counts, as in kube-apiserver. Raises Refused: 400."""
    try:
        pairs = parse_qsl(
            query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MAX_PARAMETERS
        )
    except ValueError:
        raise Refused(bad_request("the query of the URL cannot be read")) from None
    found: dict[str, str] = {}
    for name, value in pairs:
        if "\x00" in value:
            raise Refused(bad_request("the query of the URL has a NUL character"))
        found.setdefault(name, value)
    return found


def options(given: Mapping[str, str], *, watch: bool | None = None) -> Options:
    """Those of a request. `watch` overrides what it says. Raises Refused."""
    watching = _flag(given, "watch") if watch is None else watch
    version, match = given.get("resourceVersion", ""), given.get("resourceVersionMatch", "")
    if len(version) > _MAX_VERSION_CHARACTERS:
        raise Refused(invalid("resourceVersion: it is none that was ever told"))
    goes_on = given.get("continue", "")
    initial = _initial_events(given, watching, match)
    if match:
        _check_match(match, version, watching, goes_on, initial is not None)
    begin = ""
    if goes_on and not watching:
        begin, version = read_continue(goes_on)
    bookmarks = watching and _flag(given, "allowWatchBookmarks")
    return Options(
        selection(given.get("fieldSelector", ""), given.get("labelSelector", "")),
        limit=_number(given, "limit"),
        begin=begin,
        version=version,
        watch=watching,
        timeout_seconds=_number(given, "timeoutSeconds") if given.get("timeoutSeconds") else None,
        bookmarks=bookmarks,
        initial_events=watching and (initial if initial is not None else version in ("", "0")),
        initial_events_end=bool(initial) and bookmarks,
        dry_run=dry_run(given.get("dryRun", "")),
        pretty=_flag(given, "pretty"),
        include=_include(given),
    )


def dry_run(*values: str) -> bool:
    """Whether nothing is to be changed. Raises Refused: 422."""
    for value in values:
        if value not in ("", "All"):
            raise Refused(invalid("dryRun: Unsupported value: supported values: All", kind="DeleteOptions"))
    return "All" in values


def continue_token(begin: str, version: str) -> str:
    """Of the next part of a list. All parts have one version: what came later is told by watching from there."""
    said = json.dumps([1, begin, version], separators=(",", ":"))
    return base64.urlsafe_b64encode(said.encode()).decode().rstrip("=")


def read_continue(token: str) -> tuple[str, str]:
    """Where a list goes on, and its version. Raises Refused: 400 of what is no token, 410 of another version's."""
    wrong = Refused(bad_request("continue key is not valid: take the one of the list before"))
    if len(token) > _MAX_CONTINUE_CHARACTERS or not token.isascii():
        raise wrong
    try:
        said = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        raise wrong from None
    if not isinstance(said, list) or not said or not isinstance(said[0], int):
        raise wrong
    if said[0] != 1:
        raise Refused(expired("The provided continue parameter is of another version; list again without it"))
    if len(said) != 3 or not all(isinstance(each, str) for each in said[1:]):
        raise wrong
    return said[1], said[2]


def form_of(accept: str) -> Form:
    """In which an answer is wanted: the first that there is. Raises Refused: 406."""
    if len(accept) > _MAX_ACCEPT_CHARACTERS:
        raise Refused(not_acceptable(OFFERED))
    for clause in accept.split(",") if accept.strip() else ("*/*",):
        media_type, _, rest = clause.partition(";")
        if media_type.strip().lower() not in ("application/json", "application/*", "*/*"):
            continue
        said = dict(_parameter(each) for each in rest.split(";") if each.strip())
        if "as" not in said:
            return Form.OBJECT
        if said.get("g") == "meta.k8s.io" and said.get("v") == "v1":
            if said["as"] == "Table":
                return Form.TABLE
            if said["as"] in ("PartialObjectMetadata", "PartialObjectMetadataList"):
                return Form.PARTIAL
    raise Refused(not_acceptable(OFFERED))


def _parameter(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name.strip().lower(), value.strip().strip('"')


def _initial_events(given: Mapping[str, str], watching: bool, match: str) -> bool | None:
    """What is said of them; None when nothing is."""
    if not given.get("sendInitialEvents"):
        return None
    if not watching:
        raise Refused(invalid("sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list"))
    if match != NOT_OLDER_THAN:
        raise Refused(
            invalid(
                "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to "
                f"{NOT_OLDER_THAN}"
            )
        )
    return _flag(given, "sendInitialEvents")


def _check_match(match: str, version: str, watching: bool, goes_on: str, initial: bool) -> None:
    if match not in (NOT_OLDER_THAN, EXACT):
        raise Refused(invalid(f"resourceVersionMatch: Unsupported value: supported values: {EXACT}, {NOT_OLDER_THAN}"))
    if watching and not initial:
        raise Refused(
            invalid("resourceVersionMatch: Forbidden: it is forbidden for watch unless sendInitialEvents is provided")
        )
    if not watching and not version:
        raise Refused(invalid("resourceVersionMatch: Forbidden: it is forbidden unless resourceVersion is provided"))
    if goes_on:
        raise Refused(invalid("resourceVersionMatch: Forbidden: it is forbidden when continue is provided"))
    if match == EXACT:
        if version == "0":
            raise Refused(invalid('resourceVersionMatch: Forbidden: Exact is forbidden for resourceVersion "0"'))
        raise Refused(expired("The resourceVersion for the provided list is too old: a list is always the newest here"))


def _include(given: Mapping[str, str]) -> str:
    include = given.get("includeObject") or "Metadata"
    if include not in ("None", "Metadata", "Object"):
        raise Refused(
            bad_request("Unable to convert to Table as requested: includeObject must be None, Metadata or Object")
        )
    return include


def _flag(given: Mapping[str, str], name: str) -> bool:
    """As kube-apiserver reads them: there, and neither 0 nor false."""
    return name in given and given[name].lower() not in ("0", "false", *(("",) if name == "pretty" else ()))


def _number(given: Mapping[str, str], name: str) -> int:
    text = given.get(name, "")
    if not text:
        return 0
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _MAX_INTEGER_DIGITS):
        raise Refused(bad_request(f"{name} must be a whole number"))
    if text.startswith("-") and name == "limit":
        raise Refused(invalid("limit: Invalid value: must not be negative"))
    return max(int(text), 0)
