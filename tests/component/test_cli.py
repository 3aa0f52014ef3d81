"""The commands as a user types them, over a real queue where they need one."""

from __future__ import annotations

import asyncio
import functools
import json
import subprocess
import time
from pathlib import Path

import pytest
import trustme

from controlplane.ports import free_port
from doubles import own
from doubles.command import HOOKLINE, hookline, typed
from doubles.local import count
from doubles.nats import nats, tls_settings
from hookline import __version__
from hookline.cli import main
from hookline.events.builtin_events import EVENTS
from hookline.events.envelope import ID_HEADER
from hookline.events.notices import NOTICES
from hookline.local.nats_server import NatsServer
from hookline.routing.routes import TypeRecord
from hookline.routing.signing import valid_message_id
from hookline.stream.connection import Client, connect
from hookline.stream.streams import Retention, ensure
from hookline.stream.types import write_types

CANARY = "canary-0c0c"
SAMPLES = Path(__file__).parents[2] / "manifests/samples"


@functools.cache
def sample() -> bytes:
    return hookline("events", "sample", "IdentityCreated").stdout


def here(*words: str | Path) -> subprocess.CompletedProcess[bytes]:
    """Of what only reads and prints."""
    return typed(main.main, *words)


async def run(*words: str | Path, stdin: bytes = b"") -> tuple[int, str, str]:
    """Run a command beside the test's own connections."""
    done = await asyncio.to_thread(hookline, *words, stdin=stdin)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize(
    "words",
    [[], ["run"], ["publish"], ["listen"], ["check"], ["demo"], ["events"], ["events", "list"], ["events", "schema"]],
)
def test_every_command_has_help_and_each_that_does_something_an_example(words: list[str]) -> None:
    done = here(*words, "--help")
    assert done.returncode == 0
    if words and words != ["events"]:
        assert b"Example: hookline" in done.stdout


@pytest.mark.parametrize("words", [[], ["events"]])
def test_commands_without_a_word_more_print_the_help(words: list[str]) -> None:
    bare, short, long = (here(*words, *more) for more in ([], ["-h"], ["--help"]))
    assert (bare.returncode, bare.stdout, bare.stderr) == (0, long.stdout, b"")
    assert short.stdout == long.stdout
    assert b"..." not in long.stdout.partition(b"Commands:")[2]


def test_the_version_is_a_command_and_an_option() -> None:
    assert hookline("version").stdout == hookline("--version").stdout == f"hookline {__version__}\n".encode()


def test_a_shell_completes_commands() -> None:
    asked = {"_HOOKLINE_COMPLETE": "complete_bash", "COMP_WORDS": "hookline pub", "COMP_CWORD": "1"}
    assert hookline(environment=asked).stdout.split() == [b"publish"]


