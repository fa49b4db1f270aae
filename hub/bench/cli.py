"""The verbs of ``hub bench``."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Annotated, Any

import typer
from rich.table import Table

from hub.cli import Json, emit, err, out
from hub.errors import HubError

app = typer.Typer(help="Measure this machine.")

Seconds = Annotated[float, typer.Option(help="Duration of each measurement.", min=0.2)]
Running = Annotated[str | None, typer.Option("--url", help="Base URL of a running hub; without it one is started.")]
StartedStore = Annotated[str | None, typer.Option("--store", help="Store of the started hub.")]


@app.callback(invoke_without_command=True)
def bench(
    context: typer.Context,
    seconds: Seconds = 5.0,
    url: Running = None,
    mllp: Annotated[str | None, typer.Option(help="HOST:PORT of its HL7 v2 listener, with --url.")] = None,
    dicom: Annotated[str | None, typer.Option(help="HOST:PORT of its DICOM listener, with --url.")] = None,
    store: StartedStore = None,
    as_json: Json = False,
) -> None:
    """Measure reads, searches, writes, HL7 v2 and DICOM; every acknowledged write is durable."""
    if context.invoked_subcommand is None:
        from hub.bench import run

        show_figures(run.measure(seconds, url=url, mllp=mllp, dicom=dicom, store=store, console=err), as_json)


@app.command("terminology")
def bench_terminology(
    seconds: Seconds = 5.0, url: Running = None, store: StartedStore = None, as_json: Json = False
) -> None:
    """Measure $validate-code in process and over HTTP, $expand of 5,000 codes with a filter, $subsumes."""
    from hub.bench import terminology

    show_figures(terminology.measure(seconds, url=url, store=store, console=err), as_json)


@app.command("mpi")
def bench_mpi(
    residents: Annotated[int, typer.Option(help="How many people the index holds.", min=1000)] = 1_000_000,
    seconds: Seconds = 5.0,
    as_json: Json = False,
) -> None:
    """Measure the master patient index: CPU time of a decision, durable registrations, memory, start."""
    from hub.bench import mpi

    show_figures(mpi.measure(residents, seconds, console=err), as_json)


@app.command("mllp")
def bench_mllp(
    seconds: Seconds = 5.0,
    connections: Annotated[int, typer.Option(help="Connections at full speed.", min=1, max=200)] = 8,
    url: Running = None,
    mllp: Annotated[str | None, typer.Option(help="HOST:PORT of its HL7 v2 listener, with --url.")] = None,
    store: StartedStore = None,
    as_json: Json = False,
) -> None:
    """Measure HL7 v2: parse and validation a core beside hl7apy; ADT and ORU of 50 results to the durable
    acknowledgement; 20 connections at 300 messages a second."""
    from hub.bench import hl7v2

    show_figures(hl7v2.report(seconds, connections, url=url, at=mllp, store=store, console=err), as_json)


@app.command("region")
def bench_region(
    seconds: Annotated[float, typer.Option(help="Duration of each rate.", min=0.2)] = 60.0,
    rate: Annotated[list[float] | None, typer.Option(help="Messages a second; 29, 88 and 283 without.")] = None,
    seed: Annotated[int, typer.Option(help="Of the residents; a new one for a hub that was measured before.")] = 1,
    url: Running = None,
    mllp: Annotated[str | None, typer.Option(help="HOST:PORT of its HL7 v2 listener, with --url.")] = None,
    store: StartedStore = None,
    as_json: Json = False,
) -> None:
    """Measure the peak hour and the burst of a region at their pace: latency to the durable acknowledgement, CPU share,
    and the city whose burst is held."""
    from hub.bench import region

    rates = rate or region.RATES
    show_figures(region.report(seconds, rates, seed, url=url, at=mllp, store=store, console=err), as_json)


@app.command("validator")
def bench_validator(seconds: Seconds = 5.0, as_json: Json = False) -> None:
    """Measure the validator: a Patient, a Bundle of 100, with and without invariants, and fhir.resources beside it."""
    from hub.bench import validator

    show_figures(validator.measure(seconds, console=err), as_json)


@app.command("dicom")
def bench_dicom(
    url: Running = None,
    dicom: Annotated[str | None, typer.Option(help="HOST:PORT of its DICOM listener, with --url.")] = None,
    peer_dicom: Annotated[str, typer.Option(help="AE@HOST:PORT of another archive, measured in turns.")] = "",
    peer_url: Annotated[str, typer.Option(help="DICOMweb base URL of that archive.")] = "",
    instances: Annotated[int, typer.Option(help="CT images of 0.5 MB a measurement.", min=8)] = 500,
    rounds: Annotated[int, typer.Option(help="Measurements of which the median counts.", min=1)] = 3,
    store: StartedStore = None,
    as_json: Json = False,
) -> None:
    """Measure storing, querying and retrieving images, beside another archive if one is named."""
    from hub.bench import run

    (report,) = (point.load() for point in entry_points(group="hub.bench", name="dicom"))
    with run.target(url, None, dicom, store) as hub:
        if hub.dicom is None:
            raise HubError("parameter-value", "name the DICOM listener of the running hub: --dicom HOST:PORT")
        base = "http://{}:{}/dicom-web".format(*hub.http)
        found = report(hub.dicom, base, instances, rounds, peer_dicom, peer_url)
    if as_json:
        emit(found)
        return
    table = Table("figure", *found["figures"])
    for name in found["figures"]["hub"]:
        table.add_row(name, *(str(column.get(name, "")) for column in found["figures"].values()))
    out.print(table)


def show_figures(report: dict[str, Any], as_json: bool) -> None:
    """A report of ``hub bench`` as a table or as JSON."""
    if as_json:
        emit(report)
        return
    table = Table("key", "figure", title=report.get("machine"))
    for name, value in report["figures"].items():
        table.add_row(name, "not measured" if value is None else str(value))
    out.print(table)
