"""Names against real name servers on loopback."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import aiodns
import pytest

from doubles.name_server import BROKEN, Answer, NameServer
from hookline.delivery.http import lookup
from hookline.delivery.http.lookup import NameServers

PORT = 443
TABLE: Mapping[str, Sequence[Answer]] = {
    "moves.test": [[], ["192.0.2.7"]],
    "changes.test": [["192.0.2.1"], ["192.0.2.2"]],
    "api.example.test": [["192.0.2.3"]],
    "api.example.test.broken.test": [BROKEN],
    "receiver.team.svc.test": [["192.0.2.4"]],
    "receiver.team": [BROKEN],
    "short.svc.test": [["192.0.2.5"]],
    "short.broken.test": [BROKEN],
}


async def addresses(names: NameServers, host: str) -> list[str]:
    return [each["host"] for each in await names.resolve(host, PORT, socket.AF_INET)]


def resolv_conf(folder: Path, *domains: str) -> Path:
    file = folder / "resolv.conf"
    file.write_text(f"search {' '.join(domains)}\noptions ndots:5\n")
    return file


async def test_an_address_is_kept_for_no_longer_than_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "CHANNEL_SECONDS", 0.2)
    async with NameServer(TABLE) as server:
        names = NameServers(["127.0.0.1"], server.port)
        assert await addresses(names, "changes.test") == ["192.0.2.1"]
        await asyncio.sleep(0.3)
        assert await addresses(names, "changes.test") == ["192.0.2.2"]
        await names.close()


async def test_nor_is_an_answer_without_one_such_as_a_zone_gives_while_it_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lookup, "CHANNEL_SECONDS", 0.2)
    async with NameServer(TABLE) as server:
        names = NameServers(["127.0.0.1"], server.port)
        with pytest.raises(socket.gaierror) as nothing:
            await addresses(names, "moves.test")
        assert nothing.value.errno == socket.EAI_NONAME
        await asyncio.sleep(0.3)
        assert await addresses(names, "moves.test") == ["192.0.2.7"]
        await names.close()


async def test_a_broken_domain_of_the_search_list_hides_no_name_with_a_dot(tmp_path: Path) -> None:
    async with NameServer(TABLE) as server:
        names = NameServers(["127.0.0.1"], server.port, resolv_conf=resolv_conf(tmp_path, "a.test", "broken.test"))
        assert await addresses(names, "api.example.test") == ["192.0.2.3"]
        assert server.asked == ["api.example.test"]
        await names.close()


async def test_a_broken_domain_hides_no_short_name_of_another_one(tmp_path: Path) -> None:
    async with NameServer(TABLE) as server:
        names = NameServers(["127.0.0.1"], server.port, resolv_conf=resolv_conf(tmp_path, "broken.test", "svc.test"))
        assert await addresses(names, "short") == ["192.0.2.5"]
        assert await addresses(names, "receiver.team") == ["192.0.2.4"]
        await names.close()


async def test_a_name_that_exists_nowhere_is_told_from_one_that_nobody_could_look_up(tmp_path: Path) -> None:
    async with NameServer(TABLE) as server:
        names = NameServers(["127.0.0.1"], server.port, resolv_conf=resolv_conf(tmp_path, "svc.test"))
        with pytest.raises(socket.gaierror) as nowhere:
            await names.resolve("nowhere.test", PORT, socket.AF_INET)
        assert nowhere.value.errno == socket.EAI_NONAME
        broken = NameServers(["127.0.0.1"], server.port, resolv_conf=resolv_conf(tmp_path, "broken.test"))
        with pytest.raises(socket.gaierror) as failed:
            await broken.resolve("short", PORT, socket.AF_INET)
        assert failed.value.errno == socket.EAI_AGAIN
        await names.close()
        await broken.close()


async def test_a_lookup_under_way_ends_though_its_channel_is_used_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "CHANNEL_SECONDS", 0.0)
    async with NameServer(TABLE) as server:
        names = NameServers(["127.0.0.1"], server.port)
        found = await asyncio.gather(*(addresses(names, "api.example.test") for _ in range(20)))
        assert found == [["192.0.2.3"]] * 20
        await names.close()


async def test_a_changed_resolv_conf_counts_after_seconds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(lookup, "CHANNEL_SECONDS", 0.0)
    async with NameServer(TABLE) as server:
        file = resolv_conf(tmp_path, "a.test")
        names = NameServers(["127.0.0.1"], server.port, resolv_conf=file)
        with pytest.raises(socket.gaierror):
            await addresses(names, "short")
        resolv_conf(tmp_path, "svc.test")
        assert await addresses(names, "short") == ["192.0.2.5"]
        await names.close()


async def test_names_of_the_hosts_file_come_first(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("192.0.2.9 api.example.test\n")
    async with NameServer(TABLE) as server:
        names = NameServers(["127.0.0.1"], server.port, hosts=hosts)
        assert await addresses(names, "api.example.test") == ["192.0.2.9"]
        assert server.asked == []
        await names.close()


async def test_c_ares_is_told_nothing_by_memory_that_pycares_has_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One channel in thirty asked nobody, as its `lookups` were whatever came to lie there."""
    told: dict[str, object] = {}

    class Resolver(aiodns.DNSResolver):
        def __init__(self, *args: Any, **options: Any) -> None:
            told.update(options)
            super().__init__(*args, **options)

    monkeypatch.setattr(aiodns, "DNSResolver", Resolver)
    async with NameServer(TABLE) as server:
        names = NameServers(["127.0.0.1"], server.port)
        assert await addresses(names, "api.example.test") == ["192.0.2.3"]
        await names.close()
    assert told
    assert not told.keys() & {"lookups", "resolvconf_path"}
