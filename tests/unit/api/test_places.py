from __future__ import annotations

import base64
import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.api.log import Expired, Wanted
from hookline.api.places import Begin, Version, merged, more_text, read_more, read_version, version_text

WANTED = Wanted(webhook="hook")


def test_a_version_of_one_dispatcher_is_a_whole_number_that_grows() -> None:
    """As Kubernetes compares them (KEP-5504): no leading zeros, any length."""
    texts = [version_text([each]) for each in (Version(1_700_000_000_000, 5), Version(1_700_000_000_000, 2**62))]
    assert all(each.isdigit() and not each.startswith("0") for each in texts)
    assert int(texts[0]) < int(texts[1]) < int(version_text([Version(1_700_000_000_001, 0)]))


@given(st.lists(st.builds(Version, st.integers(1, 2**42), st.integers(0, 2**63 - 1)), min_size=1, max_size=4))
def test_versions_are_read_as_they_were_written(versions: list[Version]) -> None:
    assert read_version(version_text(versions), len(versions)) == versions


@pytest.mark.parametrize("text", ["", "0", "x", "1-", "-1", "1-2-3", "9" * 41, "9" * 10_000, "+1", "1_0", "\u0661"])
def test_a_version_that_nobody_gave_is_expired(text: str) -> None:
    for count in (1, 2):
        with pytest.raises(Expired):
            read_version(text, count)


@given(st.lists(st.none() | st.text(max_size=30), min_size=1, max_size=3), st.text(max_size=20))
def test_a_token_is_read_as_it_was_written_and_is_empty_when_nothing_is_left(
    places: list[str | None], version: str
) -> None:
    text = more_text(Begin(places, version), "attempts", "team-a", WANTED)
    if all(each is None for each in places):
        assert text == ""
    else:
        assert read_more(text, "attempts", "team-a", WANTED, len(places)) == Begin(places, version)


def test_a_token_counts_for_the_question_that_it_was_made_for_and_for_no_other() -> None:
    text = more_text(Begin(["7"], "1"), "attempts", "team-a", WANTED)
    others = itertools.product(
        ("attempts", "deadletters"), ("team-a", "team-b", ""), (WANTED, Wanted(), Wanted(reason="x"))
    )
    for kind, namespace, wanted in others:
        if (kind, namespace, wanted) != ("attempts", "team-a", WANTED):
            with pytest.raises(Expired):
                read_more(text, kind, namespace, wanted, 1)
    with pytest.raises(Expired):
        read_more(text, "attempts", "team-a", WANTED, 2)


def sealed(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


DIGEST = json.loads(base64.b64decode(more_text(Begin(["7"], "1"), "attempts", "a", WANTED) + "=="))[0]


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "\u00e4",
        "=" * 9,
        "A" * 5000,
        sealed(1),
        sealed([]),
        sealed({}),
        sealed([DIGEST, 1, "7"]),
        sealed([DIGEST, "1", 7]),
        sealed([DIGEST, "1", ["7"]]),
        sealed([DIGEST, "1"]),
        base64.urlsafe_b64encode(b"[" * 3000).decode(),
        base64.urlsafe_b64encode(b"\xff\xfe").decode(),
    ],
)
def test_a_token_that_nobody_gave_is_expired(text: str) -> None:
    with pytest.raises(Expired):
        read_more(text, "attempts", "a", WANTED, 1)


@given(st.lists(st.lists(st.integers(0, 50), max_size=12), min_size=1, max_size=3), st.integers(1, 5))
def test_lists_of_several_dispatchers_are_read_whole_part_by_part(lists: list[list[int]], limit: int) -> None:
    wholes = [sorted(each, reverse=True) for each in lists]

    def part(number: int, begin: str) -> tuple[list[tuple[str, int]], str | None]:
        start = int(begin)
        some = wholes[number][start : start + limit]
        items = [(str(start + at + 1), item) for at, item in enumerate(some)]
        return items, str(start + limit) if start + limit < len(wholes[number]) else None

    places: list[str | None] = ["0"] * len(lists)
    found: list[int] = []
    while any(each is not None for each in places):
        parts = [part(number, each) if each is not None else ([], None) for number, each in enumerate(places)]
        items, places = merged(parts, places, limit, float)
        assert len(items) <= limit
        found += items
    assert found == sorted((each for some in lists for each in some), reverse=True)
