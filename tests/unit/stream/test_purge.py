"""What counts as a tenant's own, or an event's, among what lies in the streams."""

from __future__ import annotations

import pytest

from hookline.delivery import attempts_log
from hookline.stream import names
from hookline.stream.attempt_record import NOTED_SECONDS, AttemptRecord, encode
from hookline.stream.layout import Layout
from hookline.stream.purge import Place, Wanted, is_wanted, places, tenant_of
from hookline.stream.stored import Stored

LAYOUT = Layout(dict.fromkeys(names.BASES, "HOOKLINE_"), ("DEAD", "DELIVERIES", "EVENTS", "PARKED"))
ALL, ONE = Wanted("team-a"), Wanted("team-a", "evt_1")
SHARED = Place("PARKED", "hookline.parked.*", "parked deliveries", is_shared=True)
EVENTS = Place("EVENTS", "hookline.events.team-a.>", "events")
LOG = Place(names.ATTEMPTS, "hookline.attempts.team-a.*", "batches")
BACKLOG = Place(names.BACKLOG, "hookline.backlog.team-a", "lists")


def stored(subject: str, body: bytes = b"{}", seq: int = 7, **headers: str) -> Stored:
    written = {name.replace("_", "-"): value for name, value in headers.items()}
    return Stored(subject, written, body, seq, "2026-01-01T00:00:00Z")


def test_every_stream_that_has_payloads_is_looked_at_the_former_ones_too_and_what_others_follow_from_first() -> None:
    found = places(LAYOUT, "team-a")
    assert {each.stream for each in found} == {
        *(f"{prefix}{base}" for prefix in ("", "HOOKLINE_") for base in names.BASES), names.BACKLOG, names.ATTEMPTS,
    }  # fmt: skip
    assert [each.what for each in found[:2]] == ["events", "large events"]
    assert all(each.is_shared or ".team-a" in each.pattern for each in found)


@pytest.mark.parametrize(
    ("headers", "tenant"),
    [
        ({"Hookline-Tenant": "team-a"}, "team-a"),
        ({"Hookline-Subject": "hookline.events.team-a.A.b"}, "team-a"),
        ({"Hookline-Subject": "hookline.large.team-a.A"}, "team-a"),
        ({"Hookline-Subject": "hookline.backlog.team-a"}, "team-a"),
        ({"Hookline-Tenant": "team-b", "Hookline-Subject": "hookline.events.team-a.A"}, "team-b"),
        ({"Hookline-Subject": "hookline.deliveries.01.team-a"}, ""),
        ({"Hookline-Subject": "hookline.events"}, ""),
        ({}, ""),
    ],
)
def test_what_lies_among_others_says_whose_it_is(headers: dict[str, str], tenant: str) -> None:
    assert tenant_of(headers) == tenant


def test_all_of_a_tenant_is_wanted_and_nothing_of_another_one() -> None:
    mine, another = (stored("hookline.parked.u1", Hookline_Tenant=tenant) for tenant in ("team-a", "team-b"))
    assert (is_wanted(SHARED, ALL, mine), is_wanted(SHARED, ALL, another)) == (True, False)
    assert not is_wanted(SHARED, ALL, stored("hookline.parked.u1"))
    assert not is_wanted(LOG, ALL, stored(names.attempts_subject("team-a", "_purged")))
    assert is_wanted(LOG, ALL, stored(names.attempts_subject("team-a", "_unheard")))


def test_of_one_event_its_own_messages_are_wanted_also_where_it_came_without_an_id() -> None:
    subject = "hookline.events.team-a.A"
    assert is_wanted(EVENTS, ONE, stored(subject, Hookline_Event_Id="evt_1"))
    assert not is_wanted(EVENTS, ONE, stored(subject, Hookline_Event_Id="evt_2"))
    assert is_wanted(EVENTS, Wanted("team-a", "seq-7"), stored(subject))
    parked = stored("hookline.parked.u1", Hookline_Tenant="team-a", Hookline_Event_Id="evt_1")
    assert is_wanted(SHARED, ONE, parked)
    assert not is_wanted(SHARED, Wanted("team-b", "evt_1"), parked)
    assert not is_wanted(BACKLOG, ONE, stored("hookline.backlog.team-a", b"evt_1"))


@pytest.mark.parametrize("given", ["\N{PARTY POPPER}", "x" * 200, "../..", "a b"])
def test_an_event_whose_id_is_none_is_found_by_the_name_that_it_has_from_then_on(given: str) -> None:
    event = stored("hookline.events.team-a.A", Hookline_Event_Id=given)
    assert is_wanted(EVENTS, Wanted("team-a", "seq-7"), event)
    assert not is_wanted(EVENTS, ONE, event)


def test_a_batch_of_the_log_that_has_the_event_is_wanted() -> None:
    def batch(*ids: str) -> bytes:
        return encode([AttemptRecord(each, "A", 1.0, 1, "Delivered") for each in ids])

    subject = names.attempts_subject("team-a", "u1")
    assert is_wanted(LOG, ONE, stored(subject, batch("evt_2", "evt_1")))
    assert not is_wanted(LOG, ONE, stored(subject, batch("evt_2", "evt_11")))


def test_a_purge_waits_for_longer_than_senders_keep_lines_of_the_log() -> None:
    assert NOTED_SECONDS > attempts_log.LATEST_SECONDS + attempts_log.LOOK_SECONDS
