"""Has Kopf read what an API server says without ever ending for it.

Kopf's watcher gives up at a line that is no JSON or nests too deep, and at an ERROR event other than 410, and waits for
as long as a Retry-After says. Here each of them is a watch that has to begin anew, after a second. Private parts of
Kopf are replaced, so its version is bounded in pyproject.toml, and a name that is gone is an error.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

from kopf._cogs.clients import api, errors

from hookline.control.reading import read_json
from hookline.control.seen import kept_by

_GONE = {"type": "ERROR", "object": {"code": 410}}
"""What has Kopf list anew."""

_EVENTS = frozenset({"ADDED", "MODIFIED", "DELETED", "BOOKMARK"})

_check_response = errors.check_response


class _Json:
    """Stands for the module `json` in Kopf's client, which reads the lines of watches with it."""

    @staticmethod
    def loads(line: str) -> Any:
        return event_in(line.encode())


def event_in(line: bytes) -> dict[str, Any]:
    """The event in one line of a watch, or one that has the watch begin anew. Never raises."""
    try:
        event = read_json(line)
    except (ValueError, RecursionError):
        return _GONE
    return event if isinstance(event, dict) and _is_event(event) else _GONE


def _is_event(event: dict[str, Any]) -> bool:
    return isinstance(event.get("type"), str) and event["type"] in _EVENTS and _is_object(event)


def _is_object(event: dict[str, Any]) -> bool:
    found = event.get("object")
    metadata = found.get("metadata") if isinstance(found, dict) else None
    if not isinstance(metadata, dict):
        return False
    return event["type"] == "BOOKMARK" or all(isinstance(metadata.get(name), str) for name in ("name", "uid"))


async def _get(url: str, **options: Any) -> Any:
    """A list, or what Kopf asks for at its start. Raises ValueError when it is no object."""
    response = await api.request("get", url, **options)
    async with response:
        found = read_json(await response.read())
    if not isinstance(found, dict):
        raise ValueError("what answers is no API server")
    if isinstance(found.get("items"), list):
        keep = kept_by(unquote(url))
        found["items"] = [keep(each) for each in found["items"] if _is_object({"type": "ADDED", "object": each})]
    return found


async def _checked(response: Any) -> None:
    """Without a Retry-After that is no number of at most 99 seconds."""
    try:
        await _check_response(response)
    except errors.APIError as error:
        after = str(error.headers.get("Retry-After", ""))
        if not re.fullmatch(r"[0-9]{1,2}", after):
            error._headers = {}  # noqa: SLF001  # has no setter
        raise


def guard() -> None:
    """Replace what Kopf reads with. Raises ImportError when this Kopf has other parts."""
    for module, names in ((api, ("json", "get", "request", "stream")), (errors, ("check_response", "APIError"))):
        missing = [name for name in names if not hasattr(module, name)]
        if missing:
            raise ImportError(f"{module.__name__} has no {', '.join(missing)}: this version of Kopf does not fit")
    api.json = _Json  # type: ignore[attr-defined,assignment]
    api.get = _get
    errors.check_response = _checked
