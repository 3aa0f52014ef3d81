"""A person with a namespace's `edit` and nothing else: did my receiver get it, when, and what did it answer."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from controlplane.kubectl import Kubectl
from doubles.receiver import TlsReceiver
from e2e.cluster import SYSTEM
from e2e.team import EVENT, Team, allow_receiver, until
from hookline.control.kinds import API_SERVICE_NAME
from hookline.stream.publish import Publisher

pytestmark = pytest.mark.timeout(400)

ROOT = "/apis/log.hookline.dev/v1alpha1"
WATCH_SECONDS = 15


class Editor:
    """Asks as kubectl does, with the role `edit` of one namespace."""

    def __init__(self, kubectl: Kubectl, namespace: str) -> None:
        self._kubectl = kubectl
        self.namespace = namespace
        kubectl.ok("create", "rolebinding", "editor", "--clusterrole=edit", "--user=editor", "-n", namespace)

    def ok(self, *words: str) -> str:
        return self._kubectl.ok(*words, "-n", self.namespace, user="editor")

    def posts(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """To a part of the log's API that is no object."""
        full = f"{ROOT}/namespaces/{self.namespace}/{path}"
        words = ("create", "--raw", full, "-f", "-")
        return json.loads(self._kubectl.ok(*words, stdin=json.dumps(body or {}), user="editor"))

    def apply(self, manifest: dict[str, Any]) -> None:
        words = ("apply", "-n", self.namespace, "-f", "-")
        self._kubectl.ok(*words, stdin=json.dumps(manifest), user="editor")

    def refused(self, *words: str) -> bool:
        return "Forbidden" in self._kubectl(*words, user="editor").stderr

    def listed(self, what: str, *words: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.ok("get", what, *words, "-o", "json"))["items"]
        return found

    def of_event(self, what: str, event_id: str) -> list[dict[str, Any]]:
        return [each for each in self.listed(what) if each["event"]["id"] == event_id]

    async def watched(self, *words: str) -> str:
        """What `kubectl get … --watch-only` prints until it is ended."""
        ended = f"--request-timeout={WATCH_SECONDS}s"
        words = ("get", *words, "--watch-only", ended, "-n", self.namespace)
        return (await asyncio.to_thread(self._kubectl, *words, user="editor")).stdout


async def test_with_edit_and_nothing_else_one_sees_what_became_of_deliveries(
    installed: Kubectl, namespace: str, receiver: TlsReceiver, publisher: Publisher
) -> None:
    allow_receiver(installed, SYSTEM)
    installed.ok("wait", f"apiservice/{API_SERVICE_NAME}", "--for=condition=Available", "--timeout=120s", seconds=130)
    installed.ok(
        "wait", "dispatcher/default", "-n", SYSTEM, "--for=condition=LogApiAvailable", "--timeout=60s", seconds=70
    )
    editor = Editor(installed, namespace)
    team = Team(installed, namespace, receiver, publisher)
    receiver.answers |= {"/spent": 503, "/waits": 503}
    team.listens("orders", "/orders")
    for name, schedule in (("spent", []), ("waits", [3600])):
        hook = team.webhook(name, f"/{name}", secret="signing")
        team.apply({**hook, "spec": {**hook["spec"], "retry": {"scheduleSeconds": schedule}}})
        team.ready(name)
    event = await team.publish()

    await until(lambda: len(editor.of_event("attempts", event)) == 3, what="three attempts in the log")
    attempts = {each["webhook"]["name"]: each for each in editor.of_event("attempts", event)}
    assert {name: each["status"] for name, each in attempts.items()} == {"orders": 200, "spent": 503, "waits": 503}
    header, *rows = editor.ok("get", "attempts").splitlines()
    columns = ["NAME", "WEBHOOK", "EVENT", "ATTEMPT", "STATUS", "REASON", "DURATION", "NEXT", "AGE"]
    assert header.split() == columns
    assert len(rows) == 3
    assert "URL" in editor.ok("get", "attempts", "-o", "wide").splitlines()[0]
    name = attempts["orders"]["metadata"]["name"]
    assert editor.ok("get", "attempts", "-o", "name", "-l", "hookline.dev/webhook=orders").split() == [
        f"attempt.log.hookline.dev/{name}"
    ]
    assert len(editor.listed("attempts", "--field-selector=status=503")) == 2
    described = editor.ok("describe", "attempt", name)
    assert receiver.url("/orders") in described
    assert EVENT in described

    # What is not done yet, and what was given up.
    await until(lambda: bool(editor.of_event("deliveries", event)), what="the delivery that waits")
    (waiting,) = editor.of_event("deliveries", event)
    assert (waiting["webhook"]["name"], waiting["state"]) == ("waits", "Scheduled")
    await until(lambda: bool(editor.of_event("deadletters", event)), what="the dead letter")
    (letter,) = editor.of_event("deadletters", event)
    assert letter["webhook"]["name"] == "spent"

    # Live.
    watching = asyncio.create_task(editor.watched("attempts", "-l", "hookline.dev/webhook=orders"))
    while not watching.done():
        await team.publish()
        await asyncio.sleep(1)
    assert "orders" in await watching

    # Nothing of others, and no body.
    path = f"{ROOT}/namespaces/{namespace}/attempts/{name}/body"
    for words in (("get", "attempts", "-A"), ("get", "attempts", "-n", SYSTEM), ("get", "--raw", path)):
        assert editor.refused(*words), words
    assert json.loads(installed.ok("get", "--raw", path)) == {"n": 1}

    # Called with the sample of its event.
    test = {"apiVersion": "log.hookline.dev/v1alpha1", "kind": "WebhookTest", "spec": {"webhook": "orders"}}
    tested = await asyncio.to_thread(editor.posts, "webhooktests", test)  # the receiver answers meanwhile
    assert tested["status"]["attempt"]["status"] == 200, tested
    assert [each for each in receiver.at("/orders") if each.headers.get("hookline-test") == "true"]

    # Sent again: one dead letter, and what failed of a time.
    receiver.answers.clear()
    await asyncio.to_thread(editor.posts, f"deadletters/{letter['metadata']['name']}/replay")
    await until(lambda: replayed(receiver, "/spent", event), what="the dead letter, sent again")
    editor.apply(replay("again", {"webhook": {"name": "waits"}, "source": "Events", "ids": [event]}))
    await asyncio.to_thread(editor.ok, "wait", "replay/again", "--for=condition=Complete", "--timeout=60s")
    await until(lambda: replayed(receiver, "/waits", event), what="the event, sent again")

    # One that is not wanted any more.
    receiver.answers["/spent"] = 503
    unwanted = await team.publish()
    await until(lambda: bool(editor.of_event("deadletters", unwanted)), what="another dead letter")
    editor.ok("delete", "deadletter", editor.of_event("deadletters", unwanted)[0]["metadata"]["name"])
    await until(lambda: not editor.of_event("deadletters", unwanted), what="the end of the dead letter")

    # A namespace goes, whatever of it is in the log.
    installed.ok("delete", "namespace", namespace, "--timeout=90s", seconds=100)


def replayed(receiver: TlsReceiver, path: str, event_id: str) -> bool:
    return any(each.event_id == event_id and "hookline-replay" in each.headers for each in receiver.at(path))


def replay(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "hookline.dev/v1alpha1", "kind": "Replay", "metadata": {"name": name}, "spec": spec}
