"""Takes secrets out of what a stranger sent us and we must show: an answer may echo the call.

Decides which spellings of a secret count. Case and everything but letters and digits are passed over, so that a secret
is known in upper case, with blanks between its letters, or broken into lines; base64, hexadecimal and what URLs, JSON
and HTML make of it are known too, and of all of these every part of PART characters. It cannot know what else a
receiver may do with a secret: encrypt it, turn it round, cut it into smaller parts. SECURITY.md says so.
"""

from __future__ import annotations

import base64
import binascii
import html
import json
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence, Set
from functools import lru_cache
from urllib.parse import quote, unquote_plus

MARK = b"[redacted]"

PART = 8
"""Letters and digits of a secret that are taken out wherever they follow one another. A secret with fewer of them is
known as it is written, and in the spellings of URLs, JSON and HTML."""

QUICK_LENGTH = 2048
"""Of a text, and of all secrets together: up to here one is looked through for the others within a few ms. A text of
16 KiB takes 10 to 60 ms, with 96 KiB of secrets up to 0.2 s."""

_STEP = 4
"""A secret is looked at in every fourth place, which takes a quarter of the time."""
_SAMPLE = PART - _STEP + 1

_GRAM = 4
_STRIDE = PART - _GRAM + 1
"""Of PART letters that follow one another in a text, four begin at each fifth place of it."""

_BETWEEN_PARTS = re.compile(r"[\s&=;,]+")
_LETTERS = re.compile(rb"([A-Za-z0-9])")
_LOWER = bytes(range(256)).lower()
_NO_LETTERS = bytes(each for each in range(256) if not bytes([each]).isalnum())
# As well as letters and digits themselves: those that stand behind codes, and what stands for no letter at all.
_LETTERS_AND_CODES = re.compile(
    rb"%(?P<url>[0-9A-Fa-f]{2})|\\u00(?P<json>[0-9A-Fa-f]{2})|\\x(?P<c>[0-9A-Fa-f]{2})"
    rb"|&#[xX]0*(?P<html>[0-9A-Fa-f]{2});|&#0*(?P<decimal>[0-9]{2,3});|&[A-Za-z]+;|\\[bfnrt]|(?P<letter>[A-Za-z0-9])"
)

_Span = tuple[int, int]
_Letter = tuple[int, int, int]
"""A letter or digit in lower case, and where it begins and ends in a text."""


def redact(text: bytes, secrets: Iterable[str], *, cut: bool = False) -> bytes:
    """`text` with a mark in place of each secret, each part of one and each spelling of these.

    `cut` says that the text goes on: it may end in the middle of a secret.
    """
    if not text:
        return text
    known, bare = _known(tuple(sorted(set(secrets))))
    spans = [*_occurrences(text, known), *_parts_in(text, bare)]
    if cut and (begun := _begun(text, known)):
        spans.append((len(text) - begun, len(text)))
    return _with_marks(text, spans)


def takes_long(text: bytes, secrets: Iterable[str]) -> bool:
    """Whether `redact` may take longer with these than others should wait for."""
    return len(text) > QUICK_LENGTH or sum(map(len, secrets)) > QUICK_LENGTH


class Redactor:
    """`redact` with the secrets of one Webhook, for many texts of which nearly all hold none: that is found out at a
    hundredth of the cost, and a redactor takes about 1 KiB."""

    __slots__ = ("_bare", "_short", "secrets")

    def __init__(self, secrets: Iterable[str]) -> None:
        self.secrets = tuple(sorted(set(secrets)))
        self._bare: bytes | None = None
        self._short: tuple[bytes, ...] = ()
        if sum(map(len, self.secrets)) <= QUICK_LENGTH:
            known, bare = _known(self.secrets)
            plain = {each: each.translate(_LOWER, _NO_LETTERS) for each in known}
            self._short = tuple(each for each, letters in plain.items() if each and len(letters) < PART)
            self._bare = b"\0".join(sorted({*bare, *(letters for letters in plain.values() if len(letters) >= PART)}))

    @property
    def size_bytes(self) -> int:
        """Roughly, in memory."""
        return len(self._bare or b"") + sum(map(len, self._short))

    def is_clean(self, text: bytes) -> bool:
        """Whether `redact` would leave a text as it is, unless it is cut. False where that is not known so quickly."""
        if not text or not self.secrets:
            return True
        if self._bare is None or any(each in text for each in self._short):
            return False
        return not any(self._may_hold(letters) for letters in _bare(text))

    def _may_hold(self, letters: bytes) -> bool:
        grams = [letters[at : at + _GRAM] for at in range(0, len(letters) - _GRAM + 1, _STRIDE)]
        return any(map((self._bare or b"").__contains__, grams))

    def redact(self, text: bytes, *, cut: bool = False) -> bytes:
        """As `redact`, which this is."""
        return text if not cut and self.is_clean(text) else redact(text, self.secrets, cut=cut)


@lru_cache(maxsize=8)
def _known(secrets: tuple[str, ...]) -> tuple[tuple[bytes, ...], frozenset[bytes]]:
    """What is looked for as it is, in order, and that of which parts are looked for among letters and digits alone.

    The parts are not kept: those of the largest Webhook, with 96 KiB of headers, would take 60 MB.
    """
    words = {word for secret in secrets for word in _words(secret)}
    logins = {login for secret in secrets for login in _logins(secret)}
    spelled = {spelling.encode(errors="replace") for word in words | logins for spelling in _spellings(word)}
    # Those of a part of a text are parts of its own: words add nothing to what they stand in.
    forms = {form for text in {*secrets, *logins} for form in _forms(text)}
    bare = {letters for form in forms for letters in _bare(form) if len(letters) >= PART}
    return tuple(sorted(spelled)), frozenset(bare)


