from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hookline.control.kinds import EVENT_TYPES, WEBHOOKS
from hookline.control.observed import Observed
from hookline.control.seen import Seen
from hookline.control.status import (
    MESSAGE_LENGTH,
    NOTE_BYTES,
    Failing,
    delivering,
    events_of,
    manifest_of,
    programmed_before,
    says_the_same,
    signing_keys,
    status_of,
    trouble_in,
    with_stalled,
    word_in,
)
from hookline.resources.base import DNS_NAME, Status
from hookline.resources.webhook import Webhook, WebhookStatus
from hookline.routing.routes import Keys, RetiredKey
from hookline.routing.signing import public_key
from hookline.routing.verdict import Condition
from unit.control.objects import OWN, seen_event_type, seen_webhook, webhook

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
TYPES = ["Accepted", "SecretsResolved", "Programmed", "Ready", "Delivering"]

READY = Condition("Ready", "True", "Ready", "all is well")
NOT_READY = Condition("Ready", "False", "SecretNotAllowed", "label it")
PENDING = Condition("Ready", "Unknown", "Pending", "")

WELL = delivering(READY, None)
FAILING = delivering(READY, Failing("2026-01-01T00:00:00Z", "HTTPStatus", 503))
GONE = delivering(READY, Failing("2026-01-01T00:00:00Z", "Gone", 410, gone=True))
IDLE = delivering(NOT_READY, None)

conditions = st.lists(
    st.builds(
        Condition,
        st.sampled_from(TYPES),
        st.sampled_from(["True", "False", "Unknown"]),
        st.sampled_from(["Ready", "Other"]),
        st.text(max_size=5) | st.just("x" * (MESSAGE_LENGTH + 5)),
    ),
    max_size=5,
    unique_by=lambda condition: condition.type,
)


def seen_with(status: dict[str, Any] | None, **metadata: Any) -> Seen[Webhook]:
    return seen_webhook(status=status, **metadata)


@given(conditions, st.integers(1, 5))
def test_a_status_that_was_written_is_not_written_again(found: list[Condition], generation: int) -> None:
    status = status_of(seen_with(None, generation=generation), found, NOW, routes=1)
    again = status_of(seen_with(status, generation=generation), found, NOW + timedelta(days=1), routes=1)
    assert again == status
    assert says_the_same(again, status)
    assert says_the_same(again, {**status, "conditions": list(reversed(status["conditions"]))})


@given(conditions, conditions)
def test_the_time_of_a_condition_changes_with_its_status_only(before: list[Condition], now: list[Condition]) -> None:
    was = status_of(seen_with(None), before, NOW)
    later = status_of(seen_with(was, generation=2), now, NOW + timedelta(days=1))
    times = {each["type"]: (each["status"], each["lastTransitionTime"]) for each in was["conditions"]}
    for each in later["conditions"]:
        status, time = times.get(each["type"], ("", ""))
        wanted = time if status == each["status"] else "2026-01-03T03:04:05Z"
        assert each["lastTransitionTime"] == wanted


@given(conditions, conditions)
def test_only_what_says_something_else_differs(before: list[Condition], now: list[Condition]) -> None:
    seen = seen_with(status_of(seen_with(None), before, NOW))
    same = {each.type: (each.status, each.reason, each.message[:MESSAGE_LENGTH]) for each in before} == {
        each.type: (each.status, each.reason, each.message[:MESSAGE_LENGTH]) for each in now
    }
    assert says_the_same(status_of(seen, now, NOW + timedelta(1)), seen.status) == same


@given(conditions)
def test_a_new_generation_or_another_count_is_something_new(found: list[Condition]) -> None:
    status = status_of(seen_with(None), found, NOW, routes=1)
    assert not says_the_same(status_of(seen_with(status, generation=2), found, NOW, routes=1), status)
    assert not says_the_same(status_of(seen_with(status), found, NOW, routes=2), status)


