from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.events import strictjson
from hookline.events.builtin_events import EVENTS, BuiltinEvent, sample_of
from hookline.events.envelope import MAX_BODY_BYTES
from hookline.events.explain import MAX_PROBLEMS, NOT_JSON, Finding, Path
from hookline.events.strictjson import MAX_DEPTH, MAX_NUMBER_CHARACTERS, begins_only, read

HALF = "has {} alone, half of a surrogate pair, which receivers read differently; leave it out"
TOO_LONG = "is a number of more than 308 characters; write it as a string"
CANARY = "canary-91ab"

documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


_texts = st.text(alphabet='a":\\é\u2028{[', max_size=3)
_written_texts = (
    _texts.map(json.dumps)
    | _texts.map(lambda text: json.dumps(text, ensure_ascii=False))
    | st.sampled_from(
        ['"\\ud800"', '"\\udc00\\ud83d"', '"\\ud83d\\ude00"', '"\\u0022"', '"\\u0061"', '"\\\\\\""', '"\\q"']
    )
)
_written_numbers = st.sampled_from(
    [
        *("0", "-0", "-0.0", "1", "1.0", "1e2", "1E400", "01", "NaN", "-Infinity"),
        *(str(2**64 - 1), str(2**64), str(-(2**63)), str(-(2**63) - 1), f"-{'9' * 19}"),
        *("1" * MAX_NUMBER_CHARACTERS, "1" * (MAX_NUMBER_CHARACTERS + 1), f"0.{'1' * 400}"),
    ]
)
_spaces = st.sampled_from(["", "", " ", "\r\n\t", "\x0b"])


