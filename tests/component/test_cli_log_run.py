"""`hookline run` delivers to real receivers, and the commands beside it show what became of it, and send it again."""

from __future__ import annotations

import asyncio
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from doubles.command import hookline, running
from doubles.local import SAMPLE, SECRET, receiver_of, until
from hookline.cli import main
from hookline.cli.errors import Failure
from hookline.cli.log import replay
from hookline.cli.log.loopback import API_FILE
from hookline.local.receiver import Answer, ReceivedCall, Receiver
from hookline.local.samples import allowed_secret, ca_secret, to_yaml, webhook

CANARY = "canary0c0ffee"
FAILED = ["503", "HTTPStatus"]


def manifests(failing: Receiver, well: Receiver) -> str:
    """One Webhook is tried twice, 1 s apart, then given up."""
    documents: list[dict[str, Any]] = [allowed_secret("signing", SECRET)]
    for name, receiver in (("failing", failing), ("well", well)):
        documents.append(ca_secret(f"ca-{name}", receiver.ca_pem))
        url = f"{receiver.url}/hook?token={CANARY}"
        one = webhook(name, url=url, event="IdentityCreated", secret_name="signing", ca_secret_name=f"ca-{name}")
        one["metadata"]["labels"] = {"tier": name}
        documents.append({**one, "spec": {**one["spec"], "retry": {"scheduleSeconds": [1]}}})
    return to_yaml(*(("", document) for document in documents))


class Commands:
    """Beside the `hookline run` on a data folder; in this process, which costs no start of another one."""

    def __init__(self, data: Path) -> None:
        self._data = data

    async def __call__(self, *words: str, code: int = 0) -> str:
        """What it prints; its failure, if it ends with one."""
        result = await asyncio.to_thread(CliRunner().invoke, main.app, [*words, "--data", str(self._data)])
        failure = result.exception if isinstance(result.exception, Failure) else None
        assert (failure.exit_code if failure else result.exit_code) == code, result.output + str(result.exception)
        assert CANARY not in result.output
        return result.stdout + (str(failure) if failure else "")

    async def objects(self, *words: str) -> list[dict[str, Any]]:
        return list(json.loads(await self(*words, "-o", "json"))["items"])

    async def rows(self, *words: str) -> list[list[str]]:
        return [line.split() for line in (await self(*words)).splitlines()[1:]]

    async def until(self, count: int, *words: str) -> Sequence[dict[str, Any]]:
        """So many of them are there: the log follows the calls."""
        for _ in range(300):
            if len(found := await self.objects(*words)) == count:
                return found
            await asyncio.sleep(0.1)
        raise AssertionError(f"{words}: {len(found)} and not {count}")


async def test_a_delivery_is_seen_to_fail_and_to_be_given_up_and_is_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "LOOK_SECONDS", 0.1)
    refused: list[ReceivedCall] = []
    taken: list[ReceivedCall] = []
    files, data = tmp_path / "hooks.yaml", tmp_path / "data"
    command = Commands(data)
    words = ("run", files, "--data", data, "--allow-cidr", "127.0.0.0/8", "--gateway-port", "0")
    async with receiver_of(refused, Answer(503, 2), Answer(200)) as failing, receiver_of(taken) as well:
        files.write_text(manifests(failing, well))
        with running(tmp_path / "log", *words) as run:
            await asyncio.to_thread(run.until_says, "the gateway listens")
            await until((data / API_FILE).exists, what="the API")
            with running(tmp_path / "followed", "attempts", "-w", "-o", "name", "--data", data) as followed:
                await see_it_fail(command, data, refused, taken)
                await send_it_again(command, refused, taken)
                await try_it(command, taken)
                await bundle(command, tmp_path / "bundle.tar.gz")
                assert "Dead letters: 0" in await command("status")
                assert {row[0] for row in await command.rows("top")} >= {"failing", "well"}
                await asyncio.to_thread(followed.until_says, "attempt.log.hookline.dev/", times=7)


async def see_it_fail(
    command: Commands, data: Path, refused: Sequence[ReceivedCall], taken: Sequence[ReceivedCall]
) -> None:
    publishing = ("publish", "IdentityCreated", "-", "--data", data, "--json")
    event_id = json.loads((await asyncio.to_thread(hookline, *publishing, stdin=SAMPLE)).stdout)["id"]
    await until(lambda: len(refused) == 2 and len(taken) == 1, what="three calls")
    await command.until(3, "attempts", "--event", event_id)
    assert [row[3:6] for row in await command.rows("attempts", "webhook/failing")] == [["2", *FAILED], ["1", *FAILED]]
    (arrived,) = await command.objects("attempts", "well", "--status", "200")
    assert arrived["reason"] == "Delivered"
    assert "Outcome  200 Delivered in" in await command("attempts", f"attempt/{arrived['metadata']['name']}")


async def send_it_again(command: Commands, refused: Sequence[ReceivedCall], taken: Sequence[ReceivedCall]) -> None:
    (letter,) = await command.until(1, "dead", "webhook/failing", "--reason", "ScheduleSpent")
    name = letter["metadata"]["name"]
    assert await command("dead", "replay", name) == f"deadletter/{name} is queued to be sent again\n"
    await until(lambda: len(refused) == 3, what="the repeat")
    assert len({call.webhook_id for call in refused}) == 1
    assert "hookline-replay" in {name.lower() for name in refused[-1].headers}
    await command.until(0, "dead")
    said = await command("replay", "webhook/well", "--source", "events", "--since", "1h")
    assert said.partition(": ")[2] == "Complete: found 1, sent 1\n"
    await until(lambda: len(taken) == 2, what="the replayed event")
    assert taken[0].webhook_id == taken[1].webhook_id
    said = await command("replay", "-l", "tier=well", "--only-failed", "--since", "1h", "--dry-run")
    assert said.partition(": ")[2] == "Complete: found 1, would send 0 (a dry run: nothing was sent), skipped 1\n"


async def try_it(command: Commands, taken: Sequence[ReceivedCall]) -> None:
    assert "200 Delivered" in await command("test", "webhook/well")
    assert taken[-1].webhook_id.startswith("test-")
    assert (await command("test", "webhook/failing", code=1)).endswith("not delivered: HTTPStatus")
    await command("test", "webhook/nobody", code=1)


async def bundle(command: Commands, file: Path) -> None:
    assert "without secrets and bodies" in await command("bundle", str(file))
    with tarfile.open(file) as tar:
        contents = {each.name: tar.extractfile(each) for each in tar.getmembers()}
        texts = {name: content.read().decode() for name, content in contents.items() if content is not None}
    assert "evt_" in texts["hookline-bundle/log/attempts.json"]
    assert all(CANARY not in text and SECRET not in text and "AccountId" not in text for text in texts.values())
