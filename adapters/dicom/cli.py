"""``hub dicom``: the adapter's commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adapters.dicom import part10
from adapters.dicom.deidentify import OPTIONS, Deidentifier
from adapters.dicom.statement import statement
from hub.errors import HubError

app = typer.Typer(help="DICOM archive.", no_args_is_help=True)


@app.callback()
def dicom() -> None:
    """DICOM archive."""


@app.command("statement")
def print_statement() -> None:
    """Print the DICOM Conformance Statement."""
    typer.echo(statement(), nl=False)


@app.command()
def deidentify(
    files: Annotated[list[Path], typer.Argument(help="DICOM files, or folders of them", exists=True)],
    output: Annotated[Path, typer.Option(help="folder for the new files, named by their new UIDs")],
    key_file: Annotated[Path, typer.Option(help="32 or more bytes; one key gives the same pseudonyms, UIDs and dates")],
    retain: Annotated[str, typer.Option(help=f"options of the profile, by comma: {', '.join(OPTIONS)}")] = "",
) -> None:
    """Take identity out of files by the PS3.15 Basic Profile; the exit code is 1 when a file was refused."""
    key = key_file.read_bytes() if key_file.is_file() else b""
    if len(key) < 32:
        typer.echo(f"{key_file} is no key: it must have at least 32 bytes (head -c 32 /dev/urandom > {key_file})")
        raise typer.Exit(2)
    try:
        run = Deidentifier(key, frozenset(name for name in retain.split(",") if name))
    except HubError as error:
        typer.echo(error.diagnostics)
        raise typer.Exit(2) from None
    output.mkdir(parents=True, exist_ok=True)
    refused = 0
    for path in sorted(found for file in files for found in ([file] if file.is_file() else file.rglob("*"))):
        if not path.is_file():
            continue
        try:
            made = run.file(path.read_bytes())
        except HubError as error:
            typer.echo(f"{path}: {error}", err=True)
            refused += 1
            continue
        (output / f"{part10.split(made).sop_instance}.dcm").write_bytes(made)
    raise typer.Exit(1 if refused else 0)
