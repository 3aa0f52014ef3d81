"""Which Dispatcher's gateway takes which tokens, and what teams are told."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping
from typing import Any

import pytest

from hookline.control.publishers import MAX_REFUSALS_TOLD, Decided, decided, manifest, tokens_in
from hookline.control.seen import Publisher, publisher_of
from hookline.resources.base import EVENT_TYPES_ANNOTATION
from hookline.routing.publisher_tokens import FILE, MAX_TOKENS_PER_NAMESPACE, digest_of, read_tokens_file
from unit.control.objects import a_dispatcher, publisher

TOKEN = secrets.token_hex(16)
TEAM_A = {"servedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"team": "a"}}}}
LABELS: dict[str, Mapping[str, str]] = {"team-a": {"team": "a"}, "team-b": {"team": "b"}}


def seen(name: str = "ci", token: str = TOKEN, namespace: str = "team-a", **more: Any) -> Publisher:
    return publisher_of(publisher(name, token, namespace=namespace, **more))


def held(found: Decided, dispatcher: str = "default") -> set[tuple[str, str]]:
    return {each.id for each in read_tokens_file(found.files[dispatcher]).values()}


def test_a_token_counts_at_each_dispatcher_that_serves_its_namespace() -> None:
    mine, theirs = seen(), seen(token=secrets.token_hex(16), namespace="team-b")
    found = decided([mine, theirs], [a_dispatcher(), a_dispatcher("edge", TEAM_A)], LABELS)
    assert held(found) == {("team-a", "ci"), ("team-b", "ci")}
    assert held(found, "edge") == {("team-a", "ci")}
    assert {place: word.accepted for place, word in found.words.items()} == {
        ("team-a", "ci"): True,
        ("team-b", "ci"): True,
    }


@pytest.mark.parametrize("spec", [TEAM_A, {"gateway": {"enabled": False}}])
def test_a_team_that_no_gateway_serves_is_told(spec: dict[str, Any]) -> None:
    found = decided([seen(namespace="team-b")], [a_dispatcher(spec=spec)], LABELS)
    assert held(found) == set()
    assert not found.words["team-b", "ci"].accepted
    assert "no Dispatcher that has a gateway serves the namespace team-b" in found.words["team-b", "ci"].text


def test_without_any_token_there_is_a_file_all_the_same_so_that_gateways_know_that_there_is_none() -> None:
    assert held(decided([], [a_dispatcher()], {})) == set()


def test_a_team_is_told_what_its_token_may_publish() -> None:
    some = seen("some", secrets.token_hex(16), annotations={EVENT_TYPES_ANNOTATION: "order.paid,IdentityCreated"})
    found = decided([seen(), some], [a_dispatcher()], {})
    assert found.words["team-a", "ci"].text == "with this token events of any type are published for team-a"
    assert "events of 2 types" in found.words["team-a", "some"].text
    assert "order.paid" not in found.words["team-a", "some"].text


def test_a_token_of_two_namespaces_that_meet_at_a_dispatcher_counts_there_for_neither() -> None:
    both = [seen(), seen(namespace="team-b")]
    found = decided(both, [a_dispatcher(), a_dispatcher("edge", TEAM_A)], LABELS)
    assert held(found) == set()
    assert held(found, "edge") == {("team-a", "ci")}
    assert "counts for neither" in found.words["team-a", "ci"].text
    assert "counts for neither" in found.words["team-b", "ci"].text
    other_way = decided(both, [a_dispatcher("edge", TEAM_A), a_dispatcher()], LABELS)
    assert other_way.words == found.words


def test_a_new_secret_puts_out_none_that_was_there_whatever_it_is_called() -> None:
    old = [seen(f"s-{n:03}", secrets.token_hex(16), creationTimestamp="2026-01-01") for n in range(40)]
    old = old[:MAX_TOKENS_PER_NAMESPACE]
    new = seen("a-first-by-name", secrets.token_hex(16), creationTimestamp="2026-01-02")
    found = decided([new, *old], [a_dispatcher()], {})
    assert held(found) == {(each.namespace, each.name) for each in old}
    assert "one too many" in found.words["team-a", "a-first-by-name"].text


def test_a_namespace_with_very_many_bad_secrets_is_told_of_the_oldest_and_of_what_is_right() -> None:
    bad = [seen(f"bad-{n:03}", "x" * 40, creationTimestamp=f"2026-01-01T00:00:{n:03}") for n in range(100)]
    good = seen(creationTimestamp="2026-01-02")
    theirs = seen("bad", "x" * 40, namespace="team-b", creationTimestamp="2026-01-03")
    words = decided([theirs, good, *reversed(bad)], [a_dispatcher()], {}).words
    told = [name for namespace, name in words if namespace == "team-a"]
    assert told == [*(each.name for each in bad[:MAX_REFUSALS_TOLD]), "ci"]
    assert not words["team-b", "bad"].accepted


@pytest.mark.parametrize(
    "data",
    [
        {"token": b"\x00\xff" * 500_000},
        {f"key-{n}": TOKEN.encode() for n in range(5000)},
        {},
        {"token": TOKEN.encode(), "other": b"x"},
    ],
)
def test_of_a_hostile_secret_nothing_is_kept_and_its_team_is_told_in_a_line(data: dict[str, bytes]) -> None:
    found = publisher_of(publisher("ci", "", namespace="team-a", data=data))
    assert len(repr(found)) < 1000
    assert TOKEN not in repr(found)
    word = decided([found], [a_dispatcher()], {}).words["team-a", "ci"]
    assert not word.accepted
    assert word.text.startswith("data")
    assert "openssl rand -hex 32" in word.text


@pytest.mark.parametrize("data", [["x"], {"token": 1}, {"token": "no base64!"}, "x", None])
def test_what_is_no_secret_gives_no_token(data: Any) -> None:
    assert held(decided([publisher_of({**publisher("ci", ""), "data": data})], [a_dispatcher()], {})) == set()


@pytest.mark.parametrize("annotations", [["x"], {EVENT_TYPES_ANNOTATION: "*"}, {EVENT_TYPES_ANNOTATION: ["T"]}])
def test_annotations_that_are_not_understood_give_no_token(annotations: Any) -> None:
    assert held(decided([seen(annotations=annotations)], [a_dispatcher()], {})) == set()


def test_the_manifest_holds_digests_and_is_read_again() -> None:
    dispatcher = a_dispatcher("edge")
    made = manifest(dispatcher, decided([seen()], [dispatcher], {}).files["edge"])
    assert made["metadata"]["name"] == "hookline-publishers-edge"
    assert made["metadata"]["ownerReferences"][0]["name"] == "edge"
    assert TOKEN not in json.dumps(made)
    assert TOKEN not in base64.b64decode(made["data"][FILE]).decode()
    (token,) = tokens_in(made)
    assert (token.id, token.digest) == (("team-a", "ci"), digest_of(TOKEN.encode()))


@pytest.mark.parametrize("secret", [None, {}, {"data": {}}, {"data": {FILE: "!"}}, {"data": {FILE: "e30="}}])
def test_one_that_others_wrote_holds_no_token(secret: Any) -> None:
    assert tokens_in(secret) == frozenset()
