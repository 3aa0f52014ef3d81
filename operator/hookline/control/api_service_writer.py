"""Keeps what kube-apiserver trusts of the log's API: `spec.caBundle` of the one APIService, and nothing else of it.

It is looked at now and then, because a watch of it would need the right to all of its kind. An installation for a
single namespace has none.
"""

from __future__ import annotations

import asyncio

import structlog

from hookline.control import api_service, authority
from hookline.control.authority import Home
from hookline.control.cluster import ClusterError, ClusterUnavailable, Conflict
from hookline.control.context import Context
from hookline.control.kinds import API_SERVICE_NAME, API_SERVICES, CA_NAME, SECRETS
from hookline.control.secret_data import decoded
from hookline.control.work_keys import ApiKey, ApiServiceKey

log = structlog.get_logger(__name__)

LOOK_SECONDS = 60.0
"""Between two looks while all is well."""

SOON_SECONDS = 10.0
"""Between two looks while kube-apiserver does not reach it, such as while the first pods start."""

AGAIN_SECONDS = 60.0
"""After it was put back, before it is again: whoever else insists on another value is not fought."""


class ApiServiceWriter:
    """The APIService of an installation."""

    def __init__(self, context: Context, home: Home) -> None:
        self._context = context
        self._home = home
        self.problem: str | None = None if self._is_kept else ""
        """Why people do not reach the log by kube-apiserver; empty if nothing is wrong, None before the first look."""
        self._written = ""
        """The bundle that was written last."""
        self._due_s = 0.0
        """From when on the same may be written again."""

    async def reconcile(self) -> None:
        """Have it trust the CA that is in force, or is to be. Raises ClusterError."""
        if not self._is_kept:
            return
        self._context.queue.add_later(ApiServiceKey(), LOOK_SECONDS)
        try:
            live = await self._context.cluster.get(API_SERVICES, None, API_SERVICE_NAME)
            if live is not None and api_service.is_ours(live, self._namespace):
                await self._trust(live)
        except (ClusterUnavailable, Conflict):
            raise
        except ClusterError as error:
            self._say(f"the APIService {API_SERVICE_NAME} cannot be kept: {error}")
            return
        self._say(api_service.problem_in(live, self._namespace))
        if self.problem and live is not None:
            self._context.queue.add_later(ApiServiceKey(), SOON_SECONDS)

    async def _trust(self, live: dict[str, object]) -> None:
        held = authority.read(decoded(self._context.own(SECRETS, CA_NAME)), self._home)
        bundle = authority.trusted(held, self._context.now())
        manifest = api_service.with_bundle(live, bundle) if bundle else None
        if manifest is None:
            return
        now_s = asyncio.get_running_loop().time()
        again = bundle == self._written
        if again and now_s < self._due_s:
            self._context.queue.add_later(ApiServiceKey(), self._due_s - now_s)
            return
        await self._context.cluster.apply(API_SERVICES, manifest)
        self._written, self._due_s = bundle, now_s + AGAIN_SECONDS if again else now_s
        if again:
            log.warning("others changed caBundle of the APIService; it is put back, see docs/gitops.md")
        else:
            log.info("kube-apiserver is told which CA the log's API has")

    def _say(self, problem: str) -> None:
        if problem != self.problem:
            self.problem = problem
            self._context.queue.add(ApiKey())

    @property
    def _is_kept(self) -> bool:
        identity = self._context.identity
        return identity.watched is None and identity.api.replicas > 0

    @property
    def _namespace(self) -> str:
        return self._context.identity.namespace
