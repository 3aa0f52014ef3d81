from __future__ import annotations

import json
from pathlib import Path

from doubles.books import route
from hookline.control.sender_reports import MAX_REPORT_BYTES
from hookline.delivery.policy.endpoint_state import Kind, State
from hookline.delivery.policy.retry import Reason
from hookline.delivery.process import MOST_FAILING, MOST_UNREAD, SenderProcess
from hookline.routing.routes import Keys, Shard, book_of

LONGEST = max(map(str, Reason), key=len)


def pod(tmp_path: Path, webhooks: int, *, unread: int = 0) -> SenderProcess:
    """A sender that knows of so many endpoints that fail in the longest possible words."""
    found = SenderProcess(tmp_path, "nats://127.0.0.1:1")
    uids = [f"{number:036}" for number in range(webhooks)]
    book = book_of((route(uid), Keys(uid=uid)) for uid in uids)
    shards = dict(book.shards)
    if unread:
        first = min(shards)
        shards[first] = Shard(
            shards[first].routes, shards[first].keys, "", {f"{n:036}": "x" * 512 for n in range(unread)}
        )
    found._books.current = type(book)(shards)
    for uid in uids:
        found._endpoints._set(uid, State(generation=1, kind=Kind.FAILING, reason=LONGEST, status=503, since_s=2**33))
    return found


def test_a_report_of_any_number_of_failing_endpoints_is_one_that_the_operator_reads(tmp_path: Path) -> None:
    report = pod(tmp_path, MOST_FAILING + 1, unread=MOST_UNREAD + 1).report()
    assert report["truncated"] is True
    assert len(json.dumps(report)) < MAX_REPORT_BYTES * 0.9


def test_a_report_that_names_all_says_so(tmp_path: Path) -> None:
    report = pod(tmp_path, 3).report()
    failing = report["failing"]
    assert isinstance(failing, list)
    assert (len(failing), report["truncated"]) == (3, False)
