"""That the operator and `hookline check` say the same of the same objects, and what is decided of one of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hookline.control.context import Context, Identity
from hookline.control.kinds import DISPATCHERS, EVENT_TYPES, NAMESPACES, SECRETS, WEBHOOKS, Kind
from hookline.local import evaluation
from hookline.local.manifests import read
from hookline.resources.eventtype import EventType
from hookline.routing import acceptance
from hookline.routing.acceptance import accept_dispatchers, fitting, type_problems
from hookline.routing.book_files import MAX_FILE_BYTES, encode_root
from hookline.routing.routes import DispatcherRecord, TypeRecord
from hookline.routing.verdict import Condition, decide
from unit.control.objects import OWN, a_dispatcher, dispatcher, event_type, manifest, secret, webhook

Manifest = dict[str, Any]
OTHER_NATS = {"nats": {"url": "nats://other:4222"}}
LARGE = {"description": "x" * (MAX_FILE_BYTES // 2)}
DEFAULT = dispatcher()
NAMESPACE = manifest(NAMESPACES, "team", labels={"team": "a"})


def selecting(team: str) -> Manifest:
    return {**OTHER_NATS, "servedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"team": team}}}}


def hook(name: str = "hook", **spec: Any) -> Manifest:
    return webhook(name, spec)


def sampled(event: str, schema: Manifest, sample: Any) -> Manifest:
    found = event_type(event, schema, uid=f"sampled {sample}")
    return {**found, "spec": {**found["spec"], "sample": sample}}


def told_by_operator(objects: list[Manifest]) -> dict[str, str]:
    """Of each of our objects the first condition that is not true, by the object's title; nothing when all is well."""
    context = Context(cast(Any, None), Identity("op", OWN, "image"))
    kinds: dict[str, Kind] = {each.name: each for each in (WEBHOOKS, EVENT_TYPES, DISPATCHERS, SECRETS, NAMESPACES)}
    for each in objects:
        context.observed.put(kinds[each["kind"]], each)
    policy = context.policy()
    told = {f"EventType {name}": of(condition) for name, condition in policy.types.items()}
    told |= {f"Dispatcher {OWN}/{name}": of(condition) for name, condition in policy.dispatchers.items()}
    for seen in context.observed.webhooks.values():
        told[f"Webhook {seen.namespace}/{seen.name}"] = (
            f"InvalidSpec: {seen.problem}" if seen.value is None else of(decide(seen.value, policy.around).ready)
        )
    return told


def of(condition: Condition) -> str:
    return "" if condition.status == "True" else f"{condition.reason}: {condition.message}"


def told_by_check(objects: list[Manifest], folder: Path) -> dict[str, str]:
    """The same as it is said of the same manifests in a file."""
    file = folder / "objects.yaml"
    file.write_text(yaml.safe_dump_all(objects))
    understood = evaluation.understand(*read(file))
    findings = [*understood.findings, *evaluation.evaluate(understood.objects).findings]
    told: dict[str, str] = {}
    for each in findings:
        if each.subject.split()[0] in ("Secret", "Namespace"):
            continue
        if each.level is evaluation.Level.OK:
            told.setdefault(each.subject, "")
            continue
        reason, _, words = each.message.partition(": ")
        if not reason.isalpha():
            # The API server says so much itself, and no condition is needed.
            reason, words = "InvalidSpec", each.message
        said = ": ".join(filter(None, [each.field, words]))
        told[each.subject] = f"{told[each.subject]}; {said}" if told.get(each.subject) else f"{reason}: {said}"
    return told


