"""``hub dicom``: the adapter's commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from adapters.dicom import part10
from adapters.dicom.bench import Target, measure
from adapters.dicom.deidentify import OPTIONS, Deidentifier
from adapters.dicom.statement import statement
from hub.errors import HubError

app = typer.Typer(help="DICOM archive.", no_args_is_help=True)


@app.callback()
def dicom() -> None:
    """DICOM archive."""


@app.command()
def bench(
    address: Annotated[str, typer.Option(help="DIMSE address of the archive")] = "127.0.0.1:11112",
    ae_title: Annotated[str, typer.Option(help="its AE title")] = "HUB",
    url: Annotated[str, typer.Option(help="its DICOMweb base URL, empty for none")] = "",
    peer_dicom: Annotated[str, typer.Option(help="AE@host:port of another archive to measure in the same run")] = "",
    peer_url: Annotated[str, typer.Option(help="DICOMweb base URL of that archive")] = "",
    instances: Annotated[int, typer.Option(help="images of 0.5 MB a measurement")] = 200,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table")] = False,
) -> None:
    """Measure storing, querying and retrieving, beside another archive if one is named."""
    targets = {"hub": _target(f"{ae_title}@{address}", url)}
    if peer_dicom:
        targets["peer"] = _target(peer_dicom, peer_url)
    figures = {name: measure(target, instances=instances) for name, target in targets.items()}
    if as_json:
        typer.echo(json.dumps(figures, indent=2))
        return
    table = Table("figure", *figures)
    for row in figures["hub"]:
        table.add_row(row, *(str(column.get(row, "")) for column in figures.values()))
    Console().print(table)


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


def _target(address: str, url: str) -> Target:
    title, _, place = address.rpartition("@")
    host, _, port = place.rpartition(":")
    return Target(host, int(port), title, url)
