"""CloudEvents 1.0 and 0.3 by their HTTP binding and JSON format: which events a request holds.

Decides the mode of a request, which attributes an event may have, how each is written as text, and which bytes are its
body: those of `data` exactly as they stand in the request, because signatures and schemas see them. It judges no event
type and no schema, and does no I/O. A problem never tells a value of an event; names of attributes it tells.

Where the specification leaves a choice, or where senders do what it forbids:

- An event without `data` is refused: its data is what receivers get and what schemas see. `"data": null` is data (JSON
  format 1.0.2, section 3.1.1). The data must be JSON.
- The events of a batch may differ in `specversion`, as each says its own. An empty batch is right and has no verdicts.
- `source`, `dataschema` and `schemaurl` are not held against RFC 3986: people use letters of their own in them.
- Values of headers are read strictly: `%` begins an escape, a double quote stands around the whole value or nowhere,
  and all is printable ASCII. Two readers would take anything else differently, and ids are made of these values.
- In structured and in batched mode the headers that may repeat the attributes (HTTP binding 1.0.2, section 3.2.3) are
  not looked at.
"""

from __future__ import annotations

import binascii
import json
import re
from codecs import BOM_UTF8
from collections.abc import Container, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from hookline.events import strictjson
from hookline.events.context import MAX_NAMES, context_problems, is_name, is_text
from hookline.events.envelope import MAX_BODY_BYTES
from hookline.events.explain import MAX_PROBLEMS, NOT_JSON, Finding, Path, place, pointer, quoted
from hookline.events.keywords import is_date_time
from hookline.gateway.incoming import MAX_EVENTS, Incoming, id_of_source
from hookline.gateway.media_types import is_json, media_type
from hookline.gateway.problem import Fault, Kind, Problem, Refused, refuse

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"

MAX_ATTRIBUTES = MAX_NAMES - 2
"""Of one event. They travel in its context, and traceparent and tracestate of the request may join them there."""

MAX_TYPE_CHARACTERS = 512
"""Of a `type` that is looked for by its parts."""

_PREFIX = "ce-"
_VERSIONS = ("1.0", "0.3")
_REQUIRED = ("specversion", "id", "source", "type")
_TEXTS = frozenset({*_REQUIRED, "subject", "time", "dataschema", "schemaurl", "datacontenttype"})
"""Attributes that the specifications have: each is a string and not empty."""

_DATA = frozenset({"data", "data_base64"})
_OF_THE_BODY = {"1.0": ("datacontenttype",), "0.3": ("datacontenttype", "datacontentencoding")}
"""Attributes that say how the data is written in the request. A body is always JSON, and base64 is taken off."""

_UNSET = (None, "null")
"""What an attribute may be instead of not being there (JSON format 1.0.2, section 2.2)."""

_INTEGER = re.compile(r"-?[0-9]{1,10}")
_INTEGERS = range(-(2**31), 2**31)
_NUMBER_BEGINS = frozenset("-0123456789")
_NO_NUMBERS = frozenset({"NaN", "Infinity", "-Infinity"})

_QUOTED_STRING = re.compile(r'"((?:[^"\\]|\\.)*+)"')
_QUOTED_PAIR = re.compile(r"\\(.)")
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")

_VERSION_SEGMENT = re.compile(r"\.v[0-9]++(?:\.[0-9]++)*+\Z")

_SPACE = re.compile(r"[ \t\n\r]*+")
_COLON = re.compile(r"[ \t\n\r]*+:[ \t\n\r]*+")
_COMMA_OR_END = re.compile(r"[ \t\n\r]*+([],}])[ \t\n\r]*+")

# Gives the value that begins at a place, and its end. Numbers stay texts: to read one of many digits takes time by the
# square of them, and of data only the end is wanted.
_SCAN = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str).raw_decode

_NO_DATA = "has no data; receivers get the data of an event, so send one JSON document"
_WHAT_TO_SEND = (
    f"send one CloudEvent as Content-Type: {STRUCTURED}, several as {BATCH} or one a line as application/x-ndjson; or "
    "its data as application/json with the headers ce-specversion, ce-id, ce-source and ce-type. What is no CloudEvent "
    "goes to POST /v1/events/{type}, its body alone"
)


