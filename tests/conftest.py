"""For all tests."""

from __future__ import annotations

import faulthandler

import pytest

LONGEST_END_SECONDS = 60
STDERR = 2


def pytest_unconfigure(config: pytest.Config) -> None:
    """A thread that outlives the tests is named and ends the run. Else CI would stop it much later without a word."""
    # A worker of pytest-xdist that has done its part waits for the others.
    if not hasattr(config, "workerinput"):
        faulthandler.dump_traceback_later(LONGEST_END_SECONDS, exit=True, file=STDERR)
