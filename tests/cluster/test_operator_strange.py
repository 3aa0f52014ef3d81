"""Objects and answers that nobody should write: the one is told of, all others are served."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from controlplane.kubectl import Kubectl
from controlplane.servers import ControlPlane
from doubles.api_proxy import Answer, Asked
from doubles.installation import Installation, condition_of, installed
from doubles.local import until
from doubles.operator_process import OperatorProcess
from doubles.receiver import TlsReceiver
from doubles.team import Team, new_secret
from doubles.waiting import eventually
from hookline.control.kinds import DISPATCHERS, EVENT_TYPES, LEASES

pytestmark = [pytest.mark.timeout(240), pytest.mark.asyncio(loop_scope="module")]


def deep(levels: int) -> str:
    return '{"f:a":' * levels + "{}" + "}" * levels


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hookline(
    control_plane: ControlPlane, kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    """An installation without senders."""
    async with installed(control_plane, kubectl, tmp_path_factory.mktemp("strange"), senders=False) as installation:
        process = installation.operator()
        yield installation
        assert await process.end() == 0


@pytest_asyncio.fixture(loop_scope="module")
async def operator(hookline: Installation) -> AsyncIterator[OperatorProcess]:
    """One for all tests, which nothing of what they send may end: nobody starts it again."""
    (process,) = hookline.operators
    if not process.running:
        process.start()
    await process.until_leads()
    yield process
    hookline.proxy.undo()
    assert process.running, process.said[-3000:]


@pytest_asyncio.fixture(loop_scope="module")
async def fresh(operator: OperatorProcess) -> OperatorProcess:
    """The operator started anew: it has not learned yet to wait longer between tries of a watch."""
    assert await operator.end() == 0
    operator.start()
    await operator.until_leads()
    return operator


@pytest_asyncio.fixture(loop_scope="module")
async def team(hookline: Installation, operator: OperatorProcess, namespace: str) -> AsyncIterator[Team]:
    async with TlsReceiver("127.0.0.1", name="localhost") as receiver:
        found = Team(hookline, namespace, receiver)
        await found.apply(found.authority(), found.signing("signing", new_secret()))
        yield found


async def is_served(hookline: Installation, team: Team, name: str) -> None:
    """A Webhook that is made now comes into the book."""
    await team.apply(team.webhook(name, team.path(name)))
    await team.until(name, "Accepted", kind="Accepted", seconds=20)


async def test_a_secret_whose_managed_fields_nest_a_thousand_levels_is_used_and_stops_nobody(
    hookline: Installation, operator: OperatorProcess, team: Team
) -> None:
    text = json.dumps(team.signing("deep", new_secret()))
    fields = (
        '"managedFields":[{"manager":"x","operation":"Update","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":%s}]'
    )
    text = text.replace('"metadata": {', '"metadata": {' + fields % deep(1200) + ",", 1)
    path = f"/api/v1/namespaces/{team.namespace}/secrets"
    file = hookline.folder / "deep.json"
    file.write_text(text)
    await hookline.kube("create", "--raw", path, "-f", str(file))
    await is_served(hookline, team, "neighbour")
    await team.apply(team.webhook("uses-deep", team.path("deep"), secret="deep"))
    await team.until("uses-deep", "Resolved", kind="SecretsResolved")
    assert await operator.end() == 0
    operator.start()
    await operator.until_leads()
    await is_served(hookline, team, "after-a-restart")
    assert operator.starts >= 2


async def test_an_event_type_whose_schema_nests_hundreds_of_levels_is_refused_alone(
    hookline: Installation, operator: OperatorProcess, team: Team
) -> None:
    schema = json.loads('{"properties":{"a":' * 300 + "{}" + "}}" * 300)
    manifest = {"apiVersion": "hookline.dev/v1alpha1", "kind": "EventType", "metadata": {"name": "deep"}}
    file = hookline.folder / "type.json"
    file.write_text(json.dumps({**manifest, "spec": {"event": "Deep", "schema": schema}}))
    await hookline.kube("create", "--raw", "/apis/hookline.dev/v1alpha1/eventtypes", "-f", str(file))
    try:

        async def is_refused() -> bool:
            found = await hookline.admin.get(EVENT_TYPES, None, "deep")
            return condition_of(found or {}, "Accepted").get("status") == "False"

        await eventually(is_refused, what=lambda: operator.said[-3000:])
        await is_served(hookline, team, "neighbour")
    finally:
        await hookline.kube("delete", "eventtype", "deep")


async def test_edits_of_a_webhook_with_the_finalizer_of_the_watch_are_seen_and_its_deletion_too(
    hookline: Installation, operator: OperatorProcess, team: Team
) -> None:
    hook = team.webhook("held", team.path("held"))
    hook["metadata"]["finalizers"] = ["hookline.dev/never-set"]
    await team.apply(hook)
    await team.until("held", "Accepted", kind="Accepted")
    await team.apply({**hook, "spec": {**hook["spec"], "event": "Nonsense"}})
    await team.until("held", "UnknownEvent", kind="Accepted", seconds=20)
    await team.apply(hook)
    await team.until("held", "Accepted", kind="Accepted", seconds=20)
    await hookline.kube("delete", "webhook", "held", "-n", team.namespace, "--wait=false")

    async def is_gone() -> bool:
        book = await hookline.whole_book()
        return book is not None and all(route.name != "held" for route in book.routes())

    try:
        await eventually(is_gone, seconds=20)
    finally:
        patch = json.dumps({"metadata": {"finalizers": None}})
        await hookline.kube("patch", "webhook", "held", "-n", team.namespace, "--type=merge", "-p", patch)


HALF = b'{"type":"MODIFIED","object":{"metadata":{"name":"x"'


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, {}, HALF),
        Answer(200, {}, HALF + b"\n"),
        Answer(200, {}, b'{"type":"ERROR","object":{"kind":"Status","code":500,"reason":"InternalError"}}\n'),
        Answer(200, {}, b'{"type":"ERROR","object":{"kind":"Status","code":401}}\n'),
        Answer(429, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, b"{}"),
        Answer(429, {"Retry-After": "999999"}, b"{}"),
        Answer(200, {"Content-Type": "text/html"}, b"<html>login</html>"),
    ],
    ids=["half", "half line", "500", "401", "date", "days", "page"],
)
async def test_a_watch_that_ends_in_an_unusual_way_begins_anew(
    hookline: Installation, operator: OperatorProcess, team: Team, answer: Answer
) -> None:
    await begins_anew(hookline, operator, team, answer)


@pytest.mark.parametrize("answer", [Answer(200, {}, b"\xff\xfe\n"), Answer(400, {}, b"[]")], ids=["no text", "400"])
async def test_a_watch_that_ends_its_reader_begins_anew(
    hookline: Installation, fresh: OperatorProcess, team: Team, answer: Answer
) -> None:
    await begins_anew(hookline, fresh, team, answer)


async def begins_anew(hookline: Installation, operator: OperatorProcess, team: Team, answer: Answer) -> None:
    """A Webhook that is made after two watches of Webhooks got the answer is served."""
    spoiled: list[str] = []

    async def spoil(asked: Asked) -> Answer | None:
        if not asked.is_watch or asked.plural != "webhooks" or len(spoiled) >= 2:
            return None
        spoiled.append(asked.plural)
        return answer

    hookline.proxy.before = spoil
    hookline.proxy.cut_watches()
    hookline.proxy.join_watches()
    await until(lambda: len(spoiled) == 2, seconds=60, what="two spoiled watches")
    await is_served(hookline, team, f"after-{len(operator.said)}")


async def test_a_kind_that_vanishes_is_watched_again_once_it_is_back_and_others_all_the_while(
    hookline: Installation, operator: OperatorProcess, team: Team
) -> None:
    crd = "eventtypes.hookline.dev"
    manifest: dict[str, Any] = json.loads(await hookline.kube("get", "crd", crd, "-o", "json"))
    for name in ("uid", "resourceVersion", "creationTimestamp", "managedFields", "generation"):
        manifest["metadata"].pop(name, None)
    manifest.pop("status", None)
    await hookline.kube("delete", "crd", crd)
    try:
        await asyncio.sleep(2)
        await is_served(hookline, team, "meanwhile")
    finally:
        await hookline.kube("create", "-f", "-", stdin=json.dumps(manifest))
        await hookline.kube("wait", "--for=condition=Established", f"crd/{crd}", "--timeout=30s")
    await is_served(hookline, team, "afterwards")


async def test_a_dispatcher_with_an_address_that_is_none_says_so_alone(
    hookline: Installation, operator: OperatorProcess, team: Team
) -> None:
    """As an older CRD let through."""
    status = {"conditions": "text"}
    bad = {"apiVersion": "hookline.dev/v1alpha1", "kind": "Dispatcher", "metadata": {"name": "bad"}}

    async def lie(asked: Asked, answer: Answer) -> None:
        if asked.is_list and asked.plural == "dispatchers" and answer.status == 200:
            found = json.loads(answer.body)
            metadata = {"name": "bad", "namespace": hookline.namespace, "uid": "u", "resourceVersion": "1"}
            spec = {"nats": {"url": "nats://nats:99999"}}
            found["items"] = [*found["items"], {**bad, "metadata": metadata, "spec": spec, "status": status}]
            answer.body = json.dumps(found).encode()

    assert await operator.end() == 0
    hookline.proxy.after = lie
    operator.start()
    await operator.until_leads()
    await is_served(hookline, team, "beside-a-bad-dispatcher")
    assert condition_of(await hookline.admin.get(DISPATCHERS, hookline.namespace, "default") or {}, "Accepted")


async def test_a_lease_at_its_largest_is_taken_all_the_same(
    hookline: Installation, operator: OperatorProcess, team: Team
) -> None:
    assert await operator.end() == 0
    lease = await hookline.admin.get(LEASES, hookline.namespace, "hookline-operator")
    assert lease is not None
    stolen = {"holderIdentity": "thief", "leaseTransitions": 2**31 - 1, "leaseDurationSeconds": 1}
    words = ("patch", "lease", "hookline-operator", "-n", hookline.namespace, "--type=merge", "-p")
    await hookline.kube(*words, json.dumps({"spec": stolen}))
    operator.start()
    await operator.until_leads()
    await is_served(hookline, team, "after-the-thief")


@pytest.mark.parametrize(
    "value", [b"", b"\xff\xfe\x00", b"# Certificaci\xf3n\n", b"-----BEGIN CERTIFICATE-----\n", b"\x00" * 1000]
)
async def test_a_secret_that_holds_anything_makes_its_webhook_alone_wait(
    hookline: Installation, operator: OperatorProcess, team: Team, value: bytes
) -> None:
    odd = team.secret("odd", {})
    odd["data"] = {key: base64.b64encode(value).decode() for key in ("secret", "ca.crt", "tls.crt", "tls.key")}
    hook = team.webhook("odd", team.path("odd"), secret="odd")
    hook["spec"]["tls"] = {"caSecretRef": {"name": "odd"}, "clientCertSecretRef": {"name": "odd"}}
    await team.apply(odd, hook)
    await team.until("odd", "SecretInvalid", kind="SecretsResolved")
    await is_served(hookline, team, "neighbour")
