"""Why the queue of an installation cannot be used, in the words of a condition.

A sender finds it out and says it on its health pages and in its report, the operator says it on the Dispatcher, and
`hookline run` to whoever started it. The closed list of reasons is here, as those of other conditions are in reasons.
Decides nothing and does no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass

from hookline.resources.reasons import ConditionReason


class QueueReason(ConditionReason):
    """Why nothing can be taken from the queue, or stored in it."""

    NATS_UNREACHABLE = (
        "NATSUnreachable",
        "QueueReady",
        "no server answers, or none was elected leader yet",
        "look at the NATS pods and at `spec.nats.url`; it heals by itself",
    )
    NATS_IN_USE = (
        "NATSInUse",
        "QueueReady",
        "the streams belong to another installation, which the message names",
        "another NATS or account, or `spec.nats.takeOverFrom` ([queue](queue.md))",
    )
    NATS_UNSUITABLE = (
        "NATSUnsuitable",
        "QueueReady",
        (
            "the server is older than 2.12, has no JetStream, takes only tiny messages (`max_payload`), or keeps a "
            "stream in another way than was asked for"
        ),
        "update it, enable JetStream",
    )
    NATS_REFUSED = (
        "NATSRefused",
        "QueueReady",
        (
            "the server refused the credentials, a permission is missing (the message names the subject), or NATS "
            "refused a stream"
        ),
        "give the user what [queue.md](queue.md) lists",
    )
    STREAM_FOREIGN = (
        "StreamForeign",
        "QueueReady",
        "a stream of another application has our name, or one that `streamPrefix` asks for, or takes our subjects",
        "give Hookline an account of its own, or another `streamPrefix`",
    )
    QUEUE_REFUSES_WRITES = (
        "QueueRefusesWrites",
        "QueueReady",
        (
            "NATS answers and stores nothing, in a stream that the message names, and has not for 15 s: its disk is "
            "full, or was. It ends with the first message that is stored, or a minute after the last that was not"
        ),
        (
            "free space; after an error of the disk nats-server takes no writes until it is restarted, which the "
            "probe of the shipped single server does within a minute ([kubernetes](kubernetes.md))"
        ),
    )


@dataclass(frozen=True, slots=True)
class QueueProblem:
    """One reason, and a sentence that says what to do. The sentence holds no secret."""

    reason: QueueReason
    message: str


FOREIGN_ADVICE = "give Hookline a NATS account of its own, or change that stream"
