"""What of objects, logs and metrics may go into a support bundle. Pure.

Objects are cut down to what is known to be harmless, or have taken out of them what may be secret: the query and the
user part of a URL, header values, bodies. Texts have taken out of them what looks like a secret, and what is known to
be one from the objects. It cannot know a secret that an administrator's own text holds; a person looks at the bundle
before it is handed on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from hookline.cli.log.api import Object
from hookline.cli.log.fields import value

MARK = "[taken out]"

SHORTEST_SECRET = 4
"""Characters of a value that is looked for in texts: one that is shorter stands everywhere by chance."""

_BODIES = frozenset({"body", "answer", "sample", "schema", "caBundle", "data", "stringData", "binaryData"})
"""Fields whose whole value is taken out, wherever they stand."""
_KEPT_OF_ANSWERS = frozenset({"bytes", "bodyEncoding"})
_HEADER_MAPS = frozenset({"headers"})
_DROPPED_METADATA = frozenset({"managedFields", "annotations"})
"""Annotations hold whole manifests: kubectl's `last-applied-configuration`."""
_URL_FIELD = re.compile(r"(?i)url$|^proxy$")


def _without_query(url: re.Match[str]) -> str:
    return f"{url[1]}?{MARK}" if url[2] else url[1]


_SCHEME = r"(?<![a-z0-9+.-])[a-z][a-z0-9+.-]{0,20}://"

# Each repeat has a bound: a log may hold what a stranger wrote, and it is looked through from every place in it.
_PATTERNS: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    # A PEM block, also broken into the \n of JSON.
    (re.compile(r"-----BEGIN [A-Z ]{1,40}-----.*?(-----END [A-Z ]{1,40}-----|\Z)", re.DOTALL), MARK),
    (re.compile(r"\bwhs(?:ec|k|pk)_[A-Za-z0-9+/=_-]+"), MARK),
    (re.compile(r"(?i)\b(bearer|basic)\s{1,8}[A-Za-z0-9._~+/=-]{6,}"), rf"\1 {MARK}"),
    (re.compile(r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{5,4096}\.[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]*)?"), MARK),
    # NKey seeds: https://docs.nats.io/running-a-nats-service/configuration/securing_nats/auth_intro/nkey_auth
    (re.compile(r"\bS[UAONCX][A-Z2-7]{40,}\b"), MARK),
    (re.compile(rf"({_SCHEME})[^\s/@\"'\\]{{1,512}}@"), rf"\1{MARK}@"),
    # All of a URL is taken at once, with a query or without: none of it is looked through again.
    (re.compile(rf"({_SCHEME}[^\s?\"'\\<>]*+)(\?[^\s\"'\\<>]*)?"), _without_query),
    (
        re.compile(
            r"(?i)((?:secret|token|password|passwd|api-?_?key|app-?_?key|authorization|cookie)[\w-]{0,40}"
            r"[\"']?\s{0,8}[:=]\s{0,8})"
            r"(\"(?:[^\"\\]|\\.)*+\"?|'[^']*+'?|[^\s,;}&\"']+)"
        ),
        rf"\1{MARK}",
    ),
)


def redacted(text: str, secrets: Iterable[str] = ()) -> str:
    """Without what looks like a secret, and without these as they are or as URLs, JSON and shells write them."""
    for secret in sorted({each for one in secrets for each in _spelled(one)}, key=len, reverse=True):
        text = text.replace(secret, MARK)
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return text


def _spelled(secret: str) -> Iterator[str]:
    if len(secret) >= SHORTEST_SECRET:
        yield from (secret, quote(secret, safe=""), quote(secret), repr(secret)[1:-1])


def secrets_of(objects: Iterable[Object]) -> set[str]:
    """What Webhooks and Dispatchers hold that must not be in a text: values of headers, queries and users of URLs."""
    return {each for found in objects for each in _secrets_in(found.get("spec"), "")}


def _secrets_in(found: Any, name: str) -> Iterator[str]:
    if isinstance(found, Mapping):
        if isinstance(plain := found.get("value"), str):
            yield plain
        for key, each in found.items():
            yield from _secrets_in(each, str(key))
    elif isinstance(found, list):
        for each in found:
            yield from _secrets_in(each, name)
    elif isinstance(found, str) and _URL_FIELD.search(name):
        for one in re.split(r"[\s,]+", found):
            yield from _secrets_of_url(one)


def _secrets_of_url(url: str) -> Iterator[str]:
    try:
        parts = urlsplit(url)
    except ValueError:
        return
    yield parts.query
    yield from (pair.partition("=")[2] for pair in re.split("[&;]", parts.query))
    yield parts.fragment
    yield from (parts.username or "", parts.password or "")


def without_secrets(found: Any, name: str = "") -> Any:
    """An object of the API, cut down to what may be handed on."""
    if isinstance(found, Mapping):
        return {str(key): _member(str(key), each, name) for key, each in found.items()}
    if isinstance(found, list):
        return [without_secrets(each, name) for each in found]
    if isinstance(found, str):
        return _url(found) if _URL_FIELD.search(name) else redacted(found)
    return found


def _member(key: str, found: Any, within: str) -> Any:
    if within == "metadata" and key in _DROPPED_METADATA:
        return MARK
    if key == "answer" and isinstance(found, Mapping):
        kept = {word: each for word, each in found.items() if word in _KEPT_OF_ANSWERS}
        return {**kept, "headers": list(found["headers"])} if isinstance(found.get("headers"), Mapping) else kept
    if key in _BODIES and found not in (None, "", [], {}):
        return MARK
    if key in _HEADER_MAPS and isinstance(found, Mapping):
        return list(found)
    if key == "value" and isinstance(found, str):
        return MARK
    return without_secrets(found, key)


def _url(text: str) -> str:
    """Without query, fragment and user, whatever it is."""
    without = re.split(r"[?#]", text, maxsplit=1)
    without[0] = re.sub(r"(^|(?<=[,\s])|://)[^/@\s,]*@", rf"\1{MARK}@", without[0])
    return without[0] + (f"?{MARK}" if len(without) > 1 else "")


def pod_summary(pod: Object) -> Object:
    """What is known to be harmless: no environment, no commands, no volumes."""
    statuses = value(pod, "status.containerStatuses")
    return {
        "namespace": value(pod, "metadata.namespace"),
        "name": value(pod, "metadata.name"),
        "labels": value(pod, "metadata.labels"),
        "node": value(pod, "spec.nodeName"),
        "phase": value(pod, "status.phase"),
        "startTime": value(pod, "status.startTime"),
        "conditions": without_secrets(value(pod, "status.conditions")),
        "containers": [
            {
                "name": value(each, "name"),
                "image": value(each, "image"),
                "imageID": value(each, "imageID"),
                "ready": value(each, "ready"),
                "restartCount": value(each, "restartCount"),
                "state": without_secrets(value(each, "state")),
                "lastState": without_secrets(value(each, "lastState")),
            }
            for each in (statuses if isinstance(statuses, list) else [])
        ],
    }


def event_summary(event: Object) -> Object:
    """An Event of Kubernetes (events.k8s.io/v1)."""
    return {
        "namespace": value(event, "metadata.namespace"),
        "regarding": {word: value(event, f"regarding.{word}") for word in ("kind", "name")},
        "type": value(event, "type"),
        "reason": value(event, "reason"),
        "note": redacted(str(value(event, "note") or "")),
        "time": value(event, "eventTime") or value(event, "deprecatedLastTimestamp"),
        "count": value(event, "series.count") or value(event, "deprecatedCount"),
    }
