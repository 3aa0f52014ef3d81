from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hookline.events.builtin_events import EVENTS
from hookline.local import samples
from hookline.resources.base import ALLOW_LABEL
from hookline.resources.eventtype import EventType
from hookline.resources.replay import Replay
from hookline.resources.webhook import Webhook
from hookline.routing.secret import Secret, allowed_value
from hookline.routing.signing import HmacKey, parse_key, public_key

SAMPLES = Path(__file__).parents[3] / "manifests" / "samples"
BUILT_IN = [event.name for event in EVENTS]
SIGNING_SECRET = samples.EXAMPLE_SIGNING_SECRET
APP_KEY = ("X-App-Key", "an app key")
URL = "https://127.0.0.1:8443"
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"

event_names = st.from_regex(r"[A-Za-z][A-Za-z0-9]{0,20}([.-][A-Za-z0-9]{1,20}){0,3}", fullmatch=True)


class Manifests:
    """Multi-document YAML, read by the resources themselves."""

    def __init__(self, texts: Iterable[str]) -> None:
        documents = [document for text in texts for document in yaml.safe_load_all(text)]
        self.webhooks = [Webhook.model_validate(each) for each in documents if each["kind"] == "Webhook"]
        self.types = [EventType.model_validate(each) for each in documents if each["kind"] == "EventType"]
        found = [Secret.of_manifest(each) for each in documents if each["kind"] == "Secret"]
        self.secrets = {(secret.namespace, secret.name): secret for secret in found}
        self.replays = [Replay.model_validate(each) for each in documents if each["kind"] == "Replay"]
        known = len(self.webhooks) + len(self.secrets) + len(self.types) + len(self.replays)
        assert known == len(documents), "a kind or a name that should not be there"

    def value(self, webhook: Webhook, ref: Any) -> bytes:
        value = allowed_value(self.secrets, webhook.metadata.namespace, ref.name, ref.key)
        assert isinstance(value, bytes), value
        return value

    def secret(self, webhook: Webhook) -> bytes:
        return self.value(webhook, webhook.spec.secret_ref)

    def ca(self, webhook: Webhook) -> bytes:
        assert webhook.spec.tls is not None
        return self.value(webhook, webhook.spec.tls.ca_secret_ref)


def sample(file_name: str) -> tuple[Webhook, Manifests]:
    manifests = Manifests([samples.sample_files()[file_name]])
    [webhook] = manifests.webhooks
    return webhook, manifests


def test_the_files_on_disk_are_the_generated_ones() -> None:
    assert {path.name: path.read_text("utf-8") for path in SAMPLES.iterdir()} == samples.sample_files()


def test_all_samples_can_be_applied_together() -> None:
    manifests = Manifests(samples.sample_files().values())
    assert len({webhook.metadata.name for webhook in manifests.webhooks}) == len(manifests.webhooks) == 8
    assert {webhook.spec.event for webhook in manifests.webhooks} <= set(BUILT_IN)
    assert all(webhook.spec.url.startswith("https://receiver.example.com") for webhook in manifests.webhooks)


def test_the_replay_of_the_samples_sends_nothing_and_names_a_webhook_of_theirs() -> None:
    manifests = Manifests(samples.sample_files().values())
    (replay,) = manifests.replays
    assert replay.spec.dry_run
    assert any(replay.spec.means(each.metadata.name, {}) for each in manifests.webhooks)


def test_samples_leave_the_namespace_to_whoever_applies_them() -> None:
    for text in samples.sample_files().values():
        assert all("namespace" not in document["metadata"] for document in yaml.safe_load_all(text))


def test_every_secret_of_the_samples_is_lent_used_and_plainly_an_example() -> None:
    manifests = Manifests(samples.sample_files().values())
    used = {webhook.spec.secret_ref.name for webhook in manifests.webhooks if webhook.spec.secret_ref}
    used |= {
        header.value_from.secret_key_ref.name
        for webhook in manifests.webhooks
        for header in webhook.spec.headers
        if header.value_from
    }
    tls = [webhook.spec.tls for webhook in manifests.webhooks if webhook.spec.tls]
    used |= {ref.name for each in tls for ref in (each.ca_secret_ref, each.client_cert_secret_ref) if ref}
    assert {name for _, name in manifests.secrets} == used
    for secret in manifests.secrets.values():
        assert secret.allowed
        assert all(b"EXAMPLE" in value and b"REPLACE" in value for value in secret.data.values())


def test_the_standard_sample_signs_with_a_valid_key() -> None:
    webhook, manifests = sample("standard.yaml")
    assert webhook.spec.signature.scheme == "StandardWebhooks"
    assert isinstance(parse_key(manifests.secret(webhook)), HmacKey)


def test_the_clearid_sample_sends_its_secret_in_a_header() -> None:
    webhook, manifests = sample("clearid-header-secret.yaml")
    assert (webhook.spec.signature.scheme, webhook.spec.signature.header_name) == ("Header", "X-Api-Key")
    assert manifests.secret(webhook) == samples.EXAMPLE_APP_KEY.encode()


def test_the_extra_headers_sample_has_plain_values_one_from_a_secret_and_a_url_with_port_and_query() -> None:
    webhook, manifests = sample("extra-headers.yaml")
    plain = [header for header in webhook.spec.headers if header.value is not None]
    [from_secret] = [header for header in webhook.spec.headers if header.value_from is not None]
    assert plain
    assert from_secret.value_from is not None
    assert manifests.value(webhook, from_secret.value_from.secret_key_ref) == samples.EXAMPLE_TOKEN.encode()
    assert ":8443/" in webhook.spec.url
    assert "?" in webhook.spec.url


