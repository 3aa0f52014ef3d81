"""Where the commands ask: in a cluster by kubectl, or the `hookline run` of this machine. The options that say so.

A command is a function whose first parameter is the Session. `bound` makes of it what typer takes: the options of the
place are added behind those of the command, so that both places have the same commands.
"""

from __future__ import annotations

import copy
import functools
import inspect
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Protocol, get_args

import typer
from typer.exceptions import TyperException

from hookline import __version__
from hookline.cli.errors import Failure, NotAchieved, WrongInput
from hookline.cli.log.api import Api
from hookline.cli.log.kubectl import Kubectl, kubectl_flags
from hookline.cli.log.loopback import Loopback
from hookline.cli.log.output import Output

OUTPUT_PARAMETER = "output"
TARGET_PARAMETER, SELECTOR_PARAMETER = "target", "selector"

Offered = Callable[[typer.Context, str], list[str]]
"""Words that a shell offers, by what was typed before and what was begun."""
_NOTHING: Mapping[str, Offered] = MappingProxyType({})


class Place(Protocol):
    program: str
    """What a person types before a command."""
    options: Sequence[inspect.Parameter]

    def api(self, typed: Mapping[str, Any]) -> Api: ...


@dataclass
class Session:
    """What one command has to go by."""

    api: Api
    program: str
    in_cluster: bool
    output: Output = Output.TABLE
    named_namespace: str = ""
    everywhere: bool = False
    typed: Mapping[str, Any] = field(default_factory=dict)

    @functools.cached_property
    def namespace(self) -> str:
        """Whose objects are meant; "" means those of all namespaces."""
        return "" if self.everywhere else self.named_namespace or self.api.current_namespace()

    def one_namespace(self) -> str:
        """For what is done in one namespace. Raises WrongInput if all were asked for."""
        if self.everywhere:
            raise WrongInput("this is done in one namespace: name it with -n, without -A")
        return self.namespace

    def again(self, *words: str) -> str:
        """A line to type, which reaches the same place."""
        flags = [f"-n {self.named_namespace}"] if self.named_namespace else []
        flags += [f"--context {self.typed['context']}"] if self.typed.get("context") else []
        flags += [f"--data {self.typed['data']}"] if self.typed.get("data") else []
        return " ".join([self.program, *words, *flags])


def _option(name: str, annotation: Any, default: Any = None) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


_NAMESPACE = _option(
    "namespace",
    Annotated[str | None, typer.Option("--namespace", "-n", help="Whose deliveries.", show_default="the current one")],
)
_EVERYWHERE = _option(
    "everywhere", Annotated[bool, typer.Option("--all-namespaces", "-A", help="Those of all namespaces.")], False
)
_OUTPUT = _option(
    OUTPUT_PARAMETER,
    Annotated[Output, typer.Option("--output", "-o", case_sensitive=False, help="How it is printed.")],
    Output.TABLE,
)

VALUE_FLAGS = (
    "context", "kubeconfig", "cluster", "user", "server", "token", "as", "as-uid", "certificate-authority",
    "client-certificate", "client-key", "tls-server-name", "request-timeout", "cache-dir", "username", "password",
)  # fmt: skip
"""Of kubectl, each with a value: handed on as they are."""
LIST_FLAGS = ("as-group",)
SWITCH_FLAGS = ("insecure-skip-tls-verify", "disable-compression", "match-server-version")
_SHOWN = {"context": "Of the kubeconfig.", "kubeconfig": "Its file. All other options of kubectl count as well."}


def _parameter(flag: str) -> str:
    return f"{flag.replace('-', '_')}_" if flag == "as" else flag.replace("-", "_")


def _kubectl_option(flag: str) -> inspect.Parameter:
    words = [f"--{flag}", *(["-s"] if flag == "server" else [])]
    shown = _SHOWN.get(flag, "")
    if flag in SWITCH_FLAGS:
        return _option(_parameter(flag), Annotated[bool, typer.Option(f"--{flag}", hidden=True)], False)
    if flag in LIST_FLAGS:
        return _option(_parameter(flag), Annotated[list[str] | None, typer.Option(*words, hidden=True)])
    return _option(_parameter(flag), Annotated[str | None, typer.Option(*words, help=shown, hidden=not shown)])


class Cluster(Place):
    """By kubectl, with whatever of its options a person typed."""

    program = "kubectl hookline"
    options = (_NAMESPACE, _EVERYWHERE, *map(_kubectl_option, (*VALUE_FLAGS, *LIST_FLAGS, *SWITCH_FLAGS)))

    def api(self, typed: Mapping[str, Any]) -> Api:
        flags = (*VALUE_FLAGS, *LIST_FLAGS, *SWITCH_FLAGS)
        return Kubectl(kubectl_flags({flag: typed.get(_parameter(flag)) for flag in flags}))


class Local(Place):
    """The `hookline run` on a data folder."""

    program = "hookline"
    options = (
        _NAMESPACE,
        _EVERYWHERE,
        _option(
            "data",
            Annotated[
                Path | None,
                typer.Option(help="Data folder of the `hookline run`.", show_default="~/.local/state/hookline"),
            ],
        ),
    )

    def __init__(self, default_data: Callable[[], Path]) -> None:
        self._default_data = default_data

    def api(self, typed: Mapping[str, Any]) -> Api:
        return Loopback(typed.get("data") or self._default_data())


def session_of(place: Place, typed: Mapping[str, Any]) -> Session:
    return Session(
        place.api(typed),
        place.program,
        isinstance(place, Cluster),
        typed.get(OUTPUT_PARAMETER, Output.TABLE),
        typed.get("namespace") or "",
        bool(typed.get("everywhere")),
        typed,
    )


def bound(
    command: Callable[..., None], place: Place, *, offered: Mapping[str, Offered] = _NOTHING, output: bool = True
) -> Callable[..., None]:
    """The command as typer takes it, with the options of the place, and `--output` unless it has none.

    `offered` says what a shell offers, by the name of a parameter.
    """
    _, *own = inspect.signature(command, eval_str=True).parameters.values()
    shared = [*place.options, *([_OUTPUT] if output else [])]
    names = [each.name for each in shared]

    @functools.wraps(command)
    def run(**typed: Any) -> None:
        of_place = {name: typed.pop(name) for name in names}
        try:
            command(session_of(place, of_place), **typed)
        except (Failure, TyperException, typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except Exception as error:  # a person gets a line, and no traceback
            raise NotAchieved(_fault(error)) from error

    parameters = [
        _completed(each, offered.get(each.name)).replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for each in (*own, *shared)
    ]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    run.__doc__ = (command.__doc__ or "").replace("Example: hookline", f"Example: {place.program}")
    return run


def _fault(error: Exception) -> str:
    """Where it is, for whoever reports it; not what the error says, which may be anybody's words."""
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    place = f"{frame.f_globals.get('__name__')}:{line}"
    return f"a fault in Hookline {__version__} itself: {type(error).__name__} at {place}; please report it"


def _completed(parameter: inspect.Parameter, offered: Offered | None) -> inspect.Parameter:
    if offered is None:
        return parameter
    of_type, info = get_args(parameter.annotation)
    info = copy.copy(info)
    info.autocompletion = offered
    return parameter.replace(annotation=Annotated[of_type, info])
