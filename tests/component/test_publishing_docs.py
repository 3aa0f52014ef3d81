"""The recipes of docs/publishing-recipes.md, each run in its language where that is at hand, against a gateway."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from cloudevents.core.v1.event import CloudEvent

from doubles import own
from doubles.gateway import TOKEN
from doubles.local import count
from hookline.events.builtin_events import event_named, sample_of, to_text
from hookline.routing.routes import TypeRecord
from hookline.stream.connection import Client
from hookline.stream.types import write_types

PAGE = Path(__file__).parents[2] / "docs/publishing-recipes.md"
EVENT = "IdentityUpdated"
SAMPLE = sample_of(event_named(EVENT))
BODY = to_text(SAMPLE)

NODE = """
publish("IdentityUpdated", process.argv[2], readFileSync("body")).catch((error) => {
  console.error(error.message);
  process.exit(1);
});
"""
GO = """
package main

import (
	"log"
	"os"
)

func main() {
	body, _ := os.ReadFile("body")
	if _, err := Publish("IdentityUpdated", os.Args[1], body); err != nil {
		log.Fatal(err)
	}
}
"""
JAVA = """
class Main {
  public static void main(String[] words) throws Exception {
    Events.publish("IdentityUpdated", words[0], java.nio.file.Files.readAllBytes(java.nio.file.Path.of("body")));
  }
}
"""

Program = list[str]


def samples(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


def built(folder: Path, *command: str, **environment: str) -> None:
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr


def in_sh(folder: Path) -> Program:
    (recipe,) = samples("sh")
    (folder / "publish.sh").write_text(f"KEY=$1 BODY=body EVENT={EVENT}\n{recipe}")
    return ["sh", "publish.sh"]


def in_python(folder: Path) -> Program:
    call = f'import sys\npublish("{EVENT}", sys.argv[1], Path("body").read_bytes())\n'
    (folder / "publish.py").write_text(samples("python")[0] + call)
    return [sys.executable, "publish.py"]


def in_node(folder: Path) -> Program:
    (recipe,) = samples("javascript")
    (folder / "publish.js").write_text(recipe + NODE)
    return ["node", "publish.js"]


def in_go(folder: Path) -> Program:
    (recipe,) = samples("go")
    (folder / "go.mod").write_text("module events\n\ngo 1.21\n")
    (folder / "events.go").write_text(recipe.replace("package events", "package main"))
    (folder / "main.go").write_text(GO)
    # Flags as for Kubernetes: what that compiled of the standard library is not compiled again.
    built(folder, "go", "build", "-trimpath", "-buildvcs=false", "-o", "publish", ".", CGO_ENABLED="0")
    return ["./publish"]


def in_java(folder: Path) -> Program:
    (recipe,) = samples("java")
    (folder / "Events.java").write_text(recipe)
    (folder / "Main.java").write_text(JAVA)
    built(folder, "javac", "Events.java", "Main.java")
    return ["java", "Main"]


@pytest.fixture
def environment(gateway: httpx.AsyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the recipes read."""
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n")
    said = {"HOOKLINE_URL": str(gateway.base_url).rstrip("/"), "HOOKLINE_TOKEN_FILE": str(token)}
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    return said


@pytest.mark.parametrize(
    ("needs", "make"),
    [("curl", in_sh), (sys.executable, in_python), ("node", in_node), ("go", in_go), ("javac", in_java)],
)
async def test_a_recipe_publishes_once_for_each_key_and_hears_a_refusal(
    environment: dict[str, str], queue: Client, tmp_path: Path, needs: str, make: Callable[[Path], Program]
) -> None:
    if shutil.which(needs) is None:
        pytest.skip(f"{needs} is not at hand")
    program = await asyncio.to_thread(make, tmp_path)

    async def run(key: str, body: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "body").write_text(body)
        return await asyncio.to_thread(
            subprocess.run, [*program, key], cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
        )

    for key in ("one", "one", "two"):
        done = await run(key, BODY)
        assert done.returncode == 0, done.stderr
    assert await count(queue, own.EVENTS) == 2
    if needs != "curl":  # which tries for a minute, as the page says
        assert (await run("three", "{}")).returncode != 0
        assert await count(queue, own.EVENTS) == 2


def recipe(number: int, **names: Any) -> dict[str, Any]:
    """What a Python recipe of the page defines, beside `names`."""
    defined = dict(names)
    exec(samples("python")[number], defined)  # of this repository
    return defined


def manifest(kind: str) -> dict[str, Any]:
    """The one of this kind; that of a workflow has none."""
    found = [each for text in samples("yaml") for each in yaml.safe_load_all(text) if each.get("kind", "") == kind]
    (only,) = found
    return dict(only)


async def ran(command: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, **environment}
    return await asyncio.to_thread(
        subprocess.run, command, cwd=folder, env=environ, capture_output=True, text=True, timeout=100, check=False
    )


