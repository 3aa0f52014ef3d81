"""Writes the CA of the installation, and the certificates of its gateways and of the log's API.

The Secret with the CA is created where there is none, and else replaced in exactly the version that was read: no former
leader puts an older CA over a newer one, and none is taken that somebody else brought. Nothing is signed by a CA, and
nobody is told to trust it, before the cluster has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog

from hookline.control import authority as decided
from hookline.control.applied import holds
from hookline.control.authority import Authority, Home
from hookline.control.cluster import ClusterError, ClusterUnavailable, Conflict
from hookline.control.context import Context
from hookline.control.issuing import Pair, new_authority, new_certificate
from hookline.control.kinds import (
    API,
    API_CERTIFICATE_NAME,
    CA_NAME,
    GATEWAY,
    SECRETS,
    gateway_certificate_name,
    labels_of_installation,
)
from hookline.control.pods import metadata_of, metadata_of_installation
from hookline.control.secret_data import decoded, encoded
from hookline.control.seen import Seen
from hookline.control.work_keys import (
    ApiKey,
    ApiServiceKey,
    AuthorityKey,
    BundlesKey,
    DispatcherKey,
    GatewayTouchKey,
    Key,
)
from hookline.resources.dispatcher import Dispatcher
from hookline.resources.reasons import DispatcherReason
from hookline.routing.verdict import Condition

log = structlog.get_logger(__name__)

LOOK_SECONDS = 3600.0
"""Between two looks at what may have become old. Everything is renewed with weeks to spare."""

CLOCK_SECONDS = 60.0
"""Between two looks at a clock that is wrong."""

_TLS = "kubernetes.io/tls"
_NOT_OURS = (
    f"there is a Secret {CA_NAME} that this operator did not make, or that lost its labels; delete it, or name a "
    "certificate of your own in spec.gateway.tls.secretRef"
)


@dataclass(frozen=True, slots=True)
class _Server:
    """What shows a certificate of the CA."""

    shown: str
    """In the log."""
    secret: dict[str, Any]
    """Metadata of the Secret with it."""
    names: list[str]
    looks: Key
    """Who tells of it."""
    changed: Key
    """Who sees to it that pods have it soon."""

    @property
    def secret_name(self) -> str:
        return str(self.secret["name"])


class AuthorityWriter:
    """The CA, and what it signs."""

    def __init__(self, context: Context, home: Home) -> None:
        self._context = context
        self._home = home
        self._problem = ""
        """Why there is no CA."""
        self._problems: dict[str, str] = {}
        """Why there is no certificate, or no new one, by its Secret."""

    @property
    def problem_of_api(self) -> str:
        """Why the log's API has no certificate, or gets no new one; empty if nothing is wrong."""
        return self._problem or self._problems.get(API_CERTIFICATE_NAME, "")

    def conditions(self, seen: Seen[Dispatcher]) -> list[Condition]:
        """The condition CertificateReady of a Dispatcher; none without a gateway."""
        if seen.value is None or not seen.value.spec.gateway.enabled:
            return []
        if seen.value.spec.gateway.tls.secret_ref is not None:
            words = "the gateway shows what the Secret in spec.gateway.tls.secretRef holds"
            return [Condition("CertificateReady", "True", DispatcherReason.OWN_CERTIFICATE, words)]
        problem = self._problem or self._problems.get(gateway_certificate_name(seen.name), "")
        if not problem and self._context.own(SECRETS, gateway_certificate_name(seen.name)) is not None:
            words = "the gateway shows a certificate of the installation's CA"
            return [Condition("CertificateReady", "True", DispatcherReason.ISSUED, words)]
        words = f"the gateway gets no certificate: {problem}" if problem else "the gateway has no certificate yet"
        return [Condition("CertificateReady", "False", DispatcherReason.NOT_ISSUED, words)]

    async def reconcile(self) -> None:
        """Have the cluster hold the CA and the certificate of each gateway that needs one. Raises ClusterError."""
        self._context.queue.add_later(AuthorityKey(), LOOK_SECONDS)
        in_need = self._in_need()
        if not in_need:
            return
        ahead = self._context.cluster.clock_ahead
        if abs(ahead) > decided.CLOCKS_APART:
            # Whichever is wrong: all is made with weeks to spare, and what is made wrong, callers refuse at once.
            self._tell_problem(clocks_apart(ahead))
            self._context.queue.add_later(AuthorityKey(), CLOCK_SECONDS)
            return
        try:
            authority = await self._keep_authority()
        except ClusterError as error:
            self._tell_problem(str(error))
            raise
        self._tell_problem("")
        self._context.add((BundlesKey(), ApiServiceKey()))
        failures = [each for server in in_need if (each := await self._try_certificate(authority, server))]
        if failures:
            raise failures[0]

    def _in_need(self) -> list[_Server]:
        """Whoever shows a certificate of ours."""
        gateways = [self._gateway(each) for each in self._context.own_dispatchers() if decided.is_needed_by(each)]
        return [*gateways, *([self._api()] if self._context.identity.api.replicas else [])]

    def _gateway(self, dispatcher: Dispatcher) -> _Server:
        name = dispatcher.metadata.name
        return _Server(
            f"gateway of {name}",
            metadata_of(dispatcher, GATEWAY, gateway_certificate_name(name)),
            self._home.names_of(name),
            DispatcherKey(self._namespace, name),
            GatewayTouchKey(name),
        )

    def _api(self) -> _Server:
        metadata = metadata_of_installation(self._namespace, API, API_CERTIFICATE_NAME)
        return _Server("api", metadata, self._home.names_of_api(), ApiKey(), ApiKey())

    async def _keep_authority(self) -> Authority:
        """The CA as it should be, once the cluster has it so. Raises ClusterError."""
        home, now = self._home, self._context.now().replace(microsecond=0)
        begin, end = now - decided.CLOCKS_APART, now + decided.AUTHORITY_LIFE
        live = self._context.own(SECRETS, CA_NAME)
        held = decided.read(decoded(live), home)
        wanted = decided.turned(held, now, lambda: new_authority(self._namespace, home.names(), begin, end))
        there = decoded(live)
        # What others add is left: an apply would not take it away.
        if live is not None and there | wanted.data() == there:
            return wanted
        await self._write_authority(live, wanted)
        if live is not None and held.current is None:
            log.warning("the CA of the gateways could not be used any more; it is replaced at once")
        else:
            log.info("the CA of the gateways changes", serial=f"{wanted.current.certificate.serial_number:x}")
        return wanted

    async def _write_authority(self, live: Any, wanted: Authority) -> None:
        metadata = {"namespace": self._namespace, "name": CA_NAME, "labels": labels_of_installation("authority")}
        kind = live.get("type", "Opaque") if live is not None else "Opaque"
        manifest = {"metadata": metadata, "type": kind, "data": encoded(wanted.data())}
        if live is not None:
            # One that was deleted, as after its key leaked, must not come back.
            await self._context.write_own(
                SECRETS, {**manifest, "metadata": {**metadata, "uid": live["metadata"]["uid"]}}
            )
            return
        try:
            answer = await self._context.cluster.create(SECRETS, manifest)
        except Conflict:
            await self._context.read_own(SECRETS)
            if self._context.own(SECRETS, CA_NAME) is None:
                raise Conflict(_NOT_OURS) from None
            raise
        self._context.observed.put(SECRETS, answer)

    async def _try_certificate(self, authority: Authority, server: _Server) -> ClusterError | None:
        """Have a server's certificate right; what failed, so that others get theirs. Raises ClusterUnavailable."""
        failure: ClusterError | None = None
        try:
            await self._keep_certificate(authority.current, server)
        except ClusterUnavailable:
            raise
        except ClusterError as error:
            failure = error
        self._tell_problem_of(server, "" if failure is None else str(failure))
        return failure

    async def _keep_certificate(self, issuer: Pair, server: _Server) -> None:
        names = decided.allowed_names(issuer, server.names)
        now = self._context.now().replace(microsecond=0)
        live = self._context.own(SECRETS, server.secret_name)
        there = decided.serving(decoded(live), issuer, names, now)
        # That of a Dispatcher from before goes with it, unless it is made this one's own.
        if live is not None and there is not None and holds(live["metadata"], server.secret):
            return
        begin, end = now - decided.CLOCKS_APART, now + decided.CERTIFICATE_LIFE
        pair = there or new_certificate(issuer, names, self._namespace, begin, end)
        # The type of a Secret cannot be changed, and the pods look at its keys alone.
        kind = live.get("type", _TLS) if live is not None else _TLS
        data = encoded(decided.serving_data(pair))
        await self._context.write_own(SECRETS, {"metadata": server.secret, "type": kind, "data": data})
        self._context.queue.add(server.looks)
        if there is None:
            # Whoever reads a new CA at once must not meet a certificate of the former one for a minute.
            self._context.queue.add(server.changed)
            log.info("another certificate is made", server=server.shown, until=pair.certificate.not_valid_after_utc)

    def _tell_problem(self, problem: str) -> None:
        if self._problem != problem:
            self._problem = problem
            self._context.add(each.looks for each in self._in_need())

    def _tell_problem_of(self, server: _Server, problem: str) -> None:
        if self._problems.get(server.secret_name, "") != problem:
            self._problems[server.secret_name] = problem
            self._context.queue.add(server.looks)

    @property
    def _namespace(self) -> str:
        return self._context.identity.namespace


def clocks_apart(ahead: timedelta) -> str:
    """What is said of a clock that is ahead of that of the API server, or behind it."""
    where = "ahead of" if ahead > timedelta() else "behind"
    return (
        f"the operator's clock is {abs(ahead).days} days {where} that of the API server; put right the one that is "
        "wrong, on its node"
    )
