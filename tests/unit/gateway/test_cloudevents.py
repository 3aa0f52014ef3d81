"""The cases are our own reading of CloudEvents 1.0.2 (HTTP binding, JSON format) and of 0.3."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.http import HTTPMessage, to_binary_event, to_structured_event
from cloudevents.core.v03.event import CloudEvent as OldCloudEvent
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given, settings
from hypothesis import strategies as st

from hookline.events import strictjson
from hookline.events.context import CONTEXT_BYTES, PREFIX
from hookline.events.envelope import MAX_BODY_BYTES
from hookline.gateway.cloudevents import (
    BATCH,
    MAX_ATTRIBUTES,
    STRUCTURED,
    from_line,
    known_type,
    read,
)
from hookline.gateway.incoming import MAX_EVENTS, Incoming, id_of_source
from hookline.gateway.problem import Fault, Kind, Problem, Refused

CANARY = "canary-91ab"
REQUIRED = {"specversion": "1.0", "id": "4711", "source": "/shop", "type": "IdentityCreated"}
OLD = {**REQUIRED, "specversion": "0.3"}
DATA = {"data": {"a": 1}}
BODY = b'{"a": 1}'
EVENT_ID = id_of_source("/shop", "4711")


def structured(**members: Any) -> bytes:
    return json.dumps({**REQUIRED, **DATA, **members}).encode()


def binary(**attributes: str) -> dict[str, str]:
    return {f"ce-{name}": value for name, value in {**REQUIRED, **attributes}.items()}


def only(events: list[Incoming | Problem]) -> Incoming:
    [event] = events
    assert isinstance(event, Incoming), event
    return event


def read_structured(text: bytes) -> Incoming:
    return only(read(STRUCTURED, {}, text))


def read_binary(headers: Mapping[str, str], body: bytes = BODY) -> Incoming:
    return only(read("application/json", headers, body))


def verdicts(content_type: str, headers: Mapping[str, str], body: bytes) -> list[Incoming | Problem]:
    """Also of a request that is refused as a whole."""
    try:
        return read(content_type, headers, body)
    except Refused as error:
        return [error.problem]


def problem_of(content_type: str, headers: Mapping[str, str], body: bytes) -> Problem:
    """Of a request with one event, wherever it was found out."""
    [event] = verdicts(content_type, headers, body)
    assert isinstance(event, Problem), event
    return event


# ---- the mode of a request -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content_type",
    [
        "application/cloudevents+json",
        "application/cloudevents+json; charset=utf-8",
        'Application/CloudEvents+JSON;Charset="UTF-8"',
    ],
)
def test_the_media_type_of_the_json_format_makes_a_request_structured(content_type: str) -> None:
    events = read(content_type, {"ce-id": "of a header", "ce-type": "Other"}, structured())
    assert events == [Incoming("IdentityCreated", EVENT_ID, BODY, REQUIRED, is_cloudevent=True)]


@pytest.mark.parametrize(
    "content_type", ["application/cloudevents-batch+json", "application/cloudevents-batch+json;charset=utf-8"]
)
def test_the_media_type_of_the_batch_format_makes_a_request_a_batch(content_type: str) -> None:
    assert only(read(content_type, {}, b"[" + structured() + b"]")).body == BODY


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json; charset=utf-8", "application/vnd.example+json", ""]
)
def test_any_other_json_with_attributes_as_headers_is_binary(content_type: str) -> None:
    headers = {**binary(), "content-type": content_type, "host": "gateway", "x-ce-id": "other"}
    events = read(content_type, headers, b" [1.0]\n")
    assert events == [Incoming("IdentityCreated", EVENT_ID, b" [1.0]\n", REQUIRED, is_cloudevent=True)]


@pytest.mark.parametrize(
    ("content_type", "headers", "kind"),
    [
        ("application/cloudevents+avro", binary(), Kind.UNSUPPORTED_MEDIA_TYPE),
        ("application/cloudevents+protobuf", {}, Kind.UNSUPPORTED_MEDIA_TYPE),
        ("application/cloudevents+xml", {}, Kind.UNSUPPORTED_MEDIA_TYPE),
        ("application/cloudevents-batch+avro", {}, Kind.UNSUPPORTED_MEDIA_TYPE),
        ("application/cloudevents", {}, Kind.UNSUPPORTED_MEDIA_TYPE),
        ("application/cloudevents+json; charset=latin-1", {}, Kind.UNSUPPORTED_MEDIA_TYPE),
        ("application/json; charset=utf-16", binary(), Kind.UNSUPPORTED_MEDIA_TYPE),
        ("text/plain", binary(), Kind.UNSUPPORTED_MEDIA_TYPE),
        ("application/x-www-form-urlencoded", {}, Kind.UNSUPPORTED_MEDIA_TYPE),
        ("application/json", {}, Kind.BAD_CLOUDEVENT),
        ("", {"host": "gateway"}, Kind.BAD_CLOUDEVENT),
    ],
)
def test_a_request_in_no_mode_is_refused_as_a_whole(content_type: str, headers: Mapping[str, str], kind: Kind) -> None:
    with pytest.raises(Refused) as refused:
        read(content_type, headers, BODY)
    assert refused.value.problem.kind is kind


@pytest.mark.parametrize("content_type", ["text/plain", "application/json", "application/cloudevents+avro"])
def test_who_sends_no_cloudevent_hears_what_to_send_and_where_a_bare_body_goes(content_type: str) -> None:
    detail = problem_of(content_type, {}, BODY).detail
    for each in (STRUCTURED, BATCH, "application/x-ndjson", "ce-specversion", "POST /v1/events/{type}"):
        assert each in detail


# ---- attributes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("version", ["1.0", "0.3"])
def test_no_required_attribute_may_be_missing_null_or_empty(name: str, version: str) -> None:
    left = {key: value for key, value in {**REQUIRED, "specversion": version}.items() if key != name}
    missing = json.dumps({**left, **DATA}).encode()
    null = json.dumps({**left, **DATA, name: None}).encode()
    for text in (missing, null):
        said = problem_of(STRUCTURED, {}, text)
        assert (said.kind, said.detail) == (Kind.BAD_CLOUDEVENT, f"$.{name} is required but missing")
        assert said.faults == (Fault("", "required", f"{name} is required but missing"),)
    headers = {f"ce-{key}": value for key, value in left.items()}
    assert problem_of("application/json", headers, BODY).detail == f"the header ce-{name} is required but missing"
    assert problem_of(STRUCTURED, {}, json.dumps({**left, **DATA, name: ""}).encode()).faults[0].pointer == f"/{name}"
    assert problem_of("application/json", {**headers, f"ce-{name}": ""}, BODY).kind is Kind.BAD_CLOUDEVENT


@pytest.mark.parametrize("name", [*REQUIRED, "subject", "time", "dataschema", "schemaurl", "datacontenttype"])
@pytest.mark.parametrize("value", [1, 1.0, True, [], {}])
def test_attributes_of_the_specification_are_strings(name: str, value: object) -> None:
    said = problem_of(STRUCTURED, {}, structured(**{name: value}))
    assert said.faults == (Fault(f"/{name}", "type", "must be a string"),)


@pytest.mark.parametrize("version", ["", "1", "1.0.2", "1.1", "0.1", "0.2", "2.0", "1.0-rc1"])
def test_other_versions_are_refused(version: str) -> None:
    assert problem_of(STRUCTURED, {}, structured(specversion=version)).kind is Kind.BAD_CLOUDEVENT
    assert problem_of("application/json", binary(specversion=version), BODY).kind is Kind.BAD_CLOUDEVENT


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ('"a b"', "a b"),
        ('""', ""),
        ('"\\u00fc\\n"', None),
        ('"\\ud83d\\ude00"', "\N{GRINNING FACE}"),
        ("true", "true"),
        ("false", "false"),
        ("0", "0"),
        ("-0", "0"),
        ("-2147483648", "-2147483648"),
        ("2147483647", "2147483647"),
        ("2147483648", None),
        ("-2147483649", None),
        ("1" * 5000, None),
        ("1.0", None),
        ("1e2", None),
        ("[]", None),
        ('{"a": {"b": 1}}', None),
        ('"\\u0000"', None),
        ('"\\u0085"', None),
        ('"\\ud800"', None),
        ('"\\ufffe"', None),
        ('"\\ufdd0"', None),
        ('"\\ud83f\\udfff"', None),
    ],
)
def test_an_extension_is_kept_as_its_canonical_text_or_refused(value: str, text: str | None) -> None:
    body = structured()[:-1] + f', "ext": {value}}}'.encode()
    if text is None:
        assert problem_of(STRUCTURED, {}, body).faults[0].pointer == "/ext"
    else:
        assert read_structured(body).context["ext"] == text


def test_a_null_attribute_is_one_that_is_not_there() -> None:
    assert (
        read_structured(structured(subject=None, ext=None, datacontenttype=None, data_base64=None)).context == REQUIRED
    )


@pytest.mark.parametrize("name", ["Ext", "my-ext", "my_ext", "", "é", "a b", "a" * 65, "data\ud800", "ext\x00"])
def test_a_name_of_other_than_lower_case_letters_and_digits_is_refused_and_told(name: str) -> None:
    said = problem_of(STRUCTURED, {}, structured(**{name: CANARY}))
    assert (said.kind, said.faults[0].rule) == (Kind.BAD_CLOUDEVENT, "propertyNames")
    assert json.dumps(name)[:20] in said.detail
    if name.isascii():
        assert problem_of("application/json", {**binary(), f"ce-{name}": "x"}, BODY).detail == said.detail


def test_data_is_no_name_of_a_header() -> None:
    assert '"data"' in problem_of("application/json", binary(data="x"), BODY).detail


@pytest.mark.parametrize(
    "time", ["2026-04-29T16:05:48Z", "2026-04-29t16:05:48.123456789+02:00", "2016-12-31T23:59:60Z"]
)
def test_a_time_of_rfc_3339_is_kept_as_sent(time: str) -> None:
    assert read_structured(structured(time=time)).context["time"] == time
    assert read_binary(binary(time=time)).context["time"] == time


@pytest.mark.parametrize("time", ["", "now", "2026-04-29", "2026-04-29T16:05:48", "2026-13-29T16:05:48Z", "1777478748"])
def test_any_other_time_is_refused(time: str) -> None:
    assert problem_of(STRUCTURED, {}, structured(time=time)).faults[0].pointer == "/time"
    assert problem_of("application/json", binary(time=time), BODY).detail.startswith("the header ce-time ")


def test_all_attributes_travel_but_those_that_say_how_the_data_is_written() -> None:
    more = {"subject": "s", "time": "2026-04-29T16:05:48Z", "traceparent": "00-1-2-03", "tracestate": "a=b"}
    sent = {**more, "dataschema": "urn:a", "datacontentencoding": "base64"}
    new = read_structured(structured(**sent, datacontenttype="application/json"))
    assert new.context == {**REQUIRED, **sent}
    assert read_binary(binary(**sent)).context == new.context
    old_encoded = {**OLD, **more, "schemaurl": "urn:a", "datacontentencoding": "BASE64"}
    old = read_binary({f"ce-{name}": value for name, value in old_encoded.items()})
    assert old.context == {**OLD, **more, "schemaurl": "urn:a"}


def test_source_and_id_together_are_the_id_in_every_mode() -> None:
    ids = {read_structured(structured()).id, read_binary(binary()).id, only([from_line(structured())]).id}
    assert ids == {EVENT_ID}
    assert read_structured(structured(id="471", source="/shop1")).id != EVENT_ID
    assert problem_of(STRUCTURED, {}, structured(time="x")).event_id == EVENT_ID
    assert problem_of(STRUCTURED, {}, structured(datacontenttype="text/xml")).event_id == EVENT_ID


def test_more_attributes_than_allowed_are_refused_without_a_look_at_them() -> None:
    most = {f"e{number}": "\x00" for number in range(MAX_ATTRIBUTES - len(REQUIRED))}
    assert len(problem_of(STRUCTURED, {}, structured(**most)).faults) == 10
    [fault] = problem_of(STRUCTURED, {}, structured(**most, more="")).faults
    assert fault.rule == "maxProperties"
    assert "more than 30" in problem_of("application/json", binary(**most, more=""), BODY).detail


def test_attributes_may_take_as_much_in_headers_as_a_context_and_no_more() -> None:
    left = CONTEXT_BYTES - sum(len(f"{PREFIX}{name}: {text}\r\n") for name, text in {**REQUIRED, "ext": ""}.items())
    assert read_structured(structured(ext="a" * left))
    assert read_binary(binary(ext="a" * left))
    for longer in ("a" * (left + 1), "ü" * (left // len("%C3%BC") + 1)):
        said = problem_of(STRUCTURED, {}, structured(ext=longer))
        assert (said.kind, said.faults[0].rule, said.event_id) == (Kind.BAD_CLOUDEVENT, "maxLength", EVENT_ID)
        in_headers = problem_of("application/json", binary(ext=quote(longer)), BODY)
        assert (in_headers.kind, in_headers.detail) == (said.kind, said.detail)


# ---- values of headers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € \N{GRINNING FACE}"),
        ("%c3%bc", "ü"),
        ("%41%7e", "A~"),
        ("100%25", "100%"),
        ("%2525", "%25"),
        ("a b", "a b"),
        ("a+b", "a+b"),
        ("  a\t", "a"),
        ('"a b"', "a b"),
        ('"a \\"b\\" \\\\ \\c"', 'a "b" \\ c'),
        ('"%22"', '"'),
        ('""', ""),
        ("", ""),
        ("%22a%22", '"a"'),
        ("a\\b", "a\\b"),
        ("'a'", "'a'"),
        ("a, b; c=d (e)", "a, b; c=d (e)"),
        ("true", "true"),
        ("007", "007"),
        ("%C0%A0", None),
        ("%ED%A0%80", None),
        ("%FF", None),
        ("%E2%82", None),
        ("50%", None),
        ("%4", None),
        ("%zz", None),
        ("% 41", None),
        ("ü", None),
        ("\xc3\xbc", None),
        ("a\tb", None),
        ("%0A", None),
        ("%00", None),
        ("%C2%85", None),
        ("%EF%BF%BE", None),
        ('a"b', None),
        ('"a', None),
        ('"a" "b"', None),
        ('"a\\"', None),
        ('"', None),
    ],
)
def test_the_value_of_a_header_is_unquoted_and_then_decoded_once_or_refused(sent: str, text: str | None) -> None:
    headers = binary(ext=sent)
    if text is None:
        said = problem_of("application/json", headers, BODY)
        assert said.kind is Kind.BAD_CLOUDEVENT
        assert said.detail.startswith("the header ce-ext ")
    else:
        assert read_binary(headers).context["ext"] == text


def test_the_type_of_the_data_has_no_header_of_its_own() -> None:
    assert "Content-Type" in problem_of("application/json", binary(datacontenttype="application/json"), BODY).detail


# ---- data ------------------------------------------------------------------------------------------------------------

AS_IT_STANDS = [
    "1.0", "1e2", "-0", "0.10", "12345678901234567890123", "1E+2", '"\\u00fc\\/ü"', '"a"', "null", "true", "[]", "{ }",
    "[1, 2 ,3\t]", '{"b":1,\r\n "a":"}"}', '{"data": [1], "id": "\\"{"}', '["\\\\", "]"]',
]  # fmt: skip


@pytest.mark.parametrize("data", AS_IT_STANDS)
@pytest.mark.parametrize(
    "layout",
    ['{"data":DATA,"x":1,OTHERS}', '{ OTHERS ,\n"x": 0 , "data"\t:\r\n DATA \n}', '{"d\\u0061ta": DATA, OTHERS}'],
)
def test_the_body_is_the_text_of_data_as_it_stands_in_the_request(data: str, layout: str) -> None:
    text = layout.replace("OTHERS", json.dumps(REQUIRED)[1:-1]).replace("DATA", data).encode()
    assert read_structured(text).body == data.encode()
    assert only([from_line(b" \n" + text + b"\r\n")]).body == data.encode()
    both = read(BATCH, {}, b" [ " + text + b" , " + text + b" ] \n")
    assert [each.body for each in both if isinstance(each, Incoming)] == [data.encode()] * 2


@pytest.mark.parametrize("members", [{}, {"data_base64": None}])
def test_an_event_without_data_is_refused(members: dict[str, Any]) -> None:
    for required in (REQUIRED, OLD):
        said = problem_of(STRUCTURED, {}, json.dumps({**required, **members}).encode())
        assert (said.kind, said.event_id) == (Kind.BAD_CLOUDEVENT, EVENT_ID)
        assert "has no data" in said.detail
    said = problem_of("application/json", binary(), b"")
    assert (said.kind, said.event_id) == (Kind.BAD_CLOUDEVENT, EVENT_ID)
    assert "has no data" in said.detail


def test_data_in_base64_is_the_bytes_that_it_encodes() -> None:
    body = b'{"a": 1.0, "b": "\xc3\xbc"}'
    text = base64.b64encode(body).decode()
    new = {**REQUIRED, "data_base64": text}
    old = {**OLD, "data": text, "datacontentencoding": "base64"}
    for event in (new, old, {**new, "datacontenttype": "application/x+json"}):
        assert read_structured(json.dumps(event).encode()).body == body


@pytest.mark.parametrize(
    "value", ["a", "YQ", "YQ=", "YQ==\n", "Y Q==", "_w==", "ü", "YQ==YQ==", 12345678, True, [], {}]
)
def test_data_in_any_other_writing_than_base64_is_refused_where_base64_is_said(value: object) -> None:
    new = problem_of(STRUCTURED, {}, json.dumps({**REQUIRED, "data_base64": value}).encode())
    assert [each.pointer for each in new.faults] == ["/data_base64"]
    old = problem_of(STRUCTURED, {}, json.dumps({**OLD, "data": value, "datacontentencoding": "base64"}).encode())
    assert [each.pointer for each in old.faults] == ["/data"]


@pytest.mark.parametrize(
    ("event", "pointer"),
    [
        ({**REQUIRED, "data": 1, "data_base64": "MQ=="}, "/data_base64"),
        ({**REQUIRED, "data": None, "data_base64": "MQ=="}, "/data_base64"),
        ({**OLD, "data_base64": "MQ=="}, "/data_base64"),
        ({**OLD, "data": 1, "data_base64": "MQ=="}, "/data_base64"),
        ({**OLD, "data": "MQ==", "datacontentencoding": "gzip"}, "/datacontentencoding"),
        ({**OLD, "data": "MQ==", "datacontentencoding": 1}, "/datacontentencoding"),
    ],
)
def test_data_is_there_once_and_as_its_version_has_it(event: dict[str, Any], pointer: str) -> None:
    said = problem_of(STRUCTURED, {}, json.dumps(event).encode())
    assert (said.kind, said.faults[0].pointer) == (Kind.BAD_CLOUDEVENT, pointer)


def test_base64_of_the_old_version_is_not_taken_off_a_body_of_its_own() -> None:
    headers = {f"ce-{name}": value for name, value in {**OLD, "datacontentencoding": "base64"}.items()}
    assert read_binary(headers, b'"MQ=="').body == b'"MQ=="'


@pytest.mark.parametrize("sent", ["application/json", "application/vnd.a.b+json; charset=UTF-8", "APPLICATION/JSON"])
def test_data_may_be_of_any_json_type(sent: str) -> None:
    assert read_structured(structured(datacontenttype=sent)).body == BODY


@pytest.mark.parametrize(
    "sent", ["text/xml", "application/octet-stream", "application/json; charset=latin-1", "json", ";"]
)
def test_data_of_any_other_type_is_not_taken(sent: str) -> None:
    said = problem_of(STRUCTURED, {}, structured(datacontenttype=sent))
    assert (said.kind, said.faults[0].pointer) == (Kind.UNSUPPORTED_MEDIA_TYPE, "/datacontenttype")


def test_data_beyond_the_size_of_a_body_is_too_large_in_every_mode() -> None:
    most = json.dumps("a" * (MAX_BODY_BYTES - 2)).encode()
    more = most[:-1] + b'a"'
    for body, fits in ((most, True), (more, False)):
        raw = structured(data=0).replace(b'"data": 0', b'"data": ' + body)
        encoded = json.dumps({**REQUIRED, "data_base64": base64.b64encode(body).decode()}).encode()
        sent = [(STRUCTURED, {}, raw), (STRUCTURED, {}, encoded), ("application/json", binary(), body)]
        for each in sent:
            if fits:
                assert only(read(*each)).body == body
            else:
                assert problem_of(*each).kind is Kind.TOO_LARGE


# ---- batches and lines -----------------------------------------------------------------------------------------------


def batch(*events: bytes) -> bytes:
    return b"[" + b",".join(events) + b"]"


@pytest.mark.parametrize("text", [b"[]", b" [ ] \n"])
def test_an_empty_batch_has_no_verdicts(text: bytes) -> None:
    assert read(BATCH, {}, text) == []


def test_a_bad_event_of_a_batch_does_not_refuse_the_others() -> None:
    bad = [
        structured(time="x"),
        structured(id=None),
        b"5",
        b"[{}]",
        b"{}",
        structured(datacontenttype="text/xml"),
        structured(data=0).replace(b'"data": 0', b'"data": {"a/b": [NaN]}'),
        structured()[:-1] + b',"id":"2"}',
        structured(data="[" * 40).replace(b'"' + b"[" * 40 + b'"', b"[" * 40 + b"]" * 40),
    ]
    good = [structured(id=str(number)) for number in range(len(bad))]
    events = read(BATCH, {}, batch(*(text for pair in zip(good, bad, strict=True) for text in pair)))
    assert [each.context["id"] for each in events[::2] if isinstance(each, Incoming)] == list(map(str, range(len(bad))))
    problems = [each for each in events[1::2] if isinstance(each, Problem)]
    assert [each.faults[0].pointer for each in problems] == [
        "/1/time", "/3", "/5", "/7", "/9", "/11/datacontenttype", "/13/data/a~1b/0", "/15",
        "/17/data" + "/0" * 32,
    ]  # fmt: skip
    assert [each.kind.status for each in problems] == [400, 400, 400, 400, 400, 415, 400, 400, 400]


def test_the_events_of_a_batch_may_differ_in_their_versions() -> None:
    events = read(BATCH, {}, batch(structured(), structured(specversion="0.3")))
    assert [each.context["specversion"] for each in events if isinstance(each, Incoming)] == ["1.0", "0.3"]


def test_a_batch_has_as_many_events_as_allowed_and_no_more() -> None:
    assert len(read(BATCH, {}, batch(*[b"0"] * MAX_EVENTS))) == MAX_EVENTS
    assert problem_of(BATCH, {}, batch(*[b"0"] * (MAX_EVENTS + 1))).kind is Kind.TOO_LARGE


@pytest.mark.parametrize("text", [structured(), b"", b"null", b'"["'])
def test_a_batch_is_an_array(text: bytes) -> None:
    assert problem_of(BATCH, {}, text).kind is Kind.BAD_CLOUDEVENT


@pytest.mark.parametrize("text", [b"[]", b"1", b'"{}"', batch(structured())])
def test_an_event_is_an_object(text: bytes) -> None:
    said = problem_of(STRUCTURED, {}, text)
    assert said.faults == (Fault("", "type", "must be an object, one CloudEvent"),)
    assert from_line(text) == said


@pytest.mark.parametrize("text", [b"", b"{", structured()[:-1], structured() + b"}", b"\xff"])
def test_a_line_that_is_no_json_is_refused_alone(text: bytes) -> None:
    said = from_line(text)
    assert isinstance(said, Problem)
    assert said.kind is Kind.BAD_BODY


# ---- strict JSON -----------------------------------------------------------------------------------------------------

HEAD = json.dumps(REQUIRED).encode()[:-1]


@pytest.mark.parametrize(
    ("text", "pointer", "says"),
    [
        (b"", "", "line 1, column 1"),
        (b" \n", "", "line 2, column 1"),
        (b"\xef\xbb\xbf" + structured(), "", "byte order mark"),
        (structured() + b"\xff", "", "not UTF-8 at byte"),
        (structured().decode().encode("utf-16"), "", "not UTF-8 at byte 1;"),
        (structured() + structured(), "", "expecting its end"),
        (structured() + b"]", "", "expecting its end"),
        (HEAD, "", "expecting ',' or '}'"),
        (HEAD + b"]", "", "expecting ',' or '}'"),
        (HEAD + b",}", "", "expecting a name in double quotes"),
        (HEAD + b",'data': 1}", "", "expecting a name in double quotes"),
        (HEAD + b',"data" 1}', "", "expecting ':'"),
        (HEAD + b',"data"', "", "expecting ':'"),
        (HEAD + b',"data": }', "/data", "expecting value"),
        (HEAD + b',"data": {"a": tru}}', "/data", "line 1, column 97: expecting value"),
        (HEAD + b',"data": 01}', "", "expecting ',' or '}'"),
        (HEAD + b',"data": "\t"}', "/data", "invalid control character"),
        (HEAD + b',"d\\x": 1}', "", "invalid"),
        (HEAD + b',\x0c"data": 1}', "", "expecting a name"),
        (HEAD + b',"data": 1,"data": 1}', "", 'has the name "data" more than once'),
        (HEAD + b',"\\u0069d": "2", "data": 1}', "", 'has the name "id" more than once'),
        (HEAD + b',"data": {"a": 1, "a": 2}}', "/data", 'has the name "a" more than once'),
        (HEAD + b',"data": [0, {"a": -Infinity}]}', "/data/1/a", "is -Infinity"),
        (HEAD + b',"ext": NaN, "data": 1}', "/ext", "is NaN, which JSON does not have"),
        (HEAD + b',"time": Infinity, "data": 1}', "/time", "is Infinity, which JSON does not have"),
        (HEAD + b',"data": {"a": "\\ud800"}}', "/data/a", "half of a surrogate pair"),
        (HEAD + b',"data": {"\\ud800": {"b": NaN}}}', "/data", ""),
        (HEAD + b',"data": {"a": 1e400}}', "/data/a", "beyond a 64-bit float"),
        (HEAD + b',"data": {"a": -' + b"9" * 10_000 + b"}}", "/data/a", "number"),
        (HEAD + b',"data": {"a~/": ' + b"[" * 32 + b"]" * 32 + b"}}", "/data/a~0~1" + "/0" * 31, "deeper than 32"),
        (HEAD + b',"data": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "/data", "nests deeper than 32"),
        (HEAD + b',"ext": ' + b'{"a":' * 10_000 + b"1" + b"}" * 10_000 + b"}", "/ext", "nests deeper than 32"),
        (b"[" * 10_000, "", "nests deeper than 32"),
    ],
)  # fmt: skip
def test_what_is_no_strict_json_is_told_with_its_place(text: bytes, pointer: str, says: str) -> None:
    said = problem_of(STRUCTURED, {}, text)
    assert (said.kind, said.faults[0].pointer, said.faults[0].rule) == (Kind.BAD_BODY, pointer, "json")
    assert says in said.faults[0].detail
    assert said.faults[0].detail in said.detail


def test_a_batch_that_is_no_json_to_its_end_is_refused_as_a_whole() -> None:
    for text in (batch(structured())[:-1], batch(structured()) + b",", batch(structured(), b""), b"[,]", b"[{}}"):
        with pytest.raises(Refused, match="is not JSON"):
            read(BATCH, {}, text)
    with pytest.raises(Refused) as refused:
        read(BATCH, {}, batch(structured(), HEAD + b',"data": [1,]}'))
    assert refused.value.problem.faults[0].pointer == "/1/data"


# ---- problems --------------------------------------------------------------------------------------------------------


def test_no_problem_tells_a_value() -> None:
    values: list[Any] = [
        CANARY,
        f"{CANARY}\x00",
        f"{CANARY}%",
        f'{CANARY}"',
        f"{CANARY}ü",
        [CANARY],
        {CANARY: 1},
        910091,
    ]
    names = [*REQUIRED, "time", "subject", "datacontenttype", "datacontentencoding", "ext", "Ext", "data_base64"]
    said: list[tuple[str, dict[str, str], bytes]] = []
    for name in names:
        for value in values:
            for version in ("1.0", "0.3"):
                text = structured(**{"specversion": version, name: value, "data": {CANARY: 1}})
                said.append((STRUCTURED, {}, text))
                said.append((STRUCTURED, {}, text[:-1] + b"NaN}"))
                said.append(("application/json", binary(**{name: str(value)}), b""))
                said.append((f"text/{CANARY}", binary(**{name: str(value)}), b""))
    for each in said:
        for verdict in verdicts(*each):
            if isinstance(verdict, Problem):
                assert CANARY not in str(verdict)
                assert "910091" not in verdict.body().decode()


def test_a_long_name_is_shortened_where_it_is_told() -> None:
    said = problem_of(STRUCTURED, {}, structured(**{"X" * 10_000: 1, "y" * 10_000: []}))
    assert len(said.faults) == 2
    assert len(said.body()) < 1000


@pytest.mark.parametrize("name", ["z" * 10_000, "\ud800"])
def test_a_pointer_ends_before_a_name_that_is_long_or_cannot_be_sent(name: str) -> None:
    said = problem_of(STRUCTURED, {}, structured(data={"a": {name: {"b": float("nan")}}}))
    assert {each.pointer for each in said.faults} == {"/data/a"}
    assert len(said.body()) < 1000


def test_no_sentence_holds_what_a_terminal_would_obey() -> None:
    said = problem_of(STRUCTURED, {}, structured(data={"a": {"\x1b[1m": float("nan")}}))
    assert said.detail.startswith('$.data.a["\\u001b[1m"] is NaN')


def test_too_many_members_of_an_event_of_a_batch_do_not_refuse_the_others() -> None:
    many = structured(**{f"e{number}": {"a": 1} for number in range(1000)})
    again = structured()[:-1] + b',"a":1' * 1000 + b"}"
    events = read(BATCH, {}, batch(structured(), many, again, structured()))
    assert [isinstance(each, Incoming) for each in events] == [True, False, False, True]
    with pytest.raises(Refused, match="line 1, column"):
        read(BATCH, {}, batch(many[:-1] + b",}"))


# ---- other writers ---------------------------------------------------------------------------------------------------

ODD = [
    "ü",
    "Euro € \N{GRINNING FACE}",
    "100%",
    "%20",
    'say "hi"',
    '"',
    "a b",
    "\\",
    "a,b;c=d",
    "~",
    "/ü?a=%C3%BC#x",
    "'",
]


def sdk_event(version: str, **attributes: Any) -> BaseCloudEvent:
    event: Callable[..., BaseCloudEvent] = CloudEvent if version == "1.0" else OldCloudEvent
    return event({**REQUIRED, "specversion": version, "datacontenttype": "application/json", **attributes}, DATA)


def as_sent(message: HTTPMessage) -> tuple[str, dict[str, str], bytes]:
    headers = {name.lower(): value for name, value in message.headers.items()}
    for value in headers.values():
        value.encode("ascii")
    return headers.get("content-type", ""), headers, message.body


@pytest.mark.parametrize("version", ["1.0", "0.3"])
@pytest.mark.parametrize("odd", ODD)
def test_what_the_sdk_writes_is_read_in_every_mode(version: str, odd: str) -> None:
    time = datetime(2026, 4, 29, 16, 5, 48, 123456, tzinfo=UTC)
    schema = "dataschema" if version == "1.0" else "schemaurl"
    texts = {"id": odd, "source": odd, "type": odd, "subject": odd, "ext": odd, schema: odd}
    event = sdk_event(version, **texts, empty="", number=-5, yes="true", time=time)
    structured_message = to_structured_event(event)
    one = only(read(*as_sent(structured_message)))
    assert one.context == {
        **texts,
        "specversion": version,
        "empty": "",
        "number": "-5",
        "yes": "true",
        "time": "2026-04-29T16:05:48.123456Z",
    }
    assert (one.type, one.id, json.loads(one.body)) == (odd, id_of_source(odd, odd), DATA)
    assert only(read(*as_sent(to_binary_event(event)))) == one
    assert only([from_line(structured_message.body)]) == one
    assert read(BATCH, {}, batch(structured_message.body, structured_message.body)) == [one, one]


@pytest.mark.parametrize("version", ["1.0", "0.3"])
def test_bytes_that_the_sdk_encodes_are_decoded(version: str) -> None:
    event_type = CloudEvent if version == "1.0" else OldCloudEvent
    event = event_type({**REQUIRED, "specversion": version}, b'{"a": 1.0}')
    one = only(read(*as_sent(to_structured_event(event))))
    assert one.body == b'{"a": 1.0}'
    assert only(read(*as_sent(to_binary_event(event)))) == one
    assert "datacontentencoding" not in one.context


# ---- any input -------------------------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=("Cc", "Cs", "Cn")), max_size=20)
filled = texts.filter(bool)
ours = {*REQUIRED, "data", "time", "subject", "dataschema", "schemaurl", "datacontenttype"}
extensions = st.dictionaries(
    st.from_regex(r"\A[a-z0-9]{1,20}\Z").filter(lambda name: name not in ours),
    texts | st.booleans() | st.integers(-(2**31), 2**31 - 1),
    max_size=5,
)
bodies = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=40)
@given(filled, filled, filled, extensions, bodies, st.booleans(), st.sampled_from([None, 0, 2]))
def test_every_event_is_read_back_alike_in_every_mode(
    id_: str, source: str, type_: str, more: dict[str, Any], data: object, ascii_only: bool, indent: int | None
) -> None:
    attributes = {"specversion": "1.0", "id": id_, "source": source, "type": type_, **more}
    text = json.dumps({**attributes, "data": data}, ensure_ascii=ascii_only, indent=indent).encode()
    one = read_structured(text)
    canonical = {name: each if isinstance(each, str) else json.dumps(each) for name, each in attributes.items()}
    assert (one.type, one.id, one.context) == (type_, id_of_source(source, id_), canonical)
    assert one.body in text
    assert strictjson.read(one.body) == (data, [])
    assert read(BATCH, {}, batch(text, text)) == [one, one]
    headers = {f"ce-{name}": quote(each) for name, each in canonical.items()}
    assert read_binary(headers, one.body) == one


fragments = st.sampled_from(
    [b"{", b"}", b"[", b"]", b'"', b"\\", b":", b",", b" ", b"\n", b'"data"', b'"id"', b'"data_base64":', b"NaN",
     b"1e9", b"null", b"\\ud800", b"\xff", b"\xef\xbb\xbf", HEAD, b',"data":', structured(), b'"time":"x"']
)  # fmt: skip


@given(st.sampled_from([STRUCTURED, BATCH, "application/json", "", "text/plain"]), st.lists(fragments, max_size=12))
def test_any_bytes_give_events_or_problems(content_type: str, parts: list[bytes]) -> None:
    assert all(isinstance(each, Incoming) or each.body() for each in verdicts(content_type, {}, b"".join(parts)))


@given(
    st.text(max_size=30),
    st.dictionaries(st.text(max_size=10), st.text(max_size=30), max_size=4),
    st.binary(max_size=20),
)
def test_any_headers_give_events_or_problems(content_type: str, more: dict[str, str], body: bytes) -> None:
    headers = {**binary(), **{f"ce-{name}": value for name, value in more.items()}}
    for sent in (content_type, "application/json"):
        assert all(isinstance(each, Incoming) or each.body() for each in verdicts(sent, headers, body))


# ---- types -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "known", "meant"),
    [
        ("IdentityCreated", {"IdentityCreated"}, "IdentityCreated"),
        ("IdentityCreated.v1", {"IdentityCreated"}, "IdentityCreated"),
        ("com.example.IdentityCreated", {"IdentityCreated"}, "IdentityCreated"),
        ("com.example.IdentityCreated.v1", {"IdentityCreated"}, "IdentityCreated"),
        ("com.example.IdentityCreated.v1.2", {"IdentityCreated"}, "IdentityCreated"),
        ("com.example.IdentityCreated.v12.0.3", {"IdentityCreated"}, "IdentityCreated"),
        ("com.a.created.v1", {"com.a.created.v1", "com.a.created", "created"}, "com.a.created.v1"),
        ("com.example.created.v1", {"com.example.created", "created"}, "com.example.created"),
        ("com.example.created.v1", {"created", "v1"}, "created"),
        ("com.example.created", {"com.example", "example.created", "created"}, "example.created"),
        ("com.acme.order.created.v1", {"order.created"}, "order.created"),
        ("a." * 256 + "created", {"created"}, "a." * 256 + "created"),
        ("com.example.identitycreated", {"IdentityCreated"}, "com.example.identitycreated"),
        ("com.example.IdentityCreated.v", {"IdentityCreated"}, "com.example.IdentityCreated.v"),
        ("com.example.IdentityCreated.v1beta1", {"IdentityCreated"}, "com.example.IdentityCreated.v1beta1"),
        ("com.example.", {"com", "example"}, "com.example."),
        (".v1", {"v1"}, ".v1"),
        ("", {"IdentityCreated"}, ""),
        ("com.example/IdentityCreated", {"IdentityCreated"}, "com.example/IdentityCreated"),
        ("IdentityCreated.v1\n", {"IdentityCreated"}, "IdentityCreated.v1\n"),
    ],
)  # fmt: skip
def test_a_type_means_the_event_type_that_is_known(sent: str, known: set[str], meant: str) -> None:
    assert known_type(sent, known) == meant
