"""Manifests are read as kubectl reads them, never grow beyond what is written, and raise nothing but errors of YAML."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hookline.resources.safeyaml import MAX_MERGED_FIELDS, Loader


def read(text: str) -> Any:
    return yaml.load(text, Loader=Loader)


def merged(levels: int, width: int) -> str:
    """Each level merges the one before `width` times."""
    fields = ", ".join(f"k{number}: 1" for number in range(width))
    inner = (f"x{n}: &x{n} {{<<: [{', '.join([f'*x{n - 1}'] * width)}]}}\n" for n in range(1, levels))
    return f"x0: &x0 {{{fields}}}\n{''.join(inner)}"


def test_merge_keys_work_as_far_as_people_use_them() -> None:
    text = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {<<: [*a, *b], z: 3}\nd: {<<: {<<: *a, y: 4}}\n"
    assert read(text)["c"] == {"x": 1, "y": 1, "z": 3}
    assert read(text)["d"] == {"x": 1, "y": 4}
    assert len(read(merged(3, 10))["x2"]) == 10


@pytest.mark.parametrize(("levels", "width"), [(6, 10), (10, 3), (3, 40)])
def test_merge_keys_that_multiply_are_refused_with_their_line(levels: int, width: int) -> None:
    with pytest.raises(yaml.MarkedYAMLError, match=f"more than {MAX_MERGED_FIELDS} fields") as error:
        read(merged(levels, width))
    assert error.value.problem_mark is not None


def test_a_mapping_that_merges_itself_ends() -> None:
    with pytest.raises((RecursionError, yaml.YAMLError)):
        read("a: &a {<<: *a}\n")


@pytest.mark.parametrize("text", ["2026-11-24", "2026-11-24T10:30:00Z", "10:30", "1:2:3.5", "190:20:30"])
def test_dates_and_times_stay_text(text: str) -> None:
    assert read(f"a: {text}") == {"a": text}


@pytest.mark.parametrize(
    ("text", "value"),
    [("5", 5), ("-1_000", -1000), ("0x1F", 31), ("010", 8), ("0", 0), ("0b11", 3), ("1.5", 1.5), ("1.0e+3", 1000.0),
     (".5", 0.5), ("-.inf", float("-inf")), ("1", 1), ("08", "08"), ("1.2.3", "1.2.3"), ("৪২", "৪২")],
)  # fmt: skip
def test_numbers_are_numbers(text: str, value: object) -> None:
    assert read(f"a: {text}") == {"a": value}


@pytest.mark.parametrize(
    "value",
    [
        "!!bool maybe", "!!int x", '!!int ""', "!!float x", "!!timestamp x", "!!timestamp 2026-99-99", "!!binary é",
        "!!null {}", "!!set [a]", "!!omap {a: 1}", "!!int [1]", "!!python/object:os.system {}", "9" * 5000, "0x_",
        "!!float 1:1" + ":1" * 2000 + ".5", "{[a]: b}", "{{a: b}: c}",
    ],
)  # fmt: skip
def test_a_value_that_is_not_what_it_says_is_an_error_of_yaml_with_its_line(value: str) -> None:
    with pytest.raises(yaml.MarkedYAMLError) as error:
        read(f"kind: A\na: {value}")
    assert error.value.problem_mark is not None
    assert error.value.problem_mark.line == 1


@pytest.mark.parametrize("text", [r'a: "\ud800"', r'"\udc00": a', r'a: ["x\uDBFFy"]', r'a: !!binary "\ud800"'])
def test_half_of_a_surrogate_pair_is_no_text(text: str) -> None:
    with pytest.raises(yaml.MarkedYAMLError, match="half of a surrogate pair"):
        read(text)


TAGS = ["!!int ", "!!float ", "!!bool ", "!!timestamp ", "!!binary ", "!!set ", "!!omap ", "!!pairs ", "!!null "]
MARKS = ["&a ", "*a ", "<<:", "=", "- ", "? ", ": ", "{", "}", "[", "]", ",", "\n", " ", '"', "x", "1:1", "0x", "."]


@given(st.lists(st.sampled_from(TAGS + MARKS), max_size=25))
def test_no_text_raises_anything_else(parts: list[str]) -> None:
    with contextlib.suppress(yaml.YAMLError, RecursionError):
        read("".join(parts))
