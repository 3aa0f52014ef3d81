"""The index of attempts against a plain list."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from hookline.api import index, index_reader
from hookline.api.index import Entry, IndexWriter, Mark
from hookline.api.index_reader import IndexReader
from hookline.api.log import Wanted
from hookline.api.object_names import place_in_log, seq_of
from hookline.stream.attempt_record import AttemptRecord

TENANTS, WEBHOOKS, EVENTS = ("team-a", "team-b"), ("one", "two"), ("evt_1", "evt_2", "evt_3")
TYPES, ENDS = ("IdentityCreated", "IdentityDeleted"), (("Delivered", 200), ("HTTPStatus", 503), ("DNSFailure", None))

records = st.builds(
    lambda event, type_, end, attempt, probe: AttemptRecord(
        event, type_, 1000.5, attempt, end[0], end[1], url="https://receiver/", probe=probe, follows="Done"
    ),
    st.sampled_from(EVENTS),
    st.sampled_from(TYPES),
    st.sampled_from(ENDS),
    st.integers(1, 3),
    st.booleans(),
)
batches = st.lists(
    st.tuples(st.sampled_from(TENANTS), st.sampled_from(WEBHOOKS), st.lists(records, min_size=1, max_size=3)),
    min_size=1,
    max_size=4,
)
questions = st.tuples(
    st.sampled_from((*TENANTS, "", "nobody")),
    st.builds(
        Wanted,
        webhook=st.sampled_from(("", *WEBHOOKS, "none")),
        event_id=st.sampled_from(("", *EVENTS)),
        event_type=st.sampled_from(("", *TYPES)),
        status=st.sampled_from(("", "200", "503", "404", "x", "\u0665")),
        reason=st.sampled_from(("", "Delivered", "HTTPStatus", "DNSFailure")),
    ),
)


def is_wanted(entry: Entry, namespace: str, wanted: Wanted) -> bool:
    record = entry.record
    pairs = (
        (namespace, entry.tenant),
        (wanted.webhook, entry.webhook),
        (wanted.event_id, record.event_id),
        (wanted.event_type, record.event_type),
        (wanted.status, str(record.status)),
        (wanted.reason, record.reason),
    )
    return all(not asked or asked == said for asked, said in pairs)


def forget_marked(writer: IndexWriter) -> None:
    while writer.forget_marked():
        pass


def fill(writer: IndexWriter) -> None:
    """As whoever reads the log does once it has caught up."""
    writer.make_indexes()
    forget_marked(writer)
    writer.filled()


class Model(RuleBasedStateMachine):
    """What is in the index is what was put in and not forgotten, by whatever it is asked for."""

    scan = 3

    @initialize(filled=st.booleans())
    def begin(self, filled: bool) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "attempts.sqlite3"
        self.writer = IndexWriter(self.path)
        if filled:
            fill(self.writer)
        self.entries: list[Entry] = []
        self.seq = 0
        self.floor = 0
        self.reader: IndexReader | None = None
        index_reader.SCAN, index.CHUNK, index.STEPS = self.scan, 2, 4

    def teardown(self) -> None:
        index_reader.SCAN, index.CHUNK, index.STEPS = 50_000, 20_000, 1000
        if hasattr(self, "writer"):
            self.writer.close()
            if self.reader is not None:
                self.reader.close()
            self.folder.cleanup()

    @rule(batches=batches)
    def add(self, batches: list[tuple[str, str, list[AttemptRecord]]]) -> None:
        found = []
        for tenant, webhook, some in batches:
            self.seq += 1
            found += [
                Entry(place_in_log(self.seq, line), tenant, webhook, f"uid-{tenant}-{webhook}", "sender-1", each)
                for line, each in enumerate(some)
            ]
        assert self.writer.add(found, self.seq, self.seq * 10) == len(found)
        self.entries += found

    @rule(back=st.integers(0, 6))
    def the_stream_has_less(self, back: int) -> None:
        self.writer.raise_floor(max(1, self.seq - back))
        self.floor = max(self.floor, place_in_log(max(1, self.seq - back), 0))
        self.entries = [each for each in self.entries if each.place >= self.floor]

    @rule()
    def forget_what_it_has_not(self) -> None:
        while not self.writer.is_cleared:
            self.writer.forget_some()
        below = "SELECT count(*) FROM attempts WHERE place < ?"
        assert self.writer._db.execute(below, (self.floor,)).fetchone() == (0,)

    @rule(tenant=st.sampled_from(TENANTS), event=st.sampled_from(("", *EVENTS)), back=st.integers(0, 5))
    def forget_tenant(self, tenant: str, event: str, back: int) -> None:
        before = place_in_log(max(0, self.seq - back), 0)
        crashes = self.writer.is_filled and event == "evt_2"
        self.writer.add([], self.seq, self.seq * 10, [Mark(tenant, before, event)])
        if crashes:
            self.writer.close()
            self.writer = IndexWriter(self.path)
        forget_marked(self.writer)
        self.entries = [
            each
            for each in self.entries
            if each.tenant != tenant or each.place >= before or (event and each.record.event_id != event)
        ]

    @rule(tenant=st.sampled_from(TENANTS), webhook=st.sampled_from(WEBHOOKS), back=st.integers(0, 5))
    def push_out(self, tenant: str, webhook: str, back: int) -> None:
        before = place_in_log(max(0, self.seq - back), 0)
        while self.writer.forget_pushed_out(tenant, f"uid-{tenant}-{webhook}", before):
            pass
        self.entries = [
            each for each in self.entries if (each.tenant, each.webhook) != (tenant, webhook) or each.place >= before
        ]

    @rule(number=st.integers(0, 3))
    def rewind(self, number: int) -> None:
        steps = self.writer.steps()
        assert len(steps) <= 5
        # The stream has the message of the step still: else it says nothing.
        if number < len(steps) and place_in_log(steps[number][0], 0) >= self.floor:
            self.writer.rewind(steps[number])
            self.seq = self.writer.seen
            self.entries = [each for each in self.entries if seq_of(each.place) <= self.seq]

    @rule()
    def close_and_open(self) -> None:
        was_filled = self.writer.is_filled
        self.writer.close()
        if self.reader is not None:
            self.reader.close()
            self.reader = None
        self.writer = IndexWriter(self.path)
        assert self.writer.is_filled == was_filled
        if not was_filled:
            self.entries, self.seq, self.floor = [], 0, 0
        assert (self.writer.seen, self.writer.floor) == (self.seq, self.floor)
        assert self.writer.seen_ns in (None, self.seq * 10)

    @rule(question=questions, limit=st.integers(1, 4), cut=st.integers(0, 20))
    def list_and_follow(self, question: tuple[str, Wanted], limit: int, cut: int) -> None:
        if not self.writer.is_filled:
            fill(self.writer)
        if self.reader is None:
            self.reader = IndexReader(self.path)
        reader = self.reader
        last = place_in_log(self.seq + 1, 0)
        wanted = [each for each in self.entries if is_wanted(each, *question)]

        def parts(ask: Callable[[int], index_reader.Part], place: int) -> Iterator[Entry]:
            more: int | None = place
            while more is not None:
                part = ask(more)
                assert len(part.entries) <= limit
                yield from part.entries
                more = part.more

        newest_first = parts(lambda place: reader.before(*question, place, self.floor, limit), last)
        assert list(newest_first) == wanted[::-1]
        since = self.entries[cut % len(self.entries)].place if self.entries else self.floor - 1
        behind = parts(lambda place: reader.after(*question, place, last, limit), since)
        assert list(behind) == [each for each in wanted if each.place > since]

    @invariant()
    def each_is_found_by_its_place(self) -> None:
        if self.reader is not None and self.entries:
            assert self.reader.at(self.entries[-1].place) == self.entries[-1]


Model.TestCase.settings = settings(max_examples=40, stateful_step_count=15, deadline=None)
test_the_index_is_as_a_plain_list_would_be = Model.TestCase


@dataclass
class File:
    path: Path
    open: list[IndexWriter] = field(default_factory=list)

    def writer(self) -> IndexWriter:
        self.open.append(IndexWriter(self.path))
        return self.open[-1]


@pytest.fixture
def file(tmp_path: Path) -> Iterator[File]:
    found = File(tmp_path / "attempts.sqlite3")
    yield found
    for each in found.open:
        each.close()


def entry(seq: int, **changes: object) -> Entry:
    record = AttemptRecord("evt_1", "IdentityCreated", 1000.0, 1, "Delivered", 200)
    for name, value in changes.items():
        setattr(record, name, value)
    return Entry(place_in_log(seq, 0), "team-a", "hook", "uid-1", "sender-1", record)


@pytest.mark.parametrize("rubbish", [b"", b"not a database" * 100, b"SQLite format 3\x00" + bytes(5000)])
def test_a_file_that_is_broken_or_of_another_version_is_made_anew(file: File, rubbish: bytes) -> None:
    file.path.write_bytes(rubbish)
    writer = file.writer()
    assert (writer.seen, writer.is_filled) == (0, False)
    writer.add([entry(1)], 1, 1)


def test_a_file_that_never_caught_up_is_made_anew(file: File) -> None:
    writer = file.writer()
    writer.add([entry(1)], 1, 1)
    writer.close()
    assert file.writer().seen == 0


def test_what_is_added_is_there_as_a_whole_or_not_at_all(file: File) -> None:
    writer = file.writer()
    fill(writer)
    wrong = entry(2)
    wrong.place = "x"  # type: ignore[assignment]
    with pytest.raises(sqlite3.Error):
        writer.add([entry(1), wrong], 2, 2)
    assert writer.seen == 0
    writer.add([entry(1)], 1, 1)
    reader = IndexReader(file.path)
    assert [each.place for each in reader.before("team-a", Wanted(), 2**62, 0, 9).entries] == [place_in_log(1, 0)]
    reader.close()


def test_texts_of_senders_that_are_gone_are_forgotten(file: File) -> None:
    writer = file.writer()
    fill(writer)
    for seq in range(1, 6):
        one = entry(seq)
        one.sender = f"sender-{seq}"
        writer.add([one], seq, seq)
    writer.raise_floor(5)
    while writer.forget_some():
        pass
    database = sqlite3.connect(file.path)
    assert database.execute("SELECT sender FROM series").fetchall() == [("sender-5",)]
    database.close()
    again = entry(6)
    again.sender = "sender-1"
    writer.add([again], 6, 6)
    reader = IndexReader(file.path)
    found = reader.at(place_in_log(6, 0))
    reader.close()
    assert found is not None
    assert found.sender == "sender-1"


def test_a_webhook_that_was_made_anew_keeps_what_it_has_when_the_former_one_is_pushed_out(file: File) -> None:
    writer = file.writer()
    fill(writer)
    second = entry(2)
    second.uid = "uid-2"
    writer.add([entry(1), second], 2, 2)
    assert not writer.forget_pushed_out("team-a", "uid-1", place_in_log(9, 0))
    reader = IndexReader(file.path)
    assert [each.uid for each in reader.before("team-a", Wanted(webhook="hook"), 2**62, 0, 9).entries] == ["uid-2"]
    assert reader.pushed_out("team-a") == place_in_log(9, 0)
    assert reader.pushed_out("team-b") == 0
    assert reader.pushed_out("") == place_in_log(9, 0)
    reader.close()
