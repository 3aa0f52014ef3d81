from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.events.envelope import MAX_BODY_BYTES
from hookline.events.explain import Path
from hookline.events.strictjson import MAX_DEPTH, begins_only, read

HALF = "has {} alone, half of a surrogate pair, which receivers read differently; leave it out"
CANARY = "canary-91ab"

documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


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
        ("[1]".encode("utf-16-le"), (), "is not JSON at line 1, column 2: expecting value"),
        (b'{"a": 1,\n "b" 2}', (), "is not JSON at line 2, column 6: expecting ':' delimiter"),
        (b'{"a": tru}', (), "is not JSON at line 1, column 7: expecting value"),
        (b'{"a": 1}\n{"a": 2}\n', (), "goes on after its end, at line 2, column 1; write one JSON document"),
        (b'{"a": [1, {"b": NaN}]}', ("a", 1, "b"), "is NaN, which JSON does not have; write null or a number"),
        (b"[-Infinity]", (0,), "is -Infinity, which JSON does not have; write null or a number"),
        (b'{"a": 1e400}', ("a",), "is a number beyond a 64-bit float; write it as a string"),
        (b'{"a": -' + b"9" * 5000 + b"}", ("a",), "is a number beyond a 64-bit float; write it as a string"),
        (b'[{"a": 1, "b": 2, "a": 1}]', (0,), 'has the name "a" more than once; keep one of them'),
        (b'{"\\u0061": 1, "a": 2}', (), 'has the name "a" more than once; keep one of them'),
        (b'["\\ud800"]', (0,), HALF.format("\\ud800")),
        (b'{"a": "x\\uDFFFy"}', ("a",), HALF.format("\\udfff")),
        (b'"\\ude00\\ud83d"', (), HALF.format("\\ude00")),
        (b'[{"\\udc00": 1}]', (0,), "has a name that " + HALF.format("\\udc00")),
    ],
)  # fmt: skip
def test_what_is_no_strict_json_is_told_with_its_place(body: bytes, path: Path, message: str) -> None:
    assert read(body)[1] == [(path, message)]


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":'])
def test_a_body_may_be_as_deep_as_allowed_and_no_deeper(opening: str) -> None:
    closing = "".join({"[": "]", "{": "}"}[each] for each in reversed(opening) if each in "[{")
    times = MAX_DEPTH // len(closing)
    assert read(f"{opening * times}1{closing * times}".encode())[1] == []
    [(path, message)] = read(f"{opening * times}[1]{closing * times}".encode())[1]
    assert len(path) == MAX_DEPTH
    assert "nests deeper" in message


def test_brackets_in_texts_do_not_count_as_levels() -> None:
    assert read(json.dumps(["[" * 500, "{" * 500]).encode())[1] == []


@pytest.mark.parametrize("body", [b"[" * MAX_BODY_BYTES, b'{"a":' * 50_000, b"[" * 100_000 + b"]" * 100_000])
def test_a_body_of_nothing_but_levels_is_refused(body: bytes) -> None:
    assert "nests deeper" in read(body)[1][0][1]


def test_several_findings_are_told_at_once() -> None:
    _, findings = read(b'{"a": NaN, "b": {"c": 1, "c": 2}, "d": 1e999}')
    assert {path for path, _ in findings} == {("a",), ("b",), ("d",)}


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
