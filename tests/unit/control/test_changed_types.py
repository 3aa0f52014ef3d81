"""What is said of an EventType whose schema changes, for as long as it is the last change."""

from __future__ import annotations

from itertools import count
from typing import Any, cast

import pytest

from hookline.control.cluster import ClusterError
from hookline.control.context import Context, Identity
from hookline.control.desired_book import root_manifest
from hookline.control.kinds import CONFIG_MAPS, DISPATCHERS, EVENT_TYPES
from hookline.control.reconcile import Reconciler
from hookline.control.work_keys import RootKey
from hookline.events.builtin_events import event_named, schema_of
from hookline.routing.routes import DispatcherRecord
from unit.control.objects import OWN, dispatcher, event_type

WIDE: dict[str, Any] = {"properties": {"a": {"type": "string"}}}
NARROW: dict[str, Any] = {**WIDE, "required": ["a"]}
_UIDS = count()


class Operator:
    """The part of an operator that looks at EventTypes, over what a cluster holds."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.refuses: ClusterError | None = None
        self.context = Context(cast(Any, self), Identity("op", OWN, "image"))
        self.context.observed.put(DISPATCHERS, dispatcher())
        self._reconciler = Reconciler(self.context, cast(Any, None), cast(Any, self))
        self._version = 1
        self.uid = f"order-{next(_UIDS)}"
        self.status: Any = {}

    def apply_type(self, schema: Any, **spec: Any) -> None:
        self._version += 1
        found = event_type("Order", schema, generation=self._version, version=self._version, uid=self.uid)
        self.context.observed.put(EVENT_TYPES, {**found, "spec": {**found["spec"], **spec}, "status": self.status})

    async def apply(self, kind: Any, manifest: Any, *, subresource: str) -> Any:
        if self.refuses:
            raise self.refuses
        (found,) = (each for each in manifest["status"]["conditions"] if each["type"] == "Compatible")
        self.done.append(f"{found['status']} {found['reason']}")
        self.status = manifest["status"]
        seen = self.context.observed.event_types["", "order"]
        assert seen.value is not None
        self._version += 1
        answer = event_type(
            "Order", seen.value.spec.schema_, generation=seen.generation, version=self._version, uid=self.uid
        )
        return {**answer, "status": self.status}

    async def create(self, kind: Any, event: Any) -> None:
        self.done.append(f"{event['type']} {event['reason']}")

    async def reconcile_root(self, name: str) -> None:
        self.done.append("root")
        manifest = root_manifest(OWN, name, [], DispatcherRecord(), self.context.policy().records)
        manifest["metadata"] |= {"uid": "root", "resourceVersion": str(len(self.done))}
        self.context.observed.put(CONFIG_MAPS, manifest)

    async def write_root(self) -> None:
        await self._reconciler.reconcile(RootKey("default"))

    @property
    def says(self) -> str:
        found = self.context.compatible(self.context.observed.event_types["", "order"])
        return f"{found.status} {found.reason}"

    def after_a_restart(self) -> Operator:
        """Another operator, that finds what this one left in the cluster."""
        found = Operator()
        found._version, found.uid, found.status = self._version, self.uid, self.status
        root = self.context.observed.own(CONFIG_MAPS, (OWN, "hookline-book-default"))
        if root is not None:
            found.context.observed.put(CONFIG_MAPS, root)
        return found


async def test_a_change_is_told_before_it_is_in_force_and_stays_told() -> None:
    operator = Operator()
    operator.apply_type(WIDE)
    await operator.write_root()
    assert operator.says == "True Compatible"
    operator.done.clear()
    operator.apply_type(NARROW)
    await operator.write_root()
    assert operator.done == ["False RefusesMore", "Warning RefusesMore", "root"]
    operator.apply_type(NARROW, description="of something else")
    await operator.write_root()
    assert operator.says == "False RefusesMore"
    operator = operator.after_a_restart()
    operator.apply_type(NARROW, description="of something else again")
    assert operator.says == "False RefusesMore"
    operator.apply_type({**NARROW, "title": "x"})
    assert operator.says == "True Compatible"


async def test_a_change_made_while_no_operator_was_there_is_told_by_the_next_one() -> None:
    operator = Operator()
    operator.apply_type(NARROW)
    await operator.write_root()
    operator = operator.after_a_restart()
    operator.apply_type(WIDE)
    assert operator.says == "False PromisesLess"


async def test_a_version_that_is_not_accepted_is_no_change() -> None:
    operator = Operator()
    operator.apply_type(WIDE)
    await operator.write_root()
    operator.apply_type({"type": "strnig"})
    await operator.write_root()
    assert operator.says == "True Compatible"
    operator.apply_type(NARROW)
    assert operator.says == "False RefusesMore"


async def test_a_cluster_that_takes_no_status_keeps_no_change_from_its_effect() -> None:
    operator = Operator()
    operator.apply_type(WIDE)
    await operator.write_root()
    operator.apply_type(NARROW)
    operator.refuses = ClusterError("no")
    operator.done.clear()
    await operator.write_root()
    assert operator.done == ["root"]
    assert operator.says == "False RefusesMore"


@pytest.mark.parametrize(("change", "said"), [({}, []), ({"required": ["Nothing"]}, ["RefusesMore"])])
def test_a_type_in_the_place_of_a_built_in_one_is_held_against_that(change: Any, said: list[str]) -> None:
    context = Context(cast(Any, None), Identity("op", OWN, "image"))
    schema = {**schema_of(event_named("IdentityCreated")), **change}
    context.observed.put(EVENT_TYPES, event_type("IdentityCreated", schema))
    found = context.compatible(context.observed.event_types["", "identitycreated"])
    assert [found.reason] == (said or ["Compatible"])


def test_a_type_that_is_gone_leaves_nothing_behind() -> None:
    operator = Operator()
    operator.apply_type(WIDE)
    assert operator.says == "True Compatible"
    operator.apply_type(NARROW)
    assert operator.context.changed_types() == ["order"]
    operator.context.observed.remove(EVENT_TYPES, event_type("Order", NARROW, uid=operator.uid, version=99))
    assert operator.context.changed_types() == []
