from __future__ import annotations

from urllib.parse import urlsplit

import httpx
import yarl
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from hookline.url import shown, split_query, url_problem

odd = st.text("aB09.-_:/@?#%[]\\ &=é\n{x", max_size=6)
hosts = st.sampled_from(["example.com", "192.0.2.1", "[2001:db8::1]", "a_b.c", "0x7f", "2130706433", "xn--a", ""])
parts = st.tuples(odd, hosts, odd, st.sampled_from(["", ":8443", "/", "/p?q=1"]), odd).map("".join)


@settings(suppress_health_check=[HealthCheck.filter_too_much])
@given(parts)
def test_every_url_that_is_taken_means_the_same_host_to_every_client(rest: str) -> None:
    url = f"https://{rest}"
    assume(url_problem(url) is None)
    read = {str(urlsplit(url).hostname), httpx.URL(url).raw_host.decode(), str(yarl.URL(url, encoded=True).raw_host)}
    assert len({host.lower() for host in read}) == 1
    assert "@" not in urlsplit(url).netloc
    assert not urlsplit(url).fragment


@given(st.text(max_size=60))
def test_any_text_is_judged_without_an_exception(text: str) -> None:
    url_problem(text)
    url_problem(f"https://{text}")


@given(parts)
def test_any_spelling_of_a_host_is_judged_without_an_exception(rest: str) -> None:
    url_problem(f"https://{rest}")


@given(st.text("ab/=&?", max_size=20))
def test_a_split_url_is_put_together_again(rest: str) -> None:
    url = f"https://example.com/{rest}"
    base, query = split_query(url)
    assert url in (f"{base}?{query}", base)


def test_what_is_shown_has_no_query_and_no_userinfo() -> None:
    assert shown("https://example.com:8443/p?token=canary") == "https://example.com:8443/p?…"
    assert "canary" not in shown("https://u:canary@example.com/#canary")
