"""Where the control plane's programs come from: the order of sources, one builder at a time, and one line when none."""

from __future__ import annotations

import dataclasses
import fcntl
import shutil
import threading
from pathlib import Path

import pytest

from controlplane import assets, golang, sessions
from controlplane.golang import Unavailable

HELLO = 'package main\n\nfunc main() { println("hello") }\n'


@pytest.fixture(autouse=True)
def empty_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cache, no assets folder, and nothing on PATH."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))


def program(path: Path, script: str = "exit 0") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def no_build(*_: object) -> None:
    raise AssertionError("built although everything was there")


def test_every_program_has_a_version_in_its_go_mod() -> None:
    assert {each.name: each.version for each in assets.CONTROL_PLANE} == {
        "kube-apiserver": "v1.37.2",
        "etcd": "v3.7.0",
        "kube-controller-manager": "v1.37.2",
        "kubectl": "v1.37.2",
    }


def test_the_assets_folder_comes_before_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assets, "_build_all", no_build)
    for each in assets.CONTROL_PLANE:
        program(each.home)
    given = program(tmp_path / "assets" / "etcd")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(given.parent))
    found = assets.ensure()
    assert found["etcd"] == given
    assert found["kube-apiserver"] == assets.CONTROL_PLANE[0].home


def test_setup_envtest_is_asked_for_this_minor_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[str] = []
    store = tmp_path / "store"
    for name in ("kube-apiserver", "etcd", "kubectl"):
        program(store / name)
    program(tmp_path / "path" / "setup-envtest", f'[ "$*" = "use 1.37.x -p path" ] && echo {store}')

    def build(programs: list[assets.Program], _: object) -> None:
        built.extend(each.name for each in programs)
        for each in programs:
            program(each.home)

    monkeypatch.setattr(assets, "_build_all", build)
    found = assets.ensure()
    assert found["etcd"] == store / "etcd"
    assert built == ["kube-controller-manager"], "the only one that setup-envtest does not bring"


def test_a_machine_without_go_and_without_packages_says_so_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    reason = assets.unavailable(tell=lambda _: None)
    assert reason is not None
    assert reason.startswith("no control plane here: Go is missing and could not be fetched")
    assert "\n" not in reason


def test_a_failed_build_says_which_program_and_leaves_nothing_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = program(tmp_path / "go", "echo compile: no space left on device >&2; exit 1")
    monkeypatch.setattr(golang, "command", lambda *_: go)
    with pytest.raises(Unavailable, match="kube-apiserver could not be built: compile: no space left on device"):
        assets.ensure(tell=lambda _: None)
    assert not assets.CONTROL_PLANE[0].home.exists()


def test_an_older_go_is_not_used(tmp_path: Path) -> None:
    program(tmp_path / "path" / "go", "echo go1.19.8")
    wheel = program(tmp_path / "store" / f"go-{golang._pinned()}" / "go" / "bin" / "go")
    assert golang.command(golang.HERE, tmp_path / "store", lambda _: None) == wheel


def test_a_newer_go_is_used(tmp_path: Path) -> None:
    own = program(tmp_path / "path" / "go", "echo go1.28.1")
    assert golang.command(golang.HERE, tmp_path / "store", lambda _: None) == own


def test_a_second_builder_waits_and_then_finds_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assets, "_build", no_build)
    told: list[str] = []
    waits = threading.Event()

    def tell(text: str) -> None:
        told.append(text)
        waits.set()

    assets.cache().mkdir(parents=True)
    with (assets.cache() / "lock").open("w") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        second = threading.Thread(target=assets.ensure, kwargs={"tell": tell})
        second.start()
        assert waits.wait(10)
        for each in assets.CONTROL_PLANE:
            program(each.home)
    second.join(10)
    assert not second.is_alive()
    assert len(told) == 1
    assert "another build fills" in told[0]


def test_a_real_build_lands_in_the_cache_under_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    if shutil.which("go") is None:
        pytest.skip("no Go on PATH")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    module = tmp_path / "module"
    module.mkdir()
    # The requirement is what names the version; nothing imports it, so nothing is fetched.
    (module / "go.mod").write_text("module hookline.test/hello\n\ngo 1.21\n\nrequire example.test/hello v1.2.3\n")
    (module / "main.go").write_text(HELLO)
    hello = assets.Program("hello", ".", "example.test/hello", "a second", folder=module)
    told: list[str] = []
    found = assets.ensure([hello], tell=told.append)
    assert found == {"hello": tmp_path / "cache/hookline/controlplane/hello-v1.2.3/hello"}
    assert "1 of 1: hello v1.2.3, usually a second" in told[1]
    assert assets.ensure([dataclasses.replace(hello, package="./gone")], tell=told.append) == found


def test_a_missing_cluster_skips_here_and_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no Go"):
        sessions.refuse("no Go")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="CI=true, but no Go"):
        sessions.refuse("no Go")