def read(content_type: str, headers: Mapping[str, str], body: bytes) -> list[Incoming | Problem]:
    """The events of a request, each or why it is refused. `headers` have their names in small letters.

    The media type decides (HTTP binding 1.0.2, section 3): one event in the body, a batch of them, or otherwise one
    whose attributes are headers and whose data is the body as it is. Raises Refused when no event can be made out: for
    another media type, for a body that is no JSON to its end, and for a batch of more than MAX_EVENTS.

    Places are those in the request: `/data/Email` or `/3/time`, in sentences `$.data.Email` or `$[3].time`. Data in a
    body of its own or in base64 is not looked into.
    """
    sent = media_type(content_type)
    if sent == STRUCTURED:
        return [_structured(_text(body))]
    if sent == BATCH:
        return _batch(_text(body))
    if sent.startswith("application/cloudevents"):
        raise refuse(Kind.UNSUPPORTED_MEDIA_TYPE, f"CloudEvents are read as JSON only; {_WHAT_TO_SEND}")
    may_be_bare = not sent or is_json(sent)
    attributes = {name[len(_PREFIX) :]: value for name, value in headers.items() if name.startswith(_PREFIX)}
    if not attributes:
        raise refuse(Kind.BAD_CLOUDEVENT if may_be_bare else Kind.UNSUPPORTED_MEDIA_TYPE, _WHAT_TO_SEND)
    if not may_be_bare:
        raise refuse(Kind.UNSUPPORTED_MEDIA_TYPE, "the data of an event is JSON; send Content-Type: application/json")
    return [_binary(attributes, body)]


def from_line(text: bytes) -> Incoming | Problem:
    """The event in one line of application/x-ndjson, written as in structured mode, or why it is refused.

    Places are those in the line.
    """
    try:
        return _structured(_text(text))
    except Refused as error:
        return error.problem


def known_type(sent: str, known: Container[str]) -> str:
    """The event type that the `type` of a CloudEvent means: the first of these that is known, else `sent` itself.

    | in this order | of `com.acme.order.created.v1.2` |
    | --- | --- |
    | what was sent | `com.acme.order.created.v1.2` |
    | that without a version at its end | `com.acme.order.created` |
    | of this, what is behind each dot, the longest first | `acme.order.created`, `order.created`, `created` |

    A version is `.v` and a number, or several with dots between them. Capitals count. Names of event types may have
    dots themselves (EVENT_NAME_PATTERN of events/schemas), so that an event type may be called `com.example.created`.
    """
    if sent in known or len(sent) > MAX_TYPE_CHARACTERS:
        return sent
    left = _VERSION_SEGMENT.sub("", sent)
    while left and left not in known:
        left = left.partition(".")[2]
    return left or sent


# ---- attributes, in any mode -----------------------------------------------------------------------------------------


class _NoEvent(Exception):
    """Why this is none, MAX_PROBLEMS reasons at most. Their paths begin at the event."""

    def __init__(self, kind: Kind, findings: Sequence[Finding], event_id: str = "") -> None:
        super().__init__(kind.slug)
        self.kind = kind
        self.findings = findings[:MAX_PROBLEMS]
        self.event_id = event_id


class _Attributes:
    """The attributes of one event, collected as texts, and what is wrong with them."""

    def __init__(self, count: int) -> None:
        """Raises _NoEvent for too many, so that no more than these are ever looked at."""
        self._texts: dict[str, str] = {}
        self._findings: list[Finding] = []
        if count > MAX_ATTRIBUTES:
            says = f"has more than {MAX_ATTRIBUTES} attributes; leave some out"
            raise _NoEvent(Kind.BAD_CLOUDEVENT, [Finding((), "maxProperties", says)])

    def may_be_called(self, name: str) -> bool:
        if name in _TEXTS or (is_name(name) and name != "data"):
            return True
        says = f"has the attribute {quoted(name)}; names have 1 to 64 lower-case letters and digits, and none is data"
        self._findings.append(Finding((), "propertyNames", says))
        return False

    def add(self, name: str, text: str) -> None:
        if not is_text(text):
            self.refuse(name, "pattern", "holds a control character, a noncharacter or half of a character")
        elif not text and name in _TEXTS:
            self.refuse(name, "minLength", "must not be empty")
        elif name == "time" and not is_date_time(text):
            self.refuse(name, "format", "must be a date and time such as 2026-04-29T16:05:48Z")
        elif name == "specversion" and text not in _VERSIONS:
            self.refuse(name, "enum", f"must be {' or '.join(_VERSIONS)}")
        else:
            self._texts[name] = text

    def refuse(self, name: str, rule: str, says: str) -> None:
        self._findings.append(Finding((name,), rule, says))

    def refuse_twice(self, name: str) -> None:
        self._findings.append(Finding((), NOT_JSON, strictjson.twice(name)))

    def checked(self) -> dict[str, str]:
        """All of them, when all were added. Raises _NoEvent."""
        refused = {each.path[0] for each in self._findings if each.path}
        for name in _REQUIRED:
            if name not in self._texts and name not in refused:
                self.refuse(name, "required", "is required but missing")
        if self._texts.get("specversion") == "0.3":
            encoding = self._texts.get("datacontentencoding", "base64")
            if encoding.lower() != "base64":
                self.refuse("datacontentencoding", "enum", "must be base64; leave it out where data is not encoded")
        if self._findings:
            # Of a name that came twice, too, and it may be that of the id: then there is none to tell.
            if any(each.rule == NOT_JSON for each in self._findings):
                raise _NoEvent(Kind.BAD_BODY, self._findings)
            raise _NoEvent(Kind.BAD_CLOUDEVENT, self._findings, _event_id(self._texts))
        return self._texts


