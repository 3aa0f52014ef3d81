"""What the plugin hands to kubectl, and what it makes of what kubectl says."""

from __future__ import annotations

import pytest

from hookline.cli.log.kubectl import denied, kubectl_flags
from hookline.cli.log.place import LIST_FLAGS, SWITCH_FLAGS, VALUE_FLAGS
from hookline.cli.plugin import behind_the_command


@pytest.mark.parametrize(
    ("said", "reason", "message"),
    [
        ("Error from server (Forbidden): attempts is forbidden: no\n", "Forbidden", "attempts is forbidden: no"),
        ("Error from server: a\nb\n", "", "a b"),
        ('error: context "nope" does not exist\n', "", 'context "nope" does not exist'),
        (
            "E1130 12:00:00.1 1 memcache.go:265] noise\nThe connection to the server x was refused\n",
            "",
            "The connection to the server x was refused",
        ),
        ("", "", "kubectl failed without a word"),
        ("Error from server (NotFound): \x1b[2Jx", "NotFound", "\\x1b[2Jx"),
    ],
)
def test_how_kubectl_failed_is_one_line_with_its_exit_code(said: str, reason: str, message: str) -> None:
    found = denied(said, 3)
    assert (str(found), found.reason, found.exit_code) == (message, reason, 3)


def test_flags_that_were_typed_are_handed_on_and_others_are_not() -> None:
    typed = {"context": "c 1", "as": "", "as-group": ["a", "b"], "token": None, "insecure-skip-tls-verify": True}
    assert kubectl_flags(typed) == ["--context=c 1", "--as-group=a", "--as-group=b", "--insecure-skip-tls-verify"]


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        (["attempts", "-w"], ["attempts", "-w"]),
        (["-n", "team-a", "attempts"], ["attempts", "-n", "team-a"]),
        (["--context=x", "-A", "dead", "drop", "n"], ["dead", "drop", "n", "--context=x", "-A"]),
        (["--as", "alice", "test", "--", "-odd"], ["test", "--as", "alice", "--", "-odd"]),
        (["--help"], ["--help"]),
        (["-n", "team-a"], ["-n", "team-a"]),
        ([], []),
    ],
)
def test_options_of_kubectl_may_stand_before_the_command(typed: list[str], read: list[str]) -> None:
    assert behind_the_command(typed) == read


def test_every_option_of_kubectl_that_says_where_is_known() -> None:
    """Those that `kubectl options` lists, without what it logs and profiles, and the namespace, which is ours too."""
    listed = """as as-group as-uid cache-dir certificate-authority client-certificate client-key cluster context
    disable-compression insecure-skip-tls-verify kubeconfig match-server-version password request-timeout server
    tls-server-name token user username"""
    assert {*VALUE_FLAGS, *LIST_FLAGS, *SWITCH_FLAGS} == {*listed.split()}


def test_what_kube_apiserver_says_of_an_api_that_is_not_there_is_explained() -> None:
    missing = "Error from server (NotFound): the server could not find the requested resource\n"
    away = "Error from server (ServiceUnavailable): the server is currently unable to handle the request\n"
    assert str(denied(missing, 1)).endswith("; is the log's API installed, and of this version?")
    assert str(denied(away, 1)).endswith("kubectl get apiservice v1alpha1.log.hookline.dev")
