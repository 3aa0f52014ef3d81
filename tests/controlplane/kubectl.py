"""kubectl against one cluster, as a chosen user: the way a person would do it.

Decides nothing about what is asked. Leaves nothing in the home folder.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from controlplane.credentials import ADMIN

CRDS = Path(__file__).parents[2] / "crds"


class Kubectl:
    """`kubectl("get", "pods", user="alice")`. `kubeconfig` gives the kubeconfig of a user."""

    def __init__(self, program: Path, kubeconfig: Callable[[str], Path], cache: Path) -> None:
        self._program = program
        self._kubeconfig = kubeconfig
        self._cache = cache

    def __call__(
        self, *args: str | Path, stdin: str | None = None, user: str = ADMIN.name, seconds: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run it to its end, whatever that is."""
        environment = {**os.environ, "KUBECONFIG": str(self._kubeconfig(user))}
        return subprocess.run(
            [self._program, f"--cache-dir={self._cache}", *args],
            input="" if stdin is None else stdin,
            env=environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def ok(self, *args: str | Path, stdin: str | None = None, user: str = ADMIN.name, seconds: float = 60) -> str:
        """What it prints. RuntimeError when it fails."""
        done = self(*args, stdin=stdin, user=user, seconds=seconds)
        if done.returncode:
            words = " ".join(map(str, args))
            raise RuntimeError(f"kubectl {words} failed: {done.stderr.strip()[-2000:]}")
        return done.stdout

    def environment(self, user: str) -> dict[str, str]:
        """In which `kubectl` is this one, as a user: for programs that call it."""
        path = f"{self._program.parent}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "KUBECONFIG": str(self._kubeconfig(user)), "KUBECACHEDIR": str(self._cache)}

    def script(self, text: str, folder: Path, *, seconds: float = 60) -> str:
        """What a script for a shell prints that calls kubectl; what it leaves behind in the background is ended."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f"trap 'kill $(jobs -p)' EXIT\n{text}"],
            cwd=folder,
            env=self.environment(ADMIN.name),
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"the script failed: {done.stderr.strip()[-2000:]}")
        return done.stdout

    def json(self, *args: str | Path, user: str = ADMIN.name) -> Any:
        """What it prints with `-o json`."""
        return json.loads(self.ok(*args, "-o", "json", user=user))

    def apply_crds(self) -> None:
        """Give the cluster Hookline's kinds, and wait until it knows them."""
        self.ok("apply", "--server-side", "-f", CRDS)
        self.ok("wait", "--for=condition=Established", "--timeout=30s", "-f", CRDS)
