"""Manifests that Hookline writes for people: the samples, and the ones that reach a local receiver.

Decides what they say and in which order. It reads and writes no file; what the fields mean and which values are
allowed is decided by the resources, and the tests hold every manifest here against them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import yaml

from hookline.local.example_certificates import CA_PEM, CLIENT_CERTIFICATE_PEM, CLIENT_KEY_PEM
from hookline.resources.base import ALLOW_LABEL, API_VERSION

Manifest = dict[str, Any]

LISTEN_MARK = "# Written by `hookline listen`"
"""How a file begins that `hookline listen` may overwrite."""

EXAMPLE_SIGNING_SECRET = "whsec_EXAMPLE/not/a/secret/REPLACE/before/any/USE="  # noqa: S105
EXAMPLE_PRIVATE_KEY = "whsk_EXAMPLE/not/a/secret/REPLACE/before/any/USE="
EXAMPLE_APP_KEY = "EXAMPLE-app-key-REPLACE-before-any-use"
EXAMPLE_TOKEN = "EXAMPLE-token-REPLACE-before-any-use"  # noqa: S105
EXAMPLE_RECEIVER = "https://receiver.example.com"

_LISTEN_NOTE = """; the next start replaces it, because the receiver makes a new CA each time.
# It holds a secret: keep it out of version control.

"""
_LENDING = """\
The label allows Webhooks of its namespace to use this Secret; without it, it is not used.
The value is an example: do not keep real ones in version control."""


LISTEN_SCHEDULE_SECONDS = (1, 2, 5, 10)
"""Whoever tries failures wants to see how they end."""


def webhook(
    name: str,
    *,
    url: str,
    event: str,
    namespace: str | None = None,
    description: str = "",
    enabled: bool = True,
    secret_name: str | None = None,
    header_name: str | None = None,
    headers: Sequence[Manifest] = (),
    ca_secret_name: str | None = None,
    schedule_seconds: Sequence[int] = (),
) -> Manifest:
    """A Webhook. With `header_name` the secret goes as it is into that header; otherwise it signs each call.

    Fields that would only repeat a default are left out, except `enabled`, which people look for.
    """
    spec: Manifest = {"enabled": enabled}
    if description:
        spec["description"] = description
    spec |= {"url": url, "event": event}
    if secret_name:
        spec["secretRef"] = {"name": secret_name}
    if header_name is not None:
        spec["signature"] = {"scheme": "Header", "headerName": header_name}
    if headers:
        spec["headers"] = list(headers)
    if ca_secret_name:
        spec["tls"] = {"caSecretRef": {"name": ca_secret_name}}
    if schedule_seconds:
        spec["retry"] = {"scheduleSeconds": list(schedule_seconds)}
    return {"apiVersion": API_VERSION, "kind": "Webhook", "metadata": _metadata(name, namespace), "spec": spec}


def allowed_secret(name: str, value: str, *, key: str = "secret", namespace: str | None = None) -> Manifest:
    """A Secret with one key, that Webhooks may use."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _metadata(name, namespace) | {"labels": {ALLOW_LABEL: "true"}},
        "stringData": {key: value},
    }


def ca_secret(name: str, ca_pem: str, *, namespace: str | None = None) -> Manifest:
    """An allowed Secret with the CA certificate that `tls.caSecretRef` of a Webhook names."""
    return allowed_secret(name, ca_pem, key="ca.crt", namespace=namespace)


def sample_files() -> dict[str, str]:
    """The text of each file in manifests/samples/, by file name: one style of Webhook each."""
    return {
        "standard.yaml": _standard_sample(),
        "clearid-header-secret.yaml": _header_secret_sample(),
        "extra-headers.yaml": _extra_headers_sample(),
        "disabled.yaml": _disabled_sample(),
        "paused.yaml": _paused_sample(),
        "retry-and-rate-limit.yaml": _retry_sample(),
        "private-ca-and-client-certificate.yaml": _tls_sample(),
        "asymmetric-keys.yaml": _asymmetric_sample(),
        "event-type.yaml": _event_type_sample(),
        "replay.yaml": _replay_sample(),
    }


