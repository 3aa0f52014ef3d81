"""What a producer sent, before it was held against its type; and which id an event gets.

Decides how a key of any spelling becomes an id that may be signed, so that the same key is always the same event.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from hookline.gateway.problem import Kind, refuse
from hookline.routing.signing import valid_message_id

MAX_EVENTS = 1000
"""Of one request, in whatever form."""

MAX_KEY_CHARACTERS = 1024
"""Of a key as it is sent."""

_DIGEST_CHARACTERS = 40


@dataclass(slots=True)  # not frozen, though nothing changes it, as Event
class Incoming:
    """One event as it came in. `type` is what the producer called it, `id` empty if it is to be given one.

    `context` travels with the event: `traceparent`, `tracestate`, and attributes of a CloudEvent. It breaks no rule
    (context_problems). `is_cloudevent`: its type may be a name in reverse DNS, and stand for one of ours
    (cloudevents.known_type).
    """

    type: str
    id: str
    body: bytes = field(repr=False)
    context: Mapping[str, str] = field(default_factory=dict, repr=False)
    is_cloudevent: bool = False


def id_of_key(key: str) -> str:
    """The id of the event that has this key: the key itself where it may be an id, else a digest of it.

    The quotes that a structured header has (draft-ietf-httpapi-idempotency-key-header) are no part of it. Raises
    Refused.
    """
    bare = key[1:-1] if len(key) >= 2 and key[0] == key[-1] == '"' else key
    if not bare or len(bare) > MAX_KEY_CHARACTERS:
        raise refuse(Kind.BAD_KEY, f"a key has 1 to {MAX_KEY_CHARACTERS} characters; send another one")
    return bare if valid_message_id(bare) else f"key_{_digest(bare)}"


def id_of_line(id_: str, number: int) -> str:
    """The id of one of several events that were sent with one key; empty without one. `id_` is that of the key."""
    if not id_:
        return ""
    line = f"{id_}-{number}"
    return line if valid_message_id(line) else f"key_{_digest(line)}"


def id_of_source(source: str, id_: str) -> str:
    """The id of a CloudEvent: `source` and `id` together name it (CloudEvents 1.0, section 3.1.1)."""
    return f"ce_{_digest(f'{len(source)}:{source}{id_}')}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:_DIGEST_CHARACTERS]