def _written_objects(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    members = st.tuples(_written_texts, _spaces, _spaces, inner).map(lambda parts: "{}{}:{}{}".format(*parts))
    return st.lists(members, max_size=4).map(lambda written: f"{{{','.join(written)}}}")


_written = st.recursive(
    _written_texts | _written_numbers | st.sampled_from(["null", "true", ""]),
    lambda inner: _written_objects(inner) | st.lists(inner, max_size=4).map(lambda written: f"[{', '.join(written)}]"),
    max_leaves=12,
)


@given(_written, st.integers(0, MAX_DEPTH + 2))
def test_a_body_that_is_read_at_once_is_what_a_closer_look_makes_of_it(text: str, around: int) -> None:
    body = (around * "[" + text + around * "]").encode(errors="surrogatepass")
    value, findings = read(body)
    expected_value, expected_findings = strictjson._looked_at(body)
    assert findings == expected_findings
    assert findings or repr(value) == repr(expected_value), "also where 1 and 1.0, or 0.0 and -0.0, are equal"


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
@pytest.mark.parametrize("indent", [None, 2])
def test_a_body_of_a_built_in_type_needs_no_closer_look(event: BuiltinEvent, indent: int | None) -> None:
    body = json.dumps(sample_of(event), ensure_ascii=False, indent=indent).encode()
    assert strictjson._plain(body) == sample_of(event)


@given(documents)
def test_what_the_standard_library_writes_is_read_back(document: object) -> None:
    assert read(json.dumps(document).encode()) == (document, [])


@given(st.binary(max_size=400) | st.text().map(lambda text: text.encode(errors="surrogatepass")))
def test_any_bytes_give_a_value_or_findings(body: bytes) -> None:
    _, findings = read(body)
    try:
        expected: object = json.loads(body.decode())
    except ValueError:
        assert findings
    else:
        assert findings or read(body)[0] == expected


@pytest.mark.parametrize(
    ("body", "path", "message"),
    [
        (b"", (), "is empty; write one JSON document"),
        (b" \r\n\t", (), "is empty; write one JSON document"),
        (b" " * (MAX_BODY_BYTES + 1), (), "is larger than 262144 bytes; send a link to large content instead"),
        (b"\xef\xbb\xbf{}", (), "starts with a byte order mark; save the body as UTF-8 without one"),
        (b'{"a": "\xe9"}', (), "is not UTF-8 at byte 8; encode the body as UTF-8"),
        (b'{"a": "\xed\xa0\x80"}', (), "is not UTF-8 at byte 8; encode the body as UTF-8"),
        ('{"a": "é"}'.encode("utf-16"), (), "is encoded as UTF-16; encode the body as UTF-8"),
        ("[1]".encode("utf-16-le"), (), "is encoded as UTF-16; encode the body as UTF-8"),
        ("[1]".encode("utf-16-be"), (), "is encoded as UTF-16; encode the body as UTF-8"),
        ("[1]".encode("utf-32"), (), "is encoded as UTF-32; encode the body as UTF-8"),
        ("[1]".encode("utf-32-be"), (), "is encoded as UTF-32; encode the body as UTF-8"),
        (b"\xff\xfe[", (), "is not UTF-8 at byte 1; encode the body as UTF-8"),
        (b"\0" * 8, (), "is not JSON at line 1, column 1: expecting value"),
        (b"[\0]", (), "is not JSON at line 1, column 2: expecting value"),
        (b"[1]\0", (), "goes on after its end, at line 1, column 4; write one JSON document"),
        (b'{"a": "x\0"}', (), "is not JSON at line 1, column 9: invalid control character"),
        (b'{"a\n": 1}', (), "is not JSON at line 1, column 4: invalid control character"),
        (b"{\xef\xbb\xbf}", (), "is not JSON at line 1, column 2: expecting property name enclosed in double quotes"),
        (b'{"a": 1,\n "b" 2}', (), "is not JSON at line 2, column 6: expecting ':' delimiter"),
        (b'{"a": tru}', (), "is not JSON at line 1, column 7: expecting value"),
        (b'{"a": 1}\n{"a": 2}\n', (), "goes on after its end, at line 2, column 1; write one JSON document"),
        (b'{"a": 1, "a": 2} x', (), "goes on after its end, at line 1, column 18; write one JSON document"),
        (b'{"a": [1, {"b": NaN}]}', ("a", 1, "b"), "is NaN, which JSON does not have; write null or a number"),
        (b"[-Infinity]", (0,), "is -Infinity, which JSON does not have; write null or a number"),
        (b'{"a": 1e400}', ("a",), "is a number beyond a 64-bit float; write it as a string"),
        (b'{"a": -' + b"9" * 10_000 + b"}", ("a",), TOO_LONG),
        (b'{"a": [0.' + b"3" * 10_000 + b"]}", ("a", 0), TOO_LONG),
        (b'{"a": 1e' + b"0" * 10_000 + b"}", ("a",), TOO_LONG),
        (b'{"a": 1e-' + b"9" * 10_000 + b"}", ("a",), TOO_LONG),
        (b'[{"a": 1, "b": 2, "a": 1}]', (0,), 'has the name "a" more than once; keep one of them'),
        (b'{"\\u0061": 1, "a": 2}', (), 'has the name "a" more than once; keep one of them'),
        (b'["\\ud800"]', (0,), HALF.format("\\ud800")),
        (b'{"a": "x\\uDFFFy"}', ("a",), HALF.format("\\udfff")),
        (b'"\\ude00\\ud83d"', (), HALF.format("\\ude00")),
        (b'[{"\\udc00": 1}]', (0,), "has a name that " + HALF.format("\\udc00")),
    ],
)  # fmt: skip
def test_what_is_no_strict_json_is_told_with_its_place(body: bytes, path: Path, message: str) -> None:
    assert read(body)[1] == [Finding(path, NOT_JSON, message)]


def test_a_number_may_be_as_long_as_allowed_and_no_longer() -> None:
    for most in ("9" * MAX_NUMBER_CHARACTERS, "0." + "3" * (MAX_NUMBER_CHARACTERS - 2)):
        assert read(most.encode())[1] == []
        assert read(f"{most}1".encode())[1] == [Finding((), NOT_JSON, TOO_LONG)]


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":'])
def test_a_body_may_be_as_deep_as_allowed_and_no_deeper(opening: str) -> None:
    closing = "".join({"[": "]", "{": "}"}[each] for each in reversed(opening) if each in "[{")
    times = MAX_DEPTH // len(closing)
    assert read(f"{opening * times}1{closing * times}".encode())[1] == []
    [finding] = read(f"{opening * times}[1]{closing * times}".encode())[1]
    assert len(finding.path) == MAX_DEPTH
    assert "nests deeper" in finding.message


@pytest.mark.parametrize(
    "text", ["[" * 500, "{" * 500, '"[' * 500, '\\"[' * 500, "\\" * 500, '{"a":' * 500], ids=lambda text: text[:6]
)
def test_brackets_in_texts_do_not_count_as_levels(text: str) -> None:
    assert read(json.dumps([text, {text: text}]).encode())[1] == []


def test_what_stands_beside_each_other_does_not_count_as_levels() -> None:
    assert read(json.dumps([[[]], {"a": []}] * 500).encode())[1] == []


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b"[" * MAX_BODY_BYTES, (0,) * 32),
        (b'{"a":' * 50_000, ("a",) * 32),
        (b"[" * 10_000 + b"]" * 10_000, (0,) * 32),
        (b'{"]}\\"": "[[", "b\\u0020~": ' * 2_000, ("b ~",) * 32),
        (b'{"a": 1, "b": 2, "a": ' * 2_000, ("a",) * 32),
        (b'[1, -0.5e3, NaN, "x", {}, ' * 2_000, (*(5,) * 31, 4)),
    ],
)
def test_a_body_of_nothing_but_levels_is_refused_at_the_first_that_is_too_deep(body: bytes, path: Path) -> None:
    [finding] = read(body)[1]
    assert finding.path == path
    assert "nests deeper" in finding.message


