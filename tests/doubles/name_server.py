"""A name server on loopback: a real one over UDP, that answers from a table, lies from call to call, or hangs."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from types import TracebackType
from typing import Self, cast

A, CNAME, AAAA = 1, 5, 28
SERVFAIL, NXDOMAIN = 2, 3

HANGS = "hangs"
BROKEN = "broken"

Answer = Sequence[str] | str
"""Addresses; a name that ends in a dot is a CNAME to it; HANGS and BROKEN (SERVFAIL) as they say."""


@dataclass
class NameServer:
    """`table` gives each name its answers, one for each question in turn, the last one for ever.

    Other names do not exist.
    """

    table: Mapping[str, Sequence[Answer]]
    port: int = 0
    asked: list[str] = field(default_factory=list)
    _turns: dict[tuple[str, int], int] = field(default_factory=dict)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(
            lambda: _Line(self), local_addr=("127.0.0.1", self.port)
        )
        self.port = self._transport.get_extra_info("sockname")[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._transport.close()

    def reply(self, question: bytes) -> bytes | None:
        """The answer to one datagram; None for silence."""
        name, kind, end = _question(question)
        self.asked.append(name)
        answers = self.table.get(name)
        if answers is None:
            return _message(question, end, [], NXDOMAIN)
        answer = answers[min(self._turn(name, kind), len(answers) - 1)]
        if answer in (HANGS, BROKEN):
            return None if answer == HANGS else _message(question, end, [], SERVFAIL)
        return _message(question, end, self._records(name, kind, answer))

    def _turn(self, name: str, kind: int) -> int:
        turn = self._turns.get((name, kind), 0)
        self._turns[name, kind] = turn + 1
        return turn

    def _records(self, name: str, kind: int, answer: Answer) -> list[bytes]:
        records: list[bytes] = []
        for each in [answer] if isinstance(answer, str) else answer:
            if each.endswith("."):
                target = each.removesuffix(".")
                records.append(_record(name, CNAME, _name(target)))
                followed = self.table.get(target)
                records += self._records(target, kind, followed[-1]) if followed else []
                continue
            address = ip_address(each)
            if (kind, type(address)) in ((A, IPv4Address), (AAAA, IPv6Address)):
                records.append(_record(name, kind, address.packed))
        return records


class _Line(asyncio.DatagramProtocol):
    def __init__(self, server: NameServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        reply = self._server.reply(data)
        if reply is not None:
            self._transport.sendto(reply, addr)


def _question(message: bytes) -> tuple[str, int, int]:
    labels, at = [], 12
    while message[at]:
        labels.append(message[at + 1 : at + 1 + message[at]].decode("ascii"))
        at += 1 + message[at]
    (kind,) = struct.unpack_from("!H", message, at + 1)
    return ".".join(labels).lower(), kind, at + 5


def _name(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode("ascii") for label in name.split(".")) + b"\0"


def _record(name: str, kind: int, data: bytes) -> bytes:
    return _name(name) + struct.pack("!HHIH", kind, 1, 0, len(data)) + data


def _message(question: bytes, end: int, records: Sequence[bytes], status: int = 0) -> bytes:
    head = question[:2] + struct.pack("!HHHHH", 0x8180 | status, 1, len(records), 0, 0)
    return head + question[12:end] + b"".join(records)
