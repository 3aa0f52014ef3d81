from __future__ import annotations

import json
from typing import Any

import pytest

from doubles.answered_api import attempt, dead
from hookline.cli.log.redaction import event_summary, pod_summary, redacted, secrets_of, without_secrets

CANARY = "canary0c0ffee"

WEBHOOK: dict[str, Any] = {
    "metadata": {
        "name": "hook",
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": f'{{"url":"https://x?{CANARY}"}}'},
        "managedFields": [{"fieldsV1": CANARY}],
    },
    "spec": {
        "url": f"https://u:{CANARY}@receiver.example.com/hooks?token={CANARY}-q#{CANARY}",
        "headers": [
            {"name": "X-Api-Key", "value": f"{CANARY}-h"},
            {"name": "Y", "valueFrom": {"secretKeyRef": {"name": "s"}}},
        ],
        "proxy": f"http://{CANARY}@proxy:3128",
    },
    "status": {"conditions": [{"type": "Ready", "message": f"https://x.example/?{CANARY}"}]},
}


@pytest.mark.parametrize(
    "found",
    [
        WEBHOOK,
        attempt(
            url=f"https://x?{CANARY}",
            answer={"headers": {"set-cookie": CANARY}, "body": CANARY, "bytes": 9},
            request={"headers": {"x-api-key": CANARY}, "bytes": 1},
        ),
        dead(answer={"body": CANARY}, headers={"X-Api-Key": CANARY}, body=CANARY),
        {"spec": {"event": "Order", "schema": {"default": CANARY}, "sample": {"a": CANARY}}},
        {"spec": {"nats": {"url": f"nats://u:{CANARY}@nats:4222, nats://{CANARY}@b"}}},
        {"spec": {"tls": {"caBundle": CANARY}}},
    ],
)
def test_no_secret_and_no_body_of_an_object_is_left(found: dict[str, Any]) -> None:
    assert CANARY not in json.dumps(without_secrets(found))


def test_what_helps_is_left() -> None:
    left = without_secrets(WEBHOOK)
    assert left["metadata"]["name"] == "hook"
    assert left["spec"]["url"].endswith("@receiver.example.com/hooks?[taken out]")
    assert left["spec"]["headers"][1] == {"name": "Y", "valueFrom": {"secretKeyRef": {"name": "s"}}}
    assert without_secrets(attempt())["answer"] == {"bytes": 9, "bodyEncoding": "utf-8", "headers": ["content-type"]}


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {CANARY}",
        f'{{"token": "{CANARY} x"}}',
        f"password={CANARY} next",
        f"whsec_{CANARY}",
        f"whsk_{CANARY}",
        f"GET https://a.example/b?{CANARY}",
        f"nats://u:{CANARY}@nats:4222",
        f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----",
        f"eyJhbGciOi.{CANARY}.sig",
        "SU" + "A2" * 28 + f" secret: {CANARY}",
        f"x-app-key: {CANARY}",
    ],
)
def test_what_looks_like_a_secret_is_taken_out_of_a_text(text: str) -> None:
    left = redacted(text)
    assert CANARY not in left
    assert "[taken out]" in left
    assert "A2A2" not in left


def test_lines_without_a_secret_are_left_as_they_are() -> None:
    line = '{"level": "info", "event": "delivered", "url": "https://a.example/b", "status": 204, "event_id": "evt_1"}'
    assert redacted(line) == line


def test_what_a_webhook_holds_is_taken_out_of_texts_in_all_its_spellings() -> None:
    odd = "p/4 ss+\nword"
    webhook = {"spec": {"headers": [{"value": odd}], "url": f"https://a/?k={CANARY}"}}
    left = redacted(f"a {odd} b p%2F4%20ss%2B%0Aword c p/4 ss+\\nword d {CANARY}", secrets_of([webhook]))
    assert left == "a [taken out] b [taken out] c [taken out] d [taken out]"


def test_of_pods_and_events_only_what_is_known_to_be_harmless_is_kept() -> None:
    pod = {
        "metadata": {"name": "p", "namespace": "n", "annotations": {"a": CANARY}},
        "spec": {"containers": [{"env": [{"value": CANARY}], "command": [CANARY]}], "nodeName": "node"},
        "status": {"containerStatuses": [{"name": "c", "restartCount": 3, "image": "i", "state": {"running": {}}}]},
    }
    event = {"metadata": {"annotations": {"a": CANARY}}, "note": f"token={CANARY}", "regarding": {"name": "hook"}}
    assert CANARY not in json.dumps([pod_summary(pod), event_summary(event)])
    assert pod_summary(pod)["containers"][0]["restartCount"] == 3


@pytest.mark.parametrize(
    "piece",
    ["a", "a-", "a://", "eyJ-", "-----BEGIN A", "token", "token=", 'token="', "bearer ", "https://a?", '"\\', "://@"],
)
def test_hostile_text_costs_little(piece: str) -> None:
    """With a repeat that has no bound, 300,000 characters take minutes; so the timeout of tests is the measure."""
    redacted(piece * (300_000 // len(piece)))
