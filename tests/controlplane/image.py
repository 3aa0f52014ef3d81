"""`make image`: the container image, by whatever can build one here.

With a working podman, docker or buildah from the Containerfile; without any, from this machine's own Python as an
archive that `docker load` and `podman load` read. Both hold the same wheel and the same locked packages.
"""

from __future__ import annotations

import shutil
import subprocess
import sys

from controlplane import images
from controlplane.assets import say

NAME = "hookline"
ARCHIVE = images.CHECKOUT / "build" / "hookline.tar"

_BUILDERS = (("podman", "info", "build"), ("docker", "info", "build"), ("buildah", "info", "bud"))


def version() -> str:
    """Of this checkout."""
    text = (images.CHECKOUT / "operator/hookline/__init__.py").read_text(encoding="utf-8")
    return text.split('__version__ = "')[1].split('"')[0]


def main() -> int:
    tag = f"{NAME}:{version()}"
    for program, probe, build in _BUILDERS:
        if shutil.which(program) and _works(program, probe):
            say(f"building {tag} with {program}")
            return subprocess.call([program, build, "-t", tag, "-f", "Containerfile", "."], cwd=images.CHECKOUT)
    say(f"no podman, docker or buildah works here: assembling {tag} from this machine's Python")
    archive = images.build(images.hookline(f"docker.io/library/{tag}"))
    ARCHIVE.parent.mkdir(exist_ok=True)
    shutil.copy2(archive, ARCHIVE)
    say(f"{ARCHIVE.relative_to(images.CHECKOUT)} is {tag}; load it with: docker load -i {ARCHIVE.name}")
    return 0


def _works(program: str, probe: str) -> bool:
    return subprocess.run([program, probe], capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
