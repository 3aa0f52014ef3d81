from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hookline.events import envelope
from hookline.events.context import (
    CONTEXT_BYTES,
    MAX_NAMES,
    NO_CONTEXT,
    PREFIX,
    ContextProblem,
    context_headers,
    context_of,
    context_problems,
)
from hookline.events.envelope import Event, from_headers, to_headers
from hookline.stream.connection import read_headers

CANARY = "canary-c0de"
EVENT = Event("evt_1", "default", "IdentityCreated", "2026-11-24T00:00:00.000Z", b"{}")
GOOD = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "subject": "Zürich 100% ✓"}
CONTROL = "holds a line break or another character that no text has; leave it out"
NAME = "is no name for it; write 1 to 64 lower-case letters and digits"

TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn"]))
CONTEXTS = st.dictionaries(st.text("az09", min_size=1, max_size=64), TEXTS, max_size=8)


def as_written(headers: dict[str, str]) -> dict[str, str]:
    """As they come out of a message, see connection."""
    return read_headers("".join(f"{name}: {value.strip()}\r\n" for name, value in headers.items()).encode())


@given(CONTEXTS)
def test_what_may_travel_is_read_as_it_was_written_and_written_in_ascii(context: dict[str, str]) -> None:
    assume(not context_problems(context))
    event = Event(EVENT.id, EVENT.tenant, EVENT.type, EVENT.time, EVENT.body, context)
    headers = to_headers(event)
    assert from_headers(as_written(headers), EVENT.body) == event
    assert all(value.isascii() and value.isprintable() for value in headers.values())


def test_an_event_without_a_context_has_the_headers_that_it_had_before_there_was_one() -> None:
    assert to_headers(EVENT).keys() == {
        "Hookline-Event-Id",
        "Hookline-Event-Type",
        "Hookline-Tenant",
        "Hookline-Event-Time",
    }
    assert from_headers(to_headers(EVENT), b"{}").context is EVENT.context is NO_CONTEXT


HOSTILE_NAMES = st.text(max_size=70) | st.sampled_from(["traceparent", "Traceparent", "a" * 65, "", "é", "a-b", "x\n"])
HOSTILE_VALUES = st.text() | st.sampled_from(
    ["%", "%0", "%zz", "%0d%0a", "%00", "%FF", "%ED%A0%80", "%EF%BF%BF", "%C3é", "\ufffd", "x" * 4000, "é" * 700]
)
PREFIXES = st.sampled_from([PREFIX, PREFIX.lower(), PREFIX.upper(), "Hookline-", ""])


@given(st.dictionaries(st.builds("{}{}".format, PREFIXES, HOSTILE_NAMES), HOSTILE_VALUES, max_size=40))
def test_whatever_anybody_wrote_is_read_as_something_that_may_travel(headers: dict[str, str]) -> None:
    read = context_of({**headers, **to_headers(EVENT)})
    assert not context_problems(read)
    assert context_of(as_written(context_headers(read))) == read


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("", "x"),
        ("Traceparent", "in other case"),
        ("trace-parent", "x"),
        ("a" * 65, "x"),
        ("tracestaté", "x"),
        ("a", "x" * (CONTEXT_BYTES + 1)),
        ("a", "%41" * 2000),
        ("a", "é" * 700),
        ("a", "one%0D%0Atwo"),
        ("a", "one\x00"),
        ("a", "%C2%85"),
        ("a", "%EF%BF%BE"),
        ("a", "%FF"),
        ("a", "%ED%A0%80"),
        ("a", b"\xff\xfe".decode(errors="replace")),
    ],
)
def test_what_breaks_a_rule_is_left_out_and_nothing_else(name: str, value: str) -> None:
    assert context_of({f"{PREFIX}{name}": value, **context_headers(GOOD)}) == GOOD
    assert context_of({f"{PREFIX}{name}": value}) is NO_CONTEXT


def test_another_case_of_the_prefix_is_none_of_ours() -> None:
    assert context_of({f"{PREFIX.lower()}traceparent": "x"}) is NO_CONTEXT


def test_of_too_many_or_too_large_what_comes_last_is_left_out() -> None:
    many = {f"{PREFIX}a{number}": "x" for number in range(10_000)}
    assert list(context_of(many)) == [f"a{number}" for number in range(MAX_NAMES)]
    large = {f"{PREFIX}a{number}": "x" * 1500 for number in range(4)} | {f"{PREFIX}b": "small"}
    assert list(context_of(large)) == ["a0", "a1", "b"]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("Zürich 100% sure", "Zürich 100% sure"),
        ("Z%c3%bcrich%20%31", "Zürich 1"),
        ("a=1, b=2", "a=1, b=2"),
        ("%20a%20", " a "),
        ("", ""),
    ],
)
def test_a_value_that_another_client_wrote_plainly_is_read_too(written: str, read: str) -> None:
    assert context_of({f"{PREFIX}subject": written}) == {"subject": read}


@pytest.mark.parametrize(
    ("context", "problems"),
    [
        (GOOD, []),
        ({"a" * 64: "", "0": "\u00a0\u200d"}, []),
        ({"": CANARY}, [ContextProblem("", NAME)]),
        ({"A": CANARY, "b c": CANARY, "d\n": CANARY}, [ContextProblem(name, NAME) for name in ("A", "b c", "d\n")]),
        (
            {"a": CANARY, "b": f"{CANARY}\r\nX: y", "c": f"\x00{CANARY}"},
            [ContextProblem(name, CONTROL) for name in "bc"],
        ),
        (
            {"a": "\x7f", "b": "\x85", "c": "\ud800", "d": "\U0010ffff"},
            [ContextProblem(name, CONTROL) for name in "abcd"],
        ),
        (
            {f"a{number}": CANARY for number in range(33)},
            [ContextProblem("", "has 33 names and may have 32; leave some out")],
        ),
        (
            {"subject": "é" * 1000},
            [ContextProblem("", "takes more than 4096 bytes in headers; shorten it")],
        ),
    ],
)
def test_what_is_wrong_is_told_by_its_name_and_never_by_its_value(
    context: dict[str, str], problems: list[ContextProblem]
) -> None:
    assert context_problems(context) == problems
    assert CANARY not in repr(problems)


def test_the_largest_context_is_within_what_the_headers_of_an_event_may_have() -> None:
    context = {"a": "x" * (CONTEXT_BYTES - len(f"{PREFIX}a: \r\n"))}
    assert not context_problems(context)
    assert context_problems({"a": f"{context['a']}x"})
    event = Event("i" * 128, "t" * 63, "x" * 4000, EVENT.time, EVENT.body, context)
    size = sum(len(f"{name}: {value}\r\n") for name, value in to_headers(event).items())
    assert size + len(f"Nats-Msg-Id: {event.tenant}.{event.id}\r\n") < envelope.HEADERS_BYTES


def test_a_context_is_in_no_log() -> None:
    assert CANARY not in repr(Event("evt_1", "default", "A", "t", b"", {"a": CANARY}))
