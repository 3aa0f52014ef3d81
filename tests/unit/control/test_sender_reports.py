from __future__ import annotations

import asyncio
import gzip
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from hookline.control import sender_reports as senders_module
from hookline.control.seen import Pod
from hookline.control.sender_reports import MAX_REPORT_BYTES, MAX_UNREAD, MAX_WHY, Report, Senders
from hookline.control.status import Failing
from hookline.delivery.policy.retry import Reason

GOOD = {"served": {"book.json": "ab", "index-05.json": "cd"}, "webhooks": 3, "failing": []}
FAILING = {"uid": "u1", "since": "2026-01-01T00:00:00Z", "reason": "HTTPStatus", "status": 503}

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def sender_pod(name: str = "one", ip: str = "127.0.0.1") -> Pod:
    return Pod(name, "default", ip, ready=True, touched="")


@asynccontextmanager
async def answering(answer: Answer, host: str = "127.0.0.1") -> AsyncIterator[Senders]:
    """Asks pods on the port of a server that answers so."""
    app = web.Application()
    app.router.add_get("/report", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, host, 0)
    await site.start()
    senders = Senders(port=runner.addresses[0][1])
    try:
        yield senders
    finally:
        await senders.aclose()
        await runner.cleanup()


def with_text(text: str | bytes, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    async def answer(_: web.Request) -> web.Response:
        body = io.BytesIO(text if isinstance(text, bytes) else text.encode())
        return web.Response(body=body, status=status, headers=headers)

    return answer


async def asked(answer: Answer) -> Report | None:
    async with answering(answer) as senders:
        return (await senders.ask([sender_pod()]))["one"]


async def test_a_pod_says_what_it_serves_and_which_endpoints_are_failing() -> None:
    report = await asked(with_text(json.dumps({**GOOD, "failing": [FAILING]})))
    assert report == Report(
        {"book.json": "ab", "index-05.json": "cd"}, {"u1": Failing("2026-01-01T00:00:00Z", Reason.HTTP_STATUS, 503)}
    )


async def test_a_pod_of_an_earlier_version_says_which_endpoints_are_failing() -> None:
    earlier = {"served": {}, "webhooks": 3, "sick": [{**FAILING, "kind": "Sick"}]}
    report = await asked(with_text(json.dumps(earlier)))
    assert report is not None
    assert report.failing == {"u1": Failing("2026-01-01T00:00:00Z", Reason.HTTP_STATUS, 503)}


async def test_what_a_pod_says_of_its_attempts_log_is_bounded() -> None:
    report = await asked(with_text(json.dumps({**GOOD, "attempts_log": "delete it" + "!" * 10_000})))
    assert report is not None
    assert report.attempts_log.startswith("delete it!")
    assert len(report.attempts_log) == MAX_WHY


@pytest.mark.parametrize("reason", ["NATSInUse", "AWordOfANewerSender"])
async def test_a_pod_that_cannot_use_its_queue_says_why(reason: str) -> None:
    report = await asked(with_text(json.dumps({**GOOD, "queue": {"reason": reason, "message": "why"}})))
    assert report is not None
    assert report.queue == (reason, "why")


@pytest.mark.parametrize("queue", ["x", {"reason": "a b", "message": ""}, {"reason": "A", "message": "x" * 1025}])
async def test_a_queue_problem_of_another_shape_is_no_report(queue: object) -> None:
    assert await asked(with_text(json.dumps({**GOOD, "queue": queue}))) is None


async def test_an_endpoint_that_is_gone_is_told_from_one_that_is_failing() -> None:
    gone = {**FAILING, "uid": "u2", "kind": "Gone", "reason": "Gone", "status": 410}
    report = await asked(with_text(json.dumps({**GOOD, "failing": [{**FAILING, "kind": "Failing"}, gone]})))
    assert report is not None
    assert {uid: (each.reason, each.gone) for uid, each in report.failing.items()} == {
        "u1": (Reason.HTTP_STATUS, False),
        "u2": (Reason.GONE, True),
    }


async def test_each_pod_is_asked_at_its_own_address_and_they_do_not_wait_for_each_other() -> None:
    silent = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        if request.host.startswith("127.0.0.2"):
            await silent.wait()
        return web.json_response(GOOD)

    async with answering(answer, "0.0.0.0") as senders:
        found = await senders.ask([sender_pod(), sender_pod("two", "127.0.0.2"), sender_pod("three", "127.0.0.3")])
        silent.set()
    assert {name: report is not None for name, report in found.items()} == {"one": True, "two": False, "three": True}


async def test_a_pod_with_an_ipv6_address_is_asked() -> None:
    async with answering(with_text(json.dumps(GOOD)), "::1") as senders:
        assert (await senders.ask([sender_pod(ip="::1")]))["one"] is not None


async def test_nobody_is_asked_when_there_are_no_pods() -> None:
    senders = Senders()
    assert await senders.ask([]) == {}
    await senders.aclose()


async def test_a_pod_that_is_not_there_or_has_a_strange_address_gives_no_report() -> None:
    async with answering(with_text("")) as senders:
        pods = [sender_pod("gone", "127.255.255.254"), sender_pod("strange", "not an address"), sender_pod("no", "[")]
        assert await senders.ask(pods) == {"gone": None, "strange": None, "no": None}


def report_with(**changes: Any) -> str:
    return json.dumps({**GOOD, **changes})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "[]",
        "[" * 100_000,
        report_with(served=None),
        report_with(served={"a": 1}),
        report_with(served={str(number): "" for number in range(201)}),
        report_with(failing={}),
        report_with(unread=[]),
        report_with(unread={str(number): "" for number in range(MAX_UNREAD + 1)}),
    ],
)
async def test_what_is_no_report_is_none(text: str) -> None:
    assert await asked(with_text(text)) is None


