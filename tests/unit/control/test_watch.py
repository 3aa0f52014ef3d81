from __future__ import annotations

from hookline.control.kinds import SECRETS
from hookline.control.watch import News
from unit.control.objects import secret

CANARY = "canary-e2a7"


def test_the_representation_of_news_shows_nothing_of_the_object() -> None:
    # asyncio logs it when whoever hears it fails.
    news = News(SECRETS, secret("keys", {"secret": CANARY.encode()}), gone=False, ours=False, relisted=True)
    assert "manifest" not in repr(news)
