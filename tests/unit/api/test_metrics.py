"""What the log's API counts of its answers: whatever is asked, there is a bounded number of series."""

from __future__ import annotations

from doubles.api_users import PlayedUsers
from doubles.asgi import ask
from doubles.exposition import is_as_described, labels_told
from doubles.played_log import PlayedLog, attempt
from hookline.api.app import Api
from hookline.runtime.metrics import ApiMetrics

ROOT = "/apis/log.hookline.dev/v1alpha1"
HOSTILE = [
    "x",
    "attempts/a/b/c",
    "namespaces/y/z",
    "namespaces/team-a/attempts/a-1/secret",
    "%2e%2e",
    "attempts?labelSelector=a%3Db",
]


async def test_no_caller_makes_series_by_what_he_asks_for() -> None:
    metrics = ApiMetrics()
    app = Api(PlayedLog([attempt(1)], [], []), PlayedUsers(), tell=metrics.answered)
    await ask(app, "GET", f"{ROOT}/namespaces/team-a/attempts", user="root")
    for number, path in enumerate(HOSTILE):
        for method in ("GET", "POST", "DELETE", "PATCH", "PUT", "HEAD", f"CANARY{number}"):
            await ask(app, method, f"{ROOT}/{path}", user="root")
            await ask(app, method, f"/{path}", user=None)
    text = metrics.text().decode()
    is_as_described(text, ApiMetrics)
    assert labels_told(text)["hookline_log_api_answers_total"] == {"verb", "resource", "code"}
    assert 'verb="list"' in text
    assert "CANARY" not in text
    assert "secret" not in text
