"""What every program of ours has: help where nothing was typed, and an end: one line and an exit code. No traceback.

Imports little: a shell that completes words starts the whole program for each of them.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
from collections.abc import Callable
from typing import Annotated

import typer
from typer.exceptions import Abort, TyperException

from hookline.cli.errors import Failure

INTERRUPTED = 130
"""As shells tell of Ctrl-C."""


def help_if_alone(context: typer.Context) -> None:
    """Print the help of a group of commands that was called without any of them."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def add_root(app: typer.Typer, version: Callable[[], None]) -> None:
    """What the program itself does: its help, and `--version` as the command does it."""

    @app.callback(invoke_without_command=True)
    def root(
        context: typer.Context,
        as_option: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
    ) -> None:
        if as_option:
            version()
            raise typer.Exit
        help_if_alone(context)


def run_to_its_end(program: str, work: Callable[[], object]) -> int:
    """The exit code of `work`, whose return value is one if it is a number."""
    _print_whatever_the_locale()
    try:
        code = work()
        sys.stdout.flush()
    except (Abort, KeyboardInterrupt):
        return INTERRUPTED
    except TyperException as error:
        return _say(program, error.format_message(), error.exit_code)
    except Failure as failure:
        return _say(program, str(failure), failure.exit_code)
    except BrokenPipeError:
        # Whoever read our output has gone, as `head` does; nothing is left to be said.
        with contextlib.suppress(OSError, io.UnsupportedOperation):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code if isinstance(code, int) else 0


def end_in_order_on_signals() -> None:
    """SIGTERM and SIGHUP end this program as Ctrl-C does, by an exception: children end, the terminal is as it was."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, _: sys.exit(128 + number))


def _print_whatever_the_locale() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _say(program: str, message: str, code: int) -> int:
    line = " ".join(message.split())
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{program}: {line}\n")
        sys.stderr.flush()
    return code
