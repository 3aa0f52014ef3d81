from __future__ import annotations

import socket

import aiohttp
import pytest

from hookline.runtime.probes import Probes


def raising() -> str | None:
    raise RuntimeError("a bug")


async def get(port: int, path: str, host: str = "127.0.0.1") -> tuple[int, str, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://{host}:{port}{path}") as answer:
        return answer.status, answer.content_type, await answer.text()


async def test_what_is_well_is_ok_and_what_is_not_says_why_in_one_line() -> None:
    state: list[str | None] = [None]
    probes = Probes(live=lambda: None, ready=lambda: state[0], metrics=lambda: b"")
    async with probes.serving("127.0.0.1", 0) as port:
        assert await get(port, "/livez") == (200, "text/plain", "ok\n")
        assert await get(port, "/readyz") == (200, "text/plain", "ok\n")
        state[0] = "no book:\nindex is missing"
        assert await get(port, "/readyz") == (503, "text/plain", "no book: index is missing\n")
        assert (await get(port, "/livez"))[0] == 200


async def test_metrics_and_pages_are_asked_anew_each_time() -> None:
    count = iter(range(10))
    probes = Probes(
        live=lambda: None,
        ready=lambda: None,
        metrics=lambda: b"a_total %d\n" % next(count),
        json_pages={"/report": lambda: {"n": next(count)}},
    )
    async with probes.serving("127.0.0.1", 0) as port:
        assert await get(port, "/metrics") == (200, "text/plain", "a_total 0\n")
        assert await get(port, "/report") == (200, "application/json", '{"n": 1}\n')
        assert (await get(port, "/metrics"))[2] == "a_total 2\n"


async def test_other_paths_and_methods_are_not_answered() -> None:
    probes = Probes(live=lambda: None, ready=lambda: None, metrics=lambda: b"")
    async with probes.serving("127.0.0.1", 0) as port, aiohttp.ClientSession() as session:
        assert (await get(port, "/"))[0] == 404
        async with session.post(f"http://127.0.0.1:{port}/livez") as answer:
            assert answer.status == 405


async def test_a_bug_is_not_taken_for_health() -> None:
    probes = Probes(live=raising, ready=lambda: None, metrics=lambda: b"")
    async with probes.serving("127.0.0.1", 0) as port:
        assert (await get(port, "/livez"))[0] == 500
        assert (await get(port, "/readyz"))[0] == 200


async def test_without_a_host_every_address_is_answered_at_one_port() -> None:
    probes = Probes(live=lambda: None, ready=lambda: None, metrics=lambda: b"")
    async with probes.serving("", 0) as port:
        assert (await get(port, "/livez"))[0] == 200
        if has_ipv6():
            assert (await get(port, "/livez", "[::1]"))[0] == 200


async def test_a_port_that_is_taken_is_an_os_error() -> None:
    probes = Probes(live=lambda: None, ready=lambda: None, metrics=lambda: b"")
    async with probes.serving("127.0.0.1", 0) as port:
        with pytest.raises(OSError, match="in use"):
            async with probes.serving("127.0.0.1", port):
                pass


async def test_the_port_is_free_again_afterwards() -> None:
    probes = Probes(live=lambda: None, ready=lambda: None, metrics=lambda: b"")
    async with probes.serving("127.0.0.1", 0) as port:
        pass
    async with probes.serving("127.0.0.1", port) as again:
        assert again == port


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False
