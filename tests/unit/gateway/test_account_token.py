from __future__ import annotations

import base64
import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubles.account_tokens import claims, unsigned
from hookline.gateway.account_token import Claims, claims_of, namespace_of
from hookline.gateway.problem import Kind, Refused

NOW_S = 1_800_000_000.0


def why_not(token: str, now_s: float = NOW_S) -> str:
    with pytest.raises(Refused) as refused:
        claims_of(token, now_s)
    assert refused.value.problem.kind is Kind.UNAUTHENTICATED
    return refused.value.problem.detail


@pytest.mark.parametrize("audience", ["hookline", ["hookline"], ["vault", "hookline"]])
def test_a_token_of_a_service_account_says_its_namespace_and_its_end(audience: Any) -> None:
    token = unsigned(claims("team-a", "a.b-c", aud=audience, exp=NOW_S + 0.5))
    assert claims_of(token, NOW_S) == Claims("team-a", NOW_S + 0.5)


def test_a_token_ends_when_it_says_so() -> None:
    token = unsigned(claims(exp=int(NOW_S)))
    assert claims_of(token, NOW_S - 1).namespace == "team-a"
    assert "has expired" in why_not(token)


@pytest.mark.parametrize("audience", [None, "vault", "hookline2", [], ["vault"], {"hookline": 1}, [["hookline"]], 1])
def test_a_token_for_another_audience_is_told_how_to_get_one(audience: Any) -> None:
    assert "projected serviceAccountToken with the audience hookline" in why_not(unsigned(claims(aud=audience)))


@pytest.mark.parametrize(
    "end", [None, True, "1900000000", 0, -1, 1e300, 10**300, float("nan"), float("inf"), [NOW_S + 60]]
)
def test_a_token_without_an_end_is_refused(end: Any) -> None:
    said = why_not(unsigned(claims(exp=end)))
    # What is no JSON number says nothing at all.
    assert "must have an end" in said or "only ServiceAccounts" in said


@pytest.mark.parametrize(
    "subject",
    [
        *(None, 1, [], "", "alice", "system:node:worker-1", "kubernetes-admin", "system:serviceaccount"),
        *("system:serviceaccount:team-a", "system:serviceaccount:team-a:", "system:serviceaccount::orders"),
        *(
            "system:serviceaccount:team-a:orders:x",
            "system:serviceaccount:Team-A:orders",
            "system:serviceaccount:a.b:c",
        ),
        *("oidc:system:serviceaccount:team-a:orders", "system:serviceaccount:team-a:orders\n"),
        *("system:serviceaccount:*:orders", "system:serviceaccount:>:orders", f"system:serviceaccount:{'a' * 64}:b"),
    ],
)
def test_other_users_have_no_namespace(subject: Any) -> None:
    assert "only ServiceAccounts publish" in why_not(unsigned(claims(sub=subject)))
    assert not isinstance(subject, str) or namespace_of(subject) is None


@pytest.mark.parametrize("token", ["", "rubbish", "a.b", "a.b.c.d", "..", "a..c", "a.b+.c", "é.b.c", "a.b.c\n"])
def test_what_has_not_the_form_of_a_token_is_not_known(token: str) -> None:
    assert "not known here" in why_not(token)


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"[]", b"null", b"1", b"{", b"\xff", b"\xef\xbb\xbf{}", b'"x"', b"[" * 6000, b'{"a":' * 1200),
        b'{"exp":' + b"9" * 5000 + b"}",
        json.dumps(claims()).encode()[:-1] + b',"sub":"system:serviceaccount:team-b:orders"}',
    ],
)
def test_a_middle_part_that_is_no_document_says_nothing(content: bytes) -> None:
    token = unsigned(claims()).split(".")
    token[1] = base64.urlsafe_b64encode(content).rstrip(b"=").decode()
    assert why_not(".".join(token))


@given(st.text(max_size=200) | st.from_regex(r"[A-Za-z0-9_-]{0,20}\.[A-Za-z0-9_-]{0,200}\.[A-Za-z0-9_-]{0,20}"))
def test_no_text_does_anything_else_than_be_refused(token: str) -> None:
    assert why_not(token)
    assert len(token) < 8 or token not in why_not(token)


@given(
    st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), st.lists, max_leaves=3), st.data()
)
def test_no_claim_does_anything_else_than_be_refused(value: Any, data: st.DataObject) -> None:
    claim = data.draw(st.sampled_from(["sub", "aud", "exp"]))
    said = claims()
    said[claim] = value
    with contextlib.suppress(Refused):
        found = claims_of(unsigned(said), NOW_S)
        assert claim == "exp"
        assert NOW_S < found.expires_s < 2**53
