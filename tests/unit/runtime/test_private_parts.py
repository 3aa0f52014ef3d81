"""What Hookline overrides is there in the versions that are installed: a library that renames it fails here first."""

from __future__ import annotations

import aiohttp
import pytest
from nats.aio.client import Client

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
        for name in ("_factory", "_conns"):
            assert hasattr(connector, name), name
    finally:
        await connector.close()
