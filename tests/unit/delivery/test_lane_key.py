from __future__ import annotations

from hookline.delivery.lane_key import lane_of, lanes_of
from hookline.delivery.messages import Delivery
from hookline.events.envelope import Event

EVENT = Event("evt_1", "default", "IdentityCreated", "2026-11-24T00:00:00.000+00:00", b"{}")


def test_the_lane_of_a_delivery_is_among_those_that_are_emptied_for_its_webhook() -> None:
    assert lane_of(Delivery("u1", EVENT, 7)) in lanes_of("u1")


def test_all_deliveries_of_a_webhook_share_a_lane_and_no_two_webhooks_do() -> None:
    first, second, other = (lane_of(Delivery(uid, EVENT, seq)) for uid, seq in (("u1", 7), ("u1", 8), ("u2", 7)))
    assert first == second != other
