"""Container images out of local files, without an engine or a registry: archives as `docker save` writes them.

Decides what is in each image: the same wheel and lock file as in the Containerfile, and programs as their makers ship
them. Kept in the cache by a digest of what they are made from.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controlplane.assets import cache, say

CHECKOUT = Path(__file__).parents[2]
PAUSE = "hookline.test/pause:1"
USER = "65532:65532"

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_PYTHON = "/opt/python"
_PACKAGES = "/opt/hookline"
INTERPRETER = f"{_PYTHON}/bin/python{sys.version_info.major}.{sys.version_info.minor}"
"""Python, in Hookline's image."""
_NOT_NEEDED = (
    *("test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip"),
    *("__pycache__", "site-packages", "dist-packages"),
)
_PAUSE_SOURCE = """
#include <signal.h>
#include <unistd.h>
static void end(int number) { (void)number; _exit(0); }
int main(void) { signal(SIGTERM, end); signal(SIGINT, end); for (;;) pause(); }
"""


@dataclass(frozen=True)
class Image:
    """An image to be: its name, where it starts, and what lies in it."""

    name: str
    entrypoint: Sequence[str]
    environment: Mapping[str, str]
    fill: Callable[[Path], None]
    """Puts the files below a folder that becomes /."""
    made_from: Sequence[str]
    """Digests, versions and the like: the image is made anew when they change."""


def pause() -> Image:
    """Holds a pod's namespaces."""
    return Image(PAUSE, ["/pause"], {}, _fill_pause, [_PAUSE_SOURCE])


def nats(name: str) -> Image:
    """nats-server under the name of the official image, laid out like it: the program is the entrypoint."""
    program = Path(sys.executable).parent / "nats-server"
    return Image(name, ["/nats-server"], {}, lambda root: _copy(program, root / "nats-server"), [_digest(program)])


def hookline(name: str) -> Image:
    """Hookline: this machine's Python, what requirements.lock names, and the wheel of this checkout."""
    sources = [
        *sorted((CHECKOUT / "operator").rglob("*.py")),
        CHECKOUT / "pyproject.toml",
        CHECKOUT / "requirements.lock",
    ]
    environment = {
        "PYTHONHOME": _PYTHON,
        "PYTHONPATH": _PACKAGES,
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt",
        "PATH": "/usr/bin",
    }
    made_from = [sys.version, *(_digest(each) for each in sources)]
    return Image(name, ["/usr/bin/hookline"], environment, _fill_hookline, made_from)


def build(image: Image, *, tell: Callable[[str], None] = say) -> Path:
    """The archive of an image, made if it is not in the cache."""
    told = (image.name, _digest(Path(__file__)), *image.made_from)
    digest = hashlib.sha256("\0".join(told).encode()).hexdigest()[:24]
    archive = cache() / "images" / f"{image.name.replace('/', '-').replace(':', '-')}-{digest}.tar"
    if archive.exists():
        return archive
    tell(f"controlplane: making the image {image.name}")
    archive.parent.mkdir(parents=True, exist_ok=True)
    root = archive.with_suffix(".root")
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    (root / "tmp").mkdir()
    image.fill(root)
    unfinished = archive.with_suffix(".unfinished")
    _write_archive(unfinished, image, root)
    shutil.rmtree(root)
    unfinished.rename(archive)
    return archive


def _fill_pause(root: Path) -> None:
    subprocess.run(
        ["gcc", "-static", "-O2", "-x", "c", "-o", str(root / "pause"), "-"],
        input=_PAUSE_SOURCE.encode(),
        check=True,
        capture_output=True,
    )


def _fill_hookline(root: Path) -> None:
    _install_packages(root / _PACKAGES.strip("/"))
    _copy_python(root / _PYTHON.strip("/"))
    _write_script(root / "usr/bin/hookline", INTERPRETER)
    _write_etc(root / "etc")
    _copy_libraries(root)


def _install_packages(target: Path) -> None:
    """As the Containerfile: locked and hashed packages, then the wheel of the checkout."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    locked = ["install", "--no-deps", "--require-hashes", "--target", str(target), "-r", "requirements.lock"]
    subprocess.run([*pip, *locked], cwd=CHECKOUT, check=True)
    # Scripts of libraries, which nobody calls, and which pip would warn about.
    shutil.rmtree(target / "bin")
    wheels = target.with_suffix(".wheels")
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), str(CHECKOUT)], check=True
    )
    wheel = next(wheels.glob("hookline-*.whl"))
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", str(target), str(wheel)], check=True)
    shutil.rmtree(wheels)


def _copy_python(target: Path) -> None:
    """The interpreter and its library."""
    program = Path(sys.base_prefix) / "bin" / Path(INTERPRETER).name
    library = Path(sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix}))
    _copy(program.resolve(), target / "bin" / program.name)
    shutil.copytree(
        library, target / "lib" / library.name, ignore=shutil.ignore_patterns(*_NOT_NEEDED, "config-*"), symlinks=False
    )


def _write_script(path: Path, interpreter: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{interpreter}\nfrom hookline.cli.main import main\n\nmain()\n")
    path.chmod(0o755)


def _write_etc(etc: Path) -> None:
    etc.mkdir(parents=True)
    (etc / "passwd").write_text("nonroot:x:65532:65532::/tmp:/nologin\n")
    (etc / "nsswitch.conf").write_text("hosts: files dns\n")
    authorities = Path("/etc/ssl/certs/ca-certificates.crt")
    if authorities.exists():
        _copy(authorities, etc / "ssl/certs/ca-certificates.crt")


def _copy_libraries(root: Path) -> None:
    """The shared libraries that the programs and modules name, where the loader looks for them."""
    programs = [
        each for each in root.rglob("*") if each.is_file() and (".so" in each.name or each.parent.name == "bin")
    ]
    for library in sorted({path for program in programs for path in _libraries(program)}):
        _copy(Path(library).resolve(), root / library.lstrip("/"))


def _libraries(program: Path) -> Iterable[str]:
    listed = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False).stdout
    for line in listed.splitlines():
        found = next((word for word in line.split() if word.startswith("/")), None)
        if found is not None and not found.startswith(str(cache())):
            yield found


def _write_archive(path: Path, image: Image, root: Path) -> None:
    layer = path.with_suffix(".layer")
    with tarfile.open(layer, "w") as tar:
        tar.add(root, arcname=".", filter=_owned_by_root)
    digest = _digest(layer)
    config: dict[str, Any] = {
        "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {
            "Entrypoint": list(image.entrypoint),
            "Env": [f"{name}={value}" for name, value in image.environment.items()],
            "User": USER,
            "WorkingDir": "/",
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    text = json.dumps(config).encode()
    name = f"{hashlib.sha256(text).hexdigest()}.json"
    manifest = [{"Config": name, "RepoTags": [image.name], "Layers": [f"{digest}/layer.tar"]}]
    with tarfile.open(path, "w") as tar:
        _add(tar, name, text)
        _add(tar, "manifest.json", json.dumps(manifest).encode())
        tar.add(layer, arcname=f"{digest}/layer.tar")
    layer.unlink()


def _owned_by_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    if entry.isdir():
        entry.mode = 0o1777 if entry.name == "./tmp" else 0o755
    return entry


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
