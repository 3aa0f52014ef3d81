"""Which request is answered by what, for whom."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from doubles.api_users import PlayedUsers
from doubles.asgi import Answered, ask, scope_of, watching
from doubles.played_log import PlayedLog, attempt, dead, waiting
from hookline.api import app as app_module
from hookline.api import shelves
from hookline.api import watching as watching_module
from hookline.api.actions import CannotBeDone, NoSuchWebhook
from hookline.api.app import Api
from hookline.api.log import Attempt
from hookline.api.under_way import Bounds
from hookline.serving.api_server import Right
from hookline.serving.refusal import Cut

ROOT = "/apis/log.hookline.dev/v1alpha1"
TEAM_A = f"{ROOT}/namespaces/team-a"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


class Played:
    """Actions as a test has them."""

    def __init__(self) -> None:
        self.replayed: list[tuple[str, str]] = []
        self.tested: list[tuple[str, str, str]] = []

    async def replay_dead_letter(self, namespace: str, name: str) -> bool:
        self.replayed.append((namespace, name))
        return True

    async def test_webhook(self, namespace: str, name: str, event_type: str) -> Attempt:
        self.tested.append((namespace, name, event_type))
        if name == "unknown":
            raise NoSuchWebhook
        if event_type == "Unheard":
            raise CannotBeDone("spec.eventType: Invalid value: the Webhook does not hear it")
        return attempt(99, namespace, test=True)


class World:
    def __init__(self, bounds: Bounds | None = None, missing: Sequence[str] = ()) -> None:
        self.log = PlayedLog(
            [attempt(1), attempt(2, "team-b"), attempt(3, status=200, reason="OK"), attempt(4)],
            [waiting(5), waiting(6, "team-b")],
            [dead(7), dead(8, "team-b")],
        )
        self.users = PlayedUsers()
        self.actions = Played()
        self.why: str | None = None
        self.app = Api(
            self.log,
            self.users,
            self.actions,
            unready=lambda: self.why,
            missing=lambda: missing,
            bounds=bounds or Bounds(),
        )

    async def get(self, url: str, user: str | None = "root", **headers: str) -> Answered:
        return await ask(self.app, "GET", url, user=user, body=b"", **headers)


@pytest.fixture
def world() -> World:
    return World()


def names(answer: Answered) -> list[str]:
    return [each["metadata"]["name"] for each in answer.json["items"]]


# ---- lists and objects -----------------------------------------------------------------------------------------------


async def test_a_list_is_of_its_namespace_newest_first(world: World) -> None:
    answer = await world.get(f"{TEAM_A}/attempts")
    assert (answer.status, answer.json["kind"], names(answer)) == (
        200,
        "AttemptList",
        ["evt-4-1.4", "evt-3-1.3", "evt-1-1.1"],
    )
    assert answer.json["metadata"] == {"resourceVersion": "4"}
    assert names(await world.get(f"{TEAM_A}/deliveries")) == ["evt-5.5"]
    assert names(await world.get(f"{TEAM_A}/deadletters")) == ["evt-7.7"]


async def test_a_list_of_all_namespaces_has_all(world: World) -> None:
    assert len(names(await world.get(f"{ROOT}/attempts"))) == 4
    assert len(names(await world.get(f"{ROOT}/attempts?fieldSelector=metadata.namespace=team-b"))) == 1


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("fieldSelector=status=200", ["evt-3-1.3"]),
        ("fieldSelector=event=evt-1", ["evt-1-1.1"]),
        ("labelSelector=hookline.dev/reason=OK", ["evt-3-1.3"]),
        ("fieldSelector=metadata.name=evt-1-1.1", ["evt-1-1.1"]),
        ("fieldSelector=metadata.name=evt-1-1.1,status=200", []),
        ("fieldSelector=metadata.name=evt-2-1.2", []),
        ("fieldSelector=metadata.namespace=team-b", []),
        ("fieldSelector=status=200,status=503", []),
        ("fieldSelector=webhook=", []),
    ],
)
async def test_a_list_is_narrowed_by_selectors(world: World, query: str, found: list[str]) -> None:
    answer = await world.get(f"{TEAM_A}/attempts?{query}")
    assert names(answer) == found
    assert answer.json["metadata"]["resourceVersion"] == "4"


async def test_a_name_is_not_looked_for_in_all_namespaces(world: World) -> None:
    assert (await world.get(f"{ROOT}/attempts?fieldSelector=metadata.name=evt-1-1.1")).status == 400


async def test_a_list_in_parts_has_each_object_once_and_one_version(world: World) -> None:
    first = await world.get(f"{TEAM_A}/attempts?limit=2")
    await world.log.add(attempt(9))
    rest = await world.get(f"{TEAM_A}/attempts?limit=2&continue={first.json['metadata']['continue']}")
    assert names(first) + names(rest) == ["evt-4-1.4", "evt-3-1.3", "evt-1-1.1"]
    assert rest.json["metadata"] == {"resourceVersion": "4"}


async def test_a_list_is_not_older_than_the_version_that_it_names(world: World) -> None:
    url = f"{TEAM_A}/attempts?limit=1"
    for version in (
        "",
        "&resourceVersion=0",
        "&resourceVersion=4",
        "&resourceVersion=4&resourceVersionMatch=NotOlderThan",
    ):
        first = await world.get(url + version)
        assert first.status == 200
    assert world.log.waited_for == ["4", "4"]
    world.log.never = "9"
    late = await world.get(f"{TEAM_A}/attempts?resourceVersion=9")
    assert (late.status, late.json["reason"], "resourceVersion" in late.json["message"]) == (410, "Expired", True)
    world.log.waited_for.pop()
    # What goes on has the version of its beginning.
    assert (await world.get(f"{url}&continue={first.json['metadata']['continue']}")).status == 200
    assert (await world.get(f"{TEAM_A}/deliveries?resourceVersion=4")).status == 200
    assert world.log.waited_for == ["4", "4"]


async def test_a_place_that_is_forgotten_has_the_list_begin_anew(world: World) -> None:
    first = await world.get(f"{TEAM_A}/attempts?limit=1")
    world.log.tried.clear()
    answer = await world.get(f"{TEAM_A}/attempts?continue={first.json['metadata']['continue']}")
    assert (answer.status, answer.json["reason"]) == (410, "Expired")


@pytest.mark.parametrize(
    "accept", ["application/json", TABLE, "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"]
)
@pytest.mark.parametrize("limit", ["", "limit=1200&"])
async def test_a_long_list_is_read_in_parts_and_sent_whole(world: World, accept: str, limit: str) -> None:
    world.log.tried[:] = [attempt(number) for number in range(1, 1752)]
    answer = await world.get(f"{TEAM_A}/attempts?{limit}includeObject=None", accept=accept)
    said = answer.json
    whole = await world.get(f"{TEAM_A}/attempts?limit=1&includeObject=None", accept=accept)
    assert (said["kind"], said.get("columnDefinitions")) == (
        whole.json["kind"],
        whole.json.get("columnDefinitions"),
    )
    assert len(said.get("rows", said.get("items"))) == (1200 if limit else 1751)
    assert said["metadata"]["resourceVersion"] == "1751"
    assert ("continue" in said["metadata"]) is bool(limit)
    assert max(limit for _, _, limit, _ in world.log.asked) == shelves.PART
    assert answer.whole


async def test_a_list_that_breaks_in_the_middle_is_cut_and_looks_like_no_whole_one(world: World) -> None:
    world.log.tried[:] = [attempt(number) for number in range(1, 1752)]
    world.log.fails_after = 2
    with pytest.raises(Cut):
        await world.get(f"{TEAM_A}/attempts")


async def test_a_table_has_rows(world: World) -> None:
    answer = await world.get(f"{TEAM_A}/attempts", accept=f"{TABLE},application/json")
    assert answer.json["kind"] == "Table"
    assert [each["cells"][0] for each in answer.json["rows"]] == ["evt-4-1.4", "evt-3-1.3", "evt-1-1.1"]
    assert answer.json["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    one = await world.get(f"{TEAM_A}/attempts/evt-1-1.1?includeObject=Object", accept=TABLE)
    assert [each["object"]["kind"] for each in one.json["rows"]] == ["Attempt"]


async def test_one_object(world: World) -> None:
    answer = await world.get(f"{TEAM_A}/attempts/evt-1-1.1?pretty=true")
    assert answer.json["metadata"]["name"] == "evt-1-1.1"
    assert b"\n  " in answer.body
    assert (await world.get(f"{TEAM_A}/deliveries/evt-5.5")).json["kind"] == "Delivery"


@pytest.mark.parametrize("name", ["evt-2-1.2", "EVT", "..", "a" * 253, "evt-1%001", "%1b[2J"])
async def test_an_object_that_is_not_there_is_not_found_whatever_its_name(world: World, name: str) -> None:
    answer = await world.get(f"{TEAM_A}/attempts/{name}")
    assert answer.status == 404
    assert answer.json["reason"] == "NotFound"
    assert b"\x1b" not in answer.body
    assert b"\x00" not in answer.body


async def test_the_words_are_those_of_kube_apiserver(world: World) -> None:
    answer = await world.get(f"{TEAM_A}/attempts/no-such")
    assert answer.json == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": 'attempts.log.hookline.dev "no-such" not found',
        "reason": "NotFound",
        "details": {"name": "no-such", "group": "log.hookline.dev", "kind": "attempts"},
        "code": 404,
    }


async def test_the_body_of_an_event_has_a_right_of_its_own(world: World) -> None:
    world.users.rights.add("alice get attempts team-a")
    url = f"{TEAM_A}/attempts/evt-1-1.1"
    assert (await world.get(url, "alice")).status == 200
    denied = await world.get(f"{url}/body", "alice")
    assert denied.status == 403
    assert 'cannot get resource "attempts/body" in API group "log.hookline.dev"' in denied.json["message"]
    world.users.rights.add("alice get attempts/body team-a")
    assert (await world.get(f"{url}/body", "alice")).json == {"Name": "body-canary"}
    assert (await world.get(f"{TEAM_A}/attempts/none/body")).status == 404
    for each in ("attempts/evt-1-1.1", "deliveries/evt-5.5", "deadletters/evt-7.7"):
        assert b"body-canary" not in (await world.get(f"{TEAM_A}/{each}")).body
        assert b"body-canary" in (await world.get(f"{TEAM_A}/{each}/body")).body


# ---- who may ---------------------------------------------------------------------------------------------------------


async def test_who_is_nobody_learns_nothing_but_that(world: World) -> None:
    said = set()
    for url in (
        TEAM_A + "/attempts",
        ROOT,
        "/apis",
        "/openapi/v3",
        "/version",
        "/no-such",
        TEAM_A + "/attempts/evt-1-1.1",
    ):
        answer = await world.get(url, None)
        said.add((answer.status, answer.body))
        assert "www-authenticate" in answer.headers
    ((status, body),) = said
    assert (status, json.loads(body)["message"], json.loads(body)["reason"]) == (401, "Unauthorized", "Unauthorized")


async def test_what_is_there_is_not_told_before_the_right_is(world: World) -> None:
    """The same words of what is there and what is not, of what can be asked and what cannot."""
    there = await world.get(f"{TEAM_A}/attempts/evt-1-1.1", "mallory")
    absent = await world.get(f"{TEAM_A}/attempts/evt-9-9.9", "mallory")
    assert there.status == absent.status == 403
    assert there.body.replace(b"evt-1-1.1", b"") == absent.body.replace(b"evt-9-9.9", b"")
    for method, url in (
        ("GET", f"{TEAM_A}/attempts?limit=x"),
        ("GET", f"{TEAM_A}/attempts?fieldSelector=nonsense"),
        ("GET", f"{TEAM_A}/attempts/UPPER"),
        ("GET", f"{TEAM_A}/attempts/evt-1-1.1/no-such"),
        ("DELETE", f"{TEAM_A}/attempts/evt-1-1.1"),
        ("PUT", f"{TEAM_A}/attempts/evt-1-1.1"),
        ("POST", f"{TEAM_A}/attempts"),
        ("GET", f"{TEAM_A}/deliveries?watch=true"),
    ):
        assert (await ask(world.app, method, url, user="mallory")).status == 403, (method, url)
    assert world.log.asked == []


async def test_a_no_is_said_as_kube_apiserver_says_it(world: World) -> None:
    answer = await world.get(f"{TEAM_A}/attempts/evt-1-1.1", "bob")
    assert answer.json == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": 'attempts.log.hookline.dev "evt-1-1.1" is forbidden: User "bob" cannot get resource "attempts" in '
        'API group "log.hookline.dev" in the namespace "team-a"',
        "reason": "Forbidden",
        "details": {"name": "evt-1-1.1", "group": "log.hookline.dev", "kind": "attempts"},
        "code": 403,
    }
    everywhere = await world.get(f"{ROOT}/attempts", "bob")
    assert everywhere.json["message"].endswith('in API group "log.hookline.dev" at the cluster scope')


@pytest.mark.parametrize(
    ("method", "url", "right"),
    [
        ("GET", "/attempts", Right("list", "log.hookline.dev", "attempts", "", "team-a")),
        ("GET", "/attempts?watch=1&timeoutSeconds=1", Right("watch", "log.hookline.dev", "attempts", "", "team-a")),
        (
            "GET",
            "/attempts?fieldSelector=metadata.name=a",
            Right("list", "log.hookline.dev", "attempts", "", "team-a", "a"),
        ),
        ("GET", "/attempts/a", Right("get", "log.hookline.dev", "attempts", "", "team-a", "a")),
        ("GET", "/attempts/a?watch=1", Right("get", "log.hookline.dev", "attempts", "", "team-a", "a")),
        ("DELETE", "/deadletters/a", Right("delete", "log.hookline.dev", "deadletters", "", "team-a", "a")),
        ("DELETE", "/deadletters", Right("deletecollection", "log.hookline.dev", "deadletters", "", "team-a")),
        ("POST", "/deadletters/a/replay", Right("create", "log.hookline.dev", "deadletters", "replay", "team-a", "a")),
        ("POST", "/webhooktests", Right("create", "log.hookline.dev", "webhooktests", "", "team-a")),
        ("PATCH", "/attempts/a", Right("patch", "log.hookline.dev", "attempts", "", "team-a", "a")),
    ],
)
async def test_each_request_needs_one_right_which_names_all_of_it(
    world: World, method: str, url: str, right: Right
) -> None:
    world.users.away = True
    answer = await ask(world.app, method, TEAM_A + url)
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert world.users.asked == [right]


# ---- what is not offered ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "url", "status"),
    [
        ("POST", "/attempts", 405),
        ("PUT", "/attempts/evt-1-1.1", 405),
        ("PATCH", "/attempts/evt-1-1.1", 405),
        ("DELETE", "/attempts/evt-1-1.1", 405),
        ("DELETE", "/attempts", 405),
        ("DELETE", "/deadletters", 405),
        ("HEAD", "/attempts", 405),
        ("OPTIONS", "/attempts", 405),
        ("GET", "/deliveries?watch=true", 405),
        ("GET", "/webhooktests", 405),
        ("POST", "/webhooktests/a", 405),
        ("GET", "/deadletters/evt-7.7/replay", 405),
        ("POST", "/deadletters/evt-7.7/body", 405),
        ("GET", "/attempts/evt-1-1.1/log", 404),
        ("GET", "/attempts/evt-1-1.1/body/more", 404),
        ("GET", "/pods", 404),
        ("GET", "/attempts//body", 404),
    ],
)
async def test_what_is_not_offered_is_refused(world: World, method: str, url: str, status: int) -> None:
    answer = await ask(world.app, method, TEAM_A + url)
    assert answer.status == status
    assert len(world.log.letters) == 2


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/api",
        "/apis/other",
        f"{ROOT}/namespaces",
        f"{ROOT}/namespaces/team-a",
        f"{ROOT}/namespaces/Team/attempts",
        f"{ROOT}/namespaces/{'a' * 64}/attempts",
        f"{ROOT}/namespaces/a%2fb/attempts",
        f"{ROOT}/namespaces/a%00/attempts",
        f"{ROOT}/attempts/evt-1-1.1",
        f"{ROOT}/namespaces//attempts",
        f"{TEAM_A}/attempts/{'a' * 254}",
    ],
)
async def test_a_path_that_there_is_not_is_no_page(world: World, path: str) -> None:
    answer = await world.get(path)
    assert (answer.status, answer.json["message"]) == (404, "the server could not find the requested resource")
    assert world.users.asked == []


async def test_a_form_that_there_is_not_is_refused(world: World) -> None:
    for url in (TEAM_A + "/attempts", TEAM_A + "/attempts/evt-1-1.1", TEAM_A + "/attempts?watch=1"):
        assert (await world.get(url, accept="application/yaml")).status == 406


# ---- documents -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/apis", "APIGroupList"), ("/apis/log.hookline.dev", "APIGroup"), (ROOT, "APIResourceList")],
)
async def test_discovery_is_for_everybody_who_is_known(world: World, path: str, kind: str) -> None:
    answer = await world.get(path, "bob")
    assert (answer.status, answer.json["kind"]) == (200, kind)
    again = await world.get(path, "bob", if_none_match=answer.headers["etag"])
    assert (again.status, again.body) == (304, b"")


async def test_discovery_comes_in_one_piece_to_who_asks_for_it(world: World) -> None:
    answer = await world.get("/apis", accept="application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
    assert answer.headers["content-type"] == "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    assert answer.json["kind"] == "APIGroupDiscoveryList"


async def test_openapi_is_where_its_root_says(world: World) -> None:
    (path,) = (await world.get("/openapi/v3")).json["paths"].values()
    assert (await world.get(path["serverRelativeURL"])).json["openapi"] == "3.0.0"
    assert (await world.get("/openapi/v2")).json["swagger"] == "2.0"


async def test_health_is_told_to_everybody_and_readiness_with_its_reason(world: World) -> None:
    world.why = "the queue cannot\nbe read"
    assert [(await world.get(each, None)).status for each in ("/livez", "/healthz", "/readyz")] == [200, 200, 503]
    assert (await world.get("/readyz", None)).body == b"the queue cannot be read"
    world.why = None
    assert (await world.get("/readyz", None)).body == b"ok"
    assert (await ask(world.app, "POST", "/livez", user=None)).status == 405


# ---- changes ---------------------------------------------------------------------------------------------------------


async def test_a_dead_letter_is_dropped(world: World) -> None:
    url = f"{TEAM_A}/deadletters/evt-7.7"
    uid = (await world.get(url)).json["metadata"]["uid"]
    for harmless in (
        await ask(world.app, "DELETE", f"{url}?dryRun=All"),
        await ask(world.app, "DELETE", url, body=b'{"dryRun":["All"]}'),
    ):
        assert harmless.status == 200
    other = json.dumps({"preconditions": {"uid": "another"}}).encode()
    assert (await ask(world.app, "DELETE", url, body=other)).status == 409
    assert len(world.log.letters) == 2
    options = {"kind": "DeleteOptions", "propagationPolicy": "Background", "preconditions": {"uid": uid}}
    answer = await ask(world.app, "DELETE", url, body=json.dumps(options).encode(), content_type="application/json")
    assert (answer.status, answer.json["status"], answer.json["details"]["uid"]) == (200, "Success", uid)
    assert [each.name for each in world.log.letters] == ["evt-8.8"]
    assert (await ask(world.app, "DELETE", url)).status == 404
    assert (await ask(world.app, "DELETE", f"{TEAM_A}/deadletters/evt-8.8")).status == 404


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"[" * 60_000, "application/json", 400),
        (b"\xff", "application/json", 400),
        (b" " * 70_000, "application/json", 413),
        (b"k8s\x00", "application/vnd.kubernetes.protobuf", 415),
        (b'{"dryRun": "All"}', "application/json", 400),
        (b'{"dryRun": ["Some"]}', "application/json", 422),
    ],
)
async def test_a_body_that_cannot_be_read_changes_nothing(
    world: World, body: bytes, content_type: str, status: int
) -> None:
    url = f"{TEAM_A}/deadletters/evt-7.7"
    answer = await ask(world.app, "DELETE", url, body=body, content_type=content_type)
    assert answer.status == status
    assert len(world.log.letters) == 2


async def test_a_dead_letter_is_sent_again(world: World) -> None:
    url = f"{TEAM_A}/deadletters/evt-7.7/replay"
    assert (await ask(world.app, "POST", f"{url}?dryRun=All")).status == 201
    assert world.actions.replayed == []
    answer = await ask(world.app, "POST", url)
    assert (answer.status, answer.json["status"]) == (201, "Success")
    assert world.actions.replayed == [("team-a", "evt-7.7")]
    assert (await ask(world.app, "POST", f"{TEAM_A}/deadletters/none/replay")).status == 404


def test_call(webhook: Any, **more: Any) -> bytes:
    return json.dumps({"kind": "WebhookTest", "spec": {"webhook": webhook, **more}}).encode()


test_call.__test__ = False  # type: ignore[attr-defined]


async def test_a_test_is_answered_with_its_attempt(world: World) -> None:
    answer = await ask(world.app, "POST", f"{TEAM_A}/webhooktests", body=test_call("hook", eventType="T"))
    assert answer.status == 201
    assert answer.json["spec"] == {"webhook": "hook", "eventType": "T"}
    assert (answer.json["status"]["attempt"]["test"], answer.json["status"]["attempt"]["status"]) == (True, 503)
    assert world.actions.tested == [("team-a", "hook", "T")]
    await ask(world.app, "POST", f"{TEAM_A}/webhooktests?dryRun=All", body=test_call("hook"))
    assert len(world.actions.tested) == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b'{"kind":"Pod","spec":{"webhook":"a"}}', 400),
        (test_call(""), 422),
        (test_call("A b"), 422),
        (test_call(7), 422),
        (test_call("a" * 300), 422),
        (test_call("hook", eventType=["T"]), 422),
        (test_call("hook", eventType="Unheard"), 422),
        (test_call("unknown"), 404),
    ],
)
async def test_a_test_that_cannot_be_is_refused(world: World, body: bytes, status: int) -> None:
    assert (await ask(world.app, "POST", f"{TEAM_A}/webhooktests", body=body)).status == status


# ---- watches ---------------------------------------------------------------------------------------------------------


async def test_a_list_ends_with_its_client(world: World) -> None:
    """One of ten million would take minutes that nobody waits for."""
    world.log.tried[:] = [attempt(number) for number in range(1, 5001)]
    answer = Answered()

    async def receive() -> Any:
        await answer.gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        await answer.send(message)
        answer.gone.set()

    await world.app(scope_of("GET", f"{TEAM_A}/attempts"), receive, send)
    assert answer.status == 200
    assert not answer.whole
    assert len(world.log.asked) < 4


async def test_a_list_has_a_minute_however_slowly_it_is_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or found: of a selector that nothing fits."""
    monkeypatch.setattr(app_module, "LIST_SECONDS", 0.05)
    world.log.tried[:] = [attempt(number) for number in range(1, 1001)]
    answer = Answered()

    async def receive() -> Any:
        await answer.gone.wait()

    async def send(message: Any) -> None:
        await answer.send(message)
        await answer.gone.wait()

    with pytest.raises(Cut):
        await world.app(scope_of("GET", f"{TEAM_A}/attempts"), receive, send)

    async def never(*_: object, **__: object) -> Any:
        await answer.gone.wait()

    world.log.attempts = never  # type: ignore[method-assign]
    late = await ask(Api(world.log, world.users), "GET", f"{TEAM_A}/attempts")
    assert (late.status, late.json["reason"]) == (504, "Timeout")
    assert world.app._requests.used == 0


