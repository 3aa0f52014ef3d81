"""Keeps the CA and the secret of `hookline listen` in a folder, so that its manifests outlive a restart."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import trustme

from hookline.local import private_files
from hookline.local.receiver import new_secret


class ReceiverFolderUnusable(Exception):
    """A file of the folder cannot be read, or the folder not written."""


@dataclass(frozen=True)
class Kept:
    """Of a receiver: its CA, and the secret that signs calls to it."""

    ca: trustme.CA = field(repr=False)
    secret: str = field(repr=False)


def kept_in(folder: Path) -> Kept:
    """Read, or made at first. Only this user can read the files. Raises ReceiverFolderUnusable."""
    certificate, key, secret = folder / "ca.crt", folder / "ca.key", folder / "secret"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not (certificate.exists() and key.exists()):
            made = trustme.CA(organization_name="Hookline listen")
            private_files.write(key, made.private_key_pem.bytes())
            private_files.write(certificate, made.cert_pem.bytes())
        if not secret.exists():
            private_files.write(secret, new_secret().encode())
        ca = trustme.CA.from_pem(certificate.read_bytes(), key.read_bytes())
        return Kept(ca, secret.read_text(encoding="ascii").strip())
    except OSError as error:
        raise ReceiverFolderUnusable(f"{error.filename or folder}: {error.strerror}") from None
    except ValueError:
        raise ReceiverFolderUnusable(f"{folder} holds a file that is damaged; delete that folder") from None
