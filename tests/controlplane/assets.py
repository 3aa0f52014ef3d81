"""Where kube-apiserver, etcd and their like come from: found on the machine, or built from pinned Go modules.

Decides the order of sources and what is built; versions are in the go.mod files. Never starts a program it found.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from controlplane import golang
from controlplane.golang import HERE, Unavailable

KUBERNETES = "k8s.io/kubernetes"
ETCD = "go.etcd.io/etcd/server/v3"

_PROGRESS_SECONDS = 20.0


@dataclass(frozen=True)
class Program:
    """One executable: the Go package it is built from, and the module whose version it carries."""

    name: str
    package: str
    module: str
    usual_time: str
    """With an empty build cache, on two cores."""
    folder: Path = HERE
    tags: str = ""
    in_envtest: bool = False
    """Whether setup-envtest brings it."""

    @property
    def version(self) -> str:
        found = re.search(rf"^\s*(?:require )?{re.escape(self.module)} (v\S+)", self._go_mod, re.MULTILINE)
        assert found, f"{self.folder}/go.mod requires no {self.module}"
        return found[1]

    @property
    def home(self) -> Path:
        """Its place in the cache."""
        return cache() / f"{self.module.split('/')[1]}-{self.version}" / self.name

    @property
    def _go_mod(self) -> str:
        return (self.folder / "go.mod").read_text()


def _kubernetes(name: str, usual_time: str, *, in_envtest: bool = False) -> Program:
    return Program(name, f"{KUBERNETES}/cmd/{name}", KUBERNETES, usual_time, in_envtest=in_envtest)


CONTROL_PLANE = (
    _kubernetes("kube-apiserver", "5 minutes", in_envtest=True),
    Program("etcd", ETCD, ETCD, "10 seconds", in_envtest=True),
    _kubernetes("kube-controller-manager", "2 minutes"),
    _kubernetes("kubectl", "30 seconds", in_envtest=True),
)


NODE = (
    *CONTROL_PLANE,
    _kubernetes("kubelet", "30 seconds"),
    _kubernetes("kube-scheduler", "20 seconds"),
    _kubernetes("kube-proxy", "20 seconds"),
    Program(
        "coredns", "github.com/coredns/coredns", "github.com/coredns/coredns", "3 minutes", folder=HERE / "coredns"
    ),
)


def cache() -> Path:
    """Where built programs are kept, outside the checkout."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hookline" / "controlplane"


def say(text: str) -> None:
    """Progress is for the person who waits: never mixed with output."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def unavailable(programs: Sequence[Program] = CONTROL_PLANE, *, tell: Callable[[str], None] = say) -> str | None:
    """Why these programs cannot be had here, in one line, or None once they are there. Builds what is missing."""
    try:
        ensure(programs, tell=tell)
    except Unavailable as reason:
        return str(reason)
    return None


def ensure(programs: Sequence[Program] = CONTROL_PLANE, *, tell: Callable[[str], None] = say) -> dict[str, Path]:
    """The paths of all these programs by their names. Raises Unavailable."""
    if not (missing := [each for each in programs if _found(each, {}) is None]):
        return _paths(programs, {})
    envtest = _from_envtest() if any(each.in_envtest for each in missing) else {}
    if missing := [each for each in missing if _found(each, envtest) is None]:
        with _only_builder(tell):
            _build_all([each for each in missing if _found(each, envtest) is None], tell)
    return _paths(programs, envtest)


def _paths(programs: Sequence[Program], envtest: Mapping[str, Path]) -> dict[str, Path]:
    return {each.name: path for each in programs if (path := _found(each, envtest)) is not None}


def _found(program: Program, envtest: Mapping[str, Path]) -> Path | None:
    given = os.environ.get("KUBEBUILDER_ASSETS")
    places = [Path(given) / program.name] if given else []
    places.append(program.home)
    places += [envtest[program.name]] if program.in_envtest and program.name in envtest else []
    return next((each for each in places if os.access(each, os.X_OK) and each.is_file()), None)


def _from_envtest() -> dict[str, Path]:
    """What setup-envtest has or fetches; nothing where it is missing or fails, for then there is still the build."""
    command = shutil.which("setup-envtest")
    if command is None:
        return {}
    minor = CONTROL_PLANE[0].version.removeprefix("v").rpartition(".")[0]
    asked = subprocess.run(
        [command, "use", f"{minor}.x", "-p", "path"], capture_output=True, text=True, timeout=600, check=False
    )
    folder = Path(asked.stdout.strip())
    if asked.returncode or not asked.stdout.strip():
        return {}
    return {each.name: folder / each.name for each in CONTROL_PLANE if each.in_envtest}


@contextlib.contextmanager
def _only_builder(tell: Callable[[str], None]) -> Iterator[None]:
    """Hold the cache's lock, which the kernel releases however this process ends."""
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell(f"controlplane: another build fills {cache()}; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build_all(programs: Sequence[Program], tell: Callable[[str], None]) -> None:
    if not programs:
        return
    names = ", ".join(each.name for each in programs)
    tell(f"controlplane: building {names} (once; kept in {cache()})")
    for number, program in enumerate(programs, start=1):
        tell(
            f"controlplane: {number} of {len(programs)}: {program.name} {program.version}, usually {program.usual_time}"
        )
        started = time.monotonic()
        _build(program, tell)
        tell(f"controlplane: {program.name} built in {time.monotonic() - started:.0f} s")


def _build(program: Program, tell: Callable[[str], None]) -> None:
    go = golang.command(program.folder, cache(), tell)
    program.home.parent.mkdir(parents=True, exist_ok=True)
    unfinished = program.home.with_name(f"{program.name}.unfinished")
    log = cache() / f"build-{program.name}.log"
    words = [str(go), "build", "-v", "-trimpath", "-tags", program.tags, "-ldflags", _linker_flags(program)]
    with log.open("w") as out:
        process = subprocess.Popen(
            [*words, "-o", str(unfinished), program.package],
            cwd=program.folder,
            env=golang.environment(),
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
        )
        _watch(process, program, log, tell)
    if process.returncode:
        raise Unavailable(f"{program.name} could not be built: {golang.last_line(log)} (all of it is in {log})")
    unfinished.rename(program.home)


def _watch(process: subprocess.Popen[bytes], program: Program, log: Path, tell: Callable[[str], None]) -> None:
    """Wait for a build and tell now and then how far it is. The build ends with us."""
    started = time.monotonic()
    try:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_PROGRESS_SECONDS)
                return
            lines = log.read_text(errors="replace").splitlines()
            fetched = sum(each.startswith("go: downloading") for each in lines)
            seconds = time.monotonic() - started
            tell(
                f"controlplane:   {program.name}: {seconds:.0f} s, {fetched} modules fetched, "
                f"{len(lines) - fetched} packages compiled"
            )
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


def _linker_flags(program: Program) -> str:
    if program.module != KUBERNETES:
        return "-s -w"
    # Else it calls itself v0.0.0-master, and clients that compare versions stumble.
    major, minor, _ = program.version.removeprefix("v").split(".", 2)
    facts = {"gitVersion": program.version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    return "-s -w " + " ".join(f"-X k8s.io/component-base/version.{key}={value}" for key, value in facts.items())