def listen_manifests(
    *,
    url: str,
    ca_pem: str,
    secret: str,
    events: Sequence[str],
    namespace: str = "default",
    header_name: str | None = None,
) -> str:
    """The YAML that reaches a local receiver at `url`: its CA, the secret, one Webhook for each event.

    With `header_name`, `secret` is sent as it is in that header instead of signing the calls.
    """
    secret_name, ca_name = "listen-secret", "listen-ca"
    webhooks = (
        webhook(
            f"listen-{event.lower()}",
            url=f"{url}/{event.lower()}",
            event=event,
            namespace=namespace,
            secret_name=secret_name,
            header_name=header_name,
            ca_secret_name=ca_name,
            schedule_seconds=LISTEN_SCHEDULE_SECONDS,
        )
        for event in events
    )
    documents = to_yaml(
        ("The CA that issued the receiver's certificate.", ca_secret(ca_name, ca_pem, namespace=namespace)),
        ("The secret the receiver verifies calls with.", allowed_secret(secret_name, secret, namespace=namespace)),
        *(("", manifest) for manifest in webhooks),
    )
    return f"{LISTEN_MARK}{_LISTEN_NOTE}{documents}"


def demo_manifests(*, url: str, ca_pem: str, secret: str, header_secret: tuple[str, str], events: Sequence[str]) -> str:
    """The YAML of the demo, in namespace `default`, pointing at a local receiver.

    Each event has one signed Webhook; the first one's carries extra headers and a query too. Two more Webhooks hear
    the first event: one with the header secret `(name, value)`, and one that is disabled.
    """
    header_name, app_key = header_secret
    first, *others = events
    path = first.lower()
    signing, key_name, token_name, ca_name = "demo-signing", "demo-app-key", "demo-token", "demo-ca"
    allowed = partial(allowed_secret, namespace="default")
    to_receiver = partial(webhook, namespace="default", ca_secret_name=ca_name)
    signed = partial(to_receiver, secret_name=signing)
    return to_yaml(
        ("The CA that issued the receiver's certificate.", ca_secret(ca_name, ca_pem, namespace="default")),
        ("Signs the calls.", allowed(signing, secret)),
        ("Is sent as it is.", allowed(key_name, app_key)),
        ("The value of a header.", allowed(token_name, EXAMPLE_TOKEN, key="token")),
        (
            "Signed, with headers and a query of its own.",
            signed(path, url=f"{url}/{path}?source=demo", event=first, headers=_extra_headers(token_name)),
        ),
        (
            "Not signed: the secret goes as it is into a header.",
            to_receiver(
                f"{path}-app-key",
                url=f"{url}/{path}-app-key",
                event=first,
                secret_name=key_name,
                header_name=header_name,
            ),
        ),
        (
            "Disabled: never called.",
            signed(f"{path}-disabled", url=f"{url}/{path}-disabled", event=first, enabled=False),
        ),
        *(("", signed(event.lower(), url=f"{url}/{event.lower()}", event=event)) for event in others),
    )


def to_yaml(*documents: tuple[str, Manifest]) -> str:
    """Multi-document YAML: each manifest below its comment (plain lines; none when empty)."""
    return "---\n".join(_comment(comment) + _dump(manifest) for comment, manifest in documents)


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines, such as certificates, as a block that can be read."""


def _block_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _block_text)


def _dump(manifest: Manifest) -> str:
    return yaml.dump(manifest, Dumper=_Dumper, sort_keys=False, width=1000)


def _comment(text: str) -> str:
    return "".join(f"# {line}".rstrip() + "\n" for line in text.splitlines())


def _metadata(name: str, namespace: str | None) -> Manifest:
    return {"name": name} if namespace is None else {"name": name, "namespace": namespace}


def _extra_headers(token_secret_name: str) -> list[Manifest]:
    return [
        {"name": "X-Event-Source", "value": "access-control"},
        {"name": "Accept-Language", "value": "en"},
        {"name": "X-Receiver-Token", "valueFrom": {"secretKeyRef": {"name": token_secret_name, "key": "token"}}},
    ]


def _standard_sample() -> str:
    name = "identity-created"
    return to_yaml(
        (
            """\