def _event_id(attributes: Mapping[str, str]) -> str:
    """Empty where it cannot be known."""
    if "source" not in attributes or "id" not in attributes:
        return ""
    return id_of_source(attributes["source"], attributes["id"])


def _incoming(attributes: Mapping[str, str], body: bytes) -> Incoming:
    """Raises _NoEvent for what is too large."""
    if len(body) > MAX_BODY_BYTES:
        says = f"has data of more than {MAX_BODY_BYTES} bytes; send a link to large content instead"
        raise _NoEvent(Kind.TOO_LARGE, [Finding((), "maxLength", says)], _event_id(attributes))
    context = dict(attributes)
    for name in _OF_THE_BODY[attributes["specversion"]]:
        context.pop(name, None)
    if problems := context_problems(context):  # of all together: each name and each text was looked at before
        says = f"has too much in its attributes, which {problems[0].reason}"
        raise _NoEvent(Kind.BAD_CLOUDEVENT, [Finding((), "maxLength", says)], _event_id(attributes))
    return Incoming(attributes["type"], _event_id(attributes), body, context, is_cloudevent=True)


# ---- binary mode -----------------------------------------------------------------------------------------------------


def _binary(headers: Mapping[str, str], body: bytes) -> Incoming | Problem:
    """`headers` without `ce-`."""
    try:
        return _incoming(_of_headers(headers, body), body)
    except _NoEvent as error:
        first, *more = error.findings
        where = f"the header {_PREFIX}{first.path[0]}" if first.path else "the event"
        return Problem(error.kind, _sentence(where, first.message, len(more)), event_id=error.event_id)


def _of_headers(headers: Mapping[str, str], body: bytes) -> dict[str, str]:
    attributes = _Attributes(len(headers))
    for name, value in headers.items():
        if not attributes.may_be_called(name):
            continue
        text, wrong = _decoded(value)
        if name == "datacontenttype":
            attributes.refuse(name, "not", "must not be sent; Content-Type says it (HTTP binding, section 3.1.1)")
        elif wrong:
            attributes.refuse(name, "pattern", wrong)
        else:
            attributes.add(name, text)
    texts = attributes.checked()
    if not body:
        raise _NoEvent(Kind.BAD_CLOUDEVENT, [Finding((), "required", _NO_DATA)], _event_id(texts))
    return texts


def _decoded(value: str) -> tuple[str, str]:
    """The text that the value of a header means, and what is wrong with it (HTTP binding 1.0.2, section 3.1.3.2)."""
    value = value.strip(" \t")
    if not (value.isascii() and value.isprintable()):
        return "", "holds more than printable ASCII; write other characters as %, from their bytes in UTF-8"
    if '"' in value:
        if (inside := _QUOTED_STRING.fullmatch(value)) is None:
            return "", "has a double quote that does not stand around all of it; write it as %22"
        value = _QUOTED_PAIR.sub(r"\1", inside[1])
    if "%" not in value:
        return value, ""
    if _STRAY_PERCENT.search(value):
        return "", "has a % that begins no escape; write it as %25"
    try:
        return unquote_to_bytes(value).decode(), ""
    except UnicodeDecodeError:
        return "", "has escapes that are no UTF-8"


# ---- structured and batched mode: the JSON format --------------------------------------------------------------------


