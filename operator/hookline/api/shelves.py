"""Where the objects of each resource are in the log, and whether one is wanted."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Protocol

from hookline.api.kinds import ATTEMPTS, DEAD_LETTERS, DELIVERIES
from hookline.api.log import Log, Page, Wanted
from hookline.api.objects import Entry, narrowing
from hookline.api.selectors import Selection
from hookline.api.status import Refused, bad_request

PART = 500
"""Objects that are read and held at once, however many are wanted: as many as kubectl asks for."""


class _List(Protocol):
    async def __call__(self, namespace: str, wanted: Wanted, *, limit: int, begin: str = "") -> Page[Any]: ...


class _Get(Protocol):
    async def __call__(self, namespace: str, name: str) -> Entry | None: ...


class _Body(Protocol):
    async def __call__(self, namespace: str, name: str) -> bytes | None: ...


@dataclass(frozen=True, slots=True)
class Shelf:
    """The objects of one resource."""

    list: _List
    get: _Get
    body: _Body

    async def page(self, namespace: str, selection: Selection, *, limit: int, begin: str = "") -> Page[Any]:
        """The first objects that are selected, or those from `begin` on. Raises Unreadable, Expired, Refused."""
        if selection.nothing or (selection.namespace and namespace and selection.namespace != namespace):
            return await self._none(namespace, selection)
        namespace = namespace or selection.namespace
        if not selection.name:
            return await self.list(namespace, selection.wanted, limit=limit, begin=begin)
        if not namespace:
            # To find it, all namespaces would have to be looked through.
            raise Refused(bad_request("metadata.name can be selected within a namespace only"))
        none = await self._none(namespace, selection)
        one = await self.get(namespace, selection.name)
        return none if one is None or not is_wanted(one, selection.wanted) else Page([one], "", none.version)

    async def pages(
        self, namespace: str, selection: Selection, *, limit: int, begin: str = ""
    ) -> AsyncGenerator[Page[Any], None]:
        """Part by part, `limit` objects at most, 0 being all. Raises Unreadable, Expired, Refused."""
        left = limit
        while True:
            page = await self.page(namespace, selection, limit=min(left or PART, PART), begin=begin)
            yield page
            begin = page.more
            if limit:
                left -= len(page.items)
            if not begin or (limit and left <= 0):
                return

    async def _none(self, namespace: str, selection: Selection) -> Page[Any]:
        """No object, with the version of the whole."""
        page = await self.list(namespace, selection.wanted, limit=1)
        return Page([], "", page.version)


def shelves(log: Log) -> dict[str, Shelf]:
    """By the plural of their resource."""
    return {
        ATTEMPTS.plural: Shelf(log.attempts, log.attempt, log.body_of_attempt),
        DELIVERIES.plural: Shelf(log.deliveries, log.delivery, log.body_of_delivery),
        DEAD_LETTERS.plural: Shelf(log.dead_letters, log.dead_letter, log.body_of_dead_letter),
    }


def is_wanted(entry: Entry, wanted: Wanted) -> bool:
    event_id, event_type, reason, status = narrowing(entry)
    pairs = (
        (wanted.webhook, entry.webhook),
        (wanted.event_id, event_id),
        (wanted.event_type, event_type),
        (wanted.reason, reason),
        (wanted.status, "" if status is None else str(status)),
    )
    return all(not wish or wish == has for wish, has in pairs)
