"""Route books for tests: single records, and any books that hypothesis can think of."""

from __future__ import annotations

from hypothesis import strategies as st

from hookline.routing.routes import Book, DispatcherRecord, Keys, RetiredKey, Route, RouteState, TypeRecord, book_of

CANARY = "canary-8d1f"

uids = st.uuids().map(str)
_texts = st.text(max_size=30)


@st.composite
def entries(draw: st.DrawFn) -> tuple[Route, Keys]:
    uid = draw(uids)
    route = Route(
        uid=uid,
        namespace=draw(st.sampled_from(["default", "team-a"])),
        name=draw(st.text("abc-", min_size=1, max_size=20)),
        generation=draw(st.integers(0, 9)),
        state=draw(st.sampled_from(RouteState)),
        event=draw(st.sampled_from(["IdentityCreated", "order.created", None])),
        url=draw(_texts),
        timeout_seconds=draw(st.integers(1, 30)),
        schedule_seconds=tuple(draw(st.lists(st.integers(1, 86400), max_size=20))),
        max_concurrency=draw(st.integers(1, 1000)),
    )
    keys = Keys(
        uid=uid,
        query=draw(_texts),
        signing=draw(st.none() | _texts),
        retired=tuple(draw(st.lists(st.builds(RetiredKey, key=_texts, until_s=st.integers(0, 2**33)), max_size=3))),
        headers=tuple(draw(st.lists(st.tuples(_texts, _texts), max_size=3))),
        ca_pem=draw(st.none() | _texts),
    )
    return route, keys


books = st.lists(entries(), max_size=12, unique_by=lambda entry: entry[0].uid)


def route(uid: str = "u1", **changes: object) -> Route:
    fields: dict[str, object] = {
        "uid": uid,
        "namespace": "default",
        "name": "hook",
        "generation": 1,
        "state": RouteState.ACTIVE,
        "event": "IdentityCreated",
        "url": "https://example.com/",
        "timeout_seconds": 15,
        "schedule_seconds": (5,),
        "max_concurrency": 10,
    }
    return Route.model_validate({**fields, **changes})


def secret_keys(uid: str = "u1") -> Keys:
    retired = (RetiredKey(key=CANARY, until_s=10),)
    return Keys(uid=uid, query=CANARY, signing=CANARY, retired=retired, headers=(("x", CANARY),), client_key_pem=CANARY)


def a_book() -> Book:
    """Two Webhooks in two shards, one network, one event type."""
    return book_of(
        [(route("u1"), secret_keys("u1")), (route("u2"), secret_keys("u2"))],
        DispatcherRecord(allow_cidrs=("10.0.0.0/8",)),
        [TypeRecord(name="order.created", description="", validation="Warn", schema_={"type": "object"})],
    )