async def bodies(queue: Client) -> list[Any]:
    there = range(1, 1 + await count(queue, own.EVENTS))
    return [json.loads((await queue.jetstream().get_msg(own.EVENTS, seq)).data or b"") for seq in there]


@pytest.fixture
async def types_of_recipes(queue: Client) -> None:
    records = (
        TypeRecord(name=name, description="", validation="Enforce", schema_={"type": "object"})
        for name in ("report.finished", "release.published")
    )
    await write_types(queue, tuple(records))


@pytest.mark.usefixtures("types_of_recipes")  # before the gateway reads them
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not at hand")
async def test_a_cron_job_publishes_once_for_each_of_its_runs(
    environment: dict[str, str], queue: Client, tmp_path: Path
) -> None:
    (container,) = manifest("CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    named = {each["name"] for each in container["env"]}
    assert named == {*environment, "KEY", "CURL_CA_BUNDLE"}
    program = tmp_path / "nightly-report"
    program.write_text("#!/bin/sh\necho '{\"rows\": 7}'\n")
    program.chmod(0o755)
    command = [each.replace("/tmp/", f"{tmp_path}/") for each in container["command"]]
    for run in ("nightly-report-1", "nightly-report-1", "nightly-report-2"):
        done = await ran(command, tmp_path, KEY=run, PATH=f"{tmp_path}:{os.environ['PATH']}")
        assert done.returncode == 0, done.stderr
    assert await bodies(queue) == [{"rows": 7}] * 2
    program.write_text("#!/bin/sh\nexit 3\n")
    done = await ran(command, tmp_path, KEY="nightly-report-3", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert (done.returncode, await count(queue, own.EVENTS)) == (3, 2), "a report that failed is no event"


@pytest.mark.usefixtures("types_of_recipes")  # before the gateway reads them
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not at hand")
async def test_a_pipeline_publishes_once_whatever_a_tag_is_called(
    environment: dict[str, str], queue: Client, tmp_path: Path
) -> None:
    known = {"secrets.HOOKLINE_TOKEN": TOKEN, "vars.HOOKLINE_URL": environment["HOOKLINE_URL"], "github.sha": "4f2a"}
    known["github.ref_name"] = """v1"$(touch x)'`"""

    def filled(text: str) -> str:
        """As GitHub writes its expressions out."""
        return re.sub(
            r"\$\{\{ (?:toJSON\((?P<quoted>.+?)\)|(?P<plain>.+?)) \}\}",
            lambda found: json.dumps(known[found["quoted"]]) if found["quoted"] else known[found["plain"]],
            text,
        )

    (step,) = manifest("")["jobs"]["publish-event"]["steps"]
    assert "${{" not in step["run"], "what is written out there would be a command"
    for _ in range(2):
        given = {name: filled(value) for name, value in step["env"].items()}
        done = await ran(["bash", "-e", "-c", step["run"]], tmp_path, **given)
        assert done.returncode == 0, done.stderr
    assert await bodies(queue) == [{"version": known["github.ref_name"], "commit": "4f2a"}]
    assert not (tmp_path / "x").exists()


async def test_the_sdk_of_cloudevents_publishes_once_for_each_source_and_id(
    environment: dict[str, str], queue: Client
) -> None:
    publish = recipe(1)["publish_cloudevent"]
    attributes = {"id": "1", "source": "/identities", "type": f"com.example.{EVENT}", "specversion": "1.0"}
    event = CloudEvent(attributes, SAMPLE)
    first, again = [await asyncio.to_thread(publish, event) for _ in range(2)]
    assert first == again
    assert await count(queue, own.EVENTS) == 1


async def test_an_outbox_publishes_what_was_committed_and_nothing_else(
    environment: dict[str, str], queue: Client, tmp_path: Path
) -> None:
    (table,) = samples("sql")
    database = sqlite3.connect(tmp_path / "app.db", check_same_thread=False)
    database.executescript(f"{table}; CREATE TABLE identities (id TEXT, name TEXT, version INTEGER)")
    database.execute("INSERT INTO identities VALUES ('a', 'Ann', 7)")
    database.commit()
    publish = recipe(0)["publish"]
    application = recipe(2, publish=publish)
    with pytest.raises(TypeError):  # the event cannot be written, so nothing was renamed
        application["rename_identity"](database, "a", "Bea", {"bad": object()})
    application["rename_identity"](database, "a", "Cleo", SAMPLE)
    assert database.execute("SELECT name FROM identities").fetchall() == [("Cleo",)]
    assert [await asyncio.to_thread(application["relay"], database) for _ in range(2)] == [1, 0]
    assert await count(queue, own.EVENTS) == 1
    # As if the relay had died before it deleted.
    database.execute("INSERT INTO outbox (key, type, body) VALUES ('a-8', ?, ?)", (EVENT, json.dumps(SAMPLE)))
    database.commit()
    await asyncio.to_thread(application["relay"], database)
    assert await count(queue, own.EVENTS) == 1
    database.close()
