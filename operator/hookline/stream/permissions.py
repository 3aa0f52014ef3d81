"""What each role may do in NATS, and the file that tells its servers so. Pure.

The one table: the shipped NATS gets it from the operator, and the documentation of an existing one is made of it.
A role is named by what connects (`stream/connection`: its answers come to `_INBOX.<name>.>`). A version that needs
more adds it here; what it needs no longer stays for as long as pods of the version before may run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from hookline.stream import names
from hookline.stream.names import inbox_of
from hookline.stream.nkeys import public_of, seed_of


class Role(StrEnum):
    """Who connects."""

    SENDER = "hookline-sender"
    GATEWAY = "hookline-gateway"
    API = "hookline-api"
    """Reads what waits, what was tried and what was given up, and has it delivered again."""
    OPERATOR = "hookline-operator"
    """Asks the servers to read their users again. A user of the system account: it has no streams at all."""


@dataclass(frozen=True, slots=True)
class Rights:
    """Subjects that a user may publish to, and subscribe to. All others are refused."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


def _bucket(name: str) -> str:
    return f"$KV.{name}.>"


_TYPES = f"KV_{names.TYPES_BUCKET}"
PUBLISH_NAME = "hookline-publish"
"""The name of `hookline publish`, which shows the credentials of a gateway."""

RIGHTS: Mapping[Role, Rights] = {
    Role.SENDER: Rights(
        publish=(
            "hookline.deliveries.>",
            "hookline.parked.*",
            "hookline.dead.*.*",
            "hookline.events.*.hookline.*",
            "hookline.backlog.*",
            names.ATTEMPTS_SUBJECTS,
            names.UNKNOWN_SUBJECT,
            names.KNOWN_SUBJECT,
            names.HERE_SUBJECT,
            _bucket(names.TYPES_BUCKET),
            _bucket(names.ENDPOINTS_BUCKET),
            _bucket(names.INSTALLATION_BUCKET),
            # Streams are made, set, moved to other names and cleared of what is moved.
            "$JS.API.STREAM.NAMES",
            # How much of its disk the account has left, for a metric.
            names.ACCOUNT_INFO,
            *(f"$JS.API.STREAM.{verb}.*" for verb in ("INFO", "CREATE", "UPDATE", "DELETE", "PURGE")),
            "$JS.API.STREAM.MSG.GET.*",
            "$JS.API.STREAM.MSG.DELETE.*",
            "$JS.API.DIRECT.GET.>",
            "$JS.API.CONSUMER.NAMES.*",
            *(f"$JS.API.CONSUMER.{verb}.*.*" for verb in ("INFO", "CREATE", "DELETE", "MSG.NEXT")),
            "$JS.API.CONSUMER.CREATE.*.*.>",
            "$JS.API.CONSUMER.DURABLE.CREATE.*.*",
            "$JS.ACK.>",
            # Answers to whoever publishes.
            "_INBOX.>",
        ),
        subscribe=(
            f"{inbox_of(Role.SENDER)}.>",
            names.UNKNOWN_SUBJECT,
            names.KNOWN_SUBJECT,
            names.HERE_SUBJECT,
            names.AUDIENCE_SUBJECT,
            names.SAME_SUBJECT,
            names.TEST_SUBJECT,
            _bucket(names.ENDPOINTS_BUCKET),
            _bucket(names.INSTALLATION_BUCKET),
        ),
    ),
    Role.GATEWAY: Rights(
        publish=(
            "hookline.events.*.>",
            "hookline.large.*.>",
            names.AUDIENCE_SUBJECT,
            names.SAME_SUBJECT,
            # Whose the stream is that took an event, and which event types there are. Nothing else that is stored.
            "$JS.API.STREAM.INFO.*",
            f"$JS.API.STREAM.MSG.GET.{_TYPES}",
        ),
        subscribe=(f"{inbox_of(Role.GATEWAY)}.>", f"{inbox_of(PUBLISH_NAME)}.>"),
    ),
    Role.API: Rights(
        publish=(
            # What is delivered again, and what may not be read any more.
            "hookline.deliveries.>",
            names.PURGED_SUBJECTS,
            names.TEST_SUBJECT,
            "$JS.API.STREAM.NAMES",
            "$JS.API.STREAM.INFO.*",
            "$JS.API.STREAM.MSG.GET.*",
            "$JS.API.DIRECT.GET.>",
            # Consumers that end with whoever reads: there is no right to make a lasting one, nor to acknowledge.
            *(f"$JS.API.CONSUMER.{verb}.*.*" for verb in ("CREATE", "MSG.NEXT", "DELETE")),
            # Of single dead letters. Names of streams bear a prefix, which no permission can leave open.
            "$JS.API.STREAM.MSG.DELETE.*",
        ),
        subscribe=(f"{inbox_of(Role.API)}.>",),
    ),
    Role.OPERATOR: Rights(
        publish=("$SYS.REQ.SERVER.PING.VARZ", "$SYS.REQ.SERVER.*.RELOAD"),
        subscribe=(f"{inbox_of(Role.OPERATOR)}.>",),
    ),
}

_OF_QUEUE = (Role.SENDER, Role.GATEWAY, Role.API)
"""Users of the account that has the streams."""

_TAG = "hookline-users:"


def users_file(keys: Mapping[Role, Iterable[str]]) -> str:
    """The users, by the public halves of their keys, as nats.conf includes them. The same text for the same keys.

    In no account of their own, but the one in which streams lay before there were users: they are found.
    """
    users = [_user(key, RIGHTS[role]) for role in _OF_QUEUE for key in sorted(keys[role])]
    system = [_user(key, RIGHTS[Role.OPERATOR]) for key in sorted(keys[Role.OPERATOR])]
    text = (
        "# Written by Hookline's operator: what is changed here is put back.\n"
        f"authorization: {json.dumps({'users': users}, indent=2)}\n"
        f"accounts: {json.dumps({'$SYS': {'users': system}}, indent=2)}\n"
    )
    return f'{text}server_tags: ["{_TAG}{hashlib.sha256(text.encode()).hexdigest()[:16]}"]\n'


EXAMPLE_KEY = public_of(seed_of(bytes(32)))
"""Stands in the example for the key of whoever follows it. Everybody could make its seed."""


def example() -> str:
    """For a NATS of somebody's own: one user for all, since a Dispatcher names one."""
    all_rights = [RIGHTS[role] for role in _OF_QUEUE]
    rights = Rights(
        publish=tuple(dict.fromkeys(subject for each in all_rights for subject in each.publish)),
        subscribe=tuple(dict.fromkeys(subject for each in all_rights for subject in each.subscribe)),
    )
    return (
        "# The user of a Dispatcher, for senders, gateway and the log's API: made by `make generate`. Put the public\n"
        "# half of your key in place of this one; `nk -gen user -pubout` prints a seed and its public half.\n"
        f"authorization: {json.dumps({'users': [_user(EXAMPLE_KEY, rights)]}, indent=2)}\n"
    )


def tag_of(file: str) -> str:
    """What a server that has read a users file says of itself; empty of a text that is none."""
    found = file.rpartition(f'["{_TAG}')[2].partition('"]')[0]
    return f"{_TAG}{found}" if found and "\n" not in found else ""


def _user(key: str, rights: Rights) -> dict[str, object]:
    return {"nkey": key, **shown(rights)}


def shown(rights: Rights) -> dict[str, object]:
    """As nats-server has them."""
    return {"permissions": {"publish": list(rights.publish), "subscribe": list(rights.subscribe)}}
