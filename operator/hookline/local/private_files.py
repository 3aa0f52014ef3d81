"""Files that are replaced in one step, in whatever folder. Only this user can read them unless told otherwise."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

PRIVATE = 0o600
FOR_ALL = 0o644


def write(path: Path, content: bytes, *, mode: int = PRIVATE) -> None:
    """Replace a file: whoever reads sees the old one or the new one, also on a full disk. Raises OSError.

    It outlives the end of this process, not that of the machine: nothing is synced.
    """
    new = path.with_name(f".{path.name}.new")
    # One name, so that no end of the process leaves more than one; made anew, since others may write to the folder.
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        new.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            new.unlink()
        raise
