"""The commands that show what became of deliveries, against a double of their API: on loopback, and through kubectl."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import tarfile
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from doubles.answered_api import (
    LOG,
    RESOURCES,
    TOKEN,
    Answer,
    LogApi,
    Object,
    attempt,
    dead,
    delivered,
    serving,
    waiting,
)
from doubles.command import HOOKLINE, typed
from doubles.kubectl import KubectlDouble, kubectl_double
from hookline.cli import main
from hookline.cli import plugin as plugin_module
from hookline.cli.errors import Failure, NotAchieved, WrongInput
from hookline.cli.log import attempts, replay
from hookline.cli.log.api import Denied
from hookline.cli.log.loopback import API_FILE
from hookline.events.schemas import Catalogue

PLUGIN = str(Path(HOOKLINE).with_name("kubectl-hookline"))
COMPLETION = str(Path(HOOKLINE).with_name("kubectl_complete-hookline"))

CANARY = "canary0c0ffee"


@dataclass
class Done:
    code: int
    out: str
    err: str
    failure: Failure | None = None


@pytest.fixture
def api() -> Iterator[LogApi]:
    with serving(LogApi()) as double:
        yield double


@pytest.fixture
def local(api: LogApi, tmp_path: Path) -> Callable[..., Done]:
    """A command beside `hookline run`, in this process."""
    (tmp_path / API_FILE).write_text(json.dumps({"url": api.url, "token": TOKEN}))

    def run(*words: str, stdin: str = "") -> Done:
        result = CliRunner().invoke(main.app, [*words, "--data", str(tmp_path)], input=stdin)
        failure = result.exception if isinstance(result.exception, Failure) else None
        if result.exception and failure is None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Done(failure.exit_code if failure else result.exit_code, result.stdout, result.stderr, failure)

    return run


@pytest.fixture
def kubectl(api: LogApi, tmp_path: Path) -> KubectlDouble:
    api.token = ""
    return kubectl_double(tmp_path / "bin", api.url)


@pytest.fixture
def process(kubectl: KubectlDouble) -> Callable[..., Done]:
    """A command of the plugin, as kubectl runs it."""

    def run(*words: str, environment: Mapping[str, str] | None = None, program: str = PLUGIN) -> Done:
        done = subprocess.run(
            [program, *words],
            input="",
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, **kubectl.environment, **(environment or {})},
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def plugin(kubectl: KubectlDouble) -> Callable[..., Done]:
    """As `process`, without the time that one takes to begin."""

    def run(
        *words: str,
        environment: Mapping[str, str] | None = None,
        program: Callable[[], None] = plugin_module.main,
    ) -> Done:
        done = typed(program, *words, environment={**kubectl.environment, **(environment or {})})
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


# --- lists


def test_attempts_are_listed_newest_first_and_narrowed_by_the_server(local: Callable[..., Done], api: LogApi) -> None:
    api.add("attempts", delivered(namespace="default"), attempt(namespace="default"))
    heading, newest, failed = local("attempts").out.splitlines()
    assert heading.startswith("NAME")
    assert (newest.split()[0], failed.split()[0]) == ("evt-2-1.8", "evt-1-1.7")
    narrowed = local(
        "attempts", "webhook/identity-created", "--event", "evt_1", "--reason", "HTTPStatus", "--status", "503"
    )
    assert narrowed.out.splitlines()[1].split()[0] == "evt-1-1.7"
    assert api.asked[-1][2]["fieldSelector"] == "webhook=identity-created,event=evt_1,status=503,reason=HTTPStatus"


def test_a_list_goes_on_over_pages_and_ends_at_its_limit_or_where_it_is_too_old(
    local: Callable[..., Done], api: LogApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hookline.cli.log.api.PAGE_ITEMS", 3)
    api.add("attempts", *(attempt(f"a-{each}", namespace="default", age_s=each * 60) for each in range(10)))
    assert local("attempts", "-o", "name", "--limit", "0").out.count("\n") == 10
    assert local("attempts", "-o", "name", "--limit", "5").out.count("\n") == 5
    asked = len(api.asked)
    assert local("attempts", "-o", "name", "--since", "210s").out.count("\n") == 4
    assert len(api.asked) == asked + 2, "it went on behind what is too old"


def test_all_namespaces_are_asked_for_at_once_and_shown(local: Callable[..., Done], api: LogApi) -> None:
    api.add("deliveries", waiting(), waiting(namespace="team-b"))
    heading, *rows = local("deliveries", "-A").out.splitlines()
    assert heading.startswith("NAMESPACE")
    assert [row.split()[0] for row in rows] == ["team-a", "team-b"]
    assert api.asked[-1][1] == f"{LOG}/deliveries"


def test_an_empty_list_says_so_beside_the_output(local: Callable[..., Done], api: LogApi) -> None:
    done = local("dead")
    assert (done.code, done.out, done.err) == (0, "", "No deadletters in namespace default.\n")
    assert json.loads(local("dead", "-o", "json").out)["items"] == []


@pytest.mark.parametrize("form", ["json", "yaml", "name", "wide"])
def test_lists_are_printed_for_programs_too(local: Callable[..., Done], api: LogApi, form: str) -> None:
    api.add("deadletters", dead(namespace="default"))
    out = local("dead", "list", "-o", form).out
    if form == "name":
        assert out == "deadletter.log.hookline.dev/evt-3-identity-created\n"
    elif form == "wide":
        assert "attempt 10 was the last one" in out
    else:
        assert yaml.safe_load(out)["items"][0]["reason"] == "ScheduleSpent"


def test_one_attempt_is_shown_in_full_and_nothing_in_it_steers_the_terminal(
    local: Callable[..., Done], api: LogApi
) -> None:
    answer = {
        "headers": {"server\x1b[2J": "\x07"},
        "bytes": 9,
        "body": "line\x1b]0;x\x07\nnext",
        "bodyEncoding": "utf-8",
    }
    api.add("attempts", attempt(namespace="default", answer=answer, detail="\x9b31m"))
    out = local("attempts", "attempt/evt-1-1.7").out
    assert all(each.isprintable() or each == "\n" for each in out)
    assert "lookup 1ms, connect 2ms, TLS 8ms, first byte 29ms" in out
    assert "x-app-key: (not shown)" in out
    assert "\n  line\\x1b]0;x\\x07\n  next\n" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["attempts", "pod/x"], "webhook/NAME"),
        (["attempts", "webhook/UPPER"], "lower-case"),
        (["attempts", "--reason", "a,b"], "--reason"),
        (["attempts", "--status", "bad"], "--status"),
        (["attempts", "--since", "soon"], "--since"),
        (["attempts", "-n", ".."], "is no name"),
        (["attempts", "attempt/x", "-A"], "-n"),
        (["dead", "replay", "pod/x"], "deadletter/NAME"),
        (["dead", "drop", "x", "-A", "--yes"], "-n"),
        (["replay", "x", "--only-failed", "--source", "dead"], "--only-failed"),
        (["replay"], "webhook/NAME"),
        (["replay", "x", "-l", "team=a"], "--selector"),
        (["replay", "--selector", "team!=a"], "LABEL=VALUE"),
        (["test", "x", "-A"], "-n"),
    ],
)
def test_wrong_input_is_told_before_anybody_is_asked(
    local: Callable[..., Done], api: LogApi, words: list[str], said: str
) -> None:
    done = local(*words)
    assert isinstance(done.failure, WrongInput)
    assert said in str(done.failure)
    assert api.asked == []


# --- follow


def test_attempts_are_followed_from_the_list_on_over_watches_that_end(
    local: Callable[..., Done], api: LogApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    def event(name: str, version: str, kind: str = "ADDED") -> Object:
        found = attempt(name, namespace="default")
        return {"type": kind, "object": {**found, "metadata": {**found["metadata"], "resourceVersion": version}}}

    monkeypatch.setattr(attempts, "AGAIN_SECONDS", 0)
    api.add("attempts", attempt("b", namespace="default"), attempt("a", namespace="default"))
    expired = {"type": "ERROR", "object": {"kind": "Status", "reason": "Expired", "message": "too old"}}
    refused = {"type": "ERROR", "object": {"kind": "Status", "reason": "Forbidden", "message": "not any more"}}
    api.watched = [
        [event("c", "8"), event("-", "9", "BOOKMARK")],
        [event("d", "10")],
        [expired],
        [event("e", "11")],
        [refused],
    ]
    done = local("attempts", "-w", "-o", "name")
    assert isinstance(done.failure, Denied)
    assert "not any more" in str(done.failure)
    assert [line.rpartition("/")[2] for line in done.out.splitlines()] == ["a", "b", "c", "d", "e"]
    watches = [query["resourceVersion"] for _, _, query in api.asked if "watch" in query]
    assert watches == ["7", "9", "10", "7", "11"]
    assert "were missed" in done.err


def test_following_ends_with_ctrl_c_and_without_a_word(api: LogApi, tmp_path: Path) -> None:
    (tmp_path / API_FILE).write_text(json.dumps({"url": api.url, "token": TOKEN}))
    with subprocess.Popen(
        [HOOKLINE, "attempts", "-w", "--data", str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        until(lambda: any("watch" in query for _, _, query in api.asked))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "")
    assert out.startswith("NAME")


# --- dead letters


def test_single_dead_letters_are_sent_again_or_dropped_and_each_failure_is_told(
    local: Callable[..., Done], api: LogApi
) -> None:
    api.add("deadletters", dead("one", namespace="default"), dead("two", namespace="default"))
    api.answers[f"{LOG}/namespaces/default/deadletters/gone/replay"] = Answer(404, "NotFound", '"gone" not found')
    done = local("dead", "replay", "deadletter.log.hookline.dev/one", "gone", "dl/two")
    assert isinstance(done.failure, NotAchieved)
    assert str(done.failure) == "1 of 3 dead letters were left as they are"
    assert done.out.splitlines() == [f"deadletter/{name} is queued to be sent again" for name in ("one", "two")]
    assert api.posted[0][0] == f"{LOG}/namespaces/default/deadletters/one/replay"
    assert local("dead", "drop", "one", "--yes").out == "deadletter/one is dropped\n"
    assert local("dead", "-o", "name").out == "deadletter.log.hookline.dev/two\n"


@pytest.mark.parametrize("answer", ["n\n", ""])
def test_nothing_is_dropped_unless_a_person_says_yes(local: Callable[..., Done], api: LogApi, answer: str) -> None:
    api.add("deadletters", dead(namespace="default"))
    done = local("dead", "drop", "evt-3-identity-created", stdin=answer)
    assert "nothing was dropped" in str(done.failure)
    assert not any(method == "DELETE" for method, _, _ in api.asked)
    assert local("dead", "drop", "evt-3-identity-created", stdin="y\n").code == 0


# --- test, replay


def test_a_test_shows_the_attempt_and_its_exit_code_says_whether_it_arrived(
    local: Callable[..., Done], api: LogApi
) -> None:
    made = {**delivered(), "test": True}
    api.on_post = lambda _, body: {**body, "status": {"attempt": made}}
    done = local("test", "webhook/identity-created", "--event-type", "IdentityDeleted")
    assert done.code == 0
    assert "204 Delivered in 41ms" in done.out
    ((path, body),) = api.posted
    assert path == f"{LOG}/namespaces/default/webhooktests"
    assert body["spec"] == {"webhook": "identity-created", "eventType": "IdentityDeleted"}
    made.update(attempt())
    done = local("test", "identity-created", "-o", "json")
    assert str(done.failure) == "not delivered: HTTPStatus"
    assert json.loads(done.out)["status"]["attempt"]["status"] == 503


def replaying(api: LogApi, *stages: Object) -> None:
    """A Replay goes through these stages, one each time that it is looked at."""
    left = list(stages)

    def made(path: str, body: Object) -> Object:
        found = dict(body)
        api.objects[path] = [found]
        api.on_get = lambda: found.update(status=left.pop(0) if len(left) > 1 else left[0])
        return body

    api.on_post = made


def test_a_replay_is_waited_for_and_its_end_is_the_exit_code(
    local: Callable[..., Done], api: LogApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "LOOK_SECONDS", 0)
    replaying(
        api, {"phase": "Pending"}, {"phase": "Running", "found": 2}, {"phase": "Complete", "found": 2, "replayed": 2}
    )
    done = local("replay", "webhook/identity-created", "--since", "2h")
    ((path, body),) = api.posted
    assert path == f"{RESOURCES}/namespaces/default/replays"
    assert (body["kind"], body["spec"]["source"]) == ("Replay", "DeadLetters")
    name = body["metadata"]["name"]
    assert (done.code, done.out) == (0, f"replay/{name}: Complete: found 2, sent 2\n")
    conditions = [
        {"type": "Failed", "status": "True", "reason": "WebhookNotFound", "message": "there is no such Webhook"}
    ]
    replaying(api, {"phase": "Failed", "conditions": conditions})
    done = local("replay", "gone")
    assert done.code == 1
    assert str(done.failure).endswith("failed: there is no such Webhook")


def test_a_replay_is_followed_over_an_answer_that_did_not_come_and_not_over_a_refusal(
    local: Callable[..., Done], api: LogApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "LOOK_SECONDS", 0)
    answers = [Answer(503, "ServiceUnavailable", "not now"), Answer(504, text="<html>"), None]

    def made(path: str, body: Object) -> Object:
        place = f"{path}/{body['metadata']['name']}"
        api.objects[path] = [{**body, "status": {"phase": "Complete"}}]
        api.answers[place] = answers[0] or Answer(200)

        def later() -> None:
            answers.pop(0)
            if answers[0] is None:
                api.answers.pop(place)
            else:
                api.answers[place] = answers[0]

        api.on_refused = later
        return body

    api.on_post = made
    assert local("replay", "x").code == 0
    assert answers == [None]
    answers[:] = [Answer(403, "Forbidden", "not any more"), None]
    done = local("replay", "x")
    assert (done.code, str(done.failure).partition(" ")[2]) == (1, "goes on, but cannot be followed: not any more")


def test_a_replay_that_is_not_waited_for_says_how_to_follow_it(local: Callable[..., Done], api: LogApi) -> None:
    done = local("replay", "identity-created", "--no-wait", "-n", "team-a")
    assert "is made; follow what it sends with: hookline attempts -w -n team-a --data" in done.out
    assert local("replay", "identity-created", "--no-wait", "-o", "name").out.startswith(
        "replay.hookline.dev/identity-created-"
    )


def test_ctrl_c_leaves_a_replay_running_and_says_so(api: LogApi, tmp_path: Path) -> None:
    (tmp_path / API_FILE).write_text(json.dumps({"url": api.url, "token": TOKEN}))
    replaying(api, {"phase": "Running"})
    with subprocess.Popen(
        [HOOKLINE, "replay", "identity-created", "--data", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        until(lambda: sum("/replays/" in path for _, path, _ in api.asked) > 0)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "goes on; follow what it sends with: hookline attempts -w" in err
    assert not any(method == "DELETE" for method, _, _ in api.asked)


# --- no, and nobody


def test_without_a_hookline_run_it_says_so(tmp_path: Path) -> None:
    done = subprocess.run([HOOKLINE, "attempts", "--data", str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"hookline: no `hookline run` works on {tmp_path}")
    (tmp_path / API_FILE).write_text('{"url": "http://127.0.0.1:1", "token": "x"}')
    result = CliRunner().invoke(main.app, ["attempts", "--data", str(tmp_path)])
    assert isinstance(result.exception, WrongInput)
    assert str(result.exception).startswith(f"no `hookline run` works on {tmp_path}")


def test_a_refusal_is_one_line(local: Callable[..., Done], api: LogApi) -> None:
    api.answers[f"{LOG}/namespaces/default/attempts"] = Answer(403, "Forbidden", "you may not \x1b[2J list")
    done = local("attempts")
    assert (done.code, str(done.failure)) == (1, "you may not \\x1b[2J list")


def test_an_answer_that_is_none_of_this_api_is_a_failure(local: Callable[..., Done], api: LogApi) -> None:
    for code, text in ((200, "<html>"), (502, "<html>"), (200, "[]"), (200, "[" * 100_000), (200, '{"items": 5}')):
        api.answers[f"{LOG}/namespaces/default/attempts"] = Answer(code, text=text)
        done = local("attempts")
        assert isinstance(done.failure, Denied) or done.err == "No attempts in namespace default.\n"


def test_a_fault_of_ours_is_a_line_that_says_where_it_is(
    local: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError(CANARY)

    monkeypatch.setattr("hookline.cli.log.attempts.print_items", broken)
    done = local("attempts")
    assert done.code == 1
    assert "itself: KeyError at " in str(done.failure)
    assert CANARY not in str(done.failure)


def test_whoever_reads_the_output_may_stop_early(api: LogApi, tmp_path: Path) -> None:
    (tmp_path / API_FILE).write_text(json.dumps({"url": api.url, "token": TOKEN}))
    api.add("attempts", *(attempt(f"a-{each}", namespace="default") for each in range(200)))
    command = f"{HOOKLINE} attempts --limit 0 -o json --data {tmp_path} | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("{\n", "")


# --- through kubectl


def test_the_plugin_asks_kubectl_with_the_options_that_were_typed(
    process: Callable[..., Done], kubectl: KubectlDouble, api: LogApi
) -> None:
    api.add("attempts", attempt())
    done = process("--context", "prod", "attempts", "--as=alice", "--as-group", "a", "-n", "team-a", "--token", "t")
    assert (done.code, done.err) == (0, "")
    assert "evt-1-1.7" in done.out
    (call,) = kubectl.calls
    assert call[:2] == ["get", "--raw"]
    assert call[2].startswith(f"{LOG}/namespaces/team-a/attempts?")
    assert sorted(call[3:]) == ["--as-group=a", "--as=alice", "--context=prod", "--token=t"]


def test_without_a_namespace_that_of_the_context_counts(
    plugin: Callable[..., Done], kubectl: KubectlDouble, api: LogApi
) -> None:
    api.add("deadletters", dead())
    assert "evt-3" in plugin("dead", "--kubeconfig", "/k").out
    view, get = kubectl.calls
    assert (view[:3], view[-1]) == (["config", "view", "--minify"], "--kubeconfig=/k")
    assert "/namespaces/team-a/" in get[2]


def test_what_kubectl_fails_with_is_one_line_and_its_exit_code(
    process: Callable[..., Done], plugin: Callable[..., Done]
) -> None:
    done = process("attempts", "-n", "x", environment={"DOUBLE_FAILS": "7"})
    assert (done.code, done.out) == (7, "")
    assert done.err == 'kubectl hookline: context "x" does not exist\n'
    done = plugin("attempts", "-n", "x", environment={"PATH": "/nowhere"})
    assert done.code == 1
    assert "kubectl is not on the PATH" in done.err


def test_what_kubectl_tells_a_person_meanwhile_is_passed_on(plugin: Callable[..., Done], api: LogApi) -> None:
    api.add("attempts", attempt())
    done = plugin("attempts", "-n", "team-a", environment={"DOUBLE_WARNS": "To sign in, open https://login\x1b[2J\n"})
    assert (done.code, done.err) == (0, "To sign in, open https://login\\x1b[2J\n")


def test_bodies_go_to_kubectl_by_its_input(plugin: Callable[..., Done], kubectl: KubectlDouble, api: LogApi) -> None:
    api.add("deadletters", dead("one"))
    assert plugin("dead", "replay", "one", "-n", "team-a").code == 0
    assert plugin("dead", "drop", "one", "-n", "team-a", "--yes").out == "deadletter/one is dropped\n"
    create, delete = kubectl.calls
    assert create == ["create", "--raw", f"{LOG}/namespaces/team-a/deadletters/one/replay", "-f", "-"]
    assert delete == ["delete", "--raw", f"{LOG}/namespaces/team-a/deadletters/one"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_plugin_ends_its_kubectl_when_it_is_ended(
    kubectl: KubectlDouble, api: LogApi, number: signal.Signals, code: int
) -> None:
    """By a signal that reaches it alone, as from `timeout` or a supervisor."""
    with subprocess.Popen(
        [PLUGIN, "attempts", "-w", "-n", "team-a"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **kubectl.environment},
    ) as process:
        until(lambda: any("watch" in query for _, _, query in api.asked))
        assert kubectl.is_running
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (code, "")
    assert not kubectl.is_running


# --- completion, help


def test_a_shell_completes_commands_options_and_webhooks(
    process: Callable[..., Done], plugin: Callable[..., Done], api: LogApi
) -> None:
    labels = {"team": "a", "tier": "gold"}
    webhook = {"metadata": {"name": "identity-created", "namespace": "team-a", "labels": labels}}
    api.add("webhooks", webhook, root=RESOURCES)
    complete = plugin_module.complete
    assert "attempts\tShow each call" in process("", program=COMPLETION).out
    assert "--only-failed\t" in plugin("replay", "--only", program=complete).out
    done = process("attempts", "-n", "team-a", "webh", program=COMPLETION)
    assert done.out == "webhook/identity-created\n:4\n"
    assert plugin("test", "--context", "c", "ident", program=complete).out == "identity-created\n:4\n"
    assert plugin("replay", "-n", "team-a", "-l", "te", program=complete).out == "team=a\n:4\n"
    done = plugin("replay", "-n", "team-a", "--selector", "team=a,ti", program=complete)
    assert done.out == "team=a,tier=gold\n:4\n"
    api.answers[f"{RESOURCES}/namespaces/team-a/webhooks"] = Answer(403, "Forbidden")
    for words in (("attempts", "-n", "team-a", "webh"), ("replay", "-n", "team-a", "-l", "te")):
        done = plugin(*words, program=complete)
        assert (done.code, done.out.strip(), done.err) == (0, ":4", "")


# --- status, bundle


def dispatcher(**more: str) -> Object:
    conditions = [
        {"type": "Ready", "status": "False", "reason": "NATSUnreachable", "message": "no server answers"},
        {"type": "QueueReady", "status": "False", "reason": "NATSUnreachable", "message": "no server answers"},
        {"type": "Accepted", "status": "True", "reason": "Accepted", "message": ""},
    ]
    return {
        "metadata": {"name": "default", "namespace": "hookline-system"},
        "spec": {"nats": {"url": f"nats://u:{CANARY}@nats:4222"}, "attempts": {"enabled": False}},
        "status": {"conditions": conditions, "routes": 3},
    }


def webhook(name: str, *, failing: bool) -> Object:
    trouble = {
        "type": "Delivering",
        "status": "False",
        "reason": "EndpointFailing",
        "message": "calls fail since 12:00",
    }
    return {
        "metadata": {"name": name, "namespace": "team-a"},
        "spec": {
            "url": f"https://receiver.example.com/?t={CANARY}",
            "headers": [{"name": "X-Key", "value": f"{CANARY}-header"}],
        },
        "status": {"conditions": [{"type": "Ready", "status": "True"}, *([trouble] if failing else [])]},
    }


def pod(name: str) -> Object:
    return {
        "metadata": {"name": name, "namespace": "hookline-system", "labels": {"app.kubernetes.io/component": "sender"}},
        "spec": {"containers": [{"env": [{"name": "A", "value": CANARY}]}]},
        "status": {"conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": [{"restartCount": 2}]},
    }


PODS = "/api/v1/namespaces/hookline-system/pods"


def installation(api: LogApi) -> None:
    api.add("dispatchers", dispatcher(), root=RESOURCES)
    api.add("webhooks", webhook("good", failing=False), webhook("bad", failing=True), root=RESOURCES)
    api.add("deliveries", waiting())
    api.add("deadletters", dead(answer={"body": CANARY}, headers={"x": CANARY}))
    api.add("attempts", attempt(answer={"body": CANARY, "headers": {"set-cookie": CANARY}, "bytes": 1}))
    api.objects[PODS] = [pod("sender-1")]
    metrics = 'hookline_oldest_waiting_seconds{stream="parked"} 90\nhookline_queue_connected 1\n'
    api.answers[f"{PODS}/sender-1%3A8080/proxy/metrics"] = Answer(200, text=metrics)
    api.answers[f"{PODS}/sender-1/log"] = Answer(200, text=f'{{"url":"https://x/?{CANARY}"}}\n{CANARY}-header said\n')
    api.answers["/version"] = Answer(200, text='{"gitVersion": "v1.37.2"}')


def test_status_shows_what_is_not_well_and_what_may_not_be_seen(plugin: Callable[..., Done], api: LogApi) -> None:
    installation(api)
    done = plugin("status", "-n", "team-a")
    assert done.code == 0
    for said in (
        "Dispatcher hookline-system/default: not ready: NATSUnreachable, 3 Webhooks",
        "  QueueReady False: NATSUnreachable: no server answers",
        "  Attempts log: off",
        "Pods ready: sender 1 of 1 (2 restarts)",
        "Lag: the oldest that waits, waits for 90s",
        "Webhooks: 2, 1 not delivering",
        "  team-a/bad: EndpointFailing: calls fail since 12:00",
        "Waiting: 1 (1 scheduled), the oldest for 6",
        "Dead letters: 1 (1 ScheduleSpent)",
        "Calls of the last minute: 1, 1 failed",
    ):
        assert said in done.out, done.out
    api.answers[f"{RESOURCES}/dispatchers"] = Answer(403, "Forbidden", "dispatchers is forbidden")
    done = plugin("status", "-n", "team-a", "-o", "json")
    report = json.loads(done.out)
    assert done.code == 0
    assert report["notSeen"] == [{"what": "Dispatchers", "why": "dispatchers is forbidden"}]


def test_status_fails_only_if_nobody_can_be_asked(plugin: Callable[..., Done]) -> None:
    done = plugin("status", "-n", "team-a", environment={"DOUBLE_FAILS": "1"})
    assert (done.code, done.out) == (1, "")


def test_a_bundle_has_no_secret_and_no_body_and_says_what_was_left_out(
    plugin: Callable[..., Done], api: LogApi, tmp_path: Path
) -> None:
    installation(api)
    file = tmp_path / "bundle.tar.gz"
    done = plugin("bundle", str(file), "-n", "team-a")
    assert done.code == 0
    assert file.stat().st_mode & 0o777 == 0o600
    with tarfile.open(file) as tar:
        files = {each.name: tar.extractfile(each).read().decode() for each in tar.getmembers()}  # type: ignore[union-attr]
    assert all(CANARY not in content for content in files.values()), [n for n, c in files.items() if CANARY in c]
    names = {name.removeprefix("hookline-bundle/") for name in files}
    assert names >= {
        "README.txt",
        "versions.json",
        "status.json",
        "resources/webhooks.json",
        "log/attempts.json",
        "pods/hookline-system.json",
        "logs/sender-1.log",
        "metrics/sender-1.txt",
    }
    assert "Events of team-a: not found" in files["hookline-bundle/README.txt"]
    assert "said" in files["hookline-bundle/logs/sender-1.log"], "more was taken out than the secret"
    assert not any("secrets" in path or "configmaps" in path for _, path, _ in api.asked)


def test_top_prints_a_table_once_where_there_is_no_terminal(plugin: Callable[..., Done], api: LogApi) -> None:
    installation(api)
    done = plugin("top", "-n", "team-a", environment={"COLUMNS": "80"})
    assert done.code == 0
    heading, row, _ = done.out.splitlines()
    assert heading.split() == ["WEBHOOK", "CALLS/S", "FAILED", "LAST", "P50", "P99", "WAITING"]
    assert row.split() == ["identity-created", "0.02", "1", "503", "41ms", "41ms", "1"]


def test_top_is_live_on_a_terminal_and_leaves_it_as_it_was(kubectl: KubectlDouble, api: LogApi) -> None:
    installation(api)
    terminal, its_end = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        [PLUGIN, "top", "-n", "team-a"],
        stdin=its_end,
        stdout=its_end,
        stderr=its_end,
        env={**os.environ, **kubectl.environment, "TERM": "xterm"},
    )
    os.close(its_end)
    seen, is_told = b"", False
    with contextlib.suppress(OSError):  # as Linux says that nobody has it open any more
        while part := os.read(terminal, 65536):
            seen += part
            if b"identity-created" in seen and not is_told:
                is_told = True
                process.send_signal(signal.SIGINT)
    os.close(terminal)
    assert process.wait(20) == 0
    assert b"Traceback" not in seen
    assert seen.rstrip().endswith(b"\x1b[?1049l"), "the screen of before is not back"
    until(lambda: not kubectl.is_running)


def test_event_types_of_the_cluster_stand_beside_the_built_in_ones(plugin: Callable[..., Done], api: LogApi) -> None:
    order = {"event": "OrderPlaced", "schema": {"type": "object"}, "sample": {"a": 1}}
    api.objects[f"{RESOURCES}/eventtypes"] = [{"metadata": {"name": "orderplaced"}, "spec": order}]
    listed = plugin("events", "list").out
    assert len(listed.splitlines()) == 1 + len(Catalogue().names()) + 1
    assert ["OrderPlaced", "cluster"] in [line.split()[:2] for line in listed.splitlines()]
    assert json.loads(plugin("events", "schema", "OrderPlaced").out) == {"type": "object"}
    assert json.loads(plugin("events", "sample", "OrderPlaced").out) == {"a": 1}
    api.answers[f"{RESOURCES}/eventtypes"] = Answer(403, "Forbidden", "you may not list eventtypes")
    done = plugin("events", "sample", "IdentityCreated")
    assert "AccountId" in json.loads(done.out)
    assert done.err == "Only the built-in event types are known here: you may not list eventtypes\n"


def until(holds: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)
