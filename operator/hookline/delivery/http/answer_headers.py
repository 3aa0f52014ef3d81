"""What is kept of the headers of a receiver's answer, for people: few, short, printable and without secrets.

Decides which values are left out by the name of their header, what stays of an address, and how much is kept of all.
Pure. A receiver may write there what he likes, and may echo the call.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from hookline.delivery.http.redaction import Redactor
from hookline.stream.attempt_record import with_marks

MAX_HEADERS = 32
MAX_VALUE_CHARACTERS = 512

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_PRIVATE = re.compile(
    rb"cookie|auth(?!enticate)|token|secret|passw|session|credential|signature|api-?key|access-?key|csrf|xsrf|jwt|nonce",
    re.IGNORECASE,
)
"""What headers are called whose values are the receiver's secrets, or those of whoever logged in there."""

_ADDRESS = re.compile(rb"[?#][^\s,;<>\"]*|(?<=//)[^/@\s]*@")
"""What may be secret of an address: its query, and a login before its host."""


_DATE = re.compile(rb"[Dd]ate: ([A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}(?::[0-9]{2}){2} GMT)")

_LINES_KEPT, _LINES_KEPT_BYTES, _LINE_KEPT_BYTES = 32, 2048, 512
_HEAD_KEPT_BYTES = 1024


class HeadReader:
    """For the answers to one Webhook. Most lines come again and again, and are remembered when they come for the second
    time: an id that each answer has of its own takes no memory. So do whole heads, of receivers that give none, for as
    long as the second of their date lasts."""

    __slots__ = ("_came", "_last", "_lines", "_lines_bytes", "_redactor")

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._came: set[int] = set()
        """Hashes of lines that came once."""
        self._lines: dict[bytes, tuple[str, str] | None] = {}
        self._lines_bytes = 0
        self._last: tuple[bytes, Mapping[str, str]] = (b"", {})
        """What was read of the last head of which every line was looked at."""

    def read(self, head: bytes, may_redact: Callable[[bytes], bool] = lambda _: True) -> Mapping[str, str]:
        """By name in lower case, of the first bytes of an answer's head. A value that may be secret is empty.

        A line that must be looked through for secrets by the slow way is left out unless it may.
        """
        if head == self._last[0]:
            return self._last[1]
        found: dict[str, str] = {}
        is_whole = True
        for raw in head.split(b"\n")[1:-1]:
            line = raw.rstrip(b"\r")
            shown = self._lines.get(line, _UNKNOWN)
            if shown is _UNKNOWN:
                shown = self._look(line, may_redact)
                is_whole = is_whole and (shown is not None or line in self._lines)
            if shown is None:
                continue
            name, value = shown
            if name in found:
                found[name] = f"{found[name]}, {value}"[:MAX_VALUE_CHARACTERS]
            elif len(found) < MAX_HEADERS:
                found[name] = value
        if is_whole and len(head) <= _HEAD_KEPT_BYTES:
            self._last = head, found
        return found

    def _look(self, line: bytes, may_redact: Callable[[bytes], bool]) -> tuple[str, str] | None:
        date = _DATE.fullmatch(line)
        if date is not None:
            return "date", date[1].decode()
        is_clean = self._redactor.is_clean(line)
        if not is_clean and not may_redact(line):
            return None
        shown = self._shown(line, is_clean=is_clean)
        if len(line) <= _LINE_KEPT_BYTES:
            self._keep(line, shown)
        return shown

    def _keep(self, line: bytes, shown: tuple[str, str] | None) -> None:
        line_hash = hash(line)
        if line_hash not in self._came:
            if len(self._came) >= _LINES_KEPT:
                self._came.clear()
            self._came.add(line_hash)
            return
        self._came.discard(line_hash)
        if len(self._lines) >= _LINES_KEPT or self._lines_bytes + len(line) > _LINES_KEPT_BYTES:
            self._lines.clear()
            self._lines_bytes = 0
        self._lines[line] = shown
        self._lines_bytes += len(line)

    def _shown(self, line: bytes, *, is_clean: bool) -> tuple[str, str] | None:
        name, colon, value = line.partition(b":")
        name, value = name.rstrip(b" \t"), value.strip(b" \t")
        if not colon or _NAME.fullmatch(name) is None:
            return None
        is_private = _PRIVATE.search(name) is not None
        if not is_clean:
            name, value = self._redactor.redact(name), self._redactor.redact(value)
        return name.decode().lower(), "" if is_private else _text(value)


_UNKNOWN: tuple[str, str] = ("", "")


def _text(value: bytes) -> str:
    if b"//" in value or b"?" in value:
        value = _ADDRESS.sub(b"", value)
    try:
        text = value[:MAX_VALUE_CHARACTERS].decode("ascii")
    except UnicodeDecodeError:
        text = value[:MAX_VALUE_CHARACTERS].decode("utf-8", "replace")
    return with_marks(text)
