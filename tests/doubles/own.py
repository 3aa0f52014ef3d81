"""The streams of a NATS that had none of ours: what they are called where no prefix is asked for."""

from __future__ import annotations

from hookline.stream import names

EVENTS, DELIVERIES, PARKED, DEAD = (f"{names.OWN_PREFIX}{base}" for base in names.BASES)
FANOUT_CONSUMER = names.fanout_consumer(prefix=names.OWN_PREFIX)
LARGE_CONSUMER = names.large_consumer(prefix=names.OWN_PREFIX)