def test_publish_talks_to_no_nats_but_that_of_the_run_of_this_user(tmp_path: Path) -> None:
    done = hookline("publish", "IdentityCreated", "-", "--data", tmp_path, stdin=sample())
    assert done.returncode == 2
    assert b"no `hookline run` has used" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nonsense"], "nonsense"),
        (["run"], "paths"),
        (["run", "/nowhere.yaml"], "does not exist"),
        (["run", str(SAMPLES), "--allow-cidr", "10.1.2.3/8"], "10.0.0.0/8"),
        (["run", str(SAMPLES), "--sync-interval", "sometimes"], "--sync-interval"),
        (["run", str(SAMPLES), "--stream-prefix", "a.b"], "--stream-prefix"),
        (["listen", "--port", "99999"], "--port"),
        (["publish", "IdentityCreated", "/nowhere.json"], "cannot be read"),
        (["publish", "IdentityCreated", "-", "--tenant", "Not a Tenant"], "--tenant"),
        (["publish", "IdentityCreated", "-", "--id", "a.b"], "--id"),
        (["run", str(SAMPLES), "--nats", f"nats://u:{CANARY}@a:99999"], "--nats: must be"),
        (["publish", "IdentityCreated", "-", "--nats", f"nats://u:{CANARY}%zz@a,nats://b"], "--nats: address 1 must"),
        (["sender", "--book", "/nowhere", "--nats", f"{CANARY}@127.0.0.1:4222"], "write nats://HOST:4222"),
        (["run", str(SAMPLES), "--gateway-port", "70000"], "--gateway-port"),
        (["gateway", "--nats", "nats://a", *("--tls-certificate", "x", "--tls-key", "y")], "hookline run"),
        (["api", "--queues", "q", "--data", "d", *("--tls-certificate", "x", "--tls-key", "y")], "hookline run"),
        (["gateway", "--nats", "nats://a", "--requests-at-once", "0"], "--requests-at-once"),
        (["events", "schema", "identitycreated"], "IdentityCreated"),
        (["check", "/nowhere"], "does not exist"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(words: list[str], message: str) -> None:
    done = hookline(*words)
    assert done.returncode == 2
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("hookline: ")
    assert CANARY not in line
    assert message in line


def test_events_are_listed_with_schemas_and_samples(tmp_path: Path) -> None:
    listed = json.loads(here("events", "list", "--json").stdout)
    assert [each["name"] for each in listed] == [*(each.name for each in EVENTS), *(each.name for each in NOTICES)]
    assert len(here("events", "list").stdout.splitlines()) == 20 + 4
    assert here("events", "schema", "IdentityDeleted", "--output", tmp_path).returncode == 0
    written = (tmp_path / "schema-identitydeleted.json").read_bytes()
    assert written == here("events", "schema", "IdentityDeleted").stdout
    assert json.loads(written)["title"] == "IdentityDeletedCallbackModel"
    assert here("events", "sample", "IdentityDeleted", "--output", tmp_path / "no" / "x").returncode == 1


async def test_an_event_is_published_once_for_each_id(nats_server: NatsServer, queue: Client) -> None:
    words = ("publish", "IdentityCreated", "-", "--nats", nats_server.url, "--id", "evt_1")
    code, out, _ = await run(*words, stdin=sample())
    assert (code, "published" in out) == (0, True)
    code, out, _ = await run(*words, "--json", stdin=sample())
    assert (code, json.loads(out)["new"]) == (0, False)
    assert await count(queue, own.EVENTS) == 1
    stored = await queue.jetstream().get_last_msg(own.EVENTS, "hookline.events.default.IdentityCreated")
    assert stored.data == sample()


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b"{", "$"),
        (b'{"AccountId": ""}', "$.AccountId"),
        (b'"' + b"a" * 300_000 + b'"', "bytes"),
        (b'{"AccountId": 5, "Email": "%s"}' % CANARY.encode(), "$.AccountId"),
    ],
)
async def test_a_wrong_body_is_refused_with_the_place_and_nothing_is_published(
    nats_server: NatsServer, queue: Client, body: bytes, place: str
) -> None:
    code, out, err = await run("publish", "IdentityCreated", "-", "--nats", nats_server.url, stdin=body)
    assert (code, out) == (2, "")
    assert place in err
    assert CANARY not in err
    assert await count(queue, own.EVENTS) == 0


async def test_good_lines_are_published_and_bad_ones_named_by_number(nats_server: NatsServer, queue: Client) -> None:
    line = json.dumps(json.loads(sample())).encode()
    lines = b"\n".join([line, b"{", b"", line, b'"' + b"a" * 600_000 + b'"', line])
    words = ("publish", "IdentityCreated", "-", "--lines", "--id", "batch", "--nats", nats_server.url)
    code, out, err = await run(*words, stdin=lines)
    assert code == 2
    assert "published 3, already there 0, refused 2" in out
    assert "line 2: $" in err
    assert "line 5: $" in err
    assert await count(queue, own.EVENTS) == 3
    code, out, _ = await run(*words, stdin=lines)
    assert "published 0, already there 3" in out


async def test_all_lines_are_published_though_many_wait_for_room(nats_server: NatsServer, queue: Client) -> None:
    line = json.dumps(json.loads(sample())).encode() + b"\n"
    padded = line.rstrip() + b" " * 200_000 + b"\n"
    code, out, _ = await run(
        "publish", "IdentityCreated", "-", "--lines", "--nats", nats_server.url, stdin=(line * 20 + padded) * 20
    )
    assert (code, out) == (0, "published 420, already there 0, refused 0\n")
    assert await count(queue, own.EVENTS) == 420


async def test_one_document_on_several_lines_is_told_from_one_for_each_line(
    nats_server: NatsServer, queue: Client
) -> None:
    words = ("publish", "IdentityCreated", "-", "--nats", nats_server.url)
    body = json.loads(sample())
    code, out, err = await run(*words, "--lines", stdin=b"\n" + json.dumps(body, indent=2).encode())
    (line,) = err.splitlines()
    assert (code, out) == (2, "")
    assert line.startswith("hookline: line 2 only begins a JSON document, and nothing was published: --lines takes one")
    code, out, err = await run(*words, stdin=(json.dumps(body) + "\n").encode() * 2)
    (line,) = err.splitlines()
    assert (code, out) == (2, "")
    assert line.endswith("add --lines")
    assert await count(queue, own.EVENTS) == 0


