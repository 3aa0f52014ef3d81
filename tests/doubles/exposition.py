"""What a page of metrics says, held against what is described of that kind of process."""

from __future__ import annotations

import re

from prometheus_client.parser import text_string_to_metric_families

from hookline.runtime.metrics import Metrics


def labels_told(text: str) -> dict[str, set[str]]:
    """The labels of each metric of ours that has a series, as somebody reads it."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.startswith("hookline_"):
                name = f"{family.name}_total" if family.type == "counter" else family.name
                found.setdefault(name, set()).update(set(sample.labels) - {"le"})
    return found


def is_as_described(text: str, kind: type[Metrics]) -> None:
    """Every metric that docs/metrics.md has of it is there, no other is, and each has its labels."""
    described = {each.name: set(each.labels) for each in kind().described}
    assert set(re.findall(r"(?m)^# TYPE (hookline_\S+) ", text)) == described.keys()
    for name, labels in labels_told(text).items():
        assert labels == described[name], name
