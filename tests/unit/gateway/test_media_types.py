"""What a Content-Type says."""

from __future__ import annotations

import tracemalloc

import pytest

from hookline.gateway.media_types import is_json, is_ndjson, media_type
from hookline.gateway.problem import Refused


@pytest.mark.parametrize(
    ("sent", "name"),
    [("", ""), ("Application/JSON", "application/json"), ('application/json; charset="UTF-8"', "application/json")],
)
def test_the_name_is_read_without_parameters(sent: str, name: str) -> None:
    assert media_type(sent) == name


@pytest.mark.parametrize("charset", ["latin-1", "utf-16", ""])
def test_json_is_utf_8(charset: str) -> None:
    with pytest.raises(Refused):
        media_type(f"application/json; charset={charset}")


def test_kinds_of_json() -> None:
    assert is_json("application/json")
    assert is_json("application/vnd.acme+json")
    assert not is_json("text/json")
    assert is_ndjson("application/x-ndjson")
    assert not is_ndjson("application/json")


def test_long_ones_take_no_memory_once_they_are_answered() -> None:
    tracemalloc.start()
    try:
        for number in range(100):
            assert is_json(media_type(f"application/{number}{'a' * 60_000}+json"))
        assert tracemalloc.get_traced_memory()[0] < 500_000
    finally:
        tracemalloc.stop()
