"""What a list is narrowed to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.api.log import Wanted
from hookline.api.selectors import MAX_CHARACTERS, Selection, selection
from hookline.api.status import Refused


@pytest.mark.parametrize(
    ("fields", "labels", "wanted"),
    [
        ("", "", Selection()),
        ("webhook=a", "", Selection(Wanted(webhook="a"))),
        ("webhook==a,status=503", "", Selection(Wanted(webhook="a", status="503"))),
        (
            "event=evt-1,type=IdentityCreated,reason=Timeout",
            "",
            Selection(Wanted("", "evt-1", "IdentityCreated", "", "Timeout")),
        ),
        ("metadata.name=n,metadata.namespace=s", "", Selection(Wanted(), "n", "s")),
        (r"event=a\,b\=c\\d", "", Selection(Wanted(event_id=r"a,b=c\d"))),
        ("", "hookline.dev/webhook=a,hookline.dev/status==503", Selection(Wanted(webhook="a", status="503"))),
        ("", "hookline.dev/event-type=T, hookline.dev/event-id=e", Selection(Wanted(event_type="T", event_id="e"))),
        ("", "hookline.dev/reason=Gone,", Selection(Wanted(reason="Gone"))),
        ("webhook=a", "hookline.dev/webhook=a", Selection(Wanted(webhook="a"))),
    ],
)
def test_a_selector_names_what_the_log_can_be_asked_for(fields: str, labels: str, wanted: Selection) -> None:
    assert selection(fields, labels) == wanted


@pytest.mark.parametrize(
    ("fields", "labels"),
    [("webhook=a,webhook=b", ""), ("webhook=a", "hookline.dev/webhook=b"), ("webhook=", ""), ("metadata.name=", "")],
)
def test_what_nothing_can_be_is_nothing_and_not_everything(fields: str, labels: str) -> None:
    assert selection(fields, labels).nothing


@pytest.mark.parametrize(
    ("fields", "labels", "says"),
    [
        ("spec.url=x", "", "field label not supported"),
        ("webhook!=a", "", "by = only"),
        ("webhook", "", "FIELD=VALUE"),
        ("=a", "", "field label not supported"),
        ("webhook=a=b", "", "FIELD=VALUE"),
        ("webhook=a\\", "", "FIELD=VALUE"),
        ("webhook=a\x00", "", "control character"),
        ("webhook=" + "a" * MAX_CHARACTERS, "", "characters"),
        (",".join(["webhook=a"] * 17), "", "terms"),
        ("", "app=a", "hookline.dev/webhook"),
        ("", "hookline.dev/webhook", "LABEL=VALUE"),
        ("", "!hookline.dev/webhook", "LABEL=VALUE"),
        ("", "hookline.dev/webhook!=a", "LABEL=VALUE"),
        ("", "hookline.dev/webhook in (a,b)", "LABEL=VALUE"),
        ("", "hookline.dev/webhook=-a-", "LABEL=VALUE"),
        ("", "hookline.dev/webhook=" + "a" * 64, "LABEL=VALUE"),
    ],
)
def test_what_cannot_be_selected_by_is_said_and_not_passed_over(fields: str, labels: str, says: str) -> None:
    with pytest.raises(Refused) as refused:
        selection(fields, labels)
    assert refused.value.status.code == 400
    assert says in refused.value.status.message
    assert "\x00" not in refused.value.status.message


@given(st.text(max_size=200), st.text(max_size=200))
def test_whatever_is_sent_is_a_selection_or_a_400(fields: str, labels: str) -> None:
    assert code_of(fields, labels) in (200, 400)


def code_of(fields: str, labels: str) -> int:
    try:
        selection(fields, labels)
    except Refused as refused:
        return refused.status.code
    return 200
