"""The users of the NATS that is shipped: which keys there are, and the next step to where they should be. Pure.

A key is replaced without anybody being refused: made, told to the servers, shown by clients, and only then is the
former one taken away. Each step is decided from what lies in the cluster and what the servers said; so an operator may
end between any two of them, and another one goes on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from hookline.control.kinds import (
    NATS_API_NAME,
    NATS_GATEWAY_NAME,
    NATS_OPERATOR_NAME,
    NATS_SENDER_NAME,
    NATS_USERS_NAME,
    Object,
    labels_of_installation,
    mapping_of,
)
from hookline.control.secret_data import decoded, encoded
from hookline.resources.base import GROUP, SecretKeyRef
from hookline.resources.dispatcher import Dispatcher
from hookline.resources.natsaddress import parse_nats
from hookline.stream.nkeys import is_public, public_of
from hookline.stream.permissions import Role, tag_of, users_file

ROTATE_AFTER_SECONDS = 90 * 86_400.0
"""Age at which a key is replaced by itself."""

OVERLAP_SECONDS = 600.0
"""How long a former key is still taken. A kubelet brings a changed Secret into pods within two minutes; a pod whose
kubelet takes longer is refused until then, and goes on by itself."""

AHEAD_SECONDS = 600.0
"""How far the clock of whoever wrote the age of a key may have been ahead of ours. One that was further would have the
former key taken, and no other one made, until then: the age counts from now on."""

SEED_FILE = "user.nk"
"""In a role's Secret, and so in the pods that mount it: the seed that is shown."""
USERS_FILE = "users.conf"
"""In the Secret of the servers: as nats.conf includes it."""

PASSWORD_FILE = "routes-password"  # noqa: S105  # a name
"""Beside it: what servers of a cluster show to one another. Made once, since servers read it at their start alone."""

ROTATE_ANNOTATION = f"{GROUP}/rotate"
"""On a role's Secret, written by a person: whenever it changes, the key is replaced."""
ROTATED_ANNOTATION = f"{GROUP}/rotated"
"""The value of it that was followed last."""
SINCE_ANNOTATION = f"{GROUP}/since"
"""When the seed was first shown."""

SECRET_NAMES: Mapping[Role, str] = {
    Role.SENDER: NATS_SENDER_NAME,
    Role.GATEWAY: NATS_GATEWAY_NAME,
    Role.API: NATS_API_NAME,
    Role.OPERATOR: NATS_OPERATOR_NAME,
}

_FOLLOWING_FILE = "following.nk"
_FORMER_FILE = "former.pub"
_PASSWORD = re.compile(r"[a-z]{32}")
"""Nothing but letters: it stands in URLs and, without quotes, in nats.conf."""
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one role."""

    seed: str = field(repr=False)
    """What clients show."""
    since: datetime
    following: str = field(default="", repr=False)
    """The seed that comes next; no client has it yet."""
    former: str = ""
    """The public half of the seed that clients showed before."""
    asked: str = ""
    """What a person wrote to have it replaced."""
    done: str = ""
    """Which of that was followed."""

    def accepted(self) -> set[str]:
        """Public halves of all that servers must take."""
        seeds = filter(None, (self.seed, self.following))
        return {*map(public_of, seeds), *filter(None, (self.former,))}


@dataclass(frozen=True, slots=True)
class WriteKeys:
    """Have a role's Secret hold these."""

    role: Role
    keys: Keys


@dataclass(frozen=True, slots=True)
class WriteUsers:
    """Have the servers' Secret hold this file."""

    file: str


