from __future__ import annotations

import base64

import pytest

from hookline.resources.base import ALLOW_LABEL
from hookline.routing.secret import Refusal, Secret, SecretProblem, allowed_value

CANARY = "canary-77aa"


def manifest(**changes: object) -> dict[str, object]:
    metadata = {"name": "keys", "namespace": "team", "labels": {ALLOW_LABEL: "true"}}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"secret": CANARY}, **changes}


def lookup(secret: Secret, key: str = "secret") -> bytes | Refusal:
    return allowed_value({(secret.namespace, secret.name): secret}, "team", "keys", key)


def test_a_lent_secret_gives_its_value() -> None:
    assert lookup(Secret.of_manifest(manifest())) == CANARY.encode()


def test_data_is_decoded_and_string_data_wins() -> None:
    data = {"secret": base64.b64encode(b"old").decode(), "other": base64.b64encode(b"\xff\x00").decode() + "\n"}
    secret = Secret.of_manifest(manifest(data=data))
    assert (lookup(secret), lookup(secret, "other")) == (CANARY.encode(), b"\xff\x00")


@pytest.mark.parametrize("labels", [{}, {ALLOW_LABEL: "false"}, {ALLOW_LABEL: "True"}, {"other": "true"}])
def test_a_secret_without_the_label_gives_nothing_and_says_how_to_lend_it(labels: dict[str, str]) -> None:
    metadata = {"name": "keys", "namespace": "team", "labels": labels}
    refusal = lookup(Secret.of_manifest(manifest(metadata=metadata)))
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "SecretNotAllowed"
    assert f"kubectl label secret -n team keys {ALLOW_LABEL}=true" in refusal.message
    assert CANARY not in refusal.message


def test_a_secret_that_is_not_lent_and_one_that_is_not_there_have_one_answer() -> None:
    metadata = {"name": "keys", "namespace": "team", "labels": {}}
    not_allowed = lookup(Secret.of_manifest(manifest(metadata=metadata)))
    # Whoever may write a Webhook but not read Secrets must not learn from it which Secrets there are.
    assert not_allowed == allowed_value({}, "team", "keys", "secret")


def test_a_lent_secret_without_the_key_names_those_that_it_has_and_no_value() -> None:
    refusal = lookup(Secret.of_manifest(manifest(stringData={"b": CANARY, "a": CANARY})), "nope")
    assert isinstance(refusal, Refusal)
    assert (refusal.reason, CANARY in repr(refusal)) == ("SecretKeyMissing", False)
    assert "its keys are: a, b" in refusal.message
    empty = lookup(Secret.of_manifest(manifest(stringData=None)))
    assert isinstance(empty, Refusal)
    assert "its keys are: none" in empty.message


def test_a_secret_of_another_namespace_is_not_found() -> None:
    secret = Secret.of_manifest(manifest())
    refusal = allowed_value({("team", "keys"): secret}, "other", "keys", "secret")
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "SecretNotAllowed"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"data": {"secret": f"{CANARY}!"}}, "data.secret"),
        ({"data": {"secret": 5}}, "data.secret"),
        ({"stringData": {"secret": True}}, "stringData.secret"),
        ({"stringData": [CANARY]}, "stringData"),
    ],
)
def test_what_the_api_server_refuses_is_refused_without_its_value(changes: dict[str, object], field: str) -> None:
    with pytest.raises(SecretProblem) as error:
        Secret.of_manifest(manifest(**changes))
    assert error.value.problem.field == field
    assert CANARY not in str(error.value)


def test_the_representation_of_a_secret_shows_no_value() -> None:
    assert CANARY not in repr(Secret.of_manifest(manifest()))
