"""Tokens that teams make for producers outside of the cluster: which Secret gives one, and the file with all of them.

The file is for the gateway, which may read no Secret: it holds no token, only digests. Decides what a token must be;
never keeps one.

Why plain SHA-256, without salt and without a slow hash: those protect what people choose, which can be guessed. 128
random bits cannot, no two of them are alike, and a slow hash would be work that whoever sends rubbish makes us do. So
that there are 128, a token has at least 32 characters (as many as 16 bytes have in hexadecimal) of which 8 differ.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hookline.events.envelope import valid_tenant
from hookline.events.schemas import is_event_name
from hookline.resources.base import EVENT_TYPES_ANNOTATION, PUBLISHER_LABEL, Problem
from hookline.routing.secret import Secret

FORMAT = 1
"""Of the file. A gateway keeps what it has rather than read another one, so that a field that takes something away from
a token needs another format."""

FILE = "publisher-tokens.json"

KEY = "token"
"""Of the Secret."""

MIN_CHARACTERS = 32
MIN_DIFFERENT_CHARACTERS = 8
"""32 random hexadecimal digits have fewer once in 27 million times."""

MAX_CHARACTERS = 4096
MAX_TYPES = 64
LONG_CHARACTERS = 512
"""Of the names of a token's types: more of them are a long list. The file has room for some 900 that are not."""
MAX_TOKENS_PER_NAMESPACE = 32
MAX_FILE_BYTES = 900 * 1024
"""A ConfigMap or Secret takes 1 MiB."""

BEARER_PATTERN = r"[A-Za-z0-9._~+/-]+=*"
"""What may follow `Bearer` (RFC 6750, section 2.1)."""

