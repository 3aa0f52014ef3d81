from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.config import incluster_config

from hookline.control import cluster as cluster_module
from hookline.control.cluster import (
    CHUNK,
    CHUNK_OF_LARGE,
    Access,
    Cluster,
    ClusterError,
    ClusterUnavailable,
    Conflict,
    Expired,
    Forbidden,
    Invalid,
    Missing,
    NoCluster,
    Snapshot,
    Unjudged,
    connected,
    fresh,
    in_pod,
)
from hookline.control.kinds import ALLOWED, EVENT_TYPES, LEASES, NAMESPACES, PUBLISHERS, SECRETS, WEBHOOKS
from unit.control.objects import manifest, secret, webhook

CANARY = "canary-3f9e"

Answer = web.StreamResponse | dict[str, Any]


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass
class Api:
    """An API server that gives the answers that a test has laid out, in their order; the last one for ever."""

    answers: list[Callable[[web.Request], Awaitable[Answer]]] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    heard: list[tuple[str, str, str]] = field(default_factory=list)

    def gives(self, *answers: Answer) -> None:
        for each in answers:
            self.answers.append(_constant(each))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        text = await request.text()
        self.requests.append(
            Request(
                request.method,
                request.path,
                dict(request.query),
                {name.lower(): value for name, value in request.headers.items()},
                json.loads(text) if text else None,
            )
        )
        work = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        answer = await work(request)
        if isinstance(answer, web.Response):
            # Given anew each time: aiohttp sends one only once.
            headers = {name: value for name, value in answer.headers.items() if name.lower() in ("retry-after", "date")}
            return web.Response(body=answer.body, status=answer.status, headers=headers)
        return web.json_response(answer) if isinstance(answer, dict) else answer


def _constant(answer: Answer) -> Callable[[web.Request], Awaitable[Answer]]:
    async def give(_: web.Request) -> Answer:
        return answer

    return give


