"""For all tests."""

from __future__ import annotations

import faulthandler
import sys

LONGEST_END_SECONDS = 60


def pytest_unconfigure() -> None:
    """A thread that outlives the tests is named and ends the run. Else CI would stop it much later without a word."""
    faulthandler.dump_traceback_later(LONGEST_END_SECONDS, exit=True, file=sys.__stderr__)
