"""Writes the CA of the installation, the certificates of its gateways, and the ConfigMaps by which teams get the CA.

The Secret with the CA is created where there is none, and else replaced in exactly the version that was read: no former
leader puts an older CA over a newer one, and none is taken that somebody else brought. Nothing is signed by a CA, and
nobody is told to trust it, before the cluster has it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog

from hookline.control import authority as decided
from hookline.control import workload
from hookline.control.authority import Authority
from hookline.control.cluster import ClusterError, ClusterUnavailable, Conflict, Missing
from hookline.control.context import Context
from hookline.control.issuing import Pair, new_authority, new_certificate
from hookline.control.kinds import (
    CA_CERTIFICATE,
    CA_NAME,
    CONFIG_MAPS,
    GATEWAY,
    SECRETS,
    Place,
    gateway_certificate_name,
    labels_of_installation,
)
from hookline.control.name_servers import cluster_domain
from hookline.control.pods import metadata_of
from hookline.control.secret_data import decoded, encoded
from hookline.control.seen import Asking, Seen, asking_of, digest_of
from hookline.control.status import asking_event
from hookline.control.work_keys import AuthorityKey, BundlesKey, DispatcherKey
from hookline.resources.base import CA_LABEL
from hookline.resources.dispatcher import Dispatcher
from hookline.resources.reasons import DispatcherReason
from hookline.routing.verdict import Condition

log = structlog.get_logger(__name__)

LOOK_SECONDS = 3600.0
"""Between two looks at what may have become old. Everything is renewed with weeks to spare."""

CLOCK_SECONDS = 60.0
"""Between two looks at a clock that is wrong."""

BUNDLE_SECONDS = 0.05
"""Between two writes of ConfigMaps: a new CA reaches a thousand namespaces within a minute, and nobody else notices."""

AGAIN_SECONDS = 60.0
LONGEST_AGAIN_SECONDS = 3600.0
"""Before a ConfigMap that was changed again, or refused, is written again: doubles up to an hour, so that whoever else
insists on it, such as what applies a Git repository, is not fought."""

_TLS = "kubernetes.io/tls"
_NOT_OURS = (
    f"there is a Secret {CA_NAME} that this operator did not make, or that lost its labels; delete it, or name a "
    "certificate of your own in spec.gateway.tls.secretRef"
)
_PUT_BACK = (
    f"{CA_CERTIFICATE} was changed here, and is put back: Hookline keeps it as long as the label {CA_LABEL} is there; "
    "leave it out of what is applied, such as from Git"
)


@dataclass(frozen=True, slots=True)
class _Written:
    """What was written into a ConfigMap, or refused, how often in a row, and from when on it may be again."""

    uid: str
    digest: bytes
    times: int
    due_s: float
    refused: bool = False


class AuthorityWriter:
    """The CA, and whatever is made with it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._home = decided.Home(context.identity.namespace, cluster_domain())
        self._problem = ""
        """Why there is no CA."""
        self._problems: dict[str, str] = {}
        """Why there is no certificate, or no new one, by Dispatcher."""
        self._written: dict[Place, _Written] = {}
        self._unanswered: set[Place] = set()
        """ConfigMaps whose last write the API server did not answer."""

    def conditions(self, seen: Seen[Dispatcher]) -> list[Condition]:
        """The condition CertificateReady of a Dispatcher; none without a gateway."""
        if seen.value is None or not seen.value.spec.gateway.enabled:
            return []
        if seen.value.spec.gateway.tls.secret_ref is not None:
            words = "the gateway shows what the Secret in spec.gateway.tls.secretRef holds"
            return [Condition("CertificateReady", "True", DispatcherReason.OWN_CERTIFICATE, words)]
        problem = self._problem or self._problems.get(seen.name, "")
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
        self._context.queue.add(BundlesKey())
        failures = [each for dispatcher in in_need if (each := await self._try_certificate(authority, dispatcher))]
        if failures:
            raise failures[0]

    def _in_need(self) -> list[Dispatcher]:
        """The Dispatchers whose gateway shows a certificate of ours."""
        gateways = [each for each in self._context.own_dispatchers() if each.spec.gateway.enabled]
        return [each for each in gateways if each.spec.gateway.tls.secret_ref is None]

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

    async def _try_certificate(self, authority: Authority, dispatcher: Dispatcher) -> ClusterError | None:
        """Have a gateway's certificate right; what failed, so that others get theirs. Raises ClusterUnavailable."""
        failure: ClusterError | None = None
        try:
            await self._keep_certificate(authority.current, dispatcher)
        except ClusterUnavailable:
            raise
        except ClusterError as error:
            failure = error
        self._tell_problem_of(dispatcher.metadata.name, "" if failure is None else str(failure))
        return failure

    async def _keep_certificate(self, issuer: Pair, dispatcher: Dispatcher) -> None:
        name = dispatcher.metadata.name
        names = decided.allowed_names(issuer, self._home.names_of(name))
        now = self._context.now().replace(microsecond=0)
        live = self._context.own(SECRETS, gateway_certificate_name(name))
        metadata = metadata_of(dispatcher, GATEWAY, gateway_certificate_name(name))
        there = decided.serving(decoded(live), issuer, names, now)
        # That of a Dispatcher from before goes with it, unless it is made this one's own.
        if live is not None and there is not None and workload.holds(live["metadata"], metadata):
            return
        begin, end = now - decided.CLOCKS_APART, now + decided.CERTIFICATE_LIFE
        pair = there or new_certificate(issuer, names, self._namespace, begin, end)
        # The type of a Secret cannot be changed, and the pods look at its keys alone.
        kind = live.get("type", _TLS) if live is not None else _TLS
        data = encoded(decided.serving_data(pair))
        await self._context.write_own(SECRETS, {"metadata": metadata, "type": kind, "data": data})
        self._context.queue.add(DispatcherKey(self._namespace, name))
        if there is None:
            until = pair.certificate.not_valid_after_utc
            log.info("the gateway gets another certificate", dispatcher=name, until=until)

    async def reconcile_bundles(self) -> None:
        """Have every ConfigMap that asks hold the CA certificates that are to be trusted. Raises ClusterError."""
        held = decided.read(decoded(self._context.own(SECRETS, CA_NAME)), self._home)
        bundle = decided.trusted(held, self._context.now())
        if not bundle:
            return  # the authority's own key puts it right
        own = (self._namespace, CA_NAME)
        asking = {own, *filter(self._is_served, self._context.observed.asking)}
        self._unanswered &= asking
        # It may lie in their namespace, as where an admission policy of it hangs: others do not wait for them.
        places = sorted(asking, key=lambda place: (place in self._unanswered, place))
        self._written = {place: self._written[place] for place in places if place in self._written}
        for place in places:
            if await self._fill(place, bundle):
                await asyncio.sleep(BUNDLE_SECONDS)
        due_s = min((each.due_s for each in self._written.values() if each.due_s > _now_s()), default=None)
        if due_s is not None:
            self._context.queue.add_later(BundlesKey(), due_s - _now_s())

    def _is_served(self, place: Place) -> bool:
        namespace, name = place
        labels = self._context.observed.namespace_labels.get(namespace, {})
        return name == CA_NAME and any(each.serves(namespace, labels) for each in self._in_need())

    async def _fill(self, place: Place, bundle: str) -> bool:
        """Have one ConfigMap right; whether the API server was asked for it. Raises ClusterUnavailable."""
        asking, digest, now_s = self._asking(place), digest_of(bundle), _now_s()
        if asking is None or asking.digest == digest:
            return False
        before = self._written.get(place)
        if before is not None and (before.uid, before.digest) != (asking.uid, digest):
            before = None  # another object, or another CA: nobody has insisted yet
        if before is not None and now_s < before.due_s:
            return False
        # It is written at once the first time, and the first time that it is put back.
        times = before.times + 1 if before is not None else 0
        try:
            answer = await self._context.cluster.apply(CONFIG_MAPS, self._bundle_manifest(place, asking, bundle))
        except ClusterUnavailable:
            self._unanswered.add(place)
            raise
        except (Conflict, Missing):
            return True  # it has changed or gone meanwhile, which its watch tells
        except ClusterError as error:
            self._written[place] = _Written(asking.uid, digest, times, now_s + again_seconds(times + 1), refused=True)
            await self._tell(place, asking, "Refused", f"the CA cannot be written here: {error}")
            return True
        self._unanswered.discard(place)
        self._context.observed.put(CONFIG_MAPS, answer)
        self._written[place] = _Written(answer["metadata"]["uid"], digest, times, now_s + again_seconds(times))
        if before is not None and not before.refused:
            await self._tell(place, asking, "PutBack", _PUT_BACK)
        return True

    def _asking(self, place: Place) -> Asking | None:
        """What stands at a place, None if it has gone. In the operator's own namespace nobody needs to ask."""
        if place[0] != self._namespace:
            return self._context.observed.asking.get(place)
        own = self._context.own(CONFIG_MAPS, CA_NAME)
        return asking_of(own) if own is not None else Asking("", "", b"")

    def _bundle_manifest(self, place: Place, asking: Asking, bundle: str) -> dict[str, Any]:
        metadata: dict[str, Any] = {"namespace": place[0], "name": place[1]}
        if asking.uid:
            # With its uid, one that is gone is not made anew: a version alone does not keep an apply from that.
            metadata |= {"uid": asking.uid, "resourceVersion": asking.version}
        if place[0] == self._namespace:
            metadata["labels"] = labels_of_installation("authority")
        return {"metadata": metadata, "data": {CA_CERTIFICATE: bundle}}

    async def _tell(self, place: Place, asking: Asking, reason: str, message: str) -> None:
        """Have the team see it, at its ConfigMap."""
        log.warning("a ConfigMap with the CA of the gateways", namespace=place[0], reason=reason, problem=message)
        if not asking.uid:
            return
        seen: Seen[Any] = Seen(*place, asking.uid, 0, "", {}, None)
        reporter, now = self._context.identity.name, self._context.now()
        await self._context.tell(seen, asking_event(seen, reason, message, reporter=reporter, now=now))

    def _tell_problem(self, problem: str) -> None:
        if self._problem != problem:
            self._problem = problem
            self._context.add(DispatcherKey(self._namespace, each.metadata.name) for each in self._in_need())

    def _tell_problem_of(self, dispatcher: str, problem: str) -> None:
        if self._problems.get(dispatcher, "") != problem:
            self._problems[dispatcher] = problem
            self._context.queue.add(DispatcherKey(self._namespace, dispatcher))

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


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def again_seconds(times: int) -> float:
    """How long a ConfigMap is left alone that was written so often in a row."""
    return min(AGAIN_SECONDS * 2.0 ** min(times - 1, 30), LONGEST_AGAIN_SECONDS) if times else 0.0