Each call is signed as Standard Webhooks lays down (headers webhook-id, webhook-timestamp, webhook-signature).
The receiver checks it with the same secret, using any library from standardwebhooks.com.

Change url to your receiver; a port and a query are allowed. `hookline check FILE` tells what is wrong in a file.""",
            webhook(
                name,
                description="Tells the HR system about new identities",
                url=f"{EXAMPLE_RECEIVER}/identity-created",
                event="IdentityCreated",
                secret_name=f"{name}-signing",
            ),
        ),
        (
            f"""\
{_LENDING}
Make a signing secret of your own:  echo "whsec_$(openssl rand -base64 32)\"""",
            allowed_secret(f"{name}-signing", EXAMPLE_SIGNING_SECRET),
        ),
    )


def _header_secret_sample() -> str:
    name = "identity-deleted"
    return to_yaml(
        (
            """\
For a receiver that wants a fixed key in a header (the App key of ClearID) instead of a signature.
The key is sent as it is: whoever reads one call can make others. Prefer signatures where the receiver checks them.""",
            webhook(
                name,
                description="Closes the accounts of identities that left",
                url=f"{EXAMPLE_RECEIVER}/identity-deleted",
                event="IdentityDeleted",
                secret_name=f"{name}-app-key",
                header_name="X-Api-Key",
            ),
        ),
        (f"{_LENDING}\nThe receiver gives you the key.", allowed_secret(f"{name}-app-key", EXAMPLE_APP_KEY)),
    )


def _extra_headers_sample() -> str:
    name = "visitor-checked-in"
    return to_yaml(
        (
            """\
Headers of your own on each call: to tell the receiver the source, or what its gateway asks for.
A value that must not be read by everyone comes from a Secret.""",
            webhook(
                name,
                description="Shows arrivals on the screen at reception",
                url=f"{EXAMPLE_RECEIVER}:8443/visitors?building=headquarters",
                event="VisitorCheckedIn",
                secret_name=f"{name}-signing",
                headers=_extra_headers(f"{name}-token"),
            ),
        ),
        (_LENDING, allowed_secret(f"{name}-signing", EXAMPLE_SIGNING_SECRET)),
        ("", allowed_secret(f"{name}-token", EXAMPLE_TOKEN, key="token")),
    )


def _paused_sample() -> str:
    name = "access-granted"
    manifest = webhook(
        name,
        description="Waits while the receiver is moved",
        url=f"{EXAMPLE_RECEIVER}/access-granted",
        event="AccessGranted",
        secret_name=f"{name}-signing",
    )
    manifest["spec"] = {"enabled": True, "paused": True, **manifest["spec"]}
    return to_yaml(
        (
            """\
Paused: no calls are made, and events of this time are delivered, in the order in which they were published, once
paused is false again. They are kept for as long as the Dispatcher says (retention.parkedSeconds, seven days).""",
            manifest,
        ),
        (_LENDING, allowed_secret(f"{name}-signing", EXAMPLE_SIGNING_SECRET)),
    )


def _retry_sample() -> str:
    name = "identity-updated"
    manifest = webhook(
        name,
        description="A receiver that takes ten calls a second",
        url=f"{EXAMPLE_RECEIVER}/identity-updated",
        event="IdentityUpdated",
        secret_name=f"{name}-signing",
    )
    manifest["spec"] |= {
        "timeoutSeconds": 10,
        "retry": {"scheduleSeconds": [5, 60, 600, 3600]},
        "maxConcurrency": 4,
        "rateLimit": {"calls": 10, "perSeconds": 1},
    }
    return to_yaml(
        (
            """\
A failed call is tried again after 5 s, 1 min, 10 min and 1 h, and then becomes a dead letter. There are never more
than four calls at once, nor more than ten a second, whatever the number of sender pods.""",
            manifest,
        ),
        (_LENDING, allowed_secret(f"{name}-signing", EXAMPLE_SIGNING_SECRET)),
    )


