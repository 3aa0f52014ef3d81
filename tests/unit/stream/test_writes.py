from __future__ import annotations

from hookline.stream.queue_problem import QueueReason
from hookline.stream.writes import FORGOTTEN_SECONDS, SURE_SECONDS, Writes


def test_tries_of_one_moment_are_no_proof_and_those_after_a_while_are() -> None:
    writes = Writes()
    for _ in range(16):
        writes.refused("DELIVERIES", "it confirms nothing", 100.0)
    assert writes.problem(101.0) is None
    writes.refused("DELIVERIES", "no space", 100.0 + SURE_SECONDS)
    problem = writes.problem(116.0)
    assert problem is not None
    assert problem.reason is QueueReason.QUEUE_REFUSES_WRITES
    assert "DELIVERIES takes no writes (no space)" in problem.message


def test_what_is_stored_ends_it_for_that_stream_alone() -> None:
    writes = Writes()
    for stream in ("DEAD", "PARKED"):
        writes.refused(stream, "", 0.0)
        writes.refused(stream, "", 20.0)
    writes.stored("DEAD")
    assert "PARKED" in str(writes.problem(21.0))
    writes.stored("PARKED")
    assert writes.problem(21.0) is None
    assert not writes.in_doubt


def test_without_a_try_nothing_is_known_after_a_while() -> None:
    writes = Writes()
    writes.refused("DEAD", "", 0.0)
    writes.refused("DEAD", "", 20.0)
    assert writes.problem(20.0 + FORGOTTEN_SECONDS - 1) is not None
    assert writes.problem(20.0 + FORGOTTEN_SECONDS) is None
    writes.refused("DEAD", "", 20.0 + FORGOTTEN_SECONDS)
    assert writes.problem(20.0 + FORGOTTEN_SECONDS) is None


def test_another_server_is_judged_anew() -> None:
    writes = Writes()
    writes.refused("DEAD", "", 0.0)
    writes.refused("DEAD", "", 20.0)
    writes.forget()
    assert writes.problem(20.0) is None
