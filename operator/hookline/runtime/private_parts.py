"""Private parts of libraries that Hookline overrides: checked when they are imported.

A library that renames one would go on without what hangs on it (TLS to NATS, the proxy, the bounds of an answer), and
nothing would fail. So its version has an upper bound in pyproject.toml, and a missing name is an error.
"""

from __future__ import annotations


def require(base: type, *names: str) -> None:
    """Raises ImportError when `base` lacks one of `names`."""
    missing = [name for name in names if not hasattr(base, name)]
    if missing:
        raise ImportError(
            f"{base.__module__}.{base.__qualname__} has no {', '.join(missing)}: this version of the library does not "
            "fit; install the one that requirements.lock names"
        )
