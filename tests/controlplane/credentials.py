"""Who is who in a test cluster: a CA, the servers' certificates, the key of ServiceAccount tokens, users, kubeconfigs.

Made once for a folder and kept in it, so that a kubeconfig outlives a restart. Never used by the product.
"""

from __future__ import annotations

import base64
import csv
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa


@dataclass(frozen=True)
class User:
    """A user of the API server, known by a token. Without groups it may do what RBAC grants to its name."""

    name: str
    groups: tuple[str, ...] = ()


ADMIN = User("admin", ("system:masters",))


class Credentials:
    """The credentials in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.ca_file = folder / "ca.crt"
        self.server_certificate = folder / "server.crt"
        self.server_key = folder / "server.key"
        self.kubelet_client_certificate = folder / "kubelet-client.crt"
        self.kubelet_client_key = folder / "kubelet-client.key"
        self.front_proxy_ca_file = folder / "front-proxy-ca.crt"
        self.front_proxy_certificate = folder / "front-proxy-client.crt"
        self.front_proxy_key = folder / "front-proxy-client.key"
        self.account_key = folder / "service-account.key"
        self.tokens_file = folder / "tokens.csv"

    def make(self, hosts: Sequence[str], users: Sequence[User]) -> None:
        """Make what is not there yet; `hosts` are the names and addresses the API server is called by."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self.ca_file.exists():
            self._make_certificates(hosts)
            _write_private(self.account_key, _new_rsa_key())
        if not self.front_proxy_ca_file.exists():
            self._make_front_proxy()
        self._write_tokens(users)

    def token(self, user: str) -> str:
        """The token of one of the users. KeyError for any other."""
        return self._tokens()[user]

    def kubeconfig(self, url: str, name: str, token: str, *, namespace: str = "default") -> Path:
        """A kubeconfig for the bearer of `token`, in a file named after it."""
        authority = base64.b64encode(self.ca_file.read_bytes()).decode()
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "hookline", "cluster": {"server": url, "certificate-authority-data": authority}}],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [
                {"name": "hookline", "context": {"cluster": "hookline", "user": name, "namespace": namespace}}
            ],
            "current-context": "hookline",
        }
        path = self._folder / f"kubeconfig-{name.replace(':', '-').replace('/', '-')}"
        # JSON is YAML, and needs no library on the reader's side.
        _write_private(path, json.dumps(config, indent=1).encode())
        return path

    def _make_certificates(self, hosts: Sequence[str]) -> None:
        authority = trustme.CA(organization_name="Hookline test cluster")
        server = authority.issue_cert(*hosts, common_name="kube-apiserver")
        _write_private(self.server_key, server.private_key_pem.bytes())
        self.server_certificate.write_bytes(b"".join(each.bytes() for each in server.cert_chain_pems))
        client = authority.issue_cert(
            "kube-apiserver", common_name="kube-apiserver", organization_name="system:masters"
        )
        _write_private(self.kubelet_client_key, client.private_key_pem.bytes())
        self.kubelet_client_certificate.write_bytes(client.cert_chain_pems[0].bytes())
        # Last: its presence says that all the others are there.
        authority.cert_pem.write_to_path(str(self.ca_file))

    def _make_front_proxy(self) -> None:
        """By which kube-apiserver proves to servers beside it that it is itself: a CA of its own."""
        authority = trustme.CA(organization_name="Hookline test front proxy")
        client = authority.issue_cert("front-proxy-client", common_name="front-proxy-client")
        _write_private(self.front_proxy_key, client.private_key_pem.bytes())
        self.front_proxy_certificate.write_bytes(client.cert_chain_pems[0].bytes())
        authority.cert_pem.write_to_path(str(self.front_proxy_ca_file))

    def _write_tokens(self, users: Sequence[User]) -> None:
        known = self._tokens()
        lines = [
            (known.get(each.name) or secrets.token_urlsafe(24), each.name, each.name, each.groups) for each in users
        ]
        rows = "".join(f'{token},{name},{uid},"{",".join(groups)}"\n' for token, name, uid, groups in lines)
        _write_private(self.tokens_file, rows.encode())

    def _tokens(self) -> dict[str, str]:
        if not self.tokens_file.exists():
            return {}
        with self.tokens_file.open(newline="") as file:
            return {row[1]: row[0] for row in csv.reader(file)}


def _new_rsa_key() -> bytes:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def _write_private(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)
