from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubles import account_tokens
from hookline.resources.base import EVENT_TYPES_ANNOTATION, PUBLISHER_LABEL, Problem
from hookline.routing import publisher_tokens
from hookline.routing.publisher_tokens import (
    MAX_FILE_BYTES,
    MAX_TOKENS_PER_NAMESPACE,
    PublisherToken,
    TokensFileError,
    digest_of,
    publisher_token,
    read_tokens_file,
    tokens_file,
)
from hookline.routing.secret import Secret

TOKEN = b"4f1c77aa90be23d5618f0c4e7a9b3d26"
LABELED = {PUBLISHER_LABEL: "true"}


def read(
    data: Mapping[str, bytes], labels: Mapping[str, str] = LABELED, annotations: Mapping[str, str] | None = None
) -> PublisherToken | Problem | None:
    return publisher_token(Secret("team-a", "ci", labels, data), annotations or {})


def problem(data: Mapping[str, bytes], annotations: Mapping[str, str] | None = None) -> Problem:
    found = read(data, annotations=annotations)
    assert isinstance(found, Problem)
    return found


def token(
    value: bytes, namespace: str = "team-a", secret: str = "ci", types: frozenset[str] | None = None
) -> PublisherToken:
    return PublisherToken(digest_of(value), namespace, secret, types)


def test_a_labelled_secret_gives_a_token_for_its_namespace_by_its_digest() -> None:
    found = read({"token": TOKEN})
    assert found == PublisherToken(hashlib.sha256(TOKEN).digest(), "team-a", "ci", None)
    assert TOKEN.decode() not in repr(found)


def test_the_newline_at_the_end_of_a_file_is_not_part_of_it() -> None:
    assert read({"token": TOKEN + b"\n"}) == read({"token": TOKEN})


@pytest.mark.parametrize("labels", [{}, {PUBLISHER_LABEL: "false"}, {PUBLISHER_LABEL: "True"}, {"other": "true"}])
def test_a_secret_without_the_label_gives_none(labels: dict[str, str]) -> None:
    assert read({"token": TOKEN}, labels) is None


@pytest.mark.parametrize("data", [{}, {"secret": TOKEN}, {"token": TOKEN, "old": TOKEN}])
def test_a_secret_has_one_key(data: dict[str, bytes]) -> None:
    assert "the one key token and no other" in problem(data).message


@pytest.mark.parametrize(
    "value",
    [b"", b"\n", b"short", TOKEN[:31], b"a" * 64, b"changeme" * 8, b"0123456" * 10],
)
def test_what_can_be_guessed_is_refused_and_said_how_to_make_one(value: bytes) -> None:
    found = problem({"token": value})
    assert found.path == ("data", "token")
    assert "openssl rand -hex 32" in found.message


@pytest.mark.parametrize(
    "value",
    [b"\xff" * 40, TOKEN + b" " + TOKEN, TOKEN + b"\n" + TOKEN, b"=" + TOKEN, TOKEN + b"\x00", "ü".encode() * 40],
)
def test_what_no_header_can_carry_is_refused(value: bytes) -> None:
    assert "as a header can carry them" in problem({"token": value}).message


def test_the_token_of_a_service_account_is_refused_since_its_events_would_be_those_of_the_secret() -> None:
    theirs = account_tokens.unsigned(account_tokens.claims("team-b"))
    assert "JSON Web Token" in problem({"token": theirs.encode()}).message


def test_a_very_long_one_is_refused() -> None:
    assert "at most 4096" in problem({"token": TOKEN * 129}).message


@pytest.mark.parametrize("make", [secrets.token_hex, secrets.token_urlsafe])
def test_what_people_make_at_random_is_taken(make: object) -> None:
    assert callable(make)
    assert isinstance(read({"token": make(32).encode()}), PublisherToken)


def test_the_annotation_limits_the_event_types() -> None:
    found = read({"token": TOKEN}, annotations={EVENT_TYPES_ANNOTATION: " IdentityCreated,IdentityDeleted, ,"})
    assert isinstance(found, PublisherToken)
    assert found.types == frozenset({"IdentityCreated", "IdentityDeleted"})


@pytest.mark.parametrize(
    "annotation",
    [
        "",
        " , ",
        "*",
        "Identity Created",
        "A;B",
        "é",
        "A\nB",
        "x" * 129,
        ",".join(f"T{each}" for each in range(65)),
        "," * 90,
    ],
)
def test_an_annotation_that_is_not_understood_gives_no_token(annotation: str) -> None:
    found = problem({"token": TOKEN}, {EVENT_TYPES_ANNOTATION: annotation})
    assert found.path == ("metadata", "annotations", EVENT_TYPES_ANNOTATION)


