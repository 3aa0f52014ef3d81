from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.delivery.http.lookup import names, search_list

POD = ("team.svc.cluster.local", "svc.cluster.local", "cluster.local")


def test_a_name_with_a_dot_is_asked_for_as_it_is_before_it_is_completed() -> None:
    assert names("api.example.com", POD)[0] == "api.example.com."
    assert "receiver.team.svc.cluster.local." in names("receiver.team", POD)


def test_a_name_without_a_dot_is_completed_first() -> None:
    assert names("receiver", POD) == [*(f"receiver.{domain}." for domain in POD), "receiver."]


def test_an_absolute_name_is_not_completed() -> None:
    assert names("api.example.com.", POD) == ["api.example.com."]


@pytest.mark.parametrize(
    ("text", "domains"),
    [
        ("", ()),
        ("nameserver 10.0.0.10\nsearch a.test b.test\noptions ndots:5\n", ("a.test", "b.test")),
        ("domain a.test\nsearch b.test.\n", ("b.test",)),
        ("search .\n", ()),
        ("# search a.test\n;search b.test\nsearching c.test\n", ()),
    ],
)
def test_the_search_list_is_that_of_the_last_line_that_has_one(text: str, domains: tuple[str, ...]) -> None:
    assert search_list(text) == domains


@given(st.text(), st.text(min_size=1, max_size=300))
def test_whatever_stands_in_resolv_conf_the_names_are_few_and_no_longer_than_names_are(text: str, host: str) -> None:
    found = names(host, search_list(text))
    assert len(found) <= 17
    assert all(len(each) <= 254 for each in found)