@pytest.mark.parametrize("depth", [100, 100_000])
def test_the_path_to_what_is_too_deep_does_not_depend_on_how_deep_it_goes_on(depth: int) -> None:
    [finding] = read(b'{"a": [1, ' + b"[" * depth)[1]
    assert finding.path == ("a", 1, *(0,) * (MAX_DEPTH - 2))


@pytest.mark.parametrize("beginning", ["[1", "{", '{"a" ', "]", "[}", "[tru", "[1,,", "}{", "[" * 32 + "1"])
def test_what_is_no_json_before_it_is_too_deep_is_told_first(beginning: str) -> None:
    [finding] = read(f"{beginning}{'[' * 100}".encode())[1]
    assert (finding.path, "line 1, column " in finding.message) == ((), True)


@given(st.text(alphabet='[]{}",:\\a1 ', max_size=80), st.sampled_from(["[", '{"a":', '["', "]"]))
def test_no_text_of_many_brackets_is_an_exception(text: str, opening: str) -> None:
    assert read((opening * MAX_DEPTH + text).encode())[1] or text


def test_several_findings_are_told_at_once_in_the_order_in_which_they_stand_there() -> None:
    _, findings = read(b'{"d": NaN, "b": {"c": 1, "c": 2}, "a": [[], [1e999]]}')
    assert [each.path for each in findings] == [("d",), ("b",), ("a", 1, 0)]


@pytest.mark.parametrize("item", ["NaN", "1e400", '"\\ud800"', '{"a": 1, "a": 2}', '{"\\ud800": 1, "\\udc00": 1}'])
def test_of_many_findings_the_first_are_told_and_no_more_looked_for(item: str) -> None:
    _, findings = read(f"[0{f', {item}' * 5000}]".encode())
    assert [each.path for each in findings] == [(index + 1,) for index in range(MAX_PROBLEMS)]


@pytest.mark.parametrize("text", ['{"a": "%s", "a": "%s"}', '["%s" NaN]', '{"a": "%s"', '"%s', '["%s\x01"]', '"\\q%s"'])
def test_values_are_never_repeated(text: str) -> None:
    _, findings = read(text.replace("%s", CANARY).encode())
    assert findings
    assert CANARY not in str(findings)


@pytest.mark.parametrize("body", [b'"\\ud83d\\ude00"', b'{"\\ud83d\\ude00": "\\\\ud800"}', '"😀"'.encode()])
def test_whole_surrogate_pairs_are_characters_like_any_other(body: bytes) -> None:
    assert read(body)[1] == []


@pytest.mark.parametrize(
    ("text", "begins"),
    [
        (b"{", True), (b"[", True), (b'{"a": 1,', True), (b'  {"a": [{ \r\n', True), (b'{"a":', True),
        (b'{"a": 1', True), (b"{}", False), (b"5", False), (b"", False), (b"  ", False), (b"x", False),
        (b'{"a" 1}', False), (b"\xff{", False), (b"{}}", False), (b"[" * 100_000, False), (b"9" * 5000, False),
    ],
)  # fmt: skip
def test_the_first_of_several_lines_of_a_document_is_told_from_what_is_wrong(text: bytes, begins: bool) -> None:
    assert begins_only(text) == begins
