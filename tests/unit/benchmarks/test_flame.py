from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from benchmarks.flame import BEGINS_BELOW, Profile, ProfiledServer, in_order, lines_of, read, table, together
from benchmarks.flame_parts import NATS, SENDER
from benchmarks.load import Cost
from benchmarks.stage import Failed, OneServer

ROOT = "_run_module_as_main (<frozen runpy>:198);Runner.run (asyncio/runners.py:118)"
FOLDED = f"""{ROOT};Sender._attempt (hookline/delivery/sender.py:10);send (hookline/delivery/http/transport.py:280) 30
{ROOT};Sender._attempt (hookline/delivery/sender.py:10);send (hookline/delivery/http/transport.py:299) 20
{ROOT};Client._read_loop (nats/aio/client.py:1);Parser.parse (nats/protocol/parser.py:2);<lambda> (functools.py:3) 40
{ROOT} 10
WorkerThread.run (anyio/_backends/_asyncio.py:1124) 1000
"""
SENDING = ("Sender._attempt (hookline/delivery/sender.py)", "send (hookline/delivery/http/transport.py)")
OF_SENDER = Profile("sender", SENDER, read(FOLDED), 200.0)
OF_NATS = Profile("nats-server", NATS, {("os.(*File).Sync (os/file_posix.go)",): 3, ("f",): 1}, 120.0)


def test_only_the_thread_of_the_event_loop_counts_and_lines_of_one_function_are_one() -> None:
    stacks = read(FOLDED)
    assert stacks[SENDING] == 50
    assert sum(stacks.values()) == 100
    assert BEGINS_BELOW not in {frame for stack in stacks for frame in stack}


def test_a_table_has_the_largest_first_with_its_microseconds_for_each_delivery() -> None:
    assert table(OF_SENDER).splitlines()[:4] == [
        "| sender | share | us for each |",
        "| --- | ---: | ---: |",
        "| HTTP and TLS | 50.0% | 100.0 |",
        "| messages of NATS | 40.0% | 80.0 |",
    ]


def test_parts_of_both_processes_are_in_one_order() -> None:
    assert in_order([OF_SENDER, OF_NATS]).splitlines()[2:6] == [
        "| sender | HTTP and TLS | 100.0 |",
        "| nats-server | fsync | 90.0 |",
        "| sender | messages of NATS | 80.0 |",
        "| nats-server | Go's scheduler | 30.0 |",
    ]


def test_the_page_says_the_machine_and_how_many_samples_there_are() -> None:
    said = "\n".join(lines_of([OF_SENDER, OF_NATS], {"cores": 2}))
    assert said.startswith("cores 2\n")
    assert "\n100 samples of the sender, 200 us for each delivery:\n" in said
    assert "\n4 samples of the nats-server, 120 us for each delivery:\n" in said


def test_what_several_loads_cost_is_for_all_of_their_deliveries() -> None:
    whole = together([Cost(100, 1.0, 0.02, 0.01), Cost(300, 3.0, 0.06, 0.07)])
    assert (whole.deliveries, whole.per_second) == (400, 100.0)
    assert whole.queue_us == pytest.approx(200.0)
    assert whole.cpu_us == pytest.approx(400.0)


def test_the_profiler_of_nats_server_is_on_loopback_and_in_this_benchmark_only(tmp_path: Path) -> None:
    def settings(server: OneServer) -> dict[str, object]:
        return dict(json.loads(server._configuration()))

    without, with_ = settings(OneServer(tmp_path)), settings(ProfiledServer(tmp_path))
    assert "prof_port" not in without
    assert with_.pop("prof_port") == -1
    assert str(with_["listen"]).startswith("127.0.0.1:")
    assert with_.keys() == without.keys()


async def test_a_server_without_a_profiler_is_named_as_the_cause(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="nats-server gave no profile"):
        await asyncio.to_thread(ProfiledServer(tmp_path).profile, 1)
