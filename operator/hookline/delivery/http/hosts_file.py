"""The addresses that /etc/hosts has for names (hosts(5)).

c-ares reads that file as well, but cannot be told to read it alone: pycares (5.2.1) hands it that wish (`lookups`) in
memory that is free again by then. One channel in thirty asked nobody, and said for as long as it was used that no name
server answered.
"""

from __future__ import annotations

import socket
from ipaddress import ip_address
from pathlib import Path

HOSTS = Path("/etc/hosts")


class HostsFile:
    """Read again when it has changed. One that cannot be read has no names."""

    def __init__(self, path: Path = HOSTS) -> None:
        self._path = path
        self._read_at: tuple[int, int, int] | None = None
        self._addresses: dict[str, list[str]] = {}

    def addresses(self, host: str, family: socket.AddressFamily) -> list[tuple[str, socket.AddressFamily]]:
        """Those of a name, in the order of the file; AF_UNSPEC stands for both families."""
        self._look()
        found = [(each, family_of(each)) for each in self._addresses.get(_key(host), ())]
        return [each for each in found if family in (socket.AF_UNSPEC, each[1])]

    def _look(self) -> None:
        try:
            seen = self._path.stat()
            state = (seen.st_ino, seen.st_size, seen.st_mtime_ns)
            if state != self._read_at:
                self._addresses = parse(self._path.read_text(errors="replace"))
                self._read_at = state
        except OSError:
            self._addresses, self._read_at = {}, None


def parse(text: str) -> dict[str, list[str]]:
    """Addresses by name, in small letters. A line that does not begin with an address is passed over, and so is one
    with an address that counts on one link only (`fe80::1%eth0`)."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        if "%" in address or not _is_address(address):
            continue
        for name in names:
            its = found.setdefault(_key(name), [])
            if address not in its:
                its.append(address)
    return found


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _key(name: str) -> str:
    return name.lower().rstrip(".")


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
