"""What the models refuse, the API server refuses too, with the same sentence; what they take, it takes.

Known differences, where the models are stricter on purpose: 5.0 for an integer, and null inside a map.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from functools import cache
from typing import Any

import httpx
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from controlplane.servers import ControlPlane
from doubles.resource_cases import CASES, Case, replay, resource, webhook
from hookline.resources import crds
from hookline.resources.base import problems_of
from hookline.resources.dispatcher import Dispatcher
from hookline.resources.eventtype import EventType
from hookline.resources.problems import Problem
from hookline.resources.replay import IMMUTABLE, Replay
from hookline.resources.webhook import Webhook

Object = dict[str, Any]

MODELS: dict[str, type[Webhook] | type[EventType] | type[Dispatcher] | type[Replay]] = {
    "Webhook": Webhook,
    "EventType": EventType,
    "Dispatcher": Dispatcher,
    "Replay": Replay,
}
CANARY = "canary-7d21"
PLURALS = {"Webhook": "webhooks", "EventType": "eventtypes", "Dispatcher": "dispatchers", "Replay": "replays"}
OF_CHANGES = "self == oldSelf"
"""A rule that no new object breaks."""


class Judge:
    """The API server, asked about manifests that it is not to keep."""

    def __init__(self, plane: ControlPlane) -> None:
        self._client = httpx.Client(
            base_url=plane.url,
            headers={"Authorization": f"Bearer {plane.token()}"},
            verify=ssl.create_default_context(cafile=str(plane.ca_file)),
            trust_env=False,
        )
        self._refusals: dict[str, Object | None] = {}

    def close(self) -> None:
        self._client.close()

    def send(self, method: str, path: str, manifest: Object | None = None, *, expected: int = 0) -> Object:
        """A request that counts. Of a PATCH the manifest is what is to be merged."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        content = json.dumps(manifest) if manifest is not None else None
        answer = self._client.request(method, path, content=content, headers={"Content-Type": kind})
        assert answer.status_code == expected if expected else answer.is_success, answer.text
        said: Object = answer.json()
        return said

    def refusal(self, manifest: Object) -> Object | None:
        """What it has against a manifest (a Status), or None. Asked once for each."""
        text = json.dumps(manifest)
        if text not in self._refusals:
            self._refusals[text] = self._asked(manifest)
        return self._refusals[text]

    def _asked(self, manifest: Object) -> Object | None:
        place = "" if manifest["kind"] == "EventType" else "/namespaces/default"
        answer = self._client.post(
            f"/apis/hookline.dev/v1alpha1{place}/{PLURALS[manifest['kind']]}",
            params={"dryRun": "All", "fieldValidation": "Strict"},
            json=manifest,
        )
        if answer.status_code == 201:
            return None
        assert answer.status_code in (400, 422), answer.text
        status: Object = answer.json()
        return status


@pytest.fixture(scope="module")
def judge(control_plane: ControlPlane) -> Iterator[Judge]:
    found = Judge(control_plane)
    yield found
    found.close()


@cache
def rules_of(kind: str) -> list[str]:
    """The messages of all rules of a CRD."""
    text = crds.crd_files()[f"hookline.dev_{PLURALS[kind]}.yaml"]
    return [rule["message"] for rule in _rules(yaml.safe_load(text)) if rule["rule"] != OF_CHANGES]


