from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import structlog.testing

from doubles.waiting import eventually
from hookline.gateway.callers import Caller, digest_of
from hookline.gateway.problem import Kind, Refused
from hookline.gateway.static_tokens import StaticTokens
from hookline.local import private_files
from hookline.routing.publisher_tokens import PublisherToken, tokens_file

TOKEN = "4f1c77aa90be23d5618f0c4e7a9b3d26"
MINE = PublisherToken(digest_of(TOKEN), "team-a", "ci", frozenset({"IdentityCreated"}))
CALLER = Caller("secret:team-a:ci", "team-a", frozenset({"IdentityCreated"}))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "publisher-tokens.json"


def write(file: Path, *tokens: PublisherToken) -> None:
    private_files.write(file, tokens_file(tokens)[0])


def test_a_token_is_known_by_its_digest(file: Path) -> None:
    write(file, MINE)
    static = StaticTokens(file)
    static.reload()
    assert static.caller(digest_of(TOKEN)) == CALLER
    assert static.caller(digest_of(TOKEN + "x")) is None
    assert static.problem == ""


def test_before_a_first_good_file_nobody_is_told_no(file: Path) -> None:
    static = StaticTokens(file)
    static.reload()
    assert static.caller(digest_of(TOKEN)) is None
    with pytest.raises(Refused) as refused:
        static.check_read()
    assert refused.value.problem.kind is Kind.UNAVAILABLE
    write(file)
    static.reload()
    static.check_read()


def test_a_token_that_is_taken_away_is_unknown(file: Path) -> None:
    write(file, MINE)
    static = StaticTokens(file)
    static.reload()
    write(file)
    static.reload()
    assert static.caller(digest_of(TOKEN)) is None


@pytest.mark.parametrize("content", [b"", b'{"format": 2, "tokens": []}', b"x" * (2 * 1024 * 1024 + 1), None])
def test_the_last_good_file_counts_while_it_is_damaged_which_is_said_once(file: Path, content: bytes | None) -> None:
    write(file, MINE)
    static = StaticTokens(file)
    static.reload()
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    with structlog.testing.capture_logs() as logs:
        static.reload()
        static.reload()
    assert [(each["log_level"], each["doing"]) for each in logs] == [("warning", "keeping those that are known")]
    assert static.caller(digest_of(TOKEN)) == CALLER
    assert static.problem
    write(file, MINE)
    static.reload()
    assert static.problem == ""


async def test_a_change_takes_effect_while_it_is_followed_as_a_kubelet_makes_it(tmp_path: Path) -> None:
    """A new folder, and the link `..data` swung to it."""
    mount = tmp_path / "mount"
    file = mount / "publisher-tokens.json"

    def update(name: str, *tokens: PublisherToken) -> None:
        (mount / name).mkdir(parents=True)
        write(mount / name / file.name, *tokens)
        (mount / "..new").symlink_to(name)
        (mount / "..new").rename(mount / "..data")

    static, stop = StaticTokens(file), asyncio.Event()
    following = asyncio.create_task(static.watch(stop))
    await asyncio.sleep(0)
    update("..1")
    file.symlink_to(Path("..data") / file.name)

    async def is_read() -> bool:
        return static.problem == ""

    async def is_known() -> bool:
        return static.caller(digest_of(TOKEN)) is not None

    try:
        await eventually(is_read)
        update("..2", MINE)
        await eventually(is_known)
    finally:
        stop.set()
        await following
