"""From a changed URL to the first call that goes there, on a real node with the shipped manifests.

    python -m benchmarks.operator_node      (part of make bench-operator)

The overlay `default`: one operator that leads, two sender pods and NATS, each a pod of a real kubelet. Events are
published all the while. The clock starts when the change is sent to the API server, and stops at the receiver.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import time
from pathlib import Path

import uvloop
from benchmarks.operator_report import quantiles, table_of_node
from benchmarks.operator_stage import Api

from controlplane import sandbox
from doubles.local import all_the_while
from doubles.receiver import TlsReceiver
from e2e import cluster
from e2e.team import Team, allow_receiver, new_secret, until
from hookline.control.kinds import WEBHOOKS
from hookline.stream.permissions import Role
from hookline.stream.publish import Publisher

NAMESPACE = "bench"
EVENT_GAP_SECONDS = 0.02
LIMIT_SECONDS = 60.0


async def measure(changes: int) -> list[float]:
    """Seconds from each change to its first call."""
    with cluster.running_node() as node:
        kubectl = cluster.kubectl_of(node)
        await asyncio.to_thread(cluster.install, node, kubectl)
        await asyncio.to_thread(allow_receiver, kubectl, cluster.SYSTEM)
        kubectl.ok("create", "namespace", NAMESPACE)
        client = await cluster.queue(kubectl, Role.GATEWAY)
        try:
            async with TlsReceiver(sandbox.HOST_ADDRESS) as receiver:
                team = Team(kubectl, NAMESPACE, receiver, Publisher(client))
                await asyncio.to_thread(_set_up, team, receiver)
                publishing = all_the_while(team.publish, every_seconds=EVENT_GAP_SECONDS)
                async with publishing, contextlib.aclosing(Api(node)) as api:
                    return [await _change(api, receiver, number) for number in range(changes)]
        finally:
            await client.close()


def _set_up(team: Team, receiver: TlsReceiver) -> None:
    team.apply(
        team.secret("receiver-ca", {"ca.crt": receiver.ca_pem}),
        team.secret("signing", {"secret": new_secret()}),
        team.webhook("orders", "/before", secret="signing"),
    )
    team.ready("orders")


async def _change(api: Api, receiver: TlsReceiver, number: int) -> float:
    path = f"/{number}"
    began = time.monotonic()
    await api.call("PATCH", WEBHOOKS.path(NAMESPACE, "orders"), {"spec": {"url": receiver.url(path)}})
    await until(lambda: bool(receiver.calls) and receiver.calls[-1].path == path, seconds=LIMIT_SECONDS, what=path)
    first = next(each for each in receiver.calls if each.path == path)
    receiver.calls.clear()
    # So that changes fall on any moment of whatever beats in a kubelet or a sender.
    await asyncio.sleep(0.5 + 0.137 * (number % 8))
    return first.at_s - began


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--changes", type=int, default=50, help="how many (default 50)")
    options.add_argument("--json", type=Path, help="write all figures to this file")
    given = options.parse_args()
    print("  a cluster of one node, with Hookline's manifests", file=sys.stderr, flush=True)
    if problem := cluster.prepare():
        raise SystemExit(problem)
    seconds = uvloop.run(measure(given.changes))
    print(table_of_node(seconds))
    if given.json:
        given.json.write_text(json.dumps({"changes": given.changes, "seconds": seconds}, indent=1) + "\n")
    if quantiles(seconds)[1] >= 2.0:
        raise SystemExit(f"p99 is {quantiles(seconds)[1]:.2f} s, wanted below 2")


if __name__ == "__main__":
    main()
