"""`python -m controlplane`: leaves a cluster running for a developer, and ends it again. `make cluster` calls it.

Decides where that cluster lives. Prints only what a shell should evaluate; all else goes to stderr.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from controlplane import assets, processes, takedown
from controlplane.assets import say
from controlplane.golang import Unavailable
from controlplane.kubectl import Kubectl
from controlplane.processes import StartError
from controlplane.servers import ControlPlane

_SERVERS = ("etcd", "kube-apiserver", "kube-controller-manager")


def default_folder() -> Path:
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return state / "hookline" / "cluster"


def up(folder: Path) -> int:
    """Start the cluster of a folder, with what it held last time."""
    programs = assets.ensure()
    if not _runs(folder):
        takedown.down(folder)
        plane = ControlPlane(folder, programs)
        plane.start(leave_running=True)
        Kubectl(programs["kubectl"], plane.kubeconfig, folder / "kubectl-cache").apply_crds()
    say(f"Kubernetes {assets.CONTROL_PLANE[0].version} runs in {folder}, with Hookline's CRDs and without a node")
    if shutil.which("kubectl") is None:
        say(f"kubectl is {programs['kubectl']}")
    return env(folder)


def down(folder: Path) -> int:
    """End it. What it held stays for the next time."""
    ended = takedown.down(folder)
    say(f"ended {', '.join(ended)}" if ended else f"nothing runs in {folder}")
    return 0


def erase(folder: Path) -> int:
    """End it and forget what it held."""
    down(folder)
    # Never a folder that is none of ours, whatever was typed.
    if (folder / "ports.json").exists():
        shutil.rmtree(folder)
    return 0


def env(folder: Path) -> int:
    """Print what a shell evaluates to use it."""
    if not _runs(folder):
        say(f"no cluster runs in {folder}; start one with: make cluster")
        return 1
    sys.stdout.write(f"export KUBECONFIG={folder / 'kubeconfig-admin'}\n")
    return 0


def status(folder: Path) -> int:
    """Print each server and its process."""
    for name in _SERVERS:
        pid = processes.running_pid(folder, name)
        sys.stdout.write(f"{name}\t{'pid ' + str(pid) if pid else 'does not run'}\n")
    return 0 if _runs(folder) else 1


def programs(folder: Path) -> int:
    """Get the programs, and start nothing."""
    for name, path in assets.ensure().items():
        say(f"{name}\t{path}")
    return 0


_COMMANDS: dict[str, Callable[[Path], int]] = {
    "up": up,
    "down": down,
    "erase": erase,
    "env": env,
    "status": status,
    "programs": programs,
}


def _runs(folder: Path) -> bool:
    return all(processes.running_pid(folder, each) is not None for each in _SERVERS)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m controlplane", description="A Kubernetes API for developers.")
    parser.add_argument("command", choices=_COMMANDS)
    parser.add_argument("--folder", type=Path, default=default_folder(), help="where it lives (default: %(default)s)")
    asked = parser.parse_args()
    try:
        return _COMMANDS[asked.command](asked.folder.absolute())
    except (Unavailable, StartError, RuntimeError) as error:
        say(f"error: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
