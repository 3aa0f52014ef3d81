from __future__ import annotations

from ipaddress import AddressValueError, IPv6Address
from urllib.parse import urlsplit

import httpx
import pytest
import yarl
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from hookline.resources.url import shown, split_query, url_problem

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


pieces = [*"ab/.?=&~-_@:;,!$'()*+[]", "%41", "%2F", "%7b", "%2e%2E", "//", "/../", "/./", "%", '"', "{", "#"]
path_texts = st.lists(st.sampled_from(pieces), max_size=12).map(lambda chosen: "".join(["/", *chosen]))


@settings(suppress_health_check=[HealthCheck.filter_too_much])
@given(path_texts)
@example("")
@example("?q=1")
@example("/a//b;c=%2F?x[y]='z'&w=?")
@example("/p?")
def test_every_client_sends_path_and_query_of_a_url_that_is_taken_as_they_were_typed(typed: str) -> None:
    url = f"https://example.com:8443{typed}"
    assume(url_problem(url) is None)
    sent = typed if typed.startswith("/") else f"/{typed}"
    assert httpx.URL(url).raw_path.decode() == sent
    assert yarl.URL(url, encoded=True).raw_path_qs == sent
    base, query = split_query(url)
    assert url == (f"{base}?{query}" if query else base)


groups = st.lists(st.sampled_from(["", "0", "1", "ffff", "ABCD", "12345", "g", "1.2.3.4"]), min_size=1, max_size=10)


@given(groups.map(":".join))
@example("::")
@example("::1")
@example("1::")
@example("1:2:3:4:5:6:7::")
@example("::2:3:4:5:6:7:8")
@example("1:2:3:4::5:6:7:8")
@example("1::2:3:4:5:6:7")
@example("1:2:3:4:5:6::7")
def test_brackets_hold_just_the_ipv6_addresses_in_hexadecimal_groups(text: str) -> None:
    try:
        IPv6Address(text)
        written_out = "." not in text
    except AddressValueError:
        written_out = False
    assert (url_problem(f"https://[{text}]:8443/p?q=1") is None) == written_out


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("http://example.com/", "write https://host/path"),
        ("https://bücher.example/", "punycode"),
        ("https://example.com/a b", "percent-encoded"),
        ("https://example.com/{id}", "%7B for {"),
        ("https://example.com/#a", "leave out the #"),
        ("https://example.com/a?", "leave out the question mark"),
        ("https://u:p@example.com/", "send credentials in a header"),
        ("https://example.com/%zz", "write %25"),
        ("https://example.com:080/", "without leading zeros"),
        ("https://", "must name a host"),
        ("https://[fe80::1%25eth0]/", "without a zone"),
        ("https://127.1/", "four decimal numbers"),
        ("https://0x7f000001/", "hexadecimal"),
        ("https://example.com/a/../b", "the path that it leads to"),
    ],
)
def test_each_mistake_is_told_with_what_to_write(url: str, advice: str) -> None:
    assert advice in str(url_problem(url))


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