@given(conditions)
def test_a_condition_of_another_manager_is_theirs(found: list[Condition]) -> None:
    status = status_of(seen_with(None), found, NOW)
    theirs = {"type": "example.com/Paid", "status": "True", "reason": "Paid", "message": ""}
    shown = {**status, "conditions": [*status["conditions"], {**theirs, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}
    assert says_the_same(status, shown)


SHAPES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.sampled_from(TYPES),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["conditions", "type", "status", "lastTransitionTime", "x"]), inner, max_size=4
        )
    ),
)


@given(SHAPES)
def test_a_status_of_any_shape_is_read_and_what_has_another_one_counts_as_absent(shape: Any) -> None:
    seen = seen_with({"conditions": shape})
    assert trouble_in(seen) is None
    assert not programmed_before(seen)
    wanted = status_of(seen, [READY], NOW)
    assert Status.model_validate(wanted).conditions
    assert not says_the_same(wanted, seen.status)


@pytest.mark.parametrize("status", ["text", 7, None, ["conditions"], {"conditions": "text"}])
def test_a_status_that_is_no_mapping_is_no_status(status: Any) -> None:
    observed = Observed(OWN)
    observed.put(WEBHOOKS, webhook(status=status))
    (seen,) = observed.webhooks.values()
    assert word_in(seen.status, "Ready") == ("", "")


def test_the_first_look_is_always_written() -> None:
    assert not says_the_same(status_of(seen_with(None), [], NOW), {})
    assert not says_the_same(status_of(seen_with(None), [], NOW), {"observedGeneration": -1})


@given(conditions, st.integers(1, 9))
def test_a_status_has_the_form_of_the_resource(found: list[Condition], generation: int) -> None:
    status = Status.model_validate(status_of(seen_with(None, generation=generation), found, NOW))
    assert status.observed_generation == generation
    assert [each.type for each in status.conditions] == [each.type for each in found]
    assert all(each.observed_generation == generation for each in status.conditions)
    assert all(
        re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", each.last_transition_time) for each in status.conditions
    )
    assert all(len(each.message) <= MESSAGE_LENGTH for each in status.conditions)


def test_stalled_is_there_only_while_a_person_must_help() -> None:
    refused = Condition("Accepted", "False", "UnknownEvent", "write another")
    assert with_stalled([READY], refused) == [READY, Condition("Stalled", "True", "UnknownEvent", "write another")]
    assert with_stalled([READY], Condition("Accepted", "True", "Accepted", "")) == [READY]


def test_a_status_shows_public_keys_and_until_when_a_replaced_one_counts() -> None:
    private = ["whsk_" + letter * 43 + "=" for letter in "AE"]
    until_s = int(NOW.timestamp()) + 60
    keys = Keys(
        uid="u", signing=f"whsec_{'A' * 43}= {private[0]}", retired=(RetiredKey(key=private[1], until_s=until_s),)
    )
    publics = [public_key(each) for each in private]
    assert signing_keys(keys, NOW) == [
        {"publicKey": publics[0]},
        {"publicKey": publics[1], "until": "2026-01-02T03:05:05Z"},
    ]
    assert signing_keys(keys, NOW + timedelta(seconds=61)) == [{"publicKey": publics[0]}]
    assert signing_keys(Keys(uid="u"), NOW) == signing_keys(None, NOW) == []
    status = status_of(seen_with(None), [READY], NOW, signingKeys=signing_keys(keys, NOW))
    found = WebhookStatus.model_validate(status)
    assert [each.public_key for each in found.signing_keys] == publics
    assert not any(key in repr(status) for key in keys.secrets())


def test_an_endpoint_is_delivered_to_until_senders_say_otherwise() -> None:
    assert (delivering(READY, None).status, delivering(READY, None).reason) == ("True", "Delivering")
    failing = delivering(READY, Failing("2026-01-01T00:00:00Z", "HTTPStatus", 503))
    assert (failing.status, failing.reason) == ("False", "EndpointFailing")
    assert "HTTPStatus (HTTP 503)" in failing.message
    assert "HTTP" not in delivering(READY, Failing("2026-01-01T00:00:00Z", "Timeout", None)).message