CASES: dict[str, tuple[list[Manifest], str, str]] = {
    "all is well": ([hook(), event_type("Order")], "Webhook team/hook", ""),
    "a schema that is none": (
        [event_type("Order", {"type": "strnig", "pattern": "("}, uid="twice-wrong"), hook(event="Order")],
        "EventType order",
        "InvalidSchema",
    ),
    "a sample that does not match": (
        [sampled("Order", {"required": ["id"]}, {}), hook(event="Order")],
        "EventType order",
        "InvalidSample",
    ),
    "a sample that matches": ([sampled("Order", {"required": ["id"]}, {"id": 1})], "EventType order", ""),
    "its Webhook": (
        [event_type("Order", {"type": "strnig"}, uid="wrong"), hook(event="Order")],
        "Webhook team/hook",
        "UnknownEvent",
    ),
    "a type without a schema": ([event_type("Order", "text")], "EventType order", "InvalidSpec"),
    "no room for all schemas": (
        [event_type("B", LARGE), event_type("A", LARGE), hook(event="B"), hook("other", event="A")],
        "EventType b",
        "BookFull",
    ),
    "two on one NATS": ([dispatcher("edge")], f"Dispatcher {OWN}/edge", "NATSInUse"),
    "a Webhook of the second": (
        [dispatcher("edge"), hook(dispatcher="edge")],
        "Webhook team/hook",
        "DispatcherNotFound",
    ),
    "one before the default": ([dispatcher("a"), hook()], f"Dispatcher {OWN}/default", "NATSInUse"),
    "its own NATS": ([dispatcher("edge", OTHER_NATS), hook(dispatcher="edge")], f"Dispatcher {OWN}/edge", ""),
    "a Dispatcher that is wrong": (
        [dispatcher("edge", {"nats": {"url": "http://nats"}}), hook(dispatcher="edge")],
        f"Dispatcher {OWN}/edge",
        "InvalidSpec",
    ),
    "served by label": ([dispatcher("edge", selecting("a")), hook(dispatcher="edge")], "Webhook team/hook", ""),
    "not served": (
        [dispatcher("edge", selecting("b")), hook(dispatcher="edge")],
        "Webhook team/hook",
        "NamespaceNotServed",
    ),
    "a timeout": (
        [dispatcher("edge", {**OTHER_NATS, "maxTimeoutSeconds": 20}), hook(dispatcher="edge", timeoutSeconds=21)],
        "Webhook team/hook",
        "TimeoutTooLong",
    ),
    "an address": ([hook(url="https://10.0.0.1/")], "Webhook team/hook", "URLNotAllowed"),
    "no Secret": ([hook(secretRef={"name": "keys"})], "Webhook team/hook", "SecretNotAllowed"),
    "a key of it": ([secret(), hook(secretRef={"name": "keys"})], "Webhook team/hook", "SecretKeyMissing"),
    "no key": ([secret(data={"secret": b"x"}), hook(secretRef={"name": "keys"})], "Webhook team/hook", "SecretInvalid"),
    "a spec that is wrong": ([hook(url="http://example.com/")], "Webhook team/hook", "InvalidSpec"),
}


@pytest.mark.parametrize(("objects", "subject", "reason"), CASES.values(), ids=CASES)
def test_check_says_of_each_object_what_the_operator_says(
    tmp_path: Path, objects: list[Manifest], subject: str, reason: str
) -> None:
    objects = [DEFAULT, NAMESPACE, *objects]
    told = told_by_operator(objects)
    assert told[subject].partition(": ")[0] == reason
    assert told_by_check(objects, tmp_path) == told


def test_dispatchers_of_two_namespaces_are_of_two_installations(tmp_path: Path) -> None:
    told = told_by_check([DEFAULT, dispatcher("edge", namespace="elsewhere")], tmp_path)
    assert set(told.values()) == {""}


def test_who_takes_from_none_of_their_nats_lets_dispatchers_share_one() -> None:
    both = {"a": a_dispatcher("a"), "b": a_dispatcher("b")}
    assert [each.status for each in accept_dispatchers(both).values()] == ["True", "False"]
    assert [each.status for each in accept_dispatchers(both, may_share_nats=True).values()] == ["True", "True"]


def test_a_fault_in_the_decision_about_one_is_said_of_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def break_on_a_title(schema: Any) -> tuple[()]:
        if "title" in schema:
            raise RecursionError
        return ()

    monkeypatch.setattr(acceptance, "check_schema", break_on_a_title)
    good, bad = (EventType.model_validate(event_type("Order", each)) for each in ({}, {"title": "x"}))
    assert type_problems(good)[1] == []
    assert "cannot be checked (RecursionError)" in str(*type_problems(bad)[1])

    def read_nothing(url: str) -> None:
        raise LookupError

    monkeypatch.setattr(acceptance, "parse_nats", read_nothing)
    found = accept_dispatchers({"a": a_dispatcher("a")})["a"]
    assert (found.status, found.reason) == ("False", "InvalidSpec")


@given(
    st.lists(
        st.tuples(st.text("abc", min_size=1, max_size=5), st.text("aé", max_size=300)), unique_by=lambda each: each[0]
    )
)
def test_types_that_fit_stay_within_their_bound_and_the_others_are_named(found: list[tuple[str, str]]) -> None:
    records = [
        TypeRecord(name=name, description="", validation="Warn", schema_={"title": text}) for name, text in found
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(acceptance, "MAX_FILE_BYTES", 2000)
        inside, outside = fitting(records)
    assert sorted(each.name for each in (*inside, *outside)) == sorted(name for name, _ in found)
    assert [each.name for each in inside] == sorted(each.name for each in inside)
    assert max(map(len, encode_root([], DispatcherRecord(), inside).values())) <= 2000
    assert sum(map(len, encode_root([], DispatcherRecord(), inside).values())) <= 2000 or not inside


def test_a_type_that_no_longer_fits_lets_a_smaller_one_in() -> None:
    large, small = {"title": "x" * (MAX_FILE_BYTES // 3)}, {"title": "x"}
    named = [("a", large), ("b", large), ("c", large), ("d", small)]
    records = [TypeRecord(name=name, description="", validation="Warn", schema_=schema) for name, schema in named]
    inside, outside = fitting(records)
    assert ([each.name for each in inside], [each.name for each in outside]) == (["a", "b", "d"], ["c"])
