"""`hookline run` as a user starts it: real files, a real embedded nats-server, a real TLS receiver."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from controlplane.ports import free_port
from doubles import own
from doubles.command import RunningCommand, hookline, running
from doubles.local import SECRET, publish, receiver_of, until, until_stored
from doubles.nats import nats
from hookline.cli.run import curl_line
from hookline.local.nats_server import NatsServer, known_url
from hookline.local.receiver import Answer, ReceivedCall, Receiver
from hookline.local.samples import allowed_secret, ca_secret, to_yaml, webhook
from hookline.stream.connection import Client, connect

CANARY = "canary-5e1d7a"
LOOPBACK = ("--allow-cidr", "127.0.0.0/8")


def manifests(receiver: Receiver, *names: str) -> str:
    documents = [ca_secret("ca", receiver.ca_pem), allowed_secret("signing", SECRET)]
    documents += [one(receiver, name) for name in names]
    return to_yaml(*(("", document) for document in documents))


def one(receiver: Receiver, name: str, *, path: str | None = None, enabled: bool = True) -> dict[str, object]:
    return webhook(
        name,
        url=f"{receiver.url}/{path or name}",
        event="IdentityCreated",
        secret_name="signing",
        ca_secret_name="ca",
        enabled=enabled,
    )


async def connected(data: Path) -> Client:
    url = known_url(data)
    assert url is not None
    return await connect(url, name="test", connect_seconds=20)


def servers_of(data: Path) -> list[str]:
    """nats-servers that run on a data folder. Two at once would damage it."""
    listed = subprocess.run(["ps", "-ww", "-eo", "stat=,args="], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if f"{data}/nats.conf" in line and not line.startswith("Z")]


def body(number: int) -> bytes:
    return b'{"number": %d}' % number


@pytest.mark.timeout(300)
@pytest.mark.parametrize("victim", ["hookline", "nats-server"])
async def test_2000_events_survive_three_kills_and_repeats_are_the_same(tmp_path: Path, victim: str) -> None:
    """The promise: what was acknowledged arrives at least once, and a repeat has the same id and body."""
    calls: list[ReceivedCall] = []
    files, data = tmp_path / "hooks.yaml", tmp_path / "data"
    async with receiver_of(calls) as receiver:
        files.write_text(manifests(receiver, "one"))
        with running(tmp_path / "log", "run", files, "--data", data, *LOOPBACK) as command:
            command.until_says("configuration loaded")
            client = await connected(data)
            sent: dict[str, bytes] = {}

            async def produce() -> None:
                for start in range(0, 2000, 50):
                    ids = await publish(client, 50, body=body(start))
                    sent.update(dict.fromkeys(ids, body(start)))
                    await asyncio.sleep(0.05)

            producing = asyncio.create_task(produce())
            for kill in range(1, 4):
                await until(lambda: len(calls) >= 300 * kill, seconds=60, what="calls")  # noqa: B023
                if victim == "hookline":
                    await asyncio.to_thread(command.kill)
                    command.start()
                    await asyncio.to_thread(command.until_says, "configuration loaded", times=kill + 1)
                else:
                    os.kill(int((data / "nats.pid").read_text()), signal.SIGKILL)
            await asyncio.wait_for(producing, 120)
            await until(lambda: {call.webhook_id for call in calls} >= sent.keys(), seconds=90, what="every event")
            await client.close()
            assert len(servers_of(data)) == 1
    assert servers_of(data) == []
    assert len(sent) == 2000
    counts = Counter(call.webhook_id for call in calls)
    print(
        f"{victim} killed 3 times: {len(sent)} acknowledged, {len(sent.keys() - counts.keys())} lost, "
        f"{sum(counts.values()) - len(counts)} repeated"
    )
    assert {call.verified for call in calls} == {"signature"}
    assert all(call.body == sent[call.webhook_id] for call in calls if call.webhook_id in sent)


async def test_the_schedule_of_the_dispatcher_holds_where_a_webhook_has_none(tmp_path: Path) -> None:
    calls: list[ReceivedCall] = []
    files, data = tmp_path / "hooks.yaml", tmp_path / "data"
    default = {
        "apiVersion": "hookline.dev/v1alpha1",
        "kind": "Dispatcher",
        "metadata": {"name": "default"},
        "spec": {"retry": {"scheduleSeconds": [1, 2]}},
    }
    async with receiver_of(calls, Answer(500)) as receiver:
        mine = one(receiver, "own")
        mine["spec"] = {**mine["spec"], "retry": {"scheduleSeconds": [1]}}  # type: ignore[dict-item]
        files.write_text(manifests(receiver, "none") + "---\n" + to_yaml(("", mine), ("", default)))
        with running(tmp_path / "log", "run", files, "--data", data, *LOOPBACK) as command:
            command.until_says("configuration loaded")
            client = await connected(data)
            await publish(client)
            await until_stored(client, own.DEAD, 2)
            await client.close()
    at = {path: [each.at for each in calls if each.path_and_query == path] for path in ("/none", "/own")}
    waits = {path: [(b - a).total_seconds() for a, b in itertools.pairwise(times)] for path, times in at.items()}
    assert {path: len(times) for path, times in at.items()} == {"/none": 3, "/own": 2}
    # Never earlier than the schedule; how much later is up to the machine.
    assert waits["/none"][0] >= 1
    assert waits["/none"][1] >= 2
    assert waits["/own"][0] >= 1


async def test_a_changed_file_takes_effect_within_two_seconds_and_disturbs_no_other_webhook(tmp_path: Path) -> None:
    calls: list[ReceivedCall] = []
    folder, data = tmp_path / "hooks", tmp_path / "data"
    folder.mkdir()
    async with receiver_of(calls) as receiver:
        (folder / "other.yaml").write_text(manifests(receiver, "other"))
        mine = folder / "mine.yaml"
        mine.write_text(to_yaml(("", one(receiver, "mine"))))
        with running(tmp_path / "log", "run", folder, "--data", data, *LOOPBACK) as command:
            command.until_says("configuration loaded")
            client = await connected(data)
            ids: list[str] = []
            stop = asyncio.Event()

            async def load() -> None:
                while not stop.is_set():
                    ids.extend(await publish(client, 2))
                    await asyncio.sleep(0.02)

            async def paths_after_two_seconds() -> set[str]:
                await asyncio.sleep(2)
                seen = len(calls)
                await until(lambda: len(calls) > seen + 40)
                return {call.path_and_query for call in calls[seen:]}

            loading = asyncio.create_task(load())
            await until(lambda: len(calls) > 40)
            mine.write_text(to_yaml(("", one(receiver, "mine", path="edited"))))
            assert await paths_after_two_seconds() == {"/other", "/edited"}
            mine.write_text(to_yaml(("", one(receiver, "mine", enabled=False))))
            assert await paths_after_two_seconds() == {"/other"}
            mine.write_text(to_yaml(("", one(receiver, "mine"))))
            assert await paths_after_two_seconds() == {"/other", "/mine"}
            mine.unlink()
            assert await paths_after_two_seconds() == {"/other"}
            stop.set()
            await loading
            await until(lambda: {c.webhook_id for c in calls if c.path_and_query == "/other"} >= set(ids))
            await client.close()
    times = [call.at for call in calls if call.path_and_query == "/other"]
    gaps = [(after - before).total_seconds() for before, after in itertools.pairwise(times)]
    assert max(gaps) < 2


async def test_an_invalid_webhook_is_named_by_file_line_and_field_and_the_others_are_delivered(tmp_path: Path) -> None:
    calls: list[ReceivedCall] = []
    files, data = tmp_path / "hooks.yaml", tmp_path / "data"
    async with receiver_of(calls) as receiver:
        good = manifests(receiver, "good")
        bad = to_yaml(("", one(receiver, "bad"))).replace("https://", "http://")
        files.write_text(f"{good}---\n{bad}")
        line = next(n for n, text in enumerate(files.read_text().splitlines(), 1) if "http://" in text)
        with running(tmp_path / "log", "run", files, "--data", data, *LOOPBACK) as command:
            command.until_says("configuration loaded")
            client = await connected(data)
            await publish(client, 1)
            await until(lambda: len(calls) == 1)
            await client.close()
            assert f"{files}:{line}: Webhook default/bad: spec.url: must start with https://" in command.output
    assert calls[0].path_and_query == "/good"


async def test_a_webhook_edited_into_an_invalid_one_stays_as_it_was(tmp_path: Path) -> None:
    calls: list[ReceivedCall] = []
    files, data = tmp_path / "hooks.yaml", tmp_path / "data"
    async with receiver_of(calls) as receiver:
        files.write_text(manifests(receiver, "one"))
        with running(tmp_path / "log", "run", files, "--data", data, *LOOPBACK) as command:
            command.until_says("configuration loaded")
            files.write_text(files.read_text().replace("https://", "http://"))
            command.until_says("REFUSED")
            client = await connected(data)
            await publish(client, 1)
            await until(lambda: len(calls) == 1)
            files.write_text("kind: [\n")
            command.until_says("is not YAML")
            await publish(client, 1)
            await until(lambda: len(calls) == 2)
            await client.close()


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        (None, "SecretNotAllowed"),
        ("key", "SecretKeyMissing"),
        ("label", "SecretNotAllowed"),
    ],
)
async def test_events_wait_for_a_secret_and_arrive_once_it_is_right(
    tmp_path: Path, secret: str | None, reason: str
) -> None:
    calls: list[ReceivedCall] = []
    folder, data = tmp_path / "hooks", tmp_path / "data"
    folder.mkdir()
    async with receiver_of(calls) as receiver:
        hook = to_yaml(("", ca_secret("ca", receiver.ca_pem)), ("", one(receiver, "one")))
        (folder / "hook.yaml").write_text(hook)
        right = to_yaml(("", allowed_secret("signing", SECRET)))
        wrong = {"key": right.replace("\n  secret:", "\n  other:"), "label": right.replace('"true"', '"false"')}
        wrong["label"] = wrong["label"].replace("'true'", "'false'")
        if secret is not None:
            assert wrong[secret] != right
            (folder / "secret.yaml").write_text(wrong[secret])
        with running(tmp_path / "log", "run", folder, "--data", data, *LOOPBACK) as command:
            command.until_says("configuration loaded")
            assert reason in command.output
            client = await connected(data)
            ids = await publish(client, 5)
            await until_stored(client, own.PARKED, 5)
            assert calls == []
            (folder / "secret.yaml").write_text(right)
            await until(lambda: len(calls) == 5)
            await client.close()
    assert sorted(call.webhook_id for call in calls) == sorted(ids)


async def test_what_is_published_while_a_webhook_is_paused_arrives_in_order_once_it_is_not(tmp_path: Path) -> None:
    calls: list[ReceivedCall] = []
    files, data = tmp_path / "hooks.yaml", tmp_path / "data"
    async with receiver_of(calls) as receiver:
        going = manifests(receiver, "one")
        paused = going.replace("enabled: true", "enabled: true\n  paused: true")
        assert paused != going
        files.write_text(paused)
        with running(tmp_path / "log", "run", files, "--data", data, *LOOPBACK) as command:
            command.until_says("Paused: spec.paused is true")
            client = await connected(data)
            ids = [(await publish(client))[0] for _ in range(20)]
            await until_stored(client, own.PARKED, 20)
            await asyncio.to_thread(command.end)
            command.start()
            await asyncio.to_thread(command.until_says, "Paused: spec.paused is true", times=2)
            await asyncio.to_thread(command.until_says, "deliveries wait from before")
            assert "deliveries wait for the next start" in command.output
            assert calls == []
            files.write_text(going)
            await until(lambda: len(calls) == 20)
            await client.close()
    assert {call.webhook_id for call in calls} == set(ids)
    # Parked ones are taken in publish order; the ten calls that run at once may arrive in any.
    assert all(ids.index(call.webhook_id) < number + 10 for number, call in enumerate(calls))


async def test_a_replaced_secret_signs_with_both_keys_also_after_a_restart(tmp_path: Path) -> None:
    calls: list[ReceivedCall] = []
    folder, data = tmp_path / "hooks", tmp_path / "data"
    folder.mkdir()
    fresh = "whsec_" + "B" * 43 + "="
    async with receiver_of(calls) as receiver:
        (folder / "hook.yaml").write_text(to_yaml(("", ca_secret("ca", receiver.ca_pem)), ("", one(receiver, "one"))))
        (folder / "secret.yaml").write_text(to_yaml(("", allowed_secret("signing", SECRET))))
        with running(tmp_path / "log", "run", folder, "--data", data, *LOOPBACK) as command:
            command.until_says("configuration loaded")
            (folder / "secret.yaml").write_text(to_yaml(("", allowed_secret("signing", fresh))))
            command.until_says("configuration loaded", times=2)
            for number in (1, 2):
                client = await connected(data)
                await publish(client)
                await until(lambda: len(calls) == number)  # noqa: B023
                await client.close()
                await asyncio.to_thread(command.end)
                if number == 1:
                    command.start()
                    await asyncio.to_thread(command.until_says, "configuration loaded", times=3)
    # The receiver knows the old secret only.
    assert [call.verified for call in calls] == ["signature"] * 2
    assert [call.headers["webhook-signature"].count("v1,") for call in calls] == [2, 2]


async def test_sigterm_lets_calls_end_and_exits_with_zero(tmp_path: Path) -> None:
    calls: list[ReceivedCall] = []
    files, data = tmp_path / "hooks.yaml", tmp_path / "data"
    async with receiver_of(calls, delay_seconds=1.5) as receiver:
        files.write_text(manifests(receiver, "one"))
        with running(tmp_path / "log", "run", files, "--data", data, *LOOPBACK) as command:
            command.until_says("configuration loaded")
            client = await connected(data)
            await publish(client, 40)
            await until(lambda: len(calls) >= 10)
            started = time.monotonic()
            assert await asyncio.to_thread(command.end) == 0
            assert time.monotonic() - started < 15
            assert len(calls) == 10
            assert command.output.count('"delivered"') == 10
            await client.close()
        pid = (data / "nats.pid").exists()
    assert not pid


async def test_a_second_run_on_the_same_data_is_refused_in_one_line(tmp_path: Path) -> None:
    files, data = tmp_path / "hooks.yaml", tmp_path / "data"
    async with receiver_of([]) as receiver:
        files.write_text(manifests(receiver, "one"))
        with running(tmp_path / "log", "run", files, "--data", data, *LOOPBACK) as command:
            command.until_says("configuration loaded")
            second = await asyncio.to_thread(hookline, "run", files, "--data", data)
    assert second.returncode == 1
    assert second.stderr.decode().splitlines()[-1].startswith("hookline: another `hookline run` uses")


async def test_a_loopback_address_without_the_option_is_refused_with_the_option(tmp_path: Path) -> None:
    calls: list[ReceivedCall] = []
    files, data = tmp_path / "hooks.yaml", tmp_path / "data"
    async with receiver_of(calls) as receiver:
        files.write_text(manifests(receiver, "literal"))
        named = to_yaml(("", one(receiver, "named"))).replace("127.0.0.1", "localhost")
        files.write_text(f"{files.read_text()}---\n{named}")
        with running(tmp_path / "log", "run", files, "--data", data) as command:
            command.until_says("configuration loaded")
            client = await connected(data)
            await publish(client, 1)
            command.until_says("EgressRefused")
            await client.close()
            assert "URLNotAllowed" in command.output
            assert command.output.count("--allow-cidr") >= 2
    assert calls == []


async def test_secrets_are_in_no_log_and_no_file_but_the_keys(tmp_path: Path) -> None:
    """Canaries in a Secret, in header values and in a URL's query, through success, failure and dead letter."""
    calls: list[ReceivedCall] = []
    files, data = tmp_path / "hooks.yaml", tmp_path / "data"
    async with receiver_of(calls, Answer(500, 1), Answer(200)) as receiver:
        hook = webhook(
            "one",
            url=f"{receiver.url}/p?token={CANARY}-query",
            event="IdentityCreated",
            secret_name="app-key",
            header_name="X-Api-Key",
            ca_secret_name="ca",
            headers=[
                {"name": "X-Plain", "value": f"{CANARY}-plain"},
                {"name": "X-Secret", "valueFrom": {"secretKeyRef": {"name": "app-key", "key": "secret"}}},
            ],
        )
        unreachable = {**hook, "metadata": {"name": "two"}}
        spec = {**dict(hook["spec"]), "retry": {"scheduleSeconds": [1]}}
        down = {**spec, "url": f"https://127.0.0.1:{free_port()}/p?token={CANARY}-query"}
        secrets = [ca_secret("ca", receiver.ca_pem), allowed_secret("app-key", f"{CANARY}-secret")]
        both = [{**hook, "spec": spec}, {**unreachable, "spec": down}]
        files.write_text(to_yaml(*(("", document) for document in [*secrets, *both])))
        with running(tmp_path / "log", "run", files, "--data", data, *LOOPBACK) as command:
            command.until_says("configuration loaded")
            client = await connected(data)
            await publish(client, 1)
            await until(lambda: len(calls) == 2)
            command.until_says("dead letter")
            await client.close()
            checked = await asyncio.to_thread(hookline, "check", files, *LOOPBACK)
            output = command.output
    assert calls[0].path_and_query == f"/p?token={CANARY}-query"
    assert calls[0].headers["x-secret"] == f"{CANARY}-secret"
    assert CANARY not in output
    assert CANARY.encode() not in checked.stdout + checked.stderr
    holding = [path for path in data.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]
    assert holding
    for path in holding:
        assert path.name.startswith("keys-")
        assert path.stat().st_mode & 0o077 == 0


