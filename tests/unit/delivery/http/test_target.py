"""What a URL means to a call, and which bytes of it are sent."""

from __future__ import annotations

import pytest

from hookline.delivery.http.progress import InvalidCallError
from hookline.delivery.http.target import target_of


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("https://a.example", b"/"),
        ("https://a.example?q", b"/?q"),
        ("https://a.example/x#part", b"/x"),
        ("https://a.example//x/../y/./%2e%2E/%7e?a=%2F&b=;'", b"//x/../y/./%2e%2E/%7e?a=%2F&b=;'"),
        ("https://a.example/a b\r\nx: y/\u00e4", b"/a%20b%0D%0Ax:%20y/%C3%A4"),
    ],
)
def test_path_and_query_are_sent_as_typed_and_only_what_breaks_a_request_line_is_encoded(url: str, sent: bytes) -> None:
    assert target_of(url).request_line == b"POST %b HTTP/1.1\r\n" % sent


@pytest.mark.parametrize(
    ("url", "host", "authority"),
    [
        ("HTTPS://A.example/", "a.example", "a.example:443"),
        ("https://a.example:8443/", "a.example:8443", "a.example:8443"),
        ("https://[2001:db8::1]:8443/", "[2001:db8::1]:8443", "[2001:db8::1]:8443"),
    ],
)
def test_host_and_authority_name_the_receiver_that_is_called(url: str, host: str, authority: str) -> None:
    target = target_of(url)
    assert (target.host, target.authority) == (f"Host: {host}\r\n", authority)


def test_an_address_in_a_url_is_told_from_a_name() -> None:
    assert target_of("https://192.0.2.1/").literal_text == "192.0.2.1"
    assert target_of("https://a.example/").literal is None


@pytest.mark.parametrize(
    "url",
    [
        "http://a.example/secret",
        "a.example/secret",
        "https://user:secret@a.example/",
        "https://a.example\\@secret/",
        "https://a.example:0/secret",
        "https://a.example:65536/secret",
        "https:///secret",
        "https://a b/secret",
    ],
)
def test_a_url_that_names_no_receiver_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(InvalidCallError) as refused:
        target_of(url)
    assert "secret" not in str(refused.value)