@dataclass(frozen=True, slots=True)
class AskServers:
    """Have all servers read the file, and hear from each that it did: its tags name it."""

    tag: str


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing is to be done until then."""

    seconds: float


Step: TypeAlias = WriteKeys | WriteUsers | AskServers | Rest


def next_step(
    keys: Mapping[Role, Keys | None], file: str, heard: str, now: datetime, new_seed: Callable[[], str]
) -> Step:
    """`file` is what the servers' Secret holds, `heard` the tag that all servers were heard to have, empty if none was.

    The order is the whole of it. A seed is written before its public half, so that nobody needs a key that is lost. All
    servers have a key before a client shows it. What clients show is the same set before and after a change over, so
    that it needs no word to the servers.
    """
    known: dict[Role, Keys] = {}
    taken: set[str] = set()
    for role in Role:
        mine = keys[role]
        # Servers do not even start with one key for two users.
        if mine is None or taken & mine.accepted():
            return WriteKeys(role, Keys(new_seed(), now))
        if _age_seconds(mine, now) < -AHEAD_SECONDS:
            return WriteKeys(role, replace(mine, since=now))
        if _is_due(mine, now) and not (mine.following or mine.former):
            return WriteKeys(role, replace(mine, following=new_seed(), done=mine.asked))
        known[role] = mine
        taken |= mine.accepted()
    wanted = users_file({role: mine.accepted() for role, mine in known.items()})
    if file != wanted:
        return WriteUsers(wanted)
    if heard != tag_of(wanted):
        return AskServers(tag_of(wanted))
    for role, mine in known.items():
        if mine.following:
            shown = replace(mine, seed=mine.following, since=now, following="", former=public_of(mine.seed))
            return WriteKeys(role, shown)
        if mine.former and _age_seconds(mine, now) >= OVERLAP_SECONDS:
            return WriteKeys(role, replace(mine, former=""))
    return Rest(min(_wait_seconds(mine, now) for mine in known.values()))


def _is_due(keys: Keys, now: datetime) -> bool:
    return keys.asked != keys.done or _age_seconds(keys, now) >= ROTATE_AFTER_SECONDS


def _wait_seconds(keys: Keys, now: datetime) -> float:
    return max(1.0, (OVERLAP_SECONDS if keys.former else ROTATE_AFTER_SECONDS) - _age_seconds(keys, now))


def _age_seconds(keys: Keys, now: datetime) -> float:
    return (now - keys.since) / timedelta(seconds=1)


def with_login(dispatcher: Dispatcher, shipped_nats: str, role: Role) -> Dispatcher:
    """A Dispatcher with what a role shows to the shipped NATS, where that is its NATS and it names nothing itself.

    An installation of before there were users has such a Dispatcher, and nobody needs to change it.
    """
    spec = dispatcher.spec
    if spec.nats.credentials_secret_ref is not None or not _is_at(dispatcher, shipped_nats):
        return dispatcher
    login = SecretKeyRef(name=SECRET_NAMES[role], key=SEED_FILE)
    nats = spec.nats.model_copy(update={"credentials_secret_ref": login})
    return dispatcher.model_copy(update={"spec": spec.model_copy(update={"nats": nats})})


def _is_at(dispatcher: Dispatcher, shipped_nats: str) -> bool:
    if not shipped_nats:
        return False
    namespace = dispatcher.metadata.namespace or ""
    found, ours = (_servers(each, namespace) for each in (dispatcher.spec.nats.url, shipped_nats))
    return found <= ours


def _servers(url: str, namespace: str) -> set[tuple[str, int, bool]]:
    """A Service may be written with its namespace, or with all of its name, whichever domain the cluster has."""
    address = parse_nats(url)
    behind = re.compile(rf"\.{re.escape(namespace)}(\.svc(\..+)?)?$")
    return {(behind.sub("", each.host), each.port, address.encrypted) for each in address.servers}


def keys_of(secret: Object | None) -> Keys | None:
    """What a role's Secret holds; None without one, or when it holds no seed: then a new one is made."""
    seed, following, former = (_text(secret, each) for each in (SEED_FILE, _FOLLOWING_FILE, _FORMER_FILE))
    if not _is_seed(seed):
        return None
    since, asked, done = (_note(secret, each) for each in (SINCE_ANNOTATION, ROTATE_ANNOTATION, ROTATED_ANNOTATION))
    return Keys(
        seed,
        _time(since),
        following if _is_seed(following) else "",
        former if is_public(former) else "",
        asked,
        done,
    )


def users_of(secret: Object | None) -> tuple[str, str]:
    """The file that the servers' Secret holds, and the password of routes; empty what it does not hold."""
    password = _text(secret, PASSWORD_FILE)
    return _text(secret, USERS_FILE), password if _PASSWORD.fullmatch(password) else ""


def keys_secret(namespace: str, role: Role, keys: Keys) -> dict[str, Any]:
    """A role's Secret."""
    texts = {SEED_FILE: keys.seed, _FOLLOWING_FILE: keys.following, _FORMER_FILE: keys.former}
    notes = {SINCE_ANNOTATION: keys.since.isoformat(), **({ROTATED_ANNOTATION: keys.done} if keys.done else {})}
    return _secret(namespace, SECRET_NAMES[role], "nats-user", texts, notes)


def users_secret(namespace: str, file: str, password: str) -> dict[str, Any]:
    """The servers' Secret."""
    texts = {USERS_FILE: file, PASSWORD_FILE: password}
    return _secret(namespace, NATS_USERS_NAME, "nats-users", texts, {})


def _secret(
    namespace: str, name: str, component: str, texts: Mapping[str, str], annotations: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "metadata": {
            "namespace": namespace,
            "name": name,
            "labels": labels_of_installation(component),
            **({"annotations": dict(annotations)} if annotations else {}),
        },
        "type": "Opaque",
        "data": encoded({each: text.encode() for each, text in texts.items() if text}),
    }


def _text(secret: Object | None, name: str) -> str:
    try:
        return decoded(secret).get(name, b"").decode("ascii")
    except UnicodeDecodeError:
        return ""


def _note(secret: Object | None, name: str) -> str:
    metadata = mapping_of(mapping_of(secret).get("metadata"))
    return str(mapping_of(metadata.get("annotations")).get(name) or "")


def _time(text: str) -> datetime:
    """Of what is no time: long ago."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return _LONG_AGO
    return found if found.tzinfo is not None else _LONG_AGO


def _is_seed(text: str) -> bool:
    try:
        public_of(text)
    except ValueError:
        return False
    return True
