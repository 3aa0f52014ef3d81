"""A process of the benchmarks' own that works for them, and the pipe to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Self

from benchmarks.receiver import CONTEXT
from benchmarks.stage import Failed


class Child:
    """Killed when left. `work` is called there with its end of the pipe, and with `words`."""

    def __init__(self, what: str, work: Callable[..., None], *words: Any) -> None:
        """`what` it is, for people."""
        self._what = what
        self._work = work
        self._words = words

    def __enter__(self) -> Self:
        self._pipe, theirs = CONTEXT.Pipe()
        self._process = CONTEXT.Process(target=self._work, args=(theirs, *self._words), daemon=True)
        self._process.start()
        theirs.close()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()
        self._pipe.close()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def tell(self, word: object) -> None:
        self._pipe.send(word)

    async def heard(self, seconds: float) -> Any:
        """What it says next. Raises Failed when it says nothing for so long, or has ended."""
        try:
            if await asyncio.to_thread(self._pipe.poll, seconds):
                return self._pipe.recv()
        except (EOFError, OSError):
            raise Failed(f"the process of {self._what} ended") from None
        raise Failed(f"the process of {self._what} said nothing for {seconds:g} s")