async def test_the_id_that_is_said_is_the_id_that_is_stored(nats_server: NatsServer, queue: Client) -> None:
    line = json.dumps(json.loads(sample())).encode()
    words = ("publish", "IdentityCreated", "-", "--nats", nats_server.url, "--json")
    longest = {(): 128, ("--lines",): 116}
    for mode, length in longest.items():
        code, out, err = await run(*words, *mode, "--id", "a" * (length + 1), stdin=line)
        assert (code, out) == (2, "")
        assert f"--id must be 1 to {length} letters" in err
        code, out, _ = await run(*words, *mode, "--id", "a" * length, stdin=line)
        stored = await queue.jetstream().get_last_msg(own.EVENTS, "hookline.events.default.IdentityCreated")
        assert stored.headers is not None
        assert (code, json.loads(out)["id"]) == (0, stored.headers[ID_HEADER])
        assert valid_message_id(stored.headers[ID_HEADER])


async def test_a_refusal_ends_lines_at_once_in_one_line_however_long_the_input_is_silent(
    nats_server: NatsServer, queue: Client, tmp_path: Path
) -> None:
    config = (await queue.jetstream().stream_info(own.EVENTS)).config
    config.max_msgs = 2
    await queue.jetstream().update_stream(config)
    words = ["publish", "IdentityCreated", "-", "--lines", "--nats", nats_server.url, "--tenant", "team-a"]
    process = await asyncio.create_subprocess_exec(
        HOOKLINE, *words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    process.stdin.write((json.dumps(json.loads(sample())) + "\n").encode() * 20)
    # The pipe stays open.
    assert process.stderr is not None
    said = await asyncio.wait_for(process.stderr.read(), 20)
    assert await asyncio.wait_for(process.wait(), 20) == 1
    (line,) = said.decode().splitlines()
    assert line.startswith("hookline: stopped after 2 confirmed events")
    assert "maximum messages exceeded" in line


@pytest.mark.parametrize(
    ("permissions", "subject"),
    [
        ({"publish": {"deny": ["hookline.>"]}}, "publish to hookline.events.team-a.IdentityCreated"),
        ({"publish": {"deny": ["$JS.>"]}}, "publish to $JS.API."),
        ({"subscribe": {"deny": ["_INBOX.>"]}}, "subscribe to _inbox."),
    ],
)
async def test_a_permission_that_is_missing_is_named_with_its_subject(
    permissions: dict[str, object], subject: str, tmp_path: Path
) -> None:
    port = free_port()
    users = [{"user": "all", "password": "a"}, {"user": "some", "password": CANARY, "permissions": permissions}]
    async with nats(tmp_path / "nats", port, authorization={"users": users}):
        client = await connect(f"nats://all:a@127.0.0.1:{port}", name="test")
        await ensure(client, Retention())
        await client.close()
        url = f"nats://some:{CANARY}@127.0.0.1:{port}"
        code, out, err = await run(
            "publish", "IdentityCreated", "-", "--nats", url, "--tenant", "team-a", stdin=sample()
        )
    assert (code, out) == (1, "")
    assert f"hookline: NATS does not permit this user to {subject}" in err.splitlines()[-1]
    assert CANARY not in err


async def test_over_tls_publishing_says_nothing_but_what_it_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca, port = trustme.CA(), free_port()
    (tmp_path / "ca.pem").write_bytes(ca.cert_pem.bytes())
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    async with nats(tmp_path / "nats", port, **tls_settings(ca, tmp_path)):
        client = await connect(f"tls://127.0.0.1:{port}", name="test")
        await ensure(client, Retention())
        await client.close()
        code, out, err = await run(
            "publish", "IdentityCreated", "-", "--nats", f"tls://127.0.0.1:{port}", stdin=sample()
        )
    assert (code, err) == (0, "")
    assert out.startswith("published")


async def test_a_type_of_an_eventtype_resource_is_known_to_publishers(nats_server: NatsServer, queue: Client) -> None:
    record = TypeRecord(
        name="order.paid", description="", validation="Warn", schema_={"required": ["id"]}, deprecated="use order\x1b"
    )
    await write_types(queue, (record,))
    code, _, err = await run("publish", "order.paid", "-", "--nats", nats_server.url, stdin=b"{}")
    assert code == 0
    assert "warning: $.id" in err
    assert r'warning: order.paid is deprecated: "use order\u001b"' in err
    code, _, err = await run("publish", "order.pid", "-", "--nats", nats_server.url, stdin=b"{}")
    assert (code, "order.paid" in err) == (2, True)


def test_check_says_what_a_change_of_a_schema_means_by_the_one_in_force(tmp_path: Path) -> None:
    def written(name: str, schema: object) -> Path:
        metadata = {"name": "order", "uid": "u1", "creationTimestamp": "2026-01-01T00:00:00Z"}
        manifest = {"apiVersion": "hookline.dev/v1alpha1", "kind": "EventType", "metadata": metadata, "status": {}}
        content = {**manifest, "spec": {"event": "Order", "schema": schema}}
        (tmp_path / name).write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [content]}))
        return tmp_path / name

    new, former = written("new.yaml", {"required": ["id"]}), written("former.yaml", {})
    done = here("check", new, "--against", former)
    assert done.returncode == 1
    assert "spec.schema: Compatible=False, RefusesMore: " in done.stdout.decode()
    assert '/required asks for "id" now' in done.stdout.decode()
    assert here("check", new, "--against", new).returncode == 0
    former.write_text("kind: EventType\napiVersion: hookline.dev/v1alpha1")
    done = here("check", new, "--against", former)
    assert (done.returncode, b"--against: " in done.stderr) == (2, True)