def _rules(node: Any) -> Iterator[Object]:
    if isinstance(node, dict):
        yield from node.get("x-kubernetes-validations", [])
        for inner in node.values():
            yield from _rules(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from _rules(inner)


def dispatcher(name: str = "mine", **spec: Any) -> Object:
    """A Dispatcher; `spec` in the spelling of manifests."""
    return resource("Dispatcher", spec, name)


def serving(labels: dict[str, str]) -> Object:
    return dispatcher(servedNamespaces={"from": "Selector", "selector": {"matchLabels": labels}})


def labelled(labels: dict[str, str]) -> Object:
    return resource("Replay", {"selector": {"matchLabels": labels}})


MORE: list[Case] = [
    ("secret key", webhook(secretRef={"name": "keys", "key": "a b"}), "spec.secretRef.key"),
    (
        "header's secret key",
        webhook(headers=[{"name": "X-A", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "a/b"}}}]),
        "spec.headers[0].valueFrom.secretKeyRef.key",
    ),
    ("CA's key", webhook(tls={"caSecretRef": {"name": "ca", "key": "é"}}), "spec.tls.caSecretRef.key"),
    ("dispatcher of 40 letters", dispatcher("a" * 40), None),
    ("dispatcher of 41 letters", dispatcher("a" * 41), "metadata.name"),
    ("dispatcher with a full stop", dispatcher("a.b"), "metadata.name"),
    ("image with a blank", dispatcher(image="hookline :1"), "spec.image"),
    ("limit without a name", dispatcher(resources={"limits": {"": "1"}}), "spec.resources.limits."),
    ("limit with a long name", dispatcher(resources={"limits": {"a" * 64: "1"}}), f"spec.resources.limits.{'a' * 64}"),
    ("limit that is no quantity", dispatcher(resources={"limits": {"cpu": "much"}}), "spec.resources.limits.cpu"),
    ("request without a name", dispatcher(resources={"requests": {"": "1"}}), "spec.resources.requests."),
    (
        "request with a long name",
        dispatcher(resources={"requests": {"a" * 64: "1"}}),
        f"spec.resources.requests.{'a' * 64}",
    ),
    ("request that is no quantity", dispatcher(resources={"requests": {"cpu": "1 "}}), "spec.resources.requests.cpu"),
    ("nats at a port that is none", dispatcher(nats={"url": "nats://nats:99999"}), "spec.nats.url"),
    ("nats in several schemes", dispatcher(nats={"url": "nats://a,tls://b"}), "spec.nats.url"),
    ("nats as a list", dispatcher(nats={"url": "tls://a:4222,tls://[fd00::1],tls://c:65535"}), None),
    (
        "credentials' key",
        dispatcher(nats={"credentialsSecretRef": {"name": "n", "key": "a b"}}),
        "spec.nats.credentialsSecretRef.key",
    ),
    (
        "credentials' name",
        dispatcher(nats={"credentialsSecretRef": {"name": "N"}}),
        "spec.nats.credentialsSecretRef.name",
    ),
    ("pull secret in capitals", dispatcher(imagePullSecrets=[{"name": "A"}]), "spec.imagePullSecrets[0].name"),
    ("type with a blank", resource("EventType", {"event": "A B", "schema": {}}, "a"), "spec.event"),
    ("label without a name", serving({"": "v"}), "spec.servedNamespaces.selector.matchLabels."),
    ("label with a long name", serving({f"{'a' * 253}/{'b' * 63}": "v"}), None),
    (
        "label with a longer name",
        serving({f"{'a' * 254}/{'b' * 63}": "v"}),
        "spec.servedNamespaces.selector.matchLabels",
    ),
    ("label's value", serving({"a": "b c"}), "spec.servedNamespaces.selector.matchLabels.a"),
    ("replay of a Webhook in capitals", replay(webhook={"name": "A"}), "spec.webhook.name"),
    ("Webhook's label without a name", labelled({"": "v"}), "spec.selector.matchLabels."),
    ("Webhook's label with a blank", labelled({"a b": "v"}), "spec.selector.matchLabels.a b"),
    ("Webhook's label with a longer name", labelled({f"{'a' * 254}/{'b' * 63}": "v"}), "spec.selector.matchLabels"),
    ("Webhook's label's value", labelled({"a": "b c"}), "spec.selector.matchLabels.a"),
]
"""The rules that the shared cases leave out."""

ALL = [*CASES, *MORE]


def problems(manifest: Object) -> list[Problem]:
    """What the model has against a manifest."""
    try:
        MODELS[manifest["kind"]].model_validate(manifest)
    except ValidationError as error:
        return problems_of(error)
    return []


@pytest.mark.parametrize(("manifest", "field"), [case[1:] for case in ALL], ids=[case[0] for case in ALL])
def test_a_manifest_is_taken_or_refused_at_its_field_with_the_same_sentence(
    judge: Judge, manifest: Object, field: str | None
) -> None:
    answer = judge.refusal(manifest)
    if field is None:
        assert answer is None
        assert problems(manifest) == []
        return
    assert answer is not None
    assert any(_plain(each.field).startswith(_plain(field)) for each in problems(manifest)), problems(manifest)
    assert names_field(answer, field), json.dumps(answer)
    said = [rule for rule in rules_of(manifest["kind"]) for each in problems(manifest) if each.message in rule]
    assert not said or any(rule in answer["message"] for rule in said), answer


def names_field(answer: Object, field: str) -> bool:
    """Whether an answer names a field, or what holds it: rules over several fields, or keys of a map, stand there."""
    named = [each.get("field", "") for each in answer.get("details", {}).get("causes", [])]
    # An unknown field is told in the message only.
    named += [field] if f'unknown field "{field}"' in answer["message"] else []
    # The API server writes keys of maps in brackets, as indexes of lists.
    field, named = _plain(field), [_plain(each) for each in named]
    return any(each and (field == each or field.startswith(f"{each}.")) for each in named)


def _plain(field: str) -> str:
    return field.replace("[", ".").replace("]", "")


