"""What may happen to an operator and to the API server, and that the cluster then holds what its Webhooks say.

After each fault the route book is what the Webhooks say, senders serve it, nothing was written that changed nothing,
and a Webhook that nobody touched has heard every event.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from controlplane.kubectl import Kubectl
from controlplane.servers import ControlPlane
from doubles import own
from doubles.api_proxy import Answer, Asked, refusal, watch_refusal
from doubles.installation import ACCOUNT, Installation, condition_of, installed
from doubles.local import count, dead_letters, until
from doubles.operator_process import OperatorProcess
from doubles.receiver import TlsReceiver
from doubles.team import Team, new_secret
from doubles.waiting import eventually
from hookline import __version__
from hookline.control.cluster import connected
from hookline.control.context import Identity
from hookline.control.kinds import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    DISPATCHERS,
    DISRUPTION_BUDGETS,
    LEASES,
    NAMESPACES,
    NETWORK_POLICIES,
    SERVICE_ACCOUNTS,
    SERVICES,
    gateway_name,
    root_name,
    sender_name,
)
from hookline.control.run import Operator

pytestmark = [pytest.mark.timeout(240), pytest.mark.asyncio(loop_scope="module")]

MOST_WRITES = 40
"""More than the scripted change can need."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hookline(
    control_plane: ControlPlane, kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    """An installation with senders. Its operator does not run."""
    async with installed(control_plane, kubectl, tmp_path_factory.mktemp("faults")) as installation:
        first = installation.operator()
        first.start()
        await installation.until_sends()
        await first.end()
        yield installation


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def receiver() -> AsyncIterator[TlsReceiver]:
    async with TlsReceiver("127.0.0.1", name="localhost") as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def operator(hookline: Installation) -> AsyncIterator[OperatorProcess]:
    """An operator that leads."""
    (process,) = (each for each in hookline.operators if each.name.endswith("operator-0"))
    process.start()
    await process.until_leads()
    yield process
    hookline.proxy.undo()
    hookline.proxy.join_watches()
    if process.running:
        await process.end()


@pytest_asyncio.fixture(loop_scope="module")
async def other(hookline: Installation, operator: OperatorProcess, tmp_path: Path) -> AsyncIterator[OperatorProcess]:
    """A second operator, which stands by, with a wrong clock."""
    process = hookline.operator("operator-1", PYTHONPATH=str(a_day_ahead(tmp_path)))
    process.start()
    await until(lambda: "standing by" in process.said, what="the other to stand by")
    yield process
    hookline.proxy.undo()
    await process.end()
    hookline.operators.remove(process)


@pytest_asyncio.fixture(loop_scope="module")
async def team(hookline: Installation, operator: OperatorProcess, namespace: str, receiver: TlsReceiver) -> Team:
    """With Webhooks to be edited, deleted and robbed of their Secret, and a witness whom nobody touches."""
    found = Team(hookline, namespace, receiver)
    await found.apply(
        found.authority(),
        found.signing("signing", new_secret()),
        found.signing("turned", key(0)),
        found.signing("allowed", new_secret()),
        found.webhook("edited", found.path("edited-0"), secret="turned"),
        found.webhook("deleted-0", found.path("deleted-0")),
        found.webhook("robbed", found.path("robbed"), secret="allowed"),
        found.webhook("witness", found.path("witness")),
    )
    await hookline.settled()
    return found


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def nothing_is_lost_or_written_twice(hookline: Installation, team: Team) -> AsyncIterator[None]:
    """What holds of every test here, whatever else it shows."""
    before = len(hookline.proxy.writes)
    async with team.publishing():
        yield
    await team.missed_nothing(team.path("witness"))
    idle = [each for each in hookline.proxy.writes[before:] if each.status < 300 and not each.changed]
    assert [each.asked.title for each in idle] == []
    assert hookline.queue is not None
    letters = await dead_letters(hookline.queue) if await count(hookline.queue, own.DEAD) else []
    assert {each.word for each in letters} <= {"WebhookGone"}


def key(n: int) -> str:
    """The n-th signing key of a team that rotates it."""
    return "whsec_" + base64.b64encode(n.to_bytes(32)).decode()


async def change(team: Team, n: int) -> None:
    """One Webhook gets another URL and another key, one appears, one goes."""
    edited = team.webhook("edited", team.path(f"edited-{n}"), secret="turned")
    deleted = team.webhook(f"deleted-{n}", team.path(f"deleted-{n}"))
    await team.apply(edited, team.signing("turned", key(n)), deleted)
    await team.delete("webhook", f"deleted-{n - 1}")


