"""The name servers that pods are given are read as resolv.conf(5) has them; what is none is passed over."""

from __future__ import annotations

from pathlib import Path

import pytest

from hookline.control.name_servers import cluster_domain, name_servers


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("search a.b\nnameserver 10.96.0.10\noptions ndots:5\n", ["10.96.0.10"]),
        ("nameserver 10.96.0.10\nnameserver\tfd00::a\nnameserver 10.96.0.10", ["10.96.0.10", "fd00::a"]),
        ("nameserver fe80::1%eth0\n", ["fe80::1"]),
        ("nameserver 127.0.0.53\nnameserver ::1\nnameserver 0.0.0.0\n", []),
        ("# nameserver 1.2.3.4\nnameserver\nnameserver name\nnameservers 1.2.3.4\n", []),
        ("", []),
    ],
)
def test_name_servers_are_read_as_pods_are_given_them(tmp_path: Path, text: str, found: list[str]) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text(text)
    assert list(map(str, name_servers(file))) == found


def test_no_file_and_no_text_are_no_name_servers(tmp_path: Path) -> None:
    assert name_servers(tmp_path / "none") == ()
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00nameserver")
    assert name_servers(tmp_path / "binary") == ()


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("search hooks.svc.example.internal svc.example.internal example.internal\n", "example.internal"),
        ("nameserver 10.0.0.10\nsearch hooks.svc.cluster.local svc.cluster.local. cluster.local\n", "cluster.local"),
        ("search example.com\n", "cluster.local"),
        ("search svc.-strange-. svc.ok.example\n", "ok.example"),
        ("", "cluster.local"),
    ],
)
def test_services_end_with_the_domain_in_which_pods_search(tmp_path: Path, text: str, domain: str) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text(text)
    assert cluster_domain(file) == domain


def test_without_a_word_of_the_kubelet_services_end_as_usual(tmp_path: Path) -> None:
    assert cluster_domain(tmp_path / "none") == "cluster.local"
