"""How many files and connections this process may have open at once.

Decides nothing but to take what it may have: the soft limit is 1,024 in many shells and services, for the sake of
programs that use select(), while the hard limit is some hundred thousand.
"""

from __future__ import annotations

import contextlib
import resource


def raised_limit() -> int:
    """The limit, after the soft one was raised to the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return soft
