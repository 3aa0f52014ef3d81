"""A list as it is sent: whole where it is small, else part by part, so that no list takes more memory than a part."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable
from contextlib import aclosing
from typing import Any

from starlette.types import Send

from hookline.api.answers import Stream, encoded, send_bytes
from hookline.api.kinds import API_VERSION, Resource
from hookline.api.log import Expired, Unreadable
from hookline.api.objects import Entry, as_object, partial
from hookline.api.query import Form, Options, continue_token
from hookline.api.shelves import PART, Shelf
from hookline.api.table import definitions, row
from hookline.serving.refusal import Cut


async def send_list(send: Send, shelf: Shelf, resource: Resource, namespace: str, options: Options, form: Form) -> None:
    """Raises Unreadable, Expired and Refused before the answer has begun, and Cut after that."""
    pages = shelf.pages(namespace, options.selection, limit=options.limit, begin=options.begin)
    async with aclosing(pages) as parts:
        first = await anext(parts)
        # All parts of a list have the version of its beginning, so that whoever watches on from there misses nothing.
        version = options.version if options.begin else first.version
        if not first.more or 0 < options.limit <= PART:
            said = _whole(resource, form, options, first.items, _meta(version, first.more))
            await send_bytes(send, encoded(said, pretty=options.pretty))
            return
        stream = Stream(send)
        await stream.begin()
        await stream.give(_opening(resource, form))
        part, count = first, 0
        while True:
            items = ",".join(json.dumps(item_in(resource, form, options, each, time.time())) for each in part.items)
            if items:
                await stream.give((("," if count else "") + items).encode())
                count += len(part.items)
            more = part.more
            # A part takes some 30 ms: others get their turn between two.
            await asyncio.sleep(0)
            try:
                part = await anext(parts)
            except StopAsyncIteration:
                break
            except (Unreadable, Expired):
                raise Cut from None
        await stream.give(b'],"metadata":' + json.dumps(_meta(version, more)).encode() + b"}\n")
        await stream.end()


def kind_of_list(resource: Resource, form: Form) -> dict[str, str]:
    if form is Form.TABLE:
        return {"kind": "Table", "apiVersion": "meta.k8s.io/v1"}
    if form is Form.PARTIAL:
        return {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1"}
    return {"kind": f"{resource.kind}List", "apiVersion": API_VERSION}


def item_in(resource: Resource, form: Form, options: Options, entry: Entry, now_s: float) -> dict[str, Any]:
    """As it stands in a list, a row in a table."""
    if form is Form.TABLE:
        return row(resource, entry, now_s, options.include)
    return partial(entry) if form is Form.PARTIAL else as_object(entry)


def _whole(
    resource: Resource, form: Form, options: Options, entries: Iterable[Entry], meta: dict[str, str]
) -> dict[str, Any]:
    now_s = time.time()
    items = [item_in(resource, form, options, each, now_s) for each in entries]
    said: dict[str, Any] = {**kind_of_list(resource, form), "metadata": meta}
    if form is Form.TABLE:
        return {**said, "columnDefinitions": definitions(resource), "rows": items}
    return {**said, "items": items}


def _opening(resource: Resource, form: Form) -> bytes:
    said: dict[str, Any] = dict(kind_of_list(resource, form))
    if form is Form.TABLE:
        said["columnDefinitions"] = definitions(resource)
    return json.dumps(said).encode()[:-1] + (b',"rows":[' if form is Form.TABLE else b',"items":[')


def _meta(version: str, more: str) -> dict[str, str]:
    return {"resourceVersion": version, **({"continue": continue_token(more, version)} if more else {})}