def _tls_sample() -> str:
    name = "credential-created"
    manifest = webhook(
        name,
        description="A receiver with a certificate of our own authority, which asks for ours",
        url=f"{EXAMPLE_RECEIVER}/credential-created",
        event="CredentialCreated",
        secret_name=f"{name}-signing",
    )
    ca_name, client_name = f"{name}-ca", f"{name}-client"
    manifest["spec"]["tls"] = {"caSecretRef": {"name": ca_name}, "clientCertSecretRef": {"name": client_name}}
    client = allowed_secret(client_name, CLIENT_CERTIFICATE_PEM, key="tls.crt")
    client["stringData"]["tls.key"] = CLIENT_KEY_PEM
    return to_yaml(
        (
            """\
Only certificates of the authority in the first Secret are trusted.
The certificate in the second Secret is shown to a receiver that asks for one.
cert-manager makes Secrets of this form; label them too.""",
            manifest,
        ),
        (_LENDING, allowed_secret(ca_name, CA_PEM, key="ca.crt")),
        ("", client),
        ("", allowed_secret(f"{name}-signing", EXAMPLE_SIGNING_SECRET)),
    )


def _asymmetric_sample() -> str:
    name = "visit-event-created"
    return to_yaml(
        (
            """\
Signed with a private key (v1a, Ed25519): the receiver needs no secret, only the public key whpk_… that stands in
status.signingKeys and that `hookline check` says.""",
            webhook(
                name,
                description="A receiver that should not be able to sign calls itself",
                url=f"{EXAMPLE_RECEIVER}/visit-event-created",
                event="VisitEventCreated",
                secret_name=f"{name}-signing",
            ),
        ),
        (
            f"""\
{_LENDING}
Make a private key of your own:  echo "whsk_$(openssl rand -base64 32)\"""",
            allowed_secret(f"{name}-signing", EXAMPLE_PRIVATE_KEY),
        ),
    )


def _event_type_sample() -> str:
    return to_yaml(
        (
            """\
An event of your own, for the whole cluster. Bodies that do not fit the schema are refused to their publisher.""",
            {
                "apiVersion": API_VERSION,
                "kind": "EventType",
                "metadata": {"name": "order.created"},
                "spec": {
                    "event": "order.created",
                    "description": "Somebody ordered something",
                    "schema": {
                        "type": "object",
                        "required": ["orderId"],
                        "properties": {"orderId": {"type": "string"}, "total": {"type": "number", "minimum": 0}},
                        "additionalProperties": False,
                    },
                    "sample": {"orderId": "o-4711", "total": 19.99},
                },
            },
        ),
    )


def _replay_sample() -> str:
    return to_yaml(
        (
            """\
What was given up for the Webhook since its receiver went down, once more. With dryRun it is counted and nothing is
sent. A Replay runs once and never changes, so make another one without it. `source: Events` takes what was published,
by its time.""",
            {
                "apiVersion": API_VERSION,
                "kind": "Replay",
                "metadata": {"name": "identity-created-outage"},
                "spec": {
                    "webhook": {"name": "identity-created"},
                    "source": "DeadLetters",
                    "since": "2026-11-30T14:00:00Z",
                    "ratePerSecond": 20,
                    "dryRun": True,
                    "ttlSecondsAfterFinished": 86_400,
                },
            },
        ),
    )


def _disabled_sample() -> str:
    name = "credential-updated"
    return to_yaml(
        (
            """\
Switched off: it is checked like any other Webhook, but never called, and what happens meanwhile is not kept for it.
Write enabled: true, or leave the line out, to switch it on.""",
            webhook(
                name,
                enabled=False,
                description="Waits for the badge printer to be installed",
                url=f"{EXAMPLE_RECEIVER}/credential-updated",
                event="CredentialUpdated",
                secret_name=f"{name}-signing",
            ),
        ),
        (_LENDING, allowed_secret(f"{name}-signing", EXAMPLE_SIGNING_SECRET)),
    )