def test_without_nats_publishing_fails_in_bounded_time_and_claims_nothing() -> None:
    started = time.monotonic()
    words = ("publish", "IdentityCreated", "-", "--nats", "nats://tok-en@127.0.0.1:1", "--wait-seconds", "1")
    done = hookline(*words, stdin=sample())
    assert time.monotonic() - started < 20
    assert (done.returncode, done.stdout) == (1, b"")
    (line,) = done.stderr.decode().splitlines()
    assert "nats://127.0.0.1:1" in line
    assert "tok-en" not in line


@pytest.mark.parametrize("known", ["nats://tok-en@127.0.0.1:99999", "garbage"])
def test_a_damaged_address_in_the_data_folder_is_told_with_its_file(known: str, tmp_path: Path) -> None:
    (tmp_path / "nats.url").write_text(known)
    done = hookline("publish", "IdentityCreated", "-", "--data", tmp_path, stdin=sample())
    (line,) = done.stderr.decode().splitlines()
    assert done.returncode == 2
    assert f"{tmp_path}/nats.url: must " in line


def test_the_samples_are_all_well() -> None:
    done = hookline("check", SAMPLES)
    assert done.returncode == 0, done.stdout
    assert b"Disabled" in done.stdout


def test_check_says_what_a_cluster_would_say(tmp_path: Path) -> None:
    file = tmp_path / "hooks.yaml"
    file.write_text(
        "apiVersion: hookline.dev/v1alpha1\n"
        "kind: Webhook\n"
        "metadata: {name: waits}\n"
        "spec:\n"
        "  url: https://example.com/\n"
        "  event: IdentityCreated\n"
        "  secretRef: {name: nowhere}\n"
        "---\n"
        "apiVersion: hookline.dev/v1alpha1\n"
        "kind: Webhook\n"
        "metadata: {name: private}\n"
        "spec: {url: 'https://10.1.2.3/', event: IdentityCreated}\n"
        "---\n"
        "apiVersion: hookline.dev/v1alpha1\n"
        "kind: Webhook\n"
        "metadata: {name: unheard}\n"
        "spec:\n"
        "  url: https://example.com/\n"
        "  event: IdentityCreate\n"
    )
    done = here("check", file, "--json")
    found = {each["object"]: each for each in json.loads(done.stdout)}
    assert done.returncode == 1
    assert "SecretNotAllowed" in found["Webhook default/waits"]["message"]
    assert "--allow-cidr 10.1.2.3/32" in found["Webhook default/private"]["message"]
    assert "IdentityCreated" in found["Webhook default/unheard"]["message"]
    assert found["Webhook default/unheard"]["line"] == 19
    file.write_text(file.read_text().replace("https://example.com/", "http://example.com/"))
    assert here("check", file).returncode == 2


@pytest.mark.timeout(200)
def test_the_demo_delivers_all_20_events_verified() -> None:
    done = hookline("demo", "--once")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(b"verified by signature") == 20
    assert b"All 20 events arrived" in done.stdout
