"""Ports for servers that tests start, stop and start again.

They lie below those that the kernel gives to connections: of these, one whose server is away for a moment is taken by
whatever connects meanwhile. A process begins at a place of its own, so that another one beside it chooses others.
"""

from __future__ import annotations

import itertools
import os
import socket

_PORTS = range(10_000, 30_000)
"""Below the kernel's of Linux (32768) and macOS (49152), and those of a Kubernetes node (30000)."""

_OF_A_PROCESS = 100

_turns = itertools.count(os.getpid() * _OF_A_PROCESS)


def free_port() -> int:
    """One at which nobody listens on loopback, and which this process has not given lately."""
    return next(port for turn in _turns if is_free(port := _PORTS[turn % len(_PORTS)]))


def is_free(port: int, address: str = "127.0.0.1") -> bool:
    """Whether a server could listen there."""
    with socket.socket() as probe:
        # As servers bind: connections of an earlier one that linger do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
        return True