@pytest.mark.parametrize("kind", MODELS)
def test_every_rule_of_a_crd_refuses_something(judge: Judge, kind: str) -> None:
    answers = [judge.refusal(manifest) for _, manifest, field in ALL if manifest["kind"] == kind and field is not None]
    said = "\n".join(each["message"] for each in answers if each is not None)
    assert [rule for rule in rules_of(kind) if rule not in said] == []


def test_an_answer_never_repeats_what_may_be_secret(judge: Judge) -> None:
    for manifest in (
        webhook(url=f"https://example.com/?token={CANARY} "),
        webhook(headers=[{"name": "X-A", "value": f"{CANARY}\n"}]),
        dispatcher(nats={"url": f"nats://user:{CANARY}@nats:4222"}),
    ):
        answer = judge.refusal(manifest)
        assert answer is not None
        assert CANARY not in json.dumps(answer)


_names = st.text("aZ0-_.:é ", max_size=6) | st.sampled_from(["Host", "Content-Length", "webhook-id", "X-A", "x-a"])
_values = st.text("aZ0 \t\n~é", max_size=6)
_objects = st.text("abA0-.", min_size=1, max_size=8)
_refs = st.fixed_dictionaries({"name": _objects}, optional={"key": st.text("aA0-_. ", max_size=5)})
_numbers = st.integers(-1, 40) | st.sampled_from([1000, 1001, 86400, 86401, 604800, 604801])
_hosts = st.sampled_from(["h", "example.com", "1.2.3.4", "127.1", "[::1]", "[::g]", "a..b", "0x7f.1", "a_b", "-a", "é"])
_urls = st.builds(
    lambda scheme, user, host, port, path: f"{scheme}{user}{host}{port}{path}",
    st.sampled_from(["https://", "HTTPS://", "http://", "https:/"]),
    st.sampled_from(["", "", "", "u@", "u:p@"]),
    _hosts | st.text("a1.:-[]", max_size=8),
    st.sampled_from(["", "", ":8443", ":0", ":65535", ":65536", ":08", ":"]),
    st.text("/a?=&%41.#{}|é \\", max_size=8).map(lambda text: f"/{text}" if text else ""),
)


def few(fields: st.SearchStrategy[Object], least: Object) -> st.SearchStrategy[Object]:
    """What is needed at least, and up to three other fields: a manifest with many is seldom right."""
    return st.tuples(fields, st.randoms()).map(
        lambda drawn: least | dict(drawn[1].sample(sorted(drawn[0].items()), min(3, len(drawn[0]))))
    )


