"""Where one answer of a receiver ends, from the bytes of its connection (RFC 9112, 6.3).

Decides what counts of an answer: its status, the few headers that are looked at, the beginning of its body; whether it
is whole, and whether its connection may carry another call. It does no I/O, knows no time, unpacks nothing and judges
no status.

A receiver that frames its answer badly has mostly done its work. So what is wrong costs the connection, and the answer
itself only where its status line cannot be read, or where it stays open where its body ends. docs/outcomes.md has the
table.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence

MAX_HEAD_BYTES = 128 * 1024
"""With the informational answers and empty lines before it."""
MAX_STATUS_LINE_BYTES = 8 * 1024
MAX_INFORMATIONAL = 64
MAX_BODY_BYTES_READ = 64 * 1024
MAX_BODY_BYTES_KEPT = 16 * 1024
"""For the attempts log. A dead letter keeps less of it (delivery/messages)."""
MAX_HEAD_BYTES_KEPT = 4 * 1024
# What comes after the head and is not of the body: sizes and extensions of chunks. A chunk, if only of one byte, costs
# about 1 us of CPU and at least five bytes of this, so that an answer has some 1,600 of them at most.
MAX_FRAMING_BYTES = 8 * 1024

_START = b"HTTP/1."
_EMPTY_LINES = re.compile(rb"[\r\n]+")
_HEAD_END = re.compile(rb"\n\r?\n")
_STATUS_LINE = re.compile(rb"HTTP/1\.([0-9]) +([1-9][0-9]{2})(?:[ \t][^\n]*|\r)?\n")
_SOUND_FIELDS = rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]++:[^\r\n\x00]*+\r\n)*+\r\n"
_SOUND_HEAD = re.compile(rb"HTTP/1\.[01] [0-9]{3}(?: [^\r\n\x00]*+)?\r\n" + _SOUND_FIELDS)
_SOUND_TRAILERS = re.compile(_SOUND_FIELDS)
_FOLD = re.compile(rb"\r?\n[ \t]+")
_FIELD = re.compile(
    rb"^(content-length|transfer-encoding|content-encoding|connection|retry-after|date)[ \t]*:([^\n]*)",
    re.IGNORECASE | re.MULTILINE,
)
_LENGTH = re.compile(rb"[0-9]{1,18}")
_SIZE = rb"([0-9A-Fa-f]++)([ \t]*+(?:;[^\r\n]*+)?)(\r?\n)"
_SIZE_BEGUN = rb"(?:[0-9A-Fa-f]++[ \t]*+(?:;[^\r\n]*+)?\r?)?"
_FIRST_SIZE, _FIRST_SIZE_BEGUN = re.compile(b"()" + _SIZE), re.compile(_SIZE_BEGUN)
_NEXT_SIZE, _NEXT_SIZE_BEGUN = re.compile(rb"(\r?\n)" + _SIZE), re.compile(rb"\r?|\r?\n" + _SIZE_BEGUN)
_LONGEST_SIZE = 16
_PLAIN = (b"identity", b"chunked", b"none", b"utf-8", b"utf8")
"""Codings that leave a body readable; the last three are none, and yet are written."""


class BadAnswerError(Exception):
    """An answer cannot be read. The message is safe to show, and goes on after the name of the receiver."""


class _Ending(enum.Enum):
    """What says where the body ends."""

    HEAD = enum.auto()
    LENGTH = enum.auto()
    CHUNKS = enum.auto()
    CONNECTION = enum.auto()
    UNKNOWN = enum.auto()


class Reading:
    """One answer, as far as its bytes have come."""

    __slots__ = (
        "_ending",
        "_fields",
        "_framing_bytes",
        "_head_bytes",
        "_informational",
        "_is_packed",
        "_is_sound",
        "_kept_bytes",
        "_left",
        "_length",
        "_pending",
        "_pieces",
        "_searched",
        "body_bytes",
        "closes",
        "head",
        "is_over",
        "is_overfull",
        "status",
    )

    def __init__(self) -> None:
        self.status: int | None = None
        """Once the head has come."""
        self.head = b""
        """The first 4 KiB of it: the status line, and headers as they came."""
        self.body_bytes = 0
        """How much of its body has come, without what frames it."""
        self.closes = False
        """It says that the connection ends with it."""
        self.is_over = False
        """It is whole, or so long that its status counts and the rest is not read."""
        self.is_overfull = False
        """More has come than is read of it, or than belongs to it."""
        self._pending = bytearray()
        self._searched = 0
        self._head_bytes = 0
        self._informational = 0
        self._fields: dict[bytes, list[bytes]] = {}
        self._is_sound = True
        self._is_packed = False
        self._ending = _Ending.UNKNOWN
        self._length = 0
        self._left = 0
        self._pieces: list[bytes] = []
        self._kept_bytes = 0
        self._framing_bytes = 0

    @property
    def body(self) -> bytes:
        """The first 16 KiB of it; nothing of one that is compressed, which could not be looked through for secrets."""
        return b"" if self._is_packed else b"".join(self._pieces)

    @property
    def is_reusable(self) -> bool:
        """Whether the connection may carry another call: the answer is whole, nothing in it is odd, nothing follows."""
        return self.is_over and self._is_sound and not self.is_overfull

    @property
    def is_cut(self) -> bool:
        """Whether `body` may end in the middle of a text."""
        return not self.is_over or self.is_overfull or self.body_bytes > self._kept_bytes

    @property
    def missing(self) -> str:
        """What of an answer has not come whose status has, in words that go on after it."""
        if self._ending is _Ending.LENGTH:
            return f"{self.body_bytes} of the {self._length} bytes came that its Content-Length promises"
        if self._ending is _Ending.CHUNKS:
            return "its last chunk is missing"
        return "it has no Content-Length and no chunks, and its connection stays open"

    def header(self, name: bytes) -> str | None:
        """The values of one of the headers that are looked at, by its name in lower case, as one text."""
        values = self._fields.get(name)
        return b", ".join(values).decode("latin-1") if values else None

    def take(self, data: bytes) -> None:
        """More bytes. Raises BadAnswerError when they cannot be read."""
        if self.is_over:
            self.is_overfull = True
            return
        if self.status is None:
            self._pending += data
            if not self._take_heads():
                return
            data = bytes(self._pending)
            self._pending.clear()
        self._take_body(data)
        if not self.is_over and self._is_too_long(len(self._pending)):
            self.is_over = self.is_overfull = True

    def end(self) -> None:
        """The connection has ended. Without a length that is the end of the body."""
        if self.status is not None and self._ending is _Ending.CONNECTION:
            self.is_over = True

    def _take_heads(self) -> bool:
        """Whether the head of the answer has come. 1xx come before it; there is nothing to be switched to with 101."""
        pending = self._pending
        while True:
            empty = None if self._searched else _EMPTY_LINES.match(pending)
            if empty is not None:
                self._cut_off(empty.end())
                self._is_sound = False
            if not pending.startswith(_START[: len(pending)]):
                raise BadAnswerError("the answer does not begin with a status line of HTTP/1.x")
            end = _HEAD_END.search(pending, self._searched)
            if self._head_bytes + (len(pending) if end is None else end.end()) > MAX_HEAD_BYTES:
                raise BadAnswerError("the head of the answer is too long")
            has_line = pending.find(b"\n", 0, MAX_STATUS_LINE_BYTES) >= 0
            line = _STATUS_LINE.match(pending) if has_line else None
            if line is None and (has_line or len(pending) >= MAX_STATUS_LINE_BYTES):
                raise BadAnswerError("the answer does not begin with a status line of HTTP/1.x")
            if line is None or end is None:
                self._searched = max(0, len(pending) - 2)
                return False
            head, status, minor_version = bytes(pending[: end.end()]), int(line[2]), int(line[1])
            self._cut_off(end.end())
            self._is_sound = self._is_sound and _SOUND_HEAD.fullmatch(head) is not None
            if status >= 200 or status == 101:
                self._begin_body(status, minor_version, head)
                return True
            self._informational += 1
            self._is_sound = self._is_sound and minor_version > 0
            if self._informational > MAX_INFORMATIONAL:
                raise BadAnswerError("too many informational answers")

    def _cut_off(self, count: int) -> None:
        del self._pending[:count]
        self._head_bytes += count
        self._searched = 0

    def _begin_body(self, status: int, minor_version: int, head: bytes) -> None:
        if not self._is_sound:
            head = _FOLD.sub(b" ", head)
        fields = self._fields
        for name, value in _FIELD.findall(head):
            fields.setdefault(name.lower(), []).append(value.strip(b" \t\r"))
        options = _words(fields.get(b"connection", ()))
        self.closes = b"close" in options or (minor_version == 0 and b"keep-alive" not in options)
        self._ending, self._length, is_sound = _ending(status, minor_version, fields)
        self._is_sound = self._is_sound and is_sound and not self.closes and status != 101
        self._left = self._length
        codings = [*_words(fields.get(b"content-encoding", ())), *_words(fields.get(b"transfer-encoding", ()))]
        self._is_packed = any(each not in _PLAIN for each in codings)
        self.head = head[:MAX_HEAD_BYTES_KEPT]
        self.status = status

    def _take_body(self, data: bytes) -> None:
        if self._ending is _Ending.LENGTH:
            self._keep(data[: self._left])
            rest = data[self._left :]
            self._left -= len(data) - len(rest)
            if self._left == 0:
                self._finish(is_overfull=bool(rest))
        elif self._ending is _Ending.CHUNKS:
            self._take_chunks(data)
        elif self._ending is _Ending.HEAD:
            self._finish(is_overfull=bool(data))
        elif self._ending is _Ending.CONNECTION:
            self._keep(data)
        else:
            raise BadAnswerError("the Content-Length of the answer is no number, or several different ones")

    def _is_too_long(self, begun_bytes: int = 0) -> bool:
        """Whether the rest is not read. `begun_bytes` of a line with the size of a chunk have come."""
        return self.body_bytes > MAX_BODY_BYTES_READ or self._framing_bytes + begun_bytes > MAX_FRAMING_BYTES

    def _take_chunks(self, data: bytes) -> None:
        pending, at = self._pending, 0
        pending += data
        # One read of a socket may give 256 KiB, which are 43,000 chunks.
        while not self._is_too_long():
            size = min(self._left, len(pending) - at)
            if size:
                self._keep(pending[at : at + size])
                self._left -= size
                at += size
            if self._left:
                break
            first = self.body_bytes == 0
            line = (_FIRST_SIZE if first else _NEXT_SIZE).match(pending, at)
            if line is None and (_FIRST_SIZE_BEGUN if first else _NEXT_SIZE_BEGUN).fullmatch(pending, at):
                break
            if line is None or len(line[2].lstrip(b"0")) > _LONGEST_SIZE:
                raise BadAnswerError("the chunks of the answer cannot be read")
            if line[3] or line[4] != b"\r\n" or line[1] == b"\n":
                self._is_sound = False
            self._framing_bytes += line.end() - at
            at = line.end()
            self._left = int(line[2], 16)
            if self._left == 0:
                # All of the body has come. Many forget the empty line that ends the trailers: it is not waited for.
                self._finish(is_overfull=_SOUND_TRAILERS.fullmatch(pending, at) is None)
                break
        del pending[:at]

    def _keep(self, data: bytes | bytearray) -> None:
        self.body_bytes += len(data)
        if data and self._kept_bytes < MAX_BODY_BYTES_KEPT:
            piece = bytes(data[: MAX_BODY_BYTES_KEPT - self._kept_bytes])
            self._pieces.append(piece)
            self._kept_bytes += len(piece)

    def _finish(self, *, is_overfull: bool) -> None:
        self.is_over, self.is_overfull = True, is_overfull


def _words(values: Sequence[bytes]) -> list[bytes]:
    if not values:  # as of most answers
        return []
    return [word for value in values for each in value.lower().split(b",") if (word := each.strip(b" \t"))]


def _ending(status: int, minor_version: int, fields: dict[bytes, list[bytes]]) -> tuple[_Ending, int, bool]:
    """What ends a body, its length if that does, and whether all would read it like this (RFC 9112, 6.3)."""
    lengths = [word for value in fields.get(b"content-length", ()) for word in value.split(b",")]
    encodings = fields.get(b"transfer-encoding", [])
    codings = _words(encodings)
    is_sound = not encodings and len(lengths) <= 1
    if status in (101, 204, 304):
        return _Ending.HEAD, 0, is_sound and lengths in ([], [b"0"])
    if codings and codings != [b"identity"]:
        if codings[-1] != b"chunked":
            return _Ending.CONNECTION, 0, False
        is_plain = len(encodings) == 1 and encodings[0].lower() == b"chunked"
        return _Ending.CHUNKS, 0, is_plain and not lengths and minor_version > 0
    if not lengths:
        return _Ending.CONNECTION, 0, False
    if len(lengths) == 1 and _LENGTH.fullmatch(lengths[0]):
        return _Ending.LENGTH, int(lengths[0]), is_sound
    spellings = {length.strip(b" \t") for length in set(lengths)}
    if not all(map(_LENGTH.fullmatch, spellings)) or len(set(map(int, spellings))) > 1:
        return _Ending.UNKNOWN, 0, False
    return _Ending.LENGTH, int(spellings.pop()), is_sound
