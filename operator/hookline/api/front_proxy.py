"""How kube-apiserver proves that it is itself, and says who asks: the ConfigMap extension-apiserver-authentication.

Follows it: a cluster may get another CA for it at any time. The last good one counts while it cannot be read.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import structlog

from hookline.runtime.tasks import unless
from hookline.serving.remembered import Unanswered

log = structlog.get_logger(__name__)

NAMESPACE, NAME = "kube-system", "extension-apiserver-authentication"

LOOK_SECONDS = 15.0
"""How often it is looked at. A cluster that gets another CA trusts both for longer than that."""

AGAIN_SECONDS = 1.0
"""While it was never read."""

_CA = "requestheader-client-ca-file"
_MAX_NAMES = 64


class NotUsable(Exception):
    """What the ConfigMap says cannot be meant. The text is for the log."""


@dataclass(frozen=True, slots=True)
class FrontProxy:
    """Whose certificate, and which headers count. Names of headers are in small letters."""

    ca_pem: str
    allowed_names: tuple[str, ...] = ()
    """Common names of its certificate; any if there are none."""
    name_headers: tuple[str, ...] = ()
    uid_headers: tuple[str, ...] = ()
    """None before Kubernetes 1.32, which passes on what a client sends by that name."""
    group_headers: tuple[str, ...] = ()
    extra_prefixes: tuple[str, ...] = ()


class ConfigMaps(Protocol):
    """kube-apiserver (`serving.api_server.ApiServer`)."""

    async def config_map(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """Its data; None if there is none. Raises Unanswered."""


def front_proxy_in(data: Mapping[str, str]) -> FrontProxy | None:
    """None of a cluster whose kube-apiserver asks no other servers. Raises NotUsable."""
    ca_pem = data.get(_CA, "")
    if not ca_pem.strip():
        return None
    try:
        ssl.create_default_context(cadata=ca_pem)
    except (ssl.SSLError, ValueError):
        raise NotUsable(f"its {_CA} is no certificate") from None
    return FrontProxy(
        ca_pem,
        _names(data, "requestheader-allowed-names"),
        _lower(_names(data, "requestheader-username-headers")),
        _lower(_names(data, "requestheader-uid-headers")),
        _lower(_names(data, "requestheader-group-headers")),
        _lower(_names(data, "requestheader-extra-headers-prefix")),
    )


class FollowedFrontProxy:
    """What the ConfigMap says now. `trust` is told the CA, in PEM, empty if there is none, whenever it is another one.

    `known` is set once it was read, also if there is none.
    """

    def __init__(self, config_maps: ConfigMaps, trust: Callable[[str], None]) -> None:
        self._config_maps = config_maps
        self._trust = trust
        self._problem = ""
        self.current: FrontProxy | None = None
        self.known = asyncio.Event()

    async def follow(self, stop: asyncio.Event) -> None:
        """Until `stop`."""
        await self.look()
        while await unless(stop, asyncio.sleep(LOOK_SECONDS if self.known.is_set() else AGAIN_SECONDS)):
            await self.look()

    async def look(self) -> None:
        try:
            data = await self._config_maps.config_map(NAMESPACE, NAME)
            found = front_proxy_in(data or {})
            if (found.ca_pem if found else "") != (self.current.ca_pem if self.current else ""):
                self._trust(found.ca_pem if found else "")
        except Unanswered:
            # Told by whoever asked.
            return
        except NotUsable as error:
            self._say(str(error))
            return
        except OSError as error:
            self._say(f"our own certificate cannot be loaded with it ({type(error).__name__})")
            return
        if found != self.current:
            log.info("kube-apiserver is known by its certificate" if found else "kube-apiserver asks no other servers")
        self.current = found
        self.known.set()
        self._say("")

    def _say(self, problem: str) -> None:
        if problem and problem != self._problem:
            log.warning(f"the ConfigMap {NAMESPACE}/{NAME} is not usable; the last good one counts", problem=problem)
        self._problem = problem


def _names(data: Mapping[str, str], key: str) -> tuple[str, ...]:
    text = data.get(key, "")
    if not text.strip():
        return ()
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        raise NotUsable(f"its {key} is no JSON") from None
    if said is None:
        return ()
    if not isinstance(said, list) or len(said) > _MAX_NAMES or not all(isinstance(each, str) for each in said):
        raise NotUsable(f"its {key} is no list of names")
    return tuple(said)


def _lower(names: tuple[str, ...]) -> tuple[str, ...]:
    if not all(names):
        raise NotUsable("it names an empty header")
    return tuple(each.strip().lower() for each in names)