_webhooks = st.fixed_dictionaries(
    {
        "url": st.just("https://example.com/x") | _urls,
        "event": st.just("IdentityCreated") | st.text("aA.- ", max_size=4),
    },
    optional={
        "enabled": st.booleans(),
        "secretRef": _refs,
        "signature": st.fixed_dictionaries(
            {}, optional={"scheme": st.sampled_from(["Header", "StandardWebhooks", "No"]), "headerName": _names}
        ),
        "headers": st.lists(
            st.fixed_dictionaries(
                {"name": _names},
                optional={"value": _values, "valueFrom": st.fixed_dictionaries({"secretKeyRef": _refs})},
            ),
            max_size=3,
        ),
        "timeoutSeconds": _numbers,
        "maxConcurrency": _numbers,
        "rateLimit": st.fixed_dictionaries({"calls": _numbers}, optional={"perSeconds": _numbers}),
        "retry": st.fixed_dictionaries({"scheduleSeconds": st.lists(_numbers, max_size=22)}),
        "tls": st.fixed_dictionaries({}, optional={"caSecretRef": _refs, "clientCertSecretRef": _refs}),
        "dispatcher": _objects,
    },
)
_cidrs = st.sampled_from(
    ["10.0.0.0/8", "10.1.2.3/8", "127.0.0.0/8", "fd12::/48", "::/0", "0.0.0.0/0", "x", "172.16.0.0/12"]
)
_quantities = st.dictionaries(
    st.sampled_from(["cpu", "memory", "C P U", "a/b"]), st.text("019mMiGek. -", min_size=1, max_size=5), max_size=3
)
_dispatchers = st.fixed_dictionaries(
    {},
    optional={
        "replicas": _numbers,
        "image": st.text("ab:/.@ ", max_size=8),
        "imagePullSecrets": st.lists(st.fixed_dictionaries({"name": _objects}), max_size=3),
        "resources": st.fixed_dictionaries({}, optional={"requests": _quantities, "limits": _quantities}),
        "nats": st.fixed_dictionaries(
            {},
            optional={
                "url": st.one_of(
                    st.text("natsl:/@.4 ", max_size=14),
                    st.lists(st.sampled_from(["nats://", "tls://", "a", "[::1]", ":4222", ":99999", ","])).map("".join),
                ),
                "streamReplicas": _numbers,
                "streamPrefix": st.text("aZ9_-. ", max_size=4),
            },
        ),
        "servedNamespaces": st.fixed_dictionaries(
            {},
            optional={
                "from": st.sampled_from(["All", "Same", "Selector", "No"]),
                "selector": st.fixed_dictionaries(
                    {"matchLabels": st.dictionaries(st.text("aA/.- ", max_size=4), st.text("aA.-_ ", max_size=4))}
                ),
            },
        ),
        "egress": st.fixed_dictionaries({"allowCidrs": st.lists(_cidrs, max_size=3)}),
        "defaultTimeoutSeconds": _numbers,
        "maxTimeoutSeconds": _numbers,
        "retention": st.fixed_dictionaries({}, optional={"deadSeconds": _numbers, "eventsSeconds": _numbers}),
    },
)
_times = st.sampled_from(
    ["2026-11-30T14:00:00Z", "2026-11-30T16:00:00+03:00", "2027-02-29T00:00:00Z", "2028-02-29T00:00:00.5Z", "now", ""]
)
_replays = st.fixed_dictionaries(
    {},
    optional={
        "webhook": st.fixed_dictionaries({"name": _objects}),
        "selector": st.fixed_dictionaries(
            {"matchLabels": st.dictionaries(st.text("aA/.- ", max_size=4), st.text("aA.-_ ", max_size=4))}
        ),
        "source": st.sampled_from(["DeadLetters", "Events", "No"]),
        "since": _times,
        "until": _times,
        "onlyFailed": st.booleans(),
        "ids": st.lists(st.text("aA-_. ", max_size=3), max_size=3),
        "ratePerSecond": _numbers,
        "dryRun": st.booleans(),
        "ttlSecondsAfterFinished": _numbers,
    },
)
_some_replays = few(_replays, {"webhook": {"name": "a"}}).map(lambda spec: resource("Replay", spec))
_some_webhooks = few(_webhooks, {"url": "https://example.com/x", "event": "A"}).map(
    lambda spec: resource("Webhook", spec)
)
_some_dispatchers = few(_dispatchers, {}).map(lambda spec: resource("Dispatcher", spec))
_types = st.builds(
    lambda event, name, spec: resource("EventType", {"event": event, **spec}, name or event.lower()),
    st.text("aB.-_ ", min_size=1, max_size=5),
    st.sampled_from(["", "", "", "a"]),
    st.fixed_dictionaries(
        {"schema": st.sampled_from([{}, {"type": "object"}, {"type": "nothing"}])},
        optional={"validation": st.sampled_from(["Enforce", "Warn", "Ignore", "No"]), "description": _values},
    ),
)
_merged = st.lists(st.sampled_from(ALL), min_size=2, max_size=4).map(
    lambda cases: {
        **cases[0][1],
        "spec": {
            name: value
            for _, each, _ in cases
            for name, value in each["spec"].items()
            if each["kind"] == cases[0][1]["kind"]
        },
    }
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(manifest=_some_webhooks | _some_dispatchers | _some_replays | _types | _merged)
def test_a_manifest_that_somebody_may_write_is_judged_alike(judge: Judge, manifest: Object) -> None:
    answer, found = judge.refusal(manifest), problems(manifest)
    assert (answer is None) == (found == []), (answer, found)


def test_a_replay_is_never_another_one_after_it_was_made(control_plane: ControlPlane, judge: Judge) -> None:
    path = "/apis/hookline.dev/v1alpha1/namespaces/default/replays"
    made = judge.send("POST", path, replay(dryRun=True))
    try:
        assert made["status"]["phase"] == "Pending", "so that it counts as not done before anybody looked at it"
        changed = judge.send("PATCH", f"{path}/mine", {"spec": {"dryRun": False}}, expected=422)
        assert IMMUTABLE in changed["message"]
        judge.send("PATCH", f"{path}/mine", {"spec": {"ratePerSecond": 1}}, expected=422)
        judge.send("PATCH", f"{path}/mine", {"metadata": {"labels": {"a": "b"}}, "spec": {"source": "DeadLetters"}})
        status = {"phase": "Complete", "found": 2, "replayed": 1, "skipped": 1, "observedGeneration": 1}
        written = judge.send("PATCH", f"{path}/mine/status", {"status": status, "spec": {"dryRun": False}})
        assert (written["status"]["found"], written["spec"]["dryRun"]) == (2, True)
    finally:
        judge.send("DELETE", f"{path}/mine")
