"""How a command fails: one line for the person who typed it, and an exit code."""

from __future__ import annotations


class Failure(Exception):
    """A command cannot go on. The message is one line and names no secret."""

    exit_code = 1


class NotAchieved(Failure):
    """The input was fine, but what was asked for did not happen. Exit code 1."""

    exit_code = 1


class WrongInput(Failure):
    """The person must change what was typed or the file that was given. Exit code 2."""

    exit_code = 2
