"""When a Webhook that this sender does not know counts as deleted. Pure bookkeeping: asks nobody, reads no clock.

Senders load a change of the route book one after the other, and one of them may be far behind. So a Webhook is gone
only when it was unknown here and nobody else said to know it, at each of many questions in a row. Questions and not
times are counted: while nobody can be heard, none are asked, and the clocks of two machines are never compared.
"""

from __future__ import annotations

from collections.abc import Iterable

GONE_SECONDS = 120.0
"""How long a Webhook must be unknown to all senders. A kubelet refreshes a volume within 60 to 90 s, seldom later."""

QUESTIONS = 12
"""Asked in that time."""


class DeletedWebhooks:
    """Webhooks that are unknown here and have deliveries that wait, with the questions that nobody answered."""

    def __init__(self) -> None:
        self._unanswered: dict[str, int] = {}

    def ask(self, uids: Iterable[str]) -> None:
        """These are unknown now and are being asked for; all others are known, or nothing waits for them."""
        self._unanswered = {uid: self._unanswered.get(uid, -1) + 1 for uid in uids}

    def known(self, uids: Iterable[str]) -> None:
        """Somebody knows these."""
        for uid in uids:
            self._unanswered.pop(uid, None)

    def forget(self) -> None:
        """Nobody could be heard: begin anew."""
        self._unanswered.clear()

    def gone(self, uid: str) -> bool:
        """Whether a Webhook counts as deleted."""
        return self._unanswered.get(uid, 0) >= QUESTIONS