async def test_an_existing_nats_is_used_instead_of_an_embedded_one(tmp_path: Path, nats_server: NatsServer) -> None:
    calls: list[ReceivedCall] = []
    files, data = tmp_path / "hooks.yaml", tmp_path / "data"
    async with receiver_of(calls) as receiver:
        files.write_text(manifests(receiver, "one"))
        words = ("run", files, "--data", data, "--nats", nats_server.url, *LOOPBACK)
        with running(tmp_path / "log", *words) as command:
            command.until_says("configuration loaded")
            client = await connect(nats_server.url, name="test")
            await until_streams(client)
            await publish(client, 1)
            await until(lambda: len(calls) == 1)
            await client.close()
            assert servers_of(data) == []


async def until_streams(client: Client) -> None:
    """Wait until Hookline has made its streams in a NATS that had none."""
    async with asyncio.timeout(20):
        while {own.EVENTS, own.DELIVERIES} - {each.config.name for each in await client.jetstream().streams_info()}:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def test_a_nats_that_does_not_answer_is_one_line_after_a_bounded_wait(tmp_path: Path) -> None:
    (tmp_path / "none.yaml").write_text("")
    done = hookline("run", tmp_path, "--data", tmp_path / "data", "--nats", "nats://tok-en@127.0.0.1:1")
    assert done.returncode == 1
    said = done.stderr.decode()
    assert "hookline: NATS does not answer at nats://127.0.0.1:1" in said.splitlines()[-1]
    assert "tok-en" not in said
    assert "Traceback" not in said