@given(st.binary(max_size=80), st.text(max_size=40))
def test_no_problem_repeats_what_is_in_the_secret(value: bytes, annotation: str) -> None:
    found = read({"token": value}, annotations={EVENT_TYPES_ANNOTATION: annotation})
    if isinstance(found, Problem) and len(value.strip()) > 12:
        assert value.decode(errors="replace").strip() not in found.message


def test_the_file_is_the_same_in_any_order_if_there_is_room_and_holds_digests_only() -> None:
    tokens = [token(b"%d" % each, f"team-{each}", types=frozenset("BA")) for each in range(5)]
    content, problems = tokens_file(tokens)
    assert (content, problems) == tokens_file(reversed(tokens))
    assert problems == {}
    assert json.loads(content)["format"] == publisher_tokens.FORMAT
    assert sorted(read_tokens_file(content).values(), key=lambda each: each.id) == tokens


def test_no_tokens_are_a_file_as_well() -> None:
    assert read_tokens_file(tokens_file([])[0]) == {}


def test_a_token_of_two_namespaces_counts_for_neither() -> None:
    theirs, mine, other = token(b"x", "team-a"), token(b"x", "team-b"), token(b"y", "team-b", "other")
    content, problems = tokens_file([theirs, mine, other])
    assert list(read_tokens_file(content).values()) == [other]
    assert set(problems) == {theirs.id, mine.id}


def test_of_two_secrets_of_a_namespace_with_one_token_the_first_counts() -> None:
    first, second = token(b"x", secret="a", types=frozenset({"T"})), token(b"x", secret="b")
    content, problems = tokens_file([first, second])
    assert list(read_tokens_file(content).values()) == [first]
    assert set(problems) == {second.id}


def test_a_namespace_has_a_bounded_number() -> None:
    # The names of those that came last would be first.
    many = [token(b"%d" % each, secret=f"s{100 - each:03}") for each in range(MAX_TOKENS_PER_NAMESPACE + 3)]
    content, problems = tokens_file(many)
    assert len(read_tokens_file(content)) == MAX_TOKENS_PER_NAMESPACE
    assert set(problems) == {each.id for each in many[-3:]}


def test_the_file_is_bounded_and_each_namespace_has_its_first_token_before_any_has_its_second() -> None:
    types = frozenset(f"{'T' * 120}{each}" for each in range(60))
    many = [
        token(b"%s%d" % (team.encode(), each), team, f"s{each:02}", types)
        for team in ("a", "b", "c", "d", "e", "f", "g")
        for each in range(MAX_TOKENS_PER_NAMESPACE)
    ]
    small = token(b"small", "z")
    content, problems = tokens_file([*many, small])
    assert len(content) <= MAX_FILE_BYTES
    held = read_tokens_file(content).values()
    assert small in held
    assert len(held) + len(problems) == len(many) + 1
    shares = [sum(each.namespace == team for each in held) for team in "abcdefg"]
    assert max(shares) - min(shares) <= 1


def test_whoever_has_many_namespaces_keeps_nobody_out_by_long_lists_of_types() -> None:
    types = frozenset(f"{'T' * 120}{each}" for each in range(60))
    many = [token(b"%d" % number, f"many-{number}", "s", types) for number in range(150)]
    few = [token(b"few-%d" % number, f"team-{number}", "s", frozenset({"order.paid"})) for number in range(150)]
    content, problems = tokens_file([*many, *few])
    assert len(content) <= MAX_FILE_BYTES
    assert problems.keys() < {each.id for each in many}


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"[]", b"{}", b"\xff", b'{"format": 1}', b'{"format": 1, "tokens": {}}', b'{"format": 2, "tokens": []}'),
        *(b'{"tokens": []}', b"[" * 100_000, b'{"format": 1, "tokens": [1]}', b'{"format": true, "tokens": [{}]}'),
    ],
)
def test_another_file_is_refused(content: bytes) -> None:
    with pytest.raises(TokensFileError):
        read_tokens_file(content)


@pytest.mark.parametrize(
    "change",
    [
        *({"digest": "00"}, {"digest": "z" * 64}, {"digest": None}, {"namespace": "A*"}, {"namespace": ""}),
        *({"secret": None}, {"types": "IdentityCreated"}, {"types": [1]}, {"namespace": ["team-a"]}),
    ],
)
def test_an_entry_that_is_not_understood_is_no_token(change: dict[str, object]) -> None:
    said = json.loads(tokens_file([token(TOKEN)])[0])
    said["tokens"][0] |= change
    with pytest.raises(TokensFileError, match="its token 0 is not understood"):
        read_tokens_file(json.dumps(said).encode())


def test_an_entry_that_lost_its_types_gains_nothing() -> None:
    said = json.loads(tokens_file([token(TOKEN)])[0])
    del said["tokens"][0]["types"]
    with pytest.raises(TokensFileError):
        read_tokens_file(json.dumps(said).encode())
