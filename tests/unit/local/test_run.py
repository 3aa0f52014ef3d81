"""`hookline run` and its files, without a queue and a sender."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from doubles.local import until
from hookline.local import run
from hookline.local.run import LocalHookline, Manifests
from hookline.routing.book_files import TYPES_FILE
from hookline.runtime.background import background

EVENT_TYPE = {
    "apiVersion": "hookline.dev/v1alpha1",
    "kind": "EventType",
    "metadata": {"name": "ordercreated"},
    "spec": {"event": "OrderCreated", "schema": {}},
}


async def test_a_change_that_a_full_disk_kept_out_is_taken_once_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "LOOK_SECONDS", 0.01)
    files, book = tmp_path / "types.json", tmp_path / "data" / "routebook"
    book.mkdir(parents=True)
    in_the_way = book / f".{TYPES_FILE}.new"
    in_the_way.mkdir()
    files.write_text(json.dumps(EVENT_TYPE))
    hookline = LocalHookline(Manifests([files]), tmp_path / "data")
    with capture_logs() as said:
        async with background(hookline._watch()):
            await until(lambda: len(said) > 0, seconds=5, what="a warning")
            in_the_way.rmdir()
            await until((book / TYPES_FILE).exists, seconds=5, what="the change")
    assert "OrderCreated" in (book / TYPES_FILE).read_text()
    assert [each["log_level"] for each in said if "trying again" in each["event"]] == ["warning"]


@pytest.mark.parametrize("prefix", [None, "", "a-team_"])
def test_streams_have_the_prefix_of_the_command_line_before_that_of_the_dispatcher(
    tmp_path: Path, prefix: str | None
) -> None:
    files = tmp_path / "dispatcher.json"
    default = {"apiVersion": "hookline.dev/v1alpha1", "kind": "Dispatcher", "metadata": {"name": "default"}}
    files.write_text(json.dumps({**default, "spec": {"nats": {"streamPrefix": "HOOKLINE_"}}}))
    judged = Manifests([files], stream_prefix=prefix).judge({}, {}, 0.0)
    assert judged.book.dispatcher.stream_prefix == ("HOOKLINE_" if prefix is None else prefix)
