"""``hub hl7 parse|validate`` and ``hub map check|try``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from adapters.hl7v2.check import Hl7v2Checker
from adapters.hl7v2.interpret import ENVELOPE, bundle_of, engine, translate
from adapters.hl7v2.message import Message, parse
from adapters.hl7v2.profile import load
from adapters.hl7v2.profile.check import check as conforms
from adapters.mapping import check
from hub.errors import HubError
from hub.fhir import json as fhir_json
from hub.services.check import Report

hl7 = typer.Typer(help="Look at HL7 v2 messages.", no_args_is_help=True)
map_app = typer.Typer(help="Look at the mapping of HL7 v2 to FHIR.", no_args_is_help=True)
console = Console()

File = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A file with one message.")]
Json = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]
Profile = Annotated[Path | None, typer.Option(exists=True, help="A NIST/IGAMT folder or an HL7v2xStaticDef file.")]
Zone = Annotated[str, typer.Option(help="Time zone of times without an offset.")]


def _read(file: Path) -> Message:
    try:
        return parse(file.read_bytes().strip(b"\x0b\x1c"))
    except HubError as error:
        console.print(f"{error.diagnostics} ({error.at})", style="red", markup=False)
        raise typer.Exit(1) from None


@hl7.command("parse")
def parse_file(file: File, as_json: Json = False) -> None:
    """Show the fields of a message."""
    message = _read(file)
    rows = [
        (f"{message.position(segment)}-{number}" + (f"[{repetition}]" if repetition > 1 else ""), piece)
        for segment in message.segments
        if segment.is_line()
        for number in range(1, len(segment.fields))
        for repetition, piece in enumerate(segment.repetitions(number), 1)
    ]
    if as_json:
        facts = {
            "kind": message.kind, "version": message.version, "control_id": message.control_id,
            "charset": message.codec, "charset_rule": message.decoded.rule, "fields": dict(rows),
        }  # fmt: skip
        typer.echo(json.dumps(facts, ensure_ascii=False, indent=2))
        return
    console.print(f"{message.kind} version {message.version}, {message.codec} by {message.decoded.rule}", markup=False)
    _table(("position", "as sent"), rows)


@hl7.command()
def validate(
    file: File,
    profile: Profile = None,
    as_json: Json = False,
    zone: Zone = "Asia/Shanghai",
    language: str = "zh",
) -> None:
    """Say what is wrong with a message, by the base standard or by a conformance profile; exit 1 when not valid."""
    if profile is None:
        report = Hl7v2Checker(zone).check(file.read_bytes())
    else:
        message = _read(file)
        report = Report(f"HL7 v{message.version} {message.kind}", tuple(conforms(message, load(profile))))
    if as_json:
        typer.echo(json.dumps(report.json(), ensure_ascii=False, indent=2))
    else:
        console.print(report.format, markup=False)
        rows = [
            (one.severity, one.at, f"{one.line or ''}:{one.column or ''}", one.message.get(language, ""), one.value)
            for one in report.findings
        ]
        _table(("severity", "at", "line", "finding", "value"), rows)
    raise typer.Exit(0 if report.valid else 1)


@map_app.command("check")
def check_tables() -> None:
    """Lint the mapping tables; exit 1 when a row is wrong."""
    faults = check.lint(engine())
    for fault in faults:
        console.print(fault, style="red", markup=False)
    served = len(engine().tables.events)
    console.print(f"{served} events served, {len(faults)} faults")
    raise typer.Exit(1 if faults else 0)


@map_app.command("try")
def try_file(file: File, as_json: Json = False, zone: Zone = "Asia/Shanghai") -> None:
    """Map a message and show source and target side by side, and what was not mapped."""
    message = _read(file)
    try:
        translation = translate(message, zone)
    except HubError as error:
        console.print(f"{error.diagnostics} ({error.at})", style="red", markup=False)
        raise typer.Exit(1) from None
    bundle = bundle_of(translation, file.name, 0)
    unmapped = [name for name in translation.mapped.unmapped if name not in ENVELOPE]
    if as_json:
        problems = [{"at": one.at, "value": one.value, "why": one.why} for one in translation.mapped.problems]
        out: dict[str, Any] = {"bundle": bundle, "unmapped": unmapped, "problems": problems}
        typer.echo(fhir_json.encode(out).decode())
        return
    left = "\n".join(segment.text for segment in message.segments)
    right = "\n\n".join(_pretty(entry["resource"]) for entry in bundle["entry"])
    grid = Table(message.kind, "FHIR R4", expand=True, show_lines=True)
    grid.add_row(_plain(left), _plain(right))
    console.print(grid)
    _table(("left out", "value", "why"), [(one.at, one.value, one.why) for one in translation.mapped.problems])
    console.print("not mapped: " + (", ".join(unmapped) or "nothing"), markup=False)


def _pretty(resource: dict[str, Any]) -> str:
    return json.dumps(json.loads(fhir_json.encode(resource)), ensure_ascii=False, indent=2)


def _plain(text: str) -> str:
    return text.replace("[", "\\[")


def _table(columns: tuple[str, ...], rows: list[Any]) -> None:
    if rows:
        table = Table(*columns)
        for row in rows:
            table.add_row(*(_plain(str(cell)) for cell in row))
        console.print(table)
