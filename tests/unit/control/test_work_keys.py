from __future__ import annotations

from typing import get_args

import pytest

from hookline.control.work_keys import (
    ApiKey,
    ApiServiceKey,
    AuthorityKey,
    BundlesKey,
    DispatcherKey,
    EventTypeKey,
    GatewayTouchKey,
    Key,
    NatsUsersKey,
    PublisherKey,
    PublishersKey,
    RoomKey,
    RootKey,
    SendersKey,
    ShardKey,
    TouchKey,
    WebhookKey,
    words_of,
)

NAMED = {
    WebhookKey("team", "a"): ("Webhook", "team", "a"),
    DispatcherKey("team", "a"): ("Dispatcher", "team", "a"),
    ShardKey("a", 7): ("Shard", "a", "07"),
    EventTypeKey("a"): ("EventType", "", "a"),
    RootKey("a"): ("Root", "", "a"),
    RoomKey("a"): ("Room", "", "a"),
    TouchKey("a"): ("Touch", "", "a"),
    SendersKey("a"): ("Senders", "", "a"),
    PublishersKey(): ("Publishers", "", ""),
    PublisherKey("team", "a"): ("Publisher", "team", "a"),
    GatewayTouchKey("a"): ("GatewayTouch", "", "a"),
    AuthorityKey(): ("Authority", "", ""),
    BundlesKey(): ("Bundles", "", ""),
    ApiKey(): ("Api", "", ""),
    ApiServiceKey(): ("ApiService", "", ""),
    NatsUsersKey(): ("NatsUsers", "", ""),
}


def test_two_kinds_of_work_on_things_of_the_same_name_are_two_keys() -> None:
    assert {type(key) for key in NAMED} == set(get_args(Key))
    assert len(NAMED) == len(get_args(Key))
    assert WebhookKey("team", "a") == WebhookKey("team", "a")


@pytest.mark.parametrize(("key", "words"), NAMED.items())
def test_a_key_is_logged_by_its_kind_of_work_and_what_it_is_about(key: Key, words: tuple[str, str, str]) -> None:
    assert words_of(key) == words
