from __future__ import annotations

from typing import Any, cast

import pytest

from hookline.stream.anchor import RENEW_BYTES, Anchor
from hookline.stream.connection import StreamRefused, StreamUnavailable
from hookline.stream.publish import Publisher


@pytest.mark.parametrize("error", [StreamUnavailable("away"), StreamRefused("the disk is full")])
async def test_an_anchor_that_cannot_be_stored_troubles_nobody_and_is_tried_again_with_the_next(
    error: Exception,
) -> None:
    asked: list[str] = []

    class Away:
        async def store(self, subject: str, *_: Any) -> bool:
            asked.append(subject)
            raise error

    anchor = Anchor(cast(Publisher, Away()))
    for _ in range(2):
        await anchor.stored(1, RENEW_BYTES)
    assert asked == ["hookline.deliveries.anchor"] * 2
