"""Tokens of publishers: which Dispatcher's gateway takes which of them, and what their teams are told. Pure.

What a token must be, and what the file of them holds, is said in routing/publisher_tokens. Never sees a token, only
its digest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from hookline.control.kinds import GATEWAY, Object, Place, publishers_name
from hookline.control.pods import metadata_of
from hookline.control.secret_data import decoded, encoded
from hookline.control.seen import Publisher
from hookline.resources.base import Problem
from hookline.resources.dispatcher import Dispatcher
from hookline.routing.publisher_tokens import (
    FILE,
    PublisherToken,
    SecretId,
    TokensFileError,
    read_tokens_file,
    tokens_file,
)

MAX_REFUSALS_TOLD = 64
"""Of a namespace: those of the oldest Secrets. To tell of thousands would keep others waiting."""


@dataclass(frozen=True, slots=True)
class Word:
    """What is told of a Secret."""

    accepted: bool
    text: str


@dataclass(frozen=True, slots=True)
class Decided:
    """The file of each Dispatcher, by its name, and a word for each Secret, those of the oldest first."""

    files: Mapping[str, bytes]
    words: Mapping[Place, Word]


def decided(
    publishers: Iterable[Publisher],
    dispatchers: Iterable[Dispatcher],
    namespace_labels: Mapping[str, Mapping[str, str]],
    unread: Mapping[str, frozenset[PublisherToken]] = MappingProxyType({}),
) -> Decided:
    """What becomes of every Secret of a publisher. The oldest have room first: a new one puts out none that counts.

    `unread` are Dispatchers whose spec is not understood, with the tokens that their gateways take: these run on, and
    what a team takes away must not count there either.
    """
    words: dict[Place, Word] = {}
    tokens: list[PublisherToken] = []
    for each in sorted(publishers, key=lambda each: (each.created, each.namespace, each.name)):
        if isinstance(each.token, PublisherToken):
            tokens.append(each.token)
            words[each.token.id] = _unserved(each.token)
        elif each.token is not None:
            words[each.namespace, each.name] = Word(accepted=False, text=str(each.token))
    taken = {
        dispatcher.metadata.name: [
            each
            for each in tokens
            if dispatcher.spec.gateway.enabled
            and dispatcher.serves(each.namespace, namespace_labels.get(each.namespace, {}))
        ]
        for dispatcher in dispatchers
    }
    taken |= {name: [each for each in tokens if each in held] for name, held in unread.items()}
    files: dict[str, bytes] = {}
    for name, served in taken.items():
        files[name], problems = tokens_file(served)
        words |= _words(served, problems, words)
    return Decided(files, _without_many_refusals(words))


def manifest(dispatcher: Dispatcher, file: bytes) -> dict[str, Any]:
    """The Secret that the gateway pods of a Dispatcher mount."""
    return {
        "metadata": metadata_of(dispatcher, GATEWAY, publishers_name(dispatcher.metadata.name)),
        "type": "Opaque",
        "data": encoded({FILE: file}),
    }


def manifest_again(secret: Object, file: bytes) -> dict[str, Any]:
    """Such a Secret as it is in the cluster, with another file."""
    metadata = secret["metadata"]
    kept = {key: metadata[key] for key in ("namespace", "name", "labels", "ownerReferences") if key in metadata}
    return {"metadata": kept, "type": secret.get("type", "Opaque"), "data": encoded({FILE: file})}


def tokens_in(secret: Object | None) -> frozenset[PublisherToken]:
    """The tokens in such a Secret as it is in the cluster; none of one that is not understood."""
    try:
        return frozenset(read_tokens_file(decoded(secret).get(FILE, b"")).values())
    except TokensFileError:
        return frozenset()


def _words(
    served: Iterable[PublisherToken], problems: Mapping[SecretId, Problem], before: Mapping[Place, Word]
) -> dict[Place, Word]:
    """What one more Dispatcher makes of the tokens that it serves: who counts in one of them is told what is wrong in
    another."""
    found: dict[Place, Word] = {}
    for token in served:
        problem = problems.get(token.id)
        if problem is not None:
            found[token.id] = Word(accepted=False, text=str(problem))
        elif before[token.id] == _unserved(token):
            found[token.id] = _accepted(token)
    return found


def _without_many_refusals(words: Mapping[Place, Word]) -> dict[Place, Word]:
    refused: dict[str, int] = defaultdict(int)
    found: dict[Place, Word] = {}
    for place, word in words.items():
        refused[place[0]] += not word.accepted
        if word.accepted or refused[place[0]] <= MAX_REFUSALS_TOLD:
            found[place] = word
    return found


def _unserved(token: PublisherToken) -> Word:
    text = f"no Dispatcher that has a gateway serves the namespace {token.namespace}: nobody takes the token"
    return Word(accepted=False, text=text)


def _accepted(token: PublisherToken) -> Word:
    # Who may see Events may not see the annotation of a Secret.
    types = "any type" if token.types is None else f"{len(token.types)} types"
    return Word(accepted=True, text=f"with this token events of {types} are published for {token.namespace}")
