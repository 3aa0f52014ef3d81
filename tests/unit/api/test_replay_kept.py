"""Replays without a cluster: what the paths answer, and what is there after a restart."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from doubles.replays import first, replay_of
from hookline.api.replay import kept as keeping
from hookline.api.replay.conditions import told
from hookline.api.replay.executor import Gone
from hookline.api.replay.kept import MAX_BYTES, KeptReplays, Taken, routes
from hookline.resources.reasons import ReplayReason
from hookline.resources.replay import ReplayStatus
from hookline.stream.connection import StreamUnavailable

ROOT = "/apis/hookline.dev/v1alpha1"
OURS = f"{ROOT}/namespaces/default/replays"


def kept(folder: Path) -> KeptReplays:
    return KeptReplays(folder / "replays.json", now_s=lambda: 1_700_000_000.0)


def client_of(replays: KeptReplays) -> httpx.AsyncClient:
    app = Starlette(routes=routes(replays))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here")


async def test_a_replay_is_made_listed_asked_for_and_removed(tmp_path: Path) -> None:
    async with client_of(kept(tmp_path)) as client:
        made = await client.post(OURS, json=replay_of())
        assert made.status_code == 201
        assert made.json()["spec"]["source"] == "DeadLetters", "defaults are filled in"
        assert made.json()["status"]["phase"] == "Pending"
        again = await client.post(OURS, json=replay_of())
        assert (again.status_code, again.json()["reason"]) == (409, "AlreadyExists")
        assert (await client.get(f"{OURS}/outage")).json() == made.json()
        assert (await client.get(f"{ROOT}/replays")).json()["items"] == [made.json()]
        assert (await client.get(f"{ROOT}/namespaces/other/replays")).json()["items"] == []
        assert (await client.get(f"{ROOT}/namespaces/other/replays/outage")).status_code == 404
        assert (await client.delete(f"{OURS}/outage")).status_code == 200
        assert (await client.delete(f"{OURS}/outage")).json()["reason"] == "NotFound"


async def test_a_name_is_made_for_who_gives_the_beginning_of_one(tmp_path: Path) -> None:
    async with client_of(kept(tmp_path)) as client:
        names = [
            (await client.post(OURS, json={**replay_of(), "metadata": {"generateName": "a-"}})).json()["metadata"][
                "name"
            ]
            for _ in range(3)
        ]
    assert len(set(names)) == 3
    assert all(each.startswith("a-") for each in names)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", 400),
        (b"[]", 400),
        (b"[" * 100_000, 400),
        (b"{}", 422),
        (b'{"metadata": 1}', 422),
        (b'{"metadata": {"name": "a"}, "spec": {"webhook": {"name": "b"}, "dryrun": true}}', 422),
        (b'{"metadata": {"name": "a"}, "kind": "Webhook", "spec": {"webhook": {"name": "b"}}}', 422),
        (b"x" * (MAX_BYTES + 1), 413),
    ],
)
async def test_what_is_no_replay_is_refused_and_nothing_is_kept(tmp_path: Path, body: bytes, code: int) -> None:
    replays = kept(tmp_path)
    async with client_of(replays) as client:
        answer = await client.post(OURS, content=body)
    assert (answer.status_code, answer.json()["kind"]) == (code, "Status")
    assert replays.all("") == []


async def test_a_status_is_there_after_a_restart_and_none_is_written_for_one_that_is_gone(tmp_path: Path) -> None:
    replays = kept(tmp_path)
    replays.create("default", {**replay_of(), "status": {"phase": "Complete", "found": 9}})
    (found,) = await first(replays.follow())
    opened = await replays.open(found)
    assert opened.status == ReplayStatus(), "what somebody sends as a status is not one"
    done = told(ReplayStatus(phase="Running", found=3), 1, ReplayReason.RUNNING, "3 found", "2026-11-30T14:00:00Z")
    await opened.write(done)
    replays = kept(tmp_path)
    (found,) = await first(replays.follow())
    opened = await replays.open(found)
    assert opened.status == done
    with pytest.raises(Taken):
        replays.create("default", replay_of())
    replays.drop("default", "outage")
    replays.create("default", replay_of())
    with pytest.raises(Gone):
        await opened.write(done)
    with pytest.raises(Gone):
        await replays.open(found)
    await replays.delete(found)
    assert len(replays.all("default")) == 1, "another one of its name stays"


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    kept(tmp_path).create("default", replay_of())
    assert (tmp_path / "replays.json").stat().st_mode & 0o777 == 0o600


def test_versions_go_on_after_a_restart(tmp_path: Path) -> None:
    versions: list[Any] = []
    for name in ("a", "b"):
        made = kept(tmp_path).create("default", {**replay_of(), "metadata": {"name": name}})
        versions.append(int(made["metadata"]["resourceVersion"]))
    assert versions == [1, 2]


async def test_while_the_file_cannot_be_written_nothing_changes_and_a_replay_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk: what stands in the file is what a restart goes on from."""
    monkeypatch.setattr(keeping, "AGAIN_SECONDS", 0.01)
    replays = kept(tmp_path)
    replays.create("default", replay_of())
    (found,) = await first(replays.follow())
    write = (await replays.open(found)).write
    (tmp_path / "replays.json.new").mkdir()
    async with client_of(replays) as client:
        other = {**replay_of(), "metadata": {"name": "other"}}
        answers = [await client.post(OURS, json=other), await client.delete(f"{OURS}/outage")]
        assert [(each.status_code, each.json()["reason"]) for each in answers] == [(503, "ServiceUnavailable")] * 2
        assert [each["metadata"]["name"] for each in replays.all("default")] == ["outage"]
    with pytest.raises(StreamUnavailable):
        await replays.delete(found)
    running = told(ReplayStatus(phase="Running"), 1, ReplayReason.RUNNING, "", "now")
    writing = asyncio.ensure_future(write(running))
    await asyncio.sleep(0.05)
    assert not writing.done()
    (tmp_path / "replays.json.new").rmdir()
    await writing
    assert (kept(tmp_path).get("default", "outage") or {})["status"]["phase"] == "Running"
