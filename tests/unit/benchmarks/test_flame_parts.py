from __future__ import annotations

import re
from pathlib import Path

import pytest
from benchmarks.flame_parts import NATS, SENDER, Parts, part_of, shares

import hookline

PACKAGE = Path(hookline.__file__).parent
OURS = [
    path.relative_to(PACKAGE.parent).as_posix()
    for room in ("delivery", "stream", "runtime", "routing", "events")
    for path in sorted((PACKAGE / room).rglob("*.py"))
    if path.name != "__init__.py"
]
WITHOUT = {"files of ours without a part": SENDER, "files of nats-server without a part": NATS}


@pytest.mark.parametrize("path", OURS)
def test_each_file_that_a_sender_runs_has_a_part(path: str) -> None:
    assert part_of((f"f ({path})",), SENDER) not in WITHOUT


@pytest.mark.parametrize("mark", [mark for marks in SENDER.values() for mark in marks if "hookline/" in mark])
def test_a_part_names_no_file_or_function_of_ours_that_is_gone(mark: str) -> None:
    function, path = re.fullmatch(r"(?:(\w+) \()?([\w/.]+)\)?", mark).groups()  # type: ignore[union-attr]
    assert (PACKAGE.parent / path).exists()
    assert function is None or f"def {function}(" in (PACKAGE.parent / path).read_text()


@pytest.mark.parametrize(
    ("frame", "parts", "part"),
    [
        ("f (hookline/delivery/new.py)", SENDER, "files of ours without a part"),
        ("server.f (server/new.go)", NATS, "files of nats-server without a part"),
    ],
)
def test_a_file_that_no_part_names_is_not_counted_for_its_caller(frame: str, parts: Parts, part: str) -> None:
    caller = {"files of ours without a part": "f (hookline/delivery/sender.py)"}.get(part, "f (server/stream.go)")
    assert part_of((caller, frame), parts) == part


@pytest.mark.parametrize("parts", [SENDER, NATS], ids=["sender", "nats-server"])
def test_every_part_is_found_by_each_of_its_marks(parts: Parts) -> None:
    for part, marks in parts.items():
        for mark in marks:
            assert part_of((f"x.f {mark}" if mark else "f",), parts) == part


@pytest.mark.parametrize(
    ("part", "stack"),
    [
        (
            "fsync",
            (
                "server.(*fileStore).writeMsgRecord (server/filestore.go)",
                "os.(*File).Sync (os/file_posix.go)",
                "syscall.Fsync (syscall/zsyscall_linux_amd64.go)",
                "syscall.Syscall (syscall/syscall_linux.go)",
            ),
        ),
        ("file store", ("server.(*msgBlock).flush (server/filestore.go)", "os.(*File).WriteAt (os/file.go)")),
        ("JetStream: publishing", ("server.(*stream).processMsg (server/stream.go)", "runtime.memmove (runtime/x.s)")),
        ("allocation and Go's collector", ("server.f (server/stream.go)", "runtime.mallocgc (runtime/malloc.go)")),
        (
            "Go's scheduler",
            (
                "server.f (server/stream.go)",
                "runtime.chansend (runtime/chan.go)",
                "runtime.goready (runtime/proc.go)",
                "runtime.futex (runtime/sys_linux_amd64.s)",
            ),
        ),
        ("Go's scheduler", ("runtime.mcall (runtime/asm_amd64.s)", "runtime.findRunnable (runtime/proc.go)")),
    ],
)
def test_go_s_library_counts_for_its_caller_but_fsync_allocation_and_waking_others(
    part: str, stack: tuple[str, ...]
) -> None:
    assert part_of(stack, NATS) == part


def test_shares_are_of_all_samples_and_name_every_part() -> None:
    found = shares({("f (aiohttp/x.py)",): 30, ("f (hookline/stream/pull.py)", "g (functools.py)"): 50, (): 20}, SENDER)
    assert found == {
        **dict.fromkeys(SENDER, 0.0),
        "HTTP and TLS": 0.3,
        "messages of NATS": 0.5,
        "the event loop": 0.2,
    }


def test_no_samples_have_no_shares() -> None:
    assert set(shares({}, NATS).values()) == {0.0}
