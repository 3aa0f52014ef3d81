"""The OpenAPI document of the gateway, held against the running gateway by schemathesis."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import httpx

from doubles.gateway import TOKEN

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,ignored_auth,missing_required_header,allow_header_conformance"
)


def asked(url: str, folder: Path) -> subprocess.CompletedProcess[str]:
    words = [
        "run",
        f"{url}/v1/openapi.json",
        "--header",
        f"Authorization: Bearer {TOKEN}",
        "--checks",
        CHECKS,
        "--phases",
        "examples,coverage,fuzzing",
        "--max-examples",
        "15",
        "--seed",
        "1",
        "--continue-on-failure",
        "--suppress-health-check",
        "all",
        "--request-timeout",
        "10",
    ]
    environment = {**os.environ, "NO_COLOR": "1"}
    return subprocess.run(
        [SCHEMATHESIS, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=100
    )


async def test_nothing_that_the_document_allows_is_a_server_error_or_an_answer_that_it_does_not_name(
    gateway: httpx.AsyncClient, tmp_path: Path
) -> None:
    done = await asyncio.to_thread(asked, str(gateway.base_url), tmp_path)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert "passed" in done.stdout
    print(done.stdout)