_TOKEN = re.compile(BEARER_PATTERN.encode())
_WEB_TOKEN = re.compile(rb"eyJ[^.]*\.[^.]*\.[^.]*")
"""A JSON Web Token (RFC 7519): its header begins with `{"`, which is `eyJ` in base64."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
_HOW_TO = "make one with: openssl rand -hex 32"

SecretId = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True, slots=True)
class PublisherToken:
    """A token by its digest: for which namespace it publishes, by which Secret, which event types, or all if None."""

    digest: bytes
    namespace: str
    secret: str
    types: frozenset[str] | None = None

    @property
    def id(self) -> SecretId:
        return self.namespace, self.secret


class TokensFileError(ValueError):
    """The file is not one of ours. The text shows nothing of it."""


def digest_of(token: bytes) -> bytes:
    """By which a token is known."""
    return hashlib.sha256(token).digest()


def publisher_token(secret: Secret, annotations: Mapping[str, str]) -> PublisherToken | Problem | None:
    """The token of a Secret, what is wrong with it, or None for a Secret without the label."""
    if secret.labels.get(PUBLISHER_LABEL) != "true":
        return None
    if set(secret.data) != {KEY}:
        return Problem(("data",), f"must have the one key {KEY} and no other; {_HOW_TO}")
    # `kubectl create secret --from-file` keeps the newline at the end of a file.
    token = secret.data[KEY].strip()
    if problem := _unfit(token):
        return Problem(("data", KEY), problem)
    types = _types(annotations.get(EVENT_TYPES_ANNOTATION))
    if isinstance(types, str):
        return Problem(("metadata", "annotations", EVENT_TYPES_ANNOTATION), types)
    return PublisherToken(digest_of(token), secret.namespace, secret.name, types)


def tokens_file(tokens: Iterable[PublisherToken]) -> tuple[bytes, dict[SecretId, Problem]]:
    """The file, and why some of the tokens are not in it. `tokens` come in the order in which they have room: a new one
    puts out none that was there.

    A token that two namespaces have says nothing about whose an event is, so that it counts for neither. Where there is
    no room for all, each namespace has its first before any has its second, and long lists of types come last: else a
    hundred of them would take the room of thousands.
    """
    lines: list[str] = []
    problems: dict[SecretId, Problem] = {}
    left_bytes = MAX_FILE_BYTES - len(_whole([]))
    for token in _in_turn(_unambiguous(tokens, problems), problems):
        line = _line(token)
        left_bytes -= len(line) + 2
        if left_bytes < 0:
            problems[token.id] = Problem(("data", KEY), "there is no room for more tokens in this cluster")
            continue
        lines.append(line)
    return _whole(sorted(lines)), problems


def read_tokens_file(content: bytes) -> dict[bytes, PublisherToken]:
    """The tokens by their digests. Raises TokensFileError."""
    try:
        said = json.loads(content)
    except (ValueError, RecursionError):
        raise TokensFileError("it is not JSON") from None
    if not isinstance(said, dict) or not isinstance(said.get("tokens"), list):
        raise TokensFileError("it has no list of tokens")
    if said.get("format") != FORMAT:
        raise TokensFileError(f"it is not of format {FORMAT}, which this version reads")
    tokens = [_read(number, entry) for number, entry in enumerate(said["tokens"])]
    by_digest = {token.digest: token for token in tokens}
    if len(by_digest) < len(tokens):
        raise TokensFileError("it has a digest twice")
    return by_digest


def _unfit(token: bytes) -> str:
    """What is wrong with a token; empty if nothing is."""
    if not _TOKEN.fullmatch(token):
        return f"must be letters, digits and - . _ ~ + / with = at its end only, as a header can carry them; {_HOW_TO}"
    if _WEB_TOKEN.fullmatch(token):
        # With that of somebody else's ServiceAccount in a Secret, his events would be those of the Secret's namespace.
        return f"must not be a JSON Web Token: that of a ServiceAccount is sent as it is; {_HOW_TO}"
    if len(token) > MAX_CHARACTERS:
        return f"must have at most {MAX_CHARACTERS} characters; {_HOW_TO}"
    if len(token) < MIN_CHARACTERS or len(set(token)) < MIN_DIFFERENT_CHARACTERS:
        return (
            f"can be guessed: it must be random, of at least {MIN_CHARACTERS} characters of which "
            f"{MIN_DIFFERENT_CHARACTERS} differ; {_HOW_TO}"
        )
    return ""


def _types(annotation: str | None) -> frozenset[str] | str | None:
    """The event types that an annotation names, None without one, or what is wrong with it."""
    if annotation is None:
        return None
    names = frozenset(each.strip() for each in annotation.split(",", MAX_TYPES + 1)) - {""}
    if not names:
        return "names no event type; take the annotation away to allow all of them"
    if len(names) > MAX_TYPES:
        return f"must name at most {MAX_TYPES} event types"
    if not all(map(is_event_name, names)):
        return "must be names of event types with commas between them, such as IdentityCreated,IdentityDeleted"
    return names


def _unambiguous(tokens: Iterable[PublisherToken], problems: dict[SecretId, Problem]) -> Iterator[PublisherToken]:
    same: dict[bytes, list[PublisherToken]] = defaultdict(list)
    for token in tokens:
        same[token.digest].append(token)
    for first, *more in same.values():
        if any(each.namespace != first.namespace for each in more):
            for each in (first, *more):
                problems[each.id] = Problem(
                    ("data", KEY), f"is the token of another namespace as well, so it counts for neither; {_HOW_TO}"
                )
            continue
        for each in more:
            problems[each.id] = Problem(
                ("data", KEY), f"is the token of the Secret {first.secret} as well, which counts"
            )
        yield first


def _in_turn(tokens: Iterable[PublisherToken], problems: dict[SecretId, Problem]) -> Iterator[PublisherToken]:
    """The first of each namespace, then the second of each, and so on; of these those with long lists last."""
    turns: list[tuple[int, bool, PublisherToken]] = []
    count: dict[str, int] = defaultdict(int)
    for token in tokens:
        count[token.namespace] += 1
        if count[token.namespace] > MAX_TOKENS_PER_NAMESPACE:
            problems[token.id] = Problem(
                ("data", KEY), f"is one too many: a namespace has at most {MAX_TOKENS_PER_NAMESPACE} tokens"
            )
            continue
        is_long = sum(map(len, token.types or ())) > LONG_CHARACTERS
        turns.append((count[token.namespace], is_long, token))
    return (token for *_, token in sorted(turns, key=lambda each: each[:2]))


def _line(token: PublisherToken) -> str:
    return json.dumps(
        {
            "namespace": token.namespace,
            "secret": token.secret,
            "types": sorted(token.types) if token.types is not None else None,
            "digest": token.digest.hex(),
        }
    )


def _whole(lines: list[str]) -> bytes:
    tokens = ",\n".join(lines)
    return f'{{"format": {FORMAT}, "tokens": [\n{tokens}\n]}}\n'.encode()


def _read(number: int, entry: Any) -> PublisherToken:
    known = entry if isinstance(entry, dict) else {}
    digest, namespace, secret, types = (known.get(each) for each in ("digest", "namespace", "secret", "types"))
    right = (
        isinstance(digest, str)
        and _DIGEST.fullmatch(digest)
        and isinstance(namespace, str)
        and valid_tenant(namespace)
        and isinstance(secret, str)
        # Without this field a token would be for all types: an entry that lost it must not gain anything.
        and "types" in known
        and (types is None or (isinstance(types, list) and all(isinstance(each, str) for each in types)))
    )
    if not right:
        raise TokensFileError(f"its token {number} is not understood")
    return PublisherToken(
        bytes.fromhex(known["digest"]), known["namespace"], known["secret"], None if types is None else frozenset(types)
    )
