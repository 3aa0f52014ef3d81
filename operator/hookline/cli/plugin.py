"""The program `kubectl-hookline`, which kubectl runs as `kubectl hookline`, and `kubectl_complete-hookline` for shells.

A container may have neither kubectl nor a use for this: nothing here is imported by `hookline operator` and its like.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Sequence

import typer
from typer.completion import get_completion_inspect_parameters

from hookline import __version__
from hookline.cli.log.commands import add_commands, add_events
from hookline.cli.log.place import LIST_FLAGS, SWITCH_FLAGS, VALUE_FLAGS, Cluster
from hookline.cli.program import add_root, end_in_order_on_signals, run_to_its_end

PROGRAM = Cluster.program
COMPLETE_VARIABLE = "_KUBECTL_HOOKLINE_COMPLETE"
NO_FILES = 4
"""cobra.ShellCompDirectiveNoFileComp, by which kubectl tells a shell not to offer files."""

app = typer.Typer(
    name=PROGRAM,
    help="What became of webhook deliveries, and send them again. All options of kubectl that say where count.",
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
add_commands(app, Cluster())
add_events(app, Cluster())


@app.command(short_help="Print the version.")
def version() -> None:
    """Print the version of the plugin.

    Example: kubectl hookline version
    """
    typer.echo(f"kubectl-hookline {__version__}")


add_root(app, version)


def main() -> None:
    """Entry point of `kubectl-hookline`."""
    end_in_order_on_signals()
    words = behind_the_command(sys.argv[1:])
    sys.exit(run_to_its_end(PROGRAM, lambda: app(words, prog_name=PROGRAM, standalone_mode=False)))


def complete() -> None:
    """Entry point of `kubectl_complete-hookline`: prints what may stand in place of the last word.

    kubectl takes one of them a line, with its description behind a tab, and a last line `:` and a number
    (https://github.com/kubernetes/enhancements/tree/master/keps/sig-cli/2379-kubectl-plugins).
    """
    *before, last = sys.argv[1:] or [""]
    typed = shlex.join([PROGRAM.replace(" ", "-"), *before])
    os.environ |= {
        COMPLETE_VARIABLE: "complete_fish",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "_TYPER_COMPLETE_ARGS": f"{typed} {shlex.quote(last) if last else ''}",
    }
    get_completion_inspect_parameters()  # makes shells known, which an app with options for it would do
    with contextlib.suppress(SystemExit):
        run_to_its_end(PROGRAM, lambda: app([], prog_name=PROGRAM, complete_var=COMPLETE_VARIABLE))
    typer.echo(f":{NO_FILES}")


def behind_the_command(words: Sequence[str]) -> list[str]:
    """With options that stand before the command put behind it: kubectl takes them in both places."""
    with_value = {f"--{flag}" for flag in (*VALUE_FLAGS, *LIST_FLAGS, "namespace", "output")} | {"-n", "-s", "-o"}
    alone = {f"--{flag}" for flag in (*SWITCH_FLAGS, "all-namespaces")} | {"-A"}
    left, moved = list(words), list[str]()
    while left:
        name, equals, _ = left[0].partition("=")
        count = 1 if name in alone or (name in with_value and equals) else 2 if name in with_value else 0
        if not count:
            break
        moved += left[:count]
        left = left[count:]
    end = left.index("--") if "--" in left else len(left)
    return [*left[:end], *moved, *left[end:]] if left else moved


if __name__ == "__main__":
    main()
