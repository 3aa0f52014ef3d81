"""Whether streams take what is to be stored, as it shows in what became of earlier tries. Pure.

nats-server refuses writes to a stream after an error of its disk, mostly without an answer, and answers all else. No
question shows it. But whatever could not be stored comes again, at the latest after the ack wait, and is tried again:
so the end shows by itself. Time is the caller's monotonic clock. Never stores anything to find out.
"""

from __future__ import annotations

from dataclasses import dataclass

from hookline.stream.queue_problem import QueueProblem, QueueReason

SURE_SECONDS = 15.0
"""Between the first try that failed and the last, with none that succeeded. After so long the connection to a server
that answers nothing at all is given up, which is another problem. The tries of one moment count as one."""

FORGOTTEN_SECONDS = 60.0
"""After this time without a try nothing is known any more. Four times the ack wait."""


@dataclass(slots=True)
class _Doubt:
    first_s: float
    last_s: float
    why: str


class Writes:
    """What is known of each stream that did not store something."""

    def __init__(self) -> None:
        self._doubts: dict[str, _Doubt] = {}

    @property
    def in_doubt(self) -> bool:
        return bool(self._doubts)

    def refused(self, stream: str, why: str, now_s: float) -> None:
        """A message was not stored, although the server is there."""
        doubt = self._doubts.get(stream)
        if doubt is None or now_s - doubt.last_s >= FORGOTTEN_SECONDS:
            doubt = self._doubts[stream] = _Doubt(now_s, now_s, why)
        doubt.last_s, doubt.why = now_s, why

    def stored(self, stream: str) -> None:
        self._doubts.pop(stream, None)

    def forget(self) -> None:
        """The connection leads to another server, or to one that was started anew."""
        self._doubts.clear()

    def problem(self, now_s: float) -> QueueProblem | None:
        """The first stream that takes no writes, if there is one."""
        for stream, doubt in self._doubts.items():
            if doubt.last_s - doubt.first_s >= SURE_SECONDS and now_s - doubt.last_s < FORGOTTEN_SECONDS:
                return QueueProblem(
                    QueueReason.QUEUE_REFUSES_WRITES,
                    f"the stream {stream} takes no writes ({doubt.why}): the disk of NATS is full, or was, and then "
                    "nats-server stores nothing until it is started again; look at its log and its disk",
                )
        return None
