from __future__ import annotations

import pytest

from hookline.cli.common import listen_address
from hookline.cli.errors import WrongInput


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0.0.0.0:8080", ("0.0.0.0", 8080)),
        (":8080", ("", 8080)),
        ("[::]:8080", ("::", 8080)),
        ("localhost:0", ("localhost", 0)),
    ],
)
def test_an_address_to_listen_at_is_host_and_port(text: str, address: tuple[str, int]) -> None:
    assert listen_address(text) == address


@pytest.mark.parametrize("text", ["", "8080", "host", "host:", "::1:80", "host:65536", "host:-1", "http://host:80"])
def test_what_is_no_address_says_what_to_write(text: str) -> None:
    with pytest.raises(WrongInput, match=r"--listen must be HOST:PORT"):
        listen_address(text)
