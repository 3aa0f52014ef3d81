from __future__ import annotations

import io
import json

import structlog
from hypothesis import given
from hypothesis import strategies as st

from hookline.telemetry import redact, set_up_logs


@given(st.text("ab", max_size=30), st.lists(st.text("ab", min_size=1, max_size=4), max_size=3))
def test_nothing_of_a_secret_is_left(text: str, secrets: list[str]) -> None:
    left = redact(text.encode(), secrets).replace(b"[redacted]", b"|")
    assert not any(secret.encode() in left for secret in secrets)


def test_a_secret_inside_a_longer_one_does_not_leave_the_rest_of_it() -> None:
    assert redact(b"x abcdef y", ["abc", "abcdef"]) == b"x [redacted] y"


def test_logs_are_json_where_nobody_watches() -> None:
    out = io.StringIO()
    set_up_logs(out)
    structlog.get_logger("test").warning("happened", count=1)
    record = json.loads(out.getvalue())
    assert (record["event"], record["level"], record["count"]) == ("happened", "warning", 1)
    structlog.reset_defaults()
