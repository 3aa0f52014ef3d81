"""What sender pods say of themselves: which book they serve, and which endpoints are failing.

Asks their health port inside the cluster, since sender pods have no token with which they could tell the API server.
What a pod answers is data from outside: read strictly, bounded, and never repeated in full.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from hookline.control.pods import PORT
from hookline.control.seen import Pod
from hookline.control.status import Failing

ASK_SECONDS = 2.0
"""Bound of one question."""

MAX_REPORT_BYTES = 4 * 1024 * 1024

MAX_UNREAD = 10_000
"""Webhooks of which one sender may say that it does not understand them. More are no report."""

MAX_WHY = 512
"""Characters that are read of why, and of what is to be done."""


class _FailingEndpoint(BaseModel):
    model_config = ConfigDict(extra="ignore")

    uid: str = Field(max_length=128)
    since: str = Field(max_length=40, pattern=r"^[0-9T:.+Z-]+$")
    # "Sick" was the word of before November 2026.
    kind: Literal["Failing", "Sick", "Gone"] = "Failing"
    # Also one of a newer sender, whose words are not known here.
    reason: str = Field(max_length=64, pattern=r"^[A-Za-z]+$")
    status: int | None = Field(default=None, ge=100, le=999)


class _QueueProblem(BaseModel):
    model_config = ConfigDict(extra="ignore")

    # Also one of a newer sender, whose words are not known here.
    reason: str = Field(max_length=64, pattern=r"^[A-Za-z]+$")
    message: str = Field(max_length=1024)


class _Report(BaseModel):
    model_config = ConfigDict(extra="ignore")

    served: dict[str, str] = Field(max_length=200)
    failing: tuple[Any, ...] = Field(default=(), validation_alias=AliasChoices("failing", "sick"))
    truncated: bool = False
    queue: _QueueProblem | None = None
    unread: dict[str, str] = Field(default={}, max_length=MAX_UNREAD)
    attempts_log: str = ""

    def endpoints(self) -> Iterator[_FailingEndpoint]:
        """Those that are understood: one of which a newer sender says what is not known here must not hide the rest."""
        for each in self.failing:
            with contextlib.suppress(ValidationError):
                yield _FailingEndpoint.model_validate(each)


@dataclass(frozen=True, slots=True)
class Report:
    """One pod's answer: digests of what it serves by file, and its failing endpoints by uid of the Webhook."""

    served: Mapping[str, str]
    failing: Mapping[str, Failing]
    queue: tuple[str, str] | None = None
    """Why it cannot use its queue, reason and message, if that is so."""
    unread: Mapping[str, str] = field(default_factory=dict)
    """Webhooks that it holds because its version does not know what they need, by uid, and why."""
    truncated: bool = False
    """Whether there are more failing endpoints than it names."""
    attempts_log: str = ""
    """What a person should do for the log of attempts, if anything."""


class Senders:
    """Asks sender pods. `port` differs from the usual one in tests only."""

    def __init__(self, *, port: int = PORT) -> None:
        self._port = port
        self._client = httpx.AsyncClient(
            timeout=ASK_SECONDS, trust_env=False, follow_redirects=False, headers={"Accept-Encoding": "identity"}
        )

    async def ask(self, pods: Iterable[Pod]) -> dict[str, Report | None]:
        """The report of each pod, by its name; None of one that does not answer in time or not with a report."""
        pods = list(pods)
        reports = await asyncio.gather(*map(self._ask, pods))
        return {pod.name: report for pod, report in zip(pods, reports, strict=True)}

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _ask(self, pod: Pod) -> Report | None:
        host = f"[{pod.ip}]" if ":" in pod.ip else pod.ip
        try:
            url = f"http://{host}:{self._port}/report"
            async with asyncio.timeout(ASK_SECONDS), self._client.stream("GET", url) as answer:
                content = await _content(answer)
            report = _Report.model_validate_json(content)
        except (httpx.HTTPError, httpx.InvalidURL, ValidationError, TimeoutError):
            return None
        problem = (report.queue.reason, report.queue.message) if report.queue else None
        failing = {each.uid: _failing(each) for each in report.endpoints()}
        unread = {uid: why[:MAX_WHY] for uid, why in report.unread.items()}
        return Report(report.served, failing, problem, unread, report.truncated, report.attempts_log[:MAX_WHY])


def _failing(found: _FailingEndpoint) -> Failing:
    return Failing(found.since, found.reason, found.status, gone=found.kind == "Gone")


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
