"""An operator with nothing to do writes nothing but its Lease."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from controlplane.kubectl import Kubectl
from controlplane.servers import ControlPlane
from doubles.api_proxy import Write
from doubles.installation import Installation, api_service, installed
from doubles.local import until
from doubles.operator_process import OperatorProcess
from doubles.receiver import TlsReceiver
from doubles.team import Team, new_secret
from doubles.waiting import eventually
from hookline.control.kinds import DISPATCHERS

pytestmark = pytest.mark.timeout(180)

RENEWALS = 6
"""Of the Lease: one every two seconds."""


async def test_a_second_run_over_an_unchanged_cluster_and_some_idling_write_only_the_lease(
    control_plane: ControlPlane, kubectl: Kubectl, namespace: str, tmp_path: Path
) -> None:
    async with (
        installed(control_plane, kubectl, tmp_path) as hookline,
        TlsReceiver("127.0.0.1", name="localhost") as receiver,
    ):
        await hookline.alone()
        async with api_service(hookline):
            team = Team(hookline, namespace, receiver)
            first = hookline.operator()
            first.start()
            await hookline.until_sends()
            token = team.secret("ci", {"token": secrets.token_hex(16)})
            token["metadata"]["labels"] = {"hookline.dev/publisher": "true"}
            await team.apply(team.authority(), team.signing("signing", new_secret()), token)
            await team.apply(*(team.webhook(f"orders-{n}", team.path("orders")) for n in range(8)))
            await team.apply(team.webhook("refused", team.path("refused"), event="Unheard"))
            await team.apply(team.webhook("held", team.path("held"), secret="missing"))
            await hookline.settled()
            # The last thing that is written of a change.
            await until_counted(hookline, 9)
            await first.end()
            writes, mark = len(hookline.proxy.writes), control_plane.audit_mark()
            second = hookline.operator("operator-1")
            second.start()
            await second.until_leads()
            await until_renewed(hookline, second)
            assert titles(hookline.proxy.writes[writes:]) == []
            told = [each for each in control_plane.audit_since(mark) if each["user"]["username"] == hookline.account]
            written = {each["objectRef"]["resource"] for each in told if each["verb"] not in ("get", "list", "watch")}
            assert written == {"leases"}


async def until_counted(hookline: Installation, routes: int) -> None:
    """Wait until the Dispatcher's status counts the routes."""

    async def counted() -> bool:
        found = await hookline.admin.get(DISPATCHERS, hookline.namespace, "default")
        return bool(found and found["status"].get("routes") == routes)

    await eventually(counted)


async def until_renewed(hookline: Installation, operator: OperatorProcess) -> None:
    """Wait as long as so many renewals take, and the operator has looked at everything."""
    begin = len(hookline.proxy.requests)

    def often_enough() -> bool:
        asked = hookline.proxy.requests[begin:]
        return sum(each.plural == "leases" and each.method == "PUT" for each in asked) >= RENEWALS

    await until(often_enough, seconds=60, what="the renewals")
    assert await operator.metric("hookline_queue_depth") == 0


def titles(writes: list[Write]) -> list[str]:
    return [f"{each.asked.method} {each.asked.title}" for each in writes]