async def test_a_password_that_was_rotated_and_put_back_brings_deliveries_back(tmp_path: Path) -> None:
    calls: list[ReceivedCall] = []
    files, log, port = tmp_path / "hooks.yaml", tmp_path / "log", free_port()

    def settings(password: str) -> dict[str, object]:
        return {"authorization": {"users": [{"user": "u", "password": password}]}}

    async with receiver_of(calls) as receiver:
        files.write_text(manifests(receiver, "one"))
        url = f"nats://u:first%25@127.0.0.1:{port}"
        async with nats(tmp_path / "nats", port, **settings("first%")):
            command = RunningCommand(
                ["run", str(files), "--nats", url, "--data", str(tmp_path / "data"), *LOOPBACK], log
            )
            command.start()
            client = await connect(url, name="test")
            await asyncio.to_thread(command.until_says, "configuration loaded")
            ids = await publish(client, 1)
            await until(lambda: len(calls) == 1, what="a delivery")
            await client.close()
        async with nats(tmp_path / "nats", port, **settings("second")):
            await asyncio.to_thread(command.until_says, "rejected the credentials", seconds=60)
        async with nats(tmp_path / "nats", port, **settings("first%")):
            client = await connect(url, name="test")
            ids += await publish(client, 3)
            await until(lambda: {call.webhook_id for call in calls} == set(ids), seconds=60, what="deliveries")
            await client.close()
            assert await asyncio.to_thread(command.end) == 0
    assert "first%" not in command.output