def test_a_gone_endpoint_is_not_called_and_its_owner_is_told_what_has_it_called_again() -> None:
    gone = delivering(READY, Failing("2026-01-01T00:00:00Z", "Gone", 410, gone=True))
    assert (gone.status, gone.reason) == ("False", "EndpointGone")
    assert "410 at 2026-01-01T00:00:00Z" in gone.message
    assert "correct spec.url" in gone.message


@pytest.mark.parametrize("ready", [NOT_READY, PENDING, Condition("Ready", "True", "Disabled", "")])
def test_what_is_not_called_delivers_nothing_whatever_its_endpoint_is_like(ready: Condition) -> None:
    for failing in (None, Failing("2026-01-01T00:00:00Z", "Timeout", None)):
        found = delivering(ready, failing)
        assert (found.status, found.reason) == ("False", ready.reason)


def test_programmed_counts_for_its_own_generation_only() -> None:
    programmed = Condition("Programmed", "True", "Programmed", "")
    status = status_of(seen_with(None, generation=3), [programmed], NOW)
    assert programmed_before(seen_with(status, generation=3))
    assert not programmed_before(seen_with(status, generation=4))
    assert not programmed_before(seen_with(None))
    pending = status_of(seen_with(None), [Condition("Programmed", "False", "Pending", "")], NOW)
    assert not programmed_before(seen_with(pending))


def told(
    before: Condition | None, now: Condition, seen: Seen[Any] | None = None, at: datetime = NOW
) -> dict[str, Any] | None:
    """The Event of a transition of a condition from one to another."""
    was = status_of(seen_with(None), [before] if before else [], NOW)
    seen = seen or seen_with(was)
    events = events_of(WEBHOOKS, seen, was, status_of(seen, [now], at), reporter="operator-1", now=at)
    assert len(events) <= 1
    return events[0] if events else None


def test_a_transition_of_ready_makes_one_event_that_says_why() -> None:
    event = told(READY, NOT_READY)
    assert event is not None
    assert (event["type"], event["reason"], event["note"]) == ("Warning", "SecretNotAllowed", "label it")
    assert event["eventTime"] == "2026-01-02T03:04:05.678901Z"
    assert event["regarding"] == {
        "apiVersion": "hookline.dev/v1alpha1",
        "kind": "Webhook",
        "name": "hook",
        "namespace": "team",
        "uid": "uid-of-hook",
    }
    back = told(NOT_READY, READY)
    assert back is not None
    assert back["type"] == "Normal"


def test_the_same_transition_has_the_same_event_and_another_one_has_another() -> None:
    names = [each and each["metadata"]["name"] for each in (told(READY, NOT_READY), told(READY, NOT_READY))]
    assert names[0] == names[1]
    assert names[0] != (told(READY, NOT_READY, at=NOW + timedelta(hours=1)) or {})["metadata"]["name"]
    assert names[0] != (told(NOT_READY, READY) or {})["metadata"]["name"]


@pytest.mark.parametrize(
    ("before", "now", "is_told"),
    [
        (None, READY, False),
        (PENDING, READY, False),
        (None, NOT_READY, True),
        (READY, READY, False),
        (NOT_READY, NOT_READY, False),
        (READY, Condition("Ready", "True", "Disabled", ""), True),
        (NOT_READY, Condition("Ready", "False", "UnknownEvent", ""), True),
    ],
)
def test_only_transitions_are_told_and_what_is_well_from_the_start_is_none(
    before: Condition | None, now: Condition, is_told: bool
) -> None:
    assert (told(before, now) is not None) == is_told


