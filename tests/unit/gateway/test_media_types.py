"""What a Content-Type says."""

from __future__ import annotations

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