async def test_a_server_that_is_told_a_new_password_and_the_old_one_again_is_served_on(tmp_path: Path) -> None:
    """It ends the connection for good, which a server that starts anew does not."""
    calls: list[ReceivedCall] = []
    files, log, port, pid = tmp_path / "hooks.yaml", tmp_path / "log", free_port(), tmp_path / "pid"
    configuration = tmp_path / "nats" / "nats.conf"

    def tell(password: str) -> None:
        told = {**json.loads(configuration.read_text()), "authorization": {"token": password}}
        configuration.write_text(json.dumps(told))
        os.kill(int(pid.read_text()), signal.SIGHUP)

    async with receiver_of(calls) as receiver:
        files.write_text(manifests(receiver, "one"))
        async with nats(tmp_path / "nats", port, authorization={"token": "first"}, pid_file=str(pid)):
            url = f"nats://first@127.0.0.1:{port}"
            with running(log, "run", files, "--nats", url, "--data", tmp_path / "data", *LOOPBACK) as command:
                await asyncio.to_thread(command.until_says, "configuration loaded")
                client = await connect(url, name="test")
                ids = await publish(client, 1)
                await until(lambda: len(calls) == 1, what="a delivery")
                tell("second")
                await asyncio.to_thread(command.until_says, "waiting for the queue", seconds=60)
                tell("first")
                await client.close()
                client = await connect(url, name="test")
                ids += await publish(client, 3)
                await until(lambda: {call.webhook_id for call in calls} == set(ids), seconds=60, what="deliveries")
                await client.close()
                assert await asyncio.to_thread(command.end) == 0


