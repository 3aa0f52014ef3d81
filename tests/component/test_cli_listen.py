"""`hookline listen` as a process of its own, called over real TLS; and how calls are shown."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import signal
import socket
import ssl
import stat
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import pytest
import standardwebhooks
import yaml
from aiohttp import web

from controlplane.ports import free_port
from hookline.cli.errors import NotAchieved, WrongInput
from hookline.cli.listen import listen
from hookline.events.builtin_events import EVENTS
from hookline.local.calls_shown import Details, call_details, call_line, call_record, call_row
from hookline.local.receiver import ReceivedCall, new_secret
from hookline.local.receiver_folder import ReceiverFolderUnusable, kept_in
from hookline.local.samples import LISTEN_MARK
from hookline.resources.webhook import Webhook
from hookline.routing.signing import Ed25519Key

COMMAND = """
import sys, typer
from hookline.cli.errors import Failure
from hookline.cli.listen import listen
try:
    typer.run(listen)
except Failure as failure:
    print(f"hookline: {failure}", file=sys.stderr)
    sys.exit(failure.exit_code)
"""
CANARY = "canary-3c9e"
PRIVATE = "whsk_" + base64.b64encode(b"a seed of 32 bytes for listening").decode()
PUBLIC = Ed25519Key.of_seed(b"a seed of 32 bytes for listening").public
BODY = b'{"IdentityId": "1"}'
TIMEOUT_SECONDS = 30


class Listening:
    """A running `hookline listen`: the lines it prints, its address, what a caller must know."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        assert process.stdout is not None
        assert process.stderr is not None
        self.stdout, self.stderr = process.stdout, process.stderr
        self.url = ""

    async def greeting(self, stream: asyncio.StreamReader) -> str:
        line = (await stream.readline()).decode()
        found = re.search(r"https://127\.0\.0\.1:\d+", line)
        assert found, line
        self.url = found[0]
        return line

    async def end(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        """Send a signal. Returns the exit code and the rest of what was printed."""
        self.process.send_signal(number)
        out, err = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, out.decode(), err.decode()


@pytest.fixture(autouse=True)
def state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for what outlives the command, in place of the user's own."""
    folder = tmp_path_factory.mktemp("state")
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    return folder


def _as_from_a_terminal() -> None:
    """What is ignored stays so in a child: this run may have begun with nohup or in the background."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


@asynccontextmanager
async def listening(*arguments: str) -> AsyncIterator[Listening]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        COMMAND,
        "--port",
        "0",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "COLUMNS": "200", "PYTHONUNBUFFERED": ""},
        preexec_fn=_as_from_a_terminal,
    )
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            yield Listening(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


class Reached:
    """What the manifests tell a caller: where to call, with which secret, trusting whom."""

    def __init__(self, text: str) -> None:
        documents = list(yaml.safe_load_all(text))
        self.webhooks = [Webhook.model_validate(each) for each in documents if each["kind"] == "Webhook"]
        data = {each["metadata"]["name"]: each["stringData"] for each in documents if each["kind"] == "Secret"}
        spec = self.webhooks[0].spec
        assert spec.secret_ref is not None
        assert spec.tls is not None
        assert spec.tls.ca_secret_ref is not None
        self.url = spec.url
        self.secret = data[spec.secret_ref.name][spec.secret_ref.key]
        ca = data[spec.tls.ca_secret_ref.name][spec.tls.ca_secret_ref.key]
        self.tls = ssl.create_default_context(cadata=ca)

    @classmethod
    def by(cls, path: Path) -> Reached:
        return cls(path.read_text())

    @property
    def events(self) -> list[str]:
        return [webhook.spec.event for webhook in self.webhooks]

    async def call(self, query: str = "", **headers: str) -> int:
        """One signed call. Returns the status."""
        at = datetime.now(UTC)
        all_headers = {
            "webhook-id": "msg_1",
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": standardwebhooks.Webhook(self.secret).sign("msg_1", at, BODY.decode()),
            "hookline-event-type": "IdentityCreated",
            "hookline-tenant": "default",
            "hookline-attempt": "1",
        }
        return await self.post(query, all_headers | {name.replace("_", "-"): each for name, each in headers.items()})

    async def post(self, query: str, headers: dict[str, str]) -> int:
        async with httpx.AsyncClient(verify=self.tls, timeout=TIMEOUT_SECONDS) as client:
            return (await client.post(self.url + query, content=BODY, headers=headers)).status_code


# ---- what a person sees ----------------------------------------------------------------------------------------------


async def test_each_call_is_one_line_and_the_end_is_a_summary(tmp_path: Path) -> None:
    file = tmp_path / "webhooks.yaml"
    async with listening("--manifests", str(file)) as running:
        await running.greeting(running.stdout)
        assert f"hookline run {file} --allow-cidr 127.0.0.0/8" in (await running.stdout.readline()).decode()
        reached = Reached.by(file)
        assert reached.url.startswith(f"{running.url}/")
        assert await reached.call(f"?token={CANARY}") == 200
        verified = (await running.stdout.readline()).decode()
        assert await reached.call(webhook_id="msg_2") == 401
        refused = (await running.stdout.readline()).decode()
        code, out, err = await running.end()

    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z  IdentityCreated  /identitycreated\?…  msg_1  attempt 1  "
        r"answered 200  verified by signature  19 bytes\n",
        verified,
    )
    assert "msg_2" in refused
    assert "NOT VERIFIED: signature does not match" in refused
    assert (code, out, err) == (0, "Calls: 2 (1 verified, 1 not verified)\n", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_ends_it_with_exit_code_0_even_while_a_call_is_held_back(tmp_path: Path, number: int) -> None:
    file = tmp_path / "webhooks.yaml"
    async with listening("--delay-seconds", "600", "--manifests", str(file)) as running:
        await running.greeting(running.stdout)
        await running.stdout.readline()
        call = asyncio.create_task(Reached.by(file).call())
        assert b"answered 200" in await running.stdout.readline()
        assert await running.end(number) == (0, "Calls: 1 (1 verified, 0 not verified)\n", "")
        with pytest.raises(httpx.TransportError):
            await call


async def test_without_manifests_it_says_how_to_get_them() -> None:
    async with listening() as running:
        await running.greeting(running.stdout)
        assert b"--manifests FILE" in await running.stdout.readline()
        assert await running.end() == (0, "Calls: 0 (0 verified, 0 not verified)\n", "")


async def test_answers_are_a_sequence_that_is_announced(tmp_path: Path) -> None:
    file = tmp_path / "webhooks.yaml"
    async with listening("--answer", "503:2", "--answer", "204", "--manifests", str(file)) as running:
        assert "answering each delivery with 2 x 503, then 204;" in await running.greeting(running.stdout)
        await running.stdout.readline()
        assert [await Reached.by(file).call() for _ in range(4)] == [503, 503, 204, 204]


async def test_json_is_one_object_a_line_and_alone_on_standard_output(tmp_path: Path) -> None:
    file = tmp_path / "webhooks.yaml"
    async with listening("--json", "--manifests", str(file)) as running:
        await running.greeting(running.stderr)
        await running.stderr.readline()
        await Reached.by(file).call("?a=b")
        await Reached.by(file).post("", {})
        code, out, err = await running.end()

    signed, bare = (json.loads(line) for line in out.splitlines())
    assert datetime.fromisoformat(signed.pop("time")).utcoffset() == timedelta(0)
    assert signed == {
        "event": "IdentityCreated",
        "tenant": "default",
        "path": "/identitycreated?…",
        "webhookId": "msg_1",
        "attempt": 1,
        "answered": 200,
        "verified": "signature",
        "reason": "",
        "bodyBytes": len(BODY),
    }
    assert (bare["verified"], bare["reason"], bare["attempt"]) == ("no", "no signature", None)
    assert (code, err) == (0, "Calls: 2 (1 verified, 1 not verified)\n")


async def test_calls_that_do_not_verify_are_taken_when_told_so_and_do_not_count_as_answers(tmp_path: Path) -> None:
    file = tmp_path / "webhooks.yaml"
    async with listening("--answer", "503:1", "--answer", "204", "--manifests", str(file)) as running:
        await running.greeting(running.stdout)
        await running.stdout.readline()
        reached = Reached.by(file)
        assert [await reached.post("", {"webhook-id": "msg_1"}), await reached.call(), await reached.call()] == [
            401,
            503,
            204,
        ]
    async with listening("--take-unverified", "--manifests", str(file)) as running:
        await running.greeting(running.stdout)
        await running.stdout.readline()
        assert await Reached.by(file).post("", {}) == 200


async def test_headers_and_body_are_shown_when_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "webhooks.yaml"
    async with listening("--headers", "--body", "--manifests", str(file)) as running:
        await running.greeting(running.stdout)
        await running.stdout.readline()
        await Reached.by(file).call(x_own="a\tb")
        _, out, _ = await running.end()
    assert "    x-own: a\\tb\n" in out
    assert f"    {BODY.decode()}\n" in out
    async with listening("--json", "--headers", "--body", "--manifests", str(file)) as running:
        await running.greeting(running.stderr)
        await running.stderr.readline()
        await Reached.by(file).call()
        _, out, _ = await running.end()
    shown = json.loads(out)
    assert shown["body"] == BODY.decode()
    assert ["webhook-id", "msg_1"] in shown["headers"]


async def test_manifests_of_an_earlier_start_reach_it_and_its_files_are_private(tmp_path: Path, state: Path) -> None:
    file = tmp_path / "webhooks.yaml"
    port = free_port()
    async with listening("--port", str(port), "--manifests", str(file)) as running:
        await running.greeting(running.stdout)
        await running.stdout.readline()
    earlier = Reached.by(file)
    async with listening("--port", str(port)) as running:
        await running.greeting(running.stdout)
        assert await earlier.call() == 200
    modes = {each.name: each.stat().st_mode & 0o777 for each in (state / "hookline-listen").iterdir()}
    assert modes == {"ca.crt": 0o600, "ca.key": 0o600, "secret": 0o600}


@pytest.mark.parametrize("name", ["ca.crt", "ca.key", "secret"])
def test_a_damaged_file_is_one_error_that_says_what_to_do(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "kept"
    kept_in(folder)
    (folder / name).write_bytes(b"\xff damaged")
    with pytest.raises(ReceiverFolderUnusable, match="delete that folder"):
        kept_in(folder)


async def test_calls_are_forwarded_as_they_came_and_the_answer_comes_back(tmp_path: Path) -> None:
    seen: list[tuple[str, str, bytes]] = []

    async def application(request: web.Request) -> web.Response:
        assert "Cookie" not in request.headers
        seen.append((request.path_qs, request.headers["webhook-id"], await request.read()))
        return web.Response(status=503, headers={"Retry-After": "7", "Set-Cookie": "a=b"}, text="busy")

    app = web.Application()
    app.router.add_post("/{path:.*}", application)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    file, base = tmp_path / "webhooks.yaml", f"http://localhost:{runner.addresses[0][1]}"
    async with listening("--forward-to", base, "--manifests", str(file)) as running:
        assert f"passing on to {base};" in await running.greeting(running.stdout)
        await running.stdout.readline()
        reached = Reached.by(file)
        assert await reached.call("?a=%2F") == 503
        assert await reached.post("", {}) == 401
        assert await reached.call("?a=%2F") == 503
    async with listening("--forward-to", f"{base}/hooks", "--manifests", str(file)) as running:
        await running.greeting(running.stdout)
        await running.stdout.readline()
        reached = Reached.by(file)
        assert await reached.call("?a=%2F") == 503
        await runner.cleanup()
        assert await reached.call() == 502
    assert seen == [("/identitycreated?a=%2F", "msg_1", BODY)] * 2 + [("/hooks?a=%2F", "msg_1", BODY)]


async def test_whatever_the_application_answers_and_the_caller_asks_for_there_is_an_answer_and_a_line() -> None:
    async def application(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(b"HTTP/1.1 202 OK\r\nContent-Type: \x01\r\nRetry-After: \xff\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(application, "127.0.0.1", 0) as server:
        base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with listening("--forward-to", base, "--take-unverified") as running:
            await running.greeting(running.stdout)
            await running.stdout.readline()
            port = int(running.url.rpartition(":")[2])
            for target, status in (("/a", 202), ("http://elsewhere.example/a", 502)):
                unchecked = ssl._create_unverified_context()
                calls, writer = await asyncio.open_connection("127.0.0.1", port, ssl=unchecked)
                writer.write(f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}".encode())
                assert (await calls.readline()).startswith(f"HTTP/1.1 {status} ".encode())
                writer.close()
                assert f"answered {status}" in (await running.stdout.readline()).decode()


async def test_a_private_key_goes_into_the_manifests_and_its_public_one_is_enough_to_verify(tmp_path: Path) -> None:
    file = tmp_path / "webhooks.yaml"
    secret = new_secret()
    async with listening("--secret", f"{secret} {PRIVATE}", "--manifests", str(file)) as running:
        await running.greeting(running.stdout)
        await running.stdout.readline()
        assert Reached.by(file).secret.split() == [secret, PRIVATE]
        await running.end()
    async with listening("--secret", PUBLIC, "--json") as running:
        await running.greeting(running.stderr)
        assert (await running.end())[0] == 0


async def test_no_secret_is_printed(tmp_path: Path) -> None:
    secret, app_key, file = new_secret(), "canary-app-key", tmp_path / "webhooks.yaml"
    options = ["--secret", secret, "--header-secret", f"X-Api-Key={app_key}", "--manifests", str(file)]
    for more in ([], ["--json"]):
        async with listening(*options, *more) as running:
            stream = running.stderr if more else running.stdout
            printed = await running.greeting(stream) + (await stream.readline()).decode()
            reached = Reached.by(file)
            assert reached.secret == app_key
            await reached.post(f"?token={CANARY}", {"X-Api-Key": app_key, "Authorization": CANARY})
            await reached.post("", {"X-Api-Key": CANARY})
            _, out, err = await running.end()
        assert "1 verified, 1 not verified" in out + err
        for word in (secret, secret.removeprefix("whsec_"), app_key, CANARY):
            assert word not in printed + out + err


async def test_it_ends_without_complaint_when_nobody_reads_its_output_any_more(tmp_path: Path) -> None:
    """As behind `| head -1`. The summary of --json goes to standard error, which is still read."""
    file = tmp_path / "webhooks.yaml"
    reading, writing = os.pipe()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", COMMAND, "--port", "0", "--json", "--manifests", str(file),
        stdout=writing, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    os.close(writing)
    os.close(reading)
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            assert process.stderr is not None
            await process.stderr.readline()
            await process.stderr.readline()
            assert await Reached.by(file).call() == 200
            _, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    assert (process.returncode, err) == (0, b"Calls: 1 (1 verified, 0 not verified)\n")


async def test_help_has_an_example() -> None:
    async with listening("--help") as running:
        out, err = await running.process.communicate()
        assert running.process.returncode == 0
    assert b"Example: hookline listen --manifests" in out
    assert err == b""


# ---- the manifests ---------------------------------------------------------------------------------------------------


async def test_the_manifests_are_readable_only_by_their_owner_and_replaced_by_the_next_start(tmp_path: Path) -> None:
    file = tmp_path / "webhooks.yaml"
    file.write_text(f"{LISTEN_MARK}, some other day\n")
    file.chmod(0o644)
    texts = set()
    for _ in range(2):
        async with listening("--manifests", str(file)) as running:
            await running.greeting(running.stdout)
            await running.stdout.readline()
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            assert await Reached.by(file).call() == 200
            texts.add(file.read_text())
    assert len(texts) == 2
    assert list(tmp_path.iterdir()) == [file]


async def test_manifests_on_standard_output_end_it_so_that_a_pipe_goes_on() -> None:
    async with listening("--manifests", "-") as running:
        text = (await running.stdout.read()).decode()
        await running.greeting(running.stderr)
        assert b"on standard output" in await running.stderr.readline()
        reached = Reached(text)
        assert reached.events == ["IdentityCreated"]
        assert await reached.call() == 200
        assert b"verified by signature" in await running.stderr.readline()
        assert await running.end() == (0, "", "Calls: 1 (1 verified, 0 not verified)\n")


@pytest.mark.parametrize(
    ("asked", "events"),
    [
        (["AccessGranted", "VisitorCheckedIn", "AccessGranted"], ["AccessGranted", "VisitorCheckedIn"]),
        (["all"], [event.name for event in EVENTS]),
        (["order.created", "all"], ["order.created", *(event.name for event in EVENTS)]),
    ],
)
async def test_the_manifests_subscribe_to_the_events_that_were_asked_for(asked: list[str], events: list[str]) -> None:
    async with listening("--manifests", "-", *(word for name in asked for word in ("--event", name))) as running:
        assert Reached((await running.stdout.read()).decode()).events == events


async def test_an_event_that_is_not_built_in_is_allowed_with_a_note() -> None:
    async with listening("--manifests", "-", "--event", "IdentityCreate") as running:
        assert Reached((await running.stdout.read()).decode()).events == ["IdentityCreate"]
        await running.greeting(running.stderr)
        note = (await running.stderr.readline()).decode()
    assert "did you mean IdentityCreated?" in note
    assert "EventType of your own" in note


async def test_a_header_secret_makes_manifests_of_the_scheme_header(tmp_path: Path) -> None:
    file = tmp_path / "webhooks.yaml"
    async with listening("--header-secret", "X-Api-Key=a=b", "--manifests", str(file)) as running:
        await running.greeting(running.stdout)
        await running.stdout.readline()
        reached = Reached.by(file)
        signature = reached.webhooks[0].spec.signature
        assert (signature.scheme, signature.header_name, reached.secret) == ("Header", "X-Api-Key", "a=b")
        await reached.post("", {"X-Api-Key": reached.secret})
        assert b"verified by header" in await running.stdout.readline()


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port on which `listen` cannot start, so that input which is wrongly accepted does not run on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"secret": CANARY}, r"--secret: the secret does not start with `whsec_` or `whsk_`: write"),
        ({"secret": f"whpk_{CANARY}"}, r"--secret: what follows `whpk_` is not the base64 of 32 bytes"),
        ({"secret": PUBLIC, "manifests": "-"}, r"--secret: `whpk_` is a public key, which cannot sign: write `whsk_`"),
        ({"secret": f"whsec_{CANARY}"}, r"--secret: what follows `whsec_` is not base64: write"),
        ({"secret": "whsec_Y2FuYXJ5"}, r"--secret: the secret decodes to 6 bytes: write"),
        ({"header_secret": CANARY}, r"--header-secret: write NAME=VALUE"),
        ({"header_secret": "X-Api-Key="}, r"--header-secret: the value must be"),
        ({"header_secret": f"X-Api-Key={CANARY}\r\nX-Other: 1"}, r"--header-secret: the value must be"),
        ({"header_secret": f"={CANARY}"}, r"--header-secret: the name must not be empty"),
        ({"header_secret": f"X Api={CANARY}"}, r"--header-secret: the name must be a header name"),
        ({"header_secret": f"Webhook-Id={CANARY}"}, r"--header-secret: the name must not be a header that Hookline"),
        ({"answer": ["200", "ok"]}, r"--answer 'ok' is not an answer: write CODE or CODE:TIMES"),
        ({"delay_seconds": -1}, r"--delay-seconds: write a number from 0 to 600"),
        ({"delay_seconds": float("nan")}, r"--delay-seconds: write a number from 0 to 600"),
        ({"event": ["IdentityCreated"]}, r"add --manifests FILE"),
        ({"event": ["Identity Created"], "manifests": "-"}, r"--event: the name must consist of"),
        ({"as_json": True, "manifests": "-"}, r"write the manifests to a file"),
        ({"manifests": "no/such/folder/webhooks.yaml"}, r"there is no folder no/such/folder; create it first"),
        ({"manifests": "/"}, r"choose another file"),
        ({"manifests": "/dev/null"}, r"choose another file"),
    ],
)
def test_wrong_input_is_refused_with_what_to_write_and_without_secrets(
    taken_port: int, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(WrongInput, match=message) as refused:
        listen(port=taken_port, **options)
    assert CANARY not in str(refused.value)
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


def test_a_file_that_listen_did_not_write_is_never_overwritten(taken_port: int, tmp_path: Path) -> None:
    file = tmp_path / "webhooks.yaml"
    file.write_text("kind: Webhook\n")
    with pytest.raises(WrongInput, match="was not written by hookline listen; choose another file"):
        listen(port=taken_port, manifests=str(file))
    assert file.read_text() == "kind: Webhook\n"


def test_a_busy_port_is_told_with_the_option_that_helps(taken_port: int) -> None:
    with pytest.raises(NotAchieved, match=rf"^port {taken_port} on 127.0.0.1 is in use; choose another with --port"):
        listen(port=taken_port)


async def test_a_refusal_is_one_line_and_exit_code_2() -> None:
    async with listening("--secret", CANARY) as running:
        out, err = await running.process.communicate()
        assert running.process.returncode == 2
    assert out == b""
    assert err.startswith(b"hookline: --secret: ")
    assert err.count(b"\n") == 1
    assert CANARY.encode() not in err


# ---- how calls are shown ---------------------------------------------------------------------------------------------


def call(**changes: Any) -> ReceivedCall:
    fields: dict[str, Any] = {
        "at": datetime(2026, 11, 20, 13, 5, 6, 789_000, tzinfo=timezone(timedelta(hours=1))),
        "path_and_query": f"/identity?token={CANARY}&b=?",
        "headers": {"authorization": CANARY},
        "body": CANARY.encode(),
        "webhook_id": "msg_1",
        "event_type": "IdentityCreated",
        "tenant": "default",
        "attempt": 2,
        "answered": 503,
        "verified": "signature",
        "reason": "",
    }
    return ReceivedCall(**fields | changes)


def test_a_row_tells_what_came_and_whether_it_was_verified() -> None:
    not_verified = call(event_type="", attempt=None, path_and_query="/", verified="no", reason="no signature")
    assert call_row(call()) == "12:05:06  503  IdentityCreated         verified by signature"
    assert call_row(not_verified) == "12:05:06  503  -                       NOT VERIFIED: no signature"


@pytest.mark.parametrize("event", [each.name for each in EVENTS])
def test_a_row_of_a_built_in_event_has_room_on_a_narrow_terminal(event: str) -> None:
    assert len(call_row(call(event_type=event))) <= 60


def test_a_line_has_all_of_a_call_in_utc() -> None:
    assert call_line(call()) == (
        "2026-11-20T12:05:06.789Z  IdentityCreated  /identity?…  msg_1  attempt 2  answered 503  "
        "verified by signature  11 bytes"
    )


def test_neither_headers_nor_body_nor_query_values_are_shown_anywhere() -> None:
    shown = f"{call()!r} {call_line(call())} {call_record(call())} {call_row(call())}"
    assert CANARY not in shown


def test_what_a_caller_sends_cannot_steer_the_terminal() -> None:
    hostile = call(event_type="\x1b[2J[red]\udcff", path_and_query="/\x1b]0;x\x07\n", webhook_id="a\nb")
    assert r"\x1b[2J[red]\udcff" in call_row(hostile)
    assert call_row(hostile).isprintable()
    assert call_line(hostile).isprintable()
    body = call(body="Zoë\n\x1b[2J".encode())
    assert call_details(body, Details(body=True)) == ["    Zoë", r"    \x1b[2J"]
    json.dumps(call_record(hostile)).encode("ascii")
