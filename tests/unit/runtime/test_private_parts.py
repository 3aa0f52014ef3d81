"""What Hookline overrides is there in the versions that are installed: a library that renames it fails here first."""

from __future__ import annotations

import aiohttp
import pytest
from nats.aio.client import Client
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from hookline.runtime.private_parts import require


def test_a_name_that_is_gone_is_an_error_that_says_so() -> None:
    with pytest.raises(ImportError, match="Client has no _renamed"):
        require(Client, "_connect_command", "_renamed")


def test_the_nats_client_has_the_fields_that_are_read() -> None:
    client = Client()
    for name in ("_flush_queue", "_server_info", "_current_server", "_transport", "_subs", "_error_cb"):
        assert hasattr(client, name), name


async def test_the_connector_has_the_fields_that_are_set() -> None:
    connector = aiohttp.TCPConnector()
    try:
        for name in ("_factory", "_loop"):
            assert hasattr(connector, name), name
    finally:
        await connector.close()


async def test_the_http_protocol_has_the_fields_that_are_read_and_set() -> None:
    config = Config(
        lambda scope, receive, send: None, http=HttpToolsProtocol, ws="none", lifespan="off", log_config=None
    )
    config.load()
    protocol = HttpToolsProtocol(config, ServerState(), {})
    for name in ("cycle", "flow", "headers", "logger", "loop", "parser", "pipeline", "transport"):
        assert hasattr(protocol, name), name
    protocol.on_message_begin()
    assert hasattr(protocol, "url")


async def test_a_request_has_the_fields_that_are_read_and_set() -> None:
    names = ("scope", "transport", "flow", "logger", "access_logger", "access_log", "default_headers", "message_event")
    given = dict.fromkeys((*names, "expect_100_continue", "keep_alive", "on_response"))
    cycle = RequestResponseCycle(**given)  # type: ignore[arg-type]
    for name in (
        "body",
        "disconnected",
        "more_body",
        "response_complete",
        "response_started",
        "waiting_for_100_continue",
    ):
        assert hasattr(cycle, name), name