def status(code: int, reason: str = "Whatever", headers: dict[str, str] | None = None, **more: Any) -> web.Response:
    """A failure as the API server tells it, with a message that repeats what somebody wrote."""
    body = {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": f"no: {CANARY}", **more}
    return web.json_response(body, status=code, headers=headers)


def listed(*objects: dict[str, Any], version: str = "10", more: str = "") -> dict[str, Any]:
    return {
        "kind": "List",
        "metadata": {"resourceVersion": version, **({"continue": more} if more else {})},
        "items": list(objects),
    }


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not in a pod, and with no kubeconfig of the person who runs the tests."""
    monkeypatch.setattr(cluster_module, "NAMESPACE_FILE", tmp_path / "namespace")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")


def kubeconfig(folder: Path, port: int, namespace: str | None = "apps") -> Path:
    context = {"cluster": "c", "user": "u", **({"namespace": namespace} if namespace else {})}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "x",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "u", "user": {"token": CANARY}}],
        "contexts": [{"name": "x", "context": context}],
    }
    file = folder / "kubeconfig"
    file.write_text(json.dumps(content))
    return file


@asynccontextmanager
async def serving(api: Api, folder: Path) -> AsyncIterator[tuple[Cluster, Access]]:
    app = web.Application(client_max_size=4 * 2**20)
    app.router.add_route("*", "/{path:.*}", api.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        file = kubeconfig(folder, runner.addresses[0][1])
        async with connected(file, on_request=lambda *words: api.heard.append(words)) as (cluster, access):
            yield cluster, access
    finally:
        await runner.cleanup()


@pytest.fixture
async def api(outside: None) -> Api:
    return Api()


@pytest.fixture
async def cluster(api: Api, tmp_path: Path) -> AsyncIterator[Cluster]:
    async with serving(api, tmp_path) as (found, _):
        yield found


# ---- lists -----------------------------------------------------------------------------------------------------------


async def test_a_list_is_read_chunk_by_chunk_as_it_was_at_one_time(api: Api, cluster: Cluster) -> None:
    objects = [webhook(str(number)) for number in range(5)]
    api.gives(
        listed(*objects[:2], version="40", more="one"), listed(*objects[2:4], version="40", more="two"),
        listed(objects[4], version="40"),
    )  # fmt: skip
    assert await cluster.snapshot(WEBHOOKS, labels="a=b") == Snapshot(objects, 40)
    assert [each.query.get("continue") for each in api.requests] == [None, "one", "two"]
    for each in api.requests:
        assert (each.method, each.path) == ("GET", "/apis/hookline.dev/v1alpha1/webhooks")
        assert (each.query["limit"], each.query["labelSelector"]) == (str(CHUNK), "a=b")
        assert each.headers["authorization"] == f"Bearer {CANARY}"
    assert api.heard == [("list", "Webhook", "ok")] * 3


async def test_secrets_are_asked_for_by_the_label_of_the_lent_ones(api: Api, cluster: Cluster) -> None:
    api.gives(listed())
    await cluster.list_all(SECRETS, "team", labels=ALLOWED)
    (request,) = api.requests
    assert request.path == "/api/v1/namespaces/team/secrets"
    assert request.query["labelSelector"] == "hookline.dev/allow-webhooks=true"


async def test_secrets_are_asked_for_few_at_a_time_and_each_is_cut_before_the_next_are_read(
    api: Api, cluster: Cluster
) -> None:
    api.gives(listed(secret("a"), version="4", more="one"), listed(secret("b"), version="4"))
    found = await cluster.snapshot(PUBLISHERS, keep=lambda manifest: {"name": manifest["metadata"]["name"]})
    assert found.objects == [{"name": "a"}, {"name": "b"}]
    assert {each.query["limit"] for each in api.requests} == {str(CHUNK_OF_LARGE)}


async def test_what_has_no_namespace_is_listed_without_one(api: Api, cluster: Cluster) -> None:
    api.gives(listed())
    await cluster.list_all(NAMESPACES, "team")
    await cluster.list_all(EVENT_TYPES)
    assert [each.path for each in api.requests] == ["/api/v1/namespaces", "/apis/hookline.dev/v1alpha1/eventtypes"]


async def test_metadata_alone_can_be_asked_for(api: Api, cluster: Cluster) -> None:
    api.gives(listed(webhook()))
    await cluster.snapshot(WEBHOOKS, metadata_only=True)
    await cluster.snapshot(WEBHOOKS)
    accepts = [each.headers["accept"] for each in api.requests]
    assert accepts == ["application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", "application/json"]


async def test_a_list_whose_continuation_is_forgotten_begins_anew(api: Api, cluster: Cluster) -> None:
    api.gives(
        listed(webhook("old"), version="1", more="x"), status(410, "Expired"),
        listed(webhook("new"), version="2", more="y"), listed(webhook("newer"), version="2"),
    )  # fmt: skip
    found = await cluster.snapshot(WEBHOOKS)
    assert ([each["metadata"]["name"] for each in found.objects], found.version) == (["new", "newer"], 2)
    assert [each.query.get("continue") for each in api.requests] == [None, "x", None, "y"]


async def test_a_list_that_is_always_forgotten_is_given_up(api: Api, cluster: Cluster) -> None:
    api.gives(status(410, "Expired"))
    with pytest.raises(ClusterUnavailable, match="listing webhooks"):
        await cluster.list_all(WEBHOOKS)
    assert len(api.requests) == 3


async def test_a_part_of_a_list_is_never_taken_for_the_whole(api: Api, cluster: Cluster) -> None:
    api.gives(listed(webhook("a"), more="x"), status(500, "InternalError"))
    with pytest.raises(ClusterUnavailable):
        await cluster.list_all(WEBHOOKS)


@pytest.mark.parametrize(
    "answer",
    [
        lambda: web.Response(text="<html>Welcome</html>", content_type="text/html"),
        lambda: web.Response(text=""),
        lambda: web.Response(text='{"items": ['),
        lambda: web.json_response([]),
        lambda: web.json_response({}),
        lambda: web.json_response({"metadata": {"resourceVersion": "1"}}),
        lambda: web.json_response({"items": []}),
        lambda: web.json_response({"kind": "Webhook", "metadata": {"name": "x", "resourceVersion": "1"}}),
    ],
)
async def test_an_answer_that_is_no_list_is_never_taken_for_an_empty_one(
    answer: Callable[[], web.Response], api: Api, cluster: Cluster
) -> None:
    async def give(_: web.Request) -> Answer:
        return answer()

    api.answers.append(give)
    with pytest.raises(ClusterUnavailable):
        await cluster.list_all(WEBHOOKS)


async def test_an_empty_list_is_one_however_it_is_written(api: Api, cluster: Cluster) -> None:
    api.gives(listed(), {"metadata": {"resourceVersion": "7"}, "items": None})
    assert await cluster.snapshot(WEBHOOKS) == Snapshot([], 10)
    assert await cluster.snapshot(WEBHOOKS) == Snapshot([], 7)


async def test_what_nobody_reads_is_not_kept(api: Api, cluster: Cluster) -> None:
    api.gives(listed(webhook("a", managedFields=[{}])), webhook("a", managedFields=[{}]))
    (found,) = await cluster.list_all(WEBHOOKS)
    assert "managedFields" not in found["metadata"]
    got = await cluster.get(WEBHOOKS, "team", "a")
    assert got is not None
    assert "managedFields" not in got["metadata"]


# ---- single objects --------------------------------------------------------------------------------------------------


async def test_an_object_that_is_not_there_is_none(api: Api, cluster: Cluster) -> None:
    api.gives(webhook("a"), status(404, "NotFound"))
    assert await cluster.get(WEBHOOKS, "team", "a") == webhook("a")
    assert await cluster.get(WEBHOOKS, "team", "a") is None
    assert api.requests[0].path == "/apis/hookline.dev/v1alpha1/namespaces/team/webhooks/a"
    assert api.heard == [("get", "Webhook", "ok"), ("get", "Webhook", "Missing")]


async def test_apply_names_its_manager_the_kind_and_the_part(api: Api, cluster: Cluster) -> None:
    api.gives(webhook("a"))
    wanted = {"metadata": {"namespace": "team", "name": "a", "resourceVersion": "5"}, "status": {"x": 1}}
    assert await cluster.apply(WEBHOOKS, wanted, subresource="status") == webhook("a")
    (request,) = api.requests
    assert (request.method, request.path) == (
        "PATCH",
        "/apis/hookline.dev/v1alpha1/namespaces/team/webhooks/a/status",
    )
    assert request.headers["content-type"] == "application/apply-patch+yaml"
    assert request.query == {"fieldManager": "hookline", "force": "true"}
    assert request.body == {"apiVersion": "hookline.dev/v1alpha1", "kind": "Webhook", **wanted}


async def test_the_other_writes_go_where_they_belong(api: Api, cluster: Cluster) -> None:
    api.gives(webhook("a"))
    there = {"metadata": {"namespace": "team", "name": "a"}}
    await cluster.merge(WEBHOOKS, "team", "a", {"metadata": {"annotations": {"x": "y"}}})
    await cluster.create(WEBHOOKS, there)
    await cluster.replace(WEBHOOKS, there)
    await cluster.delete(WEBHOOKS, "team", "a", uid="u")
    folder = "/apis/hookline.dev/v1alpha1/namespaces/team/webhooks"
    assert [(each.method, each.path, each.headers["content-type"]) for each in api.requests] == [
        ("PATCH", f"{folder}/a", "application/merge-patch+json"),
        ("POST", folder, "application/json"),
        ("PUT", f"{folder}/a", "application/json"),
        ("DELETE", f"{folder}/a", "application/json"),
    ]
    assert api.requests[-1].body == {"preconditions": {"uid": "u"}}
    assert [verb for verb, _, _ in api.heard] == ["patch", "create", "replace", "delete"]


async def test_what_is_gone_already_was_deleted_and_what_is_another_one_was_not(api: Api, cluster: Cluster) -> None:
    api.gives(status(404, "NotFound"), status(409, "Conflict"))
    await cluster.delete(WEBHOOKS, "team", "a")
    with pytest.raises(Conflict):
        await cluster.delete(WEBHOOKS, "team", "a", uid="u")


async def test_who_does_not_lead_writes_nothing_but_its_lease_and_may_read(api: Api, cluster: Cluster) -> None:
    cluster.may_write = lambda: False
    api.gives(webhook("a"))
    there = {"metadata": {"namespace": "team", "name": "a"}}
    for write in (
        cluster.apply(WEBHOOKS, there),
        cluster.merge(WEBHOOKS, "team", "a", {}),
        cluster.create(WEBHOOKS, there),
        cluster.replace(WEBHOOKS, there),
        cluster.delete(WEBHOOKS, "team", "a"),
    ):
        with pytest.raises(ClusterUnavailable, match="not the leader"):
            await write
    assert api.requests == []
    await cluster.get(WEBHOOKS, "team", "a")
    await cluster.replace(LEASES, {"metadata": {"namespace": "own", "name": "lease"}})
    assert [each.method for each in api.requests] == ["GET", "PUT"]


# ---- failures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (400, "BadRequest", Invalid),
        (401, "Unauthorized", ClusterUnavailable),
        (403, "Forbidden", Forbidden),
        (404, "NotFound", Missing),
        (405, "MethodNotAllowed", Invalid),
        (409, "Conflict", Conflict),
        (409, "AlreadyExists", Conflict),
        (410, "Gone", Expired),
        (413, "RequestEntityTooLarge", Invalid),
        (415, "UnsupportedMediaType", Invalid),
        (422, "Invalid", Invalid),
        (429, "TooManyRequests", ClusterUnavailable),
        (500, "InternalError", ClusterUnavailable),
        (503, "ServiceUnavailable", ClusterUnavailable),
        (504, "Timeout", ClusterUnavailable),
    ],
)
async def test_each_refusal_has_its_class_and_a_text_without_values(
    code: int, reason: str, kind: type[ClusterError], api: Api, cluster: Cluster
) -> None:
    api.gives(status(code, reason))
    with pytest.raises(ClusterError) as caught:
        await cluster.apply(SECRETS, secret("a", {"secret": CANARY.encode()}))
    assert type(caught.value) is kind
    assert f"PATCH secrets: the API server answered {code} {reason}" in str(caught.value)
    assert CANARY not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert api.heard == [("apply", "Secret", kind.__name__)]


async def test_an_admission_webhook_that_is_away_is_named_and_says_nothing_of_the_api_server(
    api: Api, cluster: Cluster
) -> None:
    called = 'Internal error occurred: failed calling webhook "policy.example.com": failed to call webhook: refused'
    api.gives(status(500, "InternalError", message=called))
    with pytest.raises(Unjudged, match=r"policy\.example\.com"):
        await cluster.apply(SECRETS, secret("a", {}))


async def test_a_refusal_names_the_fields_and_none_of_their_values(api: Api, cluster: Cluster) -> None:
    causes = [
        {"field": "spec.url", "message": f"Invalid value: {CANARY}"},
        {"field": "spec.headers[0].name", "message": CANARY},
        {"field": f"spec: {CANARY}!", "message": ""},
        {"field": None},
        "strange",
    ]
    api.gives(status(422, "Invalid", details={"causes": causes}))
    with pytest.raises(Invalid, match=r"spec\.headers\[0\]\.name, spec\.url$") as caught:
        await cluster.apply(WEBHOOKS, webhook())
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("details", [None, [], "x", {"causes": None}, {"causes": "x"}, {}])
async def test_a_refusal_with_strange_details_is_a_refusal(details: Any, api: Api, cluster: Cluster) -> None:
    api.gives(status(422, "Invalid", details=details))
    with pytest.raises(Invalid):
        await cluster.apply(WEBHOOKS, webhook())


async def test_a_refusal_that_no_api_server_wrote_repeats_nothing_of_it(api: Api, cluster: Cluster) -> None:
    api.gives(web.Response(status=502, text=f"<h1>{CANARY}</h1>"), status(503, f"{CANARY} of somebody"))
    for _ in range(2):
        with pytest.raises(ClusterUnavailable) as caught:
            await cluster.get(SECRETS, "team", "a")
        assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "seconds"), [("7", 7.0), ("0", 0.0), ("", 0.0), ("-1", 0.0), ("soon", 0.0), ("1e9", 0.0), ("99999", 0.0)]
)
@pytest.mark.parametrize("name", ["Retry-After", "retry-after"])
async def test_the_server_may_say_when_to_come_again(
    name: str, text: str, seconds: float, api: Api, cluster: Cluster
) -> None:
    api.gives(status(429, "TooManyRequests", {name: text}))
    with pytest.raises(ClusterUnavailable) as caught:
        await cluster.get(WEBHOOKS, "team", "a")
    assert caught.value.after_seconds == seconds


@pytest.mark.parametrize("code", [404, 500])
async def test_how_far_the_clock_is_ahead_is_told_by_every_answer(code: int, api: Api, cluster: Cluster) -> None:
    when = format_datetime(datetime.now(UTC) - timedelta(days=3), usegmt=True)
    api.gives(status(code, headers={"Date": when}), status(404, headers={"Date": "Yesterday"}))
    with suppress(ClusterError):
        await cluster.get(WEBHOOKS, "team", "a")
    assert abs(cluster.clock_ahead - timedelta(days=3)) < timedelta(minutes=1)
    await cluster.get(WEBHOOKS, "team", "a")
    assert abs(cluster.clock_ahead - timedelta(days=3)) < timedelta(minutes=1)


async def test_a_missing_right_says_where_to_look(api: Api, cluster: Cluster) -> None:
    api.gives(status(403, "Forbidden"))
    with pytest.raises(Forbidden, match="roles"):
        await cluster.list_all(WEBHOOKS)


async def test_a_namespace_that_is_being_deleted_is_no_missing_right(api: Api, cluster: Cluster) -> None:
    api.gives(status(403, "Forbidden", details={"causes": [{"reason": "NamespaceTerminating"}]}))
    with pytest.raises(Missing, match="being deleted"):
        await cluster.create(WEBHOOKS, {"metadata": {"namespace": "team", "name": "a"}})


async def test_a_server_that_hangs_or_answers_drop_by_drop_is_given_up(
    api: Api, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_module, "REQUEST_SECONDS", 0.3)
    stop = asyncio.Event()

    async def hanging(_: web.Request) -> Answer:
        await stop.wait()
        return {}

    async def dripping(request: web.Request) -> Answer:
        response = web.StreamResponse()
        await response.prepare(request)
        while not stop.is_set():
            await response.write(b" ")
            await asyncio.sleep(0.05)
        return response

    async with asyncio.timeout(60):
        for answer in (hanging, dripping):
            api.answers[:] = [answer]
            with pytest.raises(ClusterUnavailable, match="does not answer"):
                await cluster.get(WEBHOOKS, "team", "a")
        stop.set()


async def test_an_answer_that_breaks_off_is_none(api: Api, cluster: Cluster) -> None:
    async def broken(request: web.Request) -> Answer:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(json.dumps(listed()).encode())
        assert request.transport is not None
        request.transport.close()
        return response

    api.answers.append(broken)
    with pytest.raises(ClusterUnavailable, match="does not answer"):
        await cluster.list_all(WEBHOOKS)


async def test_a_server_that_is_away_is_unavailable(outside: None, tmp_path: Path) -> None:
    async with connected(kubeconfig(tmp_path, 1)) as (cluster, _):
        with pytest.raises(ClusterUnavailable, match="does not answer"):
            await cluster.list_all(WEBHOOKS)


# ---- access ----------------------------------------------------------------------------------------------------------


async def test_access_is_that_of_the_kubeconfig_and_its_representation_shows_no_token(api: Api, tmp_path: Path) -> None:
    async with serving(api, tmp_path) as (_, access):
        assert access.server.startswith("http://127.0.0.1:")
        assert (access.token, access.namespace) == (CANARY, "apps")
        assert CANARY not in repr(access)
        assert fresh(access) is access


async def test_a_context_without_a_namespace_has_none(outside: None, tmp_path: Path) -> None:
    async with connected(kubeconfig(tmp_path, 1, namespace=None)) as (_, access):
        assert access.namespace is None


@pytest.mark.parametrize("text", [None, "", "[]", f"token: {CANARY}", "{", "\0", '{"current-context": "x"}'])
async def test_without_a_cluster_a_person_is_told_what_to_do(text: str | None, outside: None, tmp_path: Path) -> None:
    file = tmp_path / "strange"
    if text is not None:
        file.write_text(text)
    with pytest.raises(NoCluster, match="--kubeconfig") as caught:
        async with connected(file):
            pass
    assert CANARY not in str(caught.value)


async def test_without_anything_a_person_is_told_what_to_do(outside: None) -> None:
    with pytest.raises(NoCluster, match="--kubeconfig"):
        async with connected():
            pass


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """In a pod, whose token lies in the file."""
    token, certificate = tmp_path / "token", tmp_path / "ca.crt"
    (tmp_path / "namespace").write_text("own\n")
    token.write_text("first")
    certificate.write_text("a certificate")
    monkeypatch.setattr(cluster_module, "NAMESPACE_FILE", tmp_path / "namespace")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(certificate))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    return token


async def test_in_a_pod_the_token_is_read_anew(inside: Path) -> None:
    assert in_pod()
    before = Access("old", None, "old", None, None, verify=False, namespace=None)
    access = fresh(before)
    assert (access.server, access.token, access.namespace) == ("https://10.0.0.1:443", "first", "own")
    assert access.verify
    inside.write_text("second")
    assert fresh(access).token == "second"


def test_a_snapshot_and_an_access_show_no_secret() -> None:
    found = Snapshot([secret("a", {"secret": CANARY.encode()}), manifest(SECRETS, CANARY)], 1)
    assert CANARY not in repr(found)
    assert CANARY not in repr(Access("s", None, CANARY, None, None, verify=True, namespace=None))
