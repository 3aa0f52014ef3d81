"""Patterns of JSON Schema mean what they mean in ECMA-262, where Python's `re` would decide otherwise."""

from __future__ import annotations

import re

import pytest

from hookline.events.patterns import MAX_PATTERN_CHARACTERS, matches, problem


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("^[a-z]+$", "abc", True),
        ("^[a-z]+$", "abc\n", False),
        (r"^\d+$", "42", True),
        (r"^\d+$", "৪২", False),
        (r"^\w+$", "é", False),
        (r"^\s$", "\ufeff", True),
        (r"^\s$", "\x1c", False),
        (r"^\S$", "\x1c", True),
        ("^.$", "\r", False),
        ("^.$", "\u2028", False),
        ("^.$", "😀", True),
        (r"\bé", "é", False),
        ("[]", "]", False),
        ("^[^]$", "\n", True),
        (r"^\u{1F600}$", "😀", True),
        (r"^\ud83d\ude00$", "😀", True),
        (r"^\cJ$", "\n", True),
        (r"^\p{L}+$", "Ünal", True),
        (r"^(?<day>\d)\k<day>$", "11", True),
        (r"(?<=\$\d*)\.5", "$12.5", True),
        (r"(?:(a)|b)\1$", "b", True),
        (r"^https\:\/\/[\w\-]+\_$", "https://a-b_", True),
        (r"^\\\-$", "\\-", True),
        ("^[\\[\\]\\-]+$", "[-]", True),
    ],
)
def test_a_pattern_means_what_ecma_262_says(pattern: str, text: str, fits: bool) -> None:
    assert problem(pattern) is None
    assert matches(pattern, text) == fits


@pytest.mark.parametrize(
    "pattern",
    ["(", "[", r"^\Aa\Z", r"a\z", r"\a", "(?i)a", "(?P<a>b)", "(?>a)", "a++", "a{,3}", "(?#a)b", "a{2,1}", r"\p{No}x{"],
)
def test_what_other_languages_write_is_a_problem_and_no_other_pattern(pattern: str) -> None:
    assert "ECMA-262" in (problem(pattern) or "")


@pytest.mark.parametrize("pattern", ["(" * 50_000, "(" * 5_000 + ")" * 5_000, "[" * 50_000, "a|" * 50_000 + "(", "\\"])
def test_no_pattern_ends_the_process(pattern: str) -> None:
    assert problem(pattern)


def test_a_pattern_is_bounded_since_a_long_one_ends_the_process_though_it_is_right() -> None:
    longest = "a|" * (MAX_PATTERN_CHARACTERS // 2)
    assert problem(longest) is None
    assert matches(f"^(?:{longest[:-6]})$", "a")
    assert "8192 characters" in (problem(f"{longest}a") or "")


def test_half_a_surrogate_pair_in_a_pattern_is_a_problem() -> None:
    assert "surrogate" in (problem("a\ud800") or "")


@pytest.mark.parametrize("mark", [chr(code) for code in range(33, 127) if not chr(code).isalnum()])
def test_every_punctuation_mark_can_be_escaped_everywhere(mark: str) -> None:
    assert re.fullmatch(f"\\{mark}[\\{mark}]", mark * 2)
    assert matches(f"^\\{mark}[\\{mark}]$", mark * 2)
    assert not matches(f"^\\{mark}$", "a")
