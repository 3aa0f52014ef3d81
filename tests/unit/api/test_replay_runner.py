"""Which Replays run at once, and what becomes of those that cannot be executed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from doubles.local import until
from doubles.replays import replay_of
from hookline.api.replay import replays as running
from hookline.api.replay.executor import Executor
from hookline.api.replay.kept import KeptReplays
from hookline.api.replay.replays import OF_A_NAMESPACE, Runner, due_s
from hookline.resources.reasons import ReplayReason
from hookline.resources.replay import Replay
from hookline.runtime.background import background


class Played:
    """An executor whose Replays run until they are told to end."""

    def __init__(self) -> None:
        self.at_work: list[str] = []
        self.ends: set[str] = set()
        self.fails: set[str] = set()

    async def run(self, replay: Replay, write: Any) -> None:
        name = f"{replay.metadata.namespace}/{replay.metadata.name}"
        self.at_work.append(name)
        try:
            await write(replay.status.model_copy(update={"phase": "Running"}), ReplayReason.RUNNING, "")
            while name not in self.ends:
                if name in self.fails:
                    self.fails.discard(name)
                    raise KeyError
                await asyncio.sleep(0.001)
            done = replay.status.model_copy(update={"phase": "Complete", "finished_at": "2026-11-30T14:00:00Z"})
            await write(done, ReplayReason.COMPLETE, "")
        finally:
            self.at_work.remove(name)


@pytest.fixture
def kept(tmp_path: Path) -> KeptReplays:
    return KeptReplays(tmp_path / "replays.json", now_s=lambda: 1_700_000_000.0)


def runner_of(kept: KeptReplays, executor: Played, now_s: Callable[[], float] = lambda: 1_700_000_000.0) -> Runner:
    return Runner(kept, cast(Executor, executor), now_s=now_s)


def make(kept: KeptReplays, namespace: str, name: str, **spec: Any) -> None:
    kept.create(namespace, {**replay_of(**spec), "metadata": {"name": name}})


def phase(kept: KeptReplays, namespace: str, name: str) -> str:
    found = kept.get(namespace, name)
    return str(found["status"]["phase"]) if found is not None else ""


async def test_a_namespace_has_a_few_at_once_and_others_need_not_wait_for_them(kept: KeptReplays) -> None:
    for number in range(OF_A_NAMESPACE + 2):
        make(kept, "team-a", f"r{number}")
    make(kept, "team-b", "own")
    executor = Played()
    async with background(runner_of(kept, executor).run()):
        await until(lambda: len(executor.at_work) == OF_A_NAMESPACE + 1)
        assert "team-b/own" in executor.at_work
        assert phase(kept, "team-a", f"r{OF_A_NAMESPACE}") == "Pending"
        executor.ends.add("team-a/r0")
        await until(lambda: f"team-a/r{OF_A_NAMESPACE}" in executor.at_work)
        assert phase(kept, "team-a", "r0") == "Complete"
    assert executor.at_work == []


async def test_one_that_is_deleted_is_not_gone_on_with(kept: KeptReplays) -> None:
    make(kept, "team-a", "r")
    executor = Played()
    async with background(runner_of(kept, executor).run()):
        await until(lambda: executor.at_work == ["team-a/r"])
        kept.drop("team-a", "r")
        await until(lambda: executor.at_work == [])


async def test_one_that_fails_by_a_bug_is_gone_on_with_and_stops_no_other(
    kept: KeptReplays, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "AGAIN_SECONDS", 0.05)
    make(kept, "team-a", "bad")
    make(kept, "team-a", "good")
    executor = Played()
    executor.fails.add("team-a/bad")
    executor.ends.add("team-a/good")
    async with background(runner_of(kept, executor).run()):
        await until(lambda: phase(kept, "team-a", "good") == "Complete" and "team-a/bad" not in executor.fails)
        executor.ends.add("team-a/bad")
        await until(lambda: phase(kept, "team-a", "bad") == "Complete")


async def test_a_spec_of_another_version_fails_and_a_status_of_another_version_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "replays.json"
    before = KeptReplays(file, now_s=lambda: 1_700_000_000.0)
    for name in ("spec", "status", "right"):
        make(before, "team-a", name)
    written = json.loads(file.read_text())
    by_name = {each["metadata"]["name"]: each for each in written}
    by_name["spec"]["spec"]["source"] = "Later"
    by_name["status"]["status"] = {"phase": "Running", "found": "many"}
    file.write_text(json.dumps(written))
    kept, executor = KeptReplays(file, now_s=lambda: 1_700_000_000.0), Played()
    executor.ends.add("team-a/right")
    async with background(runner_of(kept, executor).run()):
        await until(lambda: phase(kept, "team-a", "spec") == "Failed" and phase(kept, "team-a", "right") == "Complete")
    reasons = {each["reason"] for each in (kept.get("team-a", "spec") or {})["status"]["conditions"]}
    assert reasons == {"InvalidSpec"}
    assert (kept.get("team-a", "status") or {})["status"] == {"phase": "Running", "found": "many"}


async def test_one_is_removed_when_its_time_is_over_and_not_before(kept: KeptReplays) -> None:
    make(kept, "team-a", "r", ttlSecondsAfterFinished=60)
    executor, now_s = Played(), [0.0]
    executor.ends.add("team-a/r")
    async with background(runner_of(kept, executor, lambda: now_s[0]).run()):
        await until(lambda: phase(kept, "team-a", "r") == "Complete")
        now_s[0] = due_s("2026-11-30T14:00:00Z", 60)
        make(kept, "team-a", "another")
        await until(lambda: kept.get("team-a", "r") is None)


@pytest.mark.parametrize(("finished", "ttl"), [(None, 1), ("then", 1), ("2026-11-30T14:00:00Z", None), (1, 1)])
def test_without_an_end_or_a_time_to_live_one_stays(finished: object, ttl: object) -> None:
    assert due_s(finished, ttl) == float("inf")


@pytest.mark.parametrize("content", ["1", "[1]", "[{}]", '[{"metadata": {}}]', "{"])
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "replays.json").write_text(content)
    with pytest.raises(ValueError):
        KeptReplays(tmp_path / "replays.json", now_s=lambda: 0.0)
