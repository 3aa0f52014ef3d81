"""Ends what a folder tells of: every server, by whoever is asked, in an order in which they go quietly.

Decides nothing about starting. Says nothing when there is nothing to end.
"""

from __future__ import annotations

from pathlib import Path

from controlplane import processes, sandbox

_LAST = ("kube-apiserver", "etcd")
"""The others are clients of the API server, and it is one of etcd: without it they wait."""


def down(folder: Path) -> list[str]:
    """End all servers of a folder; the names of those that ran."""
    names = processes.recorded(folder)
    ordered = [*(each for each in names if each not in _LAST), *(each for each in _LAST if each in names)]
    ran = [each for each in ordered if processes.running_pid(folder, each) is not None]
    for name in ordered:
        processes.end(folder, name)
    sandbox.end(folder)
    return ran
