"""A profile of Go's pprof, built byte by byte."""

from __future__ import annotations

import gzip

import pytest
from benchmarks.pprof import read

SERVER = "/home/somebody/src/nats-server/v2/server"
STRINGS = [
    "",
    "github.com/nats-io/nats-server/v2/server.(*client).readLoop",
    f"{SERVER}/client.go",
    "github.com/nats-io/nats-server/v2/server.(*client).parse",
    f"{SERVER}/parser.go",
    "runtime.mcall",
    "runtime/asm_amd64.s",
    "github.com/nats-io/nats-server/v2/server/stree.(*Tree[go.shape.struct { some/where.size int[4] }]).Find",
    f"{SERVER}/stree/stree.go",
]
READ, PARSE = "server.(*client).readLoop (server/client.go)", "server.(*client).parse (server/parser.go)"


def varint(value: int) -> bytes:
    small, rest = value & 0x7F, value >> 7
    return bytes([small | 0x80]) + varint(rest) if rest else bytes([small])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def message(field: int, *parts: bytes) -> bytes:
    whole = b"".join(parts)
    return varint(field << 3 | 2) + varint(len(whole)) + whole


def sample(places: list[int], count: int) -> bytes:
    return message(2, message(1, *map(varint, places)), message(2, varint(count), varint(count * 10_000_000)))


def location(id_: int, *functions: int) -> bytes:
    return message(4, number(1, id_), number(3, 0x401000), *(message(4, number(1, each)) for each in functions))


NAMES = [
    *(message(5, number(1, id_), number(2, 2 * id_ - 1), number(4, 2 * id_)) for id_ in (1, 2, 3, 4)),
    *(message(6, text.encode()) for text in STRINGS),
]
PLACES = [location(1, 1), location(300, 2), location(3, 3), location(4, 2, 1), location(5, 4)]


def profile(*fields: bytes) -> bytes:
    return gzip.compress(b"".join((message(1, number(1, 1)), *fields, *PLACES, *NAMES)))


def test_a_stack_is_outermost_first_and_names_function_folder_and_file() -> None:
    assert read(profile(sample([300, 1], 200), sample([3], 1))) == {
        (READ, PARSE): 200,
        ("runtime.mcall (runtime/asm_amd64.s)",): 1,
    }


def test_a_generic_function_is_named_without_its_types() -> None:
    assert read(profile(sample([5], 1))) == {("stree.(*Tree).Find (stree/stree.go)",): 1}


def test_functions_inlined_at_one_place_are_frames_of_their_own() -> None:
    assert read(profile(sample([4], 7))) == {(READ, PARSE): 7}


def test_samples_of_one_stack_are_added_and_a_number_for_each_field_is_read_as_well() -> None:
    alone = message(2, number(1, 300), number(1, 1), number(2, 5), number(2, 0))
    assert read(profile(sample([300, 1], 2), alone)) == {(READ, PARSE): 7}


def test_fields_that_no_stack_needs_are_passed_over() -> None:
    eight_bytes, four_bytes = varint(99 << 3 | 1) + bytes(8), varint(98 << 3 | 5) + bytes(4)
    assert read(profile(eight_bytes, four_bytes, number(12, 10_000_000), sample([3], 1))).total() == 1


def test_no_samples_are_no_stacks() -> None:
    assert read(profile()) == {}


WHOLE = b"".join((sample([3], 1), *PLACES, *NAMES))


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"404 page not found\n",
        gzip.compress(WHOLE)[:-9],
        gzip.compress(WHOLE[:-1]),
        gzip.compress(b"\x80"),
        gzip.compress(number(2, 1)),
        gzip.compress(varint(2 << 3 | 3)),
        profile(sample([77], 1)),
    ],
    ids=["nothing", "not zipped", "cut off", "cut off within", "half a number", "a number", "a kind", "no place"],
)
def test_what_is_no_profile_is_refused(answer: bytes) -> None:
    with pytest.raises(ValueError, match="not a profile of pprof"):
        read(answer)
