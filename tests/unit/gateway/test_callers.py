"""Who calls, by a token."""

from __future__ import annotations

import pytest

from hookline.gateway.callers import MAX_AUTHORIZATION_CHARACTERS, OneToken, token_of
from hookline.gateway.problem import Kind, Refused


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_bearer_token_is_read(scheme: str) -> None:
    assert token_of({"authorization": f"{scheme} abc.def-_~+/=="}) == "abc.def-_~+/=="


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "abc",
        "Basic YWJj",
        "Bearer",
        "Bearer ",
        "Bearer a b",
        "Bearer ä",
        "Bearer a\tb",
        "Bearer " + "a" * MAX_AUTHORIZATION_CHARACTERS,
    ],
)
def test_all_else_is_nobody_and_is_not_repeated(sent: str) -> None:
    with pytest.raises(Refused) as refused:
        token_of({"authorization": sent})
    assert refused.value.problem.kind is Kind.UNAUTHENTICATED
    assert "YWJj" not in str(refused.value)


async def test_the_one_token_is_known_and_no_other() -> None:
    callers = OneToken("secret", namespace="default", name="me")
    caller = await callers.caller("secret")
    assert caller.namespace == "default"
    assert await callers.may_publish_for(caller, "team-a")
    for other in ("", "secre", "secret2", "\ud800"):
        with pytest.raises(Refused):
            await callers.caller(other)


def test_a_token_is_kept_as_a_digest_only() -> None:
    callers = OneToken("canary-token", namespace="default", name="me")
    assert "canary" not in repr(vars(callers))
