"""The data of our own Secrets: read as it was written, and what somebody damaged is as if it were not there."""

from __future__ import annotations

from typing import Any

import pytest

from hookline.control.secret_data import decoded, encoded


def test_what_is_written_is_read() -> None:
    data = {"text": b"one\n", "bytes": bytes(range(256)), "empty": b""}

    assert decoded({"data": encoded(data)}) == data


@pytest.mark.parametrize("secret", [None, {}, {"data": None}, {"data": "text"}, {"data": ["text"]}])
def test_a_secret_without_data_holds_nothing(secret: Any) -> None:
    assert decoded(secret) == {}


@pytest.mark.parametrize("value", ["not base64!", "YQ", "\u00e9", None, 17, ["YQ=="], {"a": "YQ=="}])
def test_a_value_that_cannot_be_read_is_empty_and_the_others_are_read(value: Any) -> None:
    assert decoded({"data": {"damaged": value, "whole": "YQ=="}}) == {"damaged": b"", "whole": b"a"}