class _Object(NamedTuple):
    """The members of a JSON object, each with its value and its text as it is, and the names that came again.

    Of too many for an event, those that make them too many.
    """

    members: dict[str, tuple[Any, str]]
    twice: list[str]


def _text(body: bytes) -> str:
    """Raises Refused."""
    if body.startswith(BOM_UTF8):
        raise _no_json((), "starts with a byte order mark; send UTF-8 without one")
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise _no_json((), f"is not UTF-8 at byte {error.start + 1}; encode it as UTF-8") from None


def _structured(text: str) -> Incoming | Problem:
    event, end = _event(text, _past_space(text, 0), ())
    _check_end(text, end)
    return event


def _batch(text: str) -> list[Incoming | Problem]:
    at = _past_space(text, 0)
    if not text.startswith("[", at):
        raise refuse(Kind.BAD_CLOUDEVENT, f"a batch is an array of CloudEvents; send one alone as {STRUCTURED}")
    events: list[Incoming | Problem] = []
    at = _past_space(text, at + 1)
    more = not text.startswith("]", at)
    if not more:
        at += 1
    while more:
        if len(events) == MAX_EVENTS:
            raise refuse(Kind.TOO_LARGE, f"a batch has at most {MAX_EVENTS} events; send several")
        event, end = _event(text, at, (len(events),))
        events.append(event)
        at, more = _past_comma(text, end, "]", ())
    _check_end(text, at)
    return events


def _event(text: str, at: int, base: Path) -> tuple[Incoming | Problem, int]:
    """The event that begins there, and its end. `base` is its place in the request. Raises Refused."""
    if text.startswith("{", at):
        found, end = _object(text, at, base)
    else:
        found, (_, end) = None, _value(text, at, base)
    try:
        return _of_object(found), end
    except _NoEvent as error:
        return _problem(error, base), end


def _of_object(found: _Object | None) -> Incoming:
    """Raises _NoEvent, also for what is no object."""
    if found is None:
        raise _NoEvent(Kind.BAD_CLOUDEVENT, [Finding((), "type", "must be an object, one CloudEvent")])
    members = found.members
    attributes = _Attributes(len(members.keys() - _DATA))
    for name in found.twice:
        attributes.refuse_twice(name)
    for name, (value, raw) in members.items():
        if name in _DATA or value is None or not attributes.may_be_called(name):
            continue
        if raw[0] == '"':
            attributes.add(name, value)
        elif wrong := _no_attribute(name, raw):
            attributes.refuse(name, *wrong)
        else:
            attributes.add(name, str(int(raw)) if raw[0] in _NUMBER_BEGINS else raw)
    texts = attributes.checked()
    try:
        return _incoming(texts, _data(texts, members))
    except _NoEvent as error:
        error.event_id = _event_id(texts)
        raise


def _no_attribute(name: str, raw: str) -> tuple[str, str] | None:
    """The rule that a value breaks that is no string, and what is said of it. `raw` is its JSON text."""
    if raw in _NO_NUMBERS:
        return NOT_JSON, strictjson.no_number(raw)
    if name in _TEXTS:
        return "type", "must be a string"
    if raw in ("true", "false") or (_INTEGER.fullmatch(raw) and int(raw) in _INTEGERS):
        return None
    return "type", "must be a string, true, false or an integer of 32 bits; write any other value as a string"


def _data(attributes: Mapping[str, str], members: Mapping[str, tuple[Any, str]]) -> bytes:
    """The body of an event. Raises _NoEvent."""
    is_old = attributes["specversion"] == "0.3"
    data, in_base64 = members.get("data"), members.get("data_base64", _UNSET)
    if is_old and in_base64 != _UNSET:
        raise _no_data("data_base64", "not", "is not known in 0.3; write data, and base64 as datacontentencoding")
    if data is None and in_base64 == _UNSET:
        raise _NoEvent(Kind.BAD_CLOUDEVENT, [Finding((), "required", _NO_DATA)])
    if not _is_json_type(attributes.get("datacontenttype", "application/json")):
        says = "must be application/json, or end in +json, and in UTF-8; data of another kind is not taken"
        raise _NoEvent(Kind.UNSUPPORTED_MEDIA_TYPE, [Finding(("datacontenttype",), "enum", says)])
    if data is None:
        return _from_base64("data_base64", *in_base64)
    if in_base64 != _UNSET:
        raise _no_data("data_base64", "not", "stands beside data; send one of them")
    if is_old and "datacontentencoding" in attributes:
        return _from_base64("data", *data)
    return _strict(data[1].encode())


