"""The Kubernetes API as the operator uses it: lists, server-side apply, patches, and what their failures are called.

The only module that imports the Kubernetes client. It works on plain dicts: the client's models cost a millisecond an
object, and their repr prints the data of Secrets.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import yaml
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

from hookline import __version__
from hookline.control.kinds import CONFIG_MAPS, FIELD_MANAGER, SECRETS, Kind, whole
from hookline.control.reading import read_json

Object = dict[str, Any]
"""An object as the API server writes it."""

REQUEST_SECONDS = 20.0
"""Bound of one request. A server that hangs must not hold a worker for the client's five minutes."""

CHUNK = 500
CHUNK_OF_LARGE = 50
"""Objects in one answer to a list: bounds memory on both sides. Teams may fill a Secret or ConfigMap with 1 MiB."""

NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

_APPLY = "application/apply-patch+yaml"
_AWAY = "failed calling webhook"
"""Words of the API server where an admission webhook does not answer. Its own answer is 500 then."""
_DENIAL = re.compile(rf"exceeded quota|denied (the )?request|immutable|failed quota|LimitRanger|{_AWAY}", re.IGNORECASE)
_KEY = re.compile(r"[A-Za-z0-9+/=_]{36,}")
_LONGEST_WORDS = 300

_MERGE = "application/merge-patch+json"
_METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


class ClusterError(Exception):
    """The API server said no, or nothing. The text holds no part of an object."""


class ClusterUnavailable(ClusterError):
    """No answer, or one that asks to come again: try later. `after_seconds` is what the server asked for."""

    def __init__(self, text: str, after_seconds: float = 0.0) -> None:
        super().__init__(text)
        self.after_seconds = after_seconds


class Forbidden(ClusterError):
    """The operator lacks a right that the shipped roles give it."""


class Missing(ClusterError):
    """There is no such object, or no such kind."""


class Conflict(ClusterError):
    """Somebody else wrote the object meanwhile, or it is another object of that name, or it exists already."""


class Invalid(ClusterError):
    """The API server does not take the object as it is."""


class Denied(ClusterError):
    """A quota or an admission policy does not let the object in. The text has its words."""


class Unjudged(Denied):
    """Who is to judge the object does not answer. It may be let in later, and meanwhile others may."""


class Expired(ClusterError):
    """A list took so long that its continuation is no longer known (410 Gone)."""


@dataclass(frozen=True, slots=True)
class Access:
    """How the API server is reached: what the watches need besides this client."""

    server: str
    ca_path: str | None
    token: str | None = field(repr=False)
    certificate_path: str | None
    private_key_path: str | None
    verify: bool
    namespace: str | None
    """Of the pod, or of the kubeconfig's context."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The objects of a kind at one time, which the API server calls a version."""

    objects: list[Object] = field(repr=False)
    version: int


class NoCluster(Exception):
    """Neither a pod's account nor a kubeconfig. The text says what to do."""


Heard = Callable[[str, str, str], None]
"""Hears of each request: verb, kind, and `ok` or the name of its failure."""


def chunk_of(kind: Kind) -> int:
    """How many objects of a kind are asked for at once."""
    return CHUNK_OF_LARGE if kind.plural in (SECRETS.plural, CONFIG_MAPS.plural) else CHUNK


def _unheard(verb: str, kind: str, outcome: str) -> None:
    """Nobody listens."""


