"""What every measurement of a run is given: sizes, and the maximum that load is a share of. Measures nothing."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.engines import Engine
from benchmarks.receiver import Receiver

SHARE_WITH_ROOM = 0.25
"""Of the maximum. Nearer to it the processes of this benchmark keep two cores so busy that 15 % more events raise a p99
by a third, whoever they are for."""


@dataclass(frozen=True)
class Sizes:
    """How much of everything. Seconds are those of one window of steady load."""

    rounds: int = 3
    flood: int = 4000
    window_seconds: float = 10.0
    latency_seconds: float = 20.0
    way_seconds: float = 8.0
    backlog: int = 1_000_000
    drain: int = 20_000
    webhooks: int = 10_000
    lanes: int = 5_000
    waiting: int = 1_000_000
    """Events of one tenant."""
    tenants: int = 1_000
    fair_rounds: int = 3
    fair_seconds: float = 5.0
    controlled: int = 5
    """Cases of (i) of which the control is measured as well, the first ones."""
    gateway_seconds: float = 4.0
    connections: int = 9_500
    """Idle ones of a gateway, which lets 10,000 in."""
    records: int = 10_000_000
    """Of the attempts log."""
    replays: int = 100_000
    """Dead letters, and events, of one Replay."""

    @property
    def p99_rounds(self) -> int:
        """More than `rounds`: a p99 of the same load differs by half from one round to the next."""
        return 2 * self.rounds - 1


QUICK = Sizes(
    rounds=1,
    flood=1500,
    window_seconds=5.0,
    latency_seconds=6.0,
    way_seconds=2.0,
    backlog=20_000,
    drain=2_000,
    webhooks=2_000,
    lanes=1_000,
    waiting=100_000,
    tenants=100,
    fair_rounds=1,
    fair_seconds=2.0,
    controlled=1,
    gateway_seconds=1.5,
    connections=1_000,
    records=200_000,
    replays=5_000,
)


def sizes(*, quick: bool, backlog: int | None, records: int | None = None) -> Sizes:
    """What was asked for on the command line."""
    chosen = QUICK if quick else Sizes()
    if records is not None:
        chosen = replace(chosen, records=records)
    return (
        chosen
        if backlog is None
        else replace(chosen, backlog=backlog, waiting=backlog, drain=min(chosen.drain, backlog))
    )


@dataclass
class Setting:
    """One run of the benchmark."""

    folder: Path
    receiver: Receiver
    sizes: Sizes
    sync_interval: str
    before: Engine | None = None
    """A former one, to compare with."""
    maximum: float | None = None
    """Deliveries per second of one sender on this machine, once throughput has measured it."""
    curves: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    """For the plots."""
    remarks: list[str] = field(default_factory=list)
    """What a reader must know of this run besides its figures."""