async def test_a_watch_tells_what_comes_and_ends_with_its_client(world: World) -> None:
    async with watching(world.app, f"{TEAM_A}/attempts?watch=1&resourceVersion=4") as answer:
        assert answer.status == 200
        await world.log.add(attempt(10), attempt(11, "team-b"), attempt(12))
        lines = await answer.until(2)
        assert [(each["type"], each["object"]["metadata"]["name"]) for each in lines] == [
            ("ADDED", "evt-10-1.10"),
            ("ADDED", "evt-12-1.12"),
        ]
        assert world.app.watching == 1
    assert (world.app.watching, world.log.follows) == (0, 0)
    assert answer.whole


async def test_a_watch_goes_on_behind_a_version(world: World) -> None:
    async with watching(world.app, f"{TEAM_A}/attempts?watch=1&resourceVersion=1") as answer:
        assert [each["object"]["metadata"]["resourceVersion"] for each in await answer.until(2)] == ["3", "4"]


async def test_a_watch_of_one_name_begins_with_it(world: World) -> None:
    """kubectl get NAME -w."""
    url = f"{TEAM_A}/attempts?watch=1&resourceVersion=0&fieldSelector=metadata.name%3Devt-3-1.3"
    async with watching(world.app, url, accept=TABLE) as answer:
        (first,) = await answer.until(1)
        assert [each["cells"][0] for each in first["object"]["rows"]] == ["evt-3-1.3"]
        await world.log.add(attempt(10))