class Cluster:
    """One connection pool to the API server."""

    def __init__(
        self,
        client: ApiClient,
        *,
        on_request: Heard = _unheard,
        may_write: Callable[[], bool] = lambda: True,
    ) -> None:
        self._client = client
        self._on_request = on_request
        self.may_write = may_write
        """Asked before every write: an operator that lost its lease must not write any more."""
        self.clock_ahead = timedelta()
        """Of our clock, of that of the API server, by its last answer: to the second, and how long that took."""

    async def list_all(
        self, kind: Kind, namespace: str | None = None, *, labels: str = "", metadata_only: bool = False
    ) -> list[Object]:
        """All objects of a kind. Raises ClusterError; never gives a part of them for the whole."""
        return (await self.snapshot(kind, namespace, labels=labels, metadata_only=metadata_only)).objects

    async def snapshot(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        labels: str = "",
        metadata_only: bool = False,
        keep: Callable[[Object], Object] = whole,
    ) -> Snapshot:
        """All objects of a kind, as they were at one time: of each what `keep` makes of it. Raises ClusterError, as
        list_all."""
        for _ in range(3):
            try:
                return await self._list(kind, namespace, labels, keep, metadata_only=metadata_only)
            except Expired:
                continue
        raise ClusterUnavailable(f"listing {kind.plural} takes so long that the API server forgets where it was")

    async def _list(
        self,
        kind: Kind,
        namespace: str | None,
        labels: str,
        keep: Callable[[Object], Object],
        *,
        metadata_only: bool,
    ) -> Snapshot:
        found: list[Object] = []
        query = {"limit": str(chunk_of(kind)), **({"labelSelector": labels} if labels else {})}
        accept = _METADATA_ONLY if metadata_only else "application/json"
        while True:
            answer = await self._request("GET", "list", kind, kind.path(namespace), query=query, accept=accept)
            metadata = answer.get("metadata") or {}
            if "items" not in answer or "resourceVersion" not in metadata:
                raise ClusterUnavailable(f"listing {kind.plural}: what answers is no list")
            found += [keep(each) for each in answer["items"] or [] if isinstance(each, dict)]
            if not metadata.get("continue"):
                return Snapshot(found, int(metadata["resourceVersion"]))
            query["continue"] = metadata["continue"]

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        """One object, or None. Raises ClusterError."""
        try:
            return await self._request("GET", "get", kind, kind.path(namespace, name))
        except Missing:
            return None

    async def apply(self, kind: Kind, manifest: Object, *, subresource: str | None = None) -> Object:
        """Server-side apply as the field manager `hookline`: creates or changes; what it names is ours alone.

        With `metadata.resourceVersion` it changes exactly that version, else Conflict. Raises ClusterError.
        """
        metadata = manifest["metadata"]
        path = kind.path(metadata.get("namespace"), metadata["name"], subresource)
        body = {"apiVersion": kind.api_version, "kind": kind.name, **manifest}
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        return await self._request("PATCH", "apply", kind, path, query=query, body=body, content_type=_APPLY)

    async def merge(self, kind: Kind, namespace: str | None, name: str, patch: Object) -> Object:
        """A merge patch. Raises ClusterError."""
        query = {"fieldManager": FIELD_MANAGER}
        path = kind.path(namespace, name)
        return await self._request("PATCH", "patch", kind, path, query=query, body=patch, content_type=_MERGE)

    async def create(self, kind: Kind, manifest: Object) -> Object:
        """A new object. Raises Conflict when there is one, and ClusterError."""
        body = {"apiVersion": kind.api_version, "kind": kind.name, **manifest}
        path = kind.path(manifest["metadata"].get("namespace"))
        return await self._request("POST", "create", kind, path, query={"fieldManager": FIELD_MANAGER}, body=body)

    async def replace(self, kind: Kind, manifest: Object) -> Object:
        """The whole object, of exactly the version that its resourceVersion names. Raises Conflict, ClusterError."""
        metadata = manifest["metadata"]
        body = {"apiVersion": kind.api_version, "kind": kind.name, **manifest}
        path = kind.path(metadata.get("namespace"), metadata["name"])
        return await self._request("PUT", "replace", kind, path, query={"fieldManager": FIELD_MANAGER}, body=body)

    async def delete(self, kind: Kind, namespace: str | None, name: str, *, uid: str | None = None) -> None:
        """Delete an object, if it is still the one with that uid. One that is gone is fine. Raises ClusterError."""
        body = {"preconditions": {"uid": uid}} if uid else {}
        try:
            await self._request("DELETE", "delete", kind, kind.path(namespace, name), body=body)
        except Missing:
            return

    async def _request(
        self,
        method: str,
        verb: str,
        kind: Kind,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Object:
        if method != "GET" and kind.name != "Lease" and not self.may_write():
            raise ClusterUnavailable(f"not the leader any more: {verb} {kind.name} is left to the other operator")
        try:
            answer = await self._answer(method, kind, path, query or {}, body, content_type, accept)
        except ClusterError as error:
            self._on_request(verb, kind.name, type(error).__name__)
            raise
        self._on_request(verb, kind.name, "ok")
        return answer

    async def _answer(
        self,
        method: str,
        kind: Kind,
        path: str,
        query: Mapping[str, str],
        body: Object | None,
        content_type: str,
        accept: str,
    ) -> Object:
        headers = {"Accept": accept, "Content-Type": content_type, "User-Agent": f"hookline/{__version__}"}
        url = self._client.configuration.host + path + (f"?{urlencode(query)}" if query else "")
        try:
            await self._client.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
            async with asyncio.timeout(REQUEST_SECONDS):
                response = await self._client.rest_client.request(
                    method, url, headers=headers, body=body, _request_timeout=REQUEST_SECONDS
                )
                content = await response.read()
        except (aiohttp.ClientError, config.ConfigException, OSError, TimeoutError) as error:
            raise ClusterUnavailable(f"the API server does not answer ({type(error).__name__})") from None
        if (theirs := _time_of(response.headers)) is not None:
            self.clock_ahead = datetime.now(UTC) - theirs
        if response.status >= 300:
            raise _refusal(response.status, response.headers, content, f"{method} {kind.plural}")
        found = _object(content)
        if not found:
            raise ClusterUnavailable(f"{method} {kind.plural}: the answer is not one of an API server")
        return found


def _time_of(headers: Mapping[str, str]) -> datetime | None:
    """When an answer was written (RFC 9110, section 6.6.1), by the clock of who wrote it."""
    try:
        found = parsedate_to_datetime(headers.get("Date", ""))
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def _refusal(status: int, headers: Mapping[str, str], content: bytes, what: str) -> ClusterError:
    """The failure that an answer means. Of its message only the reason word is kept: it may repeat values."""
    reason = _reason(content)
    text = f"{what}: the API server answered {status} {reason}".strip()
    if status == 403 and _namespace_goes(content):
        return Missing(f"{text}: its namespace is being deleted")
    if words := _words(content):
        return (Unjudged if _AWAY in words else Denied)(f"{text}: {words}")
    if status == 403:
        return Forbidden(f"{text}; are the shipped roles bound to the operator's account?")
    if status == 404:
        return Missing(text)
    if status == 409:
        return Conflict(text)
    if status == 410:
        return Expired(text)
    if status in (400, 405, 413, 415, 422):
        return Invalid(f"{text} {_fields(content)}".strip())
    after = headers.get("Retry-After", "")
    return ClusterUnavailable(text, float(after) if re.fullmatch(r"[0-9]{1,4}", after) else 0.0)


def _reason(content: bytes) -> str:
    reason = _object(content).get("reason")
    return reason if isinstance(reason, str) and re.fullmatch(r"[A-Za-z]{1,64}", reason) else ""


def _words(content: bytes) -> str:
    """What a quota, an admission policy or a frozen object says for itself; empty when the refusal is another one.

    Short, and without anything that could be a key: whoever writes a policy may have it repeat what it refuses.
    """
    message = _object(content).get("message")
    if not isinstance(message, str) or not _DENIAL.search(message):
        return ""
    return _KEY.sub("…", " ".join(message.split()))[:_LONGEST_WORDS]


def _namespace_goes(content: bytes) -> bool:
    return any(each.get("reason") == "NamespaceTerminating" for each in _causes(content))


def _causes(content: bytes) -> list[Object]:
    details = _object(content).get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    return [each for each in causes or [] if isinstance(each, dict)]


def _fields(content: bytes) -> str:
    """The names of the fields that the API server did not take."""
    fields = [str(each.get("field", "")) for each in _causes(content)]
    return ", ".join(sorted({field for field in fields if re.fullmatch(r"[\w.\[\]-]{1,200}", field)}))


def _object(content: bytes) -> Object:
    try:
        answer = read_json(content)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


@asynccontextmanager
async def connected(
    kubeconfig: Path | None = None, *, on_request: Heard = _unheard
) -> AsyncIterator[tuple[Cluster, Access]]:
    """The cluster that the pod's account or a kubeconfig names. Raises NoCluster."""
    configuration = Configuration()
    # Proxies of the environment are for the outside world; the API server is inside.
    configuration.client_session_kwargs = {"trust_env": False}
    namespace = await _configure(configuration, kubeconfig)
    async with ApiClient(configuration) as client:
        yield Cluster(client, on_request=on_request), _access(configuration, namespace)


async def _configure(configuration: Configuration, kubeconfig: Path | None) -> str | None:
    """Fill in how to reach the API server; the namespace that goes with it."""
    try:
        if kubeconfig is None and in_pod():
            return _as_pod(configuration)
        file = str(kubeconfig) if kubeconfig else None
        await config.load_kube_config(config_file=file, client_configuration=configuration, persist_config=False)
        _, context = config.list_kube_config_contexts(config_file=file)
    except (config.ConfigException, yaml.YAMLError, OSError, ValueError, TypeError, KeyError) as error:
        raise NoCluster(
            f"no Kubernetes API server to talk to ({type(error).__name__}); run this in a pod with a service account, "
            "or name a kubeconfig with --kubeconfig"
        ) from None
    found = (context.get("context") or {}).get("namespace")
    return str(found) if found else None


def fresh(access: Access) -> Access:
    """The same access with today's token: that of a pod changes every hour."""
    if not in_pod():
        return access
    configuration = Configuration()
    namespace = _as_pod(configuration)
    return _access(configuration, namespace)


def in_pod() -> bool:
    """Whether this runs in a pod with a service account."""
    return NAMESPACE_FILE.is_file()


def _as_pod(configuration: Configuration) -> str:
    config.load_incluster_config(configuration)
    return NAMESPACE_FILE.read_text(encoding="ascii").strip()


def _access(configuration: Configuration, namespace: str | None) -> Access:
    token = (configuration.api_key or {}).get("BearerToken")
    return Access(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        token=re.sub(r"^bearer\s+", "", token, flags=re.IGNORECASE).strip() if token else None,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
        verify=bool(configuration.verify_ssl),
        namespace=namespace,
    )
