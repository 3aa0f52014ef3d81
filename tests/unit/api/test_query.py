"""What a request asks for by its URL and its Accept header."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.api.query import (
    Form,
    Options,
    continue_token,
    dry_run,
    form_of,
    options,
    parameters,
    read_continue,
)
from hookline.api.status import Refused


def asked(query: str) -> Options:
    return options(parameters(query.encode()))


def code_of(query: str) -> int:
    with pytest.raises(Refused) as refused:
        asked(query)
    return refused.value.status.code


def test_what_kubectl_and_client_go_send() -> None:
    assert asked("limit=500") == Options(limit=500)
    assert asked("watch=true&resourceVersion=7&timeoutSeconds=431&allowWatchBookmarks=true") == Options(
        version="7", watch=True, timeout_seconds=431, bookmarks=True
    )
    # kubectl get NAME -w
    named = asked("fieldSelector=metadata.name%3Devt-1&resourceVersion=0&watch=true")
    assert (named.selection.name, named.initial_events, named.initial_events_end) == ("evt-1", True, False)
    # a reflector that streams its list
    streamed = asked("allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan&sendInitialEvents=true&watch=true")
    assert (streamed.initial_events, streamed.initial_events_end) == (True, True)
    assert asked("includeObject=Object").include == "Object"


@pytest.mark.parametrize(
    ("query", "begins"),
    [
        ("watch=1", True),
        ("watch=1&resourceVersion=0", True),
        ("watch=1&resourceVersion=5", False),
        ("watch=1&sendInitialEvents=false&resourceVersionMatch=NotOlderThan", False),
        ("watch=1&resourceVersion=5&sendInitialEvents=true&resourceVersionMatch=NotOlderThan", True),
        ("watch=false", False),
        ("", False),
    ],
)
def test_a_watch_begins_with_what_there_is_as_in_kube_apiserver(query: str, begins: bool) -> None:
    assert asked(query).initial_events is begins


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=x", 400),
        ("limit=1e3", 400),
        ("limit=" + "9" * 5000, 400),
        ("limit=-1", 422),
        ("timeoutSeconds=soon", 400),
        ("continue=rubbish", 400),
        ("continue=" + "a" * 5000, 400),
        ("fieldSelector=%00", 400),
        ("labelSelector=%ff", 400),
        ("&".join(f"a{number}=1" for number in range(100)), 400),
        ("resourceVersion=" + "9" * 2000, 422),
        ("resourceVersionMatch=NotOlderThan", 422),
        ("resourceVersionMatch=Newest&resourceVersion=1", 422),
        ("resourceVersionMatch=Exact&resourceVersion=1", 410),
        ("resourceVersionMatch=Exact&resourceVersion=0", 422),
        ("sendInitialEvents=true", 422),
        ("watch=1&sendInitialEvents=true", 422),
        ("watch=1&resourceVersionMatch=NotOlderThan&resourceVersion=1", 422),
        ("includeObject=All", 400),
        ("dryRun=Some", 422),
    ],
)
def test_what_makes_no_sense_is_refused_as_kube_apiserver_would(query: str, code: int) -> None:
    assert code_of(query) == code


def test_of_a_limit_without_end_only_so_much_is_kept() -> None:
    assert asked("limit=9223372036854775807").limit == 2**63 - 1


def test_a_list_goes_on_with_the_version_of_its_beginning() -> None:
    token = continue_token("place/17", "4711")
    assert read_continue(token) == ("place/17", "4711")
    assert (asked(f"continue={token}&limit=5").begin, asked(f"continue={token}").version) == ("place/17", "4711")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"[1]",
        b'[1,"a"]',
        b'[1,"a",2]',
        b'["1","a","b"]',
        b"[" * 1000,
        b"\xff",
        b'[1,"a","b","c"]',
    ],
)
def test_what_is_no_place_to_go_on_from_is_refused(content: bytes) -> None:
    with pytest.raises(Refused) as refused:
        read_continue(base64.urlsafe_b64encode(content).decode())
    assert refused.value.status.code == 400


def test_a_place_that_another_version_named_has_the_list_begin_anew() -> None:
    with pytest.raises(Refused) as refused:
        read_continue(base64.urlsafe_b64encode(b'[2,"a"]').decode())
    assert (refused.value.status.code, refused.value.status.reason) == (410, "Expired")


KUBECTL = (
    "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"
)
METADATA = (
    "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,"
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", Form.OBJECT),
        ("*/*", Form.OBJECT),
        ("application/json", Form.OBJECT),
        ("application/yaml, application/json;q=0.5", Form.OBJECT),
        (KUBECTL, Form.TABLE),
        (METADATA, Form.PARTIAL),
        ("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1", Form.PARTIAL),
        ("application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json", Form.OBJECT),
        ("application/json;as=Chair;v=v1;g=meta.k8s.io, */*", Form.OBJECT),
    ],
)
def test_the_first_form_that_there_is_is_given(accept: str, form: Form) -> None:
    assert form_of(accept) is form


@pytest.mark.parametrize(
    "accept", ["application/yaml", "application/json;as=Table;v=v2;g=meta.k8s.io", "x" * 5000, "a,b;c=d"]
)
def test_a_form_that_there_is_not_is_not_acceptable(accept: str) -> None:
    with pytest.raises(Refused) as refused:
        form_of(accept)
    assert refused.value.status.code == 406


def test_a_dry_run_is_asked_for_by_one_word() -> None:
    assert dry_run("All")
    assert dry_run("All", "All")
    assert not dry_run("")


@given(st.binary(max_size=200))
def test_whatever_stands_in_a_query_is_options_or_a_refusal(query: bytes) -> None:
    assert answer_to(query) in (200, 400, 410, 422)


def answer_to(query: bytes) -> int:
    try:
        options(parameters(query))
    except Refused as refused:
        return refused.status.code
    return 200
