"""What the commands of pods that serve HTTPS share: how they know their pod, and what they show to clients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from hookline.cli.errors import NotAchieved, WrongInput
from hookline.serving.api_server import NoPod, Place, place_of_pod
from hookline.serving.certificate import Certificate

CertificateFile = Annotated[Path, typer.Option(help="File with the certificate and its chain, PEM; may be replaced.")]
KeyFile = Annotated[Path, typer.Option(help="File with its private key, PEM.")]
Listen = Annotated[str, typer.Option(help="HOST:PORT; without HOST on every address.")]
Health = Annotated[str, typer.Option(help="HOST:PORT of /livez, /readyz and /metrics; without HOST on every address.")]
Grace = Annotated[float, typer.Option(min=0, max=3600, help="At the end: how long requests under way may take.")]

HTTPS = ":8443"
PLAIN = "0.0.0.0:8080"
"""Of health: a kubelet asks at the pod's address."""


def own_api_server(otherwise: str) -> Place:
    """Raises WrongInput where this is no pod; `otherwise` says what there is on a machine of one's own."""
    try:
        return place_of_pod()
    except NoPod as error:
        raise WrongInput(f"{error}; on a machine of your own `hookline run` {otherwise}") from None


def certificate_of(certificate: Path, key: Path) -> Certificate:
    """Raises WrongInput."""
    try:
        return Certificate(certificate, key)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise WrongInput(f"{certificate} and {key} are no certificate and its key: {why}") from None


@contextmanager
def listening(listen: str, health: str) -> Iterator[None]:
    """Around what listens there. Raises NotAchieved where that cannot be."""
    try:
        yield
    except OSError as error:
        raise NotAchieved(f"cannot listen on {listen} or {health}: {error.strerror or type(error).__name__}") from None
