"""When Python's collector looks for unreachable cycles, in processes that deliver."""

from __future__ import annotations

import gc


def collect_seldom() -> None:
    """Run the garbage collector less often, and exempt all objects that exist now. Call once, when all of them stay.

    With Python's defaults, looking through what was just made takes 13 % of a sender's CPU in paired runs, since a
    delivery makes many short-lived objects; and now and then it looks through everything, modules and the first route
    book, and all calls stand still meanwhile: for 45 to 90 ms with 90,000 objects, to find 10. What a sender has in its
    hands under load makes some 30,000 objects that come and go: a threshold above that spares another 3 %. References
    are still counted, and cycles are still found, later; a call that failed leaves none (delivery/attempt), so that no
    body waits for that. What ends in a cycle after it was set aside here is never freed.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)
