"""Attempts, deliveries and dead letters as Kubernetes has objects, and the columns that kubectl shows."""

from __future__ import annotations

import json
import math
import time
from dataclasses import fields, replace
from typing import Any

import pytest

from doubles.played_log import attempt, dead, waiting
from hookline.api.kinds import ATTEMPTS, DEAD_LETTERS, DELIVERIES
from hookline.api.objects import LABELS, Entry, as_object, partial, resource_of, uid_of
from hookline.api.schemas import PROPERTIES
from hookline.api.table import definitions, row
from hookline.stream.attempt_record import AttemptRecord

HOSTILE = "\x1b[2J<script>\x00\ud800 " + "x" * 3000
ENTRIES: list[Entry] = [attempt(7), waiting(8), dead(9)]


def test_an_attempt_has_all_that_is_known_of_it() -> None:
    said = as_object(attempt(7, probe=True, replay="again"))
    assert said["metadata"]["name"] == "evt-7-1.7"
    assert (said["kind"], said["metadata"]["resourceVersion"]) == ("Attempt", "7")
    assert said["webhook"] == {"name": "identity-created", "uid": "7d8f2d9e-0000-4000-8000-000000000001"}
    assert said["event"] == {"id": "evt-7", "type": "IdentityCreated"}
    assert (said["attempt"], said["status"], said["reason"], said["durationMilliseconds"]) == (1, 503, "HTTPStatus", 41)
    assert said["phasesMilliseconds"] == {"lookup": 1, "firstByte": 30}
    assert said["answer"] == {
        "bytes": 4,
        "headers": {"Content-Type": "text/plain"},
        "body": "busy",
        "bodyEncoding": "utf-8",
    }
    assert said["next"]["follows"] == "Retry"
    assert (said["probe"], said["replay"]) == (True, "again")
    assert "test" not in said


def test_an_attempt_without_an_answer_has_none() -> None:
    said = as_object(attempt(7, status=None, answer=b"", reason="Timeout"))
    assert not {"answer", "status"} & said.keys()
    assert LABELS["status"] not in said["metadata"]["labels"]


def test_no_body_of_an_event_stands_in_an_object() -> None:
    assert "body" not in {field.name for field in fields(AttemptRecord)}
    for each in (waiting(1), dead(1)):
        assert as_object(each)["event"] == {"id": "evt-1", "type": "IdentityCreated", "bytes": 120}


@pytest.mark.parametrize("entry", ENTRIES)
def test_labels_are_those_that_lists_are_narrowed_by(entry: Entry) -> None:
    labels = as_object(entry)["metadata"]["labels"]
    assert labels.keys() <= set(LABELS.values())
    assert labels[LABELS["webhook"]] == "identity-created"
    assert labels[LABELS["event_type"]] == "IdentityCreated"


def test_an_id_that_cannot_be_the_value_of_a_label_is_none() -> None:
    assert LABELS["event_id"] not in as_object(attempt(1, event_id="a/b=c"))["metadata"]["labels"]


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_field_is_explained_and_every_one_explained_is_written(entry: Entry) -> None:
    said, schema = as_object(entry), PROPERTIES[resource_of(entry).kind]
    inside = {name for name in said if name not in ("apiVersion", "kind", "metadata")}
    assert inside <= schema.keys()
    # What is empty here is not written.
    assert schema.keys() - inside <= {"probe", "test", "replay"}
    for name in inside:
        if isinstance(said[name], dict) and "properties" in schema[name]:
            assert said[name].keys() <= schema[name]["properties"].keys()


@pytest.mark.parametrize("entry", ENTRIES)
def test_the_uid_is_the_same_each_time_and_another_one_for_each_object(entry: Entry) -> None:
    assert uid_of(entry) == uid_of(replace(entry))
    assert uid_of(entry) != uid_of(replace(entry, namespace="team-b"))
    assert len({uid_of(each) for each in ENTRIES}) == len(ENTRIES)


@pytest.mark.parametrize(
    "entry",
    [
        attempt(
            7,
            event_id=HOSTILE,
            event_type=HOSTILE,
            reason=HOSTILE,
            detail=HOSTILE,
            url=HOSTILE,
            follows=HOSTILE,
            at_s=math.nan,
            duration_s=math.inf,
            attempt=10**30,
            status=-5,
            phases_s={"lookup": math.nan, HOSTILE: 1.0},
            request_headers={HOSTILE: HOSTILE},
            answer_headers={HOSTILE: HOSTILE},
            answer=HOSTILE.encode(errors="surrogatepass"),
            next_at_s=1e300,
            webhook=HOSTILE,
            sender=HOSTILE,
        ),
        replace(
            waiting(8), webhook=HOSTILE, event_id=HOSTILE, reason=HOSTILE, since_s=-1, next_at_s=math.inf, attempt=-1
        ),
        replace(
            dead(9), reason=HOSTILE, detail=HOSTILE, headers={HOSTILE: HOSTILE}, failed_at_s=math.nan, answer=b"\x1b"
        ),
    ],
)
def test_whatever_the_log_holds_becomes_json_and_nothing_that_a_terminal_obeys(entry: Entry) -> None:
    resource = resource_of(entry)
    for said in (as_object(entry), partial(entry), row(resource, entry, time.time(), "Object")):
        text = json.dumps(said, allow_nan=False, ensure_ascii=False)
        text.encode()
        assert "\x1b" not in text
        assert "\\u001b" not in text
        assert "\\u0000" not in text


COLUMNS = {
    ATTEMPTS: "Name Webhook Event Attempt Status Reason Duration Next Age Event-ID URL Sender",
    DELIVERIES: "Name Webhook Event State Reason Attempt Next Age Event-ID",
    DEAD_LETTERS: "Name Webhook Event Reason Outcome Attempts Age Event-ID Detail",
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_row_has_a_cell_for_each_column(entry: Entry) -> None:
    resource = resource_of(entry)
    columns = definitions(resource)
    assert " ".join(each["name"] for each in columns) == COLUMNS[resource]
    assert len(row(resource, entry, 0.0, "None")["cells"]) == len(columns)


def cells(entry: Any, now_s: float) -> dict[str, Any]:
    resource = resource_of(entry)
    names = [each["name"] for each in definitions(resource)]
    return dict(zip(names, row(resource, entry, now_s, "None")["cells"], strict=True))


def test_the_columns_read_as_the_readme_shows_them() -> None:
    now_s = time.time()
    said = cells(attempt(7, at_s=now_s - 12, next_at_s=now_s + 292.5), now_s)
    assert said["Name"] == "evt-7-1.7"
    assert (said["Webhook"], said["Event"], said["Attempt"]) == ("identity-created", "IdentityCreated", 1)
    assert (said["Status"], said["Reason"], said["Duration"]) == ("503", "HTTPStatus", "41ms")
    assert (said["Next"], said["Age"]) == ("4m52s", "12s")
    assert cells(attempt(7, follows="Dead", next_at_s=None), now_s)["Next"] == "Dead"
    assert cells(attempt(7, next_at_s=now_s - 5), now_s)["Next"] == "0s"


def test_a_row_holds_as_much_of_its_object_as_is_wished() -> None:
    assert "object" not in row(ATTEMPTS, attempt(1), 0.0, "None")
    assert row(ATTEMPTS, attempt(1), 0.0, "Metadata")["object"]["kind"] == "PartialObjectMetadata"
    assert row(ATTEMPTS, attempt(1), 0.0, "Object")["object"]["kind"] == "Attempt"
