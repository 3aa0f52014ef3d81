from __future__ import annotations

import socket
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from hookline.delivery.http.hosts_file import HostsFile, parse

BOTH = socket.AF_UNSPEC


def test_every_name_of_a_line_has_its_address_and_a_name_has_those_of_all_its_lines() -> None:
    text = (
        "127.0.0.1 localhost\n192.0.2.1\tApi.example.test  api # not this\n"
        "#192.0.2.9 api\n2001:db8::1 api.example.test.\n"
    )
    assert parse(text) == {
        "localhost": ["127.0.0.1"],
        "api.example.test": ["192.0.2.1", "2001:db8::1"],
        "api": ["192.0.2.1"],
    }


def test_lines_without_an_address_for_everybody_are_passed_over() -> None:
    assert parse("\n \nname other\n192.0.2.300 a\nfe80::1%eth0 b\n192.0.2.1\n") == {}


@given(st.text())
def test_whatever_stands_in_it_is_no_error(text: str) -> None:
    parse(text)


def test_a_family_that_is_asked_for_is_the_only_one_given(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    file.write_text("192.0.2.1 a\n2001:db8::1 a\n")
    hosts = HostsFile(file)
    assert hosts.addresses("A.", socket.AF_INET6) == [("2001:db8::1", socket.AF_INET6)]
    assert hosts.addresses("a", BOTH) == [("192.0.2.1", socket.AF_INET), ("2001:db8::1", socket.AF_INET6)]


def test_a_change_is_seen_and_a_file_that_is_gone_has_no_names(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    hosts = HostsFile(file)
    assert hosts.addresses("a", BOTH) == []
    file.write_text("192.0.2.1 a\n")
    assert hosts.addresses("a", BOTH) == [("192.0.2.1", socket.AF_INET)]
    file.write_text("192.0.2.22 a\n")
    assert hosts.addresses("a", BOTH) == [("192.0.2.22", socket.AF_INET)]
    file.unlink()
    assert hosts.addresses("a", BOTH) == []
