from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.resources.headers import header_name_problem, header_value_problem


@given(st.text(max_size=30))
def test_a_name_that_is_taken_is_one_token(name: str) -> None:
    if header_name_problem(name) is None:
        assert name
        assert name.isascii()
        assert not set(name) & set(' \t\r\n\0:;,"()<>@[]{}\\/?=')


@given(st.text(max_size=30))
def test_a_value_that_is_taken_is_one_line_of_visible_text(value: str) -> None:
    if header_value_problem(value) is None:
        assert value == value.strip()
        assert all(character == "\t" or " " <= character <= "~" for character in value)


@pytest.mark.parametrize(
    "name",
    ["content-length", "Content-Type", "TRANSFER-ENCODING", "Connection", "Upgrade", "TE", "Expect", "User-Agent",
     "Proxy-Authorization", "webhook-signature", "Webhook-Anything", "hookline-attempt", "Accept-Encoding"],
)  # fmt: skip
def test_headers_that_hookline_or_the_connection_sets_are_refused(name: str) -> None:
    assert header_name_problem(name)


@pytest.mark.parametrize("name", ["Host", "Origin", "Accept-Language", "Authorization", "X-Api-Key", "Cookie"])
def test_headers_that_clearid_or_receivers_ask_for_are_taken(name: str) -> None:
    assert header_name_problem(name) is None
