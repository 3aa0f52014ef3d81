"""Which deliveries share a lane: those of one Webhook. Decided here and nowhere else.

What shares a lane waits in one row and is called in that order. `lanes` takes keys as they are, so another division of
a Webhook's deliveries is another `lane_of` and `lanes_of`. The bounds are the Webhook's all the same: see `lanes.Terms`
before a Webhook has more than one lane.
"""

from __future__ import annotations

from typing import NewType

from hookline.delivery.messages import Delivery

LaneKey = NewType("LaneKey", str)
"""Names a lane. Never read: whoever needs the Webhook has it from the delivery."""


def lane_of(delivery: Delivery) -> LaneKey:
    """The lane in which a delivery waits."""
    return LaneKey(delivery.uid)


def lanes_of(uid: str) -> tuple[LaneKey, ...]:
    """All lanes in which deliveries of a Webhook may wait."""
    return (LaneKey(uid),)