async def heard(team: Team, n: int) -> None:
    """The n-th change is in force: seen at the receiver, as is what it ended."""
    (event,) = await team.publish()
    call = await team.call(team.path(f"edited-{n}"), event)
    assert call.verified_by(key(n))
    assert call.verified_by(key(n - 1)), "a rotated key signs on"
    await team.call(team.path(f"deleted-{n}"), event)
    assert event in team.missing(team.path(f"edited-{n - 1}"))
    assert event in team.missing(team.path(f"deleted-{n - 1}"))


async def robbed(team: Team, event: str) -> None:
    """The Webhook that lost its Secret waits."""
    assert (await team.condition("robbed"))["reason"] == "SecretNotAllowed"
    assert event in team.missing(team.path("robbed"))


class Killer:
    """Kills an operator at its n-th write: before the API server sees it, or before the operator sees the answer."""

    def __init__(self, operator: OperatorProcess, n: int) -> None:
        self._operator = operator
        self._n = n
        self._writes = itertools.count(1)
        self.done = asyncio.Event()

    async def before(self, asked: Asked) -> Answer | None:
        return Answer(503, {}, b"") if self._kills(asked) else None

    async def after(self, asked: Asked, _: Answer) -> None:
        self._kills(asked)

    def _kills(self, asked: Asked) -> bool:
        if not asked.is_write or next(self._writes) != self._n:
            return False
        self._operator.kill()
        self.done.set()
        return True


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_an_operator_killed_at_any_write_finishes_after_its_restart(
    hookline: Installation, operator: OperatorProcess, team: Team, moment: str
) -> None:
    """For each n: a change is made, the operator dies at its n-th write, starts again, and all is as if it had not."""
    for n in range(1, MOST_WRITES):
        killer = Killer(operator, n)
        setattr(hookline.proxy, moment, getattr(killer, moment))
        await change(team, n)
        await first_of(hookline.settled(), killer.done.wait())
        hookline.proxy.undo()
        if not killer.done.is_set():
            break
        operator.start()
        await hookline.settled()
        await heard(team, n)
    await heard(team, n)
    assert n > 8, "the change needs more writes than this"


async def first_of(*works: Coroutine[Any, Any, object]) -> None:
    """Wait for one of them; the others are given up."""
    tasks = [asyncio.create_task(each) for each in works]
    done, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in others:
        task.cancel()
    for task in done:
        task.result()


async def test_an_installation_that_is_killed_at_each_of_its_writes_is_whole_in_the_end(
    control_plane: ControlPlane, kubectl: Kubectl, tmp_path: Path
) -> None:
    """Each life of the operator has one write, on what the lives before have left."""
    async with installed(control_plane, kubectl, tmp_path, namespaced=True, senders=False) as fresh:
        operator = fresh.operator()
        while not await is_whole(fresh):
            assert operator.starts < MOST_WRITES
            killer = Killer(operator, 1)
            fresh.proxy.after = killer.after
            operator.start()
            await first_of(killer.done.wait(), eventually(partial(is_whole, fresh)))
            fresh.proxy.undo()
            if operator.running:
                operator.kill()
        # Two writes that are under way at once may both land.
        assert operator.starts > 4
        assert [each.asked.title for each in fresh.proxy.writes if not each.changed] == []


async def is_whole(fresh: Installation) -> bool:
    """Whether all that a Dispatcher consists of is there, and its status says the last of it."""
    dispatcher = await fresh.admin.get(DISPATCHERS, fresh.namespace, "default")
    both = (NETWORK_POLICIES, DISRUPTION_BUDGETS, DEPLOYMENTS)
    wanted = [(kind, sender_name("default")) for kind in (SERVICE_ACCOUNTS, *both)]
    wanted += [(kind, gateway_name("default")) for kind in (SERVICES, *both)]
    parts = [await fresh.admin.get(kind, fresh.namespace, name) for kind, name in wanted]
    root = await fresh.admin.get(CONFIG_MAPS, fresh.namespace, root_name("default"))
    told = condition_of(dispatcher or {}, "Ready").get("reason") == "NoSenders"
    return told and root is not None and all(parts)


async def test_when_the_leader_is_killed_the_other_takes_over_whatever_its_clock_says(
    hookline: Installation, operator: OperatorProcess, other: OperatorProcess, team: Team
) -> None:
    first = await lease(hookline)
    await renewed(hookline, times=3)
    assert (await lease(hookline))["leaseTransitions"] == first["leaseTransitions"], "it must not take what is held"
    operator.kill()
    await change(team, 1)
    await other.until_leads()
    await hookline.settled()
    await heard(team, 1)
    last = await lease(hookline)
    assert (last["holderIdentity"], last["leaseTransitions"]) == (other.name, first["leaseTransitions"] + 1)
    assert datetime.fromisoformat(last["renewTime"]) > datetime.now(UTC) + timedelta(hours=23), "its clock is wrong"


