from __future__ import annotations

from hookline.control.kinds import (
    book_part,
    gateway_certificate_name,
    gateway_name,
    keys_name,
    publishers_name,
    root_name,
    routes_name,
    sender_name,
)
from hookline.resources.dispatcher import MAX_NAME_LENGTH

LONGEST_LABEL = 63


def test_no_two_dispatchers_share_the_name_of_anything() -> None:
    dispatchers = ["default", "a", "tls-a", "a-00", "sender-a", "gateway-a", "publishers-a", "default-a"]
    for name_of in (sender_name, gateway_name, gateway_certificate_name, publishers_name, root_name):
        assert len({name_of(each) for each in dispatchers}) == len(dispatchers)


def test_the_longest_name_still_names_a_service_and_a_label() -> None:
    longest = "a" * MAX_NAME_LENGTH
    for name in (sender_name(longest), gateway_name(longest), gateway_certificate_name(longest)):
        assert len(name) <= LONGEST_LABEL


def test_a_part_of_a_book_is_known_by_its_name_and_nothing_else_is_one() -> None:
    assert book_part(root_name("a-01")) == ("a-01", None)
    assert book_part(routes_name("a", 7)) == book_part(keys_name("a", 7)) == ("a", 7)
    for name in (sender_name("a-01"), gateway_name("a-01"), gateway_certificate_name("a-01"), publishers_name("a-01")):
        assert book_part(name) is None
