"""A former engine is taken from git, and never the installed one in its place."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.engines import PRESENT, NoEngine, former

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git here")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """One commit with a package, and none on top of it."""
    folder = tmp_path / "repository"
    package = folder / "operator" / "hookline"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("__version__ = 'former'\n")
    (folder / "README.md").write_text("not of the package\n")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "-c", "user.name=n", "-c", "user.email=n@example.com", "commit", "--quiet", "-m", "First")
    return folder


def git(folder: Path, *words: str) -> None:
    settings = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    subprocess.run(["git", "-C", str(folder), *words], check=True, env=settings)


def test_a_process_of_a_former_engine_runs_the_code_of_its_commit(repository: Path, tmp_path: Path) -> None:
    engine = former("HEAD", tmp_path / "engine", repository)
    words = [sys.executable, "-c", "import hookline; print(hookline.__version__)"]
    assert subprocess.check_output(words, env=engine.environment()).decode().strip() == "former"
    assert PRESENT.environment() is None
    assert [path.name for path in (tmp_path / "engine").iterdir()] == ["operator"]


@pytest.mark.parametrize("commit", ["no-such-commit", "--output=here", "HEAD~1", ""])
def test_a_commit_that_is_not_there_is_said_and_nothing_is_unpacked(
    repository: Path, tmp_path: Path, commit: str
) -> None:
    with pytest.raises(NoEngine, match="no such commit here"):
        former(commit, tmp_path / "engine", repository)
    assert not (tmp_path / "engine").exists()


def test_where_there_is_no_repository_git_says_so(tmp_path: Path) -> None:
    with pytest.raises(NoEngine, match="git rev-parse"):
        former("HEAD", tmp_path / "engine", tmp_path)


def test_without_git_nothing_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoEngine, match="no git"):
        former("HEAD", tmp_path / "engine", tmp_path)


def test_a_commit_without_the_package_is_not_measured_as_the_installed_one(repository: Path, tmp_path: Path) -> None:
    package = repository / "operator" / "hookline" / "__init__.py"
    package.rename(package.parent.parent / "other.py")
    git(repository, "add", ".")
    git(repository, "-c", "user.name=n", "-c", "user.email=n@example.com", "commit", "--quiet", "-m", "Second")
    with pytest.raises(NoEngine, match="python takes hookline from"):
        former("HEAD", tmp_path / "engine", repository)