async def test_late_writes_of_a_frozen_leader_do_not_land(
    hookline: Installation, operator: OperatorProcess, other: OperatorProcess, team: Team
) -> None:
    """Its requests are on their way when it is frozen, and arrive when another one has led for a while."""
    holder = Holder("operator-0", {"secrets", "webhooks"})
    hookline.proxy.before = holder.before
    await team.apply(team.webhook("robbed", team.path("moved"), secret="allowed"))
    await team.apply(team.webhook("odd", team.path("odd"), event="Unheard"))
    await until(lambda: holder.plurals == {"secrets", "webhooks"}, what="a write of each kind on its way")
    operator.freeze()
    await other.until_leads()
    await hookline.settled()
    await change(team, 1)
    await team.apply(team.webhook("robbed", team.path("robbed"), secret="allowed"))
    await team.apply(team.webhook("odd", team.path("odd")))
    await hookline.settled()
    before = len(hookline.proxy.writes)
    holder.release.set()
    await until(lambda: len(hookline.proxy.writes) >= before + holder.count, what="the late writes")
    operator.thaw()
    assert await operator.ended(20) == 1, operator.output[-2000:]
    late = [each for each in hookline.proxy.writes[before:] if each.asked.who == "operator-0"]
    # 404: of a Webhook that went with the namespace of the test before.
    assert {(each.asked.title, each.status, each.changed) for each in late if each.status not in (404, 409)} == set()
    await hookline.settled()
    await heard(team, 1)


class Holder:
    """Holds writes of one operator on their way."""

    def __init__(self, who: str, plurals: set[str]) -> None:
        self._who = who
        self._plurals = plurals
        self.plurals: set[str] = set()
        self.count = 0
        self.release = asyncio.Event()

    async def before(self, asked: Asked) -> Answer | None:
        if asked.who == self._who and asked.is_write and asked.plural in self._plurals:
            self.plurals.add(asked.plural)
            self.count += 1
            await self.release.wait()
        return None


def a_day_ahead(folder: Path) -> Path:
    """A folder that makes the wall clock of a Python process wrong; the monotonic one is as it should be."""
    (folder / "sitecustomize.py").write_text(
        "import datetime, time\n"
        "right, DAY = time.time, 86400\n"
        "time.time = lambda: right() + DAY\n"
        "real = datetime.datetime\n"
        "class Kind(type):\n"
        "    def __instancecheck__(cls, instance): return isinstance(instance, real)\n"
        "class Wrong(real, metaclass=Kind):\n"
        "    @classmethod\n"
        "    def now(cls, tz=None): return real.now(tz) + datetime.timedelta(seconds=DAY)\n"
        "datetime.datetime = Wrong\n"
    )
    return folder


async def lease(hookline: Installation) -> dict[str, Any]:
    found = await hookline.admin.get(LEASES, hookline.namespace, ACCOUNT)
    assert found is not None
    spec: dict[str, Any] = found["spec"]
    return spec


async def renewed(hookline: Installation, *, times: int) -> None:
    """Wait until the Lease was renewed so often."""
    seen: set[str] = set()

    async def often_enough() -> bool:
        seen.add((await lease(hookline))["renewTime"])
        return len(seen) > times

    await eventually(often_enough)


def gone_from_lists(asked: Asked) -> Answer | None:
    if asked.is_watch:
        return watch_refusal(410, "Expired")
    return refusal(410, "Expired") if asked.is_list else None


def conflict_for_writes(asked: Asked) -> Answer | None:
    return refusal(409, "Conflict") if asked.is_write else None


def too_many_requests(_: Asked) -> Answer | None:
    return refusal(429, "TooManyRequests", **{"Retry-After": "1"})


def internal_error(_: Asked) -> Answer | None:
    return refusal(500, "InternalError")


class Refusing:
    """Answers in the API server's place, and counts how often."""

    def __init__(self, fault: Callable[[Asked], Answer | None]) -> None:
        self._fault = fault
        self.count = 0

    async def before(self, asked: Asked) -> Answer | None:
        answer = self._fault(asked)
        self.count += answer is not None
        return answer


@pytest.mark.parametrize("fault", [gone_from_lists, conflict_for_writes, too_many_requests, internal_error])
async def test_the_cluster_converges_after_refusals_of_the_api_server(
    hookline: Installation, operator: OperatorProcess, team: Team, fault: Callable[[Asked], Answer | None]
) -> None:
    starts, refusing = operator.starts, Refusing(fault)
    hookline.proxy.before = refusing.before
    # Each watch begins anew, into the refusals.
    hookline.proxy.cut_watches()
    hookline.proxy.join_watches()
    await change(team, 1)
    await team.allow("allowed", allowed=False)
    await until(lambda: refusing.count >= 5, what="refusals")
    hookline.proxy.undo()
    await in_force(hookline, team)
    assert (operator.starts, operator.running) == (starts, True), operator.output[-2000:]


