"""What a gateway confirmed arrives, whatever is killed meanwhile: a real `hookline run`, and clients that try again."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path

import httpx
import pytest

from doubles.command import running
from doubles.local import SECRET, receiver_of, until
from doubles.nats import free_port
from hookline.events.builtin_events import event_named, sample_of, to_text
from hookline.local.receiver import ReceivedCall
from hookline.local.samples import allowed_secret, ca_secret, to_yaml, webhook
from hookline.runtime.tasks import within

EVENT = "IdentityCreated"
BODY = to_text(sample_of(event_named(EVENT))).encode()
CLIENTS = 8
REPEATS_AT_MOST = 200
"""Of one kill: what the sender had under way. Seen were up to 6."""


class Producer:
    """Publishes one event after the other with a key each, and tries again as it is told."""

    def __init__(self, name: str, client: httpx.AsyncClient) -> None:
        self._name = name
        self._client = client
        self.confirmed: list[str] = []
        self.statuses: Counter[int | str] = Counter()

    async def run(self, stop: asyncio.Event) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            key = f"{self._name}-{number}"
            while not await self._confirmed(key) and not stop.is_set():
                await within(stop, 0.1)

    async def _confirmed(self, key: str) -> bool:
        headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
        try:
            answer = await self._client.post(f"/v1/events/{EVENT}", content=BODY, headers=headers)
        except httpx.TransportError as error:
            self.statuses[type(error).__name__] += 1
            return False
        self.statuses[answer.status_code] += 1
        if answer.status_code not in (200, 202):
            return False
        self.confirmed.append(answer.json()["id"])
        return True


@pytest.mark.timeout(180)
async def test_what_was_confirmed_arrives_though_gateway_sender_and_queue_are_killed(tmp_path: Path) -> None:
    calls: list[ReceivedCall] = []
    files, data, port = tmp_path / "hooks.yaml", tmp_path / "data", free_port()
    async with receiver_of(calls) as receiver:
        hook = webhook(
            "one", url=f"{receiver.url}/one", event=EVENT, secret_name="signing", ca_secret_name="ca", enabled=True
        )
        documents = [ca_secret("ca", receiver.ca_pem), allowed_secret("signing", SECRET), hook]
        files.write_text(to_yaml(*(("", each) for each in documents)))
        words = ("run", files, "--data", data, "--allow-cidr", "127.0.0.0/8", "--gateway-port", str(port))
        with running(tmp_path / "log", *words) as command:
            command.until_says("the gateway listens")
            token = (data / "gateway-token").read_text().strip()
            headers, url = {"Authorization": f"Bearer {token}"}, f"http://127.0.0.1:{port}"
            async with httpx.AsyncClient(base_url=url, headers=headers, timeout=20) as client:
                producers = [Producer(f"p{number}", client) for number in range(CLIENTS)]
                stop = asyncio.Event()
                tasks = [asyncio.create_task(each.run(stop)) for each in producers]

                def confirmed() -> list[str]:
                    return [id_ for each in producers for id_ in each.confirmed]

                async def more(events: int) -> None:
                    wanted = len(confirmed()) + events
                    await until(lambda: len(confirmed()) >= wanted, seconds=60)

                for round_ in range(2):
                    await more(100)
                    os.kill(int((data / "nats.pid").read_text()), signal.SIGKILL)
                    await more(100)
                    command.kill()
                    command.start()
                    command.until_says("the gateway listens", times=round_ + 2)
                await more(100)
                stop.set()
                await asyncio.gather(*tasks)
            await until(lambda: set(confirmed()) <= {each.webhook_id for each in calls}, seconds=60)
    statuses = sum((each.statuses for each in producers), Counter())
    assert set(statuses) <= {200, 202, 503, "ConnectError", "ReadError", "RemoteProtocolError"}, statuses
    times = Counter(each.webhook_id for each in calls)
    assert sum(times.values()) - len(times) <= 2 * REPEATS_AT_MOST
