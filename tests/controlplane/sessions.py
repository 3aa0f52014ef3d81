"""What a test session does about a cluster: get its programs before any test's clock runs, or say why not.

Decides that a machine without one skips those tests, and that CI fails them. Starts no server.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeVar

import pytest

T = TypeVar("T")


def wanted(session: pytest.Session, folder: Path) -> bool:
    """Whether any test of this folder is about to run."""
    if session.config.option.collectonly:
        return False
    return any(folder in item.path.parents for item in session.items)


def showing(session: pytest.Session, work: Callable[[], T]) -> T:
    """Do something that takes minutes, with its progress shown instead of captured."""
    capture = session.config.pluginmanager.getplugin("capturemanager")
    if capture is None:
        return work()
    with capture.global_and_fixture_disabled():
        return work()


def refuse(reason: str) -> NoReturn:
    """Skip with the reason, or fail with it where all tests must run."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI=true, but {reason}", pytrace=False)
    pytest.skip(reason)