def _from_base64(name: str, value: Any, raw: str) -> bytes:
    if raw[0] == '"':
        try:
            return binascii.a2b_base64(value, strict_mode=True)
        except ValueError:
            pass
    raise _no_data(name, "contentEncoding", "must be a string in base64 with its padding (RFC 4648, section 4)")


def _strict(body: bytes) -> bytes:
    """The data as it is. Raises _NoEvent unless it is strict JSON."""
    if len(body) <= MAX_BODY_BYTES:
        _, findings = strictjson.read(body)
        if findings:
            of_the_event = [each._replace(path=("data", *each.path)) for each in findings]
            raise _NoEvent(Kind.BAD_BODY, of_the_event)
    return body


def _is_json_type(content_type: str) -> bool:
    try:
        return is_json(media_type(content_type))
    except Refused:
        return False


def _no_data(name: str, rule: str, says: str) -> _NoEvent:
    return _NoEvent(Kind.BAD_CLOUDEVENT, [Finding((name,), rule, says)])


# ---- JSON text, of which only the data is kept as it is --------------------------------------------------------------


def _object(text: str, at: int, base: Path) -> tuple[_Object, int]:
    """The object whose brace stands there, and its end. Raises Refused."""
    members: dict[str, tuple[Any, str]] = {}
    twice: list[str] = []
    beginning, at = at, _past_space(text, at + 1)
    if text.startswith("}", at):
        return _Object(members, twice), at + 1
    more = True
    while more:
        if len(members) + len(twice) > MAX_ATTRIBUTES + len(_DATA):
            _, at = _value(text, beginning, base)  # ten times as quick as to go on
            break
        if not text.startswith('"', at):
            raise _syntax(text, at, base, "expecting a name in double quotes")
        name, end = _value(text, at, base)
        if (colon := _COLON.match(text, end)) is None:
            raise _syntax(text, end, base, "expecting ':'")
        start = colon.end()
        value, end = _value(text, start, (*base, name))
        if name in members:
            twice.append(name)
        members[name] = value, text[start:end]
        at, more = _past_comma(text, end, "}", base)
    return _Object(members, twice), at


def _value(text: str, at: int, path: Path) -> tuple[Any, int]:
    """The value that begins there, and its end. Raises Refused."""
    try:
        return _SCAN(text, at)
    except json.JSONDecodeError as error:
        raise _syntax(text, error.pos, path, error.msg) from None
    except RecursionError:
        raise _no_json(path, strictjson.TOO_DEEP) from None


def _past_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _past_comma(text: str, at: int, closing: str, path: Path) -> tuple[int, bool]:
    """Where the next member begins, and that there is one; else the end. Raises Refused."""
    found = _COMMA_OR_END.match(text, at)
    if found is None or found[1] not in (",", closing):
        raise _syntax(text, at, path, f"expecting ',' or '{closing}'")
    return found.end(), found[1] == ","


def _check_end(text: str, at: int) -> None:
    at = _past_space(text, at)
    if at < len(text):
        raise _syntax(text, at, (), "expecting its end")


def _syntax(text: str, at: int, path: Path, message: str) -> Refused:
    return _no_json(path, strictjson.no_syntax(json.JSONDecodeError(message, text, at)))


# ---- how it is told --------------------------------------------------------------------------------------------------


def _no_json(path: Path, says: str) -> Refused:
    """Of a whole request or line."""
    where = place(path) if path else "the body"
    return refuse(Kind.BAD_BODY, _sentence(where, says), faults=(Fault(pointer(path), NOT_JSON, says),))


def _problem(error: _NoEvent, base: Path) -> Problem:
    first, *more = error.findings
    path = *base, *first.path
    detail = _sentence(place(path) if path else "the event", first.message, len(more))
    return Problem(error.kind, detail, tuple(_fault(each, base) for each in error.findings), event_id=error.event_id)


def _fault(finding: Finding, base: Path) -> Fault:
    if finding.rule == "required" and finding.path:  # a pointer leads to something (RFC 6901, section 4)
        return Fault(pointer(base), finding.rule, f"{finding.path[0]} {finding.message}")
    return Fault(pointer((*base, *finding.path)), finding.rule, finding.message)


def _sentence(where: str, says: str, more: int = 0) -> str:
    return f"{where} {says}, and {more} more" if more else f"{where} {says}"
