"""What a message of the attempts log says: its records with their places, or what is to be forgotten. Pure.

Anybody on this NATS may have written it. The tenant is that of the subject, and of nothing else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from hookline.api.index import Entry, Mark
from hookline.api.object_names import MAX_LINES, place_in_log
from hookline.events.envelope import valid_tenant
from hookline.stream import names
from hookline.stream.attempt_record import (
    FORMAT,
    FORMAT_HEADER,
    SENDER_HEADER,
    WEBHOOK_HEADER,
    WORD_CHARACTERS,
    decode,
    with_marks,
)

PURGED = names.PURGED_SUBJECTS.rpartition(".")[2]
"""In place of a Webhook: what the tenant had before this message is to be forgotten."""

_PREFIX = names.attempts_subject("", "").rstrip(".") + "."
_OBJECT_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_LARGEST_MARK = 4096


def entries_of(seq: int, subject: str, headers: Mapping[str, str], body: bytes, *, whole: bool = True) -> list[Entry]:
    """None of what is no batch of records. Without what the index does not keep if not `whole`."""
    tenant, uid = tenant_and_last(subject)
    webhook = webhook_of(headers.get(WEBHOOK_HEADER, ""), tenant)
    if not tenant or not webhook or not names.is_uid(uid) or headers.get(FORMAT_HEADER, FORMAT) != FORMAT:
        return []
    sender = with_marks(headers.get(SENDER_HEADER, ""))[:WORD_CHARACTERS]
    return [
        Entry(place_in_log(seq, line), tenant, webhook, uid, sender, record)
        for line, record in enumerate(decode(body, whole=whole)[:MAX_LINES])
    ]


def mark_of(seq: int, subject: str, body: bytes) -> Mark | None:
    """None of what is no such mark."""
    tenant, last = tenant_and_last(subject)
    if not tenant or last != PURGED or len(body) > _LARGEST_MARK:
        return None
    try:
        said = json.loads(body) if body else {}
    except (ValueError, RecursionError):
        return None
    event_id = said.get("event_id", "") if isinstance(said, dict) else None
    return (
        Mark(tenant, place_in_log(seq, 0), event_id)
        if isinstance(event_id, str) and len(event_id) <= WORD_CHARACTERS
        else None
    )


def tenant_and_last(subject: str) -> tuple[str, str]:
    """Tenant and last token of a subject of the log; empty of others."""
    tenant, _, last = subject.removeprefix(_PREFIX).partition(".") if subject.startswith(_PREFIX) else ("", "", "")
    return (tenant, last) if valid_tenant(tenant) else ("", "")


def webhook_of(title: str, tenant: str) -> str:
    """The name of a Webhook of a tenant, out of `<namespace>/<name>`; empty when it is not one."""
    namespace, _, name = title.partition("/")
    return name if namespace == tenant and _OBJECT_NAME.fullmatch(name) else ""


def last_place(seq: int) -> int:
    """Behind all records of a message."""
    return place_in_log(seq, MAX_LINES - 1)


def newest_of(entries: Sequence[Entry]) -> Mapping[str, int]:
    """The last place of each tenant."""
    return {each.tenant: each.place for each in entries}
