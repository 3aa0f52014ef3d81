"""The image's recipe, read: no engine is needed to see that it fits the project."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from hookline import __version__
from hookline.control import pods

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())


def instructions() -> list[tuple[str, str]]:
    """(instruction, the rest) of each, with lines joined and comments gone."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Containerfile").read_text(), flags=re.MULTILINE)
    lines = filter(None, re.sub(r"\\\n\s*", "", text).splitlines())
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def of(word: str) -> list[str]:
    return [rest for each, rest in instructions() if each == word]


def final_stage() -> list[tuple[str, str]]:
    found = instructions()
    return found[max(number for number, (word, _) in enumerate(found) if word == "FROM") :]


def names(lock: str) -> set[str]:
    return set(re.findall(r"^([\w.-]+)==", lock, re.MULTILINE))


def test_both_stages_are_the_python_that_is_tested() -> None:
    (argument,) = of("ARG")
    pinned = re.fullmatch(
        r"PYTHON_IMAGE=docker\.io/library/python:(\d+\.\d+)\.\d+-slim-[a-z]+@sha256:[0-9a-f]{64}", argument
    )
    assert pinned is not None
    assert PROJECT["project"]["requires-python"] == f">={pinned[1]}"
    assert PROJECT["tool"]["mypy"]["python_version"] == pinned[1]
    assert of("FROM") == ["${PYTHON_IMAGE} AS build", "${PYTHON_IMAGE}"]


def test_everything_installed_is_hashed() -> None:
    installs = re.findall(r"pip \S*(?: \S+)?\s?install ([^&]*)", " && ".join(of("RUN")))
    assert len(installs) == 3
    for each in installs:
        assert "--no-deps" in each
        from_lock = "--require-hashes" in each and "--only-binary=:all:" in each
        assert from_lock or re.search(r"--no-index dist/hookline-\*\.whl", each)
    assert any(each.strip().endswith("-r requirements.lock") for each in installs)


def test_the_lock_of_the_image_holds_what_the_operator_needs() -> None:
    extra = PROJECT["project"]["optional-dependencies"]["operator"]
    wanted = {re.split(r"[>=<;\[]", each)[0] for each in [*PROJECT["project"]["dependencies"], *extra]}
    assert wanted <= names((ROOT / "requirements.lock").read_text())


def test_what_builds_the_wheel_is_in_the_lock() -> None:
    (program,) = re.findall(r"awk '([^']+)' requirements-dev\.lock", " ".join(of("RUN")))
    cut = subprocess.run(
        ["awk", program, ROOT / "requirements-dev.lock"], capture_output=True, text=True, check=True
    ).stdout
    assert names(cut) == {"hatchling", "packaging", "pathspec", "pluggy", "trove-classifiers"}
    assert PROJECT["build-system"]["requires"] == re.findall(r"^(hatchling==\S+)", cut, re.MULTILINE)
    assert cut.count("--hash=sha256:") >= 5


def test_the_final_stage_only_copies() -> None:
    assert {word for word, _ in final_stage()} == {"FROM", "LABEL", "ENV", "COPY", "USER", "EXPOSE", "ENTRYPOINT"}


def test_the_image_runs_as_the_user_that_pods_name() -> None:
    assert of("USER") == [f"{pods.USER_ID}:{pods.USER_ID}"]
    assert of("EXPOSE") == [str(pods.PORT)]


def test_the_entrypoint_is_the_command() -> None:
    (entrypoint,) = of("ENTRYPOINT")
    (command,) = json.loads(entrypoint)
    assert command in PROJECT["project"]["scripts"]
    assert of("ENV")[-1] == "PATH=/opt/hookline/bin:$PATH"


def test_the_image_says_its_version() -> None:
    (labels,) = of("LABEL")
    assert f'org.opencontainers.image.version="{__version__}"' in labels
    assert f'org.opencontainers.image.licenses="{PROJECT["project"]["license"]}"' in labels


def test_all_that_is_copied_is_there_and_not_ignored() -> None:
    allowed = set(re.findall(r"^!(\S+)", (ROOT / ".containerignore").read_text(), re.MULTILINE))
    copied = {name.rstrip("/") for each in of("COPY") if not each.startswith("--") for name in each.split()[:-1]}
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)


def test_the_wheel_is_built_from_what_is_copied(tmp_path: Path) -> None:
    """The build reads pyproject.toml and what it names: each must be in the build's context."""
    project = PROJECT["project"]
    needed = {"pyproject.toml", project["readme"], "LICENSE", "operator"}
    copied = {name.rstrip("/") for each in of("COPY") if not each.startswith("--") for name in each.split()[:-1]}
    assert needed <= copied
    for name in needed:
        (tmp_path / name).symlink_to(ROOT / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    built = subprocess.run(
        [*command, "--no-build-isolation", "--no-index", "--wheel-dir", tmp_path / "dist", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    assert [path.name for path in (tmp_path / "dist").iterdir()] == [f"hookline-{__version__}-py3-none-any.whl"]
