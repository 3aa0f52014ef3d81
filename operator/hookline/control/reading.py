"""What an API server says, as JSON of bounded depth. Pure.

A tenant may write an object that nests a thousand levels deep, in a place that nobody looks at (`managedFields`) or in
a schema. Whatever walks it afterwards, in this process or in a library, would end in a RecursionError, and a list of
all objects could not be read because of one. So an object is cut to MAX_DEPTH levels, and marked if that took anything
from it that counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

MAX_DEPTH = 64
"""Levels of one object. Webhooks, Secrets and Dispatchers have seven; an EventType's schema may have more than half."""

TOO_DEEP = "hookline.dev/too-deep"
"""A field of an object, set to True when some of it was cut away."""

_RAW_DEPTH = 256
"""Levels that Python's own reader is given. It can take some 900."""

_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]')


def read_json(content: bytes) -> Any:
    """One answer of an API server, or one line of a watch. Raises ValueError when it is not JSON."""
    try:
        found = json.loads(content)
    except RecursionError:
        found = json.loads(_cut(content))
    for manifest in _objects(found):
        _bound(manifest)
    return found


def _objects(answer: Any) -> Iterator[dict[str, Any]]:
    """The objects in an answer: itself, the items of a list, the object of a watch event."""
    if not isinstance(answer, dict):
        return
    inner = answer.get("items") if isinstance(answer.get("items"), list) else [answer.get("object")]
    found = [each for each in inner or [] if isinstance(each, dict)]
    yield from found or [answer]


def _bound(manifest: dict[str, Any]) -> None:
    metadata = manifest.get("metadata")
    if isinstance(metadata, dict):
        # Half of an object, and nobody here reads them.
        metadata.pop("managedFields", None)
    if _prune(manifest):
        manifest[TOO_DEEP] = True


def _prune(manifest: dict[str, Any]) -> bool:
    """Put None in the place of what lies deeper than MAX_DEPTH; whether there was anything. Without recursion."""
    cut = False
    level: list[Any] = [manifest]
    for depth in range(MAX_DEPTH):
        inner: list[Any] = []
        for container in level:
            items = container.items() if isinstance(container, dict) else enumerate(container)
            for key, value in list(items) if depth == MAX_DEPTH - 1 else items:
                if isinstance(value, dict | list):
                    if depth == MAX_DEPTH - 1:
                        container[key] = None
                        cut = True
                    else:
                        inner.append(value)
        level = inner
        if not level:
            break
    return cut


def _cut(content: bytes) -> bytes:
    """The same JSON with `null` in the place of what lies deeper than _RAW_DEPTH levels."""
    kept: list[bytes] = []
    depth = begun = 0
    for token in _TOKENS.finditer(content):
        mark = token[0][:1]
        if mark in b"[{":
            depth += 1
            if depth == _RAW_DEPTH + 1:
                kept.append(content[begun : token.start()])
        elif mark in b"]}":
            if depth == _RAW_DEPTH + 1:
                kept.append(b"null")
                begun = token.end()
            depth -= 1
    if depth <= _RAW_DEPTH:
        kept.append(content[begun:])
    return b"".join(kept)
