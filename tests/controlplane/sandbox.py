"""Where a node runs: namespaces of its own for network, mounts and processes, joined to this machine by one cable.

All addresses are made here. When the first process of the sandbox ends, the kernel ends all others and undoes all
mounts and rules; what is left for us are the cable, two routes and the containers' cgroups.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from controlplane.processes import StartError

HOST_ADDRESS = "172.30.213.1"
"""This machine, as pods see it."""
NODE_ADDRESS = "172.30.213.2"
POD_CIDR = "10.213.0.0/24"

_CABLE = "hookline0"
_CABLE_CIDR_BITS = 30
_PRIVATE_FOLDERS = (
    "/var/lib/kubelet",
    "/var/log/containers",
    "/var/log/pods",
    "/var/lib/cni",
    "/run/netns",
    "/run/containerd",
    "/run/xtables.lock.d",
)
"""Paths that a node's programs write to whatever they are told: empty ones for the sandbox alone."""

_CGROUP = "hookline-node"
_CGROUPS = Path("/sys/fs/cgroup")


class Sandbox:
    """One sandbox at a time on a machine, known by a folder."""

    def __init__(self, folder: Path, routed: Sequence[str]) -> None:
        self._file = folder / "sandbox.json"
        self._routed = (POD_CIDR, *routed)
        self._holder: subprocess.Popen[bytes] | None = None
        self._inner = 0

    @property
    def enter(self) -> tuple[str, ...]:
        """What comes before a command that is to run in the sandbox."""
        return ("nsenter", f"--target={self._inner}", "--mount", "--net", "--pid", "--")

    def start(self) -> None:
        """Make it. Raises StartError when there is one already, or this machine has no room for one."""
        if _cable_exists():
            raise StartError(f"a node runs here already, or was left behind: the link {_CABLE} exists")
        self._hold()
        try:
            self._connect()
            self._hide_folders()
        except subprocess.CalledProcessError as error:
            self.end()
            words = (error.stderr or b"").decode(errors="replace").strip()
            raise StartError(f"no sandbox for a node here: {' '.join(error.cmd)}: {words}") from None

    def end(self) -> None:
        """Undo everything. What is gone already is fine."""
        end(self._file.parent)
        if self._holder is not None:
            self._holder.wait()

    def _hold(self) -> None:
        """The first process of the sandbox. It ends with the file's reader, not with us: keeper.py sees to that."""
        names = ("--fork", "--pid", "--mount-proc", "--mount", "--net", "--propagation=private", "--kill-child")
        self._holder = subprocess.Popen(
            ["unshare", *names, "sleep", "infinity"], stdin=subprocess.DEVNULL, start_new_session=True
        )
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children")
        deadline = time.monotonic() + 10
        while not (found := _read(children).split()):
            if self._holder.poll() is not None or time.monotonic() > deadline:
                raise StartError("no sandbox for a node here: unshare could not make namespaces (are you root?)")
            time.sleep(0.02)
        self._inner = int(found[0])
        made = [each for each in _PRIVATE_FOLDERS if not Path(each).exists()]
        self._file.write_text(json.dumps({"holder": self._holder.pid, "routed": self._routed, "made": made}))

    def _connect(self) -> None:
        _run("ip", "link", "add", _CABLE, "type", "veth", "peer", "name", "eth0", "netns", str(self._inner))
        _run("ip", "address", "add", f"{HOST_ADDRESS}/{_CABLE_CIDR_BITS}", "dev", _CABLE)
        _run("ip", "link", "set", _CABLE, "up")
        for words in (
            ("ip", "link", "set", "lo", "up"),
            ("ip", "address", "add", f"{NODE_ADDRESS}/{_CABLE_CIDR_BITS}", "dev", "eth0"),
            ("ip", "link", "set", "eth0", "up"),
            ("ip", "route", "add", "default", "via", HOST_ADDRESS),
            ("sysctl", "--quiet", "--write", "net.ipv4.ip_forward=1"),
        ):
            _run(*self.enter, *words)
        for network in self._routed:
            _run("ip", "route", "add", network, "via", NODE_ADDRESS)

    def _hide_folders(self) -> None:
        for folder in _PRIVATE_FOLDERS:
            Path(folder).mkdir(parents=True, exist_ok=True)
            _run(*self.enter, "mount", "-t", "tmpfs", "tmpfs", folder)


def end(folder: Path) -> None:
    """Undo a sandbox by its folder, whoever made it."""
    file = folder / "sandbox.json"
    if not file.exists():
        return
    told = json.loads(file.read_text())
    if b"unshare" in _command(told["holder"]):
        with contextlib.suppress(ProcessLookupError):
            os.kill(told["holder"], signal.SIGKILL)
    for network in told["routed"]:
        subprocess.run(["ip", "route", "del", network, "via", NODE_ADDRESS], capture_output=True, check=False)
    subprocess.run(["ip", "link", "del", _CABLE], capture_output=True, check=False)
    _remove_cgroups()
    for made in told["made"]:
        with contextlib.suppress(OSError):
            Path(made).rmdir()
    file.unlink()


def make_cgroup() -> str:
    """A cgroup of its own for all pods, in every hierarchy; its name from the root."""
    for hierarchy in _hierarchies():
        ours = hierarchy / _CGROUP
        ours.mkdir(exist_ok=True)
        for knob in ("cpuset.cpus", "cpuset.mems"):
            if (ours / knob).exists() and not _read(ours / knob).strip():
                (ours / knob).write_text(_read(hierarchy / knob))
    return f"/{_CGROUP}"


def left_behind() -> list[str]:
    """What a sandbox should have taken along and did not, for tests."""
    found = [_CABLE] if _cable_exists() else []
    routes = subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout
    found += [line for line in routes.splitlines() if NODE_ADDRESS in line]
    found += [str(each / _CGROUP) for each in _hierarchies() if (each / _CGROUP).exists()]
    return found


def _remove_cgroups() -> None:
    deadline = time.monotonic() + 10
    for hierarchy in _hierarchies():
        while (hierarchy / _CGROUP).exists():
            for folder in sorted((hierarchy / _CGROUP).rglob("*/"), reverse=True):
                with contextlib.suppress(OSError):
                    folder.rmdir()
            with contextlib.suppress(OSError):
                (hierarchy / _CGROUP).rmdir()
            if time.monotonic() > deadline:
                return
            time.sleep(0.05)


def _hierarchies() -> list[Path]:
    if (_CGROUPS / "cgroup.controllers").exists():
        return [_CGROUPS]
    return [each for each in _CGROUPS.iterdir() if each.is_dir() and not each.is_symlink()]


def _cable_exists() -> bool:
    return Path(f"/sys/class/net/{_CABLE}").exists()


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)
