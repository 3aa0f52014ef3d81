"""`python -m controlplane.keeper FOLDER`: ends a folder's cluster when the process that started it is gone.

It holds the other end of a pipe: that also breaks when a test run is killed, and cannot depend on which of its threads
started a server.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from controlplane import takedown


def keep(folder: Path) -> subprocess.Popen[bytes]:
    """Start a keeper for the folder of the calling process."""
    return subprocess.Popen(
        [sys.executable, "-m", "controlplane.keeper", str(folder)],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def main() -> None:
    sys.stdin.buffer.read()
    takedown.down(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