async def test_the_line_that_publishes_by_http_works_when_it_is_pasted_into_a_shell(tmp_path: Path) -> None:
    calls: list[ReceivedCall] = []
    files, data = tmp_path / "hooks.yaml", tmp_path / "data of mine"
    async with receiver_of(calls) as receiver:
        files.write_text(manifests(receiver, "one"))
        with running(tmp_path / "log", "run", files, "--data", data, *LOOPBACK, "--gateway-port", "0") as command:
            command.until_says("configuration loaded")
            command.until_says("the gateway listens")
            (said,) = (json.loads(each) for each in command.output.splitlines() if "the gateway listens" in each)
            token = Path(str(said["token_file"]))
            assert token.stat().st_mode & 0o077 == 0
            line = curl_line(str(said["url"]), token)
            done = await asyncio.to_thread(subprocess.run, ["sh", "-c", line], capture_output=True, text=True)
            answer = json.loads(done.stdout)
            assert answer.get("namespace") == "default", answer
            await until(lambda: len(calls) == 1)
        assert calls[0].webhook_id == answer["id"]
        assert token.read_text().strip() not in command.output
    first = token.read_text()
    with running(tmp_path / "log2", "run", files, "--data", data, *LOOPBACK, "--no-gateway") as command:
        command.until_says("configuration loaded")
        assert "the gateway listens" not in command.output
    assert token.read_text() == first
