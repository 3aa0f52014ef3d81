from __future__ import annotations

import subprocess
import sys
import textwrap

from hookline.control.cluster import Access
from hookline.control.kinds import SECRETS, WEBHOOKS
from hookline.control.watch import News, Watch, Watched
from unit.control.objects import secret

CANARY = "canary-e2a7"

NOBODY_ANSWERS = Access("https://127.0.0.1:9", None, "token", None, None, verify=False, namespace=None)

ENDS_WHILE_IT_WATCHES = """
    import asyncio
    from hookline.control.watch import Watch, Watched
    from unit.control.test_watch import NOBODY_ANSWERS, WEBHOOKS

    async def main():
        asked = asyncio.Event()
        loop = asyncio.get_running_loop()

        def access():
            loop.call_soon_threadsafe(asked.set)
            return NOBODY_ANSWERS

        Watch([Watched(WEBHOOKS)], access, print, namespace=None).start()
        await asked.wait()

    asyncio.run(main())
"""


def test_the_representation_of_news_shows_nothing_of_the_object() -> None:
    # asyncio logs it when whoever hears it fails.
    news = News(SECRETS, secret("keys", {"secret": CANARY.encode()}), gone=False, ours=False, relisted=True)
    assert "manifest" not in repr(news)


def test_a_process_ends_though_a_watch_was_never_stopped() -> None:
    # Python waits at its end for the threads of executors, daemons or not.
    path = {"PYTHONPATH": "tests"}
    subprocess.run([sys.executable, "-c", textwrap.dedent(ENDS_WHILE_IT_WATCHES)], check=True, timeout=30, env=path)


async def test_a_stop_is_heard_while_kopf_is_only_about_to_begin() -> None:
    class StoppedEarly(Watch):
        def _register(self, *_: object) -> None:
            self._stop.set()

    watch = StoppedEarly([Watched(WEBHOOKS)], lambda: NOBODY_ANSWERS, print, namespace=None)
    watch.start()
    await watch.ended()
