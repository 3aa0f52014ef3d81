"""Which Hookline the senders of a stage run: the one that is installed, or that of a former commit.

A former one is unpacked from git into a folder of the run, and run by the present interpreter with the libraries of
today. Measures nothing, and changes nothing in git.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = "operator"
"""The folder of a commit that holds the package."""


class NoEngine(Exception):
    """A former engine cannot be had; the message says why."""


@dataclass(frozen=True)
class Engine:
    """`packages` holds the package `hookline`; None is the one that is installed."""

    name: str
    packages: Path | None = None

    def environment(self) -> Mapping[str, str] | None:
        """Of a process that runs it; None is that of this process."""
        return None if self.packages is None else {**os.environ, "PYTHONPATH": str(self.packages)}


PRESENT = Engine("present")


def former(commit: str, folder: Path, repository: Path = REPOSITORY) -> Engine:
    """The engine of a commit, unpacked into `folder`, with which it goes. Raises NoEngine."""
    found = _git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}")
    packed = _git(repository, "archive", "--format=tar", found.decode().strip(), PACKAGES)
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    engine = Engine("before", folder / PACKAGES)
    _check(engine)
    return engine


def _git(repository: Path, *words: str) -> bytes:
    try:
        done = subprocess.run(["git", "-C", str(repository), *words], capture_output=True, check=False)
    except FileNotFoundError:
        raise NoEngine("there is no git here") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise NoEngine(f"git {words[0]}: {said[-1] if said else 'there is no such commit here'}")
    return done.stdout


def _check(engine: Engine) -> None:
    """Else the installed one would be measured against itself."""
    words = [sys.executable, "-c", "import hookline; print(hookline.__file__)"]
    done = subprocess.run(words, capture_output=True, check=False, env=engine.environment())
    file = done.stdout.decode().strip()
    if engine.packages is None or not file.startswith(str(engine.packages)):
        raise NoEngine(f"python takes hookline from {file or 'nowhere'}")
