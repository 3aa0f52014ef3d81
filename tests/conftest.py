"""For all tests."""

from __future__ import annotations

import faulthandler

LONGEST_END_SECONDS = 60
STDERR = 2


def pytest_unconfigure() -> None:
    """A thread that outlives the tests is named and ends the run. Else CI would stop it much later without a word."""
    faulthandler.dump_traceback_later(LONGEST_END_SECONDS, exit=True, file=STDERR)