async def in_force(hookline: Installation, team: Team) -> None:
    """The first change, and that the Secret `allowed` is allowed no more."""
    await hookline.settled()
    await team.until("robbed", "SecretNotAllowed")
    await hookline.settled()
    await heard(team, 1)
    (event,) = await team.publish()
    await team.call(team.path("witness"), event)
    await robbed(team, event)


async def test_the_cluster_converges_after_a_restart_of_the_api_server(
    hookline: Installation, operator: OperatorProcess, team: Team
) -> None:
    starts = operator.starts
    await asyncio.to_thread(hookline.plane.restart_apiserver, kill=True)
    await change(team, 1)
    await team.allow("allowed", allowed=False)
    await in_force(hookline, team)
    assert (operator.starts, operator.running) == (starts, True), operator.output[-2000:]


class Hanging:
    """Lets requests hang until the end of the fault; then they are answered, or are lost."""

    def __init__(self, hangs: Callable[[Asked], bool], *, lost: bool = False) -> None:
        self._hangs = hangs
        self._answer = Answer(504, {}, b"") if lost else None
        self.count = 0
        self.over = asyncio.Event()

    async def before(self, asked: Asked) -> Answer | None:
        if self._hangs(asked):
            self.count += 1
            await self.over.wait()
            return self._answer
        return None


async def test_an_operator_whose_api_server_hangs_gives_up_its_lead_and_comes_back(
    hookline: Installation, operator: OperatorProcess, team: Team
) -> None:
    """A hang of a minute looks to it like one of eleven seconds: it ends before another operator could lead."""
    hanging = Hanging(lambda asked: True)
    hookline.proxy.before = hanging.before
    await change(team, 1)
    await team.allow("allowed", allowed=False)
    assert await operator.ended(30) == 1
    before = hanging.count
    operator.start()
    await until(lambda: hanging.count > before, what="a try to begin")
    hookline.proxy.undo()
    hanging.over.set()
    await in_force(hookline, team)


async def test_requests_that_hang_hold_nothing_up_for_long_while_the_lease_is_renewed(
    hookline: Installation, operator: OperatorProcess, team: Team
) -> None:
    """For as long as the bound of one request, 20 seconds, and not for a minute: each is given up and tried again."""
    starts = operator.starts
    # What was given up and asked for again must not arrive late: then it would be written twice, and rightly.
    hanging = Hanging(lambda asked: asked.plural != "leases", lost=True)
    hookline.proxy.before = hanging.before
    await change(team, 1)
    await team.allow("allowed", allowed=False)
    await until(lambda: "does not answer (TimeoutError)" in operator.said, seconds=40, what="a request given up")
    hookline.proxy.undo()
    hanging.over.set()
    await in_force(hookline, team)
    assert (operator.starts, operator.running) == (starts, True), operator.output[-2000:]


async def test_what_went_while_watches_were_cut_is_served_no_more_when_they_are_back(
    hookline: Installation, operator: OperatorProcess, team: Team
) -> None:
    hookline.proxy.cut_watches()
    await change(team, 1)
    await team.allow("allowed", allowed=False)
    hookline.proxy.join_watches(forgotten=True)
    await in_force(hookline, team)


async def test_what_went_while_watches_are_cut_for_good_is_served_no_more_after_a_comparison(
    hookline: Installation, operator: OperatorProcess, team: Team
) -> None:
    """In this process, to have the comparison every two seconds and not every two minutes."""
    assert hookline.kubelet is not None
    pods = set(hookline.kubelet.pods)
    await operator.end()
    hookline.proxy.cut_watches()
    stop = asyncio.Event()
    async with connected(hookline.kubeconfig("watchless")) as (cluster, access):
        # What the operators before it were: else it rolls out senders of another installation, which NATS refuses.
        namespace = await hookline.admin.get(NAMESPACES, None, hookline.namespace)
        assert namespace is not None
        uid = namespace["metadata"]["uid"]
        identity = Identity("watchless", hookline.namespace, f"hookline:{__version__}", None, uid)
        watchless = Operator(cluster, lambda: access, identity, lease=ACCOUNT, resync_seconds=2)
        running = asyncio.create_task(watchless.run(stop))
        try:
            await until(lambda: watchless.leads and watchless.ready() is None, seconds=90, what="the operator")
            await change(team, 1)
            await team.allow("allowed", allowed=False)
            await in_force(hookline, team)
            assert set(hookline.kubelet.pods) == pods, "the same senders"
        finally:
            stop.set()
            await running
