"""Makes the log's API of an installation: its pods, which queues they read, and what is said of it."""

from __future__ import annotations

from hookline.control import api_workload, dispatchers
from hookline.control.api_service_writer import ApiServiceWriter
from hookline.control.api_workload import ApiHome
from hookline.control.applier import Applier
from hookline.control.authority_writer import AuthorityWriter
from hookline.control.cluster import ClusterError, Denied, Forbidden, Invalid
from hookline.control.context import Context
from hookline.control.kinds import API_CERTIFICATE_NAME, API_NAME, API_QUEUES_NAME, CONFIG_MAPS, DEPLOYMENTS, SECRETS
from hookline.control.seen import Seen
from hookline.control.status import as_before
from hookline.control.work_keys import DispatcherKey
from hookline.resources.dispatcher import Dispatcher
from hookline.routing.verdict import Condition


class ApiWriter:
    """The log's API."""

    def __init__(
        self, context: Context, applier: Applier, authority: AuthorityWriter, api_service: ApiServiceWriter
    ) -> None:
        self._context = context
        self._applier = applier
        self._authority = authority
        self._api_service = api_service
        self._refusal = ""
        """Why it cannot be set up."""
        self._looked = False
        self._said: Condition | None = None
        self._version = ""
        """Of what pods mount, when it was looked at last."""

    def condition(self, seen: Seen[Dispatcher]) -> Condition:
        """The condition LogApiAvailable, the same for all Dispatchers."""
        found = self._condition()
        knows = self._looked and self._api_service.problem is not None
        return found if knows else as_before(seen, found)

    async def reconcile(self) -> None:
        """Have its objects as they should be. Raises ClusterError."""
        refusal = await self._set_up()
        self._refusal, self._looked = str(refusal or ""), True
        said = self._condition()
        if said != self._said:
            self._said = said
            self._context.add(DispatcherKey(self._namespace, name) for name in self._context.seen_dispatchers())
        if refusal is not None:
            # Tried again, since quotas and policies change.
            raise refusal

    async def _set_up(self) -> ClusterError | None:
        """What the API server refuses of it. Raises other ClusterErrors."""
        identity, working = self._context.identity, self._working()
        if identity.watched is not None and not working:
            return None  # it goes with the last Dispatcher
        if identity.api.replicas == 0 and self._context.own(DEPLOYMENTS, API_NAME) is None:
            return None
        home = ApiHome(
            identity.namespace, identity.image, identity.shipped_nats, identity.watched, identity.pull_secrets
        )
        try:
            await self._context.write_own(CONFIG_MAPS, api_workload.queues(working, home))
        except (Denied, Forbidden, Invalid) as error:
            return error
        objects = api_workload.objects(working, identity.api, home)
        refusal = await self._applier.workload(objects, self._context.seen_dispatchers().values())
        await self._refresh()
        return refusal

    def _working(self) -> list[Dispatcher]:
        accepted = self._context.policy().dispatchers
        return [each for each in self._context.own_dispatchers() if accepted[each.metadata.name].status == "True"]

    async def _refresh(self) -> None:
        """Have kubelets bring pods at once what has changed. Pods that begin later begin with it."""
        mounted = ((CONFIG_MAPS, API_QUEUES_NAME), (SECRETS, API_CERTIFICATE_NAME))
        version = self._context.version_of(mounted)
        changed = self._version not in ("", version)
        self._version = version
        await self._context.touch(
            (each for each in self._context.observed.api_pods() if changed or each.touched), version
        )

    def _condition(self) -> Condition:
        return dispatchers.log_api_available(
            self._context.own(DEPLOYMENTS, API_NAME),
            self._context.identity.api.replicas,
            hindered=self._refusal or self._authority.problem_of_api,
            waiting=next((pod.waiting for pod in self._context.observed.api_pods() if pod.waiting), ""),
            unreached=self._api_service.problem or "",
        )

    @property
    def _namespace(self) -> str:
        return self._context.identity.namespace
