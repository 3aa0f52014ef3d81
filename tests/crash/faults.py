"""Faults that are no crash of a sender: of nats-server, of the network, of the clock.

Each is a coroutine that disturbs the parties of a scenario while events are on their way, and puts everything right.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from crash.scenario import CALLED as CALLED_WEBHOOKS
from crash.scenario import IN_HAND, Parties, Plan
from crash.wire import Passages, Proxy, Way
from doubles.local import until

EVENTS = 200

CALLED = "delivered"
"""What a sender's log says of a call that went well."""

Disturb = Callable[[Parties], Coroutine[Any, Any, None]]


@dataclass(frozen=True)
class Fault:
    """A row of the matrix. `bound` is how many calls may come again because of it."""

    name: str
    disturb: Disturb
    bound: int
    what_follows: str
    timeout_seconds: int = 5
    events: int = EVENTS
    senders: int = 1
    call_seconds: float = 0.01
    retries: int = 8

    def smaller(self, events: int) -> Fault:
        """The same with fewer events and retries. A bound that counts each event counts fewer."""
        counts_events = self.bound >= self.events
        bound = self.bound * events // self.events if counts_events else self.bound
        return replace(self, events=events, retries=3, bound=bound)

    def plan(self) -> Plan:
        """Retries long enough to outlast the fault: what arrives is told from what is given up. The lane moves, so that
        most calls are made from their events."""
        return Plan(
            passages=Passages(),
            fault=self.disturb,
            events=self.events,
            schedule_seconds=(1,) * self.retries,
            timeout_seconds=self.timeout_seconds,
            rollout=False,
            of_many=0,
            senders=self.senders,
            call_seconds=self.call_seconds,
            slow=1,
        )


async def _under_way(parties: Parties, *, more: int = 20) -> None:
    """Some more calls were made."""
    before = len(parties.receiver.calls)
    await until(lambda: len(parties.receiver.calls) >= before + more, seconds=60, what="calls")


async def _kill_one_sender(parties: Parties) -> None:
    """Each time it is at work again. Calls that take long are under way whenever one has just ended."""
    sender = parties.sender
    for _ in range(3):
        before = sender.output.count(CALLED)
        await until(lambda before=before: sender.output.count(CALLED) > before, seconds=60, what="a call")  # type: ignore[misc]
        sender.kill()
    await until(lambda: sender.exits.count(-9) == 3, what="its end")


async def _kill_nats(parties: Parties) -> None:
    for _ in range(3):
        await _under_way(parties)
        await parties.server.kill()
        await asyncio.sleep(0.3)
        await parties.server.start()


async def _cut(proxy: Callable[[Parties], Proxy], parties: Parties) -> None:
    for _ in range(3):
        await _under_way(parties)
        await proxy(parties).cut()


async def _refuse(proxy: Callable[[Parties], Proxy], parties: Parties) -> None:
    await _under_way(parties)
    proxy(parties).refuses = True
    await proxy(parties).cut()
    await asyncio.sleep(3)
    proxy(parties).mend()


async def _silence(proxy: Callable[[Parties], Proxy], seconds: float, ways: tuple[Way, ...], parties: Parties) -> None:
    await _under_way(parties)
    proxy(parties).silence(*ways)
    await asyncio.sleep(seconds)
    proxy(parties).mend()


async def _delay(late_seconds: Mapping[Callable[[Parties], Proxy], float], parties: Parties) -> None:
    await _under_way(parties)
    for proxy, seconds in late_seconds.items():
        proxy(parties).delay_seconds = seconds
    await asyncio.sleep(4)
    for proxy in late_seconds:
        proxy(parties).mend()


def _wire(parties: Parties) -> Proxy:
    return parties.wire


def _road(parties: Parties) -> Proxy:
    return parties.road


_RETRIED = "the call fails with its reason and is retried; a receiver that had it gets it again"
_FORGOTTEN = "what the server forgot or never heard comes again; a sender that had settled it acks it again"

FAULTS = [
    Fault(
        "one of two senders killed three times",
        _kill_one_sender,
        # Its half of the calls, and as many again whose acks had not left.
        3 * IN_HAND,
        "what it called comes again after the ack wait, and the other one goes on meanwhile",
        events=100,
        senders=2,
        call_seconds=0.2,
    ),
    # Each call once again at most: a server that is killed forgets ids as well, and on a loaded machine more than every
    # second call was seen to be repeated.
    Fault("nats-server killed three times", _kill_nats, len(CALLED_WEBHOOKS) * EVENTS, _FORGOTTEN),
    Fault("NATS: connections reset three times", partial(_cut, _wire), EVENTS, _FORGOTTEN),
    Fault("NATS: unreachable for 3 s", partial(_refuse, _wire), EVENTS, _FORGOTTEN),
    Fault("NATS: silent for 20 s", partial(_silence, _wire, 20, ()), EVENTS, "noticed after 10 s; " + _FORGOTTEN),
    Fault(
        "NATS: hears and is not heard for 20 s",
        partial(_silence, _wire, 20, (Way.BACK,)),
        EVENTS,
        "noticed after 10 s; what was stored without a word about it is stored again",
    ),
    Fault("NATS: 50 ms late", partial(_delay, {_wire: 0.05}), 0, "nothing but slower"),
    Fault("NATS: 500 ms late", partial(_delay, {_wire: 0.5}), 0, "nothing but slower"),
    Fault("receiver: connections reset three times", partial(_cut, _road), 3 * IN_HAND, _RETRIED),
    Fault("receiver: unreachable for 3 s", partial(_refuse, _road), IN_HAND, _RETRIED),
    Fault("receiver: silent for 4 s", partial(_silence, _road, 4, ()), 2 * IN_HAND, _RETRIED, timeout_seconds=2),
    Fault(
        "receiver: hears and is not heard for 4 s",
        partial(_silence, _road, 4, (Way.BACK,)),
        3 * IN_HAND,
        _RETRIED,
        timeout_seconds=2,
    ),
    Fault("receiver: 50 ms late", partial(_delay, {_road: 0.05}), 0, "nothing but slower"),
    Fault(
        "receiver: 600 ms late, NATS: 50 ms late",
        partial(_delay, {_road: 0.6, _wire: 0.05}),
        0,
        "calls take long enough for copies, which are removed in time",
    ),
]