@pytest.mark.parametrize(
    ("before", "now", "told_as"),
    [
        (None, WELL, None),
        (WELL, WELL, None),
        (WELL, FAILING, ("Warning", "EndpointFailing")),
        (None, FAILING, ("Warning", "EndpointFailing")),
        (FAILING, FAILING, None),
        (FAILING, delivering(READY, Failing("2026-01-01T00:00:00Z", "Timeout", None)), None),
        (FAILING, GONE, ("Warning", "EndpointGone")),
        (WELL, GONE, ("Warning", "EndpointGone")),
        (GONE, GONE, None),
        (GONE, FAILING, ("Warning", "EndpointFailing")),
        (FAILING, WELL, ("Normal", "Delivering")),
        (GONE, WELL, ("Normal", "Delivering")),
        # Of these the Event of Ready tells.
        (WELL, IDLE, None),
        (IDLE, WELL, None),
        (FAILING, IDLE, None),
        (IDLE, FAILING, ("Warning", "EndpointFailing")),
    ],
)
def test_an_endpoint_that_turns_failing_gone_or_well_is_told_once(
    before: Condition | None, now: Condition, told_as: tuple[str, str] | None
) -> None:
    event = told(before, now)
    assert (event and (event["type"], event["reason"])) == told_as
    assert event is None or event["note"] == now.message


def test_both_are_told_when_ready_and_delivering_turn_at_once() -> None:
    was = status_of(seen_with(None), [NOT_READY, IDLE], NOW)
    seen = seen_with(was)
    events = events_of(WEBHOOKS, seen, was, status_of(seen, [READY, FAILING], NOW), reporter="operator-1", now=NOW)
    assert [(each["type"], each["reason"]) for each in events] == [("Normal", "Ready"), ("Warning", "EndpointFailing")]
    assert len({each["metadata"]["name"] for each in events}) == 2


@given(st.text("a-.", min_size=1, max_size=253), st.text(max_size=2000))
@example("a" * 198 + "-b", "é" * 1000)
def test_an_event_is_one_that_the_api_server_takes(name: str, message: str) -> None:
    observed = Observed(OWN)
    observed.put(WEBHOOKS, webhook(f"a{name}"[:252] + "a"))
    (seen,) = observed.webhooks.values()
    event = told(READY, Condition("Ready", "False", "Other", message), seen)
    assert event is not None
    assert len(event["note"].encode()) <= NOTE_BYTES
    assert message.startswith(event["note"])
    assert len(event["metadata"]["name"]) <= 253
    # Where the object's own name is one of Kubernetes', that of the Event is too.
    assert DNS_NAME.holds(event["metadata"]["name"]) or not DNS_NAME.holds(seen.name)


def test_an_event_about_something_without_a_namespace_lies_in_default() -> None:
    seen = seen_event_type("Order")
    was = status_of(seen, [READY], NOW)
    (event,) = events_of(EVENT_TYPES, seen, was, status_of(seen, [NOT_READY], NOW), reporter="r" * 300, now=NOW)
    assert event["metadata"]["namespace"] == "default"
    assert "namespace" not in event["regarding"]
    assert len(event["reportingInstance"]) == 128


def test_a_status_is_applied_to_exactly_the_object_and_version_that_was_seen() -> None:
    found = manifest_of(seen_with(None), {"conditions": []})
    assert found == {
        "metadata": {"name": "hook", "namespace": "team", "uid": "uid-of-hook", "resourceVersion": "1"},
        "status": {"conditions": []},
    }
    assert "namespace" not in manifest_of(seen_event_type("Order"), {})["metadata"]


def test_status_and_reason_of_a_condition_are_read_from_a_status() -> None:
    assert word_in({}, "Ready") == ("", "")
    status = status_of(seen_with(None), [FAILING, NOT_READY], NOW)
    assert word_in(status, "Ready") == ("False", "SecretNotAllowed")
    assert word_in(status, "Delivering") == ("False", "EndpointFailing")


def test_trouble_with_an_endpoint_is_read_from_a_status_of_its_own_generation_only() -> None:
    for trouble in (FAILING, GONE):
        status = status_of(seen_with(None, generation=3), [READY, trouble], NOW)
        assert trouble_in(seen_with(status, generation=3)) == trouble
        assert trouble_in(seen_with(status, generation=4)) is None
    for other in (WELL, IDLE):
        assert trouble_in(seen_with(status_of(seen_with(None), [READY, other], NOW))) is None
    assert trouble_in(seen_with(None)) is None
