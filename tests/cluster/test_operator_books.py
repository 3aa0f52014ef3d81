"""Route books that others lay hands on, or that would lose most of what they hold."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from controlplane.kubectl import Kubectl
from controlplane.servers import ControlPlane
from doubles.api_proxy import Answer, Asked
from doubles.installation import Installation, Object, condition_of, installed
from doubles.local import until
from doubles.operator_process import OperatorProcess
from doubles.receiver import TlsReceiver
from doubles.team import Team, new_secret
from doubles.waiting import eventually
from hookline.control.kinds import DEPLOYMENTS, DISPATCHERS, gateway_name, sender_name

pytestmark = [pytest.mark.timeout(240), pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hookline(
    control_plane: ControlPlane, kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    """An installation without senders."""
    async with installed(control_plane, kubectl, tmp_path_factory.mktemp("books"), senders=False) as installation:
        installation.operator()
        yield installation


@pytest_asyncio.fixture(loop_scope="module")
async def operator(hookline: Installation) -> AsyncIterator[OperatorProcess]:
    (process,) = hookline.operators
    process.start()
    await process.until_leads()
    yield process
    hookline.proxy.undo()
    if process.running:
        await process.end()


@pytest_asyncio.fixture(loop_scope="module")
async def team(hookline: Installation, operator: OperatorProcess, namespace: str) -> AsyncIterator[Team]:
    async with TlsReceiver("127.0.0.1", name="localhost") as receiver:
        found = Team(hookline, namespace, receiver)
        webhooks = [found.webhook(f"hook-{number}", found.path(f"{number}")) for number in range(12)]
        await found.apply(found.authority(), found.signing("signing", new_secret()), *webhooks)
        await until_written(hookline, found, 12)
        yield found
        # One that is left would count among the Webhooks of the next test.
        await found.delete("webhooks", "--all")


async def until_written(hookline: Installation, team: Team, webhooks: int) -> None:
    async def is_written() -> bool:
        # Without senders nothing can be programmed; that it is written is what counts.
        book = await hookline.whole_book()
        theirs = [each for each in (book.routes() if book else ()) if each.namespace == team.namespace]
        return book is not None and sum(each.event is not None for each in theirs) == webhooks

    await eventually(is_written, what=lambda: f"{webhooks} routes: {hookline.logs()[-3000:]}")


async def dispatcher(hookline: Installation, name: str = "default") -> Object:
    return await hookline.admin.get(DISPATCHERS, hookline.namespace, name) or {}


async def signing_keys(hookline: Installation, team: Team) -> set[str]:
    book = await hookline.whole_book()
    routes = book.routes() if book else ()
    return {book.keys(each.uid).signing or "" for each in routes if book and each.namespace == team.namespace}


@pytest.mark.parametrize(
    "change",
    [
        ["secret", "hookline.dev/allow-webhooks=true"],
        ["secret", "hookline.dev/allow-webhooks=true", "hookline.dev/book=other"],
        ["secret,configmap", "hookline.dev/book-", "app.kubernetes.io/managed-by-"],
        ["secret,configmap", "hookline.dev/book=other", "app.kubernetes.io/component-"],
    ],
    ids=["allowed", "allowed and of another book", "without the labels of ours", "of another book"],
)
async def test_labels_that_others_set_on_a_book_change_nothing(
    hookline: Installation, operator: OperatorProcess, team: Team, change: list[str]
) -> None:
    kinds, *labels = change
    await hookline.kube("label", kinds, "--all", "-n", hookline.namespace, "--overwrite", *labels)
    for restart in (False, True):
        if restart:
            assert await operator.end() == 0
            operator.start()
            await operator.until_leads()
        secret = new_secret()
        await team.apply(team.signing("signing", secret))

        async def is_rotated(key: str = secret) -> bool:
            return await signing_keys(hookline, team) == {key}

        await eventually(is_rotated, what=lambda: hookline.logs()[-3000:])
        await until_written(hookline, team, 12)
    assert operator.said.count("reconcile failed") < 20


async def test_a_webhook_can_borrow_no_part_of_a_book(
    hookline: Installation, operator: OperatorProcess, team: Team
) -> None:
    """It holds the keys of everybody, and its owner is the operator, who lends nothing."""
    await hookline.kube("label", "secret", "--all", "-n", hookline.namespace, "hookline.dev/allow-webhooks=true")
    book = (await hookline.kube("get", "secrets", "-n", hookline.namespace, "-o", "name")).split()
    name = next(each.partition("/")[2] for each in book if "hookline-keys-default-" in each)
    thief = team.webhook("thief", team.path("thief"))
    thief["metadata"]["namespace"] = hookline.namespace
    thief["spec"]["secretRef"] = {"name": name}
    thief["spec"]["headers"] = [
        {"name": "x", "valueFrom": {"secretKeyRef": {"name": name, "key": f"keys-{name[-2:]}.json"}}}
    ]
    await hookline.kube("apply", "--server-side", "-f", "-", stdin=json.dumps(thief))
    theirs = Team(hookline, hookline.namespace, team._receiver)
    await theirs.until("thief", "SecretNotAllowed", kind="SecretsResolved")
    await hookline.kube("delete", "webhook", "thief", "-n", hookline.namespace)


async def test_a_list_that_lacks_most_webhooks_once_takes_none_out_of_the_book(
    hookline: Installation, operator: OperatorProcess, team: Team
) -> None:
    assert await operator.end() == 0
    lies = ["webhooks"]

    async def lie_once(asked: Asked, answer: Answer) -> None:
        if asked.is_list and asked.plural in lies and answer.status == 200:
            lies.clear()
            answer.body = json.dumps({**json.loads(answer.body), "items": []}).encode()

    hookline.proxy.after = lie_once
    operator.start()
    await operator.until_leads()
    await until(lambda: "a second read says otherwise" in operator.said, what="a second read")
    hookline.proxy.undo()
    await until_written(hookline, team, 12)
    assert not lies


async def test_webhooks_that_are_really_deleted_at_once_leave_the_book_and_it_is_said(
    hookline: Installation, operator: OperatorProcess, team: Team
) -> None:
    await team.delete("webhooks", "--all")
    await until_written(hookline, team, 0)
    assert "a second read says the same" in operator.said

    async def is_well() -> bool:
        return condition_of(await dispatcher(hookline), "BookWritten").get("status") == "True"

    await eventually(is_well)


async def test_the_pods_of_a_dispatcher_that_is_pointed_at_the_nats_of_another_end_and_its_webhooks_wait(
    hookline: Installation, operator: OperatorProcess, team: Team
) -> None:
    second = {
        "apiVersion": "hookline.dev/v1alpha1",
        "kind": "Dispatcher",
        "metadata": {"name": "second", "namespace": hookline.namespace},
        "spec": {"replicas": 1, "nats": {"url": "nats://nats2:4222"}},
    }
    await hookline.kube("apply", "--server-side", "-f", "-", stdin=json.dumps(second))

    async def accepted() -> bool:
        return condition_of(await dispatcher(hookline, "second"), "Accepted").get("status") == "True"

    await eventually(accepted)
    patch = json.dumps({"spec": {"nats": {"url": "nats://nats2:4222"}}})
    words = ("patch", "dispatcher", "default", "-n", hookline.namespace, "--type=merge", "-p")
    await hookline.kube(*words, patch)
    try:

        async def has_ended() -> bool:
            found = [
                await hookline.admin.get(DEPLOYMENTS, hookline.namespace, name)
                for name in (sender_name("default"), gateway_name("default"))
            ]
            refused = condition_of(await dispatcher(hookline), "Accepted").get("reason") == "NATSInUse"
            return refused and [(each or {}).get("spec", {}).get("replicas") for each in found] == [0, 0]

        await eventually(has_ended, what=lambda: hookline.logs()[-3000:])
        assert await accepted()
        # Events for them are not nobody's.
        await until_written(hookline, team, 12)
    finally:
        await hookline.kube(*words, json.dumps({"spec": {"nats": {"url": "nats://nats:4222"}}}))
        await hookline.kube("delete", "dispatcher", "second", "-n", hookline.namespace)
    await until_written(hookline, team, 12)
