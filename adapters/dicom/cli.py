"""``hub dicom``: the adapter's commands."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from adapters.dicom.bench import Target, measure
from adapters.dicom.statement import statement

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


def _target(address: str, url: str) -> Target:
    title, _, place = address.rpartition("@")
    host, _, port = place.rpartition(":")
    return Target(host, int(port), title, url)
