"""What became of deliveries beside `hookline run`, asked by the commands that a person types."""

from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path
from typing import Any

import httpx

from doubles.command import hookline, running
from doubles.local import SECRET, publish, receiver_of
from doubles.waiting import eventually
from hookline.local.log_api import API_FILE
from hookline.local.nats_server import known_url
from hookline.local.receiver import Answer, ReceivedCall
from hookline.local.samples import allowed_secret, ca_secret, to_yaml, webhook
from hookline.stream.connection import connect

LOG = "/apis/log.hookline.dev/v1alpha1/namespaces/default"


async def test_a_person_asks_what_became_of_deliveries_and_sends_one_again(tmp_path: Path) -> None:
    calls: list[ReceivedCall] = []
    files, data = tmp_path / "hooks.yaml", tmp_path / "data"
    async with receiver_of(calls, Answer(503), Answer(503), Answer(200)) as receiver:
        hook = webhook(
            "one", url=f"{receiver.url}/one", event="IdentityCreated", secret_name="signing", ca_secret_name="ca"
        )
        hook["spec"] |= {"retry": {"scheduleSeconds": [1]}}
        documents = [ca_secret("ca", receiver.ca_pem), allowed_secret("signing", SECRET), hook]
        files.write_text(to_yaml(*(("", each) for each in documents)))
        with running(tmp_path / "log", "run", files, "--data", data, "--allow-cidr", "127.0.0.0/8") as command:
            command.until_says("configuration loaded")
            url = known_url(data)
            assert url is not None
            client = await connect(url, name="test", connect_seconds=20)
            await publish(client, 1)
            await client.close()
            known = json.loads((data / API_FILE).read_text())
            assert stat.S_IMODE((data / API_FILE).stat().st_mode) == 0o600
            bearer = {"Authorization": f"Bearer {known['token']}"}
            async with httpx.AsyncClient(base_url=known["url"], headers=bearer, timeout=20) as asking:

                async def items(plural: str) -> list[Any]:
                    answer = await asking.get(f"{LOG}/{plural}")
                    return answer.json()["items"] if answer.status_code == 200 else []

                async def is_dead() -> bool:
                    return len(await items("deadletters")) == 1 and len(await items("attempts")) == 2

                await eventually(is_dead, seconds=20, what=lambda: (tmp_path / "log").read_text())
                second, first = await items("attempts")
                assert (first["attempt"], first["status"], second["next"]["follows"]) == (1, 503, "Dead")
                assert first["webhook"]["name"] == "one"
                (letter,) = await items("deadletters")
                name = letter["metadata"]["name"]
                assert (await asking.get(f"{LOG}/deadletters/{name}/body")).content == calls[0].body
                assert (await asking.post(f"{LOG}/deadletters/{name}/replay", json={})).status_code == 201

                async def is_replayed() -> bool:
                    return len(calls) == 3 and await items("deadletters") == []

                await eventually(is_replayed)
                assert calls[2].webhook_id == calls[0].webhook_id
                spec = {"spec": {"webhook": "one"}}
                tested = (await asking.post(f"{LOG}/webhooktests", json=spec)).json()
                assert (tested["status"]["attempt"]["test"], len(calls)) == (True, 4)
                replays = await asking.get("/apis/hookline.dev/v1alpha1/namespaces/default/replays")
                assert replays.json()["items"] == []
                nobody = await asking.get(f"{LOG}/attempts", headers={"Authorization": "Bearer x"})
                assert nobody.status_code == 401
                beside = await asking.get(replays.url.path, headers={"Authorization": "Bearer x"})
                assert beside.status_code == 401
            done = await asyncio.to_thread(hookline, "attempts", "--data", data)
            assert [line.split()[1] for line in done.stdout.decode().splitlines()[1:3]] == ["one", "one"]
            said = (tmp_path / "log").read_text()
            assert known["token"] not in said
        assert not (data / API_FILE).exists()
