from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubles.queue import Queue, stored_ns
from hookline.delivery import set_aside
from hookline.delivery.set_aside import MOST, Place, SetAside, read, written
from hookline.delivery.settlement import Settlement
from hookline.stream import names
from hookline.stream.connection import StreamRefused, StreamUnavailable
from hookline.stream.pull import Taken

PLACES = st.builds(Place, st.integers(1, 10**19 - 1), st.integers(0, 10**19 - 1))


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(set_aside, "GATHER_SECONDS", 0.0)


def aside_of(queue: Queue, settlement: Settlement | None = None) -> SetAside:
    return SetAside(queue.publisher, settlement or queue.settlement, queue.pull, queue.metrics)


async def add(aside: SetAside, *events: Taken, tenant: str = "a") -> None:
    """All of them before anything is stored."""
    storing = [work for each in events if (work := aside.add(tenant, each)) is not None]
    await asyncio.gather(*storing)


@given(st.lists(PLACES, min_size=1, max_size=MOST, unique=True))
def test_what_is_written_is_read_as_it_was(places: list[Place]) -> None:
    assert read(written(places)) == places


@given(st.binary(max_size=200) | st.text("0123456789 \n\r_-+.", max_size=80).map(str.encode))
def test_whatever_somebody_wrote_is_read_as_events_that_may_exist_or_is_an_error(body: bytes) -> None:
    try:
        places = read(body)
    except ValueError:
        return
    assert 0 < len(places) <= MOST
    assert all(0 < seq < 2**64 and 0 <= at < 2**64 for seq, at in places)


@pytest.mark.parametrize(
    "body",
    [b"", b"\n", b"1", b"1 ", b" 1 2", b"1  2", b"0 1", b"-1 2", b"1_0 2", b"1 2\r\n3 4", b"1 2\n", b"9" * 20 + b" 1",
     b"1 " + b"9" * 20, "1 \u0662".encode(), b"1 2 3", b"x y", b"1 2\n" * MOST + b"1 2", b"\n" * 2**20],
)  # fmt: skip
def test_what_names_no_event_or_too_many_is_an_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"it names|a line is"):
        read(body)


def test_an_event_that_is_named_twice_is_read_once() -> None:
    assert read(b"1 2\n1 2\n3 4\n1 2") == [Place(1, 2), Place(3, 4)]


async def test_one_message_names_many_events_which_are_acked_after_it_is_stored() -> None:
    queue = Queue()
    aside = aside_of(queue)
    await add(aside, *(queue.event(seq) for seq in range(1, 11)))
    assert [each.subject for each in queue.stored] == [names.backlog_subject("a")]
    assert read(queue.stored[0].body) == [Place(seq, stored_ns(seq)) for seq in range(1, 11)]
    assert queue.did == ["store hookline.backlog.a", *(f"+ACK fanout.{seq}" for seq in range(1, 11))]
    assert sorted(queue.released) == list(range(1, 11))
    assert aside.behind == {"a"}
    assert queue.metrics.registry.get_sample_value("hookline_events_set_aside_total") == 10


async def test_more_than_one_message_may_name_are_named_by_several() -> None:
    queue = Queue()
    await add(aside_of(queue), *(queue.event(seq) for seq in range(1, MOST + 2)))
    assert [len(read(body)) for _, body in queue.stored] == [MOST, 1]
    assert len(queue.released) == MOST + 1


async def test_what_comes_while_others_are_stored_goes_with_the_next_message() -> None:
    queue = Queue()
    aside = aside_of(queue)
    storing = aside.add("a", queue.event(1))
    assert storing is not None
    running = asyncio.create_task(storing)
    await asyncio.sleep(0)
    assert aside.add("a", queue.event(2)) is None
    await running
    assert {place.seq for _, body in queue.stored for place in read(body)} == {1, 2}
    assert queue.acked(queue.event(2))


async def test_events_that_come_at_once_are_stored_by_one_of_them_and_so_is_what_comes_meanwhile() -> None:
    queue = Queue()
    aside = aside_of(queue)
    first = aside.add("a", queue.event(1))
    assert first is not None
    assert aside.add("a", queue.event(2)) is None
    running = asyncio.create_task(first)
    await asyncio.sleep(0)
    assert aside.add("a", queue.event(3)) is None
    await running
    assert [len(read(body)) for _, body in queue.stored] == [2, 1]
    later = aside.add("a", queue.event(4))
    assert later is not None
    await later
    assert queue.acked(queue.event(4))


async def test_enough_for_a_whole_message_waits_for_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(set_aside, "GATHER_SECONDS", 3600.0)
    queue = Queue()
    aside = aside_of(queue)
    storing = asyncio.create_task(add(aside, queue.event(1)))
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(queue.stored) == 1
    await add(aside, *(queue.event(seq) for seq in range(2, MOST + 2)))
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(queue.stored) == 2
    storing.cancel()


async def test_each_tenant_has_messages_of_its_own() -> None:
    queue = Queue()
    aside = aside_of(queue)
    await asyncio.gather(add(aside, queue.event(1)), add(aside, queue.event(2, tenant="b"), tenant="b"))
    assert {each.subject for each in queue.stored} == {"hookline.backlog.a", "hookline.backlog.b"}


@pytest.mark.parametrize("problem", [StreamUnavailable("away"), StreamRefused("full")])
async def test_what_cannot_be_set_aside_stays_unacked_and_gives_its_room_back(problem: Exception) -> None:
    queue = Queue()
    queue.problem = problem
    aside = aside_of(queue)
    await add(aside, queue.event(1), queue.event(2))
    assert queue.did == []
    assert sorted(queue.released) == [1, 2]
    queue.problem = None
    await add(aside, queue.event(1), queue.event(2))
    assert queue.acked(queue.event(1))
    assert queue.acked(queue.event(2))


class Broken(Exception):
    pass


async def test_a_bug_holds_neither_these_nor_those_that_come_after_them() -> None:
    queue = Queue()
    queue.problem = Broken()
    aside = aside_of(queue)
    await add(aside, queue.event(1))
    assert queue.released == [1]
    queue.problem = None
    await add(aside, queue.event(2))
    assert queue.acked(queue.event(2))
    assert not queue.acked(queue.event(1))


async def test_a_tenant_of_which_nothing_waits_is_not_behind_even_while_it_publishes_on() -> None:
    queue = Queue()
    aside = aside_of(queue)
    storing = aside.add("a", queue.event(1))
    assert storing is not None
    running = asyncio.create_task(storing)
    await asyncio.sleep(0)
    aside.caught_up("a")
    assert aside.behind == set()
    await running


async def test_what_is_set_aside_again_as_it_was_is_stored_again() -> None:
    queue = Queue()
    aside = aside_of(queue)
    await add(aside, queue.event(1))
    body = queue.stored[0].body
    await aside.store("a", read(body), instead_of="backlog-a.1.77")
    await aside.store("a", read(body), instead_of="backlog-a.1.77")
    await aside.store("a", read(body), instead_of="backlog-a.2.78")
    assert queue.bodies(names.BACKLOG) == [body, body, body]
