from __future__ import annotations

import errno
import io
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from hookline.telemetry import LINES_KEPT, LogWriter, redact, set_up_logs


@given(st.text("ab", max_size=30), st.lists(st.text("ab", min_size=1, max_size=4), max_size=3))
def test_nothing_of_a_secret_is_left(text: str, secrets: list[str]) -> None:
    left = redact(text.encode(), secrets).replace(b"[redacted]", b"|")
    assert not any(secret.encode() in left for secret in secrets)


def test_a_secret_inside_a_longer_one_does_not_leave_the_rest_of_it() -> None:
    assert redact(b"x abcdef y", ["abc", "abcdef"]) == b"x [redacted] y"


def test_a_part_of_a_secret_is_left_no_more_than_the_whole() -> None:
    secrets = ["Bearer abcdefgh.ijkl==", "id=7&token=0123456789"]
    assert redact(b"bad token abcdefgh.ijkl and 0123456789, 7", secrets) == b"bad token [redacted] and [redacted], 7"


@pytest.mark.parametrize(
    ("secret", "echo"),
    [
        ("Bearer abc/def+ghi", rb"Bearer abc\/def+ghi"),
        ('say "please" twice', rb"say \"please\" twice"),
        ("token=ab%2Fcd%2Fef99", b"ab/cd/ef99"),
        ("token=ab%2Fcd%2Fef99", rb"ab\/cd\/ef99"),
        ("<letmein&99>", b"&lt;letmein&amp;99&gt;"),
    ],
    ids=["JSON of PHP", "JSON", "decoded", "decoded, then JSON of PHP", "HTML"],
)
def test_a_secret_that_a_receiver_spells_in_its_own_way_is_left_no_more_than_ours(secret: str, echo: bytes) -> None:
    assert redact(b"got: " + echo + b".", [secret]) == b"got: [redacted]."


def test_a_text_that_was_cut_ends_in_no_beginning_of_a_secret() -> None:
    assert redact(b"you sent abcde", ["abcdefgh"], cut=True) == b"you sent [redacted]"
    assert redact(b"you sent abcde", ["abcdefgh"]) == b"you sent abcde"
    assert redact(b"abc", ["abcdefgh"], cut=True) == b"[redacted]"


def test_secrets_that_are_letters_of_the_mark_do_not_make_a_text_grow_without_bound() -> None:
    assert len(redact(b"e" * 1024, list("[redacted]"))) == 1024 * len(b"[redacted]")


def test_logs_are_json_where_nobody_watches() -> None:
    out = io.StringIO()
    set_up_logs(out)
    structlog.get_logger("test").warning("happened", count=1)
    record = json.loads(out.getvalue())
    assert (record["event"], record["level"], record["count"]) == ("happened", "warning", 1)
    structlog.reset_defaults()


@pytest.mark.parametrize("value", ["half a pair \ud800", 2**70, "\u2028é\n"])
def test_whatever_a_log_line_says_is_one_line_of_json(value: object) -> None:
    out = io.StringIO()
    set_up_logs(out, json=True)
    structlog.get_logger("test").warning("happened", value=value, other=Path("x"))
    assert out.getvalue().count("\n") == 1
    assert json.loads(out.getvalue())["value"] == value
    structlog.reset_defaults()


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_lines_are_whole_and_in_order_however_little_a_write_takes() -> None:
    written: list[bytes] = []

    def little(data: bytes) -> int:
        written.append(data[:3])
        return len(data[:3])

    writer = LogWriter(little)
    for number in range(50):
        writer.put(f"line {number} é")
    writer.close()
    assert b"".join(written).decode().splitlines() == [f"line {number} é" for number in range(50)]


def test_a_full_disk_raises_nothing_and_is_told_once_there_is_room() -> None:
    out, said = [], io.StringIO()
    full = True

    def write(data: bytes) -> int:
        if full:
            raise OSError(errno.ENOSPC, "no space left")
        out.append(data)
        return len(data)

    set_up_logs(said, json=True)
    writer = LogWriter(write)
    writer.put("lost")
    _until(lambda: writer.lost == 1)
    full = False
    writer.put("written")
    writer.close()
    assert out == [b"written\n"]
    assert json.loads(said.getvalue())["count"] == 1
    structlog.reset_defaults()


def test_a_pipe_that_nobody_reads_holds_up_nobody_and_memory_is_bounded() -> None:
    blocked, begun = threading.Event(), threading.Event()

    def write(data: bytes) -> int:
        begun.set()
        blocked.wait(30)
        return len(data)

    writer = LogWriter(write)
    writer.put("first")
    assert begun.wait(10)
    for _ in range(LINES_KEPT + 5):
        writer.put("more")
    assert writer.lost == 5
    blocked.set()
    writer.close()
