"""What manifests/monitoring has: alerts that fire when they should and not otherwise, each with its runbook, and no
name of a metric, a label or a word that a process does not have."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane import sessions
from hookline.control.kinds import API, labels_of, labels_of_installation
from hookline.delivery.policy import retry
from hookline.delivery.process import _DEATHS, _PARKINGS
from hookline.gateway.problem import Kind
from hookline.runtime.metrics import ORIGINS, Metrics
from hookline.stream.queue_problem import QueueReason

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "manifests" / "monitoring"
RULES = yaml.safe_load((MONITORING / "prometheus-rule.yaml").read_text())["spec"]
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text())
RUNBOOKS = (ROOT / "docs" / "runbooks.md").read_text()
ALERTS = {rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule}
RECORDED = {rule["record"]: rule for group in RULES["groups"] for rule in group["rules"] if "record" in rule}

TARGET = {"namespace", "pod", "job", "dispatcher"}
"""Labels that a scrape adds (docs/monitoring.md)."""
STREAMS = {"events", "deliveries", "parked", "backlog", "dead", "attempts"}
WORDS = {
    "reason": {*map(str, retry.Reason), *_DEATHS, *_PARKINGS, *map(str, QueueReason)},
    "verdict": {"stored", "repeat", *(kind.slug for kind in Kind)},
    "stream": STREAMS,
    "origin": set(ORIGINS),
}

D = 'namespace="h",dispatcher="d"'
SENDER, OTHER, GATEWAY = (f'{D},pod="{pod}"' for pod in ("s-1", "s-2", "g-1"))
OF_D = {"namespace": "h", "dispatcher": "d"}
OLDEST, DEAD = "hookline_oldest_waiting_seconds", "hookline_dead_letters_total"
ATTEMPTS, VERDICTS = "hookline_attempts_total", "hookline_gateway_verdicts_total"
DISK, DISK_LIMIT = "hookline_nats_disk_bytes", "hookline_nats_disk_limit_bytes"


@dataclass(frozen=True)
class Case:
    """Series by what promtool calls values, one a minute; when it is looked; the labels of what fires, if anything
    does."""

    series: dict[str, str]
    at: str
    fires: dict[str, str] | None = None


CASES: dict[str, list[Case]] = {
    "HooklineNothingDelivered": [
        Case(
            {f'{OLDEST}{{{SENDER},stream="events"}}': "0+60x40", f'{ATTEMPTS}{{{SENDER},reason="Delivered"}}': "7x40"},
            "20m",
            {**OF_D, "stream": "events"},
        ),
        Case(
            {
                f'{OLDEST}{{{SENDER},stream="events"}}': "0+60x40",
                f'{ATTEMPTS}{{{SENDER},reason="Delivered"}}': "0+1x40",
            },
            "20m",
        ),
        Case(
            {f'{OLDEST}{{{SENDER},stream="parked"}}': "0+60x40", f'{ATTEMPTS}{{{SENDER},reason="Delivered"}}': "7x40"},
            "20m",
        ),
    ],
    "HooklineEventsWaitTooLong": [
        Case({f'{OLDEST}{{{SENDER},stream="backlog"}}': "0+60x40"}, "25m", {**OF_D, "stream": "backlog"}),
        Case({f'{OLDEST}{{{SENDER},stream="events"}}': "800x40"}, "25m"),
    ],
    "HooklineEventsLost": [
        Case({f"hookline_events_expired_total{{{SENDER}}}": "0x10 5x30"}, "12m", OF_D),
        Case({f"hookline_events_expired_total{{{SENDER}}}": "5x40"}, "5m", OF_D),
        Case({f"hookline_events_expired_total{{{SENDER}}}": "5x40"}, "30m"),
    ],
    "HooklineParkedForLong": [
        Case({f'{OLDEST}{{{SENDER},stream="parked"}}': "90000x40"}, "20m", {**OF_D, "stream": "parked"}),
        Case({f'{OLDEST}{{{SENDER},stream="deliveries"}}': "90000x40"}, "20m"),
    ],
    "HooklineManyEndpointsFail": [
        Case(
            {
                f"hookline_endpoints_failing{{{SENDER}}}": "2x60",
                f"hookline_endpoints_gone{{{SENDER}}}": f"{gone}x60",
                f"hookline_route_book_webhooks{{{SENDER}}}": "10x60",
            },
            "40m",
            fires,
        )
        for gone, fires in ((1, OF_D), (0, None))
    ],
    "HooklineDeadLettersGrow": [
        Case({f'{DEAD}{{{SENDER},reason="ScheduleSpent"}}': "0+1x120"}, "60m", OF_D),
        Case({f'{DEAD}{{{SENDER},reason="WebhookGone"}}': "0+1x120"}, "60m"),
        Case({f'{DEAD}{{{SENDER},reason="Gone"}}': "0x30 3x60"}, "60m"),
    ],
    "HooklineMessagesNotHandled": [
        Case({f'{DEAD}{{{SENDER},reason="Malformed"}}': "0x10 1x60"}, "15m", {**OF_D, "reason": "Malformed"}),
        Case({f'{DEAD}{{{SENDER},reason="Malformed"}}': "0x60"}, "15m"),
    ],
    "HooklineQueueUnusable": [
        Case(
            {f'hookline_queue_problem{{{SENDER},reason="NATSUnreachable"}}': "0 1x20"},
            "10m",
            {**OF_D, "reason": "NATSUnreachable"},
        ),
        Case({f'hookline_queue_problem{{{SENDER},reason="NATSUnreachable"}}': "0x20"}, "10m"),
    ],
    "HooklineQueueDiskFills": [
        Case(
            # While one operator takes over from another both have told it.
            {
                f'{DISK}{{namespace="h",server="nats-0",pod="o-1"}}': "4000+20x240",
                f'{DISK}{{namespace="h",server="nats-0",pod="o-2"}}': "4000+20x240",
                f'{DISK_LIMIT}{{namespace="h",server="nats-0",pod="o-1"}}': "10000x240",
                f'{DISK_LIMIT}{{namespace="h",server="nats-0",pod="o-2"}}': "10000x240",
            },
            "235m",
            {"namespace": "h", "server": "nats-0"},
        ),
        Case(
            {
                f"hookline_queue_disk_bytes{{{SENDER}}}": "4000+20x240",
                f"hookline_queue_disk_bytes{{{OTHER}}}": "4000+20x240",
                f"hookline_queue_disk_limit_bytes{{{SENDER}}}": "10000x240",
                f"hookline_queue_disk_limit_bytes{{{OTHER}}}": "10000x240",
            },
            "235m",
            OF_D,
        ),
        Case(
            {
                f'{DISK}{{namespace="h",server="flat"}}': "6000x240",
                f'{DISK_LIMIT}{{namespace="h",server="flat"}}': "10000x240",
                f'{DISK}{{namespace="h",server="roomy"}}': "4000+20x240",
                f'{DISK_LIMIT}{{namespace="h",server="roomy"}}': "25000x240",
                f"hookline_queue_disk_bytes{{{SENDER}}}": "4000+20x240",
                f"hookline_queue_disk_limit_bytes{{{SENDER}}}": "0x240",
            },
            "235m",
        ),
    ],
    "HooklineQueueDiskFull": [
        *(
            Case(
                {
                    f'{DISK}{{namespace="h",server="nats-0"}}': f"{used}x20",
                    f'{DISK_LIMIT}{{namespace="h",server="nats-0"}}': "10000x20",
                },
                "10m",
                fires,
            )
            for used, fires in ((9500, {"namespace": "h", "server": "nats-0"}), (8500, None))
        ),
        Case(
            {
                f"hookline_queue_disk_bytes{{{SENDER}}}": "95x20",
                f"hookline_queue_disk_limit_bytes{{{SENDER}}}": "100x20",
            },
            "10m",
            OF_D,
        ),
    ],
    "HooklineGatewayRefuses": [
        Case(
            {
                f'{VERDICTS}{{{GATEWAY},verdict="stored"}}': "0+90x30",
                f'{VERDICTS}{{{GATEWAY},verdict="{word}"}}': "0+10x30",
            },
            "15m",
            fires,
        )
        for word, fires in (("unavailable", OF_D), ("internal", OF_D), ("schema", None))
    ],
    "HooklineCertificateExpires": [
        Case({f"hookline_certificate_expires_seconds{{{GATEWAY}}}": "518400x180"}, "2h", {**OF_D, "pod": "g-1"}),
        Case({f"hookline_certificate_expires_seconds{{{GATEWAY}}}": "2592000x180"}, "2h"),
        Case({f"hookline_certificate_expires_seconds{{{GATEWAY}}}": "0x180"}, "2h"),
    ],
    "HooklineNoOperatorLeads": [
        Case(
            {'hookline_leader{namespace="h",pod="o-1"}': "0x20", 'hookline_leader{namespace="h",pod="o-2"}': "0x20"},
            "10m",
            {"namespace": "h"},
        ),
        Case({}, "10m", {}),
        Case(
            {'hookline_leader{namespace="h",pod="o-1"}': "0x20", 'hookline_leader{namespace="h",pod="o-2"}': "1x20"},
            "10m",
        ),
    ],
    "HooklineNoSender": [Case({}, "15m", {}), Case({f"hookline_deliveries_held{{{SENDER}}}": "0x20"}, "15m")],
    "HooklineNotReady": [
        Case(
            {f'hookline_ready{{{SENDER},job="hookline-sender"}}': "0x30"},
            "20m",
            {**OF_D, "pod": "s-1", "job": "hookline-sender"},
        ),
        Case(
            {'up{namespace="h",pod="o-1",job="hookline-operator"}': "0x30"},
            "20m",
            {"namespace": "h", "pod": "o-1", "job": "hookline-operator"},
        ),
        Case({f"hookline_ready{{{SENDER}}}": "1x30", 'up{namespace="h",pod="x",job="other"}': "0x30"}, "20m"),
    ],
    "HooklineRouteBooksDiffer": [
        Case(
            {
                f"hookline_route_book_webhooks{{{SENDER}}}": "5x30",
                f"hookline_route_book_webhooks{{{OTHER}}}": f"{held}x30",
            },
            "20m",
            fires,
        )
        for held, fires in ((6, OF_D), (5, None))
    ],
    "HooklineWebhooksWithoutRoom": [
        Case(
            {'hookline_webhooks_without_room{namespace="h",pod="o-1",in_force="none"}': f"{count}x30"},
            "20m",
            fires,
        )
        for count, fires in ((1, {"namespace": "h", "in_force": "none"}), (0, None))
    ],
    "HooklineLogLinesLost": [
        Case({f"hookline_log_lines_lost{{{SENDER}}}": "0x5 10x20"}, "10m", {**OF_D, "pod": "s-1"}),
        Case({f"hookline_log_lines_lost{{{SENDER}}}": "10x20"}, "10m"),
    ],
    "HooklineAttemptsLogLosesLines": [
        Case(
            {f'hookline_attempts_log_lost_total{{{SENDER},reason="Room"}}': "0x5 10x20"},
            "10m",
            {**OF_D, "reason": "Room"},
        ),
        Case({f'hookline_attempts_log_lost_total{{{SENDER},reason="Room"}}': "10x20"}, "10m"),
    ],
    "HooklineLogApiFails": [
        Case(
            {
                f'hookline_log_api_answers_total{{namespace="h",pod="a-1",verb="list",code="{code}"}}': "0+6x40",
                'hookline_log_api_answers_total{namespace="h",pod="a-1",verb="list",code="200"}': "0+6x40",
            },
            "30m",
            fires,
        )
        for code, fires in (("503", {"namespace": "h"}), ("404", None))
    ],
    "HooklineLogApiMissesQueues": [
        Case({'hookline_log_api_queues_missing{namespace="h",pod="a-1"}': f"{count}x30"}, "20m", fires)
        for count, fires in ((1, {"namespace": "h"}), (0, None))
    ],
}


@cache
def promtool() -> str:
    found = shutil.which("promtool")
    return found or sessions.refuse("promtool is not on PATH; it is in Debian's package prometheus")


def run(*words: str | Path) -> None:
    done = subprocess.run([promtool(), *words], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@cache
def described() -> dict[str, set[str]]:
    """The labels of each series that a process has, by its name in PromQL."""
    found: dict[str, set[str]] = {}
    for kind in Metrics.__subclasses__():
        for each in kind().described:
            ends = ("_bucket", "_sum", "_count") if each.kind == "histogram" else ("",)
            for end in ends:
                found.setdefault(each.name + end, set()).update(each.labels, {"le"} if end == "_bucket" else set())
    return found


def panels() -> list[dict[str, Any]]:
    return [each for each in DASHBOARD["panels"] if each["type"] != "row"]


def expressions() -> Iterator[tuple[str, str]]:
    """All PromQL of rules and dashboard, by where it stands."""
    for rules in (ALERTS, RECORDED):
        for name, rule in rules.items():
            yield name, rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield f"{panel['title']} {target['refId']}", target["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]["query"]


def test_rules_are_what_prometheus_understands(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(RULES))
    run("check", "rules", tmp_path / "rules.yaml")


def test_queries_of_the_dashboard_are_what_prometheus_understands(tmp_path: Path) -> None:
    queries = [target["expr"].replace("$__rate_interval", "5m") for panel in panels() for target in panel["targets"]]
    rules = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(queries)]
    (tmp_path / "queries.yaml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    run("check", "rules", tmp_path / "queries.yaml")


def test_the_configuration_without_the_operator_is_what_prometheus_understands(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text()
    (config,) = (each for each in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "scrape_configs" in each)
    read = yaml.safe_load(config)
    # Debian's build knows no Kubernetes.
    del read["scrape_configs"][0]["kubernetes_sd_configs"]
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(read))
    run("check", "config", "--syntax-only", tmp_path / "prometheus.yaml")


def test_each_alert_fires_when_it_should_and_not_otherwise(tmp_path: Path) -> None:
    assert CASES.keys() == ALERTS.keys()
    bare = [
        {**group, "rules": [{key: each[key] for key in each.keys() - {"annotations"}} for each in group["rules"]]}
        for group in RULES["groups"]
    ]
    tests = [
        {
            "name": f"{name} {number}",
            "interval": "1m",
            "input_series": [{"series": series, "values": values} for series, values in case.series.items()],
            "alert_rule_test": [
                {
                    "eval_time": case.at,
                    "alertname": name,
                    "exp_alerts": []
                    if case.fires is None
                    else [{"exp_labels": {**case.fires, "severity": ALERTS[name]["labels"]["severity"]}}],
                }
            ],
        }
        for name, cases in CASES.items()
        for number, case in enumerate(cases)
    ]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": bare}))
    shares = {
        "name": "shares of calls",
        "interval": "1m",
        "input_series": [
            {"series": f'{ATTEMPTS}{{{SENDER},reason="Delivered"}}', "values": "0+30x20"},
            {"series": f'{ATTEMPTS}{{{OTHER},reason="Timeout"}}', "values": "0+10x20"},
        ],
        "promql_expr_test": [
            {
                "expr": "round(hookline:delivered:share5m, 0.01)",
                "eval_time": "15m",
                "exp_samples": [{"labels": f"{{{D}}}", "value": 0.75}],
            }
        ],
    }
    page = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [*tests, shares]}
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(page))
    run("test", "rules", tmp_path / "tests.yaml")


@pytest.mark.parametrize("name", ALERTS)
def test_each_alert_is_seen_firing_and_quiet_and_says_only_labels_that_it_has(name: str) -> None:
    firing = [case.fires for case in CASES[name] if case.fires is not None]
    assert firing
    assert len(firing) < len(CASES[name])
    annotations = ALERTS[name]["annotations"]
    said = set(re.findall(r"\$labels\.(\w+)", annotations["description"]))
    assert said <= {label for fires in firing for label in fires}


@pytest.mark.parametrize("name", ALERTS)
def test_each_alert_has_a_severity_and_a_runbook(name: str) -> None:
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"docs/runbooks.md#{name.lower()}"


def test_each_runbook_is_of_an_alert_and_says_what_it_means_how_to_see_it_and_what_to_do() -> None:
    _, *pages = re.split(r"(?m)^## ", RUNBOOKS)
    assert [page.split("\n", 1)[0] for page in pages] == list(ALERTS)
    for page in pages:
        assert re.findall(r"(?m)^\*\*(\w+)\*\*: ", page) == ["Means", "See", "Do"], page


@pytest.mark.parametrize(("where", "query"), list(expressions()), ids=[where for where, _ in expressions()])
def test_no_query_has_a_name_that_no_process_has(where: str, query: str) -> None:
    for name, matchers in re.findall(r"\b(hookline_\w+)(?:\{([^}]*)\})?", query):
        assert name in described(), f"{where}: {name}"
        for label, value in re.findall(r'(\w+)!?=~?"([^"]*)"', matchers):
            assert label in described()[name] | TARGET, f"{where}: {name} has no label {label}"
            if not value.startswith("$"):
                assert set(value.split("|")) <= WORDS.get(label, {value}), f"{where}: {label}={value}"
    assert set(re.findall(r"\bhookline:[\w:]+", query)) <= RECORDED.keys()
    labels = {label for words in re.findall(r"\b(?:by|on) \(([^)]*)\)", query) for label in words.split(", ")}
    assert labels <= TARGET.union(*described().values())


@pytest.mark.parametrize("page", ["runbooks.md", "monitoring.md", "metrics.md"])
def test_no_page_names_a_metric_that_no_process_has(page: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    named = set(re.findall(r"\b(hookline_[a-z_]+[a-z])\b", text)) - {"hookline_dev_dispatcher"}
    assert {each for each in named if "__meta" not in each} <= described().keys() | {
        name.removesuffix("_sum") for name in described()
    }
    assert set(re.findall(r"`(hookline:[\w:]+)`", text)) <= RECORDED.keys()


def test_what_counts_as_refused_by_the_gateway_is_what_it_answers_with_5xx() -> None:
    (words,) = re.findall(r'verdict=~"([^"]*)"', RECORDED["hookline:gateway_refused:share5m"]["expr"])
    assert set(words.split("|")) == {kind.slug for kind in Kind if kind.status >= 500}


def test_pod_monitors_find_the_pods_and_no_others() -> None:
    monitors = list(yaml.safe_load_all((MONITORING / "pod-monitors.yaml").read_text()))
    selectors = {each["metadata"]["name"]: each["spec"]["selector"]["matchLabels"] for each in monitors}
    for component in ("sender", "gateway"):
        assert selectors[f"hookline-{component}"].items() <= labels_of("default", component).items()
    assert selectors["hookline-api"].items() <= labels_of_installation(API).items()
    operator = yaml.safe_load((ROOT / "manifests/operator/kustomization.yaml").read_text())["labels"][0]["pairs"]
    assert selectors["hookline-operator"].items() <= operator.items()
    for each in monitors:
        (endpoint,) = each["spec"]["podMetricsEndpoints"]
        assert (endpoint["port"], endpoint["path"]) == ("http", "/metrics")
        assert endpoint["relabelings"][0]["replacement"] == each["metadata"]["name"]


def test_panels_have_a_title_a_meaning_and_a_place_of_their_own() -> None:
    assert DASHBOARD["uid"] == "hookline"
    assert {each["name"] for each in DASHBOARD["templating"]["list"]} == {"datasource", "namespace", "dispatcher"}
    places: set[tuple[int, int]] = set()
    for each in DASHBOARD["panels"]:
        at = each["gridPos"]
        mine = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not mine & places, each["title"]
        assert at["x"] + at["w"] <= 24
        places |= mine
    assert len({each["id"] for each in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    for each in panels():
        assert each["title"]
        assert each["description"]
        assert each["datasource"]["uid"] == "${datasource}"