async def test_a_reflector_that_streams_its_list_hears_where_it_ends(world: World) -> None:
    query = "watch=1&allowWatchBookmarks=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
    async with watching(world.app, f"{TEAM_A}/attempts?{query}") as answer:
        lines = await answer.until(4)
        assert [each["type"] for each in lines] == ["ADDED", "ADDED", "ADDED", "BOOKMARK"]
        assert lines[3]["object"] == {
            "kind": "Attempt",
            "apiVersion": "log.hookline.dev/v1alpha1",
            "metadata": {"resourceVersion": "4", "annotations": {"k8s.io/initial-events-end": "true"}},
        }
        await world.log.add(attempt(10))
        assert (await answer.until(5))[4]["object"]["metadata"]["name"] == "evt-10-1.10"


async def test_only_the_first_line_of_a_watched_table_names_the_columns(world: World) -> None:
    async with watching(world.app, f"{TEAM_A}/attempts?watch=1&resourceVersion=1", accept=TABLE) as answer:
        first, second = (each["object"]["columnDefinitions"] for each in await answer.until(2))
        assert (len(first), second) == (12, [])


async def test_a_watch_from_before_the_log_ends_with_gone(world: World) -> None:
    world.log.forgotten = 3
    answer = await world.get(f"{TEAM_A}/attempts?watch=1&resourceVersion=1")
    (line,) = answer.lines
    assert (line["type"], line["object"]["code"], line["object"]["reason"]) == ("ERROR", 410, "Expired")
    strange = await world.get(f"{TEAM_A}/attempts?watch=1&resourceVersion=yesterday")
    assert strange.lines[0]["object"]["code"] == 410