def _words(secret: str) -> Iterator[str]:
    """The secret, and its longer words: the token without its scheme, one parameter of a query."""
    yield secret
    yield from (word for word in _BETWEEN_PARTS.split(secret) if len(word) >= PART)


def _logins(secret: str) -> Iterator[str]:
    """What words of it are in base64, as in `Authorization: Basic …`: the login as a whole, and its password."""
    for word in _words(secret):
        login = _decoded(word)
        yield from (part for part in (login, login.partition(":")[2]) if len(part) >= PART)


def _decoded(word: str) -> str:
    """What a word is in base64, as in `Authorization: Basic …`; empty when it is not text."""
    try:
        text = base64.b64decode(word + "=" * (-len(word) % 4), validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
    return text if text.isprintable() else ""


def _spellings(word: str) -> set[str]:
    """As a receiver may echo it: with a URL's escapes or without, as JSON (PHP escapes slashes too) or HTML have it."""
    plain = {word, unquote_plus(word)}
    quoted = {json.dumps(each)[1:-1] for each in plain}
    escaped = {html.escape(each) for each in plain} | {quote(each, safe="") for each in plain}
    return plain | quoted | {each.replace("/", r"\/") for each in quoted} | escaped


def _forms(word: str) -> Iterator[bytes]:
    """Of which letters and digits count alone: the word, its hexadecimal, and its base64 inside of a longer text."""
    for text in {word, unquote_plus(word)}:
        content = text.encode(errors="replace")
        yield content
        yield content.hex().encode()
        for before in range(3):
            # Only the characters that hold nothing but bits of the secret, whatever stands around it.
            first, end = -(-before * 8 // 6), (before + len(content)) * 8 // 6
            yield base64.b64encode(bytes(before) + content)[first:end]


def _bare(text: bytes) -> Iterator[bytes]:
    """As `_readings`, without the places: a hundredth of the cost."""
    yield text.translate(_LOWER, _NO_LETTERS)
    if _has_codes(text):
        yield b"".join(map(_letter, _LETTERS_AND_CODES.finditer(text))).translate(None, _NO_LETTERS)


def _has_codes(text: bytes) -> bool:
    return b"%" in text or b"\\" in text or b"&" in text


def _readings(text: bytes) -> Iterator[list[_Letter]]:
    """Its letters and digits: as they stand there, and as whoever reads escapes has them."""
    yield [(found[0].lower()[0], *found.span()) for found in _LETTERS.finditer(text)]
    if _has_codes(text):
        letters = ((_letter(found), *found.span()) for found in _LETTERS_AND_CODES.finditer(text))
        yield [(letter[0], start, end) for letter, start, end in letters if letter.isalnum()]


def _letter(found: re.Match[bytes]) -> bytes:
    """What a letter or a code stands for; nothing for an escape of something else."""
    kind = found.lastgroup
    if kind is None:
        return b""
    value = found[kind]
    if kind == "letter":
        return value.lower()
    number = int(value) if kind == "decimal" else int(value, 16)
    return bytes([number]).lower() if number < 128 else b""


def _occurrences(text: bytes, known: Iterable[bytes]) -> Iterator[_Span]:
    for each in known:
        at = text.find(each) if each else -1
        while at >= 0:
            yield at, at + len(each)
            at = text.find(each, at + 1)


def _parts_in(text: bytes, secrets: Iterable[bytes]) -> Iterator[_Span]:
    readings = [(letters, bytes(letter for letter, _, _ in letters)) for letters in _readings(text)]
    there = {part for _, bare in readings for part in _parts(bare, PART)}
    samples = {sample for _, bare in readings for sample in _parts(bare, _SAMPLE)}
    found = {part for secret in secrets for part in _parts_of(secret, samples) if part in there}
    for letters, bare in readings if found else ():
        for at, part in enumerate(_parts(bare, PART)):
            if part in found:
                yield letters[at][1], letters[at + PART - 1][2]


def _parts_of(secret: bytes, samples: Set[bytes]) -> Iterator[bytes]:
    """The parts of a secret that may be in a text with these samples: each part holds one that begins at a step."""
    places = range(0, len(secret) - _SAMPLE + 1, _STEP)
    for at in [place for place in places if secret[place : place + _SAMPLE] in samples]:
        for start in range(max(0, at - _STEP + 1), at + 1):
            yield secret[start : start + PART]


def _parts(bare: bytes, size: int) -> Iterator[bytes]:
    return (bare[at : at + size] for at in range(len(bare) - size + 1))


def _begun(text: bytes, secrets: Sequence[bytes]) -> int:
    """How many bytes at the end of `text` are the beginning of one of the secrets, which are in order."""
    for start in range(max(0, len(text) - max(map(len, secrets), default=0)), len(text)):
        end = text[start:]
        # What begins with it follows it in their order.
        at = bisect_left(secrets, end)
        if at < len(secrets) and secrets[at].startswith(end):
            return len(end)
    return 0


def _with_marks(text: bytes, spans: Iterable[_Span]) -> bytes:
    """One mark for spans that touch: a secret of one letter would make the text ten times as long."""
    pieces: list[bytes] = []
    done = 0
    for start, end in sorted(spans):
        if start > done or not pieces:
            pieces += [text[done:start], MARK]
        done = max(done, end)
    return b"".join([*pieces, text[done:]])
