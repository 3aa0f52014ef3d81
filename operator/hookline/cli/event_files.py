"""Where `events schema` and `events sample` put what they make, in both programs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from hookline.cli.errors import NotAchieved

Name = Annotated[str, typer.Argument(help="Event type, such as IdentityCreated.", show_default=False)]
Output = Annotated[
    str | None,
    typer.Option(help="File to write, or a folder (FOLDER/) for a file of the usual name.", show_default="print it"),
]


def hand_over(text: str, output: str | None, usual_name: str) -> None:
    """Print the text as UTF-8 whatever the locale, or write it and print the path."""
    if output is None or output == "-":
        typer.echo(text.encode(), nl=False)
        return
    path = Path(output)
    try:
        if output.endswith(("/", os.sep)):
            path.mkdir(parents=True, exist_ok=True)
        path = path / usual_name if path.is_dir() else path
        path.write_bytes(text.encode())
    except OSError as error:
        raise NotAchieved(f"{path} cannot be written: {error.strerror}; name another file with --output") from None
    typer.echo(str(path), err=True)
