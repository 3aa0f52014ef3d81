"""What sender pods say of themselves: which book they serve, and which endpoints are sick.

Asks their health port inside the cluster, since sender pods have no token with which they could tell the API server.
What a pod answers is data from outside: read strictly, bounded, and never repeated in full.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hookline.control.observed import SenderPod
from hookline.control.status import Sick
from hookline.control.workload import PORT
from hookline.retry import Reason

ASK_SECONDS = 2.0
"""Bound of one question."""

MAX_REPORT_BYTES = 4 * 1024 * 1024


class _SickEndpoint(BaseModel):
    model_config = ConfigDict(extra="ignore")

    uid: str = Field(max_length=128)
    since: str = Field(max_length=40, pattern=r"^[0-9T:.+Z-]+$")
    kind: Literal["Sick", "Gone"] = "Sick"
    reason: Reason
    status: int | None = Field(default=None, ge=100, le=999)


class _QueueProblem(BaseModel):
    model_config = ConfigDict(extra="ignore")

    # Also one of a newer sender, whose words are not known here.
    reason: str = Field(max_length=64, pattern=r"^[A-Za-z]+$")
    message: str = Field(max_length=1024)


class _Report(BaseModel):
    model_config = ConfigDict(extra="ignore")

    served: dict[str, str] = Field(max_length=200)
    sick: tuple[_SickEndpoint, ...] = ()
    queue: _QueueProblem | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """One pod's answer: digests of what it serves by file, and its sick endpoints by uid of the Webhook."""

    served: Mapping[str, str]
    sick: Mapping[str, Sick]
    queue: tuple[str, str] | None = None
    """Why it cannot use its queue, reason and message, if that is so."""


class Senders:
    """Asks sender pods. `port` differs from the usual one in tests only."""

    def __init__(self, *, port: int = PORT) -> None:
        self._port = port
        self._client = httpx.AsyncClient(
            timeout=ASK_SECONDS, trust_env=False, follow_redirects=False, headers={"Accept-Encoding": "identity"}
        )

    async def ask(self, pods: Iterable[SenderPod]) -> dict[str, Report | None]:
        """The report of each pod, by its name; None of one that does not answer in time or not with a report."""
        pods = list(pods)
        reports = await asyncio.gather(*map(self._ask, pods))
        return {pod.name: report for pod, report in zip(pods, reports, strict=True)}

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _ask(self, pod: SenderPod) -> Report | None:
        host = f"[{pod.ip}]" if ":" in pod.ip else pod.ip
        try:
            url = f"http://{host}:{self._port}/report"
            async with asyncio.timeout(ASK_SECONDS), self._client.stream("GET", url) as answer:
                content = await _content(answer)
            report = _Report.model_validate_json(content)
        except (httpx.HTTPError, httpx.InvalidURL, ValidationError, TimeoutError):
            return None
        problem = (report.queue.reason, report.queue.message) if report.queue else None
        return Report(report.served, {each.uid: _sick(each) for each in report.sick}, problem)


def _sick(found: _SickEndpoint) -> Sick:
    return Sick(found.since, found.reason, found.status, gone=found.kind == "Gone")


async def _content(answer: httpx.Response) -> bytes:
    """The body of a good answer of bounded length, else nothing."""
    content = b""
    if answer.status_code == 200:
        # Raw, since a few packed bytes can become gigabytes.
        async for part in answer.aiter_raw():
            content += part
            if len(content) > MAX_REPORT_BYTES:
                return b""
    return content
