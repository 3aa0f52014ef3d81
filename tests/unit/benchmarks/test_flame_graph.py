from __future__ import annotations

import xml.etree.ElementTree as ET

from benchmarks.flame_graph import COLOURS, WIDTH, svg
from benchmarks.flame_parts import NATS, SENDER

SPACE = "{http://www.w3.org/2000/svg}"
SENDING = ("Sender._attempt (hookline/delivery/sender.py)", "send (hookline/delivery/http/transport.py)")
LOOP = ("server.(*client).readLoop (server/client.go)",)


def test_a_box_is_as_wide_as_its_share_and_says_it() -> None:
    picture = ET.fromstring(svg({SENDING: 50, ("Client._read_loop (nats/aio/client.py)",): 40, (): 10}, SENDER))
    boxes = {}
    for group in picture.iter(f"{SPACE}g"):
        title, rect = group.find(f"{SPACE}title"), group.find(f"{SPACE}rect")
        assert title is not None
        assert rect is not None
        boxes[title.text] = float(rect.attrib["width"])
    assert boxes[f"{SENDING[1]}: 50.0%"] == 600
    assert boxes["Client._read_loop (nats/aio/client.py): 40.0%"] == 480


def test_a_box_has_the_whole_name_of_a_function_of_go() -> None:
    picture = ET.fromstring(svg({LOOP: 1}, NATS))
    assert [text.text for text in picture.iterfind(f"{SPACE}g/{SPACE}text")] == ["server.(*client).readLoop"]


def test_each_part_has_a_colour_of_its_own_and_lies_in_the_picture() -> None:
    for parts in (SENDER, NATS):
        picture = ET.fromstring(svg({LOOP: 1}, parts))
        said = [(text.text, float(text.attrib["x"])) for text in picture.iterfind(f"{SPACE}text")]
        assert [text for text, _ in said] == list(parts)
        assert all(x < WIDTH - 100 for _, x in said)
        assert len(parts) <= len(set(COLOURS))


def test_no_samples_draw_nothing() -> None:
    assert ET.fromstring(svg({}, SENDER)).findall(f"{SPACE}g") == []
