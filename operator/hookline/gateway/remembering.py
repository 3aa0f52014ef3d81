"""Answers that are remembered, of texts that anybody may send."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import TypeVar

T = TypeVar("T")


def remembers_short(most: int, most_characters: int) -> Callable[[Callable[[str], T]], Callable[[str], T]]:
    """What a function answers to the last `most` texts. A text of more than `most_characters` is asked of it each time:
    a number of texts alone bounds no memory."""

    def decorated(answer: Callable[[str], T]) -> Callable[[str], T]:
        remembered = lru_cache(most)(answer)

        @wraps(answer)
        def asked(text: str) -> T:
            return remembered(text) if len(text) <= most_characters else answer(text)

        return asked

    return decorated
