"""Why the queue of an installation cannot be used, in the words of a condition.

A sender finds it out and says it on its health pages and in its report, the operator says it on the Dispatcher, and
`hookline run` to whoever started it. The closed list of reasons is here. Decides nothing and does no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class QueueReason(StrEnum):
    """Why nothing can be taken from the queue, or stored in it. Each is in docs/conditions.md."""

    NATS_UNREACHABLE = "NATSUnreachable"
    """No server answers, or no leader was elected yet."""
    NATS_IN_USE = "NATSInUse"
    """The streams belong to another installation."""
    NATS_UNSUITABLE = "NATSUnsuitable"
    """The server is too old, or set up without something that deliveries need."""
    NATS_REFUSED = "NATSRefused"
    """The server refused the credentials, or a permission is missing."""
    STREAM_FOREIGN = "StreamForeign"
    """A stream of another application has a name or subjects that Hookline needs."""
    QUEUE_REFUSES_WRITES = "QueueRefusesWrites"
    """The server answers, and stores nothing: a full disk, or an IO error before."""


@dataclass(frozen=True, slots=True)
class QueueProblem:
    """One reason, and a sentence that says what to do. The sentence holds no secret."""

    reason: QueueReason
    message: str


FOREIGN_ADVICE = "give Hookline a NATS account of its own, or change that stream"
