"""A command of a pod says in one line why it cannot begin."""

from __future__ import annotations

from pathlib import Path

import pytest

from hookline.cli.errors import NotAchieved, WrongInput
from hookline.cli.pod import certificate_of, listening, own_api_server


def test_outside_of_a_pod_it_says_what_there_is_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(WrongInput, match="in a pod only; on a machine of your own `hookline run` has a gateway"):
        own_api_server("has a gateway")


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_what_is_no_certificate_is_named(tmp_path: Path, content: str | None) -> None:
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    if content is not None:
        certificate.write_text(content)
        key.write_text(content)
    with pytest.raises(WrongInput, match=r"tls\.crt and .*tls\.key are no certificate and its key"):
        certificate_of(certificate, key)


def test_an_address_that_is_taken_is_named() -> None:
    with (
        pytest.raises(NotAchieved, match="cannot listen on :8443 or :8080: Address already in use"),
        listening(":8443", ":8080"),
    ):
        raise OSError(98, "Address already in use")