async def test_a_watch_ends_after_its_time(world: World) -> None:
    answer = await world.get(f"{TEAM_A}/attempts?watch=1&resourceVersion=4&timeoutSeconds=1")
    assert (answer.status, answer.body, answer.whole) == (200, b"", True)


async def test_a_watch_says_where_it_is_if_that_is_wished(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching_module, "TICK_SECONDS", 0.01)
    async with watching(world.app, f"{TEAM_A}/attempts?watch=1&resourceVersion=3&allowWatchBookmarks=1") as answer:
        lines = await answer.until(3)
        assert [each["type"] for each in lines[-2:]] == ["BOOKMARK", "BOOKMARK"]
        assert lines[-1]["object"]["metadata"] == {"resourceVersion": "4"}


async def test_a_watch_ends_when_its_user_may_no_longer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching_module, "TICK_SECONDS", 0.01)
    world.users.rights.add("alice watch attempts team-a")
    async with watching(world.app, f"{TEAM_A}/attempts?watch=1&resourceVersion=4", user="alice") as answer:
        world.users.rights.clear()
        while not answer.whole:
            answer.changed.clear()
            await answer.changed.wait()


async def test_a_watch_ends_when_its_user_is_gone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ServiceAccount that was deleted: RBAC still says yes to its name."""
    monkeypatch.setattr(watching_module, "TICK_SECONDS", 0.01)
    async with watching(world.app, f"{TEAM_A}/attempts?watch=1&resourceVersion=4") as answer:
        world.users.gone.add("root")
        while not answer.whole:
            answer.changed.clear()
            await answer.changed.wait()


async def test_watches_end_with_the_process(world: World) -> None:
    async with watching(world.app, f"{TEAM_A}/attempts?watch=1&resourceVersion=4") as answer:
        world.app.end_watches()
        while not answer.whole:
            answer.changed.clear()
            await answer.changed.wait()


async def test_one_user_cannot_take_all_watches() -> None:
    world = World(Bounds(watches=3, watches_of_one=2))
    url = f"{TEAM_A}/attempts?watch=1&resourceVersion=4"
    async with watching(world.app, url), watching(world.app, url):
        full = await world.get(url)
        assert (full.status, full.json["reason"], full.headers["retry-after"]) == (429, "TooManyRequests", "1")
        world.users.rights |= {"alice watch attempts team-a", "bob watch attempts team-a"}
        async with watching(world.app, url, user="alice") as other:
            assert other.status == 200
            assert (await world.get(url, "bob")).status == 429
    async with watching(world.app, url) as again:
        assert again.status == 200


# ---- the queue is away -----------------------------------------------------------------------------------------------


async def test_what_the_log_says_is_not_there_is_not_found_also_while_a_queue_is_away() -> None:
    """It says so only when that is certain."""
    world = World(missing=["b"])
    assert (await world.get(f"{TEAM_A}/attempts/no-such")).status == 404
    listed = await world.get(f"{TEAM_A}/attempts")
    assert (listed.status, "b" in listed.headers["warning"]) == (200, True)


async def test_who_asks_what_nobody_knows_for_how_long_is_not_told_when_to_come_again(world: World) -> None:
    """kubectl would try for ten seconds before it says anything."""
    world.log.away, world.log.soon = True, False
    for url in ("/attempts/evt-1-1.1", "/deadletters/evt-7.7"):
        answer = await world.get(TEAM_A + url)
        assert (answer.status, "retry-after" in answer.headers, "details" in answer.json) == (503, False, False)


async def test_a_watch_that_cannot_go_on_says_so(world: World) -> None:
    async with watching(world.app, f"{TEAM_A}/attempts?watch=1&resourceVersion=4") as answer:
        world.log.away = True
        await world.log.add(attempt(9))
        (line,) = await answer.until(1)
        assert (line["type"], line["object"]["code"]) == ("ERROR", 503)


@pytest.mark.parametrize(
    "url", ["/attempts", "/attempts/evt-1-1.1", "/attempts/evt-1-1.1/body", "/deadletters", "/attempts?watch=1"]
)
async def test_while_the_queue_is_away_clients_are_told_to_come_again(world: World, url: str) -> None:
    world.log.away = True
    answer = await world.get(TEAM_A + url)
    assert (answer.status, answer.json["reason"], answer.headers["retry-after"]) == (503, "ServiceUnavailable", "1")
