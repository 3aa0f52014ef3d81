"""A stand-in for the kubelet, for tests without a node: runs sender pods as processes on loopback.

It does what a kubelet does for them, and no more: each pod gets an address, its projected volume as a folder that is
swapped as a whole, the process that its container names, and a Ready condition that follows /readyz. A change of a
ConfigMap or Secret reaches the folder when the pod is touched, or after `sync_seconds`.

Of gateway pods it only says that they are ready: without a node they have no token of their own.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from hookline.control.cluster import Cluster, ClusterError
from hookline.control.kinds import COMPONENT_LABEL, CONFIG_MAPS, PODS, SECRETS, Kind

Object = dict[str, Any]

LOOK_SECONDS = 0.1


@dataclass(eq=False)
class RunningPod:
    """One pod that runs."""

    name: str
    uid: str
    ip: str
    folder: Path
    process: asyncio.subprocess.Process
    log: Path
    annotations: Mapping[str, str] = field(default_factory=dict)
    ready: bool = False
    refreshed_at: float = 0.0


class StandInKubelet:
    """Runs the pods of one namespace that carry the label of senders."""

    # Its own for each process of tests: the port of the pods is always the same.
    _addresses = iter(f"127.{10 + os.getpid() % 190}.{third}.{last}" for third in range(250) for last in range(1, 250))

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        folder: Path,
        *,
        nats_url: str,
        sync_seconds: float = 60.0,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._folder = folder
        self._nats_url = nats_url
        self._sync_seconds = sync_seconds
        self._environment = {**os.environ, **(environment or {})}
        self._objects: dict[tuple[str, str], tuple[str, Object]] = {}
        self.pods: dict[str, RunningPod] = {}
        """Of senders, by name."""
        self._gateways: set[str] = set()
        """Of those that were said to be ready, the uids."""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[StandInKubelet]:
        task = asyncio.create_task(self._run())
        try:
            yield self
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await asyncio.gather(*(self._end(pod) for pod in self.pods.values()))

    async def kill(self, name: str) -> None:
        """SIGKILL to the process of a pod; it is started again, as a kubelet would."""
        pod = self.pods[name]
        pod.process.kill()
        await pod.process.wait()

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(ClusterError):
                await self._look()
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self) -> None:
        selector = f"{COMPONENT_LABEL} in (sender,gateway)"
        found = await self._cluster.list_all(PODS, self._namespace, labels=selector)
        there = [each["metadata"] for each in found if not each["metadata"].get("deletionTimestamp")]
        of_senders = {each["uid"] for each in there if each["labels"][COMPONENT_LABEL] == "sender"}
        manifests = {each["metadata"]["name"]: each for each in found if each["metadata"]["uid"] in of_senders}
        for each in there:
            if each["uid"] not in of_senders | self._gateways:
                self._gateways.add(each["uid"])
                await self._patch_status(each["name"], _status("127.0.0.1", ready=True))
        for name in self.pods.keys() - manifests.keys():
            await self._end(self.pods.pop(name))
        for name, manifest in manifests.items():
            if name not in self.pods:
                self.pods[name] = await self._start(manifest)
            elif self.pods[name].process.returncode is not None:
                await self._restart(self.pods[name], manifest)
            await self._care(self.pods[name], manifest)

    async def _start(self, manifest: Object) -> RunningPod:
        name = manifest["metadata"]["name"]
        folder = self._folder / name
        folder.mkdir(parents=True)
        ip = next(self._addresses)
        log = folder / "log"
        (folder / "book").mkdir()
        await self._refresh(folder / "book", manifest)
        process = await self._process(manifest, ip, folder / "book", log)
        pod = RunningPod(name, manifest["metadata"]["uid"], ip, folder, process, log)
        pod.annotations = dict(manifest["metadata"].get("annotations") or {})
        pod.refreshed_at = asyncio.get_running_loop().time()
        await self._tell(pod)
        return pod

    async def _restart(self, pod: RunningPod, manifest: Object) -> None:
        pod.process = await self._process(manifest, pod.ip, pod.folder / "book", pod.log)

    async def _process(self, manifest: Object, ip: str, book: Path, log: Path) -> asyncio.subprocess.Process:
        """The container's own arguments, with its folder and addresses replaced by those of this machine."""
        (container,) = manifest["spec"]["containers"]
        arguments = list(container["args"])
        for option, value in (("--book", str(book)), ("--nats", self._nats_url), ("--listen", f"{ip}:8080")):
            arguments[arguments.index(option) + 1] = value
        with log.open("ab") as file:
            return await asyncio.create_subprocess_exec(
                sys.executable, "-m", "hookline.cli.main", *arguments, stdout=file, stderr=file, env=self._environment
            )

    async def _care(self, pod: RunningPod, manifest: Object) -> None:
        annotations = dict(manifest["metadata"].get("annotations") or {})
        now = asyncio.get_running_loop().time()
        if annotations != pod.annotations or now - pod.refreshed_at > self._sync_seconds:
            await self._refresh(pod.folder / "book", manifest)
            pod.annotations, pod.refreshed_at = annotations, now
        ready = await self._is_ready(pod)
        if ready != pod.ready:
            pod.ready = ready
            await self._tell(pod)

    async def _is_ready(self, pod: RunningPod) -> bool:
        try:
            async with httpx.AsyncClient(timeout=1, trust_env=False) as client:
                return (await client.get(f"http://{pod.ip}:8080/readyz")).status_code == 200
        except httpx.HTTPError:
            return False

    async def _tell(self, pod: RunningPod) -> None:
        await self._patch_status(pod.name, _status(pod.ip, ready=pod.ready))

    async def _patch_status(self, name: str, status: Object) -> None:
        path = f"{name}/status"
        with contextlib.suppress(ClusterError):
            await self._cluster.merge(PODS, self._namespace, path, {"status": status})

    async def _refresh(self, book: Path, manifest: Object) -> None:
        """Have the folder hold the volume's sources as they are now: written aside, then swapped by one rename."""
        (volume,) = (each for each in manifest["spec"]["volumes"] if each["name"] == "book")
        config_maps, secrets = await self._current(CONFIG_MAPS), await self._current(SECRETS)
        files: dict[str, bytes] = {}
        for source in volume["projected"]["sources"]:
            if "configMap" in source:
                data = config_maps.get(source["configMap"]["name"], {}).get("data") or {}
                files |= {name: text.encode() for name, text in data.items()}
            else:
                data = secrets.get(source["secret"]["name"], {}).get("data") or {}
                files |= {name: base64.b64decode(text) for name, text in data.items()}
        atomic_write(book, files)

    async def _current(self, kind: Kind) -> dict[str, Object]:
        """Objects of the books by name; only changed ones are read in full."""
        selector = "hookline.dev/book"
        listed = await self._cluster.list_all(kind, self._namespace, labels=selector, metadata_only=True)
        found: dict[str, Object] = {}
        for each in listed:
            name, version = each["metadata"]["name"], each["metadata"]["resourceVersion"]
            known = self._objects.get((kind.name, name))
            if known is None or known[0] != version:
                known = (version, await self._cluster.get(kind, self._namespace, name) or {})
                self._objects[kind.name, name] = known
            found[name] = known[1]
        return found

    async def _end(self, pod: RunningPod) -> None:
        if pod.process.returncode is None:
            pod.process.terminate()
            try:
                await asyncio.wait_for(pod.process.wait(), 30)
            except TimeoutError:
                pod.process.kill()
                await pod.process.wait()


def _status(ip: str, *, ready: bool) -> Object:
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    return {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": conditions}


def atomic_write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a volume as the kubelet does: a new folder, `..data` swung to it by a rename, links beside it."""
    old = (folder / "..data").readlink() if (folder / "..data").is_symlink() else None
    fresh = next(f"..{number}" for number in range(1_000_000) if not (folder / f"..{number}").exists())
    (folder / fresh).mkdir()
    for name, content in files.items():
        (folder / fresh / name).write_bytes(content)
    (folder / "..data_tmp").symlink_to(fresh)
    (folder / "..data_tmp").rename(folder / "..data")
    for name in files:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    for link in folder.iterdir():
        if not link.name.startswith("..") and link.name not in files:
            link.unlink()
    if old is not None:
        shutil.rmtree(folder / old)
