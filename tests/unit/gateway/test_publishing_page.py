"""What docs/publishing.md says in numbers is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hookline.cli.run import GATEWAY_PORT
from hookline.events.context import CONTEXT_BYTES
from hookline.events.envelope import MAX_BODY_BYTES
from hookline.events.strictjson import MAX_DEPTH, MAX_NUMBER_CHARACTERS
from hookline.gateway import app, limits
from hookline.gateway.cloudevents import MAX_ATTRIBUTES
from hookline.gateway.cluster_callers import TIMES_OF_RIGHTS
from hookline.gateway.incoming import MAX_EVENTS, MAX_KEY_CHARACTERS
from hookline.gateway.intake import STORE_SECONDS
from hookline.gateway.problem import Kind
from hookline.gateway.reading import BODY_SECONDS
from hookline.gateway.repeats import MAX_KEYS
from hookline.routing.signing import MAX_MESSAGE_ID_LENGTH
from hookline.serving import server
from hookline.serving.remembered import Bounds, Times
from hookline.stream.streams import DEDUPLICATION_SECONDS

PAGE = " ".join((Path(__file__).parents[3] / "docs/publishing.md").read_text().split())
KIB, MIB = 1024, 1024 * 1024
MOST, TIMES, RIGHTS = limits.Bounds(), Times(), TIMES_OF_RIGHTS
IN_WORDS = {2.0: "two"}


@pytest.mark.parametrize(
    "sentence",
    [
        f"at port {GATEWAY_PORT} or",
        f"The body of an event has up to {MAX_BODY_BYTES // KIB} KiB.",
        f"up to {MAX_EVENTS:,} of them and {app.MAX_REQUEST_BYTES // MIB} MiB.",
        f"| within {IN_WORDS[DEDUPLICATION_SECONDS / 60]} minutes |",
        f"the last {MAX_KEYS:,} keys",
        f"A key has up to {MAX_KEY_CHARACTERS:,} characters.",
        f"with more than {MAX_MESSAGE_ID_LENGTH}, becomes",
        f"more than {server.Bounds().head_seconds:g} s to arrive, or the body more than {BODY_SECONDS:g} s",
        f"The queue has {STORE_SECONDS:g} seconds for an event.",
        f"at most {MAX_DEPTH} levels, numbers of up to {MAX_NUMBER_CHARACTERS} characters",
        f"or after {app._BEGIN_SECONDS:g} s, no more",
        f"up to {MAX_ATTRIBUTES} of them, with `source`, `id` and `type`, and {CONTEXT_BYTES // KIB} KiB",
        f"{MOST.requests:,} requests and {MOST.body_bytes // MIB} MiB of bodies",
        f"and one namespace for {MOST.requests_of_one} and {MOST.body_bytes_of_one // MIB} MiB of these.",
        f"Its yes counts for {TIMES.fresh_seconds:g} seconds",
        f"A no counts for {TIMES.refused_seconds:g} seconds.",
        f"its yes counts for {RIGHTS.fresh_seconds:g} seconds, its no for {RIGHTS.refused_seconds:g}.",
        f"go on for {TIMES.outage_seconds / 60:g} minutes after its last yes",
        f"reviewed {Bounds().unknown_per_second:g} a second at most",
    ],
)
def test_a_number_of_the_page_is_that_of_the_code(sentence: str) -> None:
    assert sentence in PAGE


def test_the_page_has_every_status_that_publishing_may_be_refused_with() -> None:
    told = {int(each) for row in re.findall(r"\| ([0-9, ]+) \|", PAGE) for each in row.split(", ")}
    assert told == {200, 202, *(kind.status for kind in Kind if kind is not Kind.METHOD_NOT_ALLOWED)}
