"""The keys of the shipped NATS: replaced without anybody being refused, whenever an operator ends."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from hookline.control.nats_users import (
    OVERLAP_SECONDS,
    ROTATE_AFTER_SECONDS,
    ROTATE_ANNOTATION,
    SEED_FILE,
    AskServers,
    Keys,
    Rest,
    Step,
    WriteKeys,
    WriteUsers,
    keys_of,
    keys_secret,
    next_step,
    users_of,
    users_secret,
    with_login,
)
from hookline.resources.dispatcher import Dispatcher
from hookline.stream.nkeys import public_of, seed_of
from hookline.stream.permissions import Role, tag_of, users_file

PASSWORD = "p" * 32
NOW = datetime(2026, 11, 30, tzinfo=UTC)
KUBELET_SECONDS = 120
"""Within which a changed Secret is in every pod."""

public_of = lru_cache(public_of)  # which costs most of the time here

_numbers = itertools.count(1)


def new_seed() -> str:
    return seed_of(next(_numbers).to_bytes(32, "big"))


class Installation(RuleBasedStateMachine):
    """Operators that end at any time, kubelets that are late, servers that restart, people who want keys replaced."""

    @initialize(installed=st.booleans())
    def begin(self, installed: bool) -> None:
        self.now = NOW
        self.secrets: dict[Role, Keys | None] = dict.fromkeys(Role)
        self.file = self.mounted_file = self.loaded = ""
        self.shown: dict[Role, str] = {}
        self.heard = ""
        self.seen_seconds = 0.0
        """Since when kubelets did nothing."""
        if installed:
            self.operator_steps(4)
            self.servers_restart()
            self.kubelet_of_clients_looks()
            self.operator_steps(1)

    @rule(times=st.integers(1, 8))
    def operator_steps(self, times: int) -> None:
        for _ in range(times):
            self.step()

    def step(self) -> Step:
        step = next_step(self.secrets, self.file, self.heard, self.now, new_seed)
        match step:
            case WriteKeys(role, keys):
                # As it is written and read.
                self.secrets[role] = keys_of(keys_secret("n", role, keys))
                assert self.secrets[role] == replace(keys, asked="")
                self.secrets[role] = keys
            case WriteUsers(file):
                self.file, password = users_of(users_secret("n", file, PASSWORD))
                assert (self.file, password) == (file, PASSWORD)
            case AskServers(tag):
                if self.loaded:
                    # Only who is known may ask.
                    operator = self.secrets[Role.OPERATOR]
                    assert operator is not None
                    assert public_of(operator.seed) in self.loaded
                    self.loaded = self.mounted_file
                    if tag_of(self.loaded) == tag:
                        self.heard = tag
        return step

    @rule()
    def operator_ends_and_another_one_begins(self) -> None:
        self.heard = ""

    @rule(seconds=st.sampled_from([1, 60, OVERLAP_SECONDS / 2, ROTATE_AFTER_SECONDS]))
    def time_passes(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.seen_seconds += seconds
        if self.seen_seconds >= KUBELET_SECONDS:
            self.kubelet_of_servers_looks()
            self.kubelet_of_clients_looks()
            self.seen_seconds = 0

    @rule()
    def kubelet_of_servers_looks(self) -> None:
        self.mounted_file = self.file

    @rule()
    def kubelet_of_clients_looks(self) -> None:
        self.shown = {role: keys.seed for role, keys in self.secrets.items() if keys is not None and self.file}

    @rule()
    def servers_restart(self) -> None:
        self.mounted_file = self.loaded = self.file

    @rule(role=st.sampled_from(Role), word=st.text(max_size=3))
    def a_person_asks(self, role: Role, word: str) -> None:
        keys = self.secrets[role]
        if keys is not None:
            self.secrets[role] = replace(keys, asked=word)

    @invariant()
    def nobody_is_refused(self) -> None:
        if self.loaded:
            assert [role for role, seed in self.shown.items() if public_of(seed) not in self.loaded] == []

    def teardown(self) -> None:
        """However it came to be: left alone, it comes to rest with one key for each, the newest one."""
        before = dict(self.secrets)
        for _ in range(40):
            step = self.step()
            self.kubelet_of_servers_looks()
            self.kubelet_of_clients_looks()
            self.loaded = self.loaded or self.mounted_file
            self.nobody_is_refused()
            if isinstance(step, Rest) and step.seconds <= OVERLAP_SECONDS:
                self.now += timedelta(seconds=step.seconds)
        assert isinstance(step, Rest)
        for role, keys in self.secrets.items():
            assert keys is not None
            assert keys.accepted() == {public_of(keys.seed)}
            assert keys.asked == keys.done
            was = before[role]
            assert was is None or was.asked == was.done or was.seed != keys.seed


Installation.TestCase.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
TestInstallation = Installation.TestCase


@pytest.mark.parametrize("password", ["", "short", "a" * 31 + "1", "a" * 31 + "@", "A" * 32])
def test_a_password_that_would_not_be_read_as_it_stands_counts_as_none(password: str) -> None:
    assert users_of(users_secret("n", "file", password)) == ("file", "")
    assert users_of(None) == ("", "")


def secret(**changes: Any) -> dict[str, Any]:
    manifest = keys_secret("n", Role.SENDER, Keys(seed_of(b"s" * 32), NOW))
    for name, text in changes.pop("data", {}).items():
        manifest["data"][name] = base64.b64encode(text.encode()).decode()
    return {**manifest, **changes}


def test_a_key_is_replaced_after_its_age_and_whenever_a_person_writes_another_word() -> None:
    known = {role: Keys(new_seed(), NOW) for role in Role}
    file = users_file({role: keys.accepted() for role, keys in known.items()})

    def step(keys: Mapping[Role, Keys], seconds: float) -> Any:
        return next_step(keys, file, tag_of(file), NOW + timedelta(seconds=seconds), new_seed)

    assert step(known, 60) == Rest(ROTATE_AFTER_SECONDS - 60)
    due = step(known, ROTATE_AFTER_SECONDS)
    assert isinstance(due, WriteKeys)
    assert due.keys.following
    asked = step({**known, Role.GATEWAY: replace(known[Role.GATEWAY], asked="1")}, 60)
    assert isinstance(asked, WriteKeys)
    assert (asked.role, asked.keys.done) == (Role.GATEWAY, "1")


@pytest.mark.parametrize(
    "data",
    [{}, {SEED_FILE: ""}, {SEED_FILE: "SUAAAA"}, {SEED_FILE: public_of(seed_of(b"s" * 32))}, {SEED_FILE: "\x00é"}],
)
def test_a_secret_without_a_seed_gets_one(data: dict[str, str]) -> None:
    manifest = secret(data=data) if data else {"metadata": {}, "data": None}
    assert keys_of(manifest) is None
    assert keys_of(None) is None


def test_what_is_no_key_never_comes_into_the_file_of_the_servers() -> None:
    """They would not read it, and nobody could be added or taken away any more."""
    keys = keys_of(secret(data={"following.nk": "x", "former.pub": 'U" }'}))
    assert keys is not None
    assert keys.accepted() == {public_of(seed_of(b"s" * 32))}


@pytest.mark.parametrize("since", ["", "yesterday", "2026-11-30", 7])
def test_a_key_of_an_unknown_age_is_replaced(since: Any) -> None:
    manifest = secret()
    manifest["metadata"]["annotations"] = {"hookline.dev/since": since, ROTATE_ANNOTATION: "now"}
    keys = keys_of(manifest)
    assert keys is not None
    step = next_step(dict.fromkeys(Role, keys), "", "", NOW, new_seed)
    assert isinstance(step, WriteKeys)
    assert step.keys.seed == keys.seed
    assert step.keys.following


def test_one_key_for_two_roles_becomes_two() -> None:
    """As when somebody copied a Secret: no server would start with such a file."""
    same = Keys(new_seed(), NOW)
    keys: dict[Role, Keys | None] = dict.fromkeys(Role, same)
    for _ in range(len(Role) - 1):
        step = next_step(keys, "", "", NOW, new_seed)
        assert isinstance(step, WriteKeys)
        keys[step.role] = step.keys
    assert keys[Role.SENDER] == same
    assert len({each.seed for each in keys.values() if each}) == len(Role)
    assert isinstance(next_step(keys, "", "", NOW, new_seed), WriteUsers)


def test_no_seed_is_shown() -> None:
    keys = Keys(seed_of(b"s" * 32), NOW, seed_of(b"t" * 32))
    assert keys.seed not in repr(keys)
    assert keys.following not in repr(keys)
    file = users_file(dict.fromkeys(Role, keys.accepted()))
    assert public_of(keys.following) in file
    assert not any(seed in file for seed in (keys.seed, keys.following))


def dispatcher(url: str, **nats: Any) -> Dispatcher:
    return Dispatcher.model_validate(
        {
            "apiVersion": "hookline.dev/v1alpha1",
            "kind": "Dispatcher",
            "metadata": {"name": "default", "namespace": "hookline-system"},
            "spec": {"nats": {"url": url, **nats}},
        }
    )


@pytest.mark.parametrize(
    ("url", "shipped"),
    [
        ("nats://nats:4222", True),
        ("nats://NATS", True),
        ("nats://nats.hookline-system:4222", True),
        ("nats://nats.hookline-system.svc,nats://nats.hookline-system.svc.cluster.local.", True),
        ("nats://nats.hookline-system.svc.k8s.example", True),
        ("nats://nats.hookline-system.example", False),
        ("nats://nats.team.svc:4222", False),
        ("nats://nats:4223", False),
        ("tls://nats:4222", False),
        ("nats://nats:4222,nats://other:4222", False),
    ],
)
def test_only_who_uses_the_shipped_nats_gets_what_it_asks_for(url: str, shipped: bool) -> None:
    found = with_login(dispatcher(url), "nats://nats:4222", Role.SENDER).spec.nats.credentials_secret_ref
    assert (found.name if found else None) == ("hookline-nats-sender" if shipped else None)
    assert with_login(dispatcher(url), "", Role.SENDER) == dispatcher(url)


def test_credentials_that_a_dispatcher_names_are_the_ones_that_count() -> None:
    named = dispatcher("nats://nats:4222", credentialsSecretRef={"name": "mine", "key": "nats.creds"})
    assert with_login(named, "nats://nats:4222", Role.GATEWAY) == named


def test_a_former_key_counts_until_every_pod_may_have_the_new_one() -> None:
    known = {role: Keys(new_seed(), NOW) for role in Role}
    known[Role.SENDER] = replace(known[Role.SENDER], former=public_of(new_seed()))
    file = users_file({role: keys.accepted() for role, keys in known.items()})

    def step(seconds: float) -> Any:
        return next_step(known, file, tag_of(file), NOW + timedelta(seconds=seconds), new_seed)

    assert step(5 * KUBELET_SECONDS - 1) == Rest(1)
    assert step(5 * KUBELET_SECONDS) == WriteKeys(Role.SENDER, replace(known[Role.SENDER], former=""))


def test_a_clock_that_was_years_ahead_keeps_no_former_key_and_stops_no_replacement() -> None:
    keys: dict[Role, Keys | None] = {role: Keys(new_seed(), NOW) for role in Role}
    former, ahead = public_of(new_seed()), NOW + timedelta(days=365)
    keys[Role.GATEWAY] = Keys(new_seed(), ahead, former=former, asked="now")
    step = next_step(keys, "", "", NOW, new_seed)
    assert isinstance(step, WriteKeys)
    assert (step.role, step.keys.since, step.keys.former) == (Role.GATEWAY, NOW, former)
    keys[Role.GATEWAY] = step.keys
    assert isinstance(next_step(keys, "", "", NOW, new_seed), WriteUsers)
