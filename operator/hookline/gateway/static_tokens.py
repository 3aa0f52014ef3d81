"""Tokens of producers outside of the cluster, by the file of their digests (routing/publisher_tokens).

Follows the file. Goes by the last good one while it is missing or damaged, and says so. Never reads a Secret.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import structlog

from hookline.gateway.callers import Caller
from hookline.gateway.problem import AGAIN_SECONDS, Kind, refuse
from hookline.routing.publisher_tokens import PublisherToken, TokensFileError, read_tokens_file
from hookline.runtime.folders import follow_folder

log = structlog.get_logger(__name__)

_MAX_BYTES = 2 * 1024 * 1024
"""Of a file that is read at all."""


class StaticTokens:
    """The tokens in force."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._read = b""
        self._callers: Mapping[bytes, Caller] | None = None
        self.problem = "nothing was read yet"
        """What is wrong with the file now. Empty when what is in force is exactly what it says."""

    def caller(self, digest: bytes) -> Caller | None:
        """Who has the token of this digest.

        Constant in time as far as it matters: how long a look into a table takes depends on the digest that is asked
        for and on those that are there, and nobody can find a token whose digest is near to a chosen one.
        """
        return self._callers.get(digest) if self._callers is not None else None

    def check_read(self) -> None:
        """Raises Refused: UNAVAILABLE before a first good file: until then a token that is not known may be right."""
        if self._callers is None:
            detail = "the tokens of Secrets are not read yet; send it again"
            raise refuse(Kind.UNAVAILABLE, detail, retry_after_seconds=AGAIN_SECONDS)

    def reload(self) -> None:
        """Read the file if it is another one."""
        try:
            with self._file.open("rb") as file:
                content = file.read(_MAX_BYTES + 1)
            if content == self._read:
                self._say("")
                return
            if len(content) > _MAX_BYTES:
                raise TokensFileError("it is too large")
            tokens = read_tokens_file(content)
        except OSError as error:
            self._say(f"it cannot be read ({type(error).__name__})")
            return
        except TokensFileError as error:
            self._say(str(error))
            return
        self._read = content
        self._callers = {digest: _caller(token) for digest, token in tokens.items()}
        log.info("publisher tokens loaded", tokens=len(tokens))
        self._say("")

    async def watch(self, stop: asyncio.Event) -> None:
        """Reload on every change, until `stop`."""
        await follow_folder(self._file.parent, self.reload, stop, what="publisher tokens")

    def _say(self, problem: str) -> None:
        if problem and problem != self.problem:
            kept = "keeping those that are known" if self._callers is not None else "waiting for a first good one"
            log.warning("the file of publisher tokens is not usable", problem=problem, doing=kept)
        self.problem = problem


def _caller(token: PublisherToken) -> Caller:
    return Caller(f"secret:{token.namespace}:{token.secret}", token.namespace, token.types)
