from __future__ import annotations

import xml.etree.ElementTree as ET

from benchmarks.flame import PARTS, part_of, read, shares, svg, table

ROOT = "_run_module_as_main (<frozen runpy>:198);Runner.run (asyncio/runners.py:118)"
FOLDED = f"""{ROOT};Sender._attempt (hookline/delivery/sender.py:10);send (hookline/delivery/http/transport.py:280) 30
{ROOT};Sender._attempt (hookline/delivery/sender.py:10);send (hookline/delivery/http/transport.py:299) 20
{ROOT};Client._read_loop (nats/aio/client.py:1);Parser.parse (nats/protocol/parser.py:2);<lambda> (functools.py:3) 40
{ROOT} 10
WorkerThread.run (anyio/_backends/_asyncio.py:1124) 1000
"""
SENDING = ("Sender._attempt (hookline/delivery/sender.py)", "send (hookline/delivery/http/transport.py)")


def test_only_the_thread_of_the_event_loop_counts_and_lines_of_one_function_are_one() -> None:
    stacks = read(FOLDED)
    assert stacks[SENDING] == 50
    assert sum(stacks.values()) == 100


def test_a_sample_counts_for_the_part_of_its_innermost_frame_that_is_of_one() -> None:
    found = shares(read(FOLDED))
    assert found == {**dict.fromkeys(PARTS, 0.0), "HTTP and TLS": 0.5, "messages of NATS": 0.4, "the event loop": 0.1}


def test_every_part_is_found_by_each_of_its_marks() -> None:
    for part, marks in PARTS.items():
        for mark in marks:
            assert part_of((f"f ({mark}x.py)" if mark.endswith("/") else f"f ({mark})" if mark else "f",)) == part


def test_the_largest_share_comes_first() -> None:
    rows = table({"small": 0.25, "large": 0.75}).splitlines()
    assert rows[2:] == ["| large | 75.0% |", "| small | 25.0% |"]


def test_a_box_is_as_wide_as_its_share_and_says_it() -> None:
    picture = ET.fromstring(svg(read(FOLDED)))
    space = "{http://www.w3.org/2000/svg}"
    boxes = {}
    for group in picture.iter(f"{space}g"):
        title, rect = group.find(f"{space}title"), group.find(f"{space}rect")
        assert title is not None
        assert rect is not None
        boxes[title.text] = float(rect.attrib["width"])
    assert boxes[f"{SENDING[1]}: 50.0%"] == 600
    assert boxes["Client._read_loop (nats/aio/client.py): 40.0%"] == 480


def test_no_samples_draw_nothing() -> None:
    assert ET.fromstring(svg(read(""))).findall("{http://www.w3.org/2000/svg}g") == []