def test_only_the_disabled_sample_is_disabled() -> None:
    without = ("event-type.yaml", "replay.yaml")
    specs = {name: sample(name)[0].spec for name in samples.sample_files() if name not in without}
    assert [name for name, spec in specs.items() if not spec.enabled] == ["disabled.yaml"]
    assert [name for name, spec in specs.items() if spec.paused] == ["paused.yaml"]


def test_the_sample_with_asymmetric_keys_has_a_private_key() -> None:
    webhook, manifests = sample("asymmetric-keys.yaml")
    assert public_key(manifests.secret(webhook).decode()) is not None


def test_the_sample_of_limits_has_all_of_them() -> None:
    spec = sample("retry-and-rate-limit.yaml")[0].spec
    assert spec.retry is not None
    assert spec.rate_limit is not None
    assert spec.timeout_seconds is not None


def test_each_sample_begins_by_explaining_itself() -> None:
    for text in samples.sample_files().values():
        assert text.startswith("# ")
        assert max(len(line) for line in text.splitlines()) <= 120


@given(st.lists(event_names, min_size=1, max_size=4, unique_by=str.lower))
def test_listen_manifests_have_one_signed_webhook_for_each_event_that_trusts_the_receiver(events: list[str]) -> None:
    text = samples.listen_manifests(url=URL, ca_pem=PEM, secret=SIGNING_SECRET, events=events, namespace="team-a")
    manifests = Manifests([text])
    assert text.startswith(samples.LISTEN_MARK)
    assert [webhook.spec.event for webhook in manifests.webhooks] == events
    assert len({webhook.metadata.name for webhook in manifests.webhooks}) == len(events)
    for webhook in manifests.webhooks:
        assert webhook.metadata.namespace == "team-a"
        assert webhook.spec.url.startswith(f"{URL}/")
        assert webhook.spec.signature.scheme == "StandardWebhooks"
        assert manifests.secret(webhook) == SIGNING_SECRET.encode()
        assert manifests.ca(webhook) == PEM.encode()


def test_listen_manifests_send_the_secret_in_a_header_when_one_is_named() -> None:
    name, value = APP_KEY
    text = samples.listen_manifests(url=URL, ca_pem=PEM, secret=value, events=["IdentityCreated"], header_name=name)
    manifests = Manifests([text])
    [webhook] = manifests.webhooks
    assert (webhook.spec.signature.scheme, webhook.spec.signature.header_name) == ("Header", name)
    assert manifests.secret(webhook) == value.encode()


@pytest.fixture(scope="module")
def demo() -> Manifests:
    text = samples.demo_manifests(url=URL, ca_pem=PEM, secret=SIGNING_SECRET, header_secret=APP_KEY, events=BUILT_IN)
    return Manifests([text])


def test_the_demo_calls_the_local_receiver_in_namespace_default(demo: Manifests) -> None:
    assert {webhook.metadata.namespace for webhook in demo.webhooks} == {"default"}
    assert len({webhook.metadata.name for webhook in demo.webhooks}) == len(demo.webhooks)
    assert all(webhook.spec.url.startswith(f"{URL}/") for webhook in demo.webhooks)
    assert {demo.ca(webhook) for webhook in demo.webhooks} == {PEM.encode()}


def test_the_demo_signs_every_event_exactly_once(demo: Manifests) -> None:
    signed = [
        webhook
        for webhook in demo.webhooks
        if webhook.spec.enabled and webhook.spec.signature.scheme == "StandardWebhooks"
    ]
    assert [webhook.spec.event for webhook in signed] == BUILT_IN
    assert {demo.secret(webhook) for webhook in signed} == {SIGNING_SECRET.encode()}


def test_the_demo_has_every_style(demo: Manifests) -> None:
    [by_header] = [webhook for webhook in demo.webhooks if webhook.spec.signature.scheme == "Header"]
    [disabled] = [webhook for webhook in demo.webhooks if not webhook.spec.enabled]
    [with_headers] = [webhook for webhook in demo.webhooks if webhook.spec.headers]
    assert (by_header.spec.signature.header_name, demo.secret(by_header)) == (APP_KEY[0], APP_KEY[1].encode())
    assert {by_header.spec.event, disabled.spec.event, with_headers.spec.event} == {BUILT_IN[0]}
    assert with_headers.spec.url.endswith("?source=demo")
    for header in with_headers.spec.headers:
        assert header.value or demo.value(with_headers, header.value_from and header.value_from.secret_key_ref)


def test_a_demo_of_one_event_needs_no_other() -> None:
    text = samples.demo_manifests(
        url=URL, ca_pem=PEM, secret=SIGNING_SECRET, header_secret=APP_KEY, events=["IdentityCreated"]
    )
    assert len(Manifests([text]).webhooks) == 3


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["", "one line", "two\n\nlines"]),
            st.dictionaries(st.text(min_size=1), st.text() | st.booleans(), min_size=1, max_size=3),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_what_is_written_as_yaml_is_read_as_it_was(documents: list[tuple[str, dict[str, Any]]]) -> None:
    assert list(yaml.safe_load_all(samples.to_yaml(*documents))) == [manifest for _, manifest in documents]


def test_a_certificate_is_written_as_a_block_that_people_can_read() -> None:
    assert f"ca.crt: |\n    {PEM.splitlines()[0]}\n" in samples.to_yaml(("", samples.ca_secret("ca", PEM)))


def test_a_lent_secret_carries_the_label_as_text() -> None:
    assert samples.allowed_secret("mine", "value")["metadata"]["labels"] == {ALLOW_LABEL: "true"}
    assert f"{ALLOW_LABEL}: 'true'" in samples.to_yaml(("", samples.allowed_secret("mine", "value")))