@pytest.mark.parametrize(
    "other",
    [
        1,
        {**FAILING, "kind": "Throttled"},
        {**FAILING, "reason": "canary of somebody"},
        {**FAILING, "since": "<script>"},
        {**FAILING, "since": "2026\n"},
        {**FAILING, "status": "x"},
        {**FAILING, "uid": "u" * 129},
        {"uid": "u2"},
    ],
)
async def test_an_endpoint_that_is_not_understood_hides_nothing_else(other: object) -> None:
    report = await asked(with_text(report_with(failing=[other, FAILING])))
    assert report is not None
    assert (list(report.failing), report.served) == (["u1"], GOOD["served"])


async def test_a_newer_sender_is_understood_as_far_as_its_words_are_known() -> None:
    newer = {**FAILING, "reason": "QuantumFailure", "shade": "deep"}
    report = await asked(with_text(report_with(failing=[newer], mood={"good": True})))
    assert report is not None
    assert report.failing["u1"].reason == "QuantumFailure"


async def test_a_pod_says_which_webhooks_it_does_not_understand() -> None:
    report = await asked(with_text(report_with(unread={"u1": "x" * 9999})))
    assert report is not None
    assert report.unread == {"u1": "x" * 512}


@pytest.mark.parametrize("status", [204, 301, 404, 500, 503])
async def test_an_answer_that_is_no_success_is_no_report(status: int) -> None:
    assert await asked(with_text(json.dumps(GOOD), status, {"Location": "/report"} if status == 301 else None)) is None


async def test_a_report_has_a_bounded_length_and_is_not_unpacked() -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while sent < 100 * MAX_REPORT_BYTES:
                await response.write(b" " * 65536)
                sent += 65536
        except ConnectionError:
            pass
        return response

    assert await asked(endless) is None
    assert sent < 10 * MAX_REPORT_BYTES
    packed = gzip.compress(json.dumps(GOOD).encode())
    assert await asked(with_text(packed, headers={"Content-Encoding": "gzip"})) is None


async def test_a_large_fleet_s_report_is_taken() -> None:
    failing = [{**FAILING, "uid": f"{number:036}"} for number in range(10_000)]
    report = await asked(with_text(report_with(failing=failing)))
    assert report is not None
    assert len(report.failing) == 10_000


async def test_a_pod_that_answers_drop_by_drop_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(senders_module, "ASK_SECONDS", 0.3)
    stop = asyncio.Event()

    async def dripping(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while not stop.is_set():
            await response.write(b" ")
            await asyncio.sleep(0.05)
        return response

    async with answering(dripping) as senders, asyncio.timeout(30):
        assert await senders.ask([sender_pod()]) == {"one": None}
        stop.set()


async def test_the_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert await asked(with_text(json.dumps(GOOD))) is not None
